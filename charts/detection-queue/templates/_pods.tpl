{{/*
A list of named things as YAML. The API server accepts each name once, so entries of the second list replace those of
the first. Arguments: ours, theirs; optional key, by default name.
*/}}
{{- define "detection-queue.merged" -}}
{{- $key := .key | default "name" -}}
{{- $theirs := .theirs | default list -}}
{{- $taken := list -}}
{{- range $theirs -}}
{{- $taken = append $taken (get . $key) -}}
{{- end -}}
{{- $all := list -}}
{{- range .ours -}}
{{- if not (has (get . $key) $taken) -}}
{{- $all = append $all . -}}
{{- end -}}
{{- end -}}
{{- concat $all $theirs | toYaml -}}
{{- end -}}

{{- define "detection-queue.operatorEnv" -}}
{{- include "detection-queue.merged" (dict "ours" (include "detection-queue.chartEnv" . | fromYamlArray) "theirs" .Values.operator.env) -}}
{{- end -}}

{{/* What asks for traces, with OpenTelemetry's own variables. Argument: root. */}}
{{- define "detection-queue.tracingEnv" -}}
{{- with .Values.tracing -}}
{{- if .endpoint -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
{{- with .protocol }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ . | quote }}
{{- end }}
{{- with .sampler }}
- name: OTEL_TRACES_SAMPLER
  value: {{ . | quote }}
{{- end }}
{{- with .samplerArg }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ . | quote }}
{{- end }}
{{- $pairs := list }}
{{- range $name, $value := .resourceAttributes | default dict }}
{{- $pairs = append $pairs (printf "%s=%s" $name (urlquery $value | replace "+" "%20")) }}
{{- end }}
{{- with $pairs }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," . | quote }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where in CloudWatch the metrics in a process's log go. Arguments: root, variable. */}}
{{- define "detection-queue.emfEnv" -}}
{{- with (.root.Values.monitoring).cloudWatchNamespace -}}
- name: {{ $.variable }}
  value: {{ . | quote }}
{{- end -}}
{{- end -}}

{{/* The port of the collector, for network policies; empty without tracing. Argument: root. */}}
{{- define "detection-queue.tracingPort" -}}
{{- with (.Values.tracing).endpoint -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{- end -}}
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
{{- with include "detection-queue.tracingEnv" . }}
{{ . }}
{{- end }}
{{- with include "detection-queue.emfEnv" (dict "root" . "variable" "DETECTION_OPERATOR_EMF_NAMESPACE") }}
{{ . }}
{{- end }}
{{- end -}}

{{/* The variables of `deliver`: the outbox's own win over those of all outboxes, and both over the chart's. */}}
{{- define "detection-queue.deliverEnv" -}}
{{- $shared := include "detection-queue.merged" (dict "ours" (include "detection-queue.outboxEnv" . | fromYamlArray) "theirs" .root.Values.deliver.env) | fromYamlArray -}}
{{- include "detection-queue.merged" (dict "ours" $shared "theirs" (.outbox.env | default list)) -}}
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
  # The pod has five seconds more.
  value: {{ sub (.root.Values.deliver.terminationGracePeriodSeconds | default 35 | int) 5 | quote }}
- name: LOG_LEVEL
  value: {{ .root.Values.deliver.logLevel | quote }}
- name: LOG_FORMAT
  value: json
# A pod without its own role must not silently use the node's instance profile.
- name: AWS_EC2_METADATA_DISABLED
  value: "true"
{{- with include "detection-queue.tracingEnv" .root }}
{{ . }}
{{- end }}
{{- with include "detection-queue.emfEnv" (dict "root" .root "variable" "DETECTION_EMF_NAMESPACE") }}
{{ . }}
{{- end }}
{{- end -}}

{{/* How a Deployment is rolled out. Recreate takes no settings of rolling updates. */}}
{{- define "detection-queue.rollout" -}}
{{- if kindIs "invalid" .revisionHistoryLimit -}}
revisionHistoryLimit: 3
{{- else -}}
revisionHistoryLimit: {{ int .revisionHistoryLimit }}
{{- end }}
{{- with .strategy }}
strategy:
  {{- ternary (omit . "rollingUpdate") . (eq .type "Recreate") | toYaml | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Fields of a pod's spec that operator and deliver share. Arguments: root, settings; optional grace. */}}
{{- define "detection-queue.podFields" -}}
{{- with .settings -}}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .terminationGracePeriodSeconds | default ($.grace | default 30) | int }}
{{- with include "detection-queue.pullSecrets" $.root }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- if .hostNetwork }}
hostNetwork: true
{{- end }}
{{- with .dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" (.hostNetwork | default false)) }}
dnsPolicy: {{ . }}
{{- end }}
{{- range $name := list "dnsConfig" "hostAliases" "nodeSelector" "tolerations" "affinity" }}
{{- with get $.settings $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "detection-queue.podLabels" -}}
{{- merge (deepCopy .own) (.added | default dict) (.root.Values.commonLabels | default dict) | toYaml -}}
{{- end -}}

{{/* Constraints without a selector get that of the Deployment. Arguments: settings, selector; optional default. */}}
{{- define "detection-queue.spread" -}}
{{- $constraints := .settings.topologySpreadConstraints | default list -}}
{{- if and .default (not $constraints) (not .settings.affinity) -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" -}}
{{- $constraints = append $constraints (dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- end -}}
{{- $all := list -}}
{{- range $constraints -}}
{{- $constraint := deepCopy . -}}
{{- if not (hasKey . "labelSelector") -}}
{{- $_ := set $constraint "labelSelector" (dict "matchLabels" $.selector) -}}
{{- end -}}
{{- $all = append $all $constraint -}}
{{- end -}}
{{- with $all -}}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- define "detection-queue.volumes" -}}
volumes:
  {{- include "detection-queue.merged" (dict "ours" (list (dict "name" "tmp" "emptyDir" (dict "sizeLimit" "64Mi"))) "theirs" .extraVolumes) | nindent 2 }}
{{- end -}}

{{- define "detection-queue.volumeMounts" -}}
volumeMounts:
  {{- include "detection-queue.merged" (dict "ours" (list (dict "name" "tmp" "mountPath" "/tmp")) "theirs" .extraVolumeMounts "key" "mountPath") | nindent 2 }}
{{- end -}}

{{/* Whether the cluster is OpenShift's, as far as can be known. */}}
{{- define "detection-queue.onOpenShift" -}}
{{- if or (eq ((.Values.openshift).adaptSecurityContext | default "auto") "force") (.Capabilities.APIVersions.Has "security.openshift.io/v1") -}}
true
{{- end -}}
{{- end -}}

{{/* Whether OpenShift chooses users and groups: those of the chart are outside the range of a namespace. */}}
{{- define "detection-queue.adaptsSecurity" -}}
{{- if and (include "detection-queue.onOpenShift" .) (ne ((.Values.openshift).adaptSecurityContext | default "auto") "disabled") -}}
true
{{- end -}}
{{- end -}}

{{/* A container's security context. Without one of the user's it is confined. Arguments: root, own. */}}
{{- define "detection-queue.containerSecurity" -}}
{{- $context := .own -}}
{{- if kindIs "invalid" $context -}}
{{- $context = dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- end -}}
{{- include "detection-queue.adapted" (dict "root" .root "context" $context) -}}
{{- end -}}

{{/*
A pod's security context. fsGroup lets the non-root user read the projected token of the AWS role. Arguments: root, own,
user.
*/}}
{{- define "detection-queue.podSecurity" -}}
{{- $context := .own -}}
{{- if kindIs "invalid" $context -}}
{{- $context = dict "runAsNonRoot" true "runAsUser" .user "runAsGroup" .user "fsGroup" .user "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- end -}}
{{- include "detection-queue.adapted" (dict "root" .root "context" $context) -}}
{{- end -}}

{{- define "detection-queue.adapted" -}}
{{- if include "detection-queue.adaptsSecurity" .root -}}
{{- omit .context "runAsUser" "runAsGroup" "fsGroup" | toYaml -}}
{{- else -}}
{{- toYaml .context -}}
{{- end -}}
{{- end -}}
