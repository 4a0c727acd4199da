{{/* Names. KubeRay adds to the cluster's, so that there is room left of 63 characters. */}}
{{- define "truthtune.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 36 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- $full | trunc 36 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "truthtune.serviceAccountName" -}}
{{- $made := .Values.serviceAccount.create | ternary (include "truthtune.fullname" .) "default" -}}
{{- default $made .Values.serviceAccount.name -}}
{{- end -}}

{{- define "truthtune.image" -}}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}

{{- define "truthtune.rayAddress" -}}
{{- printf "%s-head-svc:6379" (include "truthtune.fullname" .) -}}
{{- end -}}

{{- define "truthtune.objectStoreBytes" -}}
{{- mul .Values.ray.objectStoreMebibytes 1048576 -}}
{{- end -}}

{{/* Labels. Given: root, component. */}}
{{- define "truthtune.selectorLabels" -}}
app.kubernetes.io/name: truthtune
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "truthtune.labels" -}}
{{ include "truthtune.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* On every pod that is a node of the Ray cluster: what the NetworkPolicy goes by. */}}
{{- define "truthtune.rayNodeLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
truthtune-ray-node: "true"
{{- end -}}

{{/* Security. */}}
{{- define "truthtune.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "truthtune.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Environment: the object store, which all pods use. */}}
{{- define "truthtune.storeEnv" -}}
{{- $artifacts := .Values.artifacts -}}
- name: AWS_REGION
  value: {{ $artifacts.region | quote }}
{{- with $artifacts.endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- with $artifacts.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ . | quote }}, key: {{ $artifacts.keys.accessKeyId | quote }}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ . | quote }}, key: {{ $artifacts.keys.secretAccessKey | quote }}}
{{- end }}
{{- end -}}

{{/* The service's settings. The nodes of Ray get none of them, and none of these secrets. */}}
{{- define "truthtune.keySecretEnv" -}}
- name: TRUTHTUNE_KEY_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ .Values.service.existingSecret | quote }}
      key: {{ .Values.service.keys.keySecret | quote }}
{{- end -}}

{{- define "truthtune.serviceEnv" -}}
- name: TRUTHTUNE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.service.existingSecret | quote }}
      key: {{ .Values.service.keys.databaseUrl | quote }}
- name: TRUTHTUNE_SEAL_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.service.existingSecret | quote }}
      key: {{ .Values.service.keys.sealKey | quote }}
{{ include "truthtune.keySecretEnv" . }}
{{- end -}}

{{- define "truthtune.settingsEnv" -}}
- name: TRUTHTUNE_ARTIFACTS_URL
  value: {{ .Values.artifacts.url | quote }}
{{- if .Values.inference.enabled }}
- name: TRUTHTUNE_INFERENCE_URL
  value: http://{{ include "truthtune.fullname" . }}-inference:8322
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{/* What a program that drives Ray needs beside a node of it in its pod. */}}
{{- define "truthtune.driverEnv" -}}
- name: TRUTHTUNE_RAY_ADDRESS
  value: {{ include "truthtune.rayAddress" . }}
{{ include "truthtune.rayAuthEnv" . }}
{{- end -}}

{{- define "truthtune.rayAuthEnv" -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ .Values.ray.existingSecret | quote }}, key: auth_token}
{{- end -}}

{{/* All that containers write to. */}}
{{- define "truthtune.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /var/lib/truthtune}
- {name: model-cache, mountPath: /var/cache/truthtune}
{{- if .Values.models.existingClaim }}
- {name: models, mountPath: {{ .Values.models.mountPath | quote }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "truthtune.rayVolumeMounts" -}}
{{ include "truthtune.volumeMounts" . }}
- {name: shared-memory, mountPath: /dev/shm}
{{- end -}}

{{/* Given: root, temporary and cache (sizes). */}}
{{- define "truthtune.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .temporary | quote }}}
- name: home
  emptyDir: {sizeLimit: 1Gi}
- name: model-cache
  emptyDir: {sizeLimit: {{ .cache | quote }}}
{{- with .root.Values.models.existingClaim }}
- name: models
  persistentVolumeClaim: {claimName: {{ . | quote }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "truthtune.rayVolumes" -}}
{{ include "truthtune.volumes" (dict "root" . "temporary" "20Gi" "cache" .Values.ray.modelCache) }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ mul 2 .Values.ray.objectStoreMebibytes }}Mi}
{{- end -}}

{{/* Where pods go. Given: values with nodeSelector, tolerations, affinity. */}}
{{- define "truthtune.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
