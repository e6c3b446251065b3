//! What random programs of sessions found wrong once, each on its own. What they found on both engines is in `replays`.

use lambda_rds::{Error, Isolation, PinCause, PinReason};
use sqlx::{AssertSqlSafe, Row};

use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

/// `RESET SESSION AUTHORIZATION` ends the role on the server; the session's account keeps it.
#[tokio::test]
async fn the_end_of_a_session_authorization_is_the_end_of_the_role() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create role clerk; grant clerk to app").await;
    for text in ["set session authorization default", "reset session authorization"] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        sqlx::query("set role clerk").execute(&mut one).await?;
        sqlx::query(text).execute(&mut one).await?;
        sqlx::query("select 1").execute(&mut other).await?;
        let who: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut one).await?;
        assert_eq!(who, "app", "{text}");
    }
    Ok(())
}

/// The driver keeps the columns that `fetch` had when it was prepared: those of another session's cursor.
#[tokio::test]
async fn a_fetch_has_the_columns_of_its_own_cursor() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for isolation in [Isolation::ByStatement, Isolation::Strict] {
        let proxy = proxy_to(&server).max_connections(1).isolation(isolation).build()?;
        for (sql, columns) in [("select 7::int4", "INT4"), ("select 'seven'::text", "TEXT")] {
            let mut conn = proxy.get_connection().await?;
            let mut tx = conn.begin().await?;
            sqlx::query(AssertSqlSafe(format!("declare c cursor for {sql}"))).execute(&mut *tx).await?;
            let row = sqlx::query("fetch 1 from c").fetch_one(&mut *tx).await?;
            assert_eq!(sqlx::Column::type_info(row.column(0)).to_string(), columns, "{isolation:?}");
            tx.commit().await?;
        }
    }
    Ok(())
}

/// The session that deallocated is pinned, and a doubtful session never heals.
#[tokio::test]
async fn a_session_that_deallocates_goes_on() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for text in ["deallocate all", "discard all"] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut conn = proxy.get_connection().await?;
        sqlx::query("select 1").execute(&mut conn).await?;
        sqlx::raw_sql(text).execute(&mut conn).await?;
        sqlx::query("select 1").execute(&mut conn).await?;
    }
    Ok(())
}

/// The text of another session's query can be run by its name. What it does there is not known, and no `DEALLOCATE` takes
/// it away.
#[tokio::test]
async fn what_runs_a_prepared_statement_in_another_pins() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for text in ["explain analyze execute", "create table copied as execute"] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        sqlx::query("select pg_advisory_xact_lock(7)::text as locked").execute(&mut other).await?;
        let named = "select name from pg_prepared_statements where statement like '%locked'";
        let name: String = sqlx::query_scalar(named).fetch_one(&mut one).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("{text} {name}"))).execute(&mut one).await?;
        sqlx::raw_sql("deallocate all").execute(&mut one).await?;
        assert_eq!(one.pin_reason().map(PinReason::cause), Some(PinCause::UnknownStatement), "{text}");
    }
    Ok(())
}

/// `set_config` takes a name as it is, and `RESET` cuts it.
#[tokio::test]
async fn a_setting_whose_name_is_cut_reaches_nobody_else() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let name = format!("my.{}", "x".repeat(70));
    let mut one = proxy.get_connection().await?;
    let set = format!("select set_config('{name}', 'of one', false)");
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut one).await?;
    assert_eq!(one.pin_reason().map(PinReason::cause), Some(PinCause::Setting));
    drop(one);
    let mut other = proxy.get_connection().await?;
    let show = "select coalesce(current_setting($1, true), '')";
    let seen: String = sqlx::query_scalar(show).bind(&name).fetch_one(&mut other).await?;
    assert_eq!(seen, "");
    Ok(())
}

/// Whoever is asked, nobody has chosen the numbers that `random()` gives the next session.
#[tokio::test]
async fn the_numbers_that_one_session_has_chosen_are_not_the_next_ones() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let chosen: f64 = {
        let mut admin = server.admin().await;
        sqlx::raw_sql("select setseed(0.42)").execute(&mut admin).await?;
        sqlx::query_scalar("select random()").fetch_one(&mut admin).await?
    };
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for texts in [
        &["select setseed(0.42)"][..],
        &["set seed = 0.42"],
        &["select set_config('seed', '0.42', false)"],
        &["select set_config('se' || 'ed', '0.42', false)"],
        &["create temp table t (n int)", "select set_config('seed', '0.42', false)"],
        &["do $$ begin perform setseed(0.42); end $$"],
        &["do $$ begin execute 'select set' || 'seed(0.42)'; end $$"],
        &["begin", "set local seed = 0.42", "commit"],
        &["begin", "set local seed = 0.42", "rollback"],
        &["begin; set local seed = 0.42; commit"],
        &["begin", "select set_config('seed', '0.42', true)", "commit"],
        &["select pg_advisory_lock(1); select set_config('seed', '0.42', false)"],
        &["update pg_settings set setting = '0.42' where name = 'seed'"],
    ] {
        let mut conn = proxy.get_connection().await?;
        for text in texts {
            sqlx::raw_sql(AssertSqlSafe((*text).to_owned())).execute(&mut conn).await?;
        }
        drop(conn);
        let mut next = proxy.get_connection().await?;
        let number: f64 = sqlx::query_scalar("select random()").fetch_one(&mut next).await?;
        assert!((number - chosen).abs() > f64::EPSILON, "{texts:?}");
    }
    let mut conn = proxy.get_connection().await?;
    sqlx::raw_sql("select setseed(0.42)").execute(&mut *conn.pin().await?).await?;
    drop(conn);
    let number: f64 = sqlx::query_scalar("select random()").fetch_one(&mut proxy.get_connection().await?).await?;
    assert!((number - chosen).abs() > f64::EPSILON, "on the connection that was handed out");
    Ok(())
}

#[derive(Debug, PartialEq, sqlx::Type)]
#[sqlx(type_name = "mood", rename_all = "lowercase")]
enum Mood {
    Sad,
    Glad,
}

/// The driver asks for types with operators of the session's path, and keeps what it is told.
#[tokio::test]
async fn what_a_path_before_the_systems_has_told_the_driver_is_told_to_nobody_else() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server
        .execute(
            "create type public.mood as enum ('sad', 'glad'); create schema evil; grant usage on schema evil to public; \
             create function evil.eq(oid, oid) returns bool language sql immutable as 'select true'; \
             create operator evil.= (leftarg = oid, rightarg = oid, function = evil.eq); \
             create type evil.mood as enum ('glad', 'sad')",
        )
        .await;
    for path in [
        "set search_path = evil, pg_catalog, public",
        "set search_path = evil, \"pg_catalog\"",
        "set search_path = evil, U&\"pg\\005fcatalog\", public",
        "select set_config('search_path', 'evil, PG_Catalog, public', false)",
        "begin; set local search_path = evil, pg_catalog, public",
        "begin; select set_config('search_path', 'evil, pg_catalog', true)",
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut one = proxy.get_connection().await?;
        for text in path.split("; ") {
            sqlx::query(AssertSqlSafe(text)).execute(&mut one).await?;
        }
        // The liar believes itself; what it gets does not matter.
        let _ = sqlx::query_scalar::<_, Mood>("select 'sad'::public.mood").fetch_one(&mut one).await;
        let _ = sqlx::query("select $1").bind(Mood::Sad).fetch_one(&mut one).await;
        drop(one);
        let mut other = proxy.get_connection().await?;
        for _ in 0..2 {
            let sad = sqlx::query_scalar::<_, Mood>("select 'sad'::mood").fetch_one(&mut other).await?;
            let query = sqlx::query_scalar::<_, String>("select $1::text || ' ' || pg_typeof($1)::text");
            let bound = query.bind(Mood::Glad).fetch_one(&mut other).await?;
            assert_eq!((sad, bound.as_str()), (Mood::Sad, "glad mood"), "after {path}");
        }
    }
    Ok(())
}

/// No statement takes away a connection of dblink's, a library, a temporary slot. A block is read for what may leave one; on a
/// connection that was handed out anything may have been done.
#[tokio::test]
async fn what_nothing_takes_away_is_the_end_of_its_connection() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create extension dblink; create table t (n int); grant all on t to app").await;
    server.execute("create procedure noop(text) language sql as 'select 1'").await;
    let own = format!(
        "host=127.0.0.1 port={} dbname=app user=app password={APP_PASSWORD} sslmode=require sslcert=none",
        server.port()
    );
    let connect = format!("dblink_connect('there', '{own}')");
    for (text, is_kept) in [
        ("do $$ begin insert into t values (1); if true then delete from t; end if; end $$".to_owned(), true),
        (format!("do $$ begin perform {connect}; end $$"), false),
        (format!("select 1; do $$ begin perform {connect}; end $$"), false),
        (format!("do $$ begin execute 'select dblink_' || $x$connect('there', '{own}')$x$; end $$"), false),
        (format!("select {connect}"), false),
        (format!("select ('{own}'::text).dblink_connect"), false),
        (format!("do $$ begin perform ('{own}'::text).\"dblink_connect\"; end $$"), false),
        (
            format!(
                "do $$ begin create temp table z (n int); perform query_to_xml('select dblink_conn' || \
                 $x$ect('there', '{own}')$x$, true, true, ''); end $$"
            ),
            false,
        ),
        ("call noop(set_config('standard_conforming_strings', 'off', false))".to_owned(), false),
        ("do $$ begin create temp table z (n int); perform pg_advisory_lock(1); end $$".to_owned(), true),
        ("select set_config('search_path', 'public', false)".to_owned(), true),
        ("select (7::bigint).pg_advisory_lock".to_owned(), true),
        ("pin".to_owned(), false),
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let pid = async || -> Result<i32, Error> {
            let mut conn = proxy.get_connection().await?;
            Ok(sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await?)
        };
        let before = pid().await?;
        let mut conn = proxy.get_connection().await?;
        if text == "pin" {
            sqlx::raw_sql(AssertSqlSafe(format!("select {connect}"))).execute(conn.pin().await?).await?;
        } else {
            sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(&mut conn).await?;
        }
        drop(conn);
        assert_eq!(pid().await? == before, is_kept, "{text}");
        let mut next = proxy.get_connection().await?;
        let theirs = sqlx::raw_sql("select * from dblink('there', 'select 1') as t (n int)").execute(&mut next).await;
        assert!(theirs.is_err(), "{text}");
        let locks: i64 = sqlx::query_scalar("select count(*) from pg_locks where locktype = 'advisory'")
            .fetch_one(&mut server.admin().await)
            .await?;
        assert_eq!(locks, 0, "{text}");
    }
    Ok(())
}

/// Where a text is read in another way, another statement than its words tell is in it.
#[tokio::test]
async fn what_a_text_hides_that_is_read_in_another_way_is_left_to_nobody() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create extension dblink").await;
    let own = format!(
        "host=127.0.0.1 port={} dbname=app user=app password={APP_PASSWORD} sslmode=require sslcert=none",
        server.port()
    );
    let escaped = format!(r"select '\'' || dblink_connect($a$there$a$, $a${own}$a$) || '\''");
    let eaten = format!(r"select E'Á\' || dblink_connect($a$there$a$, $a${own}$a$)--'");
    for (before, hides) in [
        (vec!["select set_config('standard_conforming_strings', 'off', false)"], &escaped),
        (vec!["begin", "select set_config('standard_conforming_strings', 'off', true)"], &escaped),
        (vec!["begin; set local standard_conforming_strings = off"], &escaped),
        (vec!["select 1; set standard_conforming_strings = off"], &escaped),
        (vec!["do $$ begin perform set_config('standard_conforming_strings', 'off', false); end $$"], &escaped),
        (vec!["set client_encoding = 'SJIS'"], &eaten),
        (vec!["set names 'SJIS'"], &eaten),
        (vec!["select set_config('client_encoding', 'SJIS', false)"], &eaten),
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut conn = proxy.get_connection().await?;
        let before_it: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await?;
        for sql in &before {
            sqlx::raw_sql(AssertSqlSafe((*sql).to_owned())).execute(&mut conn).await?;
        }
        sqlx::raw_sql(AssertSqlSafe(hides.clone())).execute(&mut conn).await?;
        drop(conn);
        let mut next = proxy.get_connection().await?;
        let after_it: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut next).await?;
        assert_ne!(before_it, after_it, "{before:?}");
    }
    Ok(())
}
