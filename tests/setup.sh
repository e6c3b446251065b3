# Sourced by tests/run.sh and examples/demo.sh: what a bare Debian 12 with a Rust toolchain lacks.

# Installs Debian packages, as root only; otherwise says what to install.
install() {
    if [ "$(id -u)" != 0 ]; then
        echo "missing: $*; install with: sudo apt-get install -y --no-install-recommends $*" >&2
        exit 1
    fi
    echo "installing $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    # No cluster of Debian's own is created or started: the stage makes its own.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    apt-get update -qq >&2
    # No service of Debian's own either: 101 is "not allowed" to whoever would start one.
    policy=/usr/sbin/policy-rc.d
    ours=$([ -e "$policy" ] || echo yes)
    [ -z "$ours" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; }
    installed=0
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null || installed=$?
    [ -z "$ours" ] || rm -f "$policy"
    [ "$installed" = 0 ] || exit "$installed"
}

# The driver's crypto library and the SDK's hash functions bring a little C and assembler.
need_compiler() {
    command -v cc >/dev/null 2>&1 || install gcc libc6-dev
}

need_postgres() {
    command -v postgres >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || install postgresql
    # Stages of runs that were killed are cleaned up by their own keepers; nothing is left to do here.
}

# The core packages bring the programs only: no data, no account, no service.
need_mariadb() {
    { command -v mariadbd || [ -x /usr/sbin/mariadbd ]; } >/dev/null 2>&1 &&
        command -v mariadb-install-db >/dev/null 2>&1 || install mariadb-server-core mariadb-client-core
}

need_pgbouncer() {
    command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || {
        install pgbouncer
        # Nor at the next boot.
        update-rc.d pgbouncer disable >/dev/null 2>&1 || true
    }
}
