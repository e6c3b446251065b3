//! What the model's sessions say to PostgreSQL.

use lambda_rds::{Postgres, ProxyBuilder};
use proptest::prelude::*;
use sqlx::error::DatabaseError;
use sqlx::{Connection, PgConnection};

use super::model::{Account, Kind, Lost, Step, Way};
use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

pub(super) const USER: &str = "app";

/// An error aborts the transaction that it happens in.
pub(super) const ERRORS_ABORT: bool = true;
/// A rollback takes settings back, too.
pub(super) const ROLLBACK_RESETS: bool = true;
/// What the driver prepares can be dropped at any moment.
pub(super) const PREPARES_AHEAD: bool = false;
/// No statement commits by itself.
pub(super) const COMMITS: &str = "";

/// The rows of `half` are those of dropped statements. The uniqueness of `notes` is looked at by the commit.
const SCHEMA: &str = "
    create role clerk; grant clerk to app;
    create table notes (session int, n int, unique (session, n) deferrable initially deferred);
    create table half (session int);
    grant all on notes, half to public";

/// What a session sees of itself. A custom setting that was never made may read as nothing or as empty.
pub(super) fn look() -> String {
    "select concat_ws(' ', current_user, session_user, \
    (select string_agg(name || '=' || current_setting(name), ' ' order by name) from unnest(array[ \
        'work_mem', 'lock_timeout', 'search_path', 'TimeZone', 'DateStyle', 'transaction_read_only' \
    ]) name), \
    coalesce(current_setting('app.tenant', true), ''), \
    to_regclass('pg_temp.mine')::text, \
    (select 'locks:' || string_agg(objid || mode, ',' order by objid, mode) from pg_locks \
     where pid = pg_backend_pid() and locktype = 'advisory'), \
    (select 'channels:' || string_agg(c, ',' order by c) from pg_listening_channels() c), \
    (select 'cursors:' || string_agg(name, ',' order by name) from pg_cursors where name <> ''), \
    (select 'prepared:' || string_agg(name, ',' order by name) from pg_prepared_statements where from_sql), \
    (select 'notes:' || string_agg(n::text, ',' order by n) from public.notes where session = {s}))"
        .to_owned()
}

pub(super) const MANY_ROWS: &str = "select n::text from generate_series(1, 300) n";

/// After a `SET` that may have happened.
pub(super) const SET_AGAIN: &str = "set work_mem = '1MB'";

/// What must not pin.
fn shared_statement() -> impl Strategy<Value = Step> {
    use Way::{All, Execute, First, Raw, Unnamed};
    let quiet = prop::sample::select(vec![Execute, All, First, Unnamed, Raw]);
    let settings = (1..9_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("set work_mem = '{n}MB'"),
            format!("set session lock_timeout to {n}000"),
            format!("set local work_mem = '{n}MB'"),
            format!("set local lock_timeout = '{n}s'"),
            format!("select set_config('app.tenant', '{{s}}.{n}', false)"),
            format!("select set_config('lock_timeout', '{n}s', true)"),
            format!("set app.tenant = '{n} of {{s}}'"),
            format!("set time zone {n}"),
            "reset work_mem".to_owned(),
            "reset all".to_owned(),
            "reset app.tenant".to_owned(),
            "set lock_timeout to default".to_owned(),
            "set search_path = pg_catalog, \"public\", \"B c\"".to_owned(),
            "set datestyle = 'German'".to_owned(),
            "set role clerk".to_owned(),
            "reset role".to_owned(),
            "set role none".to_owned(),
            "set session authorization default".to_owned(),
            "set transaction read only".to_owned(),
            "set work_mem = 'much'".to_owned(),
            "set role nobody_of_that_name".to_owned(),
        ])
    });
    let queries = (1..5_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("select '{n} of {{s}}'"),
            "show work_mem".to_owned(),
            "select 1 / 0".to_owned(),
            "select no_such_column".to_owned(),
            MANY_ROWS.to_owned(),
            format!("insert into public.notes values ({{s}}, {n}) returning n::text"),
            format!("delete from public.notes where session = {{s}} and n = {n}"),
            format!("update public.notes set n = n + 4 where session = {{s}} and n = {n} returning n::text"),
            "select pg_try_advisory_xact_lock({s})::text".to_owned(),
            "select pg_try_advisory_xact_lock_shared(1000)::text".to_owned(),
            "select pg_advisory_unlock({s})::text".to_owned(),
            "notify orders".to_owned(),
        ])
    });
    // By the simple protocol, because the driver keeps for good what columns a text had when it was prepared.
    let texts = (1..5_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("declare c cursor for select '{{s}}.' || n from generate_series({n}, 9) n"),
            "fetch 2 from c".to_owned(),
            "move 1 in c".to_owned(),
            "close c".to_owned(),
            format!("insert into public.notes values ({{s}}, {n}); select 'and {{s}}'"),
            format!("insert into public.notes values ({{s}}, {n}); select 1 / 0; select 'not reached'"),
            "select 'a'; select 'b'; select 'c'".to_owned(),
        ])
    });
    prop_oneof![
        4 => (quiet.clone(), settings).prop_map(|(way, sql)| Step::Run(way, sql)),
        3 => (quiet, queries).prop_map(|(way, sql)| Step::Run(way, sql)),
        2 => texts.prop_map(|sql| Step::Run(Raw, sql)),
    ]
}

/// What pins, and what is done with what pinned.
fn pinning_statement() -> impl Strategy<Value = Step> {
    let texts = (1..9_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            "create temp table mine (n int)".to_owned(),
            "create temp table mine (n int) on commit drop".to_owned(),
            format!("insert into mine values ({n})"),
            "select n::text from mine order by n".to_owned(),
            "drop table mine".to_owned(),
            "select pg_try_advisory_lock({s})::text".to_owned(),
            "select pg_try_advisory_lock_shared({s})::text".to_owned(),
            "select pg_try_advisory_lock_shared(1000)::text".to_owned(),
            "select pg_advisory_unlock({s})::text".to_owned(),
            "select pg_advisory_unlock_all()".to_owned(),
            "declare h cursor with hold for select '{s}.' || n from generate_series(1, 5) n".to_owned(),
            "fetch 2 from h".to_owned(),
            "close h".to_owned(),
            "unlisten *".to_owned(),
            format!("prepare p as select '{n} of {{s}}'"),
            "execute p".to_owned(),
            "deallocate p".to_owned(),
            "do $$ begin perform set_config('lock_timeout', '7s', false); end $$".to_owned(),
            format!("set work_mem = '{n}MB'; select 'set by {{s}}'"),
            format!("set work_mem = '{n}MB'; select 1 / 0"),
            format!("begin; insert into public.notes values ({{s}}, 1{n}); set lock_timeout = {n}; commit"),
        ])
    });
    let bound = (1..9_u8).prop_map(|n| {
        Step::Run(Way::Bound(n), "select set_config('lock_timeout', $1::int::text || 's', false)".to_owned())
    });
    prop_oneof![
        6 => texts.prop_map(|sql| Step::Run(Way::Raw, sql)),
        1 => bound,
    ]
}

pub(super) fn kinds() -> Vec<Kind> {
    let lost = vec![
        Lost::Text("select pg_sleep(0.002)"),
        Lost::Text("select pg_sleep(0.001), 1 / (random() < 0)::int"),
        Lost::Text("insert into public.half values ({s})"),
        Lost::Set("set work_mem = '9MB'"),
        Lost::Begin,
        Lost::Rows,
    ];
    // Pins, where the text was sent.
    let mut lost_by_pinned = lost.clone();
    lost_by_pinned.push(Lost::Text("create temp table half_made (n int)"));
    let all = prop_oneof![8 => shared_statement(), 5 => pinning_statement()];
    vec![
        Kind { weight: 3, weight_of_statements: 8, statements: shared_statement().boxed(), lost },
        Kind { weight: 2, weight_of_statements: 13, statements: all.boxed(), lost: lost_by_pinned },
    ]
}

/// A text as it is sent. Inside a guard the application's own `BEGIN` and `COMMIT` would end the guard's transaction.
pub(super) fn spoken(sql: &str, depth: usize) -> String {
    if depth > 0 { sql.replace("begin; ", "").replace("; commit", "") } else { sql.to_owned() }
}

pub(super) fn is_quiet(_: &str) -> bool {
    true
}

pub(super) fn is_about_all(_: &str) -> bool {
    false
}

pub(super) fn is_question(_: &str) -> bool {
    false
}

pub(super) fn is_refused(_: Account, _: &str) -> bool {
    false
}

pub(super) fn account(_: &mut Account, _: &str, _: usize, _: bool) {}

pub(super) async fn is_open(_: &mut PgConnection, _: Account) -> bool {
    false
}

pub(super) fn code(error: &(dyn DatabaseError + 'static)) -> String {
    error.code().unwrap_or_default().into_owned()
}

pub(super) async fn start() -> Server {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(SCHEMA).await;
    server
}

pub(super) fn proxy(server: &Server) -> ProxyBuilder<Postgres> {
    proxy_to(server)
}

pub(super) async fn connect(server: &Server) -> PgConnection {
    PgConnection::connect(&format!("{}?sslmode=require", server.url())).await.expect("connects")
}

/// As good as a new connection, and a hundred times faster than one with sqlx 0.9.0.
pub(super) async fn refresh(conn: &mut PgConnection, _: &Server) {
    conn.clear_cached_statements().await.expect("forgets");
    sqlx::raw_sql("discard all").execute(conn).await.expect("is as good as new");
}

/// All that is committed, taken away.
pub(super) async fn harvest(admin: &mut PgConnection, _: usize) -> Vec<String> {
    let sql = "with gone as (delete from notes returning *), _ as (delete from half) \
               select session || ': ' || n from gone order by session, n";
    sqlx::query_scalar(sql).fetch_all(admin).await.expect("an answer")
}
