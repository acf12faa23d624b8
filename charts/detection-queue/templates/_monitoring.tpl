{{/* Fails with a message if the Prometheus operator's CRDs are not installed. Arguments: root, value. */}}
{{- define "detection-queue.needsPrometheusOperator" -}}
{{- if not (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") -}}
{{- fail (printf "%s is true, but the cluster does not serve monitoring.coreos.com/v1: install the Prometheus operator first (with `helm template` add --api-versions monitoring.coreos.com/v1)" .value) -}}
{{- end -}}
{{- end -}}

{{/* A duration such as 15s in milliseconds. */}}
{{- define "detection-queue.milliseconds" -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- mul (trimSuffix $unit . | int64) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) $unit) -}}
{{- end -}}

{{/*
What an endpoint of a monitor has beside its port. Arguments: monitor, name; optional honorLabels (the default),
queueFrom (the pod's label that becomes the label queue).
*/}}
{{- define "detection-queue.scrape" -}}
{{- with .monitor -}}
{{- $timeout := .scrapeTimeout | default "" -}}
{{- if and $timeout .interval (gt (include "detection-queue.milliseconds" $timeout | int64) (include "detection-queue.milliseconds" .interval | int64)) -}}
{{- fail (printf "monitoring.%s.scrapeTimeout %s is longer than its interval %s: the Prometheus operator ignores such a monitor" $.name $timeout .interval) -}}
{{- end -}}
path: /metrics
interval: {{ .interval }}
{{- with $timeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- if ternary .honorLabels $.honorLabels (kindIs "bool" .honorLabels) }}
honorLabels: true
{{- end }}
{{- $relabelings := .relabelings | default list -}}
{{- with $.queueFrom -}}
{{- $relabelings = prepend $relabelings (dict "sourceLabels" (list (printf "__meta_kubernetes_pod_label_detection_queue_dev_%s" .)) "targetLabel" "queue") -}}
{{- end }}
{{- with $relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/*
Name and namespace of an object that may live outside the release's namespace: there its name says whose it is.
Arguments: root, name, namespace.
*/}}
{{- define "detection-queue.placed" -}}
{{- $home := include "detection-queue.namespace" .root -}}
{{- $there := .namespace | default $home -}}
{{- dict "namespace" $there "name" (ternary .name (printf "%s-%s" $home .name) (eq $there $home)) | toJson -}}
{{- end -}}
