//! What becomes of the connections at rest, and of those who are about to get one.

use super::*;

/// Case 6: the writer is another, and the old one's connections look as good as ever.
#[tokio::test]
async fn idle_connections_are_closed_when_the_writer_has_moved() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let seen = Recorder::default();
    let proxy = proxy_for(&cluster).max_connections(4).observer(seen.observer()).build()?;
    occupy(&proxy, 4).await?;
    cluster.node(0).suspend();
    let mut conn = proxy.get_connection().await?;
    let (_, first) = tokio::join!(cluster.promote(1), delete(&mut conn, 1));
    lost(first, Outcome::Unknown);
    write(&proxy, 2).await?;
    cluster.node(0).resume();
    // Three of them would take a write again.
    for n in 3..6 {
        write(&proxy, n).await?;
    }
    proxy.upkeep().await;
    assert_eq!(written(&proxy).await?, [2, 3, 4, 5]);
    cluster.node(0).wait_until_sessions("app", 0).await;
    assert_eq!(proxy.status().epoch, 1);
    Ok(())
}

/// Case 6: a connection was cut and the writer is the same.
#[tokio::test]
async fn idle_connections_are_kept_when_the_same_writer_answers() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let seen = Recorder::default();
    let proxy = proxy_for(&cluster).max_connections(4).observer(seen.observer()).build()?;
    let before = occupy(&proxy, 4).await?;
    let mut conn = proxy.get_connection().await?;
    let (long, ()) = tokio::join!(sleep_for(&mut conn, 20.0), async {
        until_at_work(cluster.node(0)).await;
        terminate_sleepers(cluster.node(0)).await;
    });
    lost(long, Outcome::Unknown);
    assert_eq!(suspicions(&seen), 1);
    let after = occupy(&proxy, 4).await?;
    assert_eq!(after.iter().filter(|backend| before.contains(backend)).count(), 3, "{before:?} {after:?}");
    assert_eq!((proxy.status().epoch, discarded(&seen, Discard::Obsolete)), (0, 0));
    Ok(())
}

/// Cases 32 and 34: in the middle of a checkout, and reused afterwards.
#[tokio::test]
async fn a_checkout_during_the_failover_waits_for_it() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).max_connections(4).build()?;
    occupy(&proxy, 2).await?;
    let cluster = &cluster;
    let checkouts = (1..=12).map(|n| {
        let proxy = proxy.clone();
        async move {
            // Not before: a commit that is cut off has no known end.
            is_dead(cluster, 0).await;
            tokio::time::sleep(Duration::from_millis(10 * u64::try_from(n).unwrap())).await;
            proxy.transaction(|tx| Box::pin(insert(tx, n))).await
        }
    });
    let (_, done) = tokio::join!(cluster.fail_over(0, 1), futures_util::future::join_all(checkouts));
    done.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(written(&proxy).await?, (1..=12).collect::<Vec<_>>());
    let backends = occupy(&proxy, 4).await?;
    assert_eq!(occupy(&proxy, 4).await?, backends, "and are used again");
    Ok(())
}

/// Case 34: the search takes longer than a dial is given, and whoever waited for it is served all the same.
#[tokio::test]
async fn a_search_longer_than_a_dial_serves_all_who_waited() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    let seen = Recorder::default();
    let proxy = proxy_for(&cluster).max_connections(4).borrow_timeout(2 * SECOND).observer(seen.observer()).build()?;
    occupy(&proxy, 4).await?;
    cluster.node(0).kill().await;
    let (_, served) = tokio::join!(
        async {
            tokio::time::sleep(4 * SECOND).await;
            cluster.promote(1).await
        },
        occupy(&proxy, 4)
    );
    served?;
    let searches = seen.count(|event| matches!(event, Event::WriterFound { .. }));
    println!("{searches} searches, {} suspicions", suspicions(&seen));
    assert_eq!((searches, suspicions(&seen)), (1, 1));
    Ok(())
}
