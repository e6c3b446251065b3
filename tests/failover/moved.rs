//! The role moves while the old writer goes on to answer.

use super::*;

/// Cases 38 and 49: it refuses to write (25006), for it is a reader by now.
#[tokio::test]
async fn a_writer_that_became_a_reader_is_left_and_the_statement_run_on_the_new_one() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    // Whoever follows the name lands on node 0, always.
    let proxy = proxy_for(&cluster).build()?;
    let mut conn = proxy.get_connection().await?;
    insert(&mut conn, 1).await?;
    cluster.fail_over(0, 1).await;
    cluster.rejoin(0, 1).await;
    insert(&mut conn, 2).await?;
    assert_eq!(port(&mut conn).await?, cluster.node(1).port());
    let stale = proxy_for(&cluster).build()?;
    write(&stale, 3).await?;
    assert_eq!(place(&stale).await?, cluster.node(1).port());
    assert_eq!(written(&stale).await?, [1, 2, 3]);
    Ok(())
}

/// Case 49: the refusal comes on a connection that is alive, and its text is sent again to somebody else, but not the text
/// of a transaction.
#[tokio::test]
async fn a_refusal_to_write_moves_the_session() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::Nothing, 1).await;
    table(&cluster).await;
    // Believed to be the only one, so that nobody looks before the first statement.
    let way = way_to(cluster.node(1)).await;
    let proxy = proxy_by_way_of(&way, cluster.node(0)).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut other = proxy.get_connection().await?;
    let mut tx = other.begin().await?;
    assert_eq!(port(&mut conn).await?, cluster.node(1).port());
    way.upstream(([127, 0, 0, 1], cluster.node(0).port()).into());
    insert(&mut conn, 1).await?;
    assert_eq!(port(&mut conn).await?, cluster.node(0).port());
    let error = insert(&mut tx, 2).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    tx.rollback().await?;
    proxy.transaction(|tx| Box::pin(insert(tx, 3))).await?;
    assert_eq!(written(&proxy).await?, [1, 3]);
    Ok(())
}

/// Whoever names a reader on purpose, and nobody else, reads there and is refused to write, as often as he likes.
#[tokio::test]
async fn a_reader_on_its_own_stays_a_reader() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::Nothing, 1).await;
    table(&cluster).await;
    let proxy = proxy_to(cluster.node(1)).build()?;
    let mut conn = proxy.get_connection().await?;
    for _ in 0..3 {
        assert_eq!(port(&mut conn).await?, cluster.node(1).port());
        let error = insert(&mut conn, 1).await.unwrap_err();
        assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    }
    assert_eq!(written(&proxy).await?, [0; 0]);
    Ok(())
}

/// Case 15: by the name of any member.
#[tokio::test]
async fn whichever_member_is_named_the_writer_is_reached() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::MultiAz, 2).await;
    table(&cluster).await;
    for node in 0..3 {
        let proxy = proxy_to(cluster.node(node)).instances(cluster.instances()).build()?;
        write(&proxy, i32::try_from(node).unwrap()).await?;
        assert_eq!(place(&proxy).await?, cluster.node(0).port(), "by {}", id(node));
    }
    Ok(())
}
