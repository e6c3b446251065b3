//! Sessions with a reader.

use super::*;

/// Cases 37 (spread over the readers), 29 (a reader is promoted), 12 and 26 (one dies, all die), 3 and 11 (the writer by
/// choice); 24 and 25: what a session may is said when it is made, and no flag turns it.
#[tokio::test]
async fn read_only_sessions_are_spread_over_the_readers_and_leave_one_that_is_promoted_or_lost() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 3).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).max_connections(6).validate_after(SECOND / 10).build()?;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(proxy.get_reader().await?);
    }
    let mut ports = Vec::new();
    {
        let mut held = Vec::new();
        for session in &mut sessions {
            let mut tx = session.begin().await?;
            ports.push(port(&mut tx).await?);
            held.push(tx);
        }
    }
    ports.sort_unstable();
    let expected: Vec<u16> = (1..=3).flat_map(|node| [cluster.node(node).port(); 2]).collect();
    assert_eq!(ports, expected);
    assert_eq!((proxy.status().reader_connections, proxy.status().connections), (6, 0));
    // The sessions may not write, and that is nobody's failover.
    let error = insert(&mut sessions[0], 1).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");

    // One is promoted: from the moment that the writer's side knows, nobody reads there.
    write(&proxy, 1).await?;
    cluster.fail_over(0, 1).await;
    write(&proxy, 2).await?;
    assert_eq!(proxy.status().epoch, 1);
    for session in &mut sessions {
        assert_ne!(port(session).await?, cluster.node(1).port());
    }
    // One dies: the other serves.
    cluster.node(2).kill().await;
    for _ in 0..6 {
        let mut session = proxy.get_reader().await?;
        match port(&mut session).await {
            Ok(port) => assert_eq!(port, cluster.node(3).port()),
            // In flight when it died, as far as anybody can tell.
            Err(error) => assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}"),
        }
    }
    // All die: an error, or the writer by choice.
    cluster.node(3).kill().await;
    let mut refused = None;
    until("no reader is to be had", async || match proxy.get_reader().await {
        Err(error) => {
            refused = Some(error);
            true
        }
        Ok(mut session) => {
            drop(port(&mut session).await);
            false
        }
    })
    .await;
    let error = refused.expect("it was refused");
    assert!(matches!(&error, Error::NoReader { answers, .. } if answers.len() >= 2), "{error:?}");
    let lenient = proxy_for(&cluster).reader_fallback(true).build()?;
    write(&lenient, 3).await?;
    let mut session = lenient.get_reader().await?;
    assert_eq!(port(&mut session).await?, cluster.node(1).port());
    assert!(matches!(insert(&mut session, 4).await, Err(Error::ReadOnly { .. })), "read-only there too");
    Ok(())
}

/// Full is for now, and not the lack of a reader: it is waited for, and it is the error.
#[tokio::test]
async fn a_reader_that_is_full_is_waited_for_and_then_named() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    // Before the first login: MariaDB keeps the limit that an account had when it came.
    cluster.node(0).execute(&limit("app", 1)).await;
    cluster.wait_until_follows(1, 0).await;
    let first = proxy_for(&cluster).build()?;
    let mut held = first.get_reader().await?;
    let mut tx = held.begin().await?;
    assert_eq!(port(&mut tx).await?, cluster.node(1).port());
    let error = proxy_for(&cluster).borrow_timeout(SECOND).build()?.get_reader().await.unwrap_err();
    assert!(matches!(error, Error::TooManyConnections { .. }), "{error:?}");
    let second = proxy_for(&cluster).build()?;
    let (served, ()) = tokio::join!(second.get_reader(), async {
        tokio::time::sleep(SECOND / 10).await;
        tx.rollback().await.expect("rolled back");
        first.close().await;
    });
    assert_eq!(port(&mut served?).await?, cluster.node(1).port());
    Ok(())
}
