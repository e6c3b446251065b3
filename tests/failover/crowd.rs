//! Many who wait, and several clusters.

use super::*;

/// Case 50: their members even have the same identifiers.
#[tokio::test]
async fn two_clusters_in_one_process_do_not_mix() -> Result<(), Error> {
    let (one, other) = tokio::join!(Cluster::start(CLUSTERED, 1), Cluster::start(CLUSTERED, 1));
    let seen = Recorder::default();
    for cluster in [&one, &other] {
        table(cluster).await;
    }
    let first = proxy_for(&one).build()?;
    let second = proxy_for(&other).observer(seen.observer()).build()?;
    write(&first, 1).await?;
    write(&second, 11).await?;
    let (_, a, b) = tokio::join!(one.fail_over(0, 1), write(&first, 2), async {
        for n in 12..32 {
            write(&second, n).await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, Error>(())
    });
    // The first may have been in flight.
    println!("{a:?}");
    b?;
    write(&first, 3).await?;
    assert_eq!(written(&second).await?, (11..32).collect::<Vec<_>>());
    assert_eq!((suspicions(&seen), second.status().epoch, first.status().epoch), (0, 0, 1));
    assert_eq!(place(&second).await?, other.node(0).port());
    Ok(())
}

const WAITERS: i32 = 200;
const LIMIT: usize = 40;

/// Case 52: two hundred wait while nobody is the writer; the survivors see a few questions and then the connections that
/// are needed.
#[tokio::test]
async fn a_herd_is_one_search() -> Result<(), Error> {
    let options = ServerOptions { max_connections: 60, ..logging_connections() };
    let cluster = Cluster::start_with(CLUSTERED, 2, options).await;
    table(&cluster).await;
    let seen = Recorder::default();
    let proxy = proxy_for(&cluster).max_connections(LIMIT).observer(seen.observer()).build()?;
    write(&proxy, 0).await?;
    cluster.wait_until_follows(1, 0).await;
    let (before, heard_before) = (logged(&cluster, LOGIN), logged(&cluster, SOCKET));
    cluster.node(0).kill().await;
    let herd = (1..=WAITERS).map(|n| {
        let proxy = proxy.clone();
        async move { write(&proxy, n).await }
    });
    let (_, done) = tokio::join!(
        async {
            tokio::time::sleep(SECOND).await;
            println!("{} attempts while nobody was the writer", logged(&cluster, SOCKET) - heard_before);
            cluster.promote(1).await
        },
        futures_util::future::join_all(herd)
    );
    done.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (logins, attempts) = (logged(&cluster, LOGIN) - before, logged(&cluster, SOCKET) - heard_before);
    println!("{attempts} attempts on the survivors, {logins} logins, {} suspicions", suspicions(&seen));
    assert!(logins <= LIMIT + 2 * 20, "{logins}");
    // The stage's own are among them.
    assert!(attempts <= usize::try_from(WAITERS).unwrap() + 3 * 20, "{attempts}");
    assert_eq!(written(&proxy).await?, (0..=WAITERS).collect::<Vec<_>>());
    assert_eq!(moves(&seen), 1);
    // One is due; on a machine that is busy a login may take long enough for another.
    assert!(suspicions(&seen) <= LIMIT / 10, "{}", suspicions(&seen));
    Ok(())
}

/// How often the survivors have logged this.
fn logged(cluster: &Cluster, what: &str) -> usize {
    let logs = [1, 2].map(|node| cluster.node(node).log());
    logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains(what)).count()
}
