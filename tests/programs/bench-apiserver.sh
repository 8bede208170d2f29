#!/usr/bin/env bash
# `make bench-apiserver`: the same load on this API server and on the real kube-apiserver with etcd, one after the other on this machine, and a
# table with ratios. Both answer a write when it is on disk.
#
#   BENCH_OBJECTS_MAX=10000   a shorter run: memory is told with this many objects at most (100,000 otherwise)
#
# The real programs are compiled from their Go modules (tests/kubernetes-home), which takes minutes, once. Without Go this server is
# measured alone.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
cargo build --release -p apiserver --example serve
cargo bench -p apiserver --bench load --no-run
kubectl=$(tests/programs/kubectl.sh)
. tests/programs/apiserver.sh

real=
if command -v go > /dev/null; then
    release=$(sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\)$|\1|p' tests/kubernetes-home/go.mod)
    programs=$(realpath -m "$target")/kubernetes-home/kubernetes-programs
    [[ -x $programs ]] || echo "building Kubernetes $release: some minutes, once" >&2
    (cd tests/kubernetes-home && CGO_ENABLED=0 go build -trimpath \
        -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$release" -o "$programs" ./programs)
    real=yes
else
    echo "Go is missing (its version: tests/kubernetes-home/go.mod): there is no real kube-apiserver to compare with, and this server is measured alone" >&2
fi

folder=$(mktemp -d)
processes=()
end() {
    for process in "${processes[@]}"; do kill "$process" 2> /dev/null || true; done
    wait
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 1' INT TERM

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

"$target/release/examples/serve" "$folder/own" 127.0.0.1:0 > "$folder/own.log" 2>&1 &
own=$!
processes+=("$own")
until_ready "$folder/own/kubeconfig" "$own" "$folder/own.log"
servers=("edgeloom=$folder/own/kubeconfig,$own")

if [[ $real ]]; then
    # The same certificates: what is compared is not the cryptography.
    pki=$folder/own/pki
    clients=http://127.0.0.1:$(free_port)
    peers=http://127.0.0.1:$(free_port)
    port=$(free_port)
    "$programs" etcd --data-dir "$folder/etcd" --listen-client-urls "$clients" --advertise-client-urls "$clients" \
        --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers" \
        > "$folder/etcd.log" 2>&1 &
    etcd=$!
    processes+=("$etcd")
    "$programs" kube-apiserver --etcd-servers "$clients" --bind-address 127.0.0.1 --secure-port "$port" \
        --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/24 --authorization-mode Node,RBAC \
        --cert-dir "$folder" --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" --client-ca-file "$pki/ca.crt" \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/ca.crt" \
        --service-account-signing-key-file "$pki/ca.key" > "$folder/kube-apiserver.log" 2>&1 &
    apiserver=$!
    processes+=("$apiserver")
    sed "s|https://127.0.0.1:[0-9]*|https://127.0.0.1:$port|" "$folder/own/kubeconfig" > "$folder/real.kubeconfig"
    # On a busy machine it takes its time.
    until_ready "$folder/real.kubeconfig" "$apiserver" "$folder/kube-apiserver.log" 180
    # First: the yardstick.
    servers=("kube-apiserver=$folder/real.kubeconfig,$apiserver,$etcd" "${servers[@]}")
    "$kubectl" --kubeconfig "$folder/real.kubeconfig" version
fi

cargo bench -p apiserver --bench load -- "${servers[@]}"
