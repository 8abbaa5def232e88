{{/* Parts of the pod. */}}

{{- define "push-proxy.podSecurityContext" -}}
runAsNonRoot: true
{{ toYaml .Values.podSecurityContext }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "push-proxy.securityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "push-proxy.env" -}}
- name: PUSH_PROXY_CONFIG
  value: /etc/push-proxy/config/push-proxy.yaml
# Where push-proxy call, push and import in this pod ask.
- name: PUSH_PROXY_URL
  value: http://127.0.0.1:{{ include "push-proxy.httpPort" . }}
- name: PUSH_PROXY_NODE__ID
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if ne .Values.nodeAddress "config" }}
- name: PUSH_PROXY_SIP__NODE_ADDRESS
  valueFrom: {fieldRef: {fieldPath: status.{{ .Values.nodeAddress }}}}
{{- end }}
{{- $cluster := .Values.config.cluster | default dict }}
{{- if and .Values.redis.existingSecret (ne .Values.nodeAddress "podIP") (not .Values.hostNetwork) (not $cluster.sip) }}
{{- /* Between themselves nodes use their pods' addresses, whatever the PBX is told. */}}
{{- $listeners := include "push-proxy.listeners" . | fromYaml }}
{{- $transport := ternary "udp" (ternary "tcp" "tls" (hasKey $listeners "tcp")) (hasKey $listeners "udp") }}
{{- $six := eq (first .Values.service.ipFamilies | default "IPv4") "IPv6" }}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: PUSH_PROXY_CLUSTER__SIP
  value: "{{ $transport }}:{{ ternary "[$(POD_IP)]" "$(POD_IP)" $six }}:{{ get $listeners $transport }}"
{{- end }}
{{- with .Values.redis }}
{{- if .existingSecret }}
- name: PUSH_PROXY_REDIS__URL
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- with .Values.secrets.apiKeys }}
{{- if .existingSecret }}
- name: PUSH_PROXY_HTTP__API_KEYS
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "push-proxy.mounts" -}}
- {name: config, mountPath: /etc/push-proxy/config, readOnly: true}
- {name: data, mountPath: {{ include "push-proxy.dataDir" . }}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.secrets.keyRing.existingSecret }}
- {name: keyring, mountPath: /etc/push-proxy/keyring, readOnly: true}
{{- end }}
{{- if .Values.secrets.clusterTokens.existingSecret }}
- {name: cluster-tokens, mountPath: /etc/push-proxy/cluster, readOnly: true}
{{- end }}
{{- if .Values.tls.existingSecret }}
- {name: tls, mountPath: /etc/push-proxy/tls, readOnly: true}
{{- end }}
{{- if or .Values.tls.ca.existingSecret .Values.tls.ca.existingConfigMap }}
- {name: ca, mountPath: /etc/push-proxy/ca, readOnly: true}
{{- end }}
{{- range .Values.secrets.files }}
- {name: files-{{ .name }}, mountPath: /etc/push-proxy/secrets/{{ .name }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Secrets are readable by the pod's group (fsGroup) alone: 288 is 0440. */}}
{{- define "push-proxy.volumes" -}}
- name: config
  configMap: {name: {{ include "push-proxy.fullname" . }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if not (include "push-proxy.hasVolume" .) }}
- name: data
  emptyDir: {sizeLimit: {{ ternary "256Mi" .Values.persistence.size (ne .Values.redis.existingSecret "") }}}
{{- end }}
{{- with .Values.secrets.keyRing.existingSecret }}
- name: keyring
  secret: {secretName: {{ . }}, defaultMode: 288}
{{- end }}
{{- with .Values.secrets.clusterTokens.existingSecret }}
- name: cluster-tokens
  secret: {secretName: {{ . }}, defaultMode: 288}
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 288}
{{- end }}
{{- with .Values.tls.ca }}
{{- if .existingSecret }}
- name: ca
  secret: {secretName: {{ .existingSecret }}, defaultMode: 288}
{{- else if .existingConfigMap }}
- name: ca
  configMap: {name: {{ .existingConfigMap }}}
{{- end }}
{{- end }}
{{- range .Values.secrets.files }}
- name: files-{{ .name }}
  secret: {secretName: {{ .existingSecret }}, defaultMode: 288}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whether the embedded Valkey has a volume of its own. */}}
{{- define "push-proxy.hasVolume" -}}
{{- if and (not .Values.redis.existingSecret) .Values.persistence.enabled -}}true{{- end -}}
{{- end -}}
