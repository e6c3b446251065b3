//! What a session tells the driver of types is told to no other session: the driver asks for types with operators of the
//! session's path, and keeps what it is told for as long as the connection lives (sqlx 0.9.0).

use lambda_rds::{Connection, Error, Postgres, Proxy};
use sqlx::postgres::PgTypeKind;
use sqlx::{AssertSqlSafe, Column, Row, TypeInfo};

use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions};
use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

/// A type, another one that is mistaken for it, and the operator that mistakes them.
const LIAR: &str = "create type public.pair as (payer int4, payee int4); create schema hid; \
    create type hid.pair as (payee int4, payer int4); create schema evil; grant all on schema evil to public; \
    do $d$ begin execute format('create function evil.eq(oid, oid) returns bool language sql immutable as $$ \
    select case when $1 operator(pg_catalog.=) %1$s then $2 operator(pg_catalog.=) %2$s \
    when $1 operator(pg_catalog.=) %2$s then $2 operator(pg_catalog.=) %1$s else $1 operator(pg_catalog.=) $2 end $$', \
    'public.pair'::regclass::oid, 'hid.pair'::regclass::oid); end $d$; \
    create operator evil.= (leftarg = oid, rightarg = oid, function = evil.eq); \
    create table evil.paths (p text); insert into evil.paths values ('evil, pg_catalog, public'); \
    grant all on evil.paths to public; create type public.mood as enum ('sad', 'glad')";

const PATH: &str = "evil, pg_catalog, public";

/// A text, and a value that is bound.
const TEXTS: &[(&str, Option<&str>)] = &[
    ("select 1", None),
    ("set search_path = evil, pg_catalog, public", None),
    ("set search_path = evil, 'pg_catalog', public", None),
    ("set search_path to 'evil', 'pg_catalog'", None),
    ("set search_path = evil, $$pg_catalog$$", None),
    ("set local search_path = evil, 'pg_catalog', public", None),
    ("set search_path = evil, 'pg_'\n'catalog', public", None),
    ("select set_config('search_path', 'evil, pg_catalog, public', true)", None),
    ("select set_config('search_path', $1, false)", Some(PATH)),
    ("select set_config('search_path', $1, true)", Some(PATH)),
    ("select set_config('search_path', $1::text, true)", Some(PATH)),
    ("select set_config('search_path', 'evil, pg_' || 'catalog, public', false)", None),
    ("select set_config('search_path', 'evil, pg_'\n'catalog, public', true)", None),
    ("select set_config('search' || '_path', 'evil, pg_catalog, public', false)", None),
    ("select set_config('search_path', p, false) from evil.paths", None),
    ("select set_config('search_path', p, true) from evil.paths", None),
    ("update pg_settings set setting = 'evil, pg_catalog, public' where name like 'search%'", None),
    ("do $$ begin execute 'set search_' || 'path = evil, pg_' || 'catalog, public'; end $$", None),
    ("do $$ begin set local search_path = evil, 'pg_catalog', public; end $$", None),
];

const ASKED: &str = "select row(1, 2)::public.pair";

async fn send(conn: &mut Connection<Postgres>, text: &str, value: Option<&str>) {
    let mut query = sqlx::query(AssertSqlSafe(text.to_owned()));
    if let Some(value) = value {
        query = query.bind(value.to_owned());
    }
    // What is refused sets nothing either.
    query.execute(&mut *conn).await.ok();
    // The liar believes itself; what it gets does not matter.
    sqlx::query(ASKED).fetch_one(conn).await.ok();
}

async fn is_told_the_truth(proxy: &Proxy<Postgres>, what: &str) -> Result<(), Error> {
    let row = sqlx::query(ASKED).fetch_one(&mut proxy.get_connection().await?).await?;
    let column = row.column(0).type_info();
    let PgTypeKind::Composite(fields) = column.kind() else { panic!("{what}: {column:?}") };
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["payer", "payee"], "{what}");
    Ok(())
}

#[tokio::test]
async fn a_path_before_the_systems_misleads_nobody_else_however_it_is_set() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(LIAR).await;
    let pooler = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    for pooled in [false, true] {
        for (text, value) in TEXTS {
            for guarded in [false, true] {
                let proxy = if pooled { pooler.proxy() } else { proxy_to(&server) }.max_connections(1).build()?;
                let mut one = proxy.get_connection().await?;
                if guarded {
                    let mut guard = one.begin().await?;
                    send(&mut guard, text, *value).await;
                    guard.commit().await.ok();
                } else {
                    send(&mut one, text, *value).await;
                }
                drop(one);
                is_told_the_truth(&proxy, &format!("{text}, guarded: {guarded}, pooled: {pooled}")).await?;
            }
        }
    }
    Ok(())
}

/// Types are looked for among the temporary ones first.
#[tokio::test]
async fn a_temporary_type_gives_no_other_type_another_name() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(LIAR).await;
    const CAST: &str = "create function pg_temp.c(oid) returns pg_temp.regtype language sql as \
        $$ select row('x')::pg_temp.regtype $$; \
        create cast (oid as pg_temp.regtype) with function pg_temp.c(oid)";
    for text in [
        "create domain pg_temp.regtype as oid",
        "create type pg_temp.regtype as enum ('mood')",
        "create temp table regtype (a text)",
        "create temp view regtype as select 'x'::text as a",
        "select 'x'::text as a into temp regtype",
        "create temp table x (a text); alter table x rename to regtype",
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut one = proxy.get_connection().await?;
        for text in [text, CAST] {
            sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut one).await.ok();
        }
        sqlx::query("select 'sad'::mood").fetch_one(&mut one).await.ok();
        drop(one);
        let mut other = proxy.get_connection().await?;
        let row = sqlx::query("select 'sad'::mood").fetch_one(&mut other).await?;
        assert_eq!(row.column(0).type_info().name(), "mood", "{text}");
    }
    Ok(())
}
