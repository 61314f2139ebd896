{{/*
What more than one template needs. `linkerd-linger install` prints the same objects for the same options, and a test
compares them.
*/}}

{{/* Objects find each other by fixed names, and certificates hold the namespace. */}}
{{- define "linger.check" -}}
{{- if ne .Release.Namespace "linkerd-linger" -}}
{{- fail (printf "the release is in the namespace %q, but the serving certificate is for linkerd-linger.linkerd-linger.svc: use --namespace linkerd-linger" .Release.Namespace) -}}
{{- end -}}
{{- if eq .Values.engine "policy" -}}
{{- include "linger.checkPolicyEngine" . -}}
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

{{/* Admission policies have no pods, and Helm cannot compile a policy file into them. */}}
{{- define "linger.checkPolicyEngine" -}}
{{- if .Values.policy -}}
{{- fail "policy is set, but the chart has the admission policies of the default policy: apply the output of `linkerd-linger install --engine policy --set-policy FILE` instead, or set engine to webhook" -}}
{{- end -}}
{{- $ofPods := dict
  "adminPort" (ne (int .Values.adminPort) 9990)
  "facts" .Values.facts
  "failurePolicy" (ne .Values.failurePolicy "Ignore")
  "ha" .Values.ha
  "hostNetwork" .Values.hostNetwork
  "imagePullSecrets" .Values.imagePullSecrets
  "networkPolicy" .Values.networkPolicy
  "nodeSelector" .Values.nodeSelector
  "otlpEndpoint" .Values.otlpEndpoint
  "podMonitor.enabled" .Values.podMonitor.enabled
  "reports.enabled" .Values.reports.enabled
  "sockets" .Values.sockets
  "tls.source" (ne .Values.tls.source "self-signed")
  "tolerations" .Values.tolerations
  "webhookPort" (ne (int .Values.webhookPort) 8443)
  "workloads" .Values.workloads
-}}
{{- range $name, $isSet := $ofPods -}}
{{- if $isSet -}}
{{- fail (printf "%s configures the server or other pods, but engine policy installs none: remove %s" $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Selects namespaces without a mode label, too, if the mode is the default. NotIn also matches a label with an unknown value.
*/}}
{{- define "linger.namespaces" -}}
{{- if eq .mode (toString .default) -}}
{{- range $expression := .selector.matchExpressions -}}
{{- if eq $expression.key "linkerd-linger.io/mode" -}}
{{- $_ := set $expression "operator" "NotIn" -}}
{{- $_ := set $expression "values" (without (list "enforce" "warn" "audit" "off") $.mode) -}}
{{- end -}}
{{- end -}}
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
