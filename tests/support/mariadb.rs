//! MariaDB servers of one's own: with TLS, passwords, replicas that follow by GTID, and faults on command. They are MySQL
//! servers where [`Servers`](super::servers::Servers) has those; [`family`] has what differs.

mod family;
mod replication;
mod template;

use std::{
    fmt,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, Row,
    mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode},
};
use tokio::time::timeout;

pub use super::site::{APP_PASSWORD, ServerTls};
use super::{
    certificates::Authority,
    ports::free_port,
    servers::Family,
    site::{self, HOST, PORT_TAKEN, Site, WAIT_LIMIT, percent_encoded},
};
use template::{Installation, Template, settings_file};

/// The file of the general log.
const STATEMENTS: &str = "statements.log";

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

/// A MariaDB or MySQL server on 127.0.0.1.
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

    /// A connection of another account that needs neither TLS nor a password, by the side door.
    pub async fn enter_as(&self, account: &str) -> MySqlConnection {
        let connected = self.admin_options().port(self.side_door().port()).username(account).connect().await;
        connected.unwrap_or_else(|error| panic!("{self} did not let {account} in: {error}"))
    }

    /// Where whoever needs neither TLS nor a password is let in: the administrator's port, which MySQL keeps for
    /// administrators.
    pub fn side_door(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.family().either(self.admin_port, self.port)).into()
    }

    /// Whether it is a MariaDB or a MySQL.
    pub fn family(&self) -> Family {
        self.installation.family
    }

    /// An account without a password that may do what `app` may.
    pub async fn open_account(&self, account: &str) {
        let account = quoted(account);
        self.execute(&format!("create user {account}@'%'; grant all on app.* to {account}@'%'")).await;
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
        let sql = format!(
            "select concat_ws(' ', id, command, time, state, info) from information_schema.processlist \
             where user = {} and id <> connection_id()",
            quoted(account)
        );
        let told = |row: &MySqlRow| String::from_utf8_lossy(&row.get_unchecked::<Vec<u8>, _>(0)).into_owned();
        site::wait_until_sessions(account, count, async || self.rows(&sql).await.iter().map(told).collect()).await;
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
        self.follow_again().await;
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

    /// MySQL has to be told a password once, which takes TLS, before a proof of it is enough. So `plain`, which needs no
    /// TLS, tells it as soon as a server has started.
    async fn introduce_plain(&self) {
        if self.family() == Family::MySql && self.options.tls == ServerTls::Valid {
            let options = self.admin_options().port(self.port).username("plain").password(APP_PASSWORD);
            let connected = options.ssl_mode(MySqlSslMode::Required).connect().await;
            let connection = connected.unwrap_or_else(|error| panic!("{self} did not let plain in: {error}"));
            // A socket that is only dropped would be in the log.
            let _ = connection.close().await;
        }
    }

    fn run_server(&self) {
        let file = format!("--defaults-file={}", self.site.path("server.cnf").display());
        // At once: the data is thrown away.
        self.site.start(self.installation.server(), vec![file.into()], Signal::KILL);
    }

    async fn wait_until_ready(&self) -> Result<(), String> {
        self.site.wait_until_ready(async || self.answers().await).await?;
        self.introduce_plain().await;
        Ok(())
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
            ("max_connections", self.options.max_connections.to_string()),
            // A reader follows, and can be made the writer at any time.
            ("server_id", self.server_id().to_string()),
            ("read_only", u8::from(self.is_reader.load(Ordering::Relaxed)).to_string()),
            ("log_bin", "bin".to_owned()),
            ("relay_log", "relay".to_owned()),
            // `app` may create functions.
            ("log_bin_trust_function_creators", "1".to_owned()),
            // As on RDS.
            ("character_set_server", "utf8mb4".to_owned()),
            ("general_log_file", format!("{directory}/{STATEMENTS}")),
        ];
        ours.extend(self.family().settings_of_a_server(self.admin_port));
        if self.options.tls != ServerTls::Off {
            ours.push(("ssl_cert", format!("{directory}/server.crt")));
            ours.push(("ssl_key", format!("{directory}/server.key")));
        }
        // The last one wins.
        settings_file(&self.site, ours.iter().chain(&self.options.settings))
    }

    /// What the server has logged so far, and then, with `general_log`, all [`statements`](Self::statements).
    pub fn log(&self) -> String {
        format!("{}{}", self.site.log(), self.statements())
    }

    /// The logins and statements so far, since `general_log` is on.
    pub fn statements(&self) -> String {
        // There is no such file before.
        if self.site.path(STATEMENTS).exists() { self.site.read(STATEMENTS) } else { String::new() }
    }
}

impl fmt::Display for MariaDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} server at port {}", self.family().either("MariaDB", "MySQL"), self.port)
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

/// As a literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}
