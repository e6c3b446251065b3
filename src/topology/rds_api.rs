//! The endpoint of a cluster or an instance that is known by its identifier only, from the RDS API.
//!
//! One call in the life of an environment: the API is shared by a whole account at 12 calls a second
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-api-throttling.html>), and an endpoint does not change.

use std::time::Duration;

use aws_sdk_rds::Client;
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use super::Place;
use crate::aws::Aws;
use crate::credentials::Cause;
use crate::error::{EndpointProblem, Error};
use crate::retry::Deadline;

/// What is looked up.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    Cluster(String),
    Instance(String),
}

#[derive(Debug)]
pub(crate) struct Lookup {
    subject: Subject,
    aws: Aws,
    budget: Duration,
    /// Filled by the first lookup that succeeds; concurrent ones wait for it.
    place: OnceCell<Place>,
}

impl Lookup {
    pub(crate) fn cluster(id: String, aws: Aws, budget: Duration) -> Self {
        Self { subject: Subject::Cluster(id), aws, budget, place: OnceCell::new() }
    }

    pub(crate) fn instance(id: String, aws: Aws, budget: Duration) -> Self {
        Self { subject: Subject::Instance(id), aws, budget, place: OnceCell::new() }
    }

    pub(super) async fn resolve(&self, deadline: Deadline) -> Result<Place, Error> {
        self.place.get_or_try_init(|| self.ask(deadline.within(self.budget))).await.cloned()
    }

    async fn ask(&self, deadline: Deadline) -> Result<Place, Error> {
        let asked = timeout_at(deadline.instant(), async {
            let client = Client::new(self.aws.config().await);
            match &self.subject {
                Subject::Cluster(id) => {
                    let answer = client.describe_db_clusters().db_cluster_identifier(id).send().await;
                    let answer =
                        answer.map_err(|error| self.failed(deadline, problem_of(&error), Some(error.into())))?;
                    let cluster = answer.db_clusters().first();
                    Ok(cluster.and_then(|cluster| place(cluster.endpoint(), cluster.port())))
                }
                Subject::Instance(id) => {
                    let answer = client.describe_db_instances().db_instance_identifier(id).send().await;
                    let answer =
                        answer.map_err(|error| self.failed(deadline, problem_of(&error), Some(error.into())))?;
                    let endpoint = answer.db_instances().first().and_then(|instance| instance.endpoint());
                    Ok(endpoint.and_then(|endpoint| place(endpoint.address(), endpoint.port())))
                }
            }
        });
        match asked.await {
            Ok(Ok(Some(place))) => Ok(place),
            // An instance that is being created has no address yet.
            Ok(Ok(None)) => Err(self.failed(deadline, EndpointProblem::NoEndpointYet, None)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.failed(deadline, EndpointProblem::NoAnswer, None)),
        }
    }

    fn failed(&self, deadline: Deadline, problem: EndpointProblem, source: Option<Cause>) -> Error {
        let (subject, action) = match &self.subject {
            Subject::Cluster(id) => (format!("cluster {id}"), "rds:DescribeDBClusters"),
            Subject::Instance(id) => (format!("instance {id}"), "rds:DescribeDBInstances"),
        };
        Error::Endpoint { subject, problem, action, elapsed: deadline.spent(), source }
    }
}

pub(super) fn problem_of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> EndpointProblem {
    match error {
        SdkError::TimeoutError(_) => return EndpointProblem::NoAnswer,
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
            return EndpointProblem::NoAnswer;
        }
        _ => {}
    }
    match error.code().unwrap_or_default() {
        "DBClusterNotFoundFault" | "DBInstanceNotFound" => EndpointProblem::NotFound,
        "AccessDenied" | "AccessDeniedException" => EndpointProblem::Denied,
        code if code.starts_with("Throttling") => EndpointProblem::Throttled,
        _ => EndpointProblem::Failed,
    }
}

fn place(host: Option<&str>, port: Option<i32>) -> Option<Place> {
    Some(Place { host: Some(host?.to_owned()), port: port.and_then(|port| u16::try_from(port).ok()) })
}
