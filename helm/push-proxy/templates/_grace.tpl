{{/* How long a pod may take to stop. Defaults are the service's own. */}}

{{/* Seconds from SIGTERM until its last call has ended, at worst. */}}
{{- define "push-proxy.longestStop" -}}
{{- $drain := .Values.config.drain | default dict -}}
{{- $wake := .Values.config.wake | default dict -}}
{{- $handOver := $drain.hand_over_s | default 10 | float64 -}}
{{- $call := $wake.deadline_s | default 15 | float64 -}}
{{- if eq (default "" $wake.ring_mode) "together" -}}
{{- $call = addf $call ($wake.together_s | default 10 | float64) -}}
{{- end -}}
{{- maxf ($drain.deadline_s | default 60 | float64) (addf $handOver $call) | ceil | int -}}
{{- end -}}

{{- define "push-proxy.grace" -}}
{{- $longest := include "push-proxy.longestStop" . | int -}}
{{- $least := add $longest 5 | int -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- add $longest 15 -}}
{{- else if lt (int $given) $least -}}
{{- fail (printf "terminationGracePeriodSeconds: %d would cut off calls: drain and wake of the configuration may take %d s. Leave it null, or give %d at least." (int $given) $longest $least) -}}
{{- else -}}
{{- int $given -}}
{{- end -}}
{{- end -}}
