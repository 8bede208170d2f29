#!/usr/bin/env bash
# `make test-kubernetes`: the suites that need a real cluster, tests/kubernetes. Arguments go to them, such as the name of a test.
#
# Without KUBECONFIG it brings a cluster up on this machine, and takes it down at the end. With KUBECONFIG the suites run on
# that cluster, which must have two nodes at least and these images:
#
#   EDGELOOM_IMAGE           controller and agents, such as edgeloom.local/edgeloom:test
#   EDGELOOM_WEIGHTS_IMAGE   the model behind a web server, such as edgeloom.local/weights:test
#
# tests/programs/images.sh makes both; what such a cluster cannot be asked to do, such as to lose a node, is skipped by name.
set -euo pipefail
cd "$(dirname "$0")/../.."

EDGELOOM_HELM=$(tests/programs/helm.sh)
EDGELOOM_KUBECTL=$(tests/programs/kubectl.sh)
export EDGELOOM_HELM EDGELOOM_KUBECTL

# The whole workspace, as everywhere: for one package alone Cargo would build its dependencies anew, with other features.
build() {
    cargo build --workspace --bins
    cargo test --workspace --test kubernetes --no-run
}

suites() {
    cargo test --workspace --test kubernetes -- --test-threads=1 --nocapture "$@"
}

if [[ -n ${KUBECONFIG:-} ]]; then
    for image in EDGELOOM_IMAGE EDGELOOM_WEIGHTS_IMAGE; do
        if [[ -z ${!image:-} ]]; then
            echo "KUBECONFIG is set, so $image must name an image that this cluster has: see tests/programs/images.sh" >&2
            exit 1
        fi
    done
    suites "$@"
    exit
fi

begin=$SECONDS
home=$(tests/programs/kubernetes-home.sh)/kubernetes-home
(cd tests/kubernetes-home && go vet . ./internal/... ./pause ./serve && go test ./internal/...)
cluster=(--name test)
build
images=$(tests/programs/images.sh)

down() {
    "$home" down "${cluster[@]}"
}
down
trap down EXIT
trap 'exit 1' INT TERM
KUBECONFIG=$("$home" up "${cluster[@]}" --nodes 3 --network 10.124)
# shellcheck disable=SC2086 # one word for each archive
"$home" load "${cluster[@]}" $images
export KUBECONFIG EDGELOOM_IMAGE=edgeloom.local/edgeloom:test EDGELOOM_WEIGHTS_IMAGE=edgeloom.local/weights:test
export EDGELOOM_KUBERNETES_HOME=$home EDGELOOM_KUBERNETES_HOME_NAME=test
EDGELOOM_IMAGE_ARCHIVE=$(head -n 1 <<< "$images")
EDGELOOM_OTHER_DEFINITIONS=$(tests/programs/other-kinds.sh)
export EDGELOOM_IMAGE_ARCHIVE EDGELOOM_OTHER_DEFINITIONS
echo "programs, images and cluster: $((SECONDS - begin)) s"
suites "$@"
echo "make test-kubernetes: $((SECONDS - begin)) s"
