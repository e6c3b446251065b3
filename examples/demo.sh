#!/bin/sh
# Runs the unmodified examples/quickstart.rs, or quickstart_mysql.rs, on a local stage: two real servers, a stand-in for
# Secrets Manager, a Lambda environment that is frozen and thawed.
#
#   sh examples/demo.sh [--engine postgres|mysql] [--servers newest] [--seconds N]
#
# Installs the database server where it is missing (Debian, as root), builds, runs. The last line is JSON. With
# `--servers newest` the servers are the newest that Debian has, in a folder of their own, and MySQL is a real one.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
need_compiler

# The servers are chosen here, and the rest is the demo's to read.
newest=
case " $* " in
*" --servers newest "*)
    newest=yes
    for argument; do
        shift
        case $argument in
        --servers | newest) ;;
        *) set -- "$@" "$argument" ;;
        esac
    done
    ;;
esac

# Only what the demo uses is built: the RDS API's client alone would take longer than all the rest.
features=postgres,secrets-manager,lambda
examples="--example quickstart"
needed=need_postgres
case " $* " in
*" --engine mysql "*)
    needed=need_mariadb
    features=$features,mysql
    examples="--example quickstart_mysql"
    ;;
esac
if [ -n "$newest" ]; then need_newest_servers; else "$needed"; fi

# shellcheck disable=SC2086 # several words on purpose
cargo build --quiet --profile demo --no-default-features --features $features $examples --example demo
exec cargo run --quiet --profile demo --no-default-features --features $features --example demo -- "$@"
