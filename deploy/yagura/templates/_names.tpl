{{- define "yagura.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{- define "yagura.agent" -}}{{ include "yagura.name" . }}-agent{{- end -}}
{{- define "yagura.controller" -}}{{ include "yagura.name" . }}-controller{{- end -}}

{{- /* What all objects have. */ -}}
{{- define "yagura.labels" -}}
app.kubernetes.io/part-of: yagura
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "yagura.agent.selector" -}}
app.kubernetes.io/name: yagura-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "yagura.controller.selector" -}}
app.kubernetes.io/name: yagura-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "yagura.webhook.secret" -}}
{{- .Values.webhook.certificate.existingSecret | default (printf "%s-webhook" (include "yagura.name" .)) -}}
{{- end -}}

{{- /* An image with its tag: (dict "image" .Values.agent.image "root" .) */ -}}
{{- define "yagura.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
