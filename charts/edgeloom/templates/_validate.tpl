{{/* What no schema says well: forms of texts, and values that contradict one another. Each is refused with what would be right. */}}
{{- define "edgeloom.validate" -}}
{{- $values := .Values -}}
{{- with $values.image.digest -}}
{{- if not (regexMatch "^sha256:[0-9a-f]{64}$" .) -}}
{{- fail (printf "image.digest is %q; it must be sha256: and 64 hexadecimal digits, or empty" .) -}}
{{- end -}}
{{- end -}}
{{- if and $values.router.ingress.enabled (not $values.router.ingress.hosts) -}}
{{- fail "router.ingress.enabled needs router.ingress.hosts: the names under which clients reach the router, such as [edgeloom.example.com]" -}}
{{- end -}}
{{- if not (hasPrefix "/" $values.router.ingress.path) -}}
{{- fail (printf "router.ingress.path is %q; it must begin with a slash, such as /" $values.router.ingress.path) -}}
{{- end -}}
{{- if and $values.router.httpRoute.enabled (not $values.router.httpRoute.parentRefs) -}}
{{- fail "router.httpRoute.enabled needs router.httpRoute.parentRefs: the Gateways that carry the route, such as [{name: gateway, namespace: gateways}]" -}}
{{- end -}}
{{- if and $values.router.service.nodePort (eq $values.router.service.type "ClusterIP") -}}
{{- fail "router.service.nodePort needs router.service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if not (regexMatch "^([0-9]+(ms|s|m|h))+$" $values.metrics.serviceMonitor.interval) -}}
{{- fail (printf "metrics.serviceMonitor.interval is %q; it must be a duration, such as 15s or 1m" $values.metrics.serviceMonitor.interval) -}}
{{- end -}}
{{- with $values.traces.otlpEndpoint -}}
{{- if not (regexMatch "^https?://[^/ ]+" .) -}}
{{- fail (printf "traces.otlpEndpoint is %q; it must be an address such as http://collector.observability.svc:4318, or empty" .) -}}
{{- end -}}
{{- end -}}
{{- with $values.metrics.prometheusRule.runbookUrl -}}
{{- if not (regexMatch "^https?://[^/ ]+[^# ]*$" .) -}}
{{- fail (printf "metrics.prometheusRule.runbookUrl is %q; it must be an address without a fragment, such as https://wiki.example.com/edgeloom, or empty" .) -}}
{{- end -}}
{{- end -}}
{{- if eq (include "edgeloom.serviceAccount" (list . "controller")) (include "edgeloom.serviceAccount" (list . "agent")) -}}
{{- fail "controller.serviceAccount.name and agent.serviceAccount.name must differ: an agent may do less than the controller" -}}
{{- end -}}
{{- include "edgeloom.validateResources" (list "controller" $values.controller.resources) -}}
{{- include "edgeloom.validateAgent" (list "agent" $values.agent) -}}
{{- range $name, $pool := $values.agent.pools -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$" $name) -}}
{{- fail (printf "agent.pools.%s: a pool's name is at most 15 lower-case letters, digits and hyphens, such as gpu" $name) -}}
{{- end -}}
{{- include "edgeloom.validateAgent" (list (printf "agent.pools.%s" $name) $pool) -}}
{{- end -}}
{{- end -}}

{{/* Values of an agent or of a pool, which may lack any: (list "agent" values). */}}
{{- define "edgeloom.validateAgent" -}}
{{- $where := index . 0 -}}
{{- $agent := index . 1 -}}
{{- include "edgeloom.validateResources" (list $where ($agent.resources | default dict)) -}}
{{- $path := dig "cache" "hostPath" "path" "/var/lib/edgeloom" $agent -}}
{{- if not (regexMatch "^/[^/]+" $path) -}}
{{- fail (printf "%s.cache.hostPath.path is %q; it must be a folder of its own, as an absolute path such as /var/lib/edgeloom" $where $path) -}}
{{- end -}}
{{- with dig "cache" "emptyDir" "sizeLimit" "" $agent -}}
{{- include "edgeloom.validateQuantity" (list (printf "%s.cache.emptyDir.sizeLimit" $where) .) -}}
{{- end -}}
{{- end -}}

{{- define "edgeloom.validateResources" -}}
{{- $where := index . 0 -}}
{{- range $kind, $quantities := omit (index . 1) "claims" -}}
{{- range $resource, $quantity := $quantities -}}
{{- include "edgeloom.validateQuantity" (list (printf "%s.resources.%s.%s" $where $kind $resource) $quantity) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "edgeloom.validateQuantity" -}}
{{- $quantity := toString (index . 1) -}}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$" $quantity) -}}
{{- fail (printf "%s is %q; it must be a Kubernetes quantity, such as 500m, 2 or 2Gi" (index . 0) $quantity) -}}
{{- end -}}
{{- end -}}
