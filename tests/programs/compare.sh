#!/usr/bin/env bash
# `make test-comparison`: the same requests to our API server and to a real kube-apiserver, their answers field by field.
#
#   tests/programs/compare.sh [ARGUMENTS of tests/conformance/compare.py, such as --only deployment]
#
#   THEIRS   the kubeconfig of the real one, of which the caller is an administrator; without it a control plane without nodes
#            is brought up on this machine, for which root and Go are needed
#   OURS     the kubeconfig of ours; without it one is started
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
scratch=$(mktemp -d)
kubectl=$(tests/programs/kubectl.sh)
server= home=
stop() {
    if [[ -n $server ]]; then
        kill "$server" 2> /dev/null || true
        wait "$server" || true
    fi
    if [[ -n $home ]]; then
        "$home" down --name compare
    fi
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 1' INT TERM

if [[ -z ${THEIRS:-} ]]; then
    lacks=$(tests/programs/kubernetes-home.sh --lacks)
    if [[ -n $lacks ]]; then
        printf 'skipped: no real kube-apiserver can be brought up here. What is missing:\n%s\n' "$lacks"
        exit
    fi
    home=$(tests/programs/kubernetes-home.sh)/kubernetes-home
    "$home" down --name compare
    THEIRS=$("$home" up --name compare --nodes 0 --network 10.125)
fi
if [[ -z ${OURS:-} ]]; then
    cargo build --workspace --bins
    OURS=$scratch/kubeconfig
    "$target/debug/edgeloom" apiserver --listen 127.0.0.1:0 --data "$scratch/data" --kubeconfig "$OURS" \
        > "$scratch/server.log" 2>&1 &
    server=$!
    for ((tries = 0; tries < 600; tries++)); do
        "$kubectl" --kubeconfig "$OURS" get --raw /readyz > /dev/null 2>&1 && break
        if ! kill -0 "$server" 2> /dev/null; then
            cat "$scratch/server.log" >&2
            exit 1
        fi
        sleep 0.1
    done
fi
python3 -B tests/conformance/compare.py --kubectl "$kubectl" --ours "$OURS" --theirs "$THEIRS" "$@"
