#!/usr/bin/env bash
# Prints the folder of the newest libclang, with which the bindings to llama.cpp are generated; nothing when there is none.
set -euo pipefail
shopt -s nullglob

newest=
for library in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib64/libclang*.so* /usr/local/opt/llvm/lib/libclang.dylib \
    /opt/homebrew/opt/llvm/lib/libclang.dylib; do
    [[ -e $library && $library != *libclang-cpp* ]] || continue
    folder=$(dirname "$library")
    newest=$(printf '%s\n%s\n' "$newest" "$folder" | sort -V | tail -n 1)
done
[[ -z $newest ]] || echo "$newest"
