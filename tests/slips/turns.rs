//! An answer that is there at once.

use super::*;

/// What the driver has in its buffer is there at once. Others on the thread have their turn all the same, and so has a
/// timeout around it.
#[tokio::test]
async fn an_answer_of_many_rows_leaves_others_their_turn() -> Result<(), Error> {
    const ROWS: u32 = 50_000;
    let server = Server::start(ServerOptions::default()).await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    let text = series(ROWS);
    for way in ["execute", "fetch", "fetch_all", "fetch_optional"] {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let query = sqlx::query(sqlx::AssertSqlSafe(text.clone()));
        match way {
            "execute" => {
                query.execute(&mut conn).await?;
            }
            "fetch" => query.fetch(&mut conn).try_for_each(async |_| Ok(())).await?,
            "fetch_all" => drop(query.fetch_all(&mut conn).await?),
            _ => drop(query.fetch_optional(&mut conn).await?),
        }
        other.abort();
        // Tokio's budget is 128 steps.
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= ROWS as usize / 256, "{way}: {turns}");
    }
    Ok(())
}
