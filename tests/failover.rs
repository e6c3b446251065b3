//! The writer dies, moves, or falls silent, and the sessions go on.

use std::time::{Duration, Instant};

use lambda_rds::{Connection, Error, Event, Outcome, PgProxy, Postgres, ProxyBuilder};

use crate::support::cluster::{Cluster, Imitation};
use crate::support::{Recorder, proxy_to};

const SECOND: Duration = Duration::from_secs(1);

/// A proxy that was told the members' addresses, as behind names of one's own, and that has the writer's for an endpoint.
fn proxy_for(cluster: &Cluster) -> ProxyBuilder<Postgres> {
    proxy_to(cluster.node(0)).instances(cluster.instances())
}

async fn table(cluster: &Cluster) {
    cluster.node(0).execute("create table ledger (n int); grant all on ledger to app").await;
}

async fn insert(conn: &mut Connection<Postgres>, n: i32) -> Result<(), Error> {
    sqlx::query("insert into ledger values ($1)").bind(n).execute(conn).await?;
    Ok(())
}

async fn port(conn: &mut Connection<Postgres>) -> Result<u16, Error> {
    let port: i32 = sqlx::query_scalar("select inet_server_port()").fetch_one(conn).await?;
    Ok(u16::try_from(port).expect("a port"))
}

/// One write, on a session of its own.
async fn write(proxy: &PgProxy, n: i32) -> Result<(), Error> {
    insert(&mut proxy.get_connection().await?, n).await
}

#[tokio::test]
async fn a_killed_writer_costs_the_statements_in_flight_and_nothing_else() -> Result<(), Error> {
    for imitation in [Imitation::Aurora, Imitation::MultiAz, Imitation::Nothing] {
        let cluster = Cluster::start(imitation, 2).await;
        table(&cluster).await;
        let seen = Recorder::default();
        let proxy = proxy_for(&cluster).observer(seen.observer()).build()?;
        write(&proxy, 1).await?;
        assert_eq!(proxy.status().epoch, 0);
        let began = Instant::now();
        let (promoted, written) = tokio::join!(cluster.fail_over(0, 1), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // Not in flight when the writer died: it waits for the new one.
            write(&proxy, 2).await?;
            Ok::<_, Error>(Instant::now())
        });
        let written = written?;
        println!(
            "{imitation:?}: {:?} after the promotion, {:?} in all",
            written.saturating_duration_since(promoted),
            began.elapsed()
        );
        let mut conn = proxy.get_connection().await?;
        assert_eq!(port(&mut conn).await?, cluster.node(1).port());
        assert_eq!(proxy.status().epoch, 1);
        assert_eq!(proxy.status().writer.as_deref(), Some(format!("localhost:{}", cluster.node(1).port()).as_str()));
        assert_eq!(seen.count(|event| matches!(event, Event::WriterFound { moved: true, .. })), 1);
        assert_eq!(sqlx::query_scalar::<_, i64>("select count(*) from ledger").fetch_one(&mut conn).await?, 2);
    }
    Ok(())
}

#[tokio::test]
async fn a_silent_writer_is_told_from_a_busy_one() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::Aurora, 1).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).build()?;
    write(&proxy, 1).await?;
    // Busy: nobody kills it for being long, and what asks meanwhile leaves no trace in its log.
    let mut conn = proxy.get_connection().await?;
    let log = cluster.node(0).log();
    sqlx::query("select pg_sleep(2)").execute(&mut conn).await?;
    assert_eq!(cluster.node(0).log(), log);
    cluster.node(0).suspend();
    let began = Instant::now();
    let (short, long, promoted) = tokio::join!(
        write(&proxy, 2),
        async { sqlx::query("select pg_sleep(3)").execute(&mut conn).await },
        cluster.promote(1)
    );
    println!("silent: {:?}, promoted after {:?}", began.elapsed(), promoted.duration_since(began));
    for error in [short.err(), long.err().map(Error::from)].into_iter().flatten() {
        assert!(matches!(error, Error::ConnectionLost { outcome: Outcome::Unknown, .. }), "{error:?}");
    }
    write(&proxy, 3).await?;
    println!("silent: {:?}", began.elapsed());
    assert_eq!(port(&mut proxy.get_connection().await?).await?, cluster.node(1).port());
    Ok(())
}

#[tokio::test]
async fn a_writer_that_became_a_reader_is_left_and_the_statement_run_on_the_new_one() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::Aurora, 1).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).validate_after(60 * SECOND).build()?;
    // It believes in node 1, which is a reader: as after a switchover that left the sessions alive.
    let stale = proxy_to(cluster.node(1)).instances(cluster.instances()).build()?;
    write(&proxy, 1).await?;
    write(&stale, 2).await?;
    assert_eq!(port(&mut stale.get_connection().await?).await?, cluster.node(0).port());
    Ok(())
}

#[tokio::test]
async fn when_nobody_becomes_the_writer_everybody_is_named_with_an_answer() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::Aurora, 1).await;
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

#[tokio::test]
async fn read_only_sessions_are_spread_over_the_readers_and_leave_one_that_is_promoted_or_lost() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::Aurora, 3).await;
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
    let error = loop {
        match proxy.get_reader().await {
            Err(error) => break error,
            Ok(mut session) => drop(port(&mut session).await),
        }
    };
    assert!(matches!(&error, Error::NoReader { answers, .. } if answers.len() >= 2), "{error:?}");
    let lenient = proxy_for(&cluster).reader_fallback(true).build()?;
    write(&lenient, 3).await?;
    let mut session = lenient.get_reader().await?;
    assert_eq!(port(&mut session).await?, cluster.node(1).port());
    assert!(matches!(insert(&mut session, 4).await, Err(Error::ReadOnly { .. })), "read-only there too");
    Ok(())
}

/// Nothing but the RDS API knows who the members are, and the endpoint goes on to lead to the dead writer.
#[cfg(feature = "rds-api")]
#[tokio::test]
async fn members_that_only_the_api_knows_are_asked_too() -> Result<(), Error> {
    use crate::support::aws::{Aws, Cluster as ApiCluster, Instance};

    let cluster = Cluster::start(Imitation::Nothing, 1).await;
    table(&cluster).await;
    let aws = Aws::start().await;
    let members = cluster.instances();
    let (_, host, port) = members[0].clone();
    aws.put_cluster(ApiCluster {
        identifier: "shop".to_owned(),
        endpoint: host,
        port,
        writer: Some(members[0].0.clone()),
        ..ApiCluster::default()
    });
    for (identifier, host, port) in members {
        let cluster = Some("shop".to_owned());
        aws.put_instance(Instance { identifier, endpoint: Some((host, port)), cluster, ..Instance::default() });
    }
    let proxy = PgProxy::builder()
        .cluster("shop")
        .user("app")
        .password(crate::support::postgres::APP_PASSWORD)
        .database("app")
        .ca_pem(cluster.ca_pem())
        .aws_config(aws.sdk_config())
        .build()?;
    write(&proxy, 1).await?;
    cluster.fail_over(0, 1).await;
    write(&proxy, 2).await?;
    assert_eq!(proxy.status().epoch, 1);
    Ok(())
}
