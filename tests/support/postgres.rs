//! PostgreSQL servers of one's own: with TLS, passwords, streaming replicas, and faults on command.

use std::{
    fmt, fs,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustix::process::Signal;
use sqlx::{
    AssertSqlSafe, ConnectOptions, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    sync::OnceCell,
    time::{Duration, timeout},
};

pub use super::site::{APP_PASSWORD, ServerTls};
use super::{
    certificates::Authority,
    keeper::Account,
    ports::free_port,
    servers::{self, Servers},
    site::{self, HOST, PORT_TAKEN, Site, WAIT_LIMIT, percent_encoded, run},
};

/// The superuser needs no password.
const SUPERUSER: &str = "postgres";

/// What a server is like.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Default: `Valid`.
    pub tls: ServerTls,
    /// All connections, 3 of which are kept for superusers. Default: 20.
    pub max_connections: u16,
    /// Further settings; they win over ours.
    pub settings: Vec<(&'static str, String)>,
    /// Lines of `pg_hba.conf` that come before ours.
    pub host_rules: Vec<String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { tls: ServerTls::Valid, max_connections: 20, settings: Vec::new(), host_rules: Vec::new() }
    }
}

/// A PostgreSQL server on 127.0.0.1.
///
/// It has one database, `app`, and three roles with the password [`APP_PASSWORD`]: `app` owns the database and may
/// create tables, `lim` may have three connections, `plain` need not use TLS. Dropping it ends the server and removes
/// its files, in any state; so does the end of this process, also by SIGKILL.
///
/// The methods panic when the server does not do what they promise: there is no test to go on with.
pub struct Postgres {
    installation: Installation,
    options: PostgresOptions,
    authority: Arc<Authority>,
    ca_pem: Vec<u8>,
    site: Site,
    port: u16,
}

impl Postgres {
    /// A new server that accepts connections.
    pub async fn start(options: PostgresOptions) -> Self {
        let authority = Arc::new(Authority::new("lambda-rds stage"));
        let template = Template::shared().await;
        let installation = template.installation.clone();
        let server = Self::prepare(installation, options, authority);
        server.site.copy_data(&template.site).await;
        server.launch().await
    }

    /// A streaming replica of this server, with the same options, that accepts (read-only) connections.
    pub async fn replica(&self) -> Self {
        self.replica_with(&[]).await
    }

    /// A replica with settings of its own; they win over this server's.
    pub async fn replica_with(&self, settings: &[(&'static str, String)]) -> Self {
        let mut options = self.options.clone();
        options.settings.extend_from_slice(settings);
        let replica = Self::prepare(self.installation.clone(), options, Arc::clone(&self.authority));
        replica.copy_from(self).await;
        replica.launch().await
    }

    async fn copy_from(&self, primary: &Self) {
        let mut backup = self.installation.command("pg_basebackup");
        backup.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
        backup.arg("--dbname").arg(primary.source()).arg("--pgdata").arg(self.site.data());
        run(backup).await;
    }

    /// Where replicas of this server stream from.
    fn source(&self) -> String {
        format!("host=127.0.0.1 port={} user={SUPERUSER} sslmode=disable", self.port)
    }

    /// The name the certificate is for.
    pub fn host(&self) -> &'static str {
        HOST
    }

    /// The port on 127.0.0.1; it stays the same when the server is started again.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority behind the server's certificate; a replica shares it.
    pub fn ca_pem(&self) -> &[u8] {
        &self.ca_pem
    }

    /// The URL of the database `app` for its owner, without TLS parameters.
    pub fn url(&self) -> String {
        self.url_for("app", APP_PASSWORD, "app")
    }

    /// A URL of this server, without TLS parameters.
    pub fn url_for(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{}@{HOST}:{}/{database}", percent_encoded(password), self.port)
    }

    /// Whether the server process exists, suspended or not.
    pub fn is_running(&self) -> bool {
        self.site.is_running()
    }
}

/// SQL as superuser, without TLS, in the database `app`.
impl Postgres {
    /// A connection as superuser. Three connections are reserved for those, so one gets in when all others are taken.
    pub async fn admin(&self) -> PgConnection {
        timeout(WAIT_LIMIT, self.admin_options().connect())
            .await
            .unwrap_or_else(|_| panic!("{self} did not let a superuser in within {WAIT_LIMIT:?}"))
            .unwrap_or_else(|error| panic!("{self} did not let a superuser in: {error}"))
    }

    /// Executes one or more statements.
    pub async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.admin().await)
            .await
            .unwrap_or_else(|error| panic!("{self} did not execute `{sql}`: {error}"));
    }

    /// Gives `role` a new password; sessions there are go on.
    pub async fn set_password(&self, role: &str, password: &str) {
        let (role, password) = (role.replace('"', "\"\""), password.replace('\'', "''"));
        self.execute(&format!("alter role \"{role}\" password '{password}'")).await;
    }

    /// How many sessions `role` has.
    pub async fn sessions(&self, role: &str) -> i64 {
        self.count_sessions("count(*)", role).await
    }

    /// Terminates all sessions of `role`, politely (57P01), and says how many there were.
    pub async fn terminate_sessions(&self, role: &str) -> i64 {
        self.count_sessions("count(*) filter (where pg_terminate_backend(pid))", role).await
    }

    /// Waits until `role` has exactly `count` sessions: the server notices a closed connection a moment later.
    pub async fn wait_until_sessions(&self, role: &str, count: i64) {
        let sql = "select concat_ws(' ', pid, state, state_change, wait_event, query) from pg_stat_activity \
                   where usename = $1 and backend_type = 'client backend' and pid <> pg_backend_pid()";
        let asked =
            async || sqlx::query_scalar(sql).bind(role).fetch_all(&mut self.admin().await).await.expect("answered");
        site::wait_until_sessions(role, count, asked).await;
    }

    async fn count_sessions(&self, what: &'static str, role: &str) -> i64 {
        let sql = format!(
            "select {what} from pg_stat_activity \
             where usename = $1 and backend_type = 'client backend' and pid <> pg_backend_pid()"
        );
        sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(role)
            .fetch_one(&mut self.admin().await)
            .await
            .unwrap_or_else(|error| panic!("{self} did not count the sessions of {role}: {error}"))
    }

    fn admin_options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(SUPERUSER)
            .database("app")
            .ssl_mode(PgSslMode::Disable)
    }
}

/// Faults. Those that end the server return when it has ended.
impl Postgres {
    /// Ends the server as a crash does: connections break without a word, and the next start recovers.
    pub async fn kill(&self) {
        self.end(Signal::QUIT).await;
    }

    /// Ends the server as an administrator does: sessions are told 57P01, and the data is written.
    pub async fn stop(&self) {
        self.end(Signal::INT).await;
    }

    /// Tells the server to end as soon as its last session has: until then it goes on and lets nobody in (57P03).
    pub fn begin_shutdown(&self) {
        self.site.signal(Signal::TERM);
    }

    /// Starts a server that was killed or stopped, on the same port.
    pub async fn start_again(&self) {
        assert!(!self.is_running(), "{self} is still running");
        // Left behind by a server that was killed hard; the pid in it may be somebody else's by now.
        let _ = fs::remove_file(self.site.data().join("postmaster.pid"));
        self.run_server();
        if let Err(problem) = self.wait_until_ready().await {
            panic!("{self} {problem}");
        }
    }

    /// Freezes the server with all its sessions: nothing is answered, nothing breaks, and the kernel still acknowledges
    /// what is sent.
    pub fn suspend(&self) {
        self.site.signal_family(Signal::STOP);
    }

    /// Whether the process that accepts connections is frozen.
    pub fn is_suspended(&self) -> bool {
        self.site.is_suspended()
    }

    /// Ends [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.site.signal_family(Signal::CONT);
    }

    /// Freezes only the process that accepts connections: sessions go on, new ones hang during login.
    pub fn suspend_postmaster(&self) {
        self.site.signal(Signal::STOP);
    }

    /// Ends [`suspend_postmaster`](Self::suspend_postmaster).
    pub fn resume_postmaster(&self) {
        self.site.signal(Signal::CONT);
    }

    /// Makes a replica a writer, and returns when it is one.
    pub async fn promote(&self) {
        let promoted: bool = sqlx::query_scalar("select pg_promote(true, 30)")
            .fetch_one(&mut self.admin().await)
            .await
            .unwrap_or_else(|error| panic!("{self} cannot be promoted: {error}"));
        assert!(promoted, "{self} was not promoted within 30 s");
    }

    /// Makes a running replica stream from another server.
    pub async fn repoint(&self, primary: &Self) {
        let source = primary.source();
        let mut admin = self.admin().await;
        // Not in a transaction, as a text of two statements would be.
        for sql in [format!("alter system set primary_conninfo = '{source}'"), "select pg_reload_conf()".to_owned()] {
            let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await;
            done.unwrap_or_else(|error| panic!("{self} cannot follow {primary}: {error}"));
        }
    }

    /// Starts a server that was killed or stopped as a replica of another one, on the same port, with the other's data.
    pub async fn start_again_as_replica_of(&self, primary: &Self) {
        assert!(!self.is_running(), "{self} is still running");
        self.site.remove_data();
        self.copy_from(primary).await;
        self.site.write("data/pg_hba.conf", &self.host_rules());
        self.site.write("data/postgresql.conf", &self.configuration());
        self.start_again().await;
    }

    async fn end(&self, signal: Signal) {
        self.site.end(signal).await.unwrap_or_else(|problem| panic!("{self} {problem}"));
    }
}

/// The way to a running server.
impl Postgres {
    /// A server with a directory and nothing in it.
    fn prepare(installation: Installation, options: PostgresOptions, authority: Arc<Authority>) -> Self {
        let site = Site::new(installation.account);
        let ca_pem = authority.pem().into_bytes();
        Self { installation, options, authority, ca_pem, site, port: 0 }
    }

    /// Starts a server whose data is there. Somebody else may be faster at a port that was free: then we take another.
    async fn launch(mut self) -> Self {
        self.site.write("data/pg_hba.conf", &self.host_rules());
        self.site.write_certificate(&self.authority, self.options.tls);
        let mut attempts = 0..5;
        loop {
            self.port = free_port();
            self.site.write("data/postgresql.conf", &self.configuration());
            self.run_server();
            match self.wait_until_ready().await {
                Ok(()) => return self,
                Err(_) if self.log().contains(PORT_TAKEN) && attempts.next().is_some() => {}
                Err(problem) => panic!("{self} {problem}"),
            }
        }
    }

    fn run_server(&self) {
        let program = self.installation.programs.join("postgres");
        // At once: the data is thrown away, and a fast shutdown would wait for a replica that may be suspended.
        self.site.start(program, vec!["-D".into(), self.site.data().into()], Signal::QUIT);
    }

    async fn wait_until_ready(&self) -> Result<(), String> {
        self.site.wait_until_ready(async || self.answers().await).await
    }

    /// Whether it is this server that answers at our port.
    async fn answers(&self) -> bool {
        let ask = async {
            let mut connection = self.admin_options().connect().await?;
            sqlx::query_scalar("select current_setting('stage.directory', true)").fetch_one(&mut connection).await
        };
        let answer: Option<Result<Option<String>, sqlx::Error>> = timeout(Duration::from_secs(2), ask).await.ok();
        matches!(answer, Some(Ok(Some(directory))) if Path::new(&directory) == self.site.directory())
    }

    /// The whole of `postgresql.conf`: what a replica got from its primary is overwritten.
    fn configuration(&self) -> String {
        let directory = self.site.directory().display();
        let tls = if self.options.tls == ServerTls::Off { "off" } else { "on" };
        let ours = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", String::new()),
            ("max_connections", self.options.max_connections.to_string()),
            ("superuser_reserved_connections", "3".to_owned()),
            ("password_encryption", "scram-sha-256".to_owned()),
            ("ssl", tls.to_owned()),
            ("ssl_cert_file", format!("{directory}/server.crt")),
            ("ssl_key_file", format!("{directory}/server.key")),
            // A replica reads, and can be made the writer at any time.
            ("wal_level", "replica".to_owned()),
            ("max_wal_senders", "6".to_owned()),
            ("wal_keep_size", "64MB".to_owned()),
            ("hot_standby", "on".to_owned()),
            ("wal_receiver_status_interval", "1s".to_owned()),
            ("wal_retrieve_retry_interval", "200ms".to_owned()),
            // Both are what pg_rewind needs to make an old primary a replica.
            ("full_page_writes", "on".to_owned()),
            ("wal_log_hints", "on".to_owned()),
            // Small and quick: this data need not survive the machine.
            ("fsync", "off".to_owned()),
            ("shared_buffers", "16MB".to_owned()),
            ("autovacuum", "off".to_owned()),
            ("log_line_prefix", "%m [%p] %e %u@%d ".to_owned()),
            // Tells this server from another one at the same port, see `answers`.
            ("stage.directory", directory.to_string()),
        ];
        // The last one wins.
        let all = ours.iter().chain(&self.options.settings);
        all.map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect()
    }

    fn host_rules(&self) -> String {
        let everybody = if self.options.tls == ServerTls::Off { "host" } else { "hostssl" };
        let ours = [
            format!("host all {SUPERUSER} 127.0.0.1/32 trust"),
            format!("host replication {SUPERUSER} 127.0.0.1/32 trust"),
            "hostnossl all plain 127.0.0.1/32 scram-sha-256".to_owned(),
            format!("{everybody} all all 127.0.0.1/32 scram-sha-256"),
        ];
        self.options.host_rules.iter().chain(&ours).map(|rule| format!("{rule}\n")).collect()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.site.log()
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the PostgreSQL server at port {}", self.port)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("port", &self.port)
            .field("directory", &self.site.directory())
            .finish_non_exhaustive()
    }
}

/// A data directory with our roles and database in it. Copying it is much faster than making it.
struct Template {
    installation: Installation,
    /// Gone when this process ends.
    site: Site,
}

impl Template {
    /// The template of this process.
    async fn shared() -> &'static Self {
        static TEMPLATE: OnceCell<Template> = OnceCell::const_new();
        TEMPLATE.get_or_init(Self::make).await
    }

    async fn make() -> Self {
        let installation = Installation::find();
        let site = Site::new(installation.account);
        let data = site.data();
        let mut create = installation.command("initdb");
        // Small log segments: a replica copies at least one.
        create.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--wal-segsize=1"]);
        create.args(["--username", SUPERUSER, "--pgdata"]).arg(&data);
        run(create).await;

        site.write("statements.sql", &statements_of_a_new_server());
        let statements = File::open(site.path("statements.sql")).expect("the statements were just written");
        let mut execute = installation.command("postgres");
        execute.args(["--single", "-c", "fsync=off", "-c", "password_encryption=scram-sha-256", "-D"]);
        execute.arg(&data).arg("template1").stdin(statements);
        run(execute).await;
        Self { installation, site }
    }
}

/// One statement a line, as the single-user mode wants it.
///
/// A new cluster has three databases of equal size, and every server and replica copies all of them: the one that is
/// there becomes `app`, and the one nobody needs goes.
fn statements_of_a_new_server() -> String {
    format!(
        "create role app login password '{APP_PASSWORD}'\n\
         create role lim login password '{APP_PASSWORD}' connection limit 3\n\
         create role plain login password '{APP_PASSWORD}'\n\
         alter database postgres rename to app\n\
         alter database app owner to app\n\
         alter database template0 is_template false\n\
         drop database template0\n"
    )
}

/// The server programs of this machine and the user they run as.
#[derive(Clone, Debug)]
struct Installation {
    programs: PathBuf,
    account: Account,
}

impl Installation {
    fn find() -> Self {
        let programs = places()
            .into_iter()
            .find(|place| ["initdb", "postgres", "pg_basebackup"].iter().all(|program| place.join(program).is_file()));
        let Some(programs) = programs else {
            Servers::missing("PostgreSQL with all its server programs", "postgresql postgresql-client");
        };
        Self { programs, account: Account::unprivileged(&["postgres", "nobody"]) }
    }

    fn command(&self, program: &str) -> Command {
        site::command(self.account, self.programs.join(program))
    }
}

/// Where server programs are found, best first.
fn places() -> Vec<PathBuf> {
    if let Some(folder) = Servers::folder() {
        return versions(&folder.join("usr/lib/postgresql"), "");
    }
    let mut places = servers::places(&[]);
    places.extend(versions("/usr/lib/postgresql".as_ref(), ""));
    places.extend(versions("/usr".as_ref(), "pgsql-"));
    places.extend(versions("/opt/homebrew/opt".as_ref(), "postgresql"));
    places.push("/usr/local/pgsql/bin".into());
    places
}

/// The `bin` of each folder of `parent` whose name starts with `prefix`, the highest version first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(folders) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut found: Vec<(f32, PathBuf)> = folders
        .filter_map(Result::ok)
        .filter_map(|folder| {
            let name = folder.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.trim_start_matches('@');
            Some((version.parse().unwrap_or(0.0), folder.path().join("bin")))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    found.into_iter().map(|(_, bin)| bin).collect()
}
