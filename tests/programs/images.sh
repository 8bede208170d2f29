#!/usr/bin/env bash
# Makes the images that the suites on a cluster need, as archives for `kubernetes-home load`, `kind load image-archive` or
# `docker load`, and prints their paths, one a line. Needs Go, and what was built by `cargo build --bins`.
#
#   edgeloom.local/edgeloom:test   controller and agents: what cargo built
#   edgeloom.local/weights:test    the model of the tests behind a web server
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
built=$target/kubernetes-home
mkdir -p "$built"
tools=tests/kubernetes-home
(cd "$tools" && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$built/" . ./serve)

cargo build --workspace --bins >&2
model=$(python3 tests/programs/model.py)
"$built/kubernetes-home" image --binary "$target/debug/edgeloom" --name edgeloom.local/edgeloom:test --output "$built/edgeloom.tar"
"$built/kubernetes-home" image --binary "$built/serve" --name edgeloom.local/weights:test --output "$built/weights.tar" \
    --file "/files/$(basename "$model")=$model"
printf '%s\n' "$built/edgeloom.tar" "$built/weights.tar"
