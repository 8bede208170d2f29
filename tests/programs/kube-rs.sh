#!/usr/bin/env bash
# `make test-kube-rs`: kube-rs's own integration tests, which its crates carry and `cargo test` ignores, against our API server.
#
#   tests/programs/kube-rs.sh [TEST…]     only tests whose names contain one of these
#
#   KUBECONFIG   a server to run them on instead of ours, for instance a real one: then nothing is started
#
# The sources are those of the published crates that Cargo.lock names, as cargo keeps them. What these tests need beside them is fetched
# by cargo; they are compiled once.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Without a machine that runs pods nobody can pass these: they wait for a container, write to it, or read from it.
needs_pods=(
    pod_can_await_conditions pod_can_exec_and_write_to_stdin pod_can_exec_and_write_to_stdin_from_node_proxy can_get_pod_logs_and_evict
)
# Without a scheduler nobody can pass this: it reads how that is.
needs_pods+=(event_recorder_attaches_events_without_namespace)

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
sources=$target/kube-rs
scratch=$(mktemp -d)
kubectl=$(tests/programs/kubectl.sh)
. tests/programs/apiserver.sh
stop() {
    stop_apiserver
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 1' INT TERM

# A workspace of copies: tests of a package from a registry are not run, and a crate that is tested must be the one that others use.
mkdir -p "$sources"
cargo metadata --format-version 1 --locked | python3 -c '
import json, pathlib, shutil, sys

folder = pathlib.Path(sys.argv[1])
members = ["kube", "kube-client", "kube-runtime"]
found = {package["name"]: package for package in json.load(sys.stdin)["packages"] if package["name"] in members}
for name in members:
    copy, origin = folder / name, pathlib.Path(found[name]["manifest_path"]).parent
    version = found[name]["version"]
    if not (copy / f".{version}").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(origin, copy)
        manifest = copy / "Cargo.toml"
        if name != "kube":
            # Its tests use the facade, which cargo leaves out of what is published: the one needs the other.
            features = ", ".join(f"\"{one}\"" for one in ("client", "derive", "runtime", "ws"))
            with manifest.open("a") as file:
                file.write(f"\n[dev-dependencies.kube]\nversion = \"{version}\"\nfeatures = [{features}]\n")
        (copy / f".{version}").touch()
manifest = "[workspace]\nresolver = \"3\"\nmembers = [%s]\n\n[patch.crates-io]\n" % ", ".join(f"\"{name}\"" for name in members)
manifest += "".join(f"{name} = {{ path = \"{name}\" }}\n" for name in members)
(folder / "Cargo.toml").write_text(manifest)
' "$sources"
[[ -e $sources/Cargo.lock ]] || cp Cargo.lock "$sources/Cargo.lock"

skipped=()
for test in "${needs_pods[@]}"; do skipped+=(--skip "$test"); done
# They share a namespace and wait for one another's pods: one after the other.
tests=(cargo test --manifest-path "$sources/Cargo.toml" --target-dir "$target/kube-rs/target" --workspace --lib --no-fail-fast
    --features kube/derive,kube/runtime,kube/ws)
"${tests[@]}" --no-run
if [[ -z ${KUBECONFIG:-} ]]; then
    start_apiserver "$scratch"
    export KUBECONFIG=$scratch/kubeconfig
fi
"${tests[@]}" -- --ignored --test-threads 1 "${skipped[@]}" "$@"
