{{/*
What more than one template needs. `linkerd-linger install` prints the same objects for the same options, and a test
compares them.
*/}}

{{/* Objects find each other by fixed names, and certificates hold the namespace. */}}
{{- define "linger.check" -}}
{{- if ne .Release.Namespace "linkerd-linger" -}}
{{- fail (printf "the release is in the namespace %q, but the serving certificate is for linkerd-linger.linkerd-linger.svc: use --namespace linkerd-linger" .Release.Namespace) -}}
{{- end -}}
{{- if and .Values.hostNetwork .Values.networkPolicy -}}
{{- fail "networkPolicy does not apply to pods on the host network: set hostNetwork or networkPolicy to false" -}}
{{- end -}}
{{- if eq (int .Values.webhookPort) (int .Values.adminPort) -}}
{{- fail (printf "webhookPort and adminPort are both %d, but the server listens on two ports: choose another port for one of them" (int .Values.adminPort)) -}}
{{- end -}}
{{- if ne (eq .Values.tls.source "byo") (ne .Values.tls.caBundle "") -}}
{{- fail "tls.source byo and tls.caBundle must be used together: set both, or neither" -}}
{{- end -}}
{{- end -}}

{{- define "linger.labels" -}}
app.kubernetes.io/name: linkerd-linger
app.kubernetes.io/part-of: Linkerd
linkerd.io/extension: linger
{{- end -}}

{{- define "linger.socketsLabels" -}}
app.kubernetes.io/name: linkerd-linger-sockets
app.kubernetes.io/part-of: Linkerd
linkerd.io/extension: linger
{{- end -}}

{{- define "linger.selector" -}}
app.kubernetes.io/component: server
app.kubernetes.io/name: linkerd-linger
{{- end -}}

{{- define "linger.podSecurityLevel" -}}
{{ ternary "privileged" "restricted" .Values.hostNetwork }}
{{- end -}}

{{- define "linger.image" -}}
{{- $image := .Values.image -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* The port of the collector of traces, which a NetworkPolicy must name. */}}
{{- define "linger.collectorPort" -}}
{{- $url := urlParse .Values.otlpEndpoint -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{- define "linger.podSecurity" -}}
fsGroup: 65532
runAsGroup: 65532
runAsNonRoot: true
runAsUser: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "linger.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
  - ALL
readOnlyRootFilesystem: true
{{- end -}}

{{/* Where the server and the Jobs may run, and how nodes pull their image. */}}
{{- define "linger.placement" -}}
nodeSelector:
  {{- merge (dict) .Values.nodeSelector (dict "kubernetes.io/os" "linux") | toYaml | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The part of a Job's spec that a Job and a CronJob share. */}}
{{- define "linger.jobSpec" -}}
backoffLimit: 6
template:
  metadata:
    labels:
      {{- include "linger.labels" . | nindent 6 }}
      app.kubernetes.io/component: certs
    annotations:
      linkerd.io/inject: disabled
  spec:
    serviceAccountName: linkerd-linger-certs
    automountServiceAccountToken: true
    enableServiceLinks: false
    restartPolicy: Never
    securityContext:
      {{- include "linger.podSecurity" . | nindent 6 }}
    {{- include "linger.placement" . | nindent 4 }}
    containers:
    - name: certs
      image: {{ include "linger.image" . | toJson }}
      imagePullPolicy: IfNotPresent
      args: [certs, rotate]
      resources:
        requests:
          cpu: 10m
          memory: 32Mi
        limits:
          memory: 128Mi
      securityContext:
        {{- include "linger.containerSecurity" . | nindent 8 }}
{{- end -}}
