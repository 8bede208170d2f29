#!/usr/bin/env bash
# `make test-clients`: our API server under clients beside those of `make test`.
#
#   tests/programs/clients.sh [kubectl|python]…     both by default
#
#   kubectl   the scripts of controller/apiserver/tests/access with kubectl 1.35 and 1.32
#   python    tests/clients/official_python.py with the official Python client
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
scratch=$(mktemp -d)
server=
stop() {
    if [[ -n $server ]]; then
        kill "$server" 2> /dev/null || true
        wait "$server" || true
    fi
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 1' INT TERM

# A server for the clients that take a kubeconfig.
start() {
    [[ -n $server ]] && return
    cargo build --workspace --bins
    local kubectl
    kubectl=$(tests/programs/kubectl.sh)
    "$target/debug/edgeloom" apiserver --listen 127.0.0.1:0 --data "$scratch/data" --kubeconfig "$scratch/kubeconfig" \
        > "$scratch/server.log" 2>&1 &
    server=$!
    for ((tries = 0; tries < 600; tries++)); do
        "$kubectl" --kubeconfig "$scratch/kubeconfig" get --raw /readyz > /dev/null 2>&1 && return
        if ! kill -0 "$server" 2> /dev/null; then
            cat "$scratch/server.log" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "the server is not ready after a minute" >&2
    exit 1
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
