#!/usr/bin/env bash
# The cluster for tests: builds its programs, and hands the arguments on to kubernetes-home.
#
#   tests/programs/kubernetes-home.sh              builds, and prints the folder of what was built
#   tests/programs/kubernetes-home.sh --lacks      prints what this machine lacks, one thing a line; builds nothing
#   tests/programs/kubernetes-home.sh --fetch      installs packages and fetches sources that are missing; builds nothing
#   tests/programs/kubernetes-home.sh --rehearse   builds, brings a cluster of one node up and takes it down
#   tests/programs/kubernetes-home.sh COMMAND …    builds, and runs a command, such as `up --nodes 3`
set -euo pipefail
cd "$(dirname "$0")/../kubernetes-home"

# Both are those of go.mod.
go_version=$(sed -n 's/^go //p' go.mod)
release=$(sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\)$|\1|p' go.mod)
built=${CARGO_TARGET_DIR:-$PWD/../../target}/kubernetes-home
# What a cluster of three nodes with its images and a running release takes, with something to spare.
readonly memory_needed_mib=3000 disk_needed_mib=6000

lacks() {
    [[ $(uname -s) == Linux ]] || echo "Linux: nodes are made of its namespaces"
    if [[ $(id -u) -ne 0 ]]; then
        echo "root: namespaces and mounts need it"
    elif ! unshare --mount --net --uts --pid --fork mount -t tmpfs none /mnt 2> /dev/null; then
        echo "the right to make namespaces and mounts, which root does not have in most containers"
    fi
    [[ -w /sys/fs/cgroup/cgroup.procs || -w /sys/fs/cgroup/memory/cgroup.procs ]] || echo "control groups that can be written to"
    if ! command -v go > /dev/null; then
        echo "Go $go_version or newer"
    elif ! go list -m > /dev/null 2>&1; then
        echo "Go $go_version or newer: this one is $(cd / && go env GOVERSION), and cannot fetch another"
    fi
    (($(awk '/^MemAvailable/ {print int($2 / 1024)}' /proc/meminfo) >= memory_needed_mib)) || echo "$memory_needed_mib MiB of free memory"
    (($(df --output=avail --block-size=1M /var/cache | tail -n 1) >= disk_needed_mib)) || echo "$disk_needed_mib MiB of free disk at /var/cache"
    [[ -n ${packages[*]} ]] && ! command -v apt-get > /dev/null && echo "programs of the packages: ${packages[*]}"
    true
}

# Debian's packages whose programs are missing.
packages=()
command -v containerd > /dev/null || packages+=(containerd)
command -v runc > /dev/null || packages+=(runc)
command -v nft > /dev/null || packages+=(nftables)
command -v ip > /dev/null || packages+=(iproute2)
command -v conntrack > /dev/null || packages+=(conntrack)
command -v strip > /dev/null || packages+=(binutils)
[[ -x /usr/lib/cni/bridge ]] || packages+=(containernetworking-plugins)

if [[ ${1:-} == --lacks ]]; then
    lacks
    exit
fi
missing=$(lacks)
if [[ -n $missing ]]; then
    printf 'A cluster cannot be brought up here. What is missing:\n%s\n' "$missing" >&2
    exit 1
fi
if [[ ${#packages[@]} -gt 0 ]]; then
    echo "Installing system packages that are missing: ${packages[*]}" >&2
    apt-get update -q > /dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${packages[@]}" > /dev/null
fi
if [[ ${1:-} == --fetch ]]; then
    go mod download
    exit
fi

mkdir -p "$built"
[[ -x $built/kubernetes-programs ]] || echo "building Kubernetes $release: some minutes, once" >&2
export CGO_ENABLED=0
go build -trimpath -ldflags='-s -w' -o "$built/" . ./pause ./serve
go build -trimpath -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$release" -o "$built/kubernetes-programs" ./programs

if [[ $# -eq 0 ]]; then
    echo "$built"
elif [[ $1 == --rehearse ]]; then
    trap '"$built/kubernetes-home" down --name rehearse' EXIT
    "$built/kubernetes-home" down --name rehearse
    "$built/kubernetes-home" up --name rehearse --nodes 1 > /dev/null
else
    EDGELOOM_KUBECTL=${EDGELOOM_KUBECTL:-$(../programs/kubectl.sh)} exec "$built/kubernetes-home" "$@"
fi
