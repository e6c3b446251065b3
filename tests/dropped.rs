//! A statement that was dropped is nobody's any more: it is cancelled on the server, its error reaches nobody, and its
//! connection serves the next. On bare sqlx 0.9.0 it is not so, and the tests show that too.
//!
//! Of plans that became stale is `postgres::plans`: MySQL prepares anew by itself (`mysql::driver`).

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use lambda_rds::credentials::{CredentialsFuture, CredentialsRequest};
use lambda_rds::event::Discard;
use lambda_rds::{Connection, Credentials, CredentialsProvider, Error, Event};
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor};
use tokio::time::{sleep as pause, timeout};

use super::language::ERRORS_ABORT;
use super::stage::*;
use crate::support::Recorder;
use crate::support::fault_proxy::FaultProxy;
use crate::support::site::WAIT_LIMIT;
use crate::support::until::polled;

fn long() -> AssertSqlSafe<String> {
    AssertSqlSafe(sleep(20.0))
}

async fn drop_after_a_moment(statement: impl Future) {
    assert!(timeout(Duration::from_millis(30), statement).await.is_err());
}

/// What was told to end does so in a moment, and not only when its time is over.
async fn wait_until_none_runs(server: &Server) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while running(server).await > 0 {
        assert!(Instant::now() < deadline, "a dropped statement runs on");
        pause(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_dropped_statement_is_cancelled_on_the_server_and_its_connection_kept() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let recorder = Recorder::default();
    let proxy = proxy_to(&server)
        .max_connections(1)
        .validate_timeout(Duration::from_secs(5))
        .observer(recorder.observer())
        .build()?;
    let mut conn = proxy.get_connection().await?;
    let id: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut conn).await?;
    drop_after_a_moment(sqlx::query(long()).execute(&mut conn)).await;
    drop(conn);
    assert_eq!(running(&server).await, 1);
    proxy.upkeep().await;
    wait_until_none_runs(&server).await;

    let mut next = proxy.get_connection().await?;
    drop_after_a_moment(sqlx::query(long()).execute(&mut next)).await;
    let kept: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut next).await?;
    assert_eq!(kept, id);
    wait_until_none_runs(&server).await;
    assert_eq!(recorder.count(|event| matches!(event, Event::Recovered { .. })), 2);
    Ok(())
}

/// An error aborts a transaction on PostgreSQL. On MySQL the transaction goes on without what was cancelled.
#[tokio::test]
async fn a_statement_dropped_in_a_transaction_is_cancelled_and_not_part_of_it() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    let proxy = proxy_to(&server).validate_timeout(Duration::from_secs(5)).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    sqlx::query(INSERT).bind(1).execute(&mut *tx).await?;
    let insert = format!("insert into ledger {}", slowly("2", 20.0));
    drop_after_a_moment(sqlx::query(AssertSqlSafe(insert)).execute(&mut *tx)).await;
    let committed = tx.commit().await;
    wait_until_none_runs(&server).await;
    let rows: Vec<i32> = sqlx::query_scalar("select n from ledger").fetch_all(&mut conn).await?;
    if ERRORS_ABORT {
        assert!(matches!(committed, Err(Error::TransactionAborted { .. })), "{committed:?}");
        assert_eq!(rows, [0; 0]);
    } else {
        committed?;
        assert_eq!(rows, [1]);
    }
    Ok(())
}

#[tokio::test]
async fn the_late_error_of_a_dropped_statement_reaches_nobody() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let mut bare = <Db as Database>::Connection::connect(&format!("{}?{}", server.url(), TLS_MODES[2])).await?;
    drop_after_a_moment(sqlx::query(DOOMED).execute(&mut bare)).await;
    let handed_on = sqlx::query("select 1").execute(&mut bare).await.unwrap_err();
    assert_eq!(handed_on.as_database_error().and_then(|error| error.code()).as_deref(), Some(DOOM), "bare sqlx");

    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    drop_after_a_moment(sqlx::query(DOOMED).execute(&mut one)).await;
    sqlx::query("select 1").execute(&mut other).await?;
    sqlx::query("select 1").execute(&mut one).await?;
    Ok(())
}

#[tokio::test]
async fn a_session_whose_begin_as_text_was_dropped_does_not_go_on() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    drop_after_a_moment((&mut conn).execute(sqlx::raw_sql(AssertSqlSafe(format!("begin; {}", sleep(20.0)))))).await;
    let error = Error::from(sqlx::query("insert into ledger values (1)").execute(&mut conn).await.unwrap_err());
    assert!(matches!(error, Error::ConnectionLost { .. }), "an insert into a forgotten transaction: {error:?}");
    drop(conn);
    let mut next = proxy.get_connection().await?;
    sqlx::query("insert into ledger values (2)").execute(&mut next).await?;
    drop(next);
    let mut admin = server.admin().await;
    let rows: Vec<i32> = sqlx::query_scalar("select n from ledger").fetch_all(&mut admin).await?;
    assert_eq!(rows, [2]);
    Ok(())
}

fn cancels_failed(seen: &Recorder) -> usize {
    seen.count(|event| matches!(event, Event::CancelFailed { .. }))
}

/// A way to the server on which a round trip takes so long.
async fn slow_way(server: &Server, round_trip: Duration) -> FaultProxy {
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    way.delay(round_trip / 2);
    way
}

/// Two users that take turns, as after each rotation of a secret.
#[derive(Debug, Default)]
struct Turns(std::sync::atomic::AtomicUsize);

impl CredentialsProvider for Turns {
    fn credentials<'a>(&'a self, _: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        let turn = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let user = if turn == 0 { "app" } else { "twin" };
        Box::pin(std::future::ready(Ok(Credentials::new(user, APP_PASSWORD))))
    }
}

/// A server lets a user end what is the user's own.
#[tokio::test]
async fn a_dropped_statement_is_cancelled_by_the_user_that_began_it() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(&twin()).await;
    let seen = Recorder::default();
    let place = DbProxy::builder().host(server.host()).port(server.port()).database("app").ca_pem(server.ca_pem());
    let proxy = place.credentials(Turns::default()).max_connections(1).observer(seen.observer()).build()?;
    let mut conn = proxy.get_connection().await?;
    drop_after_a_moment(sqlx::query(long()).execute(&mut conn)).await;
    sqlx::query("select 1").execute(&mut conn).await?;
    wait_until_none_runs(&server).await;
    assert_eq!(cancels_failed(&seen), 0, "{:?}", seen.events());
    Ok(())
}

/// A login takes many round trips. Nobody waits for it for longer than for a connection, and it is not given up for that.
#[tokio::test]
async fn a_dropped_statement_is_cancelled_though_the_server_is_far_away() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let seen = Recorder::default();
    let way = slow_way(&server, Duration::from_millis(60)).await;
    let proxy = proxy_to(&server).port(way.port()).max_connections(1).observer(seen.observer()).build()?;
    for round in 0..5 {
        let mut conn = proxy.get_connection().await?;
        drop_after_a_moment((&mut conn).execute(sqlx::raw_sql(long()))).await;
        if round % 2 == 0 {
            sqlx::query("select 1").execute(&mut conn).await?;
        } else {
            drop(conn);
            proxy.upkeep().await;
        }
        wait_until_none_runs(&server).await;
    }
    assert_eq!(cancels_failed(&seen), 0, "{:?}", seen.events());
    Ok(())
}

/// Waits for a moment on the server, and is not disturbed.
async fn nap(conn: &mut Connection<Db>, milliseconds: u64) -> Result<(), Error> {
    let text = slowly("1", Duration::from_millis(milliseconds).as_secs_f64());
    sqlx::raw_sql(AssertSqlSafe(text)).execute(conn).await?;
    Ok(())
}

/// A cancel that is on its way when its statement ends hits whatever comes next: that must be nobody's. Here whoever waits
/// for it is dropped as well.
#[tokio::test]
async fn a_late_cancel_hits_nobody() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let seen = Recorder::default();
    let way = slow_way(&server, Duration::from_millis(16)).await;
    let proxy = proxy_to(&server)
        .port(way.port())
        .max_connections(1)
        .validate_timeout(Duration::from_secs(5))
        .observer(seen.observer())
        .build()?;
    for round in 0..40 {
        let mut one = proxy.get_connection().await?;
        // Its cancel comes after about eight round trips.
        let ends = 90 + 4 * (round % 20);
        let _ = timeout(Duration::from_millis(25), nap(&mut one, ends)).await;
        drop(one);
        let mut other = proxy.get_connection().await;
        for patience in [ends - 20, 8, 3] {
            // The session that brings it to rest is dropped, and dropped again.
            if let Ok(other) = &mut other {
                let _ = timeout(Duration::from_millis(patience), other.execute("select 1")).await;
            }
            other = match timeout(Duration::from_millis(3), proxy.get_connection()).await {
                Ok(next) => next,
                Err(_) => other,
            };
        }
        drop(other);
        let mut innocent = proxy.get_connection().await?;
        for _ in 0..2 {
            nap(&mut innocent, 20).await?;
        }
    }
    assert_eq!(cancels_failed(&seen), 0, "{:?}", seen.events());
    Ok(())
}

/// Two connections are at rest, and one of them is not: it has locked a row.
#[tokio::test]
async fn the_locks_of_a_dropped_transaction_stand_in_nobodys_way() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(&format!("{TABLE}; insert into {LEDGER_TABLE} values (0)")).await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    tokio::try_join!(nap(&mut one, 20), nap(&mut other, 20))?;
    drop(other);
    for statement in [Some(LOCKS_LONG), None] {
        let mut one = proxy.get_connection().await?;
        let work = one.transaction(|tx| {
            Box::pin(async move {
                sqlx::query("update ledger set n = 1").execute(&mut **tx).await?;
                match statement {
                    Some(statement) => sqlx::query(statement).execute(&mut **tx).await.map(drop)?,
                    None => pause(Duration::from_secs(20)).await,
                }
                Ok::<_, Error>(())
            })
        });
        assert!(timeout(Duration::from_millis(100), work).await.is_err());
        drop(one);
        let mut next = proxy.get_connection().await?;
        sqlx::query(AssertSqlSafe(set_wait(5))).execute(&mut next).await?;
        sqlx::query("update ledger set n = 2").execute(&mut next).await?;
        assert_eq!(in_transaction(&server).await, 0, "what was dropped is at an end");
        drop(next);
        wait_until_none_runs(&server).await;
    }
    Ok(())
}

/// The server is asked to end what runs on a connection that could not be waited for, and by then is closed.
#[tokio::test]
async fn a_statement_whose_connection_was_given_up_does_not_run_on() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    // Before a cancel is begun, and while it is under way.
    for waited in [5, 31] {
        let seen = Recorder::default();
        let proxy = proxy_to(&server)
            .max_connections(1)
            .validate_timeout(Duration::from_millis(waited))
            .observer(seen.observer())
            .build()?;
        let mut conn = proxy.get_connection().await?;
        for _ in 0..5 {
            drop_after_a_moment(sqlx::query(long()).execute(&mut conn)).await;
            sqlx::query("select 1").execute(&mut conn).await?;
            wait_until_none_runs(&server).await;
        }
        let given_up = seen.count(|event| matches!(event, Event::Discarded { why: Discard::Unrecoverable, .. }));
        assert!(given_up > 0, "{:?}", seen.events());
    }
    Ok(())
}

/// To read what nobody wants takes longer than a login, and the driver gives nothing else its turn until it is done. A
/// transaction is worth it, and a short answer.
#[tokio::test]
async fn a_long_answer_that_was_dropped_is_read_only_where_a_transaction_depends_on_it() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    for (rows, is_kept) in [(300, true), (20_000, false)] {
        let id: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut conn).await?;
        let long = format!("select s.*, '{}' from ({}) s", if is_kept { "" } else { "x" }.repeat(200), series(rows));
        drop(sqlx::raw_sql(AssertSqlSafe(long)).fetch(&mut conn).try_next().await?);
        // What the server has sent is there.
        pause(Duration::from_millis(100)).await;
        let next: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut conn).await?;
        assert_eq!(next == id, is_kept, "{rows}");
    }
    // Many rows, and long ones, in the middle of which patience runs out: 4 to 24 MB, which a busy machine too has read before it
    // is the longest patience (4 s) that does.
    for (rows, length) in [(20_000, 200), (5000, 4000), (300, 80_000), (5000, 4000)] {
        let long = format!("select s.*, repeat('x', {length}) from ({}) s", series(rows));
        let mut tries = 0;
        // A server that a busy machine keeps from going on for longer than a moment is told to end it.
        while let Err(error) = is_read_on(&mut conn, &long).await {
            tries += 1;
            assert!(tries < 5, "{rows} rows of {length} bytes: {error}");
        }
    }
    Ok(())
}

/// Whether a transaction goes on after a long answer in it was dropped, on the same connection.
async fn is_read_on(conn: &mut Connection<Db>, long: &str) -> Result<(), Error> {
    let mut transaction = conn.begin().await?;
    let id: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut *transaction).await?;
    {
        let mut answer = sqlx::query(AssertSqlSafe(long.to_owned())).fetch(&mut *transaction);
        for _ in 0..20 {
            answer.try_next().await?;
        }
    }
    let next: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut *transaction).await?;
    assert_eq!(next, id);
    transaction.commit().await
}

/// The error of a dropped statement may be read by one that is dropped as well, before the session has heard of it: here a deadlock,
/// with which the whole transaction is gone on both engines.
#[tokio::test]
async fn a_late_error_is_noted_though_whoever_has_read_it_was_dropped_too() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(&numbers("kept")).await;
    server.execute(&numbers("counted")).await;
    server.execute("alter table counted add primary key (n)").await;
    server.execute("insert into counted values (1), (2), (3), (4), (5), (6)").await;
    // With another statement before the commit, and with none.
    for (polls, goes_on) in (1..=4).flat_map(|polls| [(polls, true), (polls, false)]) {
        let way = slow_way(&server, Duration::from_millis(10)).await;
        let proxy = proxy_to(&server).port(way.port()).max_connections(1).build()?;
        let mut conn = proxy.get_connection().await?;
        let mut rival = server.admin().await;
        // The one that has done less is the deadlock's victim.
        sqlx::raw_sql("begin").execute(&mut rival).await?;
        sqlx::raw_sql("update counted set n = -n where n >= 2").execute(&mut rival).await?;
        let mut tx = conn.begin().await?;
        let insert = |n: usize| AssertSqlSafe(format!("insert into kept values ({n})"));
        sqlx::query(insert(polls)).execute(&mut *tx).await?;
        sqlx::query("update counted set n = -n where n = 1").execute(&mut *tx).await?;
        let waits = sqlx::query("update counted set n = -n where n = 2").execute(&mut *tx);
        assert!(timeout(Duration::from_millis(200), waits).await.is_err());
        sqlx::raw_sql("update counted set n = -n where n = 1").execute(&mut rival).await?;
        pause(Duration::from_millis(30)).await;
        let _ = polled(polls, sqlx::query("select 1").execute(&mut *tx)).await;
        sqlx::raw_sql("rollback").execute(&mut rival).await?;
        if goes_on {
            let inserted = sqlx::query(insert(polls + 100)).execute(&mut *tx).await;
            assert!(inserted.is_err(), "{polls}");
        }
        let committed = tx.commit().await;
        let rows = format!("select n from kept where n in ({polls}, {})", polls + 100);
        let rows: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut server.admin().await).await?;
        assert!(committed.is_err() && rows.is_empty(), "{polls}, {goes_on}: {committed:?}, {rows:?}");
    }
    Ok(())
}
