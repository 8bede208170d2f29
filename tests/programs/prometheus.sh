#!/usr/bin/env bash
# Prints the folder of the programs `prometheus` and `promtool`.
#
#   tests/programs/prometheus.sh              fetches Debian's package first, if need be, without installing it
#   tests/programs/prometheus.sh --installed  fetches nothing: fails when they are missing
#
# Those on the PATH are used when there are any. Otherwise the package is unpacked in $EDGELOOM_CACHE (default
# ~/.cache/edgeloom): no service is started, and nothing of the system changes.
set -euo pipefail

if program=$(command -v prometheus) && command -v promtool >/dev/null; then
    dirname "$program"
    exit
fi

folder=${EDGELOOM_CACHE:-$HOME/.cache/edgeloom}/prometheus
if [[ ! -x $folder/usr/bin/promtool ]]; then
    if [[ ${1:-} == --installed ]]; then
        echo "prometheus and promtool are missing: run tests/programs/prometheus.sh once" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$folder")"
    exec 9>"$folder.lock"
    flock 9
    if [[ ! -x $folder/usr/bin/promtool ]]; then
        echo "fetching Debian's prometheus into $folder" >&2
        rm -rf "$folder.new"
        mkdir -p "$folder.new"
        (
            cd "$folder.new"
            if ! apt-get download -q prometheus >/dev/null 2>&1; then
                as_root=()
                [[ $(id -u) -eq 0 ]] || as_root=(sudo)
                "${as_root[@]}" apt-get update -q >/dev/null
                apt-get download -q prometheus >/dev/null 2>&1
            fi
            dpkg-deb --extract prometheus_*.deb .
            rm prometheus_*.deb
        )
        mv "$folder.new" "$folder"
    fi
fi
echo "$folder/usr/bin"
