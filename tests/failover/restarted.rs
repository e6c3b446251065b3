//! The same server returns, or a server that is not ready yet.

use super::*;

/// Case 10: nobody is promoted, and the writer comes back.
#[tokio::test]
async fn the_writer_is_re_elected() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let seen = Recorder::default();
    let proxy = proxy_for(&cluster).observer(seen.observer()).build()?;
    let mut conn = proxy.get_connection().await?;
    insert(&mut conn, 1).await?;
    cluster.node(0).kill().await;
    let (waited, ()) = tokio::join!(insert(&mut conn, 2), async {
        tokio::time::sleep(2 * SECOND).await;
        cluster.node(0).start_again().await;
    });
    waited?;
    assert_eq!(port(&mut conn).await?, cluster.node(0).port());
    assert_eq!(written(&proxy).await?, [1, 2]);
    assert_eq!((proxy.status().epoch, suspicions(&seen), moves(&seen)), (0, 1, 0), "{:#?}", seen.events());
    Ok(())
}

/// Cases 34 and 48: told in good time (57P01), in a cluster and alone. Only what was in flight is lost.
#[tokio::test]
async fn a_graceful_restart_costs_what_was_in_flight() -> Result<(), Error> {
    for replicas in [1, 0] {
        let cluster = Cluster::start(CLUSTERED, replicas).await;
        table(&cluster).await;
        let alone = || proxy_to(cluster.node(0)).validate_after(UNCHECKED);
        let builder = if replicas == 0 { alone() } else { proxy_for(&cluster) };
        let proxy = builder.max_connections(3).build()?;
        occupy(&proxy, 3).await?;
        let mut busy = proxy.get_connection().await?;
        let mut open = proxy.get_connection().await?;
        let mut tx = open.begin().await?;
        insert(&mut tx, 1).await?;
        // A statement that only sleeps would be woken by a real MySQL, and answered.
        let sleeper = sqlx::query(AssertSqlSafe(slowly("1", 20.0))).execute(&mut busy);
        let (long, ()) = tokio::join!(sleeper, async {
            until_at_work(cluster.node(0)).await;
            cluster.node(0).stop().await;
        });
        let long = Error::from(long.unwrap_err());
        assert_eq!(long.sqlstate().as_deref(), farewell(), "{long:?}");
        lost(Err::<(), _>(long), Outcome::Unknown);
        // The farewell was there before the commit was sent, and so it was not sent.
        lost(tx.commit().await, Outcome::RolledBack);
        let (waited, ()) = tokio::join!(insert(&mut busy, 2), async {
            tokio::time::sleep(SECOND / 2).await;
            cluster.node(0).start_again().await;
        });
        waited?;
        insert(&mut open, 3).await?;
        assert_eq!(written(&proxy).await?, [2, 3], "{replicas} replicas");
        assert_eq!(proxy.status().epoch, 0);
    }
    Ok(())
}

/// Case 58: the new writer has no slot left (53300).
#[tokio::test]
async fn a_new_writer_that_is_full_is_waited_for() -> Result<(), Error> {
    let options = ServerOptions { max_connections: 8, ..ServerOptions::default() };
    let cluster = Cluster::start_with(CLUSTERED, 1, options).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).build()?;
    write(&proxy, 1).await?;
    let others = proxy_to(cluster.node(1)).max_connections(5).build()?;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut conn = others.get_connection().await?;
        conn.pin().await?;
        held.push(conn);
    }
    let (_, waited) = tokio::join!(
        async {
            cluster.fail_over(0, 1).await;
            tokio::time::sleep(SECOND / 2).await;
            held.clear();
            others.close().await;
        },
        async {
            is_dead(&cluster, 0).await;
            write(&proxy, 2).await
        }
    );
    waited?;
    assert_eq!(written(&proxy).await?, [1, 2]);
    assert_eq!(place(&proxy).await?, cluster.node(1).port());
    Ok(())
}
