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

# Where the newest servers are. Root's servers run as users of their own, which may not enter root's home.
newest_servers_folder() {
    if [ "$(id -u)" = 0 ]; then kept=/var/cache; else kept=${XDG_CACHE_HOME:-$HOME/.cache}; fi
    echo "${LAMBDA_RDS_SERVERS:-$kept/lambda-rds/servers/newest}"
}

# Real MySQL, the newest PostgreSQL, PgBouncer and Odyssey: what Debian unstable has today, whatever its version.
#
# They go into a folder of their own with the libraries they need, and nothing else of the machine changes: no package is
# installed and no root is needed. The folder is complete or not there; it is kept, and to be removed for newer ones.
need_newest_servers() {
    folder=$(newest_servers_folder)
    if [ ! -e "$folder/versions" ]; then
        making=$folder.$$
        trap 'rm -rf "$making"' EXIT
        trap 'exit 130' INT TERM
        echo "installing the newest servers into $folder (a minute, 90 MB to fetch, 450 MB on the disk)" >&2
        (umask 022 && make_newest_servers "$making") || exit
        # Somebody else may have been faster.
        mv -T "$making" "$folder" 2>/dev/null || [ -e "$folder/versions" ] || failed "mv $making $folder"
        rm -rf "$making"
        trap - EXIT INT TERM
    fi
    echo "the newest servers, of $folder: $(paste -sd, "$folder/versions" | sed 's/,/, /g')" >&2
    export LAMBDA_RDS_SERVERS="$folder" LAMBDA_RDS_TEST_SERVERS=newest
}

failed() {
    echo "the newest servers could not be installed; this failed: $*" >&2
    exit 1
}

# Runs a step, and shows what it said only if it fails.
quietly() {
    "$@" >"$making/log" 2>&1 || {
        tail -n 20 "$making/log" >&2
        failed "$*"
    }
}

make_newest_servers() {
    making=$1
    servers='mysql-server-core postgresql pgbouncer odyssey'
    mkdir -p "$making/apt/lists/partial" "$making/apt/archives/partial"
    private_apt >"$making/apt/apt.conf"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) unstable main" \
        >"$making/apt/sources.list"
    # Nothing counts as installed, so that whatever the servers need comes too.
    : >"$making/apt/status"
    quietly apt-get -c "$making/apt/apt.conf" update
    # shellcheck disable=SC2086 # several words on purpose
    quietly apt-get -c "$making/apt/apt.conf" install -y --no-install-recommends --download-only $servers
    for package in "$making"/apt/archives/*.deb; do
        quietly dpkg-deb --extract "$package" "$making"
        dpkg-deb --show --showformat='${Package} ${Version}\n' "$package" >>"$making/all-versions"
    done
    for program in usr/sbin/mysqld usr/sbin/pgbouncer usr/bin/odyssey \
        usr/lib/postgresql/*/bin/initdb usr/lib/postgresql/*/bin/postgres usr/lib/postgresql/*/bin/pg_basebackup; do
        wrap "$making" "$program"
    done
    rm -rf "$making/apt" "$making/log"
    grep -E '^(mysql-server-core|postgresql-[0-9]+|pgbouncer|odyssey) ' "$making/all-versions" >"$making/versions"
}

# The mirror that this machine has its own packages from.
mirror() {
    found=$(debian_mirrors)
    if [ -z "$found" ] && [ "$(id -u)" = 0 ]; then
        quietly apt-get update
        found=$(debian_mirrors)
    fi
    [ -n "$found" ] || failed "looking for a mirror of Debian among apt's sources (is there any? apt-get update tells)"
    echo "$found"
}

debian_mirrors() {
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

# Whatever else the machine has set for apt, such as a proxy, counts here too.
private_apt() {
    cat <<CONFIGURATION
Dir::State "$making/apt";
Dir::State::lists "$making/apt/lists";
Dir::State::status "$making/apt/status";
Dir::Cache "$making/apt";
Dir::Cache::archives "$making/apt/archives";
Dir::Etc::sourcelist "$making/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONFIGURATION
}

# Puts a script in a program's place that runs it with the libraries of its folder: this machine's are older. Programs
# find each other and their files by the script's name, and the script knows the way whatever the folder is called.
wrap() {
    root=$1 program=$2
    expanded=$(cd "$root" && echo $program)
    [ -f "$root/$expanded" ] || failed "looking for $program in what was fetched"
    loader=$(cd "$root" && echo usr/lib/*-linux-*/ld-linux-*.so.*)
    up=$(dirname "$expanded" | sed 's,[^/][^/]*,..,g')
    mv "$root/$expanded" "$root/$expanded.elf"
    {
        echo '#!/bin/sh'
        echo "root=\${0%/*}/$up"
        echo "exec \"\$root/$loader\" --argv0 \"\$0\" --library-path \"\$root/$(dirname "$loader")\" \"\$0.elf\" \"\$@\""
    } >"$root/$expanded"
    chmod 755 "$root/$expanded"
}
