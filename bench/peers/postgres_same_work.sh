#!/usr/bin/env bash
# PostgreSQL at the engine's own work: a stored function checks for a duplicate, takes stock if there is enough and writes the order row;
# one transaction an order, synchronous commit. pgbench with 32 clients and prepared statements; server on core 0, load on core 1.
#
# postgres_same_work.sh [--quick] [--seconds N] [--skus N] [--on-demand] [DIR]
#   DIR        where the data directory is made, on the file system that the engine is measured on (default: here)
#   --quick    4 seconds instead of 10
#   --on-demand says {"case":"ready"}, then measures once for every line SECONDS on stdin, until its end
#   --skus     SKUs that the orders are spread over (default 100000; 1: one hot SKU)
# As root the server runs as the user `postgres`, else as the caller. One JSON line on stdout. Exit 0 measured, 1 failed, 2 usage or a
# missing program.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/peers/peer.sh
. "$here/peer.sh"
# An immediate shutdown: the data is removed right after, a last checkpoint would be for nothing.
peer_stop_signal=QUIT

seconds="" quick=0 on_demand=0 skus=100000 where=.
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=1 ;;
    --on-demand) on_demand=1 ;;
    --seconds) seconds=${2:-} && peer_number --seconds "$seconds" && shift ;;
    --skus) skus=${2:-} && peer_number --skus "$skus" && shift ;;
    -*) peer_fail 2 "unknown option $1; usage: postgres_same_work.sh [--quick] [--seconds N] [--skus N] [--on-demand] [DIR]" ;;
    *) where=$1 ;;
    esac
    shift
done
seconds=${seconds:-$([ $quick = 1 ] && echo 4 || echo 10)}

# Debian keeps the server's programs off the PATH, a directory per version.
newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
PATH=${newest:+$newest:}$PATH
peer_need taskset util-linux
peer_need setpriv util-linux
peer_need initdb postgresql
peer_need postgres postgresql
peer_need pgbench postgresql
peer_need psql postgresql-client
peer_need_cores
[ -d "$where" ] || peer_fail 2 "no directory $where"

as_server=()
if [ "$(id -u)" = 0 ]; then
    id postgres >/dev/null 2>&1 || peer_fail 2 "no user postgres: apt-get install postgresql"
    as_server=(setpriv --reuid=postgres --regid=postgres --init-groups --)
fi

# The server's user must reach its data, and a home directory is often closed to it: another place on the same file system does as well.
reachable() {
    local device

    device=$(stat -c %d "$where")
    for place in "$(cd "$where" && pwd)" /var/tmp /tmp /var/lib/postgresql; do
        if [ -w "$place" ] && [ "$(stat -c %d "$place")" = "$device" ] && "${as_server[@]}" test -x "$place"; then
            echo "$place"
            return 0
        fi
    done
    return 1
}

place=$(reachable) || peer_fail 2 "the user postgres can reach no directory on the file system of $where; name one that it can"
peer_arm
peer_data=$(mktemp -d "$place/postgres.XXXXXX") || peer_fail 1 "cannot make a directory in $place"
if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres "$peer_data"
fi
export PGHOST="$peer_data" PGDATABASE=postgres PGUSER=postgres PGPASSWORD="" PGCONNECT_TIMEOUT=5 LC_ALL=C
cd "$peer_data" || peer_fail 1 "cannot enter $peer_data"

"${as_server[@]}" initdb -D "$peer_data/db" -U postgres -A trust -E UTF8 --locale=C >"$peer_data/initdb.log" 2>&1 ||
    peer_fail 1 "initdb failed: $(tail -n 3 "$peer_data/initdb.log")"
cat >>"$peer_data/db/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$peer_data'
max_connections = 64
shared_buffers = 512MB
fsync = on
synchronous_commit = on
wal_buffers = 16MB
max_wal_size = 4GB
checkpoint_timeout = 30min
jit = off
CONF

# The socket lies in a directory made a moment ago: its port can collide with nobody's. exec'd through, so $! is the postmaster itself.
taskset -c 0 "${as_server[@]}" postgres -D "$peer_data/db" >"$peer_data/log" 2>&1 &
peer_server=$!
for _ in {1..100}; do
    kill -0 "$peer_server" 2>/dev/null || break
    psql -qAtc 'SELECT 1' >/dev/null 2>&1 && break
    sleep 0.1
done
psql -qAt -v ON_ERROR_STOP=1 -f "$here/postgres_place.sql" \
    -c "INSERT INTO stock SELECT sku, 1000000000 FROM generate_series(1, $skus) AS sku" \
    -c 'VACUUM ANALYZE' -c 'CHECKPOINT' >"$peer_data/setup.log" 2>&1 ||
    peer_fail 1 "the server does not start or set up: $(tail -n 3 "$peer_data/log" "$peer_data/setup.log")"

cat >"$peer_data/order.pgbench" <<BENCH
\\set id_time random(1, 9000000000000000)
\\set id_random random(1, 9000000000000000)
\\set sku random(1, $skus)
SELECT place(:id_time, :id_random, :sku, 1, 77, 12345);
BENCH
version=$(psql -qAtc 'SHOW server_version' | cut -d' ' -f1)

measure() {
    local seconds=$1 rate

    peer_run "$peer_data/result" pgbench -n -M prepared -c 32 -j 1 -T "$seconds" -f "$peer_data/order.pgbench"
    rate=$(sed -n 's/^tps = \([0-9.]*\) .*/\1/p' "$peer_data/result")
    [ -n "$rate" ] || peer_fail 1 "pgbench said no tps"
    echo "{\"case\":\"postgres\",\"orders_per_s\":$rate,\"skus\":$skus,\"seconds\":$seconds,\"clients\":32,\"version\":\"$version\"}"
}

if [ $on_demand = 1 ]; then
    echo '{"case":"ready"}'
    while read -r seconds; do
        peer_number seconds "$seconds"
        measure "$seconds"
    done
    exit 0
fi
measure "$seconds"
