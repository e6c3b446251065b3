//! What only the RDS API knows.

use super::*;
use crate::support::aws::{Aws, Cluster as ApiCluster, Instance};

/// Case 35: a member that appeared later, of which only the RDS API and the writer know, and it is the one that is promoted.
/// Its address is the API's: the writer's word for it would not be enough.
#[tokio::test]
async fn a_member_that_appeared_later_is_found() -> Result<(), Error> {
    let mut cluster = Cluster::start(Imitation::MultiAz, 1).await;
    table(&cluster).await;
    let aws = Aws::start().await;
    let members = cluster.instances();
    list(&aws, &members);
    let proxy = proxy_by_api(&aws, &cluster).build()?;
    write(&proxy, 1).await?;
    cluster.add_replica(0).await;
    list(&aws, &cluster.instances());
    write(&proxy, 2).await?;
    cluster.fail_over(0, 2).await;
    write(&proxy, 3).await?;
    assert_eq!(place(&proxy).await?, cluster.node(2).port());
    assert_eq!(written(&proxy).await?, [1, 2, 3]);
    Ok(())
}

/// The API's view of these members, the first of which is the writer.
fn list(aws: &Aws, members: &[(String, String, u16)]) {
    let (writer, host, port) = members[0].clone();
    aws.put_cluster(ApiCluster {
        identifier: "shop".to_owned(),
        endpoint: host,
        port,
        writer: Some(writer),
        ..ApiCluster::default()
    });
    for (identifier, host, port) in members.iter().cloned() {
        let cluster = Some("shop".to_owned());
        aws.put_instance(Instance { identifier, endpoint: Some((host, port)), cluster, ..Instance::default() });
    }
}

fn proxy_by_api(aws: &Aws, cluster: &Cluster) -> ProxyBuilder<Db> {
    DbProxy::builder()
        .cluster("shop")
        .user("app")
        .password(APP_PASSWORD)
        .database("app")
        .ca_pem(cluster.ca_pem())
        .aws_config(aws.sdk_config())
}

/// Nothing but the RDS API knows who the members are, and the endpoint goes on to lead to the dead writer.
#[tokio::test]
async fn members_that_only_the_api_knows_are_asked_too() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::Nothing, 1).await;
    table(&cluster).await;
    let aws = Aws::start().await;
    list(&aws, &cluster.instances());
    let proxy = proxy_by_api(&aws, &cluster).build()?;
    write(&proxy, 1).await?;
    cluster.fail_over(0, 1).await;
    write(&proxy, 2).await?;
    assert_eq!(proxy.status().epoch, 1);
    Ok(())
}
