//! The RDS API as a source: who the members are, who among them is the writer, in which order they are promoted.
//!
//! Never on the critical path. Two calls at the most: `DescribeDBClusters` names the members, `DescribeDBInstances` has
//! their addresses and is left out while all of them are known.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_rds::Client;
use aws_sdk_rds::config::retry::RetryConfig;
use aws_sdk_rds::error::SdkError;
use aws_sdk_rds::types::{DbCluster, DbInstance, Filter};
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use super::member::Address;
use super::rds_api::{place, problem_of};
use super::trust::is_identifier;
use super::view::{Listed, View};
use crate::aws::Aws;
use crate::deadline::Deadline;
use crate::engine::Flavour;
use crate::error::EndpointProblem;

/// Why a look came to nothing.
#[derive(Debug)]
pub(crate) struct Blind {
    pub(crate) problem: EndpointProblem,
    pub(crate) error: String,
}

#[derive(Debug)]
pub(crate) struct Watch {
    cluster: String,
    aws: Aws,
    client: OnceCell<Client>,
    /// Addresses are not for this role; identifiers and the writer's mark still are.
    no_addresses: AtomicBool,
}

impl Watch {
    pub(crate) fn new(cluster: String, aws: Aws) -> Self {
        Self { cluster, aws, client: OnceCell::new(), no_addresses: AtomicBool::new(false) }
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Looks once. `is_known` says whether a member's address is.
    pub(crate) async fn look(&self, is_known: impl Fn(&str) -> bool, deadline: Deadline) -> Result<View, Blind> {
        let looked = timeout_at(deadline.instant(), async {
            let client = self.client().await;
            let answer = client.describe_db_clusters().db_cluster_identifier(&self.cluster).send().await;
            let answer = answer.map_err(blind)?;
            let Some(cluster) = answer.db_clusters().first() else {
                return Err(Blind { problem: EndpointProblem::NotFound, error: "no such cluster".to_owned() });
            };
            let mut view = read(cluster);
            if view.members.iter().any(|listed| !is_known(&listed.id)) && !self.no_addresses.load(Ordering::Relaxed) {
                let filter = Filter::builder().name("db-cluster-id").values(&self.cluster).build();
                match client.describe_db_instances().filters(filter).send().await.map_err(blind) {
                    Ok(answer) => add_addresses(&mut view, answer.db_instances()),
                    Err(Blind { problem: EndpointProblem::Denied, .. }) => {
                        // Names imply the addresses of most clusters.
                        self.no_addresses.store(true, Ordering::Relaxed);
                    }
                    Err(blind) => return Err(blind),
                }
            }
            Ok(view)
        });
        looked.await.unwrap_or_else(|_| {
            Err(Blind { problem: EndpointProblem::NoAnswer, error: "no answer in time".to_owned() })
        })
    }

    async fn client(&self) -> &Client {
        self.client
            .get_or_init(async || {
                // A repetition would be one more call out of everybody's budget; the next turn is the repetition.
                let config = aws_sdk_rds::config::Builder::from(self.aws.config().await);
                Client::from_conf(config.retry_config(RetryConfig::disabled()).build())
            })
            .await
    }
}

fn blind<E, R>(error: SdkError<E, R>) -> Blind
where
    E: aws_sdk_rds::error::ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    Blind { problem: problem_of(&error), error: crate::error::chain(&error) }
}

fn read(cluster: &DbCluster) -> View {
    let address = |host| address(host, cluster.port());
    let members = cluster.db_cluster_members().iter().filter_map(|member| {
        // A part of a host's name, where the members' hosts are called by a pattern.
        let id = member.db_instance_identifier().filter(|id| is_identifier(id))?;
        Some(Listed {
            id: id.to_ascii_lowercase(),
            address: None,
            writer: member.is_cluster_writer().unwrap_or(false),
            tier: member.promotion_tier().and_then(|tier| u8::try_from(tier).ok()),
        })
    });
    View {
        flavour: match cluster.engine() {
            Some(engine) if engine.starts_with("aurora") => Flavour::Aurora,
            Some("postgres" | "mysql") => Flavour::MultiAzCluster,
            _ => Flavour::Unknown,
        },
        status: cluster.status().map(str::to_owned),
        endpoint: address(cluster.endpoint()),
        reader_endpoint: address(cluster.reader_endpoint()),
        members: members.collect(),
    }
}

/// Missing while an instance is created, and where it is none.
fn address(host: Option<&str>, port: Option<i32>) -> Option<Address> {
    let place = place(host, port).ok()??;
    Some(Address::new(place.host?, place.port?))
}

fn add_addresses(view: &mut View, instances: &[DbInstance]) {
    let address = |one: &DbInstance| one.endpoint().and_then(|endpoint| address(endpoint.address(), endpoint.port()));
    let known = |one: &DbInstance| Some((one.db_instance_identifier()?.to_ascii_lowercase(), address(one)?));
    // From the last to the first: of two with one name the first counts.
    let places: HashMap<String, Address> = instances.iter().rev().filter_map(known).collect();
    for listed in &mut view.members {
        listed.address = places.get(&listed.id).cloned();
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_rds::types::{DbClusterMember, Endpoint};

    use super::*;

    #[test]
    fn what_can_be_no_member_and_no_address_is_not_kept() {
        let member = |id: &str| DbClusterMember::builder().db_instance_identifier(id).build();
        let cluster = |host: &str, port| DbCluster::builder().endpoint(host).port(port);
        let ids = ["Shop-1", "a/b", "evil.example", "", "shop\n2"];
        let view = read(&cluster("db", 5432).set_db_cluster_members(Some(ids.map(member).into())).build());
        assert_eq!(view.members.iter().map(|listed| listed.id.as_str()).collect::<Vec<_>>(), ["shop-1"]);
        assert_eq!(view.endpoint, Some(Address::new("db", 5432)));
        for (host, port) in [("", 5432), ("a/b", 5432), ("db", 0), ("db", 70_000)] {
            assert_eq!(read(&cluster(host, port).build()).endpoint, None, "{host}:{port}");
        }
    }

    /// Compared each with each, these are four hundred million comparisons.
    #[test]
    fn an_answer_of_any_length_is_read_in_its_own_time() {
        const MANY: u16 = 20_000;
        let name = |n| format!("{}{n}", "a".repeat(50));
        let listed = |n| Listed { id: name(n), address: None, writer: false, tier: None };
        let mut view = View { members: (0..MANY).map(listed).collect(), ..View::default() };
        let instances: Vec<_> = (1..MANY)
            .rev()
            .map(|n| {
                let endpoint = Endpoint::builder().address(format!("host{n}")).port(i32::from(n)).build();
                DbInstance::builder().db_instance_identifier(name(n).to_ascii_uppercase()).endpoint(endpoint).build()
            })
            .collect();
        add_addresses(&mut view, &instances);
        assert_eq!(view.members[0].address, None);
        for n in 1..MANY {
            assert_eq!(view.members[usize::from(n)].address, Some(Address::new(format!("host{n}"), n)));
        }
    }
}
