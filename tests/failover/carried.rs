//! The session on the new writer is as it was on the old one.

use super::*;
use crate::support::Recorder;

/// Cases 8 and 14: how the session was set up, and what it has set since.
#[tokio::test]
async fn settings_and_options_are_carried_over() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let seen = Recorder::default();
    let proxy = proxy_for(&cluster).init_query(INIT_QUERY).observer(seen.observer()).build()?;
    let mut conn = proxy.get_connection().await?;
    for text in SET_UP {
        sqlx::raw_sql(*text).execute(&mut conn).await?;
    }
    let before = settings(&mut conn).await?;
    cluster.fail_over(0, 1).await;
    assert_eq!(settings(&mut conn).await?, before);
    assert_eq!(port(&mut conn).await?, cluster.node(1).port());
    // Its own doing, and not the server's: nobody is suspected for it.
    let suspected = suspicions(&seen);
    let error = insert(&mut conn, 1).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    assert_eq!(suspicions(&seen), suspected);
    write(&proxy, 2).await?;
    assert_eq!(written(&proxy).await?, [2]);
    Ok(())
}

async fn settings(conn: &mut Connection<Db>) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(set_up_shown())).fetch_all(conn).await?)
}
