{{- define "detection-queue.image" -}}
{{- include "detection-queue.imageOf" (dict "root" . "image" .Values.image) -}}
{{- end -}}

{{- define "detection-queue.deliverImage" -}}
{{- include "detection-queue.imageOf" (dict "root" . "image" .Values.deliver.image) -}}
{{- end -}}

{{- define "detection-queue.imageOf" -}}
{{- $repository := include "detection-queue.repository" (dict "root" .root "registry" .image.registry "repository" .image.repository) -}}
{{- if .image.digest -}}
{{ $repository }}@{{ .image.digest }}
{{- else -}}
{{ $repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/*
A repository with its registry: global.imageRegistry, else the image's own. A repository that begins with a host keeps
it. Arguments: root, registry, repository.
*/}}
{{- define "detection-queue.repository" -}}
{{- $first := splitList "/" .repository | first -}}
{{- $hosted := and (contains "/" .repository) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) -}}
{{- if and $hosted .registry -}}
{{- fail (printf "the image's registry is %s, but its repository %s begins with a host too: leave one out" .registry .repository) -}}
{{- end -}}
{{- $registry := (.root.Values.global).imageRegistry | default .registry -}}
{{- if and $registry (not $hosted) -}}
{{ trimSuffix "/" $registry }}/
{{- end -}}
{{ .repository }}
{{- end -}}

{{/* The names of pull secrets, given as text or as objects, as a YAML list of objects. */}}
{{- define "detection-queue.pullSecrets" -}}
{{- $secrets := list -}}
{{- range concat ((.Values.global).imagePullSecrets | default list) (.Values.imagePullSecrets | default list) -}}
{{- if kindIs "string" . -}}
{{- $secrets = append $secrets (dict "name" .) -}}
{{- else -}}
{{- $secrets = append $secrets . -}}
{{- end -}}
{{- end -}}
{{- with uniq $secrets -}}
{{ toYaml . }}
{{- end -}}
{{- end -}}
