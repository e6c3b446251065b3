#!/bin/sh
# A fault every few seconds for so long on each engine, and the report: sh tests/soak.sh --hours 1 [--servers newest]
#
# Installs what is missing (Debian, as root). `--minutes 10` in the place of hours for a short one.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
need_compiler

seconds=3600
while [ $# -gt 0 ]; do
    case $1 in
    --hours) seconds=$(($2 * 3600)) ;;
    --minutes) seconds=$(($2 * 60)) ;;
    --servers)
        [ "$2" = newest ] || {
            echo "--servers $2: expected newest" >&2
            exit 2
        }
        newest=yes
        ;;
    *)
        echo "$1: expected --hours, --minutes or --servers" >&2
        exit 2
        ;;
    esac
    shift 2
done

if [ "${newest-}" = yes ]; then
    need_newest_servers
else
    need_postgres
    need_mariadb
fi
for engine in postgres mysql; do
    # Alone in its process, whose memory is looked at.
    SOAK_SECONDS=$seconds cargo test --quiet --all-features --test behaviour -- \
        --exact "$engine::ledger::soak::a_fault_every_few_seconds_loses_nothing_and_leaves_nothing" --nocapture
done
