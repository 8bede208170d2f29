#!/usr/bin/env bash
# `make demo`: runs examples/01-first-thread, asks one question and prints the answer as it streams. Runs on until Ctrl-C;
# with DEMO_EXIT=1 it ends after the answer.
#
#   EDGELOOM        the executable (default: what `cargo build` made)
#   EDGELOOM_DATA   where everything is kept (default .edgeloom)
set -euo pipefail
cd "$(dirname "$0")/../.."

edgeloom=${EDGELOOM:-${CARGO_TARGET_DIR:-target}/debug/edgeloom}
data=${EDGELOOM_DATA:-.edgeloom}
question="What is an edge server? Answer in two sentences."

# The example's manifests, with the place where the model really is.
manifests=$(mktemp -d)
model=$(tests/programs/model.py)
for manifest in examples/01-first-thread/*.yaml; do
    sed "s|file:///var/lib/edgeloom/models/SmolLM2-135M-Instruct.Q4_1.gguf|file://$model|" "$manifest" \
        > "$manifests/$(basename "$manifest")"
done

up=
stop() {
    if [[ -n $up ]]; then
        kill -TERM "$up" 2> /dev/null || true
        wait "$up" || true
    fi
    rm -rf "$manifests"
}
trap stop EXIT
trap 'exit 0' INT TERM

rm -f "$data/up.json"
"$edgeloom" up --filename "$manifests" --data "$data" &
up=$!
until grep -qs '"phase": "Ready"' "$data/up.json"; do
    if ! kill -0 "$up" 2> /dev/null; then
        wait "$up" # with its exit status
        exit 1
    fi
    sleep 0.2
done

printf '\n> %s\n' "$question"
"$edgeloom" chat llmservice/assistant "$question" --wait 60 --kubeconfig "$data/kubeconfig"

if [[ ${DEMO_EXIT:-} == 1 ]]; then
    exit 0
fi
printf '\nIt runs on. Ctrl-C stops everything.\n'
wait "$up"
