#!/usr/bin/env bash
# Redis at the engine's own work: one Lua script checks for a duplicate, takes stock if there is enough, writes the order as a hash and its
# expiry into a sorted set; the append-only file is flushed at every write. 50 clients; server on core 0, load on core 1; quote the best of
# the pipelines.
#
# redis_same_work.sh [--quick] [--requests N] [--on-demand] [DIR]
#   DIR         where the data directory is made, on the file system that the engine is measured on (default: here)
#   --quick     pipelines 16 and 64 only, 100000 requests each
#   --requests  requests a pipeline (default 300000)
#   --on-demand says {"case":"ready"}, then measures once for every line `PIPELINE REQUESTS` on stdin, until its end
# One JSON line a pipeline on stdout. Exit 0 measured, 1 failed, 2 usage or a missing program.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/peers/peer.sh
. "$here/peer.sh"

pipelines="1 16 64" requests="" quick=0 on_demand=0 where=.
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=1 ;;
    --on-demand) on_demand=1 ;;
    --requests) requests=${2:-} && peer_number --requests "$requests" && shift ;;
    -*) peer_fail 2 "unknown option $1; usage: redis_same_work.sh [--quick] [--requests N] [--on-demand] [DIR]" ;;
    *) where=$1 ;;
    esac
    shift
done
if [ $quick = 1 ]; then
    pipelines="16 64"
fi
requests=${requests:-$([ $quick = 1 ] && echo 100000 || echo 300000)}
skus=10000

peer_need taskset util-linux
peer_need redis-server redis-server
peer_need redis-cli redis-tools
peer_need redis-benchmark redis-tools
peer_need_cores
[ -d "$where" ] || peer_fail 2 "no directory $where"

peer_arm
peer_data=$(mktemp -d "$(cd "$where" && pwd)/redis.XXXXXX") || peer_fail 1 "cannot make a directory in $where"

cli() {
    redis-cli -h 127.0.0.1 -p "$port" "$@"
}

# The port may be taken between the look and the start, so the server that answers must be the one started here.
start_server() {
    port=$(peer_port) || return 1
    taskset -c 0 redis-server --bind 127.0.0.1 --port "$port" --dir "$peer_data" --daemonize no --save "" \
        --appendonly yes --appendfsync always >"$peer_data/log" 2>&1 &
    peer_server=$!
    for _ in {1..100}; do
        kill -0 "$peer_server" 2>/dev/null || return 1
        [ "$(cli info server 2>/dev/null | tr -d '\r' | sed -n 's/^process_id://p')" = "$peer_server" ] && return 0
        sleep 0.1
    done
    return 1
}

for _ in 1 2 3; do
    start_server && break
    peer_stop "$peer_server" TERM
    peer_server=""
done
[ -n "$peer_server" ] || peer_fail 1 "redis-server does not start: $(tail -n 3 "$peer_data/log" 2>/dev/null)"

sha=$(cli -x script load <"$here/redis_place.lua")
[[ $sha =~ ^[0-9a-f]{40}$ ]] || peer_fail 1 "the script is refused: $sha"
awk -v n=$skus 'BEGIN { for (i = 0; i < n; i++) printf "SET sku:%012d 1000000000\r\n", i }' | cli --pipe >"$peer_data/stocked" 2>&1 ||
    peer_fail 1 "stocking failed: $(cat "$peer_data/stocked")"
version=$(cli info server | tr -d '\r' | sed -n 's/^redis_version://p')

measure() {
    local pipeline=$1 requests=$2 rate

    peer_run "$peer_data/result" redis-benchmark -h 127.0.0.1 -p "$port" -c 50 -P "$pipeline" -n "$requests" -r $skus --csv \
        EVALSHA "$sha" 2 sku:__rand_int__ o:__rand_int____rand_int__ 1 77 12345
    rate=$(tail -n 1 "$peer_data/result" | awk -F'"' '{ print $(NF - 13) + 0 }')
    printf '{"case":"redis-same-work","pipeline":%s,"orders_per_s":%s,"requests":%s,"clients":50,"skus":%s,"version":"%s"}\n' \
        "$pipeline" "$rate" "$requests" "$skus" "$version"
}

if [ $on_demand = 1 ]; then
    echo '{"case":"ready"}'
    while read -r pipeline requests; do
        peer_number pipeline "$pipeline"
        peer_number requests "$requests"
        measure "$pipeline" "$requests"
    done
    exit 0
fi
for pipeline in $pipelines; do
    measure "$pipeline" "$requests"
done
