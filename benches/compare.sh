#!/bin/sh
# All figures of the README and of src/guide/measured.md, taken anew: sh benches/compare.sh [--out FOLDER] [NAME...]
#
# Installs what is missing (Debian, as root), builds once, and runs one bench after another on a machine that should have
# nothing else to do: half an hour on two cores. What each prints goes to FOLDER (benches/results by default) as NAME.txt, the
# failovers and the fleet as CSV too, beside machine.txt, which says on what and of which versions. NAME is one of:
#
#   lease        lease and return, warm query, connect over TLS      beside sqlx, sqlx's pool, deadpool, bb8
#   multiplex    64 tasks on 4 connections                           beside those and PgBouncer
#   cold         from process start to the first row                 beside the SDK and sqlx by hand
#   classify     what looking at a statement costs
#   instructions the same in instructions, by valgrind
#   down         what an application sees of a database that is away beside sqlx's pool, deadpool, bb8
#   failover     a lost writer, FAILOVERS times (5)                  beside sqlx's pool; AWS's wrappers where they are, see there
#   fleet        many frozen environments on few slots               beside a connect for each and PgBouncer
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh

out=benches/results
if [ "${1-}" = --out ]; then
    out=$2
    shift 2
fi
[ $# -gt 0 ] || set -- lease multiplex cold classify instructions down failover fleet
need_compiler
need_postgres
need_mariadb
need_pgbouncer
mkdir -p "$out"

version_in_lock() {
    sed -n "/^name = \"$1\"\$/{n;s/version = //;s/\"//g;p;}" Cargo.lock
}

# The newest of those that are installed, as the benches take it.
postgres=$(ls -d /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
{
    echo "date       $(date -u +%Y-%m-%d)"
    echo "commit     $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
    echo "processor  $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) of it"
    echo "kernel     $(uname -r)"
    echo "compiler   $(rustc --version)"
    echo "postgres   $("$postgres" --version)"
    echo "mariadb    $(PATH=$PATH:/usr/sbin mariadbd --version)"
    echo "pgbouncer  $(PATH=$PATH:/usr/sbin pgbouncer --version | head -n 1)"
    echo "sqlx       $(version_in_lock sqlx)"
    echo "deadpool   $(version_in_lock deadpool)"
    echo "bb8        $(version_in_lock bb8)"
} >"$out/machine.txt"

bench() {
    name=$1
    shift
    echo "== $name" >&2
    cargo bench --quiet --features _internals,mysql --bench "$@" >"$out/$name.txt"
}

cargo bench --quiet --no-run --features _internals,mysql --benches
for name; do
    case $name in
    lease | multiplex | cold | classify | down) bench "$name" "$name" ;;
    instructions)
        echo "== instructions" >&2
        sh benches/instructions.sh >"$out/instructions.txt"
        ;;
    failover)
        FAILOVERS=${FAILOVERS:-5} FAILOVER_OUT="$PWD/$out/failover.svg" bench failover failover
        ;;
    fleet)
        FLEET_OUT="$PWD/$out/fleet.svg" bench fleet fleet -- growth newcomers burst --subjects rds,each,pgbouncer
        bench fleet-mysql fleet -- warm newcomers burst --subjects rds,each --engine mysql
        grep , "$out/fleet.txt" >"$out/fleet.csv"
        grep , "$out/fleet-mysql.txt" >"$out/fleet-mysql.csv"
        ;;
    *)
        echo "$name: not one of lease multiplex cold classify instructions down failover fleet" >&2
        exit 2
        ;;
    esac
done
echo "the figures are in $out" >&2
