//! The writer dies, moves, or falls silent, and the sessions go on: the cases that AWS's driver wrappers are tested with
//! (1-45), and those that are missing there (46-58), on real servers. The number of each stands with its test.
//!
//! The rest is elsewhere. Of the search itself, in virtual time: `failover::hunt`, with 23 in `failover::pulse`. Continuous
//! writes through failovers (45): `ledger`. Wrong hosts and options (39): `refusals`. Tokens and secrets by themselves (41,
//! 42): `credentials`; here is what a failover adds. The scale-in of 35, reader endpoints (22) and a writer
//! re-elected (13) under sessions with a reader have no test of their own: to those it is a reader more or less (`readers`).
//!
//! Left out, for there is no such thing here: branches of a distributed transaction (18), several users or an outer pool in
//! one proxy (33, 36, and of 34 all but the checkout), a flag that turns a session into a reader's or guesses it from the text
//! (24, 25, 27, 28, 30, 31), custom endpoints (40: a name that AWS resolves), blue/green
//! deployments (43), Limitless databases (44).

mod api;
mod carried;
mod cold;
mod commit;
mod crowd;
mod idle;
mod killed;
mod logins;
mod moved;
mod process;
mod readers;
mod restarted;
mod silent;

use std::time::Duration;

use lambda_rds::event::Discard;
use lambda_rds::{Connection, Error, Event, Outcome, Proxy, ProxyBuilder};
use sqlx::AssertSqlSafe;

use super::stage::*;
use crate::support::Recorder;
use crate::support::fault_proxy::FaultProxy;
use crate::support::until::{until, until_paced};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// No test takes as long.
pub(super) const UNCHECKED: Duration = Duration::from_secs(600);

/// A proxy that was told the members' addresses, as behind names of one's own, and that has the writer's for an endpoint. Its
/// connections are checked where a test asks for that: on a busy machine more than the second of the default passes between two
/// lines of a test, and what is meant to be in flight would still be under a check.
pub(super) fn proxy_for(cluster: &Cluster) -> ProxyBuilder<Db> {
    proxy_to(cluster.node(0)).instances(cluster.instances()).validate_after(UNCHECKED)
}

/// A proxy whose target is reached by a way that can be blocked.
pub(super) fn proxy_by_way_of(way: &FaultProxy, server: &Server) -> ProxyBuilder<Db> {
    let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", way.port()));
    Proxy::builder().url(url).ca_pem(server.ca_pem()).validate_after(UNCHECKED)
}

/// Waits until the server is at work for somebody.
pub(super) async fn until_at_work(server: &Server) {
    until("a statement is in flight", async || running(server).await > 0).await;
}

pub(super) async fn way_to(server: &Server) -> FaultProxy {
    FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await
}

pub(super) async fn table(cluster: &Cluster) {
    cluster.node(0).execute(TABLE).await;
    for replica in 1..cluster.instances().len() {
        cluster.wait_until_follows(replica, 0).await;
    }
}

pub(super) async fn insert(conn: &mut Connection<Db>, n: i32) -> Result<(), Error> {
    sqlx::query(INSERT).bind(n).execute(conn).await?;
    Ok(())
}

/// One write, on a session of its own.
pub(super) async fn write(proxy: &DbProxy, n: i32) -> Result<(), Error> {
    insert(&mut proxy.get_connection().await?, n).await
}

/// A statement that is the first thing to be sent, and so in flight at once: where something is prepared or asked before
/// and the server falls silent, nothing was executed, and it is run again.
pub(super) async fn delete(conn: &mut Connection<Db>, n: i32) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("delete from ledger where n = {n}"))).execute(conn).await?;
    Ok(())
}

/// What is in the table, by way of the proxy.
pub(super) async fn written(proxy: &DbProxy) -> Result<Vec<i32>, Error> {
    let mut conn = proxy.get_connection().await?;
    Ok(sqlx::query_scalar("select n from ledger order by n").fetch_all(&mut conn).await?)
}

pub(super) async fn port(conn: &mut Connection<Db>) -> Result<u16, Error> {
    let port: i64 = sqlx::query_scalar(PORT).fetch_one(conn).await?;
    Ok(u16::try_from(port).expect("a port"))
}

pub(super) async fn backend(conn: &mut Connection<Db>) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(SESSION).fetch_one(conn).await?)
}

/// A statement that takes so long on the server.
pub(super) async fn sleep_for(conn: &mut Connection<Db>, seconds: f64) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(sleep(seconds))).execute(conn).await?;
    Ok(())
}

/// The server behind a session of its own.
pub(super) async fn place(proxy: &DbProxy) -> Result<u16, Error> {
    port(&mut proxy.get_connection().await?).await
}

/// The server processes behind `count` sessions that are at work at the same time.
pub(super) async fn occupy(proxy: &DbProxy, count: usize) -> Result<Vec<i64>, Error> {
    let all = tokio::sync::Barrier::new(count);
    let work = (0..count).map(|_| async {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        let backend = backend(&mut tx).await?;
        all.wait().await;
        tx.commit().await?;
        Ok::<_, Error>(backend)
    });
    let mut backends = futures_util::future::try_join_all(work).await?;
    backends.sort_unstable();
    Ok(backends)
}

pub(super) fn suspicions(seen: &Recorder) -> usize {
    seen.count(|event| matches!(event, Event::Suspected { .. }))
}

pub(super) fn moves(seen: &Recorder) -> usize {
    seen.count(|event| matches!(event, Event::WriterFound { moved: true, .. }))
}

pub(super) fn discarded(seen: &Recorder, why: Discard) -> usize {
    seen.count(|event| matches!(event, Event::Discarded { why: reason, .. } if *reason == why))
}

#[track_caller]
pub(super) fn lost<T: std::fmt::Debug>(result: Result<T, Error>, expected: Outcome) {
    match result {
        Err(Error::ConnectionLost { outcome, .. }) if outcome == expected => {}
        other => panic!("{other:?} where a connection lost with {expected:?} was due"),
    }
}

/// The old writer is gone: what it would still take, a replica that is promoted a moment later may not have.
async fn is_dead(cluster: &Cluster, node: usize) {
    let has_ended = async || !cluster.node(node).is_running();
    until_paced(Duration::from_millis(1), "the old writer is gone", has_ended).await;
}
