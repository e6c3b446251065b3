//! A statement that takes long says where its time went.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lambda_rds::{Error, Event};
use sqlx::AssertSqlSafe;

use super::stage::*;
use crate::support::http::lock;

/// First word, elapsed, and the parts.
type Slow = (String, Duration, [Duration; 3]);

#[tokio::test]
async fn a_slow_statement_says_whether_it_waited_for_a_connection_or_for_the_server() -> Result<(), Error> {
    const HELD: Duration = Duration::from_millis(300);
    let server = Server::start(ServerOptions::default()).await;
    let told: Arc<Mutex<Vec<Slow>>> = Arc::default();
    let tells = Arc::clone(&told);
    let observer = move |event: &Event| {
        if let Event::SlowStatement { statement, elapsed, waited, settled, answered, .. } = event {
            lock(&tells).push((statement.clone(), *elapsed, [*waited, *settled, *answered]));
        }
    };
    let proxy = proxy_to(&server).max_connections(1).slow_statements(HELD / 2).observer(observer).build()?;
    let mut holder = proxy.get_connection().await?;
    let mut conn = proxy.get_connection().await?;
    let tx = holder.begin().await?;

    // The one connection is on loan for so long.
    let waits = sqlx::query_scalar::<_, String>(ECHO).bind("hunter2").fetch_one(&mut conn);
    let holds = async {
        tokio::time::sleep(HELD).await;
        tx.rollback().await
    };
    let (answer, held) = tokio::join!(waits, holds);
    answer?;
    held?;
    sqlx::raw_sql(AssertSqlSafe(sleep(HELD.as_secs_f64()))).execute(&mut conn).await?;
    // Quick, if the machine lets it: it is told like the others then, and nothing else of it is asked here.
    sqlx::query_scalar::<_, String>(ECHO).bind("hunter2").fetch_one(&mut conn).await?;

    let told = lock(&told).clone();
    for (_, elapsed, parts) in &told {
        assert_eq!(*elapsed, parts.iter().sum::<Duration>(), "nothing is left over: {told:?}");
        assert!(*elapsed >= HELD / 2);
    }
    let waited = told.iter().any(|(word, _, [waited, ..])| word == "SELECT" && *waited >= HELD / 2);
    let answered = told.iter().any(|(_, _, [.., answered])| *answered >= HELD);
    assert!(waited && answered, "{told:?}");
    assert!(!format!("{told:?}").contains("hunter2"));
    Ok(())
}
