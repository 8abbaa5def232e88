{{/* Values that are right by themselves and wrong together. */}}
{{- define "push-proxy.checks" -}}
{{- $values := .Values -}}
{{- $config := .Values.config -}}
{{- $redis := .Values.redis.existingSecret -}}
{{- $node := $config.node | default dict -}}
{{- $sipTls := $config.sip.tls | default dict -}}
{{- $listeners := include "push-proxy.listeners" . | fromYaml -}}

{{- include "push-proxy.refuseSecrets" (dict "value" $config "path" "config") -}}

{{- if not $redis -}}
{{- if or (gt (int $values.replicas) 1) $values.autoscaling.enabled -}}
{{- fail "More than one node needs Redis: set redis.existingSecret, or replicas to 1 and autoscaling.enabled to false." -}}
{{- end -}}
{{- else if not (or $values.secrets.keyRing.existingSecret ($config.secrets | default dict).key_file) -}}
{{- fail "secrets.keyRing.existingSecret is missing: with Redis all nodes share the key ring that encrypts what is in it." -}}
{{- end -}}

{{- if hasKey $node "id" -}}{{- fail "config.node.id: each node is called like its pod; remove it." -}}{{- end -}}
{{- if hasKey $node "data_dir" -}}{{- fail "config.node.data_dir is the chart's; remove it." -}}{{- end -}}
{{- if and (eq $values.nodeAddress "config") (not $config.sip.node_address) -}}
{{- fail "nodeAddress is config: set config.sip.node_address." -}}
{{- end -}}
{{- if and (ne $values.nodeAddress "config") $config.sip.node_address -}}
{{- fail "config.sip.node_address would be overruled: set nodeAddress to config, or remove it." -}}
{{- end -}}

{{- if and (hasKey $listeners "tls") (not (or $values.tls.existingSecret $sipTls.certificate)) -}}
{{- fail "tls.existingSecret is missing: a tls: listener shows a certificate." -}}
{{- end -}}
{{- if and $values.tls.existingSecret (not (hasKey $listeners "tls")) -}}
{{- fail "tls.existingSecret is given, but config.sip.listen has no tls: listener." -}}
{{- end -}}
{{- if and $values.tls.existingSecret (or $sipTls.certificate $sipTls.key) -}}
{{- fail "tls.existingSecret and config.sip.tls are both given; keep one of them." -}}
{{- end -}}
{{- if and $values.tls.ca.existingSecret $values.tls.ca.existingConfigMap -}}
{{- fail "tls.ca: give existingSecret or existingConfigMap, not both." -}}
{{- end -}}
{{- if and (or $values.tls.ca.existingSecret $values.tls.ca.existingConfigMap) $sipTls.ca -}}
{{- fail "tls.ca and config.sip.tls.ca are both given; keep one of them." -}}
{{- end -}}
{{- if and $values.secrets.keyRing.existingSecret ($config.secrets | default dict).key_file -}}
{{- fail "secrets.keyRing and config.secrets.key_file are both given; keep one of them." -}}
{{- end -}}
{{- if and $values.secrets.clusterTokens.existingSecret ($config.cluster | default dict).token_keys -}}
{{- fail "secrets.clusterTokens and config.cluster.token_keys are both given; keep one of them." -}}
{{- end -}}

{{- range $values.extraEnv -}}
{{- if and (hasPrefix "PUSH_PROXY_" .name) (hasKey . "value") -}}
{{- fail (printf "extraEnv: %s: put it into config; what is secret, by valueFrom." .name) -}}
{{- end -}}
{{- if regexMatch "^PUSH_PROXY_(CONFIG$|NODE__|DRAIN__|WAKE__|REDIS__URL$|HTTP__(ADMIN_)?LISTEN$|SIP__(LISTEN|NODE_ADDRESS)$)" .name -}}
{{- fail (printf "extraEnv: %s is the chart's: it must know the value. Use config, redis or nodeAddress." .name) -}}
{{- end -}}
{{- end -}}

{{- if and (not (include "push-proxy.adminPort" .)) (or $values.ingress.enabled (ne $values.service.api.type "ClusterIP")) -}}
{{- fail "config.http.admin_listen is null: console and metrics would be published together with the API. Give them a port of their own." -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- fail "ingress.hosts is empty: name the hosts that the API is published at." -}}
{{- end -}}

{{- with $values.podDisruptionBudget -}}
{{- if and .enabled (eq (kindIs "invalid" .maxUnavailable) (kindIs "invalid" .minAvailable)) -}}
{{- fail "podDisruptionBudget: give maxUnavailable or minAvailable; the other one is null." -}}
{{- end -}}
{{- $nodes := ternary $values.autoscaling.minReplicas $values.replicas $values.autoscaling.enabled | int -}}
{{- if and .enabled (gt $nodes 1) (regexMatch "^[0-9]+$" (toString .minAvailable)) (ge (int .minAvailable) $nodes) -}}
{{- fail (printf "podDisruptionBudget.minAvailable: %d of %d nodes: none could ever be moved, and no host be maintained." (int .minAvailable) $nodes) -}}
{{- end -}}
{{- end -}}

{{- with $values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than maxReplicas." -}}
{{- end -}}
{{- if and .enabled (not (or .waitingCallsPerNode .registrationsPerNode .cpuUtilization)) -}}
{{- fail "autoscaling: give waitingCallsPerNode, registrationsPerNode or cpuUtilization." -}}
{{- end -}}
{{- end -}}

{{- if eq $values.service.sip.mode "mixed" -}}
{{- range $transport := list "udp" "tcp" "tls" -}}
{{- with get $values.service.sip $transport -}}
{{- if or .annotations .loadBalancerIP -}}
{{- fail (printf "service.sip.%s: there is one Service for all: use service.sip.annotations and service.sip.loadBalancerIP." $transport) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
