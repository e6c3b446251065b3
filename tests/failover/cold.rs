//! Environments that begin in the middle of a failover.

use super::*;

/// Case 53: the name still leads to the dead writer, and nothing was ever learnt.
#[tokio::test]
async fn a_cold_start_in_a_failover_waits_for_the_new_writer() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    cluster.node(0).kill().await;
    let proxy = proxy_for(&cluster).build()?;
    let (_, first) = tokio::join!(
        async {
            tokio::time::sleep(SECOND / 2).await;
            cluster.promote(1).await
        },
        write(&proxy, 1)
    );
    first?;
    assert_eq!(place(&proxy).await?, cluster.node(1).port());
    Ok(())
}

/// Case 53: the name leads to a writer that is silent; the first login gets more time, and not for ever.
#[tokio::test]
async fn a_cold_start_by_the_name_of_a_silent_writer() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    cluster.node(0).suspend();
    cluster.promote(1).await;
    let proxy = proxy_for(&cluster).build()?;
    let began = std::time::Instant::now();
    write(&proxy, 1).await?;
    println!("cold, by the name of a silent writer: {:?}", began.elapsed());
    assert!(began.elapsed() < 8 * SECOND);
    assert_eq!(place(&proxy).await?, cluster.node(1).port());
    Ok(())
}

/// Case 53: alone with one dead name there is nothing to wait for, and it is said at once.
#[tokio::test]
async fn a_cold_start_that_knows_nobody_says_so() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 0).await;
    cluster.node(0).kill().await;
    let error = proxy_to(cluster.node(0)).build()?.get_connection().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_retryable(), "{error:?}");
    Ok(())
}
