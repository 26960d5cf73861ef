# Shared by the peers' scripts: options, a free port, a directory of one's own, and an end that leaves nothing behind. Sourced, never run.
# shellcheck shell=bash

peer_data=""
peer_server=""
peer_load=""

peer_fail() {
    echo "${0##*/}: $2" >&2
    exit "$1"
}

# peer_need PROGRAM PACKAGE: exit 2 with the package's name where the program is missing.
peer_need() {
    command -v "$1" >/dev/null 2>&1 || peer_fail 2 "$1 is missing: apt-get install $2"
}

peer_number() {
    [[ $2 =~ ^[1-9][0-9]{0,9}$ ]] || peer_fail 2 "$1 wants a number of at least 1, not '$2'"
}

# Two cores are the contract of the figures: the server has core 0, the load core 1.
peer_need_cores() {
    if ! taskset -c 0 true 2>/dev/null || ! taskset -c 1 true 2>/dev/null; then
        peer_fail 2 "needs cores 0 and 1: one for the server, one for the load"
    fi
}

peer_stop() {
    local pid=$1 signal=$2 waited=0

    [ -n "$pid" ] || return 0
    kill -s "$signal" "$pid" 2>/dev/null
    while kill -0 "$pid" 2>/dev/null && [ $waited -lt 100 ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    return 0
}

peer_cleanup() {
    trap '' INT TERM HUP
    peer_stop "$peer_load" TERM
    peer_stop "$peer_server" "${peer_stop_signal:-TERM}"
    if [ -n "$peer_data" ]; then
        rm -rf -- "$peer_data"
    fi
}

# bash runs a trap only when the foreground command has ended, so whatever takes long is started with `&` and waited for.
peer_arm() {
    trap peer_cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}

# A port that nobody answers on now; whoever starts a server on it checks that the one answering is its own.
peer_port() {
    local port

    for _ in {1..50}; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    return 1
}

# peer_run FILE COMMAND...: the load on core 1, its output into FILE.
peer_run() {
    local out=$1 status

    shift
    taskset -c 1 "$@" >"$out" 2>"$out.err" &
    peer_load=$!
    wait "$peer_load"
    status=$?
    peer_load=""
    if [ $status -ne 0 ]; then
        cat "$out.err" >&2
        peer_fail 1 "the load ended with $status"
    fi
}
