#!/bin/sh
# Coverage-guided fuzzing of all that reads texts of others, the classifiers above all: sh tests/fuzz.sh --minutes 60 [--jobs 2]
#
# Needs a C++ compiler, and no other toolchain than the tests. What it has found lies in the folder that it names, and is
# where the next run begins; what breaks is written to `crash-…` there.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
need_compiler
command -v c++ >/dev/null 2>&1 || install g++

minutes=60
jobs=1
while [ $# -gt 0 ]; do
    case $1 in
    --minutes) minutes=$2 ;;
    --jobs) jobs=$2 ;;
    *)
        echo "$1: expected --minutes or --jobs" >&2
        exit 2
        ;;
    esac
    shift 2
done

target="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
found="$target/found"
mkdir -p "$found"
# What `cargo fuzz` asks the compiler for, without the sanitizers that need a nightly one: there is no unsafe code to watch.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing" \
    CARGO_TARGET_DIR="$target" cargo build --quiet --release --manifest-path tests/fuzz/Cargo.toml \
    --target "$(rustc -vV | sed -n 's/^host: //p')"
binary=$(ls "$target"/*/release/lambda-rds-fuzz)
cd "$found"
mkdir -p corpus
echo "what is found lies in $found"
exec "$binary" corpus -dict="$OLDPWD/tests/fuzz/dictionary" -max_len=400 -timeout=5 -rss_limit_mb=1000 \
    -max_total_time=$((minutes * 60)) -fork="$jobs" -print_final_stats=1
