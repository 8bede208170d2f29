#!/usr/bin/env bash
# Installs the system packages that a build or the tests need, if any is missing, and says so in one line.
set -euo pipefail

missing=()
command -v cmake >/dev/null || missing+=(cmake)
command -v c++ >/dev/null || missing+=(g++)
command -v curl >/dev/null || missing+=(curl)
command -v unzip >/dev/null || missing+=(unzip)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
# The store's tests run on it, too.
command -v etcd >/dev/null || missing+=(etcd-server)
# bindgen needs libclang and the headers that come with it.
if ! compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || ! compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null; then
    missing+=(libclang-dev)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing system packages that are missing: ${missing[*]}"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -q >/dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${missing[@]}" >/dev/null
