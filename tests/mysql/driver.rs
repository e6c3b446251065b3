//! What the driver gets wrong about sessions on MySQL: each test shows it on bare sqlx 0.9.0, and that it does not happen
//! through this crate. The late error of a dropped statement is in `dropped`, a commit that the server could not do in
//! `transactions`, what the driver makes of a login that is none in `logins`.
//!
//! Statements that the server has forgotten, as after PostgreSQL's `DISCARD`, are not to be had: no text reaches what the
//! driver has prepared, and after a definition the server prepares anew by itself.

use std::time::Duration;

use futures_util::TryStreamExt;
use lambda_rds::Error;
use sqlx::{Connection as _, MySqlConnection};
use tokio::time::timeout;

use super::stage::in_transaction;
use crate::support::fault_proxy::FaultProxy;
use crate::support::mariadb::{APP_PASSWORD, MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;

/// The third row fails; the first is handed out by then.
const DOOMED: &str =
    "select (select one.seq from seq_1_to_2 as one where some.seq = 3 or one.seq = 1) from seq_1_to_3 as some";

/// A server with a table that nobody else writes to.
async fn stage() -> MariaDb {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.t (n int)").await;
    server
}

async fn bare(server: &MariaDb) -> Result<MySqlConnection, sqlx::Error> {
    MySqlConnection::connect(&format!("{}?ssl-mode=REQUIRED", server.url())).await
}

/// What everybody else sees.
async fn rows(server: &MariaDb) -> Vec<i32> {
    sqlx::query_scalar("select n from app.t order by n").fetch_all(&mut server.admin().await).await.expect("an answer")
}

fn number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?.number())
}

/// Sends what there is to send, and is dropped. Whether the answer was there already.
async fn drop_when_sent<F: Future>(future: F) -> bool {
    let mut future = Box::pin(future);
    futures_util::poll!(&mut future).is_ready()
}

/// What a connection says to a simple question, if it says anything.
async fn seven(conn: &mut MySqlConnection) -> Option<Result<i64, sqlx::Error>> {
    let answer = sqlx::query_scalar("select 3 + ?").bind(4_i64).fetch_one(conn);
    timeout(Duration::from_secs(2), answer).await.ok()
}

#[tokio::test]
async fn a_statement_dropped_while_it_is_prepared_confuses_nobody() -> Result<(), Error> {
    let server = stage().await;
    // It passes on when it is its turn on this thread: no answer is there at once.
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let url = format!("mysql://app:{APP_PASSWORD}@localhost:{}/app?ssl-mode=REQUIRED", way.port());
    let mut bare = MySqlConnection::connect(&url).await?;
    drop_when_sent(sqlx::query("select ?, ?").bind(1_i64).bind(2_i64).execute(&mut bare)).await;
    let misread = seven(&mut bare).await;
    assert!(!matches!(misread, Some(Ok(7))), "bare sqlx reads the one's parameters as the other's answer");

    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for polls in 1..6 {
        {
            let mut query = Box::pin(sqlx::query("select ?, ?, ?").bind(1).bind(2).bind(polls).execute(&mut one));
            for _ in 0..polls {
                if futures_util::poll!(&mut query).is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        for conn in [&mut other, &mut one] {
            let answer: i64 = sqlx::query_scalar("select 3 + ?").bind(4_i64).fetch_one(conn).await?;
            assert_eq!(answer, 7, "{polls} polls");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_number_of_values_is_refused_and_confuses_nobody() -> Result<(), Error> {
    let server = stage().await;
    let mut bare = bare(&server).await?;
    assert!(sqlx::query("select ?, ?").bind(1_i64).execute(&mut bare).await.is_err());
    let answer = seven(&mut bare).await;
    assert!(!matches!(answer, Some(Ok(7))), "bare sqlx waits for an answer to what it has not sent");

    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    for _ in 0..2 {
        let few = sqlx::query("insert into t values (?), (?)").bind(1).execute(&mut conn).await.unwrap_err();
        assert!(matches!(Error::from(few), Error::Database(sqlx::Error::InvalidArgument(_))));
        let many = sqlx::query("insert into t values (?)").bind(1).bind(2).execute(&mut conn).await.unwrap_err();
        assert!(matches!(Error::from(many), Error::Database(sqlx::Error::InvalidArgument(_))));
        assert_eq!(sqlx::query_scalar::<_, i64>("select 3 + ?").bind(4_i64).fetch_one(&mut conn).await?, 7);
    }
    let mut tx = conn.begin().await?;
    sqlx::query("insert into t values (?)").bind(5).execute(&mut *tx).await?;
    assert!(sqlx::query("insert into t values (?)").execute(&mut *tx).await.is_err());
    tx.commit().await?;
    assert_eq!((rows(&server).await, proxy.status().connections), (vec![5], 1));
    Ok(())
}

#[tokio::test]
async fn rows_left_unread_are_nobody_elses() -> Result<(), Error> {
    let server = stage().await;
    let mut bare = bare(&server).await?;
    // The driver's own `fetch_optional` leaves what comes after the first row.
    assert!(sqlx::query(DOOMED).fetch_optional(&mut bare).await?.is_some());
    let handed_on = sqlx::query("select 1").execute(&mut bare).await.unwrap_err();
    assert_eq!(number(&handed_on), Some(1242), "bare sqlx");
    drop(bare);

    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for read_by_other in [false, true] {
        {
            let mut rows = sqlx::query(DOOMED).fetch(&mut one);
            rows.try_next().await?;
        }
        let next = if read_by_other { &mut other } else { &mut one };
        assert_eq!(sqlx::query_scalar::<_, i32>("select 7").fetch_one(next).await?, 7);
        // Read to the end, whatever of it is wanted: the statement's own error is its own.
        let failed = sqlx::query(DOOMED).fetch_optional(&mut one).await.unwrap_err();
        assert_eq!(number(&failed), Some(1242));
        assert_eq!(sqlx::query_scalar::<_, i32>("select 8").fetch_one(&mut other).await?, 8);
    }
    // Many rows, of which only the first is wanted.
    {
        let mut rows = sqlx::query("select seq, repeat('x', 1000) from seq_1_to_20000").fetch(&mut one);
        rows.try_next().await?;
    }
    assert_eq!(sqlx::query_scalar::<_, i32>("select 9").fetch_one(&mut other).await?, 9);
    Ok(())
}

#[tokio::test]
async fn a_begin_that_was_dropped_swallows_no_later_write() -> Result<(), Error> {
    let server = stage().await;
    let mut bare = bare(&server).await?;
    assert!(!drop_when_sent(bare.begin_with("begin; do sleep(0.05)")).await);
    sqlx::query("insert into t values (1)").execute(&mut bare).await?;
    assert!(!bare.is_in_transaction(), "so bare sqlx says");
    drop(bare);
    server.wait_until_sessions("app", 0).await;
    assert_eq!(rows(&server).await, [0; 0], "bare sqlx");

    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    drop_when_sent(one.begin()).await;
    sqlx::query("insert into t values (2)").execute(&mut one).await?;
    drop_when_sent(one.begin()).await;
    sqlx::query("insert into t values (3)").execute(&mut other).await?;
    assert_eq!(rows(&server).await, [2, 3]);
    Ok(())
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_before_the_freeze() -> Result<(), Error> {
    let server = stage().await;
    let mut bare = bare(&server).await?;
    {
        let mut tx = bare.begin().await?;
        sqlx::query("insert into t values (1)").execute(&mut *tx).await?;
    }
    assert_eq!(in_transaction(&server).await, 1, "bare sqlx only puts the rollback into its buffer");
    drop(bare);
    server.wait_until_sessions("app", 0).await;

    let proxy = mysql_proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    {
        let mut tx = conn.begin().await?;
        sqlx::query("insert into t values (2)").execute(&mut *tx).await?;
    }
    assert_eq!(in_transaction(&server).await, 1);
    // As after each response; without it, before anybody else gets the connection.
    proxy.upkeep().await;
    assert_eq!((in_transaction(&server).await, server.sessions("app").await), (0, 1));
    Ok(())
}

#[tokio::test]
async fn a_definition_that_changed_is_read_as_it_is_now() -> Result<(), Error> {
    let server = stage().await;
    server.execute("insert into app.t values (1)").await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let all = "select * from t";
    assert_eq!(sqlx::query_as::<_, (i32,)>(all).fetch_one(&mut conn).await?, (1,));
    server.execute("alter table app.t add column b varchar(9) default 'two' first").await;
    assert_eq!(sqlx::query_as::<_, (String, i32)>(all).fetch_one(&mut conn).await?, ("two".to_owned(), 1));
    let mut tx = conn.begin().await?;
    assert_eq!(sqlx::query_as::<_, (String, i32)>(all).fetch_one(&mut *tx).await?, ("two".to_owned(), 1));
    tx.rollback().await?;
    server.execute("alter table app.t modify n varchar(9), drop column b").await;
    assert_eq!(sqlx::query_as::<_, (String,)>(all).fetch_one(&mut conn).await?, ("1".to_owned(),));
    server.execute("drop table app.t").await;
    let missing = sqlx::query(all).fetch_one(&mut conn).await.unwrap_err();
    assert_eq!(number(&missing), Some(1146));
    server.execute("create table app.t (n int)").await;
    assert!(sqlx::query(all).fetch_optional(&mut conn).await?.is_none());
    Ok(())
}
