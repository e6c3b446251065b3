#!/bin/sh
# Runs all tests: sh tests/run.sh [arguments for cargo test]
#
# Installs what is missing (Debian, as root). The tests start their own servers on free loopback ports and stop them.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
need_compiler
need_postgres
need_mariadb
need_pgbouncer

cargo test --all-features "$@"
