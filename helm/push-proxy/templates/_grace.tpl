{{/* How long a pod may take to stop. Defaults are the service's own. */}}

{{/* A number of the configuration, or its default: (list section "key" default). 0 is a number. */}}
{{- define "push-proxy.setting" -}}
{{- $section := index . 0 | default dict -}}
{{- ternary (get $section (index . 1)) (index . 2) (hasKey $section (index . 1)) -}}
{{- end -}}

{{/* Seconds from SIGTERM until its last call has ended, at worst. */}}
{{- define "push-proxy.longestStop" -}}
{{- $wake := .Values.config.wake -}}
{{- $drain := .Values.config.drain -}}
{{- $call := include "push-proxy.setting" (list $wake "deadline_s" 15) | float64 -}}
{{- if eq (include "push-proxy.setting" (list $wake "ring_mode" "all_at_once")) "together" -}}
{{- $call = addf $call (include "push-proxy.setting" (list $wake "together_s" 10) | float64) -}}
{{- end -}}
{{- $handOver := include "push-proxy.setting" (list $drain "hand_over_s" 10) | float64 -}}
{{- maxf (include "push-proxy.setting" (list $drain "deadline_s" 60) | float64) (addf $handOver $call) | ceil | int -}}
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
