//! The writer dies between the commit and its answer.

use super::*;

/// Case 46: the same, where it is known to have happened.
#[tokio::test]
async fn a_commit_whose_answer_was_cut_has_happened_once() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let way = way_to(cluster.node(0)).await;
    let proxy = proxy_by_way_of(&way, cluster.node(0)).build()?;
    let way = &way;
    let cut_after = async |work: std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + '_>>| {
        way.mute();
        let (result, ()) = tokio::join!(work, async {
            tokio::time::sleep(Duration::from_millis(150)).await;
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
    lost(cut_after(Box::pin(tx.commit())).await, Outcome::Unknown);
    insert(&mut conn, 2).await?;
    lost(cut_after(Box::pin(insert(&mut conn, 3))).await, Outcome::Unknown);
    sqlx::raw_sql("begin").execute(&mut conn).await?;
    insert(&mut conn, 4).await?;
    let text = async { Ok(sqlx::raw_sql("commit").execute(&mut conn).await.map(drop)?) };
    lost(cut_after(Box::pin(text)).await, Outcome::Unknown);
    assert_eq!(written(&proxy).await?, [1, 2, 3, 4]);
    Ok(())
}
