//! In strict isolation nobody has a connection after its session, however that ended.

use super::*;

/// However a session ends, in strict isolation nobody has its connection after it.
#[tokio::test]
async fn a_strict_sessions_connection_is_nobody_elses_however_it_ends() -> Result<(), Error> {
    let server = started().await;
    let proxy = proxy_to(&server).max_connections(1).isolation(Isolation::Strict).build()?;
    let number = "select pg_backend_pid()";
    for end in [
        "select 1",
        "discard all",
        "deallocate all",
        "reset all",
        "begin",
        "begin; commit",
        "select pg_advisory_lock(1)",
        "set work_mem = '1MB'",
        "select 1 / 0",
        "create temp table t (n int); drop table t; discard temp",
        "dropped",
        "dropped transaction",
        "upkeep",
    ] {
        let mut a = proxy.get_connection().await?;
        let before: i32 = sqlx::query_scalar(number).fetch_one(&mut a).await?;
        match end {
            "dropped" => {
                let slow = sqlx::query("select pg_sleep(0.05)").execute(&mut a);
                let _ = timeout(Duration::from_millis(20), slow).await;
            }
            "dropped transaction" => {
                let mut tx = a.begin().await?;
                sqlx::query("select 1").execute(&mut *tx).await?;
            }
            "upkeep" => proxy.upkeep().await,
            text => {
                let _ = run(&mut a, text).await;
            }
        }
        drop(a);
        if end == "upkeep" {
            proxy.upkeep().await;
        }
        let mut b = proxy.get_connection().await?;
        let after: i32 = sqlx::query_scalar(number).fetch_one(&mut b).await?;
        assert_ne!(before, after, "{end}");
    }
    // Two at a time on one slot: they take turns, and each has a new one.
    let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(sqlx::query_scalar::<_, i32>(number).fetch_one(&mut a).await?);
        numbers.push(sqlx::query_scalar::<_, i32>(number).fetch_one(&mut b).await?);
    }
    assert!(numbers.windows(2).all(|two| two[0] != two[1]), "{numbers:?}");
    Ok(())
}
