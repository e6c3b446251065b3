//! A function as a process of its own, frozen while the cluster fails over.

use serde_json::json;

use super::*;
use crate::support::lambda::{Environment, FunctionSpec, example};

/// Case 51: it slept through all of it, and serves the next event without an error.
#[tokio::test]
async fn a_function_that_was_frozen_serves_the_first_event_after_the_thaw() {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    cluster.node(0).execute(ORDERS).await;
    let mut function = FunctionSpec::new(example(QUICKSTART));
    function.timeout = 10 * SECOND;
    let members = cluster.instances();
    let members: Vec<_> = members.iter().map(|(id, host, port)| format!("{id}={host}:{port}")).collect();
    function.env = [
        ("LAMBDA_RDS_URL", cluster.node(0).url()),
        ("LAMBDA_RDS_CA_PEM", String::from_utf8_lossy(cluster.ca_pem()).into_owned()),
        ("LAMBDA_RDS_INSTANCES", members.join(",")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let environment = Environment::start(function).await;
    environment.invoke(json!({"item": "before"})).await.result.expect("served");
    // Once the writer dies, and once it is only silent.
    environment.freeze().await;
    cluster.fail_over(0, 1).await;
    environment.thaw();
    let after = environment.invoke(json!({"item": "after"})).await;
    println!("after a kill: {:?}", after.latency);
    after.result.expect("served");
    cluster.rejoin(0, 1).await;
    environment.freeze().await;
    cluster.node(1).suspend();
    cluster.promote(0).await;
    // Longer than `validate_after`: a silent socket looks like a good one.
    tokio::time::sleep(SECOND + SECOND / 5).await;
    environment.thaw();
    let after = environment.invoke(json!({"item": "after"})).await;
    println!("after a silence: {:?}", after.latency);
    after.result.expect("served");
    assert_eq!(cluster.node(0).sessions("app").await, 1);
}
