{{/* The name of all that is there once: `edgeloom` for a release of that name. */}}
{{- define "edgeloom.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels by which pods are found: (list . "controller"). */}}
{{- define "edgeloom.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/*
The labels of an object: (list . "controller"), or (list . "") for what belongs to no component. A third item holds labels
of its own, which go before commonLabels; none goes before those by which the chart finds its objects.
*/}}
{{- define "edgeloom.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "app.kubernetes.io/part-of" "edgeloom"
-}}
{{- with index . 1 }}{{ $_ := set $labels "app.kubernetes.io/component" . }}{{ end -}}
{{- $own := dict -}}
{{- if gt (len .) 2 }}{{ $own = index . 2 }}{{ end -}}
{{- toYaml (merge $labels (deepCopy $own) (deepCopy $root.Values.commonLabels)) -}}
{{- end -}}

{{/*
The labels of a pod: (list . "agent" POOL LABELS). Not all labels of an object: pods are not restarted for another version of
the chart.
*/}}
{{- define "edgeloom.podLabels" -}}
{{- $root := index . 0 -}}
{{- $labels := fromYaml (include "edgeloom.selectorLabels" (list $root (index . 1))) -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "edgeloom" -}}
{{- with index . 2 }}{{ $_ := set $labels "edgeloom.dev/pool" . }}{{ end -}}
{{- toYaml (merge $labels (deepCopy (index . 3)) (deepCopy $root.Values.commonLabels)) -}}
{{- end -}}

{{- define "edgeloom.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The name of a component's ServiceAccount: (list . "agent"). */}}
{{- define "edgeloom.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $account := (index $root.Values $component).serviceAccount -}}
{{- $account.name | default (printf "%s-%s" (include "edgeloom.fullname" $root) $component) -}}
{{- end -}}

{{/* The name of a pool's DaemonSet: (list . "gpu"), or (list . "") where there are no pools. */}}
{{- define "edgeloom.daemonSet" -}}
{{- $name := printf "%s-agent" (include "edgeloom.fullname" (index . 0)) -}}
{{- with index . 1 }}{{ $name = printf "%s-%s" $name . }}{{ end -}}
{{- $name -}}
{{- end -}}

{{/* Whether the controller takes new agents into use: not empty if so. */}}
{{- define "edgeloom.updatesAgents" -}}
{{- if and .Values.controller.updatesAgents (eq .Values.agent.updateStrategy "OnDelete") -}}
true
{{- end -}}
{{- end -}}

{{/* The user of every container: that of the image. */}}
{{- define "edgeloom.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "edgeloom.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where a pod runs, from a component's values. */}}
{{- define "edgeloom.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
