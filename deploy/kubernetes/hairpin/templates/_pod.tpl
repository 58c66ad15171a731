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
  # The drain hook is SIGTERM itself: from then on /readyz answers 503, new clients are refused or sent on, and the pod ends with its
  # last allocation. A preStop hook that drained would make that SIGTERM the second one, which ends calls at once.
  terminationGracePeriodSeconds: {{ add .Values.drainSeconds 30 }}
  automountServiceAccountToken: false
  # HAIRPIN_… is the server's own.
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: hairpin
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["serve"]
      env:
        - name: POD_NAME
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        - name: POD_IP
          valueFrom: { fieldRef: { fieldPath: status.podIP } }
        - { name: HAIRPIN_REALM, value: {{ .Values.realm | quote }} }
        - name: HAIRPIN_SHARED_SECRET
          valueFrom: { secretKeyRef: { name: {{ .Values.existingSecret }}, key: shared-secret } }
        {{- if and (eq .Values.mode "daemonset") .Values.externalAddress }}
        - { name: HAIRPIN_EXTERNAL_ADDRESS, value: {{ .Values.externalAddress | quote }} }
        {{- end }}
        {{- if .Values.externalStun }}
        - { name: HAIRPIN_EXTERNAL_STUN, value: {{ .Values.externalStun | quote }} }
        {{- end }}
        - { name: HAIRPIN_RELAY_PORTS, value: "{{ .Values.relayPorts.first }}-{{ .Values.relayPorts.last }}" }
        {{- if .Values.tlsSecret }}
        # Not 443, which wants a privilege that containers are not given.
        - { name: HAIRPIN_LISTEN, value: "0.0.0.0:3478,[::]:3478,0.0.0.0:5349,[::]:5349" }
        - { name: HAIRPIN_CERTIFICATE, value: /tls/tls.crt }
        - { name: HAIRPIN_PRIVATE_KEY, value: /tls/tls.key }
        {{- end }}
        - { name: HAIRPIN_DRAIN_TIMEOUT, value: "{{ .Values.drainSeconds }}s" }
        # Metrics and health for the cluster, on the node's inner address, of whichever family; without a token it answers nothing else from elsewhere.
        - { name: HAIRPIN_ADMIN, value: "[$(POD_IP)]:9641" }
        {{- with .Values.extraEnv }}{{ toYaml . | nindent 8 }}{{- end }}
      ports:
        - { name: turn-udp, containerPort: 3478, protocol: UDP }
        - { name: turn-tcp, containerPort: 3478, protocol: TCP }
        {{- if .Values.tlsSecret }}
        - { name: turns-udp, containerPort: 5349, protocol: UDP }
        - { name: turns-tcp, containerPort: 5349, protocol: TCP }
        {{- end }}
        - { name: admin, containerPort: 9641, protocol: TCP }
      livenessProbe:
        httpGet: { path: /healthz, port: admin }
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 2
        failureThreshold: 1
      resources: {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      volumeMounts:
        - { name: state, mountPath: /var/lib/hairpin }
        {{- if .Values.tlsSecret }}
        - { name: tls, mountPath: /tls, readOnly: true }
        {{- end }}
        {{- if eq .Values.mode "loadbalancer" }}
        - { name: config, mountPath: /etc/hairpin/hairpin.toml, subPathExpr: "$(POD_NAME).toml", readOnly: true }
        {{- end }}
  volumes:
    - { name: state, emptyDir: {} }
    {{- if .Values.tlsSecret }}
    - { name: tls, secret: { secretName: {{ .Values.tlsSecret }} } }
    {{- end }}
    {{- if eq .Values.mode "loadbalancer" }}
    - { name: config, configMap: { name: {{ .Release.Name }} } }
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
