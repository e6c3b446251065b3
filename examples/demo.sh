#!/bin/sh
# Runs the unmodified examples/quickstart.rs on a local stage: a real PostgreSQL, a stand-in for Secrets Manager, a
# Lambda environment that is frozen and thawed.
#
#   sh examples/demo.sh [--seconds N]
#
# Installs the PostgreSQL server where it is missing (Debian, as root), builds, runs. The last line is JSON.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
need_postgres

# Only what the demo uses is built: the RDS API's client alone would take longer than all the rest.
set -- --profile demo --no-default-features --features postgres,secrets-manager,lambda -- "$@"
cargo build --quiet --profile demo --no-default-features --features postgres,secrets-manager,lambda \
    --example quickstart --example demo
exec cargo run --quiet --example demo "$@"
