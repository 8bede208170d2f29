#!/usr/bin/env bash
# Prints the path of a Python that has the packages which our end-to-end tests drive Edgeloom with.
#
#   tests/programs/python.sh              installs them first, if need be, into a virtual environment
#   tests/programs/python.sh --installed  installs nothing: fails when they are missing
#
# The environment lies in $EDGELOOM_CACHE (default ~/.cache/edgeloom), one for each set of versions, and is made under
# another name and then renamed, under a lock: two at once, or one that is interrupted, leave nothing half made.
set -euo pipefail

packages=(openai==3.54.0)

cache=${EDGELOOM_CACHE:-$HOME/.cache/edgeloom}
name=python-$(printf '%s\n' "${packages[@]}" | cksum | cut -d' ' -f1)
environment=$cache/$name

if [[ ! -x $environment/bin/python ]]; then
    if [[ ${1:-} == --installed ]]; then
        echo "the Python packages of the tests are missing: run tests/programs/python.sh once" >&2
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
