//! What the tests that both engines share call things by, on MySQL.

use std::time::Duration;

use super::servers::{Family, Servers};

pub use lambda_rds::{MySql as Db, MySqlProxy as DbProxy};

pub use super::gate::TokenServer;
pub use super::mariadb::{APP_PASSWORD, MariaDb as Server, MariaDbOptions as ServerOptions};
pub use super::mariadb_cluster::{Imitation, MariaDbCluster as Cluster, id};
pub use super::words::{is_in_transaction, session_status, settings, worded};
pub use super::{mysql_account as account, mysql_proxy as proxy, mysql_proxy_to as proxy_to, mysql_server as server};

/// For a Multi-AZ DB cluster: one more member, on this port, in what it tells.
pub fn names_a_member(port: u16) -> String {
    format!("insert into mysql.rds_topology values (9, 'localhost', {port})")
}

/// A cluster that tells of its members. Aurora's tables cannot be imitated under their own names.
pub const CLUSTERED: Imitation = Imitation::MultiAz;
/// How long the server leaves an idle session alone, set and asked.
pub const SET_IDLE_TERM: &str = "set session wait_timeout = 77";
pub const IDLE_TERM: &str = "select cast(@@wait_timeout as char)";
pub const IDLE_TERM_NAME: &str = "wait_timeout";
/// The shortest term for which what an environment keeps is let to it.
pub const SHORTEST_TERM: Duration = Duration::from_millis(1000);
/// A cluster that tells of no addresses.
pub const WITHOUT_ADDRESSES: Imitation = Imitation::Nothing;
/// As secrets and URLs call it, and what they call the other one.
pub const FAMILY: &str = "mysql";
pub const OTHER_FAMILY: &str = "postgres";
/// What the server is called.
pub fn engine() -> &'static str {
    Servers::family().either("MariaDB", "MySQL")
}

/// The server has the first word.
pub const SERVER_GREETS: bool = true;

/// Its database is the application's own from the start.
pub const OWN_SCHEMA: &str = "select 1";
pub const TABLE: &str = "create table app.ledger (n int)";
/// Its name for the administrator.
pub const LEDGER_TABLE: &str = "app.ledger";
pub const INSERT: &str = "insert into ledger values (?)";
pub const PORT: &str = "select cast(@@port as signed)";
pub const PREPARE: &str = "prepare one from 'select 1'";
/// The server's number of the session.
pub const SESSION: &str = "select cast(connection_id() as signed)";
/// The code of the last word of a server that is stopped: MySQL says so to whom it owes an answer, MariaDB hangs up without
/// a word.
pub fn farewell() -> Option<&'static str> {
    Servers::family().either(None, Some("08S01"))
}
/// For the ledger.
pub const LEDGER: &str = "create table app.ledger (id bigint not null)";
/// Between two writes of one writer. A node that comes back gets all of them again, one after the other.
pub const PAUSE: Duration = Duration::from_millis(10);
/// For the quickstart.
pub const ORDERS: &str = "create table app.orders (id bigint unsigned auto_increment primary key, item text not null)";
pub const ORDERED: &str = "select item from app.orders";
pub const QUICKSTART: &str = "quickstart_mysql";

/// The columns of whoever is logged in, and of where.
pub const USER: &str = "select trim(trailing '@%' from current_user())";
pub const DATABASE: &str = "select database()";
pub const ECHO: &str = "select ?";
/// A number and a text.
pub const ECHO_TWO: &str = "select ?, ?";
/// Whether a statement that only reads says how many rows it gave.
pub const COUNTS_WHAT_IS_READ: bool = false;
/// Whether a statement drops all temporary tables of a session; if none does, its connection is closed.
pub const DROPS_TEMPORARY_TABLES: bool = false;
/// The TLS version of the session, null where there is none.
pub fn encryption() -> String {
    format!("select nullif(variable_value, '') from {} where variable_name = 'Ssl_version'", session_status())
}

/// In seconds, with the unit.
pub const IDLE_TIMEOUT: &str = "select concat(@@wait_timeout, 's')";
/// Whether the server can be told to end a transaction in which nothing happens: MySQL cannot.
pub fn ends_idle_transactions() -> bool {
    Servers::family() == Family::MariaDb
}

/// The server hangs up.
pub const LAST_WORD_TO_AN_IDLE_TRANSACTION: Option<&str> = None;

/// URL parameters: from the strictest to none, and the one of the roots.
pub const TLS_MODES: [&str; 4] =
    ["ssl-mode=VERIFY_IDENTITY", "ssl-mode=VERIFY_CA", "ssl-mode=REQUIRED", "ssl-mode=DISABLED"];
pub const TLS_ROOTS: &str = "ssl-ca";

/// SQLSTATEs.
pub const WRONG_PASSWORD: &str = "28000";
pub const NO_DATABASE: &str = "42000";
/// Whether `READ UNCOMMITTED` is more than another name of `READ COMMITTED`.
pub const READS_UNCOMMITTED: bool = true;
pub const NO_TABLE: &str = "42S02";
pub const ACCOUNT_FULL: &str = "42000";
pub const SERVER_FULL: &str = "08004";
/// The smallest server, and how many of its connections are kept for the administrator.
pub const FEW: u16 = 10;
pub const RESERVED: u16 = 0;
/// The limit that a session meets there.
pub const FULL: lambda_rds::error::ConnectionLimit = lambda_rds::error::ConnectionLimit::Server;

pub const NO_ORDERS: &str = "drop table app.orders";
pub const NO_SUCH_TABLE: &str = "Table 'app.orders' doesn't exist";

/// A setting of a session that is a number, as a text; see [`set_mark`].
pub const MARK: &str = "cast(@@group_concat_max_len - 1000 as char)";
/// How long a session waits for a row, as a text; see [`set_wait`].
pub const WAIT: &str = "cast(@@innodb_lock_wait_timeout as char)";
/// Has locked a row of the ledger, and goes on.
pub const LOCKS_LONG: &str = "update ledger set n = sleep(20)";
/// Goes on when nobody waits for it: neither MySQL nor MariaDB looks.
pub const OUTLIVES: &str = "update ledger set n = sleep(20)";
/// What an `init_query` sets and what a session does, the last of which makes it read-only, and what the server shows of it.
pub const INIT_QUERY: &str = "set lock_wait_timeout = 55";
pub const SET_UP: &[&str] = &[
    "set time_zone = '+09:00', group_concat_max_len = 7000",
    "set names utf8mb4 collate utf8mb4_bin",
    "set sql_mode = 'traditional'",
    "set session transaction isolation level read committed",
    "set session transaction read only",
];
pub fn set_up_shown() -> String {
    format!(
        "select concat(name, '=', value) from {} \
         where name in ('time_zone', 'group_concat_max_len', 'collation_connection', 'sql_mode', 'lock_wait_timeout', \
           'tx_isolation', 'tx_read_only', 'transaction_isolation', 'transaction_read_only') \
         union all select database() order by 1",
        settings()
    )
}

/// What makes a session's commits wait for the standby, after [`synchronize`], and how many do. MySQL commits in order:
/// behind the one that waits for the standby the next one waits for that, and shows it by another state.
pub const SYNCHRONOUS: &str = "do 0";
pub fn waiting_commits() -> &'static str {
    Servers::family().either(
        "select count(*) from information_schema.processlist where state like 'Waiting for semi-sync%'",
        "select if(sum(state like 'Waiting for semi-sync%'), count(*), 0) from performance_schema.processlist \
           where state like 'Waiting for semi-sync%' or state = 'waiting for handler commit'",
    )
}
/// Fails after a moment.
pub const DOOMED: &str = "select sleep(0.06), (select 1 from (select 1 union select 2) as two where rand() >= 0)";
pub const DOOM: &str = "21000";

/// A statement that fails, and the code of those after it in a transaction that it has aborted, if it has.
pub const FAILS: &str = "select no_such_column";
pub const ABORTED: Option<&str> = None;
/// As [`set_wait`], with a value that is bound.
pub const SET_WAIT: &str = "set innodb_lock_wait_timeout = ?";
pub const WAIT_BOUND: i32 = 7;
/// How transactions begin and end as text, and whether they are committed then.
pub const TRANSACTIONS: &[(&str, &str, bool)] = &[
    ("begin", "commit", true),
    ("start transaction with consistent snapshot, read write", "commit work no release", true),
    ("BEGIN work", "rollback work", false),
    ("begin", "rollback and no chain", false),
];
/// Whether what a transaction has set goes back with it.
pub const ROLLS_SETTINGS_BACK: bool = false;
/// Refused for what others do, as a deadlock is; to be tried again.
pub const CONFLICT: &str = "signal sqlstate '40001' set mysql_errno = 1213";
/// Writes a number into the table `lost` and waits for [`lock`] 1; as the account of whoever calls it, for the list of
/// sessions to say so.
pub const HELD_INSERT: &str = "
    create function app.held_insert(n int) returns int sql security invoker
        begin insert into lost values (n); do get_lock('1', 60); do release_lock('1'); return n; end";
/// Where it is held up. A commit that is held up and lost is in `failover`.
pub const HELD_PLACES: &[&str] = &["statement", "in transaction"];
/// How many sessions of `app` wait for a [`lock`].
pub const WAITING_FOR_LOCKS: &str =
    "select count(*) from information_schema.processlist where user = 'app' and state = 'User lock'";

/// In the log: a session of `app` that ended without a word. Its connection is called aborted, of such a user.
pub const NO_GOODBYE: &str = "user: 'app' host:";
/// In the log: a login. Nothing tells of a socket that was only opened.
pub const LOGIN: &str = "Connect\tapp@";
pub const SOCKET: &str = LOGIN;

pub fn sleep(seconds: f64) -> String {
    format!("select sleep({seconds})")
}

pub fn logging_connections() -> ServerOptions {
    ServerOptions { settings: vec![("general_log", "1".to_owned())], ..ServerOptions::default() }
}

pub fn logging_statements() -> ServerOptions {
    logging_connections()
}

/// What the server has been told, where it logs that.
pub fn log_of(server: &Server) -> String {
    server.statements()
}

/// A table of numbers, for `app`.
pub fn numbers(table: &str) -> String {
    format!("create table app.{table} (n int)")
}

/// What ends a transaction in a call.
pub const PROCEDURES: [&str; 3] = [
    "create procedure app.commits() commit",
    "create procedure app.rolls_back() rollback",
    "create procedure app.goes_on() begin rollback; start transaction; end",
];
pub const CALLS: [&str; 3] = ["call commits()", "call rolls_back()", "call goes_on()"];

/// The numbers from 1 on, a row each, as 64 bits.
pub fn series(rows: u32) -> String {
    format!("select cast(seq as signed) from seq_1_to_{rows}")
}

/// Takes a lock that outlives transactions.
pub fn lock(number: u8) -> String {
    format!("select get_lock('{number}', 60)")
}

pub fn unlock(number: u8) -> String {
    format!("select release_lock('{number}')")
}

/// The column that says whether somebody has it: 0 or 1.
pub fn held(number: u8) -> String {
    format!("is_used_lock('{number}') is not null")
}

/// Ends a session, which reads the end of the stream.
pub fn terminate(session: i64) -> String {
    format!("kill connection {session}")
}

/// The texts that the sessions of `app` have sent.
pub fn texts(server: &Server) -> Vec<String> {
    logged(server, " Query\t")
}

/// The prepared statements that the sessions of `app` have executed.
pub fn executed(server: &Server) -> Vec<String> {
    logged(server, " Execute\t")
}

/// Parts of the texts that ask how full the server is.
pub const ASKS_HOW_FULL: &[&str] = &["max_user_connections", "Threads\\_connected"];

/// What a login brings with it: one text, whose statements MySQL logs one by one.
pub fn first_texts() -> &'static [&'static str] {
    Servers::family().either(
        &["/* lambda-rds stage #"],
        &["/* lambda-rds stage #", "SELECT CONCAT(CONNECTION_ID(), '@', @@hostname", "SELECT 1 FROM DUAL WHERE FALSE"],
    )
}

/// What a member of a Multi-AZ DB cluster calls itself.
pub fn resource_id(cluster: &Cluster, node: usize) -> String {
    cluster.node(node).server_id().to_string()
}

/// A line: the time (where it is another one than before), the session, the command, the text.
fn logged(server: &Server, command: &str) -> Vec<String> {
    let log = server.statements();
    let session = |line: &str, command: &str| {
        let (before, text) = line.split_once(command)?;
        Some((before.split_whitespace().last()?.to_owned(), text.to_owned()))
    };
    let login = format!(" {LOGIN}");
    let ours: Vec<String> = log.lines().filter_map(|line| Some(session(line, &login)?.0)).collect();
    let all = log.lines().filter_map(|line| session(line, command));
    all.filter(|(session, _)| ours.contains(session)).map(|(_, text)| text).collect()
}

pub fn set_mark(mark: usize) -> String {
    format!("set group_concat_max_len = {}", 1000 + mark)
}

pub fn set_wait(seconds: u32) -> String {
    format!("set innodb_lock_wait_timeout = {seconds}")
}

/// One row of an expression, after a time.
pub fn slowly(expression: &str, seconds: f64) -> String {
    format!("select {expression} from (select sleep({seconds})) as pause")
}

/// One more account, that the application's passwords may be of too: the other one of two that take turns.
pub fn twin() -> String {
    format!("create user twin@'%' identified by '{APP_PASSWORD}'; grant all on app.* to twin@'%'")
}

/// An account may have so many connections to each server.
pub fn limit(account: &str, connections: u16) -> String {
    format!("alter user {account}@'%' with max_user_connections {connections}")
}

/// An account may not log in any more.
pub fn lock_out(account: &str) -> String {
    format!("alter user {account}@'%' account lock")
}

/// How many sessions of `app` are in a transaction, and have done something in it.
pub async fn in_transaction(server: &Server) -> i64 {
    // What the tables of InnoDB say is up to 0.1 s old.
    let report = server.rows("show engine innodb status").await;
    let text: String = sqlx::Row::get_unchecked(&report[0], 2);
    let is_apps = |one: &&str| one.contains("ACTIVE") && one.split_whitespace().any(|word| word == "app");
    let sessions = text.split("---TRANSACTION ").filter(is_apps);
    i64::try_from(sessions.count()).expect("sessions are few")
}

/// How many sessions of `app` are at work.
pub async fn running(server: &Server) -> i64 {
    let text = "select count(*) from information_schema.processlist where user = 'app' and command <> 'Sleep'";
    sqlx::Row::get_unchecked(&server.rows(text).await[0], 0)
}

/// Cuts the sessions that are in [`sleep`].
pub async fn terminate_sleepers(server: &Server) {
    let text = "select id from information_schema.processlist where user = 'app' and info like 'select sleep(20)%'";
    for row in server.rows(text).await {
        let id: i64 = sqlx::Row::get_unchecked(&row, 0);
        server.execute(&format!("kill connection {id}")).await;
    }
}

/// A commit is acknowledged when the standby that is promoted next has it.
pub async fn synchronize(cluster: &Cluster, writer: usize, _standby: usize) {
    cluster.acknowledge_late(writer).await;
}
