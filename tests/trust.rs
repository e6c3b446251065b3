//! What a server says is a claim: it never decides where a password goes. What only PostgreSQL can be told is in its own
//! `genuine`.

use std::time::Duration;

use lambda_rds::{Error, Event};

use super::failover::{insert, table, write};
use super::stage::*;
use crate::support::Recorder;
use crate::support::fault_proxy::FaultProxy;
use crate::support::until::until;

/// A cluster whose own tables name a stranger: another server, where the account and the password are right, the
/// certificate is valid, and its authority is trusted.
struct Told {
    cluster: Cluster,
    stranger: Server,
    door: FaultProxy,
}

impl Told {
    async fn start(replicas: usize) -> Self {
        let cluster = Cluster::start(Imitation::MultiAz, replicas).await;
        table(&cluster).await;
        let stranger = Server::start(ServerOptions::default()).await;
        let door = FaultProxy::start(([127, 0, 0, 1], stranger.port()).into()).await;
        cluster.node(0).execute(&names_a_member(door.port())).await;
        for replica in 1..=replicas {
            cluster.wait_until_follows(replica, 0).await;
        }
        Self { cluster, stranger, door }
    }

    fn proxy(&self) -> lambda_rds::ProxyBuilder<Db> {
        let authorities = [self.cluster.ca_pem(), self.stranger.ca_pem()].concat();
        proxy_to(self.cluster.node(0))
            .ca_pem(authorities)
            .watch_interval(Duration::from_millis(1))
            .validate_after(Duration::ZERO)
    }
}

#[tokio::test]
async fn whom_a_server_names_gets_no_reader_and_no_password() -> Result<(), Error> {
    let told = Told::start(0).await;
    let seen = Recorder::default();
    let proxy = told.proxy().observer(seen.observer()).build()?;
    let refused = proxy.get_reader().await.unwrap_err();
    assert!(matches!(refused, Error::NoReader { .. }), "{refused:?}");
    for n in 0..5 {
        // Each is a session of its own, and each of them looks.
        write(&proxy, n).await?;
    }
    let refused = proxy.get_reader().await.unwrap_err();
    assert!(matches!(refused, Error::NoReader { .. }), "{refused:?}");
    let named = format!("localhost:{}", told.door.port());
    let ignored = |event: &Event| matches!(event, Event::ClaimIgnored { claim, .. } if claim.contains(&named));
    assert_eq!((told.door.connections(), seen.count(ignored)), (0, 1), "told once, and never dialled");
    Ok(())
}

#[tokio::test]
async fn a_search_for_the_writer_dials_nobody_but_those_who_were_vouched_for() -> Result<(), Error> {
    let told = Told::start(1).await;
    let proxy = told.proxy().instances(told.cluster.instances()).build()?;
    write(&proxy, 1).await?;
    write(&proxy, 2).await?;
    let mut session = proxy.get_connection().await?;
    told.cluster.fail_over(0, 1).await;
    until("the new writer takes a write", async || insert(&mut session, 3).await.is_ok()).await;
    assert_eq!(told.door.connections(), 0);
    let there = proxy.status().writer;
    assert_eq!(there, Some(format!("localhost:{}", told.cluster.node(1).port())));
    Ok(())
}
