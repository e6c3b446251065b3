#!/bin/sh
# Runs all tests: sh tests/run.sh [--servers newest] [arguments for cargo test]
#
# Installs what is missing (Debian, as root). The tests start their own servers on free loopback ports and stop them.
#
# With `--servers newest` the tests that need servers run once more, on a real MySQL instead of MariaDB and on the newest
# PostgreSQL and PgBouncer that Debian has. They are installed into a folder outside the checkout, once.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
need_compiler

# The tests wait for their servers for half of the time. A large machine has threads enough.
if [ "$(nproc)" -le 4 ]; then
    export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"
fi

if [ "${1-}" = --servers ]; then
    [ "${2-}" = newest ] || {
        echo "--servers ${2-}: expected newest" >&2
        exit 2
    }
    shift 2
    need_newest_servers
    exec cargo test --all-features --test behaviour "$@"
fi

need_postgres
need_mariadb
need_pgbouncer
cargo test --all-features "$@"
