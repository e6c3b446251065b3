//! What cannot be right is refused before it is sent, and the refusal says what to do instead.

use std::time::Duration;

use lambda_rds::{Connection, Error, Outcome, Postgres};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgListener;

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::{proxy_to, server};

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

/// A refusal's text.
fn refused(result: Result<(), Error>) -> String {
    match result {
        Err(error @ Error::Refused { .. }) => {
            assert_eq!((error.outcome(), error.is_retryable()), (Outcome::NotExecuted, false));
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

/// Nobody would receive what it listens for.
#[tokio::test]
async fn a_listen_that_nobody_hears_is_refused() -> Result<(), Error> {
    let server = server().await;
    let proxy = proxy_to(server).max_connections(2).build()?;
    let mut conn = proxy.get_connection().await?;
    for sql in ["listen orders", "select 1; LISTEN \"or;ders\"", "begin; listen orders; commit"] {
        let text = refused(run(&mut conn, sql).await);
        assert!(text.contains("PgListener") && text.contains("pin()"), "{text}");
        assert_eq!(conn.pin_reason(), None, "{sql}");
    }
    // In a transaction, which goes on; and in a session that something else pins.
    let mut tx = conn.begin().await?;
    refused(run(&mut tx, "listen orders").await);
    run(&mut tx, "create temp table t (n int)").await?;
    refused(run(&mut tx, "listen orders").await);
    run(&mut tx, "insert into t values (1)").await?;
    tx.commit().await?;
    let channels = "select count(*) from pg_listening_channels()";
    assert_eq!(sqlx::query_scalar::<_, i64>(channels).fetch_one(&mut conn).await?, 0);
    drop(conn);
    // Who has the connection knows what to do with it.
    let mut conn = proxy.get_connection().await?;
    conn.pin().await?;
    run(&mut conn, "listen orders").await?;
    assert_eq!(sqlx::query_scalar::<_, i64>(channels).fetch_one(&mut conn).await?, 1);
    drop(conn);
    let mut conn = proxy.get_connection().await?;
    assert_eq!(sqlx::query_scalar::<_, i64>(channels).fetch_one(&mut conn).await?, 0);
    // And what the refusal recommends works.
    let mut listener = PgListener::connect(&format!("{}?sslmode=require", server.url())).await?;
    listener.listen("orders").await?;
    run(&mut conn, "notify orders, 'tea'").await?;
    let heard = tokio::time::timeout(Duration::from_secs(30), listener.recv()).await.expect("in time")?;
    assert_eq!(heard.payload(), "tea");
    Ok(())
}

#[tokio::test]
async fn a_copy_in_a_statements_text_is_refused() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table t (n int); grant all on t to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    for sql in ["copy t from stdin", "copy (select 1) to stdout", "insert into t values (1); copy t to stdout"] {
        let text = refused(run(&mut conn, sql).await);
        assert!(text.contains("copy_in_raw") && text.contains("pin()"), "{text}");
        refused(sqlx::query(sql).execute(&mut conn).await.map(|_| ()).map_err(Error::from));
    }
    let mut tx = conn.begin().await?;
    refused(run(&mut tx, "copy t from stdin").await);
    run(&mut tx, "insert into t values (2)").await?;
    tx.commit().await?;
    // And what the refusal recommends works.
    let mut sink = conn.pin().await?.copy_in_raw("copy t from stdin").await?;
    sink.send(&b"3\n"[..]).await?;
    sink.finish().await?;
    refused(run(&mut conn, "copy t to stdout").await);
    let kept: Vec<i32> = sqlx::query_scalar("select n from t order by n").fetch_all(&mut conn).await?;
    assert_eq!(kept, [2, 3]);
    Ok(())
}
