#!/usr/bin/env bash
# Prints the path of a Python that has the packages which our end-to-end tests or benchmarks drive Edgeloom with.
#
#   tests/programs/python.sh [SET]              installs them first, if need be, into a virtual environment
#   tests/programs/python.sh --installed [SET]  installs nothing: fails when they are missing
#
# SET is `tests` (the default), `kubernetes`: the official client of Kubernetes, or `reference`: the engine that benchmarks compare with, which is built for 15 to 25
# minutes on two cores.
#
# The environment lies in $EDGELOOM_CACHE (default ~/.cache/edgeloom), one for each set of versions, and is made under
# another name and then renamed, under a lock: two at once, or one that is interrupted, leave nothing half made.
set -euo pipefail

install=1
if [[ ${1:-} == --installed ]]; then
    install=
    shift
fi
case ${1:-tests} in
    tests) packages=(openai==3.54.0) ;;
    kubernetes) packages=(kubernetes==37.0.2) ;;
    reference)
        packages=(llama-cpp-python==0.3.36 openai==3.54.0)
        # Vision is not compared, and builds for long.
        export CMAKE_ARGS="-DLLAVA_BUILD=OFF${CMAKE_ARGS:+ $CMAKE_ARGS}"
        ;;
    *)
        echo "there is no set of packages called $1: say tests, kubernetes or reference" >&2
        exit 2
        ;;
esac

cache=${EDGELOOM_CACHE:-$HOME/.cache/edgeloom}
name=python-$(printf '%s\n' "${packages[@]}" | cksum | cut -d' ' -f1)
environment=$cache/$name

if [[ ! -x $environment/bin/python ]]; then
    if [[ ! $install ]]; then
        echo "the Python packages ${packages[*]} are missing: run tests/programs/python.sh ${1:-} once" >&2
        exit 1
    fi
    mkdir -p "$cache"
    exec 9>"$cache/$name.lock"
    flock 9
    if [[ ! -x $environment/bin/python ]]; then
        echo "installing ${packages[*]} into $environment" >&2
        rm -rf "$environment.new"
        python3 -m venv "$environment.new" >&2
        "$environment.new/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" >&2
        # Only bin/python is used afterwards, and it finds its packages wherever the folder lies.
        mv "$environment.new" "$environment"
    fi
fi
echo "$environment/bin/python"
