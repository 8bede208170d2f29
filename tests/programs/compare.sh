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

scratch=$(mktemp -d)
kubectl=$(tests/programs/kubectl.sh)
. tests/programs/apiserver.sh
home=
stop() {
    stop_apiserver
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
    start_apiserver "$scratch"
    OURS=$scratch/kubeconfig
fi
python3 -B tests/conformance/compare.py --kubectl "$kubectl" --ours "$OURS" --theirs "$THEIRS" "$@"
