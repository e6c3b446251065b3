//! Many things at a time in one environment: sessions under one `join!`, and the runtime's concurrent invocations.
//! Every answer is right, the server sees no more connections than allowed, and everybody gets a turn.
//!
//! The latter are in `postgres::managed`: the runtime does not know which database it is that serves them.

use std::sync::Mutex;

use futures_util::future::join_all;
use lambda_rds::{Connection, Error};
use sqlx::AssertSqlSafe;

use super::stage::*;

pub(super) const TASKS: usize = 64;
pub(super) const CONNECTIONS: usize = 4;

/// A server that counts logins, with the table of the examples.
pub(super) async fn counting_server() -> Server {
    let server = Server::start(logging_connections()).await;
    server.execute(ORDERS).await;
    server
}

/// All logins there ever were: as none is repeated, also the most connections at a time.
pub(super) fn logins(server: &Server) -> usize {
    server.log().lines().filter(|line| line.contains(LOGIN)).count()
}

/// By how many turns the first was ahead of the last, at worst. `turns` has the number of whoever had one.
pub(super) fn worst_lead(turns: &[usize], rounds: usize) -> usize {
    let mut had = [0; TASKS];
    let mut lead = 0;
    for &task in turns {
        had[task] += 1;
        let least = had.iter().copied().min().unwrap_or_default();
        lead = lead.max(had[task] - least);
    }
    assert!(had.iter().all(|had| *had == rounds), "{had:?}");
    lead
}

async fn mark(conn: &mut Connection<Db>) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select {MARK}"))).fetch_one(conn).await?)
}

/// A session that sets, asks, writes in a transaction, and asks again.
async fn visit(proxy: &DbProxy, number: usize) -> Result<(String, i64, String), Error> {
    let mut conn = proxy.get_connection().await?;
    sqlx::query(AssertSqlSafe(set_mark(number))).execute(&mut conn).await?;
    let before = mark(&mut conn).await?;
    let mut tx = conn.begin().await?;
    let insert = format!("insert into orders (item) values ({MARK})");
    sqlx::query(AssertSqlSafe(insert)).execute(&mut *tx).await?;
    let count = format!("select count(*) from orders where item = '{number}'");
    let count = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok((before, count, mark(&mut conn).await?))
}

#[tokio::test]
async fn sessions_joined_in_a_handler_share_what_there_is() -> Result<(), Error> {
    let server = counting_server().await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    for round in 1..=5 {
        let (a, b, c, d, e) =
            tokio::join!(visit(&proxy, 1), visit(&proxy, 2), visit(&proxy, 3), visit(&proxy, 4), visit(&proxy, 5),);
        for (number, seen) in [(1, a?), (2, b?), (3, c?), (4, d?), (5, e?)] {
            assert_eq!(seen, (number.to_string(), round, number.to_string()));
        }
    }
    // Held by one future of a join, and wanted by another that only goes on when the first does.
    let (mut one, mut other) = tokio::try_join!(proxy.get_connection(), proxy.get_connection())?;
    let (mut first, mut second) = tokio::try_join!(one.begin(), other.begin())?;
    let (a, b): (i64, i64) = tokio::try_join!(
        sqlx::query_scalar(SESSION).fetch_one(&mut *first),
        sqlx::query_scalar(SESSION).fetch_one(&mut *second),
    )?;
    assert_ne!(a, b, "a transaction has a connection to itself");
    tokio::try_join!(first.commit(), second.rollback())?;
    assert_eq!((logins(&server), proxy.status().leased, proxy.status().pinned), (2, 0, 0));
    Ok(())
}

/// The queue is a queue: nobody is served a second time while another still waits for the first.
async fn take_turns(proxy: DbProxy) -> Result<(), Error> {
    const ROUNDS: usize = 10;
    let turns = std::sync::Arc::new(Mutex::new(Vec::new()));
    let tasks = (0..TASKS).map(|task| {
        let (proxy, turns) = (proxy.clone(), turns.clone());
        tokio::spawn(async move {
            let mut conn = proxy.get_connection().await?;
            sqlx::query(AssertSqlSafe(set_mark(task))).execute(&mut conn).await?;
            for _ in 0..ROUNDS {
                let text = slowly(MARK, 0.001);
                let seen: String = sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(&mut conn).await?;
                assert_eq!(seen, task.to_string());
                turns.lock().unwrap().push(task);
            }
            Ok::<_, Error>(())
        })
    });
    for ended in join_all(tasks).await {
        ended.expect("no panic")?;
    }
    let turns = std::mem::take(&mut *turns.lock().unwrap());
    let lead = worst_lead(&turns, ROUNDS);
    assert!(lead <= ROUNDS / 2, "somebody was {lead} of {ROUNDS} turns ahead: {turns:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_starves_among_many_tasks_on_one_thread() -> Result<(), Error> {
    let server = counting_server().await;
    take_turns(proxy_to(&server).max_connections(CONNECTIONS).build()?).await?;
    assert!(logins(&server) <= CONNECTIONS);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_starves_among_many_tasks_on_four_threads() -> Result<(), Error> {
    let server = counting_server().await;
    take_turns(proxy_to(&server).max_connections(CONNECTIONS).build()?).await?;
    assert!(logins(&server) <= CONNECTIONS);
    Ok(())
}
