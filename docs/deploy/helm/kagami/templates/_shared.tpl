{{/* What listener and replayer have alike: their image, further environment, and where they run. */}}
{{- define "kagami.image" -}}
image: {{ printf "%s:%s" .image.repository .image.tag | quote }}
{{- with .image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{- define "kagami.env" -}}
- {name: KAGAMI_DRAIN_TIMEOUT, value: {{ printf "%ds" (int .drainSeconds) | quote }}}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ quote $value }}}
{{- end }}
{{- end }}

{{- define "kagami.scheduling" -}}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $ $name }}
      {{ $name }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}
