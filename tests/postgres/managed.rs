//! The runtime's concurrent invocations, in one environment.
//!
//! MySQL has no twin: what the runtime does is the same over any engine, and sessions side by side are in `concurrency`.

use std::sync::Mutex;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::concurrency::{CONNECTIONS, TASKS, counting_server, logins, worst_lead};
use crate::support::lambda::{Environment, FunctionSpec, example};

/// The runtime itself, in a process of its own: `run_concurrent` with as many invocations in flight as it takes.
#[tokio::test]
async fn an_environment_of_many_invocations_serves_them_over_few_connections() {
    const ROUNDS: usize = 8;
    let server = counting_server().await;
    let mut function = FunctionSpec::new(example("managed_instances"));
    function.concurrency = Some(TASKS);
    // A loaded machine is slow, and what is asked here is not how fast.
    function.timeout = std::time::Duration::from_secs(60);
    function.env = [
        ("LAMBDA_RDS_URL", server.url()),
        ("LAMBDA_RDS_CA_PEM", String::from_utf8_lossy(server.ca_pem()).into_owned()),
        ("LAMBDA_RDS_MAX_CONNECTIONS", CONNECTIONS.to_string()),
        ("LAMBDA_RDS_BORROW_TIMEOUT", "30s".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let environment = Environment::start(function).await;
    environment.ready().await.expect("init");
    let turns = Mutex::new(Vec::new());
    join_all((0..TASKS).map(async |caller| {
        for round in 0..ROUNDS {
            let item = format!("{caller}.{round}");
            let receipt = environment.invoke(json!({"item": item})).await.result.expect("served");
            assert_eq!((&receipt["item"], &receipt["tenant"]), (&Value::from(item.clone()), &Value::from(item)));
            turns.lock().unwrap().push(caller);
        }
    }))
    .await;
    let lead = worst_lead(&turns.lock().unwrap(), ROUNDS);
    assert!(lead <= ROUNDS / 2, "somebody was {lead} of {ROUNDS} turns ahead");
    assert!(logins(&server) <= CONNECTIONS, "{} logins", logins(&server));
    let mut admin = server.admin().await;
    let (orders, items): (i64, i64) = sqlx::query_as("select count(*), count(distinct item) from orders")
        .fetch_one(&mut admin)
        .await
        .expect("an answer");
    let all = i64::try_from(TASKS * ROUNDS).unwrap();
    assert_eq!((orders, items), (all, all), "each order once");
}
