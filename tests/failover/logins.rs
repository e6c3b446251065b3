//! What a failover asks of the credentials.

use serde_json::json;

use super::*;
use crate::support::aws::Aws;

const SECRET: &str = "prod/shop/db";

fn with_secret(cluster: &Cluster, aws: &Aws) -> ProxyBuilder<Db> {
    let server = cluster.node(0);
    let place = Proxy::builder().host(server.host()).port(server.port()).database("app").ca_pem(server.ca_pem());
    place.secret(SECRET).aws_config(aws.sdk_config()).instances(cluster.instances())
}

fn secret_of(cluster: &Cluster, password: &str) -> serde_json::Value {
    let server = cluster.node(0);
    json!({"engine": FAMILY, "host": server.host(), "port": server.port(), "username": "app", "password": password})
}

/// Cases 19 and 42: one secret serves all members, though it names only one of them, and is not fetched anew.
#[tokio::test]
async fn a_secret_is_good_for_the_new_writer() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let aws = Aws::start().await;
    aws.secret(SECRET).put(secret_of(&cluster, APP_PASSWORD));
    let proxy = with_secret(&cluster, &aws).build()?;
    write(&proxy, 1).await?;
    cluster.fail_over(0, 1).await;
    write(&proxy, 2).await?;
    assert_eq!(place(&proxy).await?, cluster.node(1).port());
    assert_eq!(aws.secrets_read().len(), 1, "{:?}", aws.secrets_read());
    Ok(())
}

/// Cases 19, 42 and 56: rotated while the connections were up, so that the failover is the first to notice.
#[tokio::test]
async fn a_secret_that_was_rotated_before_is_fetched_once_by_the_search() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let aws = Aws::start().await;
    aws.secret(SECRET).put(secret_of(&cluster, APP_PASSWORD));
    let proxy = with_secret(&cluster, &aws).max_connections(8).build()?;
    write(&proxy, 1).await?;
    cluster.node(0).set_password("app", "app-secret-2").await;
    cluster.wait_until_follows(1, 0).await;
    aws.secret(SECRET).rotate(secret_of(&cluster, "app-secret-2"));
    let writes = (2..=9).map(|n| {
        let (proxy, cluster) = (proxy.clone(), &cluster);
        async move {
            is_dead(cluster, 0).await;
            write(&proxy, n).await
        }
    });
    let (_, done) = tokio::join!(cluster.fail_over(0, 1), futures_util::future::join_all(writes));
    done.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(written(&proxy).await?, (1..=9).collect::<Vec<_>>());
    println!("{:?}", aws.secrets_read());
    assert!(aws.secrets_read().len() <= 3, "{:?}", aws.secrets_read());
    Ok(())
}

/// Case 56: what the provider had kept is refused by the new writer, as a token is whose time is over.
#[tokio::test]
async fn a_token_that_expired_meanwhile_is_replaced() -> Result<(), Error> {
    use lambda_rds::credentials::{CredentialsFuture, CredentialsProvider, CredentialsRequest};

    /// Keeps the first password for ever, unless it is told that it was refused.
    #[derive(Debug)]
    struct Stale;
    impl CredentialsProvider for Stale {
        fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
            let password = if request.refused.is_empty() { APP_PASSWORD } else { "app-secret-2" };
            Box::pin(async move { Ok(lambda_rds::Credentials::new("app", password)) })
        }
    }

    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let server = cluster.node(0);
    let place = Proxy::<Db>::builder().host(server.host()).port(server.port()).database("app");
    let proxy = place.credentials(Stale).ca_pem(server.ca_pem()).instances(cluster.instances()).build()?;
    write(&proxy, 1).await?;
    server.set_password("app", "app-secret-2").await;
    cluster.wait_until_follows(1, 0).await;
    let (_, done) = tokio::join!(cluster.fail_over(0, 1), async {
        is_dead(&cluster, 0).await;
        write(&proxy, 2).await
    });
    done?;
    assert_eq!(written(&proxy).await?, [1, 2]);
    Ok(())
}
