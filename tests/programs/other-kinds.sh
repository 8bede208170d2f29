#!/usr/bin/env bash
# Prints the paths of the definitions of kinds that the chart uses and others define, one a line, after fetching them once: those of
# the Prometheus Operator and of the Gateway API, from their own Go modules. Needs Go.
set -euo pipefail

definitions() {
    local module=$1 folder
    shift
    folder=$(go mod download -json "$module" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    for file in "$@"; do
        [[ -f $folder/$file ]] || { echo "$module has no file $file" >&2; exit 1; }
        echo "$folder/$file"
    done
}

definitions github.com/prometheus-operator/prometheus-operator@v0.85.0 \
    example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml
definitions sigs.k8s.io/gateway-api@v1.4.0 \
    config/crd/standard/gateway.networking.k8s.io_{httproutes,gateways}.yaml
