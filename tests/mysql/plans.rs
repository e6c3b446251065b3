//! What is prepared is read once, by the settings of that moment: no session executes what another one has prepared under
//! others.
//!
//! Not here: a plan that a migration made stale, for the server prepares it anew by itself (`driver`).

use lambda_rds::{Connection, Error, MySql};
use sqlx::AssertSqlSafe;

use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;

async fn run(conn: &mut Connection<MySql>, sql: &str) -> Result<(), Error> {
    // MySQL prepares no `USE`.
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn ask(conn: &mut Connection<MySql>, sql: &str) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select cast(({sql}) as char)"))).fetch_one(conn).await?)
}

/// The server reads a statement when it is prepared, and keeps what its names and its quotes meant then.
#[tokio::test]
async fn what_one_session_prepared_is_not_executed_for_another_that_reads_it_differently() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server
        .execute(
            "create table app.t (n text); insert into app.t values ('app'); create database other; \
             grant all on other.* to app; create table other.t (n text); insert into other.t values ('other'); \
             create procedure app.sets() set default_week_format = 3",
        )
        .await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    for (set, sql, here, there) in [
        ("use other", "select n from t", "app", "other"),
        ("set sql_mode = ''", "'1' || '0'", "10", "1"),
        ("set sql_mode = 'traditional', lock_wait_timeout = 3", "'1' || '0'", "10", "1"),
        ("set names latin1", "charset('x')", "utf8mb4", "latin1"),
        ("set default_week_format = 3", "week('2008-02-20')", "7", "8"),
        // These pin.
        ("set sql_mode = concat('', '')", "'1' || '0'", "10", "1"),
        ("set @x = 1, sql_mode = ''", "'1' || '0'", "10", "1"),
        ("call app.sets()", "week('2008-02-20')", "7", "8"),
        ("set @@session.character_set_connection = latin1", "charset('x')", "utf8mb4", "latin1"),
    ] {
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        assert_eq!(ask(&mut one, sql).await?, here);
        run(&mut other, set).await?;
        for _ in 0..2 {
            if other.pin_reason().is_none() {
                assert_eq!(ask(&mut one, sql).await?, here, "{set}");
            }
            assert_eq!(ask(&mut other, sql).await?, there, "{set}");
        }
        drop(other);
        assert_eq!(ask(&mut one, sql).await?, here, "{set}");
    }
    // In one session it is so, too.
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    for (set, there) in [("use other", "other"), ("use app", "app"), ("use `other`", "other")] {
        run(&mut tx, set).await?;
        assert_eq!(ask(&mut tx, "select n from t").await?, there, "{set}");
    }
    tx.rollback().await?;
    // And on the connection itself.
    let mut one = proxy.get_connection().await?;
    assert_eq!(ask(&mut one, "select n from t").await?, "app");
    let mut other = proxy.get_connection().await?;
    let physical = other.pin().await?;
    sqlx::raw_sql("use other").execute(&mut *physical).await?;
    let n: String = sqlx::query_scalar("select cast((select n from t) as char)").fetch_one(&mut *physical).await?;
    assert_eq!(n, "other");
    Ok(())
}
