//! Settings belong to the session that made them, wherever its statements run: they are replayed, never lost, never
//! seen by another, and none of them pins.

use lambda_rds::{Connection, Error, Isolation, PgProxy, Postgres};
use sqlx::AssertSqlSafe;

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::{proxy_to, server};

/// All sessions share one physical connection: whatever could leak would.
async fn one_connection() -> PgProxy {
    proxy_to(server().await).max_connections(1).build().expect("valid")
}

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn show(conn: &mut Connection<Postgres>, name: &str) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar("select current_setting($1, true)").bind(name).fetch_one(conn).await?)
}

#[tokio::test]
async fn two_sessions_on_one_connection_keep_their_own() -> Result<(), Error> {
    let proxy = one_connection().await;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for (sql, name, value) in [
        ("set search_path = pg_catalog, public", "search_path", "pg_catalog, public"),
        ("set session statement_timeout to '7s'", "statement_timeout", "7s"),
        ("set time zone 'Europe/Berlin'", "TimeZone", "Europe/Berlin"),
        ("set work_mem = '1234kB' -- with a comment", "work_mem", "1234kB"),
        ("select set_config('app.tenant', 'it''s 7', false)", "app.tenant", "it's 7"),
        ("set datestyle = 'German'", "DateStyle", "German, DMY"),
        ("set default_transaction_isolation = 'serializable'", "default_transaction_isolation", "serializable"),
    ] {
        let before = show(&mut other, name).await?;
        run(&mut one, sql).await?;
        // A custom setting that was never made reads as nothing or as empty: the server knows no way back.
        let unset = |value: Option<String>| value.filter(|value| !value.is_empty());
        assert_eq!(unset(show(&mut other, name).await?), unset(before.clone()), "{sql} is seen by another session");
        assert_eq!(show(&mut one, name).await?.as_deref(), Some(value), "{sql} is lost");
        assert_eq!(unset(show(&mut other, name).await?), unset(before), "{sql} is seen by another session");
    }
    assert_eq!((one.pin_reason(), other.pin_reason(), proxy.status().connections), (None, None, 1));
    run(&mut one, "reset all").await?;
    assert_ne!(show(&mut one, "work_mem").await?.as_deref(), Some("1234kB"));
    Ok(())
}

#[tokio::test]
async fn a_role_is_put_on_and_off() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create role clerk; grant clerk to app; create role boss; grant boss to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let who = async |conn: &mut Connection<Postgres>| -> Result<String, Error> {
        Ok(sqlx::query_scalar("select current_user::text").fetch_one(conn).await?)
    };
    run(&mut one, "set role clerk").await?;
    run(&mut one, "set work_mem = '2MB'").await?;
    assert_eq!((who(&mut one).await?.as_str(), who(&mut other).await?.as_str()), ("clerk", "app"));
    run(&mut other, "set role boss").await?;
    assert_eq!((who(&mut one).await?.as_str(), who(&mut other).await?.as_str()), ("clerk", "boss"));
    run(&mut one, "set role none").await?;
    assert_eq!((who(&mut one).await?.as_str(), who(&mut other).await?.as_str()), ("app", "boss"));
    assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("2MB"));
    // A role that may no longer be put on is the server's to refuse, and nothing runs as somebody else.
    server.execute("revoke boss from app").await;
    run(&mut one, "select 1").await?;
    let refused = run(&mut other, "select 1").await.unwrap_err();
    assert_eq!(refused.sqlstate().as_deref(), Some("42501"), "{refused:?}");
    assert_eq!(who(&mut one).await?, "app");
    Ok(())
}

#[tokio::test]
async fn a_rollback_takes_settings_back() -> Result<(), Error> {
    let proxy = one_connection().await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set work_mem = '1MB'").await?;
    let mut tx = conn.begin().await?;
    run(&mut tx, "set work_mem = '2MB'").await?;
    let mut inner = tx.begin().await?;
    run(&mut inner, "set work_mem = '3MB'").await?;
    assert_eq!(show(&mut inner, "work_mem").await?.as_deref(), Some("3MB"));
    inner.rollback().await?;
    assert_eq!(show(&mut tx, "work_mem").await?.as_deref(), Some("2MB"));
    {
        let mut dropped = tx.begin().await?;
        run(&mut dropped, "set work_mem = '4MB'").await?;
    }
    assert_eq!(show(&mut tx, "work_mem").await?.as_deref(), Some("2MB"));
    run(&mut tx, "set local work_mem = '5MB'").await?;
    assert_eq!(show(&mut tx, "work_mem").await?.as_deref(), Some("5MB"));
    tx.rollback().await?;
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("1MB"));

    {
        let mut tx = conn.begin().await?;
        run(&mut tx, "set work_mem = '6MB'").await?;
    }
    let mut other = proxy.get_connection().await?;
    let plain = show(&mut other, "work_mem").await?;
    assert_ne!(plain.as_deref(), Some("6MB"));
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("1MB"));

    let mut tx = conn.begin().await?;
    run(&mut tx, "set work_mem = '7MB'").await?;
    tx.commit().await?;
    assert_eq!(show(&mut other, "work_mem").await?, plain);
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("7MB"));
    Ok(())
}

#[tokio::test]
async fn a_set_that_failed_or_was_aborted_is_not_remembered() -> Result<(), Error> {
    let proxy = one_connection().await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set work_mem = '1MB'").await?;
    run(&mut conn, "set work_mem = 'much'").await.unwrap_err();
    run(&mut conn, "set no_such_setting = 1").await.unwrap_err();
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("1MB"));
    let mut tx = conn.begin().await?;
    run(&mut tx, "set work_mem = '2MB'").await?;
    run(&mut tx, "select 1 / 0").await.unwrap_err();
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    let mut other = proxy.get_connection().await?;
    show(&mut other, "work_mem").await?;
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("1MB"));
    assert_eq!((conn.pin_reason(), proxy.status().connections), (None, 1));
    Ok(())
}

#[tokio::test]
async fn what_the_init_query_set_is_everybodys() -> Result<(), Error> {
    let proxy = proxy_to(server().await)
        .max_connections(1)
        .init_query("set work_mem = '9MB'; set seq_page_cost = 2")
        .build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut one, "set work_mem = '1MB'").await?;
    assert_eq!(show(&mut other, "work_mem").await?.as_deref(), Some("9MB"));
    assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("1MB"));
    drop(one);
    let mut third = proxy.get_connection().await?;
    run(&mut third, "reset work_mem").await?;
    assert!(third.pin_reason().is_some(), "what it goes back to is not what the others expect");
    drop(third);
    assert_eq!(show(&mut other, "work_mem").await?.as_deref(), Some("9MB"));
    assert_eq!(show(&mut other, "seq_page_cost").await?.as_deref(), Some("2"));
    Ok(())
}

#[tokio::test]
async fn a_question_for_another_sessions_sequence_is_refused() -> Result<(), Error> {
    let server = server().await;
    server.execute("create table if not exists drawn (id serial); grant all on drawn, drawn_id_seq to app").await;
    let proxy = proxy_to(server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let id: i32 = sqlx::query_scalar("insert into drawn default values returning id").fetch_one(&mut one).await?;
    let last: i64 = sqlx::query_scalar("select lastval()").fetch_one(&mut one).await?;
    assert_eq!(last, i64::from(id), "nobody was in between");
    run(&mut other, "insert into drawn default values").await?;
    let lost = Error::from(sqlx::query("select lastval()").execute(&mut one).await.unwrap_err());
    assert!(matches!(lost, Error::SessionStateLost { .. }), "{lost:?}");
    let mut tx = one.begin().await?;
    let id: i32 = sqlx::query_scalar("insert into drawn default values returning id").fetch_one(&mut *tx).await?;
    let last: i64 = sqlx::query_scalar("select currval('drawn_id_seq')").fetch_one(&mut *tx).await?;
    assert_eq!(last, i64::from(id));
    tx.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_set_that_was_dropped_half_way_leaks_to_nobody() -> Result<(), Error> {
    let proxy = one_connection().await;
    let mut other = proxy.get_connection().await?;
    let plain = show(&mut other, "work_mem").await?;
    for polls in 0..4 {
        let mut conn = proxy.get_connection().await?;
        {
            let mut set = Box::pin(run(&mut conn, "set work_mem = '3MB'"));
            for _ in 0..polls {
                if futures_util::poll!(&mut set).is_ready() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
        assert_eq!(show(&mut other, "work_mem").await?, plain, "dropped after {polls} polls");
    }
    Ok(())
}

#[tokio::test]
async fn strict_isolation_resets_what_a_function_hid() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server
        .execute(
            "create function hide() returns void language sql as $$ select set_config('work_mem', '3MB', false) $$; \
             grant execute on function hide() to app",
        )
        .await;
    for (isolation, seen) in [(Isolation::ByStatement, true), (Isolation::Strict, false)] {
        let proxy = proxy_to(&server).max_connections(1).isolation(isolation).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, "select hide()").await?;
        assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("3MB"), "its own, with nobody in between");
        assert_eq!(show(&mut other, "work_mem").await?.as_deref() == Some("3MB"), seen, "{isolation:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_is_pinned_later_keeps_what_it_had_set() -> Result<(), Error> {
    for isolation in [Isolation::ByStatement, Isolation::Strict] {
        let proxy = proxy_to(server().await).max_connections(1).isolation(isolation).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, "set work_mem = '3MB'").await?;
        run(&mut other, "set work_mem = '5MB'").await?;
        run(&mut one, "create temp table kept (n int)").await?;
        assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("3MB"), "{isolation:?}");
        drop(one);
        let left: Option<String> = sqlx::query_scalar("select to_regclass('kept')::text").fetch_one(&mut other).await?;
        assert_eq!((left, show(&mut other, "work_mem").await?.as_deref()), (None, Some("5MB")), "{isolation:?}");
    }
    Ok(())
}
