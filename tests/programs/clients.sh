#!/usr/bin/env bash
# `make test-clients`: our API server under clients beside those of `make test`.
#
#   tests/programs/clients.sh [kubectl|python]…     both by default
#
#   kubectl   the scripts of controller/apiserver/tests/access with kubectl 1.35 and 1.32
#   python    tests/clients/official_python.py with the official Python client
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
. tests/programs/apiserver.sh
stop() {
    stop_apiserver
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 1' INT TERM

# A server for the clients that take a kubeconfig.
start() {
    [[ -n $server ]] && return
    kubectl=$(tests/programs/kubectl.sh)
    start_apiserver "$scratch"
}

with_kubectl() {
    local version
    for version in 1.35 1.32; do
        echo "kubectl $version"
        EDGELOOM_KUBECTL=$(tests/programs/kubectl.sh "$version") cargo test --workspace --test access kubectl::
    done
}

with_python() {
    start
    "$(tests/programs/python.sh kubernetes)" -B tests/clients/official_python.py "$scratch/kubeconfig"
}

for client in "${@:-kubectl python}"; do
    for one in $client; do
        case $one in
        kubectl) with_kubectl ;;
        python) with_python ;;
        *)
            echo "there is no client called $one: kubectl or python" >&2
            exit 2
            ;;
        esac
    done
done
