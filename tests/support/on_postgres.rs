//! What the tests that both engines share call things by, on PostgreSQL.

use std::time::Duration;

pub use lambda_rds::{PgProxy as DbProxy, Postgres as Db};

pub use super::cluster::{Cluster, Imitation, id};
pub use super::directory::TokenServer;
pub use super::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions as ServerOptions};
pub use super::{account, proxy, proxy_to, server};

/// A cluster that tells of its members.
pub const CLUSTERED: Imitation = Imitation::Aurora;
/// How long the server leaves an idle session alone, set and asked.
pub const SET_IDLE_TERM: &str = "set idle_session_timeout = '77s'";
pub const IDLE_TERM: &str = "show idle_session_timeout";
pub const IDLE_TERM_NAME: &str = "idle_session_timeout";
/// The shortest term for which what an environment keeps is let to it.
pub const SHORTEST_TERM: Duration = Duration::from_millis(50);
/// For a Multi-AZ DB cluster: one more member, on this port, in what it tells.
pub fn names_a_member(port: u16) -> String {
    format!("insert into stage.members values ('stage-9', {port})")
}

/// A cluster that tells of its members, and not of their addresses.
pub const WITHOUT_ADDRESSES: Imitation = Imitation::Aurora;
/// What the server is called.
pub fn engine() -> &'static str {
    "PostgreSQL"
}

/// As secrets and URLs call it, and what they call the other one.
pub const FAMILY: &str = "postgres";
pub const OTHER_FAMILY: &str = "mysql";
/// The client has the first word.
pub const SERVER_GREETS: bool = false;

/// Where the application may create tables.
pub const OWN_SCHEMA: &str = "create schema app authorization app";
pub const TABLE: &str = "create table ledger (n int); grant all on ledger to app";
/// Its name for the administrator.
pub const LEDGER_TABLE: &str = "ledger";
pub const INSERT: &str = "insert into ledger values ($1)";
pub const PORT: &str = "select inet_server_port()::int8";
pub const PREPARE: &str = "prepare one as select 1";
/// The server's number of the session.
pub const SESSION: &str = "select pg_backend_pid()::int8";
/// The code of the last word of a server that is stopped.
pub fn farewell() -> Option<&'static str> {
    Some("57P01")
}
/// For the ledger: a commit is acknowledged when the standby that is promoted next has it.
pub const LEDGER: &str = "create table ledger (id bigint not null); grant all on ledger to app; \
                          alter role app set synchronous_commit = remote_apply";
/// Between two writes of one writer.
pub const PAUSE: Duration = Duration::from_millis(2);
/// For the quickstart.
pub const ORDERS: &str = "create table orders (id bigint generated always as identity primary key, item text not null); \
                          grant all on orders to app";
pub const ORDERED: &str = "select item from orders";
pub const QUICKSTART: &str = "quickstart";

/// The columns of whoever is logged in, and of where.
pub const USER: &str = "select current_user::text";
pub const DATABASE: &str = "select current_database()::text";
pub const ECHO: &str = "select $1::text";
/// A number and a text.
pub const ECHO_TWO: &str = "select $1::int8, $2::text";
/// Whether a statement that only reads says how many rows it gave.
pub const COUNTS_WHAT_IS_READ: bool = true;
/// Whether a statement drops all temporary tables of a session; if none does, its connection is closed.
pub const DROPS_TEMPORARY_TABLES: bool = true;
/// The TLS version of the session, null where there is none.
pub fn encryption() -> String {
    "select version from pg_stat_ssl where pid = pg_backend_pid()".to_owned()
}

/// In seconds, with the unit.
pub const IDLE_TIMEOUT: &str = "select current_setting('idle_session_timeout')";
/// Whether the server can be told to end a transaction in which nothing happens.
pub fn ends_idle_transactions() -> bool {
    true
}

pub const LAST_WORD_TO_AN_IDLE_TRANSACTION: Option<&str> = Some("25P03");

/// URL parameters: from the strictest to none, and the one of the roots.
pub const TLS_MODES: [&str; 4] = ["sslmode=verify-full", "sslmode=verify-ca", "sslmode=require", "sslmode=disable"];
pub const TLS_ROOTS: &str = "sslrootcert";

/// SQLSTATEs.
pub const WRONG_PASSWORD: &str = "28P01";
pub const NO_DATABASE: &str = "3D000";
/// Whether `READ UNCOMMITTED` is more than another name of `READ COMMITTED`.
pub const READS_UNCOMMITTED: bool = false;
pub const NO_TABLE: &str = "42P01";
pub const ACCOUNT_FULL: &str = "53300";
pub const SERVER_FULL: &str = "53300";
/// The smallest server, and how many of its connections are kept for the administrator.
pub const FEW: u16 = 5;
pub const RESERVED: u16 = 3;
/// The limit that a session meets there.
pub const FULL: lambda_rds::error::ConnectionLimit = lambda_rds::error::ConnectionLimit::Reserved;

pub const NO_ORDERS: &str = "drop table orders";
pub const NO_SUCH_TABLE: &str = "relation \"orders\" does not exist";

/// A setting of a session that is a number, as a text; see [`set_mark`].
pub const MARK: &str = "current_setting('app.mark')";
/// How long a session waits for a row, as a text; see [`set_wait`].
pub const WAIT: &str = "current_setting('lock_timeout')";
/// Has locked all rows of the ledger, and goes on.
pub const LOCKS_LONG: &str = "with l as (update ledger set n = 1 returning n) select pg_sleep(20) from l";
/// Outlives any test, unless the server hears that nobody waits for it.
pub const OUTLIVES: &str = "with l as (update ledger set n = 1 returning n) select pg_sleep(600) from l";
/// What an `init_query` sets and what a session does, the last of which makes it read-only, and what the server shows of it.
pub const INIT_QUERY: &str = "set geqo_seed = 0.5";
pub const SET_UP: &[&str] = &[
    "set time zone 'Asia/Tokyo'",
    "set search_path = pg_catalog, public",
    "set app.tenant = 'blue'",
    "set default_transaction_isolation = 'repeatable read'",
    "set default_transaction_read_only = on",
];
pub fn set_up_shown() -> String {
    "select current_setting(name) from unnest('{TimeZone, search_path, app.tenant, geqo_seed,
        default_transaction_read_only, transaction_isolation}'::text[]) name
     union all select split_part(current_setting('application_name'), ' ', 1)"
        .to_owned()
}

/// What makes a session's commits wait for the standby, after [`synchronize`], and how many do.
pub const SYNCHRONOUS: &str = "set synchronous_commit = remote_apply";
pub fn waiting_commits() -> &'static str {
    "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
}
/// Fails after a moment.
pub const DOOMED: &str = "select pg_sleep(0.06), 1 / (random() < 0)::int";
pub const DOOM: &str = "22012";

/// A statement that fails, and the code of those after it in a transaction that it has aborted, if it has.
pub const FAILS: &str = "select 1 / 0";
pub const ABORTED: Option<&str> = Some("25P02");
/// As [`set_wait`], with a value that is bound.
pub const SET_WAIT: &str = "select set_config('lock_timeout', $1, false)";
pub const WAIT_BOUND: &str = "7s";
/// How transactions begin and end as text, and whether they are committed then.
pub const TRANSACTIONS: &[(&str, &str, bool)] = &[
    ("begin", "commit", true),
    ("start transaction isolation level serializable", "end", true),
    ("BEGIN work", "abort", false),
    ("begin", "rollback and no chain", false),
];
/// Whether what a transaction has set goes back with it.
pub const ROLLS_SETTINGS_BACK: bool = true;
/// An expression: whether the session is in a transaction, 0 or 1. Outside one the two are the same moment.
pub fn is_in_transaction() -> &'static str {
    "(now() <> statement_timestamp())::int::int8"
}

/// Refused for what others do; to be tried again.
pub const CONFLICT: &str = "do $$ begin raise exception using errcode = '40001'; end $$";
/// Writes a number into the table `lost` and waits for [`lock`] 1; so does the commit of whatever has written into it.
pub const HELD_INSERT: &str = "
    create function held() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
    create constraint trigger held after insert on lost deferrable initially deferred
        for each row execute function held();
    create function held_insert(n int) returns int language plpgsql as
        $$ begin insert into lost values (n); perform pg_advisory_xact_lock_shared(1); return n; end $$";
/// Where it is held up.
pub const HELD_PLACES: &[&str] = &["statement", "in transaction", "commit"];
/// How many sessions of `app` wait for a [`lock`].
pub const WAITING_FOR_LOCKS: &str =
    "select count(*) from pg_stat_activity where usename = 'app' and wait_event = 'advisory'";

/// In the log: a session that ended without a word.
pub const NO_GOODBYE: &str = "unexpected EOF";
/// In the log: a login, and a socket that was opened.
pub const LOGIN: &str = "authorized: user=app";
pub const SOCKET: &str = "connection received";

pub fn sleep(seconds: f64) -> String {
    format!("select pg_sleep({seconds})")
}

pub fn logging_connections() -> ServerOptions {
    ServerOptions { settings: vec![("log_connections", "on".to_owned())], ..ServerOptions::default() }
}

pub fn logging_statements() -> ServerOptions {
    let mut options = logging_connections();
    options.settings.push(("log_statement", "all".to_owned()));
    options
}

/// What the server has been told, where it logs that.
pub fn log_of(server: &Server) -> String {
    server.log()
}

/// A table of numbers, for `app`.
pub fn numbers(table: &str) -> String {
    format!("create table {table} (n int); grant all on {table} to app")
}

/// What ends a transaction in a call: a procedure in a transaction may not.
pub const PROCEDURES: [&str; 0] = [];
pub const CALLS: [&str; 0] = [];

/// The numbers from 1 on, a row each, as 64 bits.
pub fn series(rows: u32) -> String {
    format!("select generate_series(1, {rows})::int8")
}

/// Takes a lock that outlives transactions.
pub fn lock(number: u8) -> String {
    format!("select pg_advisory_lock({number})")
}

pub fn unlock(number: u8) -> String {
    format!("select pg_advisory_unlock({number})")
}

/// The column that says whether somebody has it: 0 or 1.
pub fn held(number: u8) -> String {
    format!("(select count(*) from pg_locks where locktype = 'advisory' and objid = {number})")
}

/// Ends a session, which reads the end of the stream.
pub fn terminate(session: i64) -> String {
    format!("select pg_terminate_backend({session})")
}

/// The texts that the sessions of `app` have sent.
pub fn texts(server: &Server) -> Vec<String> {
    logged(server, "statement: ")
}

/// The prepared statements that the sessions of `app` have executed.
pub fn executed(server: &Server) -> Vec<String> {
    logged(server, "execute ")
}

/// Parts of the texts that ask how full the server is.
pub const ASKS_HOW_FULL: &[&str] = &["pg_stat_get_backend_idset"];

/// A login brings no text with it.
pub fn first_texts() -> &'static [&'static str] {
    // A name of one's own may be a pooler's.
    &["show lambda_rds.login"]
}

/// What a member of a Multi-AZ DB cluster calls itself.
pub fn resource_id(_cluster: &Cluster, node: usize) -> String {
    format!("db-{}", id(node).to_uppercase())
}

fn logged(server: &Server, command: &str) -> Vec<String> {
    let log = server.log();
    let ours = log.lines().filter(|line| line.contains("app@app"));
    ours.filter_map(|line| Some(line.split_once(command)?.1.to_owned())).collect()
}

pub fn set_mark(mark: usize) -> String {
    format!("set app.mark = '{mark}'")
}

pub fn set_wait(seconds: u32) -> String {
    format!("set lock_timeout = '{seconds}s'")
}

/// One row of an expression, after a time.
pub fn slowly(expression: &str, seconds: f64) -> String {
    format!("select {expression} from pg_sleep({seconds})")
}

/// One more account, that the application's passwords may be of too: the other one of two that take turns.
pub fn twin() -> String {
    format!("create role twin login password '{APP_PASSWORD}'")
}

/// An account may have so many connections to each server.
pub fn limit(account: &str, connections: u16) -> String {
    format!("alter role \"{account}\" connection limit {connections}")
}

/// An account may not log in any more.
pub fn lock_out(account: &str) -> String {
    format!("alter role \"{account}\" nologin")
}

/// How many sessions of `app` are in a transaction.
pub async fn in_transaction(server: &Server) -> i64 {
    count(server, "xact_start is not null").await
}

/// How many sessions of `app` are at work.
pub async fn running(server: &Server) -> i64 {
    count(server, "state = 'active'").await
}

async fn count(server: &Server, condition: &str) -> i64 {
    let sql = format!("select count(*) from pg_stat_activity where usename = 'app' and {condition}");
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
    query.fetch_one(&mut server.admin().await).await.expect("an answer")
}

/// Cuts the sessions that are in [`sleep`].
pub async fn terminate_sleepers(server: &Server) {
    server
        .execute("select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep(20)%'")
        .await;
}

/// The standby that is promoted next has applied whatever is acknowledged; the others may be late.
pub async fn synchronize(cluster: &Cluster, writer: usize, standby: usize) {
    let server = cluster.node(writer);
    server.execute(&format!("alter system set synchronous_standby_names = '\"{}\"'", id(standby))).await;
    server.execute("select pg_reload_conf()").await;
}
