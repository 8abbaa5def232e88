{{/* Names and labels. Pods add "-0", StatefulSets a hash of ten, Services up to "-sip-udp": 52. */}}
{{- define "push-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "push-proxy.fullname" -}}
{{- $name := include "push-proxy.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "push-proxy.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "push-proxy.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What selects our pods; it can never change for a release. */}}
{{- define "push-proxy.selector" -}}
app.kubernetes.io/name: {{ include "push-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{/* Labels of every object; the operator's give way where they have the same name. */}}
{{- define "push-proxy.labels" -}}
{{- $ours := dict "app.kubernetes.io/name" (include "push-proxy.name" .) -}}
{{- $_ := set $ours "app.kubernetes.io/instance" .Release.Name -}}
{{- $_ := set $ours "app.kubernetes.io/version" (toString .Chart.AppVersion) -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge $ours .Values.commonLabels) -}}
{{- end -}}

{{/* Labels of the nodes' pods. */}}
{{- define "push-proxy.podLabels" -}}
{{- toYaml (merge (include "push-proxy.selector" . | fromYaml) .Values.podLabels .Values.commonLabels) -}}
{{- end -}}

{{/* metadata of an object: (dict "top" $ "suffix" "-admin" "labels" … "annotations" …). */}}
{{- define "push-proxy.metadata" -}}
metadata:
  name: {{ include "push-proxy.fullname" .top }}{{ .suffix }}
  namespace: {{ .top.Release.Namespace }}
  labels:
    {{- merge (dict) (.labels | default dict) (include "push-proxy.labels" .top | fromYaml) | toYaml | nindent 4 }}
  {{- with merge (dict) (.annotations | default dict) .top.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "push-proxy.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}
