//! The writer dies between the commit and its answer.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Both of them.
async fn until_commits_wait(cluster: &Cluster) {
    let mut admin = cluster.node(0).admin().await;
    until("two commits wait for the replica", async || {
        let waiting = sqlx::query_scalar(AssertSqlSafe(waiting_commits()));
        let waiting: i64 = waiting.fetch_one(&mut admin).await.expect("an answer");
        waiting >= 2
    })
    .await;
}

/// Case 46: the commit is on the writer's disk, nobody was told, and the writer dies. Whether the new one has it is a
/// matter of luck.
#[tokio::test]
async fn a_commit_without_an_answer_is_unknown_and_never_repeated() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).build()?;
    occupy(&proxy, 2).await?;
    // A commit waits for the replica, which does not answer.
    let mut conn = proxy.get_connection().await?;
    sqlx::raw_sql(SYNCHRONOUS).execute(&mut conn).await?;
    synchronize(&cluster, 0, 1).await;
    tokio::time::sleep(SECOND / 10).await;
    cluster.node(1).suspend();
    let mut tx = conn.begin().await?;
    insert(&mut tx, 1).await?;
    let runs = AtomicU32::new(0);
    let runs = &runs;
    let closure = proxy.transaction(|tx| {
        runs.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            sqlx::raw_sql(SYNCHRONOUS).execute(&mut **tx).await?;
            insert(tx, 2).await
        })
    });
    let (guarded, closure, ()) = tokio::join!(tx.commit(), closure, async {
        until_commits_wait(&cluster).await;
        cluster.node(0).kill().await;
    });
    for result in [guarded, closure] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::ConnectionLost { phase: lambda_rds::error::Phase::Commit, .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(!error.is_retryable());
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    cluster.node(1).resume();
    cluster.promote(1).await;
    write(&proxy, 3).await?;
    let rows = written(&proxy).await?;
    println!("the new writer has {rows:?}");
    assert!(rows.windows(2).all(|pair| pair[0] < pair[1]) && rows.last() == Some(&3), "{rows:?}");
    Ok(())
}

/// Case 46: the same, where it is known to have happened.
#[tokio::test]
async fn a_commit_whose_answer_was_cut_has_happened_once() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let way = way_to(cluster.node(0)).await;
    let proxy = proxy_by_way_of(&way, cluster.node(0)).build()?;
    let (way, direct) = (&way, &proxy_for(&cluster).build()?);
    let cut_after = async |n, work: std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + '_>>| {
        way.mute();
        let (result, ()) = tokio::join!(work, async {
            until("it is done", async || written(direct).await.expect("an answer").contains(&n)).await;
            way.cut();
            // Not before the connection is gone: the answer would come through.
            tokio::time::sleep(Duration::from_millis(50)).await;
            way.pass();
        });
        result
    };
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    insert(&mut tx, 1).await?;
    lost(cut_after(1, Box::pin(tx.commit())).await, Outcome::Unknown);
    insert(&mut conn, 2).await?;
    lost(cut_after(3, Box::pin(insert(&mut conn, 3))).await, Outcome::Unknown);
    sqlx::raw_sql("begin").execute(&mut conn).await?;
    insert(&mut conn, 4).await?;
    let text = async { Ok(sqlx::raw_sql("commit").execute(&mut conn).await.map(drop)?) };
    lost(cut_after(4, Box::pin(text)).await, Outcome::Unknown);
    assert_eq!(written(&proxy).await?, [1, 2, 3, 4]);
    Ok(())
}
