#!/bin/sh
# Runs the unmodified examples/quickstart.rs, or quickstart_mysql.rs, on a local stage: two real servers, a stand-in for
# Secrets Manager, a Lambda environment that is frozen and thawed.
#
#   sh examples/demo.sh [--engine postgres|mysql] [--seconds N]
#
# Installs the database server where it is missing (Debian, as root), builds, runs. The last line is JSON.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
need_compiler

# Only what the demo uses is built: the RDS API's client alone would take longer than all the rest.
features=postgres,secrets-manager,lambda
examples="--example quickstart"
case " $* " in
*" --engine mysql "*)
    need_mariadb
    features=$features,mysql
    examples="--example quickstart_mysql"
    ;;
*) need_postgres ;;
esac

# shellcheck disable=SC2086 # several words on purpose
cargo build --quiet --profile demo --no-default-features --features $features $examples --example demo
exec cargo run --quiet --profile demo --no-default-features --features $features --example demo -- "$@"
