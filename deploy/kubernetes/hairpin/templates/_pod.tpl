{{- define "hairpin.labels" -}}
app.kubernetes.io/name: hairpin
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "hairpin.pod" -}}
metadata:
  labels: {{- include "hairpin.labels" . | nindent 4 }}
  annotations:
    prometheus.io/scrape: "true"
    prometheus.io/port: "9641"
spec:
  {{- if eq .Values.mode "daemonset" }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  terminationGracePeriodSeconds: {{ add .Values.drainSeconds 30 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: hairpin
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["serve"]
      env:
        - { name: HAIRPIN_REALM, value: {{ .Values.realm | quote }} }
        - name: HAIRPIN_SHARED_SECRET
          valueFrom: { secretKeyRef: { name: {{ .Values.existingSecret }}, key: shared-secret } }
        - { name: HAIRPIN_EXTERNAL_ADDRESS, value: {{ .Values.externalAddress | quote }} }
        {{- if .Values.externalStun }}
        - { name: HAIRPIN_EXTERNAL_STUN, value: {{ .Values.externalStun | quote }} }
        {{- end }}
        - { name: HAIRPIN_RELAY_PORTS, value: "{{ .Values.relayPorts.first }}-{{ .Values.relayPorts.last }}" }
        - { name: HAIRPIN_DRAIN_TIMEOUT, value: "{{ .Values.drainSeconds }}s" }
        # Metrics and health for the cluster; without a token the listener answers nothing else from elsewhere.
        - { name: HAIRPIN_ADMIN, value: "0.0.0.0:9641" }
        {{- with .Values.extraEnv }}{{ toYaml . | nindent 8 }}{{- end }}
      ports:
        - { name: turn-udp, containerPort: 3478, protocol: UDP }
        - { name: turn-tcp, containerPort: 3478, protocol: TCP }
        - { name: admin, containerPort: 9641, protocol: TCP }
      livenessProbe:
        httpGet: { path: /healthz, port: admin }
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 2
      resources: {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
