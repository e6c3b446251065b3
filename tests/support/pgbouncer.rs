//! A real PgBouncer in transaction mode before a stage's PostgreSQL.

use std::{
    env, fmt, fs,
    fs::File,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use lambda_rds::{Postgres as Engine, Proxy, ProxyBuilder};
use rustix::process::Signal;
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::{sleep, timeout};

use super::{
    certificates::{Authority, Validity},
    keeper::{Account, Keeper, Server},
    ports::free_port,
    postgres::{APP_PASSWORD, Postgres},
    servers::{self, Servers},
};

/// How long it may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The first version that can tell clients' prepared statements apart.
const KNOWS_STATEMENTS: (u32, u32) = (1, 21);

/// What a PgBouncer is like.
#[derive(Clone, Copy, Debug)]
pub struct PgBouncerOptions {
    /// Connections to the server. Default: 2.
    pub pool_size: u16,
    /// `max_prepared_statements`, for a version that knows it ([`knows_statements`]). Default: 0, off.
    pub max_prepared_statements: u16,
    /// Settings of a login that it ignores, instead of refusing the login. Default: none.
    pub ignores: &'static str,
}

impl Default for PgBouncerOptions {
    fn default() -> Self {
        Self { pool_size: 2, max_prepared_statements: 0, ignores: "" }
    }
}

/// A PgBouncer on 127.0.0.1, with TLS on both sides, for the role and the database `app`. Dropping it ends it and
/// removes its files; so does the end of this process.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    ca_pem: Vec<u8>,
    directory: PathBuf,
    keeper: Keeper,
}

/// Whether this machine's PgBouncer has `max_prepared_statements`.
pub fn knows_statements() -> bool {
    installation().version >= KNOWS_STATEMENTS
}

impl PgBouncer {
    /// One that accepts connections and has logged in to `server`.
    pub async fn start(server: &Postgres, options: PgBouncerOptions) -> Self {
        assert!(
            options.max_prepared_statements == 0 || knows_statements(),
            "{:?} is too old for max_prepared_statements",
            installation()
        );
        // Somebody else may be faster at a port that was free: then we take another.
        for _ in 0..5 {
            let bouncer = Self::launch(server, options);
            match bouncer.wait_until_ready().await {
                Ok(()) => return bouncer,
                Err(_) if bouncer.log().contains("in use") => {}
                Err(problem) => panic!("{problem}"),
            }
        }
        panic!("PgBouncer found no free port");
    }

    fn launch(server: &Postgres, options: PgBouncerOptions) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let account = Account::unprivileged(&["postgres", "nobody"]);
        let directory = env::temp_dir().join(format!("lambda-rds-pgbouncer-{}-{number}", process::id()));
        fs::create_dir(&directory).unwrap_or_else(|error| panic!("{} cannot be created: {error}", directory.display()));
        give(account, &directory, 0o700);

        let authority = Authority::new("lambda-rds pooler");
        let (certificate, key) = authority.issue(&["localhost", "127.0.0.1"], Validity::Current);
        let port = free_port();
        let configuration = configuration(&directory, server, port, options);
        for (name, content) in [
            ("client.crt", certificate),
            ("client.key", key),
            // It verifies nobody; without one it wants the machine's roots, which a bare machine has not.
            ("ca.crt", String::from_utf8_lossy(server.ca_pem()).into_owned()),
            ("users.txt", format!("\"app\" \"{APP_PASSWORD}\"\n")),
            ("pgbouncer.ini", configuration),
            ("pgbouncer.log", String::new()),
        ] {
            let path = directory.join(name);
            fs::write(&path, content).unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
            give(account, &path, 0o600);
        }
        let log = File::options().append(true).open(directory.join("pgbouncer.log")).expect("it was just written");
        let keeper = Keeper::start(Server {
            program: installation().program.clone(),
            arguments: vec![directory.join("pgbouncer.ini").into()],
            account,
            directory: directory.clone(),
            log,
            // It has nothing to save, and its polite signals changed their meaning between versions.
            end_signal: Signal::KILL,
            patience: Duration::from_secs(1),
        });
        Self { port, ca_pem: authority.pem().into_bytes(), directory, keeper }
    }

    async fn wait_until_ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(Ok(_)) = timeout(Duration::from_secs(2), self.options().connect()).await {
                return Ok(());
            }
            if self.keeper.has_exited() || Instant::now() > deadline {
                return Err(format!("{self} does not answer:\n{}", self.log()));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The way in for `app`, verify-full.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("localhost")
            .port(self.port)
            .username("app")
            .password(APP_PASSWORD)
            .database("app")
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(self.ca_pem.clone())
            // A login setting that PgBouncer does not know.
            .extra_float_digits(None)
    }

    /// The URL of the database `app` behind it, without TLS parameters.
    pub fn url(&self) -> String {
        format!("postgres://app:{APP_PASSWORD}@localhost:{}/app", self.port)
    }

    /// The authority behind its certificate.
    pub fn ca_pem(&self) -> &[u8] {
        &self.ca_pem
    }

    /// A proxy for `app` behind it, verify-full.
    pub fn proxy(&self) -> ProxyBuilder<Engine> {
        Proxy::builder().url(self.url()).ca_pem(&self.ca_pem).via_proxy()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.join("pgbouncer.log"));
        log.unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
    }
}

impl fmt::Display for PgBouncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the PgBouncer at port {}", self.port)
    }
}

fn configuration(directory: &Path, server: &Postgres, port: u16, options: PgBouncerOptions) -> String {
    let (directory, server_port) = (directory.display(), server.port());
    let PgBouncerOptions { pool_size, max_prepared_statements, ignores } = options;
    let statements = match max_prepared_statements {
        // Older versions do not start with a setting they do not know.
        0 if !knows_statements() => String::new(),
        most => format!("max_prepared_statements = {most}\n"),
    };
    format!(
        "[databases]\n\
         app = host=127.0.0.1 port={server_port} dbname=app\n\
         [pgbouncer]\n\
         pool_mode = transaction\n\
         default_pool_size = {pool_size}\n\
         max_client_conn = 2000\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = {directory}/users.txt\n\
         ignore_startup_parameters = {ignores}\n\
         client_tls_sslmode = require\n\
         client_tls_cert_file = {directory}/client.crt\n\
         client_tls_key_file = {directory}/client.key\n\
         client_tls_ca_file = {directory}/ca.crt\n\
         server_tls_sslmode = require\n\
         server_tls_ca_file = {directory}/ca.crt\n\
         {statements}"
    )
}

fn give(account: Account, path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .and_then(|()| account.own_path(path))
        .unwrap_or_else(|error| panic!("{} cannot be given to the pooler's user: {error}", path.display()));
}

#[derive(Debug)]
struct Installation {
    program: PathBuf,
    version: (u32, u32),
}

fn installation() -> &'static Installation {
    static INSTALLATION: OnceLock<Installation> = OnceLock::new();
    INSTALLATION.get_or_init(|| {
        let places = match Servers::folder() {
            Some(folder) => vec![folder.join("usr/sbin")],
            None => servers::places(&["/usr/sbin"]),
        };
        let program = places.iter().map(|place| place.join("pgbouncer")).find(|program| program.is_file());
        let Some(program) = program else { Servers::missing("PgBouncer", "pgbouncer") };
        let output = Command::new(&program).arg("--version").output().expect("PgBouncer tells its version");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = version(&text).unwrap_or_else(|| panic!("PgBouncer calls itself {text:?}"));
        Installation { program, version }
    })
}

/// From `PgBouncer 1.18.0`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.lines().next()?.strip_prefix("PgBouncer ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
