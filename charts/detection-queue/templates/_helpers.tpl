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

{{/* Without an account of its own `deliver` runs as the workers do: their role may read and write the outbox. */}}
{{- define "detection-queue.deliverServiceAccount" -}}
{{- with .Values.serviceAccounts.deliver -}}
{{- if .create -}}
{{ .name | default (printf "%s-deliver" (include "detection-queue.fullname" $)) }}
{{- else -}}
{{ .name | default (include "detection-queue.workerServiceAccount" $) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "detection-queue.deliverRoleArn" -}}
{{- with .Values.serviceAccounts -}}
{{- if .deliver.create -}}
{{ .deliver.roleArn }}
{{- else if not .deliver.name -}}
{{ .worker.roleArn }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails with a message if nothing would be delivered, or the pods' service account would be missing. */}}
{{- define "detection-queue.checkDeliver" -}}
{{- if not (and .Values.deliver.image .Values.serviceAccounts.deliver) -}}
{{- fail "deliver lacks defaults of this chart, as after an upgrade with --reuse-values, which keeps those of the earlier version: use --reset-then-reuse-values" -}}
{{- end -}}
{{- if not .Values.deliver.outboxes -}}
{{- fail "deliver.enabled is true, but deliver.outboxes is empty: name at least one outbox" -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.deliver.outboxes -}}
{{- if has .name $names -}}
{{- fail (printf "deliver.outboxes has the name %s twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- with .Values.serviceAccounts.deliver -}}
{{- $worker := $.Values.serviceAccounts.worker -}}
{{- if not (or .create .name $worker.create $worker.name) -}}
{{- fail "deliver runs as the workers' service account, which serviceAccounts.worker.create=false does not create: set serviceAccounts.deliver.create, or the name of an account in serviceAccounts.worker.name or serviceAccounts.deliver.name" -}}
{{- end -}}
{{- if not (or .create .name (has $.Release.Namespace (include "detection-queue.namespaces" $ | fromJsonArray))) -}}
{{- fail (printf "deliver runs in the release's namespace %s, where the workers have no service account because watchNamespaces does not list it: set serviceAccounts.deliver.create or serviceAccounts.deliver.name" $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The watched namespaces as a JSON list; with clusterWide the release's own, for namespaced objects. */}}
{{- define "detection-queue.namespaces" -}}
{{- if and .Values.clusterWide .Values.watchNamespaces -}}
{{- fail "clusterWide and watchNamespaces contradict each other: set one of them" -}}
{{- end -}}
{{- .Values.watchNamespaces | default (list .Release.Namespace) | uniq | toJson -}}
{{- end -}}

{{/*
Variables of a container as a YAML list. The API server accepts each name once, so entries of the second list replace
those of the first. Arguments: ours, theirs.
*/}}
{{- define "detection-queue.mergedEnv" -}}
{{- $theirs := dict -}}
{{- range .theirs -}}
{{- $_ := set $theirs .name true -}}
{{- end -}}
{{- $env := list -}}
{{- range .ours -}}
{{- if not (hasKey $theirs .name) -}}
{{- $env = append $env . -}}
{{- end -}}
{{- end -}}
{{- concat $env .theirs | toYaml -}}
{{- end -}}

{{- define "detection-queue.operatorEnv" -}}
{{- include "detection-queue.mergedEnv" (dict "ours" (include "detection-queue.chartEnv" . | fromYamlArray) "theirs" .Values.operator.env) -}}
{{- end -}}

{{/* The variables of `deliver`: the outbox's own win over those of all outboxes, and both over the chart's. */}}
{{- define "detection-queue.deliverEnv" -}}
{{- $shared := include "detection-queue.mergedEnv" (dict "ours" (include "detection-queue.outboxEnv" . | fromYamlArray) "theirs" .root.Values.deliver.env) | fromYamlArray -}}
{{- include "detection-queue.mergedEnv" (dict "ours" $shared "theirs" (.outbox.env | default list)) -}}
{{- end -}}

{{- define "detection-queue.outboxEnv" -}}
- name: DETECTION_OUTBOX_URL
  value: {{ .outbox.queueURL | quote }}
{{- with .outbox.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .outbox.endpointURL }}
- name: AWS_ENDPOINT_URL_SQS
  value: {{ . | quote }}
{{- end }}
- name: DETECTION_CONTROL_HOST
  value: 0.0.0.0
- name: DETECTION_CONTROL_PORT
  value: "8080"
- name: DETECTION_SHUTDOWN_GRACE_S
  value: "30"
- name: LOG_LEVEL
  value: {{ .root.Values.deliver.logLevel | quote }}
- name: LOG_FORMAT
  value: json
# A pod without its own role must not silently use the node's instance profile.
- name: AWS_EC2_METADATA_DISABLED
  value: "true"
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
{{- with .Values.nodes }}
{{- if .enabled }}
- name: DETECTION_OPERATOR_NODES
  value: "true"
{{- with .selector }}
- name: DETECTION_OPERATOR_NODE_SELECTOR
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
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
{{- include "detection-queue.imageOf" (dict "root" . "image" .Values.image) -}}
{{- end -}}

{{- define "detection-queue.deliverImage" -}}
{{- include "detection-queue.imageOf" (dict "root" . "image" .Values.deliver.image) -}}
{{- end -}}

{{- define "detection-queue.imageOf" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
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

{{- define "detection-queue.deliverSelectorLabels" -}}
app.kubernetes.io/name: detection-queue
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: deliver
{{- end -}}

{{- define "detection-queue.deliverLabels" -}}
{{ include "detection-queue.commonLabels" . }}
app.kubernetes.io/component: deliver
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
