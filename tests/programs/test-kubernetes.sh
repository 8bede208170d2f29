#!/usr/bin/env bash
# `make test-kubernetes`: the suites that need a real cluster, tests/kubernetes. Arguments go to them, such as the name of a test;
# `--ignored figures` are those of `make bench-kubernetes`.
#
# Without KUBECONFIG it brings a cluster up on this machine, and takes it down at the end. With KUBECONFIG the suites run on
# that cluster, which must have two nodes at least and these images:
#
#   EDGELOOM_IMAGE           controller and agents, such as edgeloom.local/edgeloom:test
#   EDGELOOM_WEIGHTS_IMAGE   the model behind a web server, such as edgeloom.local/weights:test
#
# tests/programs/images.sh makes both; what such a cluster cannot be asked to do, such as to lose a node, is skipped by name.
#
# One or two tests that fail on the cluster of this machine get a second try, on a new cluster: nodes that share two cores with
# whatever else runs are sometimes late. They are named as FLAKY.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Each wait has an end of its own; this is for what nobody thought of.
readonly suites_within=2h
# Where two runs meet on one machine, the second waits for its turn.
readonly turn_within=7200
readonly turn=/var/lock/edgeloom-test-kubernetes

EDGELOOM_HELM=$(tests/programs/helm.sh)
EDGELOOM_KUBECTL=$(tests/programs/kubectl.sh)
# A test that fails tells the story of the release; where it stood in the runtime's code says nothing more.
export EDGELOOM_HELM EDGELOOM_KUBECTL RUST_BACKTRACE=${RUST_BACKTRACE:-0}

# The whole workspace, as everywhere: for one package alone Cargo would build its dependencies anew, with other features.
build() {
    cargo build --workspace --bins
    cargo test --workspace --test kubernetes --no-run
}

suites() {
    timeout --foreground "$suites_within" cargo test --workspace --test kubernetes -- --test-threads=1 --nocapture "$@"
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

exec 9> "$turn"
if ! flock --nonblock 9; then
    echo "another make test-kubernetes runs on this machine: waiting for its end" >&2
    flock --timeout "$turn_within" 9 || { echo "it did not end within $turn_within s" >&2; exit 1; }
fi

down() {
    "$home" down "${cluster[@]}"
}
up() {
    down
    # What stays running must not keep the turn.
    KUBECONFIG=$("$home" up "${cluster[@]}" --nodes 3 9>&-)
    export KUBECONFIG
    # shellcheck disable=SC2086 # one word for each archive
    "$home" load "${cluster[@]}" $images
}
output=$(mktemp)
trap 'down; rm -f "$output"' EXIT
trap 'exit 1' INT TERM
up
export EDGELOOM_IMAGE=edgeloom.local/edgeloom:test EDGELOOM_WEIGHTS_IMAGE=edgeloom.local/weights:test
export EDGELOOM_KUBERNETES_HOME=$home EDGELOOM_KUBERNETES_HOME_NAME=test
EDGELOOM_IMAGE_ARCHIVE=$(head -n 1 <<< "$images")
export EDGELOOM_IMAGE_ARCHIVE
if EDGELOOM_OTHER_DEFINITIONS=$(tests/programs/other-kinds.sh); then
    export EDGELOOM_OTHER_DEFINITIONS
else
    echo "skipped: kinds of the Prometheus Operator and of the Gateway API, whose definitions cannot be fetched" >&2
fi
echo "programs, images and cluster: $((SECONDS - begin)) s"

fail() {
    echo "make test-kubernetes: FAILED after $((SECONDS - begin)) s; what failed is named above, each with the story of the release" >&2
    exit 1
}
if ! suites "$@" 9>&- | tee "$output"; then
    # The list at the end of libtest's output.
    mapfile -t failed < <(sed -nE '/^failures:$/,$ s/^    ([a-z0-9_]+(::[a-z0-9_]+)+)$/\1/p' "$output" | sort -u)
    (($# == 0 && ${#failed[@]} >= 1 && ${#failed[@]} <= 2)) || fail
    echo "once more, on a new cluster: ${failed[*]}"
    up
    suites --exact "${failed[@]}" 9>&- || fail
    echo "FLAKY, passed at the second try: ${failed[*]}"
fi
echo "make test-kubernetes: $((SECONDS - begin)) s"
