//! The writer dies, and another member becomes the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::*;

/// Cases 7, 15 and 17: by any way the members became known, and an observer sees it in order.
#[tokio::test]
async fn a_killed_writer_costs_the_statements_in_flight_and_nothing_else() -> Result<(), Error> {
    for imitation in [CLUSTERED, Imitation::MultiAz, Imitation::Nothing] {
        let cluster = Cluster::start(imitation, 2).await;
        table(&cluster).await;
        let seen = Recorder::default();
        let proxy = proxy_for(&cluster).observer(seen.observer()).build()?;
        write(&proxy, 1).await?;
        assert_eq!(proxy.status().epoch, 0);
        let began = Instant::now();
        let (promoted, done) = tokio::join!(cluster.fail_over(0, 1), async {
            // Not in flight when the writer died: it waits for the new one.
            is_dead(&cluster, 0).await;
            write(&proxy, 2).await?;
            Ok::<_, Error>(Instant::now())
        });
        let done = done?;
        println!(
            "{imitation:?}: {:?} after the promotion, {:?} in all",
            done.saturating_duration_since(promoted),
            began.elapsed()
        );
        assert_eq!(place(&proxy).await?, cluster.node(1).port());
        assert_eq!(proxy.status().epoch, 1);
        assert_eq!(proxy.status().writer.as_deref(), Some(format!("localhost:{}", cluster.node(1).port()).as_str()));
        assert_eq!(written(&proxy).await?, [1, 2]);
        let story: Vec<_> = seen.events().iter().filter_map(word).collect();
        assert_eq!(story, ["suspected", "moved"], "{imitation:?}");
    }
    Ok(())
}

fn word(event: &Event) -> Option<&'static str> {
    match event {
        Event::Suspected { .. } => Some("suspected"),
        Event::WriterFound { moved: true, .. } => Some("moved"),
        Event::WriterFound { .. } => Some("found again"),
        _ => None,
    }
}

/// Cases 1 and 2: noticed on the session itself, by a statement that it had prepared on the connection that is gone.
#[tokio::test]
async fn a_session_at_rest_goes_on_with_what_it_had_prepared() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).build()?;
    let mut conn = proxy.get_connection().await?;
    for n in 1..=3 {
        insert(&mut conn, n).await?;
    }
    cluster.fail_over(0, 1).await;
    for n in 4..=5 {
        insert(&mut conn, n).await?;
    }
    assert_eq!(port(&mut conn).await?, cluster.node(1).port());
    assert_eq!(written(&proxy).await?, [1, 2, 3, 4, 5]);
    Ok(())
}

/// Case 2: what cannot be moved is lost, and said to be.
#[tokio::test]
async fn a_pinned_session_is_told_that_its_state_is_gone() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    let proxy = proxy_for(&cluster).build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::raw_sql(PREPARE).execute(&mut conn).await?;
    cluster.fail_over(0, 1).await;
    for _ in 0..2 {
        let error = Error::from(sqlx::raw_sql("execute one").execute(&mut conn).await.unwrap_err());
        println!("{:?}: {error}", error.outcome());
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    }
    drop(conn);
    assert_eq!(place(&proxy).await?, cluster.node(1).port());
    Ok(())
}

/// Cases 4, 5 and 9: by guard and by text, and the member that nobody expected is promoted.
#[tokio::test]
async fn a_transaction_goes_with_its_writer_and_was_rolled_back() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 2).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).build()?;
    let (mut guarded, mut texted) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let mut tx = guarded.begin().await?;
    insert(&mut tx, 1).await?;
    sqlx::raw_sql("start transaction").execute(&mut texted).await?;
    insert(&mut texted, 2).await?;
    cluster.fail_over(0, 2).await;
    lost(insert(&mut tx, 3).await, Outcome::RolledBack);
    lost(tx.commit().await, Outcome::RolledBack);
    lost(insert(&mut texted, 4).await, Outcome::RolledBack);
    lost(sqlx::raw_sql("commit").execute(&mut texted).await.map_err(Error::from), Outcome::RolledBack);
    for (conn, n) in [(&mut guarded, 5), (&mut texted, 6)] {
        let mut tx = conn.begin().await?;
        insert(&mut tx, n).await?;
        assert_eq!(port(&mut tx).await?, cluster.node(2).port());
        tx.commit().await?;
    }
    assert_eq!(written(&proxy).await?, [5, 6]);
    Ok(())
}

/// Cases 5 and 32: what was given as a closure is done again, once.
#[tokio::test]
async fn a_closure_is_run_again_on_the_new_writer() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).build()?;
    let runs = Arc::new(AtomicU32::new(0));
    let (cluster, counted) = (Arc::new(cluster), Arc::clone(&runs));
    let stage = Arc::clone(&cluster);
    let at = proxy
        .transaction(|tx| {
            let (cluster, runs) = (Arc::clone(&stage), Arc::clone(&counted));
            Box::pin(async move {
                insert(tx, 1).await?;
                if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                    cluster.fail_over(0, 1).await;
                }
                insert(tx, 2).await?;
                port(tx).await
            })
        })
        .await?;
    assert_eq!(at, cluster.node(1).port());
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(written(&proxy).await?, [1, 2]);
    Ok(())
}

/// Case 16.
#[tokio::test]
async fn when_nobody_becomes_the_writer_everybody_is_named_with_an_answer() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).failover_timeout(SECOND).build()?;
    write(&proxy, 1).await?;
    cluster.node(0).kill().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = write(&proxy, 2).await.unwrap_err();
    let Error::NoWriter { answers, .. } = &error else { panic!("{error:?}") };
    assert_eq!(answers.len(), 2, "{error}");
    println!("{error}");
    assert!(error.is_retryable() && error.outcome() == Outcome::NotExecuted);
    Ok(())
}

/// Cases 54 and 55: the second failover comes when the first is hardly over, the first writer never comes back, and it is
/// the host that the proxy was given.
#[tokio::test]
async fn two_failovers_in_a_row_and_the_first_host_is_gone_for_good() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 2).await;
    table(&cluster).await;
    let seen = Recorder::default();
    let proxy = proxy_for(&cluster).observer(seen.observer()).build()?;
    let mut conn = proxy.get_connection().await?;
    insert(&mut conn, 1).await?;
    for (from, to, n) in [(0, 1, 2), (1, 2, 3)] {
        cluster.wait_until_follows(to, from).await;
        // What this one took in its last moment nobody else would have.
        cluster.node(from).kill().await;
        let (_, done) = tokio::join!(cluster.promote(to), write(&proxy, n));
        done?;
        assert_eq!(port(&mut conn).await?, cluster.node(to).port());
    }
    assert_eq!(written(&proxy).await?, [1, 2, 3]);
    assert_eq!((proxy.status().epoch, moves(&seen)), (2, 2));
    Ok(())
}
