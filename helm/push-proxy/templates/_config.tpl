{{/* The service's configuration: what the values say, and the paths of what the chart mounts. */}}

{{- define "push-proxy.dataDir" -}}/var/lib/push-proxy{{- end -}}

{{- define "push-proxy.config" -}}
{{- $own := dict "node" (dict "data_dir" (include "push-proxy.dataDir" .)) -}}
{{- with .Values.secrets.keyRing -}}
{{- if .existingSecret -}}
{{- $_ := set $own "secrets" (dict "key_file" (printf "/etc/push-proxy/keyring/%s" .key)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.secrets.clusterTokens -}}
{{- if .existingSecret -}}
{{- $files := list -}}
{{- range .keys -}}{{- $files = append $files (printf "/etc/push-proxy/cluster/%s" .) -}}{{- end -}}
{{- $_ := set $own "cluster" (dict "token_keys" $files) -}}
{{- end -}}
{{- end -}}
{{- $tls := dict -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $tls "certificate" "/etc/push-proxy/tls/tls.crt" -}}
{{- $_ := set $tls "key" "/etc/push-proxy/tls/tls.key" -}}
{{- end -}}
{{- with .Values.tls.ca -}}
{{- if or .existingSecret .existingConfigMap -}}
{{- $_ := set $tls "ca" (printf "/etc/push-proxy/ca/%s" .key) -}}
{{- end -}}
{{- end -}}
{{- if $tls -}}{{- $_ := set $own "sip" (dict "tls" $tls) -}}{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $own) -}}
{{- end -}}

{{/* Fails where a secret stands in the configuration: (dict "value" … "path" "config"). */}}
{{- define "push-proxy.refuseSecrets" -}}
{{- $path := .path -}}
{{- $way := "would stand in a ConfigMap. Put it into a Secret: see redis, secrets and tls in values.yaml, or extraEnv with valueFrom" -}}
{{- if kindIs "map" .value -}}
{{- range $key, $value := .value -}}
{{- $at := printf "%s.%s" $path $key -}}
{{- if and $value (or (has $at (list "config.redis.url" "config.http.api_keys" "config.secrets.keys")) (and (kindIs "string" $value) (regexMatch "(?i)(^|_)(password|passphrase|secret|token|api_key|private_key)$" $key))) -}}
{{- fail (printf "%s %s." $at $way) -}}
{{- end -}}
{{- if and $value (kindIs "string" $value) (regexMatch "(^|_)file$" $key) (not (hasPrefix "/" $value)) -}}
{{- fail (printf "%s is no path (/etc/push-proxy/…). If it is the content, it %s." $at $way) -}}
{{- end -}}
{{- include "push-proxy.refuseSecrets" (dict "value" $value "path" $at) -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $number, $value := .value -}}
{{- include "push-proxy.refuseSecrets" (dict "value" $value "path" (printf "%s[%d]" $path $number)) -}}
{{- end -}}
{{- else if kindIs "string" .value -}}
{{- if contains "PRIVATE KEY-----" .value -}}
{{- fail (printf "%s holds a private key, which %s." $path $way) -}}
{{- end -}}
{{- if regexMatch "(?i)://[^/@\\s]*:[^/@\\s]+@|^sips?:[^:@]*:[^@]+@|[?&](password|pass|token|secret|api_?key)=." .value -}}
{{- fail (printf "%s holds a password, which %s." $path $way) -}}
{{- end -}}
{{- end -}}
{{- end -}}
