//! What only the RDS API knows.

use super::*;
use crate::support::aws::{Aws, Cluster as ApiCluster, Instance};

/// Nothing but the RDS API knows who the members are, and the endpoint goes on to lead to the dead writer.
#[tokio::test]
async fn members_that_only_the_api_knows_are_asked_too() -> Result<(), Error> {
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
    let proxy = DbProxy::builder()
        .cluster("shop")
        .user("app")
        .password(APP_PASSWORD)
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
