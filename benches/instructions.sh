#!/bin/sh
# What a session costs in instructions, beside the bare connection: sh benches/instructions.sh
#
# Installs what is missing (Debian, as root), and takes no notice of how busy the machine is.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
need_compiler
need_postgres
need_mariadb
command -v valgrind >/dev/null 2>&1 || install valgrind
CARGO_PROFILE_BENCH_OPT_LEVEL=2 cargo bench --quiet --features _internals,mysql --bench instructions
