{{- define "detection-queue.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The namespace of the release's own objects. */}}
{{- define "detection-queue.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end -}}

{{/*
An object's metadata. Labels of the object win over the chart's, both over commonLabels: those are in no selector, and
change none. Arguments: root, name; optional namespace (default: the release's), clusterScoped, component, labels,
annotations.
*/}}
{{- define "detection-queue.metadata" -}}
{{- $own := include "detection-queue.commonLabels" .root | fromYaml -}}
{{- with .component -}}
{{- $_ := set $own "app.kubernetes.io/component" . -}}
{{- end -}}
name: {{ .name | quote }}
{{- if not .clusterScoped }}
namespace: {{ .namespace | default (include "detection-queue.namespace" .root) | quote }}
{{- end }}
labels:
  {{- merge (deepCopy (.labels | default dict)) $own (.root.Values.commonLabels | default dict) | toYaml | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
{{- if not (or .create .name (has (include "detection-queue.namespace" $) (include "detection-queue.namespaces" $ | fromJsonArray))) -}}
{{- fail (printf "deliver runs in the release's namespace %s, where the workers have no service account because watchNamespaces does not list it: set serviceAccounts.deliver.create or serviceAccounts.deliver.name" (include "detection-queue.namespace" $)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The watched namespaces as a JSON list; with clusterWide the release's own, for namespaced objects. */}}
{{- define "detection-queue.namespaces" -}}
{{- if and .Values.clusterWide .Values.watchNamespaces -}}
{{- fail "clusterWide and watchNamespaces contradict each other: set one of them" -}}
{{- end -}}
{{- .Values.watchNamespaces | default (list (include "detection-queue.namespace" .)) | uniq | toJson -}}
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
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/part-of: detection-queue
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
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

{{/* Whether this installation brings a kind that the API server does not serve yet. Arguments: root, kind. */}}
{{- define "detection-queue.tooEarly" -}}
{{- if and .root.Values.crds.enabled (not (.root.Capabilities.APIVersions.Has (printf "detection-queue.dev/v1alpha1/%s" .kind))) -}}
true
{{- end -}}
{{- end -}}

{{- define "detection-queue.byHelm3" -}}
{{- if hasPrefix "v3." .Capabilities.HelmVersion.Version -}}
true
{{- end -}}
{{- end -}}
