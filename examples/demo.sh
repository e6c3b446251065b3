#!/bin/sh
# Runs the unmodified examples/quickstart.rs, or quickstart_mysql.rs, on a local stage: a real PostgreSQL or MariaDB, a
# stand-in for Secrets Manager, a Lambda environment that is frozen and thawed.
#
#   sh examples/demo.sh [--engine postgres|mysql] [--seconds N]
#
# Installs the server where it is missing (Debian, as root), builds, runs. The last line is JSON.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh

engine=postgres
[ "${1-}" != --engine ] || engine=${2-}
need_compiler
case $engine in
postgres)
    need_postgres
    features=postgres quickstart=quickstart
    # What the demo does when nothing is said.
    [ "${1-}" != --engine ] || shift 2
    ;;
mysql)
    need_mariadb
    # The stage knows both.
    features=postgres,mysql quickstart=quickstart_mysql
    ;;
*)
    echo "usage: sh examples/demo.sh [--engine postgres|mysql] [--seconds N]" >&2
    exit 2
    ;;
esac

# Only what the demo uses is built: the RDS API's client alone would take longer than all the rest.
set -- --profile demo --no-default-features --features "$features,secrets-manager,lambda" -- "$@"
cargo build --quiet --profile demo --no-default-features --features "$features,secrets-manager,lambda" \
    --example "$quickstart" --example demo
exec cargo run --quiet --example demo "$@"
