//! The RDS API: clusters, instances, and what `DescribeDBClusters` and `DescribeDBInstances` tell about them.

use hyper::StatusCode;

use super::{
    ACCOUNT, Answer, REGION, ServiceError,
    query::{Call, Xml},
};

/// A DB cluster as the API describes it. Its members are the instances that name it.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `DBClusterIdentifier`.
    pub identifier: String,
    /// `Status`: `available`, `failing-over`, `modifying`, ...
    pub status: String,
    /// `Endpoint`, the host name of the writer.
    pub endpoint: String,
    /// `ReaderEndpoint`.
    pub reader_endpoint: Option<String>,
    /// `Port`.
    pub port: u16,
    /// `Engine`: `aurora-postgresql`, `aurora-mysql`, or `postgres` and `mysql` for a Multi-AZ DB cluster.
    pub engine: String,
    /// `EngineVersion`.
    pub engine_version: String,
    /// `DatabaseName`.
    pub database_name: Option<String>,
    /// `MasterUsername`.
    pub master_username: String,
    /// `MasterUserSecret.SecretArn`, when RDS manages the password.
    pub master_user_secret: Option<String>,
    /// `IAMDatabaseAuthenticationEnabled`.
    pub iam_authentication: bool,
    /// The instance with `IsClusterWriter`; nobody while a failover is under way.
    pub writer: Option<String>,
}

impl Default for Cluster {
    /// An available Aurora PostgreSQL cluster called `stage`, reader and writer on 127.0.0.1, no writer known.
    fn default() -> Self {
        Self {
            identifier: "stage".to_owned(),
            status: "available".to_owned(),
            endpoint: "127.0.0.1".to_owned(),
            reader_endpoint: Some("127.0.0.1".to_owned()),
            port: 5432,
            engine: "aurora-postgresql".to_owned(),
            engine_version: "16.6".to_owned(),
            database_name: Some("app".to_owned()),
            master_username: "postgres".to_owned(),
            master_user_secret: None,
            iam_authentication: false,
            writer: None,
        }
    }
}

impl Cluster {
    /// The cluster's ARN, which the API takes in place of the identifier.
    pub fn arn(&self) -> String {
        format!("arn:aws:rds:{REGION}:{ACCOUNT}:cluster:{}", self.identifier)
    }

    fn is_called(&self, id: &str) -> bool {
        self.identifier == id || self.arn() == id
    }

    fn describe<'i>(&self, xml: &mut Xml, members: impl Iterator<Item = &'i Instance>) {
        xml.group("DBCluster", |xml| {
            xml.leaf("DBClusterIdentifier", &self.identifier);
            xml.leaf("DBClusterArn", self.arn());
            xml.leaf("DbClusterResourceId", resource_id("cluster", &self.identifier));
            xml.leaf("Status", &self.status);
            xml.leaf("Endpoint", &self.endpoint);
            xml.option("ReaderEndpoint", self.reader_endpoint.as_ref());
            xml.leaf("Port", self.port.to_string());
            xml.leaf("Engine", &self.engine);
            xml.leaf("EngineMode", "provisioned");
            xml.leaf("EngineVersion", &self.engine_version);
            xml.leaf("MultiAZ", "true");
            xml.leaf("HostedZoneId", "Z1RLNUO7B9Q6NB");
            xml.option("DatabaseName", self.database_name.as_ref());
            xml.leaf("MasterUsername", &self.master_username);
            xml.leaf("IAMDatabaseAuthenticationEnabled", self.iam_authentication.to_string());
            self.describe_master_user_secret(xml);
            xml.group("DBClusterMembers", |xml| {
                for member in members {
                    member.describe_membership(xml, self.writer.as_deref());
                }
            });
        });
    }

    fn describe_master_user_secret(&self, xml: &mut Xml) {
        let Some(secret) = &self.master_user_secret else {
            return;
        };
        xml.group("MasterUserSecret", |xml| {
            xml.leaf("SecretArn", secret);
            xml.leaf("SecretStatus", "active");
            xml.leaf("KmsKeyId", format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/stage"));
        });
    }
}

/// A DB instance as the API describes it.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `DBInstanceIdentifier`.
    pub identifier: String,
    /// `DBClusterIdentifier`; an instance of its own has none.
    pub cluster: Option<String>,
    /// `DBInstanceStatus`: `available`, `creating`, `rebooting`, ...
    pub status: String,
    /// `Endpoint`, address and port; missing while the instance is being created.
    pub endpoint: Option<(String, u16)>,
    /// `Engine`.
    pub engine: String,
    /// `EngineVersion`.
    pub engine_version: String,
    /// `AvailabilityZone`.
    pub availability_zone: String,
    /// `PromotionTier`: the lowest is promoted first.
    pub promotion_tier: u8,
}

impl Default for Instance {
    /// An available Aurora PostgreSQL instance called `stage-1` in cluster `stage`, on 127.0.0.1:5432.
    fn default() -> Self {
        Self {
            identifier: "stage-1".to_owned(),
            cluster: Some("stage".to_owned()),
            status: "available".to_owned(),
            endpoint: Some(("127.0.0.1".to_owned(), 5432)),
            engine: "aurora-postgresql".to_owned(),
            engine_version: "16.6".to_owned(),
            availability_zone: format!("{REGION}a"),
            promotion_tier: 1,
        }
    }
}

impl Instance {
    /// The instance's ARN, which the API takes in place of the identifier.
    pub fn arn(&self) -> String {
        format!("arn:aws:rds:{REGION}:{ACCOUNT}:db:{}", self.identifier)
    }

    fn is_called(&self, id: &str) -> bool {
        self.identifier == id || self.arn() == id
    }

    fn is_member_of(&self, cluster: &str) -> bool {
        self.cluster.as_deref() == Some(cluster)
    }

    fn describe(&self, xml: &mut Xml) {
        xml.group("DBInstance", |xml| {
            xml.leaf("DBInstanceIdentifier", &self.identifier);
            xml.leaf("DBInstanceArn", self.arn());
            xml.leaf("DbiResourceId", resource_id("db", &self.identifier));
            xml.leaf("DBInstanceStatus", &self.status);
            xml.option("DBClusterIdentifier", self.cluster.as_ref());
            if let Some((address, port)) = &self.endpoint {
                xml.group("Endpoint", |xml| {
                    xml.leaf("Address", address);
                    xml.leaf("Port", port.to_string());
                    xml.leaf("HostedZoneId", "Z1RLNUO7B9Q6NB");
                });
            }
            xml.leaf("Engine", &self.engine);
            xml.leaf("EngineVersion", &self.engine_version);
            xml.leaf("AvailabilityZone", &self.availability_zone);
            xml.leaf("MultiAZ", "false");
            xml.leaf("PromotionTier", self.promotion_tier.to_string());
            xml.leaf("CACertificateIdentifier", "rds-ca-rsa2048-g1");
        });
    }

    /// Members come without an address: that is what `DescribeDBInstances` is for.
    fn describe_membership(&self, xml: &mut Xml, writer: Option<&str>) {
        let is_writer = writer == Some(self.identifier.as_str());
        xml.group("DBClusterMember", |xml| {
            xml.leaf("DBInstanceIdentifier", &self.identifier);
            xml.leaf("IsClusterWriter", is_writer.to_string());
            xml.leaf("DBClusterParameterGroupStatus", "in-sync");
            xml.leaf("PromotionTier", self.promotion_tier.to_string());
        });
    }
}

/// Lists rather than maps: the API's answers keep the order in which things were created.
#[derive(Debug, Default)]
pub(super) struct Store {
    clusters: Vec<Cluster>,
    instances: Vec<Instance>,
}

impl Store {
    pub(super) fn put_cluster(&mut self, cluster: Cluster) {
        match self.clusters.iter_mut().find(|c| c.is_called(&cluster.identifier)) {
            Some(existing) => *existing = cluster,
            None => self.clusters.push(cluster),
        }
    }

    pub(super) fn put_instance(&mut self, instance: Instance) {
        match self.instances.iter_mut().find(|i| i.is_called(&instance.identifier)) {
            Some(existing) => *existing = instance,
            None => self.instances.push(instance),
        }
    }

    pub(super) fn remove_instance(&mut self, id: &str) {
        self.instances.retain(|instance| !instance.is_called(id));
    }

    pub(super) fn set_writer(&mut self, cluster: &str, instance: &str) {
        let cluster = self.clusters.iter_mut().find(|c| c.is_called(cluster));
        cluster.expect("no such cluster: call `put_cluster` first").writer = Some(instance.to_owned());
    }

    pub(super) fn answer(&self, call: &Call) -> Result<Answer, ServiceError> {
        match call.action.as_str() {
            "DescribeDBClusters" => self.describe_clusters(call),
            "DescribeDBInstances" => self.describe_instances(call),
            action => {
                let message = format!("The action {action} is not valid for this endpoint.");
                Err(ServiceError::new(StatusCode::BAD_REQUEST, "InvalidAction", message))
            }
        }
    }

    fn describe_clusters(&self, call: &Call) -> Result<Answer, ServiceError> {
        let named = call.parameter("DBClusterIdentifier");
        let filtered = call.filter("db-cluster-id");
        let found = select(&self.clusters, Cluster::is_called, named, &filtered);
        if let (Some(id), true) = (named, found.is_empty()) {
            return Err(not_found("DBClusterNotFoundFault", format!("DBCluster {id} not found.")));
        }
        Ok(call.response(|xml| {
            xml.group("DBClusters", |xml| {
                for cluster in found {
                    let id = cluster.identifier.as_str();
                    cluster.describe(xml, self.instances.iter().filter(|i| i.is_member_of(id)));
                }
            });
        }))
    }

    fn describe_instances(&self, call: &Call) -> Result<Answer, ServiceError> {
        let named = call.parameter("DBInstanceIdentifier");
        let in_cluster = |instance: &Instance, id: &str| {
            self.clusters.iter().any(|cluster| cluster.is_called(id) && instance.is_member_of(&cluster.identifier))
        };
        let mut found = select(&self.instances, Instance::is_called, named, &call.filter("db-instance-id"));
        let clusters = call.filter("db-cluster-id");
        found.retain(|i| clusters.is_empty() || clusters.iter().any(|id| in_cluster(i, id)));
        if let (Some(id), true) = (named, found.is_empty()) {
            return Err(not_found("DBInstanceNotFound", format!("DBInstance {id} not found.")));
        }
        Ok(call.response(|xml| {
            xml.group("DBInstances", |xml| {
                for instance in found {
                    instance.describe(xml);
                }
            });
        }))
    }
}

/// The items called `named` (everything without a name) that some value of the filter also names (an absent filter
/// lets everything pass).
fn select<'s, T>(
    items: &'s [T],
    is_called: impl Fn(&T, &str) -> bool,
    named: Option<&str>,
    filter: &[&str],
) -> Vec<&'s T> {
    items
        .iter()
        .filter(|item| named.is_none_or(|id| is_called(item, id)))
        .filter(|item| filter.is_empty() || filter.iter().any(|id| is_called(item, id)))
        .collect()
}

fn not_found(code: &'static str, message: String) -> ServiceError {
    ServiceError::new(StatusCode::NOT_FOUND, code, message)
}

/// The immutable id of a resource; real ones are random, these only have to differ.
fn resource_id(kind: &str, identifier: &str) -> String {
    format!("{kind}-{}", identifier.to_uppercase())
}
