#!/usr/bin/env bash
# Sourced by scripts of this folder: starts our API server, and waits until a server is ready. `kubectl` has to say where that is.

# The process of the server that `start_apiserver` started.
server=

# until_ready KUBECONFIG PROCESS LOG [SECONDS]: waits until a server answers that it is ready. Fails, with the end of its log, when its
# process ends, or after a minute.
until_ready() {
    local kubeconfig=$1 process=$2 log=$3 seconds=${4:-60} why
    local deadline=$((SECONDS + seconds))
    until [[ -s $kubeconfig ]] && "$kubectl" --kubeconfig "$kubeconfig" --request-timeout=10s get --raw /readyz > /dev/null 2>&1; do
        if ! kill -0 "$process" 2> /dev/null; then
            why="has ended"
        elif ((SECONDS >= deadline)); then
            why="is not ready after $seconds seconds"
        else
            sleep 0.2
            continue
        fi
        echo "the server $why; the end of its log:" >&2
        tail -n 20 "$log" >&2
        return 1
    done
}

# start_apiserver FOLDER: builds our server and starts it with its data, kubeconfig and log in a folder.
start_apiserver() {
    local folder=$1
    cargo build --workspace --bins
    "${CARGO_TARGET_DIR:-$PWD/target}/debug/edgeloom" apiserver --listen 127.0.0.1:0 --data "$folder/data" \
        --kubeconfig "$folder/kubeconfig" > "$folder/server.log" 2>&1 &
    server=$!
    until_ready "$folder/kubeconfig" "$server" "$folder/server.log"
}

# Stops what `start_apiserver` started, if anything.
stop_apiserver() {
    [[ -n $server ]] || return 0
    kill "$server" 2> /dev/null || true
    wait "$server" || true
    server=
}
