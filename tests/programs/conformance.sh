#!/usr/bin/env bash
# `make test-conformance`: upstream's own conformance suite, compiled from its Go modules, against our API server.
#
#   tests/programs/conformance.sh [ARGUMENTS of tests/conformance/run.py, such as --only Watchers]
#
#   KUBECONFIG     a server to run it on instead of ours, for instance a real one: then nothing is started
#   CONFORMANCE    which specs: `all` (the default), `core` (those that must pass) or `extra`
#
# Without Go it says so and ends well: nothing else needs what is compiled here.
set -euo pipefail
cd "$(dirname "$0")/../.."

case ${CONFORMANCE:-all} in
all) lists=(--must-pass tests/conformance/core.txt --report tests/conformance/extra.txt) ;;
core) lists=(--must-pass tests/conformance/core.txt) ;;
extra) lists=(--report tests/conformance/extra.txt) ;;
*)
    echo "there are no specs called $CONFORMANCE: say all, core or extra" >&2
    exit 2
    ;;
esac
if ! command -v go > /dev/null; then
    echo "skipped: the conformance suite is compiled with Go, which is missing; tests/kubernetes-home/go.mod says which version"
    exit
fi

target=${CARGO_TARGET_DIR:-$PWD/target}
built=$target/kubernetes-home
mkdir -p "$built"
[[ -x $built/e2e.test ]] || echo "compiling upstream's suite: some minutes, once" >&2
(cd tests/kubernetes-home && CGO_ENABLED=0 go test -c -trimpath -ldflags='-s -w' -o "$built/e2e.test" ./e2e)
kubectl=$(tests/programs/kubectl.sh)
. tests/programs/apiserver.sh

if [[ -z ${KUBECONFIG:-} ]]; then
    scratch=$(mktemp -d)
    trap 'stop_apiserver; rm -rf "$scratch"' EXIT
    trap 'exit 1' INT TERM
    start_apiserver "$scratch"
    KUBECONFIG=$scratch/kubeconfig
fi
python3 -B tests/conformance/run.py --suite "$built/e2e.test" --kubeconfig "$KUBECONFIG" --kubectl "$kubectl" \
    --logs "$target/conformance" "${lists[@]}" "$@"
