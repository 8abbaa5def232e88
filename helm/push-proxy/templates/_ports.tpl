{{/* Ports, from the service's own configuration. */}}

{{/* {udp: 5060, tcp: 5060, tls: 5061}, of those that there are. */}}
{{- define "push-proxy.listeners" -}}
{{- $found := dict -}}
{{- range .Values.config.sip.listen -}}
{{- $transport := splitList ":" . | first -}}
{{- $port := regexFind "[0-9]+$" . | int -}}
{{- if not (has $transport (list "udp" "tcp" "tls")) -}}
{{- fail (printf "config.sip.listen: %q is no listener; write it like udp:0.0.0.0:5060" .) -}}
{{- end -}}
{{- if eq $port 0 -}}
{{- fail (printf "config.sip.listen: %q: Services need a port that is known beforehand" .) -}}
{{- end -}}
{{- if ne (get $found $transport | default $port | int) $port -}}
{{- fail (printf "config.sip.listen: %q is the second port for %s; this chart serves one per transport" . $transport) -}}
{{- end -}}
{{- $_ := set $found $transport $port -}}
{{- end -}}
{{- if and (hasKey $found "tls") (eq (toString (get $found "tls")) (toString (get $found "tcp"))) -}}
{{- fail "config.sip.listen: tcp and tls cannot share a port" -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "push-proxy.httpPort" -}}
{{- regexFind "[0-9]+$" .Values.config.http.listen -}}
{{- end -}}

{{/* Of console and metrics; empty when they are on the API's. */}}
{{- define "push-proxy.adminPort" -}}
{{- with .Values.config.http.admin_listen -}}{{- regexFind "[0-9]+$" . -}}{{- end -}}
{{- end -}}

{{/* The name of the port with console and metrics. */}}
{{- define "push-proxy.adminName" -}}
{{- if include "push-proxy.adminPort" . -}}admin{{- else -}}http{{- end -}}
{{- end -}}

{{- define "push-proxy.protocol" -}}
{{- if eq . "udp" -}}UDP{{- else -}}TCP{{- end -}}
{{- end -}}

{{/* ipFamilyPolicy and ipFamilies of a Service, where they are said. */}}
{{- define "push-proxy.families" -}}
{{- $said := dict -}}
{{- with .Values.service.ipFamilyPolicy -}}{{- $_ := set $said "ipFamilyPolicy" . -}}{{- end -}}
{{- with .Values.service.ipFamilies -}}{{- $_ := set $said "ipFamilies" . -}}{{- end -}}
{{- if $said -}}{{- toYaml $said -}}{{- end -}}
{{- end -}}
