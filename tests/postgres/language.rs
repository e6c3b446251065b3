//! What the model's sessions say to PostgreSQL.

use lambda_rds::{Postgres, ProxyBuilder};
use proptest::prelude::*;
use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::model::{Account, Kind, Lost, MOST_SESSIONS, Step, Way};
use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

pub(super) const USER: &str = "app";

/// An error aborts the transaction that it happens in.
pub(super) const ERRORS_ABORT: bool = true;
/// What every statement is told in an aborted transaction.
pub(super) const ABORTED: Option<&str> = Some("25P02");
/// A rollback takes settings back, too.
pub(super) const ROLLBACK_RESETS: bool = true;
/// What the driver prepares can be dropped at any moment.
pub(super) const PREPARES_AHEAD: bool = false;
/// No statement commits by itself.
pub(super) const COMMITS: &str = "";

/// The rows of `half` are those of dropped statements. The uniqueness of `notes` is looked at by the commit. What `one` has,
/// `two` has in another way. The login has defaults of its own.
const SCHEMA: &str = "
    create role clerk; grant clerk to app;
    create table notes (session int, n int, unique (session, n) deferrable initially deferred);
    create table half (session int);
    grant all on notes, half to public;
    create schema one; create schema two; grant usage on schema one, two to public;
    create type one.mood as enum ('sad', 'happy'); create type two.mood as enum ('happy', 'sad');
    create table one.place as select 'one'::text as n; create table two.place as select 2 as n;
    grant select on one.place, two.place to public;
    create function public.whereabouts() returns text language plpgsql as
        'begin return (select n::text from place); end';
    set check_function_bodies = off;
    create function public.mode() returns text language sql as 'select ''sad''::mood::text';
    alter role app set lock_timeout = '77s'; alter role app in database app set extra_float_digits = -3;
    alter database app set bytea_output = 'escape'";

/// What the server reads when it prepares a text, so that bare sqlx keeps the reading for as long as it keeps the text. Here
/// it is read anew once a setting has changed.
const READ_EARLY: [&str; 7] = [
    "select '2024-03-01 12:00'::timestamptz::text",
    "select '03/04/2024'::date::text",
    "select '2024-03-01 12:00+00'::timestamptz::text",
    "select interval '1-2'::text",
    "select (null = null)::text",
    "select length('a\\b')::text",
    "select (1 / 3::float8)::text",
];

/// They ask for numbers that the session has drawn.
const QUESTIONS: [&str; 3] = [
    "select lastval()::text",
    "select currval('public.counted{s}')::text",
    "select currval('public.numbered{s}')::text",
];

/// What a session sees of itself. A custom setting that was never made may read as nothing or as empty.
pub(super) fn look() -> String {
    "select concat_ws(' ', current_user, session_user, \
    (select string_agg(name || '=' || current_setting(name), ' ' order by name) from unnest(array[ \
        'work_mem', 'lock_timeout', 'search_path', 'TimeZone', 'DateStyle', 'IntervalStyle', 'transaction_read_only', \
        'transaction_isolation', 'extra_float_digits', 'bytea_output', 'transform_null_equals', 'client_encoding' \
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
            "set datestyle to dmy".to_owned(),
            "set datestyle = 'Postgres, YMD'".to_owned(),
            "set local time zone 'Asia/Tokyo'".to_owned(),
            "set time zone 'America/New_York'".to_owned(),
            "set intervalstyle = 'sql_standard'".to_owned(),
            format!("set extra_float_digits = {}", n % 3),
            "set bytea_output = hex".to_owned(),
            "reset bytea_output".to_owned(),
            "set extra_float_digits to default".to_owned(),
            "reset lock_timeout".to_owned(),
            "set transform_null_equals = on".to_owned(),
            "set search_path = one, public".to_owned(),
            "set search_path = two, public".to_owned(),
            "set local search_path = two".to_owned(),
            "select set_config('search_path', 'one', false)".to_owned(),
            "set client_encoding = 'UTF8'".to_owned(),
            "set session characteristics as transaction isolation level repeatable read".to_owned(),
            "set default_transaction_read_only = on".to_owned(),
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
            "select n::text from place".to_owned(),
            "select public.whereabouts()".to_owned(),
            "select public.mode()".to_owned(),
            "select ('sad'::mood < 'happy'::mood)::text".to_owned(),
            "select (random()::mood)::text".to_owned(),
            "select convert_to('ä\\', 'UTF8')::text".to_owned(),
            "select now()::date::text = to_char(now(), 'YYYY-MM-DD')".to_owned(),
        ])
    });
    let drawn = prop_oneof![
        2 => prop::sample::select(vec![
            "select nextval('public.counted{s}')::text".to_owned(),
            "select nextval('public.numbered{s}')::text".to_owned(),
            "select setval('public.numbered{s}', 40)::text".to_owned(),
            "select nextval('public.counted{s}'); select currval('public.counted{s}')::text, lastval()".to_owned(),
            "select nextval('public.counted{s}'); select 1 / 0".to_owned(),
        ]),
        1 => prop::sample::select(QUESTIONS.as_slice()).prop_map(str::to_owned),
    ];
    let early = prop::sample::select(READ_EARLY.as_slice()).prop_map(str::to_owned);
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
        3 => (quiet.clone(), queries).prop_map(|(way, sql)| Step::Run(way, sql)),
        2 => (quiet, early).prop_map(|(way, sql)| Step::Run(way, sql)),
        1 => drawn.prop_map(|sql| Step::Run(Raw, sql)),
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

/// A text as it is sent. Inside a guard the application's own `BEGIN` and `COMMIT` would end the guard's transaction, and so
/// would a question that the server refuses: there the numbers are drawn first.
pub(super) fn spoken(sql: &str, depth: usize) -> String {
    match depth {
        0 => sql.to_owned(),
        _ if is_question(sql) => {
            format!("select nextval('public.counted{{s}}'), nextval('public.numbered{{s}}')::text; {sql}")
        }
        _ => sql.replace("begin; ", "").replace("; commit", ""),
    }
}

pub(super) fn is_quiet(_: &str) -> bool {
    true
}

pub(super) fn is_about_all(_: &str) -> bool {
    false
}

/// Whether the server would execute it as it was read when it was prepared.
pub(super) fn is_read_early(sql: &str) -> bool {
    READ_EARLY.contains(&sql)
}

pub(super) fn is_question(sql: &str) -> bool {
    QUESTIONS.contains(&sql)
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
    for session in 0..MOST_SESSIONS {
        let drawn = format!("public.counted{session}, public.numbered{session}");
        let made = drawn.replace(", ", "; create sequence ");
        server.execute(&format!("create sequence {made}; grant all on sequence {drawn} to public")).await;
    }
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
    // What a program has left open goes, as with the end of its session.
    sqlx::raw_sql("rollback").execute(&mut *conn).await.expect("nothing, or its transaction");
    conn.clear_cached_statements().await.expect("forgets");
    sqlx::raw_sql("discard all").execute(conn).await.expect("is as good as new");
}

/// All that is committed, taken away.
pub(super) async fn harvest(admin: &mut PgConnection, sessions: usize) -> Vec<String> {
    for session in 0..sessions {
        let begin = format!("alter sequence counted{session} restart; alter sequence numbered{session} restart");
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *admin).await.expect("an answer");
    }
    let sql = "with gone as (delete from notes returning *), _ as (delete from half) \
               select session || ': ' || n from gone order by session, n";
    sqlx::query_scalar(sql).fetch_all(admin).await.expect("an answer")
}
