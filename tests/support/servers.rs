//! Which servers the stage starts: one decision for all of them, made by who runs the tests.
//!
//! They are those that the machine has, as a newcomer's Debian 12 brings them (PostgreSQL 15, MariaDB 10.11, PgBouncer
//! 1.18); or, with [`CHOICE`] set to `newest`, those of a folder that `sh tests/run.sh --servers newest` has made: the
//! newest PostgreSQL and PgBouncer there are, and a real MySQL instead of a MariaDB.

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The variable that chooses: unset, or `newest`.
const CHOICE: &str = "LAMBDA_RDS_TEST_SERVERS";

/// The variable that says where the newest servers are; `tests/setup.sh` has the same default.
const FOLDER: &str = "LAMBDA_RDS_SERVERS";

/// Where a server's programs come from.
#[derive(Debug)]
pub enum Servers {
    /// The machine.
    Installed,
    /// This folder, laid out as the root of a system. Its programs run with its own libraries.
    Newest(PathBuf),
}

/// Which of MySQL's family a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    MariaDb,
    MySql,
}

impl Servers {
    /// Those of this process.
    ///
    /// # Panics
    /// When the environment asks for others than there are.
    pub fn chosen() -> &'static Self {
        static CHOSEN: OnceLock<Servers> = OnceLock::new();
        CHOSEN.get_or_init(|| match env::var(CHOICE).as_deref() {
            Err(_) | Ok("") => Self::Installed,
            Ok("newest") => Self::Newest(folder()),
            Ok(other) => panic!("{CHOICE}={other}: expected newest, or nothing"),
        })
    }

    /// Which of MySQL's family is among them.
    pub fn family() -> Family {
        match Self::chosen() {
            Self::Installed => Family::MariaDb,
            Self::Newest(_) => Family::MySql,
        }
    }

    /// The folder of the newest, if they are chosen.
    pub fn folder() -> Option<&'static Path> {
        match Self::chosen() {
            Self::Installed => None,
            Self::Newest(folder) => Some(folder),
        }
    }

    /// Ends a test whose server is missing, and says what installs it: Debian's `packages`, or the newest.
    pub fn missing(what: &str, packages: &str) -> ! {
        match Self::chosen() {
            Self::Installed => {
                panic!("{what} not found; install it with: apt-get install -y --no-install-recommends {packages}")
            }
            Self::Newest(folder) => {
                panic!("{what} not found in {}; install it with: sh tests/run.sh --servers newest", folder.display())
            }
        }
    }
}

impl Family {
    /// One of two, for the few places where they differ.
    pub fn either<T>(self, mariadb: T, mysql: T) -> T {
        match self {
            Self::MariaDb => mariadb,
            Self::MySql => mysql,
        }
    }
}

/// Where programs of the machine are found: first `PATH`, then where it may not lead.
pub fn places(further: &[&str]) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(further.iter().map(PathBuf::from)).collect()
}

fn folder() -> PathBuf {
    if let Some(folder) = env::var_os(FOLDER) {
        return folder.into();
    }
    let cache = if rustix::process::geteuid().is_root() {
        Some("/var/cache".into())
    } else {
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
        env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)
    };
    cache.unwrap_or_default().join("lambda-rds/servers/newest")
}
