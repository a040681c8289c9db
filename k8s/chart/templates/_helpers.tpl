{{/*
The ConfigMaps: "hitmesh.data.NAME" is the data of a ConfigMap as JSON, and "hitmesh.name" is its name, which ends in a
hash of the data. kustomize computes the same hash, so the names are those of the overlays.
*/}}

{{/* The name of a ConfigMap: (list . NAME). */}}
{{- define "hitmesh.name" -}}
{{- $data := include (printf "hitmesh.data.%s" (index . 1)) (index . 0) | fromJson -}}
{{- $sum := dict "data" $data "kind" "ConfigMap" "name" "" | toJson | sha256sum | trunc 10 -}}
{{- printf "%s-%s" (index . 1) ($sum | replace "0" "g" | replace "1" "h" | replace "3" "k" | replace "a" "m" | replace "e" "t") -}}
{{- end -}}

{{/* The settings of a service, with those of tokens: (list . NAME PREFIX). */}}
{{- define "hitmesh.settings" -}}
{{- $root := index . 0 -}}
{{- $data := deepCopy (index $root.Values (index . 1)).settings -}}
{{- $tokens := $root.Values.tokens -}}
{{- if and $tokens.enabled (index . 2) -}}
{{- $_ := set $data (printf "%sJWKS" (index . 2)) (printf "https://%s%s" $tokens.host $tokens.path) -}}
{{- $_ := set $data (printf "%sJWT_ISSUER" (index . 2)) $tokens.issuer -}}
{{- $_ := set $data (printf "%sJWT_AUDIENCES" (index . 2)) (join "," $tokens.audiences) -}}
{{- end -}}
{{- toJson $data -}}
{{- end -}}

{{- define "hitmesh.data.collector" -}}{{- include "hitmesh.settings" (list . "collector" "") -}}{{- end -}}
{{- define "hitmesh.data.processor" -}}{{- include "hitmesh.settings" (list . "processor" "HITMESH_PROCESSOR_") -}}{{- end -}}
{{- define "hitmesh.data.settler" -}}{{- include "hitmesh.settings" (list . "settler" "HITMESH_PROCESSOR_") -}}{{- end -}}
{{- define "hitmesh.data.reporter" -}}{{- include "hitmesh.settings" (list . "reporter" "HITMESH_REPORTER_") -}}{{- end -}}
{{- define "hitmesh.data.control" -}}{{- include "hitmesh.settings" (list . "control" "HITMESH_CONTROL_") -}}{{- end -}}

{{- define "hitmesh.data.stores" -}}
{{- $stores := .Values.stores -}}
{{- $url := printf "servers:?kafka=%s&cassandra=%s&broker=%s&coordinator=%s%s" $stores.kafka.address $stores.cassandra.address $stores.broker.address $stores.coordinator.address $stores.options -}}
{{- dict "url" $url | toJson -}}
{{- end -}}

{{- define "hitmesh.data.envoy" -}}
{{- dict "envoy.yaml" (printf "%s\n" (include "hitmesh.envoy" .)) | toJson -}}
{{- end -}}

{{/* Envoy's names for the virtual host: each host with and without a port. */}}
{{- define "hitmesh.domains" -}}
{{- $domains := list -}}
{{- range .Values.hosts -}}
{{- $domains = append $domains (printf "\"%s\", \"%s:*\"" . .) -}}
{{- end -}}
{{- join ", " $domains -}}
{{- end -}}

{{/* The audiences as a list of quoted texts. */}}
{{- define "hitmesh.audiences" -}}
{{- $audiences := list -}}
{{- range .Values.tokens.audiences -}}
{{- $audiences = append $audiences (printf "%q" .) -}}
{{- end -}}
{{- join ", " $audiences -}}
{{- end -}}
