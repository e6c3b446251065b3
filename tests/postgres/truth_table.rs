//! RDS Proxy's pinning table for PostgreSQL, row by row: shared where this crate claims to share, pinned where it claims
//! to pin, and in both cases nothing of it is seen by the next session on the same physical connection.
//!
//! The server itself is the witness: its settings, roles, temporary objects, locks, channels, prepared statements and
//! cursors before and after must be the same.

use lambda_rds::{Connection, Error, PinCause, Postgres};
use sqlx::AssertSqlSafe;

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

/// Everything of a server session that a statement may leave behind and that the server shows. A dotted setting appears
/// with the library that defines it, and with the first procedural statement that loads it. The name differs from
/// connection to connection.
const WITNESS: &str = "
    select concat_ws(' | ',
        current_user, session_user,
        (select string_agg(name || '=' || setting, ',' order by name) from pg_settings
         where context <> 'internal' and name not like '%.%' and name <> 'application_name'),
        (select string_agg(c, ',') from pg_listening_channels() c),
        (select string_agg(name, ',') from pg_prepared_statements where from_sql),
        (select string_agg(name, ',') from pg_cursors where name <> ''),
        (select string_agg(relname, ',') from pg_class where relnamespace = pg_my_temp_schema()),
        (select count(*)::text from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'))";

async fn witness(conn: &mut Connection<Postgres>) -> Result<String, Error> {
    Ok(sqlx::query_scalar(WITNESS).fetch_one(conn).await?)
}

#[tokio::test]
async fn every_row_is_shared_or_pinned_as_claimed_and_leaks_nothing() -> Result<(), Error> {
    let shared: &[&str] = &[
        "select 1",
        "create table plain (id serial, n int)",
        "insert into plain (n) values (1)",
        "with x as (delete from plain returning *) select * from x",
        "set work_mem = '7MB'",
        "set session lock_timeout = '3s'",
        "set time zone 'Asia/Tokyo'",
        "set role clerk",
        "set search_path = pg_catalog",
        "set names 'UTF8'",
        "set client_encoding = 'UTF8'",
        "set standard_conforming_strings = on",
        "set session characteristics as transaction read only, isolation level serializable",
        "set datestyle to sql",
        "select set_config('work_mem', '9MB', false), set_config('lock_timeout', '3s', false)",
        "create temp table passing (n int) on commit drop",
        "begin; create temp table passing (n int) on commit drop; set local work_mem = '9MB'; commit",
        "create view mentioning as select pg_try_advisory_lock(1)",
        "set local work_mem = '8MB'",
        "set transaction isolation level serializable",
        "set constraints all deferred",
        "select set_config('work_mem', '9MB', false)",
        "select set_config('work_mem', '9MB', true)",
        "reset work_mem",
        "reset all",
        "set work_mem to default",
        "show work_mem",
        "select current_setting('work_mem')",
        "unlisten orders",
        "notify orders",
        "select pg_notify('orders', 'x')",
        "select nextval('plain_id_seq')",
        "select setval('plain_id_seq', 7)",
        "select pg_advisory_xact_lock(1)",
        "select pg_try_advisory_xact_lock_shared(2)",
        "select pg_advisory_unlock(3)",
        "explain analyze select 1",
        "analyze plain",
        "truncate plain",
        "comment on table plain is 'x'",
        "alter table plain add column m int",
        "drop table plain",
        "select set_config('app.tenant', '7', true), set_config('work_mem', '9MB', true)",
        "unlisten *",
        "close all",
        "deallocate all",
        "discard plans",
        "discard temp",
        "discard sequences",
        "discard all",
        "select pg_advisory_unlock_all()",
        "begin; select 1; commit",
        "begin; select 1; rollback",
        "commit",
        "rollback",
    ];
    let pinned: &[(&str, PinCause)] = &[
        ("set client_encoding = 'LATIN1'", PinCause::Setting),
        ("set names 'LATIN1'", PinCause::Setting),
        ("select set_config('work_mem', n::text || 'MB', false) from (values (9)) v (n)", PinCause::Setting),
        ("set search_path = 'pg_'\n'temp'", PinCause::UnknownStatement),
        ("set local search_path = nosuch, 'pg_te' -- x\n'mp'", PinCause::UnknownStatement),
        ("prepare p as select 1", PinCause::PreparedStatement),
        ("create temp table t (n int)", PinCause::TemporaryObject),
        ("create temporary sequence s", PinCause::TemporaryObject),
        ("create temp view v as select 1", PinCause::TemporaryObject),
        ("create table pg_temp.t (n int)", PinCause::TemporaryObject),
        ("select 1 as n into temp t", PinCause::TemporaryObject),
        ("create temp table t as select 1", PinCause::TemporaryObject),
        (
            "begin; create temp table t (n serial) on commit drop; alter sequence t_n_seq owned by none; commit",
            PinCause::SeveralStatements,
        ),
        (
            "begin; create temp table t (n int) on commit drop; create view v as select n from t; \
             create or replace rule \"_RETURN\" as on select to v do instead select 1 as n; commit",
            PinCause::SeveralStatements,
        ),
        ("declare c cursor with hold for select 1", PinCause::HoldableCursor),
        ("select pg_advisory_lock(1)", PinCause::AdvisoryLock),
        ("select pg_try_advisory_lock(1)", PinCause::AdvisoryLock),
        ("select pg_advisory_lock_shared(1)", PinCause::AdvisoryLock),
        (
            "do $$ begin perform set_config('work_mem', '9MB', false); perform pg_advisory_lock(4); end $$",
            PinCause::Procedure,
        ),
        ("select setseed(0.5)", PinCause::UnknownStatement),
        ("select 1; set work_mem = '9MB'; create temp table t (n int)", PinCause::SeveralStatements),
    ];

    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create role clerk; grant clerk to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let clean = witness(&mut proxy.get_connection().await?).await?;
    for sql in shared {
        let mut one = proxy.get_connection().await?;
        sqlx::raw_sql(AssertSqlSafe((*sql).to_owned())).execute(&mut one).await?;
        assert_eq!(one.pin_reason(), None, "{sql}");
        // While the session that ran it is still there, and shares the connection.
        let mut other = proxy.get_connection().await?;
        assert_eq!(witness(&mut other).await?, clean, "{sql} is seen by another session");
    }
    for (sql, cause) in pinned {
        let mut one = proxy.get_connection().await?;
        sqlx::raw_sql(AssertSqlSafe((*sql).to_owned())).execute(&mut one).await?;
        assert_eq!(one.pin_reason().map(lambda_rds::PinReason::cause), Some(*cause), "{sql}");
        assert_eq!(proxy.status().pinned, 1, "{sql}");
        drop(one);
        let mut other = proxy.get_connection().await?;
        assert_eq!(witness(&mut other).await?, clean, "{sql} is seen by another session");
        assert_eq!(other.pin_reason(), None);
    }
    Ok(())
}
