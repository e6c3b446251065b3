//! What sessions say to PostgreSQL to generate numbers and to read them.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::support::postgres::Postgres as Server;

/// Twice the same: for the sessions that share connections, and for those that have one each.
pub(super) const WORLDS: [&str; 2] = ["public", "alone"];

const SCHEMA: &str = "
    create table {world}.orders (id serial, n int not null default 0);
    create table {world}.log (id serial, n int not null default 0);
    create table {world}.plain (n bigint);
    create function {world}.generates() returns text language sql as $$ select 'generated ' || nextval('orders_id_seq') $$;
    grant usage on schema {world} to app;
    grant all on all tables in schema {world} to app; grant all on all sequences in schema {world} to app;";

pub(super) const INSERT: &str = "insert into orders default values";
/// Another table, with numbers of its own.
pub(super) const INSERT_ELSEWHERE: &str = "insert into log default values";
pub(super) const INSERT_WITHOUT: &str = "insert into plain values (1)";
pub(super) const INSERT_IN_VAIN: &str = "insert into orders (n) values (null)";
pub(super) const UPDATE: &str = "update plain set n = n";
/// The number that the last statement has generated, and that of the table of [`INSERT`].
pub(super) const LAST: &str = "select lastval()::text";
pub(super) const LAST_OF_TABLE: &str = "select currval('orders_id_seq')::text";
pub(super) const INSERT_LAST: &str = "insert into plain values (currval('orders_id_seq')) returning n::text";
/// What was generated, as the table has it.
pub(super) const NEWEST: &str = "select max(id)::text from orders";
pub(super) const PIN: &str = "select pg_try_advisory_lock_shared(3)::text";

/// Statements; several of them make a text.
pub(super) fn statements() -> Vec<&'static str> {
    STATEMENTS.to_vec()
}

const STATEMENTS: &[&str] = &[
    INSERT,
    INSERT,
    INSERT_ELSEWHERE,
    INSERT_ELSEWHERE,
    INSERT_WITHOUT,
    INSERT_IN_VAIN,
    UPDATE,
    "select generates()",
    "select nextval('log_id_seq')::text",
    "with made as (insert into log default values returning id) select 'made' from made",
    "select 'nothing'",
    LAST,
    LAST,
    LAST_OF_TABLE,
    LAST_OF_TABLE,
    "select currval('log_id_seq')::text",
    INSERT_LAST,
    "select (nextval('orders_id_seq') - currval('orders_id_seq'))::text",
];

pub(super) fn set_up() -> String {
    let schemas = WORLDS.map(|world| {
        let path = format!("create schema if not exists {world}; set search_path = {world}; ");
        path + &SCHEMA.replace("{world}", world)
    });
    schemas.join("; ")
}

pub(super) fn parameters() -> &'static str {
    "?sslmode=require"
}

/// The session's world is the second one.
pub(super) const MOVE: &str = "set search_path = alone";

/// A session's first text may be any.
pub(super) const HELLO: Option<&str> = None;

/// As good as a new connection.
pub(super) const RENEW: Option<&str> = Some("discard all");

/// The last numbers of a world.
pub(super) async fn reached(admin: &mut PgConnection, world: &str) -> Vec<(i64, bool)> {
    let sql = format!(
        "select last_value, is_called from {world}.orders_id_seq \
         union all select last_value, is_called from {world}.log_id_seq"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(admin).await.expect("an answer");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Both worlds go on from the same numbers.
pub(super) async fn align(admin: &mut PgConnection) {
    let mut text = String::new();
    for (sequence, (last, called)) in ["orders", "log"].iter().zip(reached(admin, WORLDS[0]).await) {
        text.push_str(&format!("select setval('alone.{sequence}_id_seq', {last}, {called}); "));
    }
    sqlx::raw_sql(AssertSqlSafe(text)).execute(admin).await.expect("an answer");
}

pub(super) async fn start() -> Server {
    let server = Server::start(crate::support::postgres::PostgresOptions::default()).await;
    server.execute(&set_up()).await;
    server
}
