{{/*
A program that drives Ray must run beside a process of the cluster's, on one machine and seeing it:
this is such a node, without cores, that starts before the program and ends after it. What Ray runs
in it inherits its environment, in which there is no secret of the service's.
Given: root, resources.
*/}}
{{- define "truthtune.rayNodeContainer" -}}
- name: ray-node
  image: {{ include "truthtune.image" (dict "root" .root "image" .root.Values.images.worker) }}
  imagePullPolicy: {{ .root.Values.images.worker.pullPolicy }}
  restartPolicy: Always
  command: [ray, start, --address={{ include "truthtune.rayAddress" .root }}, --num-cpus=0, --num-gpus=0, --object-store-memory={{ include "truthtune.objectStoreBytes" .root }}, --block]
  env:
    {{- include "truthtune.rayAuthEnv" .root | nindent 4 }}
    {{- include "truthtune.storeEnv" .root | nindent 4 }}
  startupProbe: {{- include "truthtune.rayNodeProbe" . | nindent 4 }}
    failureThreshold: 60
  livenessProbe: {{- include "truthtune.rayNodeProbe" . | nindent 4 }}
    failureThreshold: 6
  resources: {{- toYaml .resources | nindent 4 }}
  securityContext: {{- include "truthtune.securityContext" .root | nindent 4 }}
  volumeMounts: {{- include "truthtune.rayVolumeMounts" .root | nindent 4 }}
{{- end -}}

{{/* From within, as KubeRay's own: no port need be open for it. */}}
{{- define "truthtune.rayNodeProbe" -}}
exec:
  command: [wget, --quiet, --tries=1, --timeout=4, --output-document=/dev/null, "http://127.0.0.1:52365/api/local_raylet_healthz"]
periodSeconds: 5
timeoutSeconds: 5
{{- end -}}

{{/* The rest of a pod that KubeRay completes with Ray's command and probes. Given: root, name, group. */}}
{{- define "truthtune.rayPod" -}}
{{- $resources := deepCopy .group.resources -}}
{{- if .group.gpus -}}
{{- $limits := set (default dict $resources.limits) (default "nvidia.com/gpu" .group.gpuResource) .group.gpus -}}
{{- $resources = set $resources "limits" $limits -}}
{{- end -}}
securityContext: {{- include "truthtune.podSecurityContext" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "truthtune.placement" .group }}
{{ trim . }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "truthtune.image" (dict "root" .root "image" .root.Values.images.worker) }}
    imagePullPolicy: {{ .root.Values.images.worker.pullPolicy }}
    env: {{- include "truthtune.storeEnv" .root | nindent 6 }}
    {{- if eq .name "ray-head" }}
    ports:
      - {name: gcs-server, containerPort: 6379}
    {{- end }}
    resources: {{- toYaml $resources | nindent 6 }}
    securityContext: {{- include "truthtune.securityContext" .root | nindent 6 }}
    volumeMounts: {{- include "truthtune.rayVolumeMounts" .root | nindent 6 }}
volumes: {{- include "truthtune.rayVolumes" .root | nindent 2 }}
{{- end -}}
