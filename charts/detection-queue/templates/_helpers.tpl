{{- define "detection-queue.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "detection-queue.operatorName" -}}
{{ include "detection-queue.fullname" . }}-operator
{{- end -}}

{{- define "detection-queue.operatorServiceAccount" -}}
{{- with .Values.serviceAccounts.operator -}}
{{- if .create -}}
{{ .name | default (include "detection-queue.operatorName" $) }}
{{- else -}}
{{ required "serviceAccounts.operator.name is required when serviceAccounts.operator.create is false" .name }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "detection-queue.workerServiceAccount" -}}
{{ .Values.serviceAccounts.worker.name | default (printf "%s-worker" (include "detection-queue.fullname" .)) }}
{{- end -}}

{{/* The watched namespaces as a JSON list; with clusterWide the release's own, for namespaced objects. */}}
{{- define "detection-queue.namespaces" -}}
{{- if and .Values.clusterWide .Values.watchNamespaces -}}
{{- fail "clusterWide and watchNamespaces contradict each other: set one of them" -}}
{{- end -}}
{{- .Values.watchNamespaces | default (list .Release.Namespace) | uniq | toJson -}}
{{- end -}}

{{/* The operator's environment variables. The API server accepts each name once, so the user's entry replaces the chart's. */}}
{{- define "detection-queue.operatorEnv" -}}
{{- $theirs := dict -}}
{{- range .Values.operator.env -}}
{{- $_ := set $theirs .name true -}}
{{- end -}}
{{- $env := list -}}
{{- range include "detection-queue.chartEnv" . | fromYamlArray -}}
{{- if not (hasKey $theirs .name) -}}
{{- $env = append $env . -}}
{{- end -}}
{{- end -}}
{{- concat $env .Values.operator.env | toYaml -}}
{{- end -}}

{{- define "detection-queue.chartEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- $namespaces := include "detection-queue.namespaces" . | fromJsonArray }}
{{- if .Values.clusterWide }}
- name: DETECTION_OPERATOR_CLUSTER_WIDE
  value: "true"
{{- else }}
- name: DETECTION_OPERATOR_NAMESPACES
  value: {{ join "," $namespaces | quote }}
{{- end }}
- name: DETECTION_OPERATOR_LEASE_NAME
  value: {{ include "detection-queue.operatorName" . | quote }}
# The lease is garbage-collected with the Deployment.
- name: DETECTION_OPERATOR_DEPLOYMENT
  value: {{ include "detection-queue.operatorName" . | quote }}
# A proxy for AWS must not be used for the API server.
- name: NO_PROXY
  value: $(KUBERNETES_SERVICE_HOST)
- name: DETECTION_OPERATOR_PORT
  value: "8080"
- name: LOG_LEVEL
  value: {{ .Values.operator.logLevel | quote }}
- name: LOG_FORMAT
  value: json
# A pod without its own role must not silently use the node's instance profile.
- name: AWS_EC2_METADATA_DISABLED
  value: "true"
{{- end -}}

{{- define "detection-queue.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that must never change: they are the Deployment's immutable selector. */}}
{{- define "detection-queue.selectorLabels" -}}
app.kubernetes.io/name: detection-queue
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "detection-queue.commonLabels" -}}
app.kubernetes.io/name: detection-queue
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: detection-queue
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "detection-queue.labels" -}}
{{ include "detection-queue.commonLabels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The label that the operator sets on every worker pod. */}}
{{- define "detection-queue.workerPodLabels" -}}
app.kubernetes.io/name: detection-queue
app.kubernetes.io/component: worker
{{- end -}}

{{/* Fails with a message if the Prometheus operator's CRDs are not installed. Arguments: root, value. */}}
{{- define "detection-queue.needsPrometheusOperator" -}}
{{- if not (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") -}}
{{- fail (printf "%s is true, but the cluster does not serve monitoring.coreos.com/v1: install the Prometheus operator first (with `helm template` add --api-versions monitoring.coreos.com/v1)" .value) -}}
{{- end -}}
{{- end -}}

{{- define "detection-queue.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "detection-queue.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10002
runAsGroup: 10002
# Lets the non-root user read the projected token of the AWS role.
fsGroup: 10002
seccompProfile:
  type: RuntimeDefault
{{- end -}}
