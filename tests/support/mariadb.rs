//! MariaDB servers of one's own: with TLS, passwords, replicas that follow by GTID, and faults on command.

use std::{
    env, fmt,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::{
    AssertSqlSafe, ConnectOptions, MySqlConnection, Row,
    mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode},
};
use tokio::{sync::OnceCell, time::timeout};

pub use super::site::{APP_PASSWORD, ServerTls};
use super::{
    certificates::Authority,
    keeper::Account,
    ports::free_port,
    site::{self, HOST, PORT_TAKEN, START_LIMIT, Site, WAIT_LIMIT, percent_encoded, run},
};

/// What a server is like.
#[derive(Clone, Debug)]
pub struct MariaDbOptions {
    /// Default: `Valid`.
    pub tls: ServerTls,
    /// All connections but those of the administrator and of replicas, which have a port of their own. Default: 20; the
    /// server takes no less than 10.
    pub max_connections: u16,
    /// Further settings; they win over ours. With `general_log` set to 1 [`MariaDb::statements`] tells of all statements.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for MariaDbOptions {
    fn default() -> Self {
        Self { tls: ServerTls::Valid, max_connections: 20, settings: Vec::new() }
    }
}

/// A MariaDB server on 127.0.0.1.
///
/// It has one database, `app`, and three accounts that may do anything in it and nothing outside, with the password
/// [`APP_PASSWORD`]: `app`, `lim`, which may have three connections, and `plain`, which need not use TLS. Dropping it
/// ends the server and removes its files, in any state; so does the end of this process, also by SIGKILL.
///
/// The methods panic when the server does not do what they promise: there is no test to go on with.
pub struct MariaDb {
    installation: Installation,
    options: MariaDbOptions,
    authority: Arc<Authority>,
    ca_pem: Vec<u8>,
    site: Site,
    port: u16,
    /// For the administrator and for replicas; not counted among `max_connections`.
    admin_port: u16,
    /// What the server will be when it is started the next time.
    is_reader: AtomicBool,
}

impl MariaDb {
    /// A new server that accepts connections.
    pub async fn start(options: MariaDbOptions) -> Self {
        let authority = Arc::new(Authority::new("lambda-rds stage"));
        let template = Template::shared().await;
        let server = Self::prepare(template.installation.clone(), options, authority);
        server.site.copy_data(&template.site).await;
        server.launch().await
    }

    /// A replica of this server, with the same options, that accepts (read-only) connections and has everything that is
    /// there now.
    pub async fn replica(&self) -> Self {
        self.replica_with(&[]).await
    }

    /// A replica with settings of its own; they win over this server's.
    pub async fn replica_with(&self, settings: &[(&'static str, String)]) -> Self {
        let mut options = self.options.clone();
        options.settings.extend_from_slice(settings);
        let replica = Self::prepare(self.installation.clone(), options, Arc::clone(&self.authority));
        replica.is_reader.store(true, Ordering::Relaxed);
        replica.copy_template().await;
        let replica = replica.launch().await;
        replica.repoint(self).await;
        replica.wait_until_has(&self.position().await).await;
        replica
    }

    /// What a replica starts from: it gets all that happened since then from its primary, which keeps it.
    async fn copy_template(&self) {
        self.site.copy_data(&Template::shared().await.site).await;
    }

    /// The name the certificate is for.
    pub fn host(&self) -> &'static str {
        HOST
    }

    /// The port on 127.0.0.1; it stays the same when the server is started again.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server calls itself among those that replicate: no two of this machine have the same port.
    pub fn server_id(&self) -> u32 {
        self.port.into()
    }

    /// The authority behind the server's certificate; a replica shares it.
    pub fn ca_pem(&self) -> &[u8] {
        &self.ca_pem
    }

    /// The URL of the database `app` for the account of that name, without TLS parameters.
    pub fn url(&self) -> String {
        self.url_for("app", APP_PASSWORD, "app")
    }

    /// A URL of this server, without TLS parameters.
    pub fn url_for(&self, user: &str, password: &str, database: &str) -> String {
        format!("mysql://{user}:{}@{HOST}:{}/{database}", percent_encoded(password), self.port)
    }

    /// Whether the server process exists, suspended or not.
    pub fn is_running(&self) -> bool {
        self.site.is_running()
    }
}

/// SQL as administrator, without TLS, in the database `app`.
impl MariaDb {
    /// A connection as administrator, by a port that is not taken when all connections are.
    pub async fn admin(&self) -> MySqlConnection {
        timeout(WAIT_LIMIT, self.admin_options().connect())
            .await
            .unwrap_or_else(|_| panic!("{self} did not let its administrator in within {WAIT_LIMIT:?}"))
            .unwrap_or_else(|error| panic!("{self} did not let its administrator in: {error}"))
    }

    /// Executes one or more statements.
    pub async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.admin().await)
            .await
            .unwrap_or_else(|error| panic!("{self} did not execute `{sql}`: {error}"));
    }

    /// Gives an account a new password; sessions there are go on.
    pub async fn set_password(&self, account: &str, password: &str) {
        self.execute(&format!("alter user {}@'%' identified by {}", quoted(account), quoted(password))).await;
    }

    /// How many sessions `account` has.
    pub async fn sessions(&self, account: &str) -> i64 {
        i64::try_from(self.session_ids(account).await.len()).expect("sessions are few")
    }

    /// Terminates all sessions of `account` (they read the end of the stream), and says how many there were.
    pub async fn terminate_sessions(&self, account: &str) -> i64 {
        let mut admin = self.admin().await;
        let mut count = 0;
        for session in self.session_ids(account).await {
            // One that has ended meanwhile is not there any more.
            let killed = sqlx::raw_sql(AssertSqlSafe(format!("kill {session}"))).execute(&mut admin).await;
            count += i64::from(killed.is_ok());
        }
        count
    }

    /// Waits until `account` has exactly `count` sessions: the server notices a closed connection a moment later.
    pub async fn wait_until_sessions(&self, account: &str, count: i64) {
        site::wait_until_sessions(account, count, async || self.sessions(account).await).await;
    }

    async fn session_ids(&self, account: &str) -> Vec<i64> {
        let sql = format!(
            "select id from information_schema.processlist where user = {} and id <> connection_id()",
            quoted(account)
        );
        let rows = self.rows(&sql).await;
        rows.iter().map(|row| row.try_get_unchecked(0).expect("a session has a number")).collect()
    }

    /// The answer of one statement, asked as a text.
    pub async fn rows(&self, sql: &str) -> Vec<MySqlRow> {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(&mut self.admin().await)
            .await
            .unwrap_or_else(|error| panic!("{self} did not answer `{sql}`: {error}"))
    }

    fn admin_options(&self) -> MySqlConnectOptions {
        MySqlConnectOptions::new()
            .host("127.0.0.1")
            .port(self.admin_port)
            .username("root")
            .database("app")
            .ssl_mode(MySqlSslMode::Disabled)
    }
}

/// Faults. Those that end the server return when it has ended.
impl MariaDb {
    /// Ends the server as a crash does: connections break without a word, and the next start recovers.
    pub async fn kill(&self) {
        self.end(Signal::KILL).await;
    }

    /// Ends the server as an administrator does: sessions are ended, and the data is written.
    pub async fn stop(&self) {
        self.end(Signal::TERM).await;
    }

    /// Starts a server that was killed or stopped, on the same port, as what it was: a replica goes on to follow.
    pub async fn start_again(&self) {
        assert!(!self.is_running(), "{self} is still running");
        self.site.write("server.cnf", &self.configuration());
        self.run_server();
        if let Err(problem) = self.wait_until_ready().await {
            panic!("{self} {problem}");
        }
    }

    /// Freezes the server with all its sessions: nothing is answered, nothing breaks, and the kernel still acknowledges
    /// what is sent.
    pub fn suspend(&self) {
        self.site.signal(Signal::STOP);
        let deadline = Instant::now() + WAIT_LIMIT;
        // Each of its threads stops when it is its turn.
        while !self.is_suspended() {
            assert!(Instant::now() < deadline, "{self} is not suspended after {WAIT_LIMIT:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the server is frozen.
    pub fn is_suspended(&self) -> bool {
        self.site.is_suspended()
    }

    /// Ends [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.site.signal(Signal::CONT);
    }

    async fn end(&self, signal: Signal) {
        self.site.end(signal).await.unwrap_or_else(|problem| panic!("{self} {problem}"));
    }
}

/// Roles.
impl MariaDb {
    /// Makes a replica, or a writer that was demoted, a writer, and returns when it is one. What it has received is
    /// applied before.
    pub async fn promote(&self) {
        self.execute("stop slave io_thread").await;
        if let Some(source) = self.rows("show replica status").await.first() {
            let received: String = source.try_get_unchecked("Gtid_IO_Pos").expect("a replica knows its position");
            self.wait_until_has(&received).await;
        }
        self.is_reader.store(false, Ordering::Relaxed);
        self.execute("stop slave; reset slave all; set global read_only = 0").await;
    }

    /// Makes a writer read-only, as its configuration can; it waits for statements there are.
    pub async fn demote(&self) {
        self.is_reader.store(true, Ordering::Relaxed);
        self.execute("set global read_only = 1").await;
    }

    /// Makes a running replica, or a new server, follow `primary`.
    pub async fn repoint(&self, primary: &Self) {
        self.execute(&format!(
            "stop slave; \
             change master to master_host = '127.0.0.1', master_port = {}, master_user = 'root', master_ssl = 0, \
               master_use_gtid = slave_pos, master_connect_retry = 1, master_heartbeat_period = 1; \
             start slave",
            primary.admin_port
        ))
        .await;
    }

    /// Starts a server that was killed or stopped as a replica of another one, on the same port, with the other's data.
    pub async fn start_again_as_replica_of(&self, primary: &Self) {
        assert!(!self.is_running(), "{self} is still running");
        self.site.remove_data();
        self.copy_template().await;
        self.is_reader.store(true, Ordering::Relaxed);
        self.start_again().await;
        self.let_in_without_tls().await;
        self.repoint(primary).await;
        self.wait_until_has(&primary.position().await).await;
    }

    /// Everything there is on this server, as a GTID position.
    pub async fn position(&self) -> String {
        let rows = self.rows("select @@global.gtid_binlog_pos").await;
        rows[0].try_get_unchecked(0).expect("a position is a text")
    }

    /// Waits until this replica has applied everything up to a position.
    pub async fn wait_until_has(&self, position: &str) {
        let wait = format!("select master_gtid_wait('{position}', {})", START_LIMIT.as_secs());
        let waited: i64 = self.rows(&wait).await[0].try_get_unchecked(0).expect("a number");
        assert!(waited == 0, "{self} lacks {position} after {START_LIMIT:?}: {}", self.replication().await);
    }

    /// How the replica says that it is, for a message.
    pub async fn replication(&self) -> String {
        let rows = self.rows("show replica status").await;
        let Some(row) = rows.first() else { return "it follows nobody".to_owned() };
        let names =
            ["Master_Port", "Slave_IO_Running", "Slave_SQL_Running", "Gtid_IO_Pos", "Last_Error", "Last_IO_Error"];
        let tell = |name| format!("{name}: {}", row.try_get_unchecked::<String, _>(name).unwrap_or_default());
        names.map(tell).join(", ")
    }
}

/// The way to a running server.
impl MariaDb {
    /// A server with a directory and nothing in it.
    fn prepare(installation: Installation, options: MariaDbOptions, authority: Arc<Authority>) -> Self {
        let site = Site::new(installation.account);
        let ca_pem = authority.pem().into_bytes();
        let is_reader = AtomicBool::new(false);
        Self { installation, options, authority, ca_pem, site, port: 0, admin_port: 0, is_reader }
    }

    /// Starts a server whose data is there. Somebody else may be faster at a port that was free: then we take another.
    async fn launch(mut self) -> Self {
        self.site.write_certificate(&self.authority, self.options.tls);
        let mut attempts = 0..5;
        loop {
            (self.port, self.admin_port) = (free_port(), free_port());
            self.site.write("server.cnf", &self.configuration());
            self.run_server();
            match self.wait_until_ready().await {
                Ok(()) => break,
                Err(_) if self.log().contains(PORT_TAKEN) && attempts.next().is_some() => {}
                Err(problem) => panic!("{self} {problem}"),
            }
        }
        self.let_in_without_tls().await;
        self
    }

    fn run_server(&self) {
        let file = format!("--defaults-file={}", self.site.path("server.cnf").display());
        // At once: the data is thrown away.
        self.site.start(self.installation.program("mariadbd"), vec![file.into()], Signal::KILL);
    }

    async fn wait_until_ready(&self) -> Result<(), String> {
        self.site.wait_until_ready(async || self.answers().await).await
    }

    /// Whether it is this server that answers at our port.
    async fn answers(&self) -> bool {
        let ask = async {
            let mut connection = self.admin_options().connect().await?;
            sqlx::query_scalar("select @@datadir").fetch_one(&mut connection).await
        };
        let answer: Option<Result<String, sqlx::Error>> = timeout(Duration::from_secs(2), ask).await.ok();
        matches!(answer, Some(Ok(directory)) if Path::new(&directory) == self.site.data())
    }

    /// Without TLS nobody can be asked for it. Each server for itself: this is no part of what replicas get.
    async fn let_in_without_tls(&self) {
        if self.options.tls == ServerTls::Off {
            self.execute("set sql_log_bin = 0; alter user app@'%' require none; alter user lim@'%' require none").await;
        }
    }

    fn configuration(&self) -> String {
        let directory = self.site.directory().display();
        let mut ours = vec![
            ("bind_address", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("extra_port", self.admin_port.to_string()),
            ("extra_max_connections", "10".to_owned()),
            ("max_connections", self.options.max_connections.to_string()),
            // A reader follows, and can be made the writer at any time.
            ("server_id", self.server_id().to_string()),
            ("read_only", u8::from(self.is_reader.load(Ordering::Relaxed)).to_string()),
            ("log_bin", "bin".to_owned()),
            ("log_slave_updates", "1".to_owned()),
            ("gtid_strict_mode", "1".to_owned()),
            ("relay_log", "relay".to_owned()),
            // `app` may create functions.
            ("log_bin_trust_function_creators", "1".to_owned()),
            // As on RDS.
            ("character_set_server", "utf8mb4".to_owned()),
            ("general_log_file", format!("{directory}/statements.log")),
        ];
        if self.options.tls != ServerTls::Off {
            ours.push(("ssl_cert", format!("{directory}/server.crt")));
            ours.push(("ssl_key", format!("{directory}/server.key")));
        }
        // The last one wins.
        settings_file(&self.site, ours.iter().chain(&self.options.settings))
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.site.log()
    }

    /// The statements so far, since `general_log` is on.
    pub fn statements(&self) -> String {
        self.site.read("statements.log")
    }
}

impl fmt::Display for MariaDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the MariaDB server at port {}", self.port)
    }
}

impl fmt::Debug for MariaDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDb")
            .field("port", &self.port)
            .field("directory", &self.site.directory())
            .finish_non_exhaustive()
    }
}

/// A data directory with our accounts and database in it. Copying it is much faster than making it.
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
        site.write("server.cnf", &settings_file(&site, &[]));
        let file = format!("--defaults-file={}", site.path("server.cnf").display());
        let mut create = installation.command("mariadb-install-db");
        // The administrator needs no password.
        create.args([&file, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        run(create).await;

        site.write("statements.sql", &statements_of_a_new_server());
        let statements = File::open(site.path("statements.sql")).expect("the statements were just written");
        let mut execute = installation.command("mariadbd");
        execute.args([&file, "--bootstrap"]).stdin(statements);
        run(execute).await;
        Self { installation, site }
    }
}

/// The first one makes the server know of accounts at all, in the mode it executes these in.
fn statements_of_a_new_server() -> String {
    let accounts = ["app@'%' require ssl", "lim@'%' require ssl with max_user_connections 3", "plain@'%'"];
    let account = |account: &str| {
        let (name, options) = account.split_once(' ').unwrap_or((account, ""));
        format!("create user {name} identified by '{APP_PASSWORD}' {options};\ngrant all on app.* to {name};\n")
    };
    format!("flush privileges;\ncreate database app character set utf8mb4;\n{}", accounts.map(account).concat())
}

/// What a server's program reads. Whatever works on the same data is told of the same files.
fn settings_file<'a>(site: &Site, further: impl IntoIterator<Item = &'a (&'static str, String)>) -> String {
    let ours = [
        ("datadir", site.data().display().to_string()),
        // A server that starts removes what it takes for its own from before, another's too.
        ("tmpdir", site.data().display().to_string()),
        // Relative to the data: the whole path may be longer than a socket's may.
        ("socket", "server.sock".to_owned()),
        ("pid_file", "server.pid".to_owned()),
        ("skip_name_resolve", "1".to_owned()),
        ("performance_schema", "0".to_owned()),
        // Small and quick: this data need not survive the machine. It survives the server, as acknowledged data should:
        // each commit is handed to the system, which is what 2 means.
        ("innodb_flush_log_at_trx_commit", "2".to_owned()),
        ("innodb_flush_method", "nosync".to_owned()),
        ("sync_binlog", "0".to_owned()),
        ("innodb_buffer_pool_size", "16M".to_owned()),
        ("innodb_buffer_pool_dump_at_shutdown", "0".to_owned()),
        ("innodb_buffer_pool_load_at_startup", "0".to_owned()),
        ("innodb_log_file_size", "8M".to_owned()),
        ("innodb_data_file_path", "ibdata1:12M:autoextend".to_owned()),
        ("innodb_temp_data_file_path", "ibtmp1:4M:autoextend".to_owned()),
        ("innodb_autoextend_increment", "4".to_owned()),
        ("aria_log_file_size", "8M".to_owned()),
        ("aria_pagecache_buffer_size", "8M".to_owned()),
        ("key_buffer_size", "1M".to_owned()),
    ];
    let line = |(name, value): &(&str, String)| format!("{name} = \"{value}\"\n");
    let (ours, further): (String, String) = (ours.iter().map(line).collect(), further.into_iter().map(line).collect());
    format!("[mysqld]\n{ours}{further}")
}

/// The server programs of this machine and the user they run as.
#[derive(Clone, Debug)]
struct Installation {
    places: Vec<PathBuf>,
    account: Account,
}

impl Installation {
    fn find() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = env::split_paths(&path).collect();
        places.extend(["/usr/sbin", "/usr/local/mysql/bin", "/opt/homebrew/opt/mariadb/bin"].map(PathBuf::from));
        Self { places, account: Account::unprivileged(&["mysql", "nobody"]) }
    }

    /// Where a program is.
    fn program(&self, name: &str) -> PathBuf {
        let found = self.places.iter().map(|place| place.join(name)).find(|program| program.is_file());
        found.unwrap_or_else(|| {
            panic!(
                "MariaDB's program {name} not found; install it with: \
                 apt-get install -y --no-install-recommends mariadb-server-core mariadb-client-core"
            )
        })
    }

    fn command(&self, program: &str) -> Command {
        site::command(self.account, self.program(program))
    }
}

/// As a literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}
