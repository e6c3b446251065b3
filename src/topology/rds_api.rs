//! The endpoint of a cluster or an instance that is known by its identifier only, from the RDS API.
//!
//! One call in the life of an environment: the API is shared by a whole account at 12 calls a second
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-api-throttling.html>), and an endpoint does not change.
//! One that fails is remembered, so that a fleet whose role may not ask leaves those calls to others.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_rds::Client;
use aws_sdk_rds::config::Builder;
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use super::Place;
use crate::aws::{Aws, few_attempts};
use crate::clock::Clock;
use crate::config::is_host;
use crate::deadline::Deadline;
use crate::error::{Cause, EndpointProblem, Error, chain};
use crate::random;
use crate::remembered_failure::{Failure, Kind};

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
    clock: Clock,
    failure: Mutex<Option<Failure<Failed>>>,
}

/// How the last lookup failed, and after how long.
type Failed = (EndpointProblem, Duration);

impl Lookup {
    pub(crate) fn new(subject: Subject, aws: Aws, budget: Duration, clock: Clock) -> Self {
        Self { subject, aws, budget, place: OnceCell::new(), clock, failure: Mutex::default() }
    }

    pub(super) async fn resolve(&self, deadline: Deadline) -> Result<Place, Error> {
        let asked = self.place.get_or_try_init(async || {
            // Those who waited for a lookup that failed do not ask one after the other.
            if let Some(error) = self.remembered() {
                return Err(error);
            }
            let asked = self.ask(deadline.within(self.budget)).await;
            self.note(asked.as_ref().err());
            asked
        });
        asked.await.cloned()
    }

    /// The last failure, while nobody is to ask again.
    fn remembered(&self) -> Option<Error> {
        let failure = self.failure().clone()?;
        let remembered = failure.recall(self.clock.now())?;
        let (problem, elapsed) = failure.told;
        Some(self.failed(elapsed, problem, Some(Box::new(remembered))))
    }

    fn note(&self, error: Option<&Error>) {
        let Some(Error::Endpoint { problem, elapsed, source, .. }) = error else { return };
        let kind = match problem {
            EndpointProblem::NotFound
            | EndpointProblem::Denied
            | EndpointProblem::Failed
            | EndpointProblem::NoEndpointYet => Kind::Lasting,
            EndpointProblem::Throttled => Kind::Crowded(random::generator().f64()),
            // Silence has taken its time already.
            EndpointProblem::NoAnswer => return,
        };
        let mut last = self.failure();
        let cause = source.as_ref().map(|cause| chain(&**cause)).unwrap_or_default();
        *last = Some(Failure::after(last.take(), self.clock.now(), kind, (*problem, *elapsed), cause));
    }

    fn failure(&self) -> MutexGuard<'_, Option<Failure<Failed>>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, deadline: Deadline) -> Result<Place, Error> {
        let asked = timeout_at(deadline.instant(), async {
            let config = self.aws.config().await;
            let retry = few_attempts(config);
            let client = Client::from_conf(Builder::from(config).retry_config(retry).build());
            let told = match &self.subject {
                Subject::Cluster(id) => {
                    let answer = client.describe_db_clusters().db_cluster_identifier(id).send().await;
                    let answer = answer
                        .map_err(|error| self.failed(deadline.spent(), problem_of(&error), Some(error.into())))?;
                    let cluster = answer.db_clusters().first();
                    cluster.map_or(Ok(None), |cluster| place(cluster.endpoint(), cluster.port()))
                }
                Subject::Instance(id) => {
                    let answer = client.describe_db_instances().db_instance_identifier(id).send().await;
                    let answer = answer
                        .map_err(|error| self.failed(deadline.spent(), problem_of(&error), Some(error.into())))?;
                    let endpoint = answer.db_instances().first().and_then(|instance| instance.endpoint());
                    endpoint.map_or(Ok(None), |endpoint| place(endpoint.address(), endpoint.port()))
                }
            };
            told.map_err(|unfit| self.failed(deadline.spent(), EndpointProblem::Failed, Some(unfit.into())))
        });
        match asked.await {
            Ok(Ok(Some(place))) => Ok(place),
            // An instance that is being created has no address yet.
            Ok(Ok(None)) => Err(self.failed(deadline.spent(), EndpointProblem::NoEndpointYet, None)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.failed(deadline.spent(), EndpointProblem::NoAnswer, None)),
        }
    }

    fn failed(&self, elapsed: Duration, problem: EndpointProblem, source: Option<Cause>) -> Error {
        let (subject, action) = match &self.subject {
            Subject::Cluster(id) => (format!("cluster {id}"), "rds:DescribeDBClusters"),
            Subject::Instance(id) => (format!("instance {id}"), "rds:DescribeDBInstances"),
        };
        Error::Endpoint { subject, problem, action, elapsed, source }
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

/// Where the API says that something is. What it says is kept for an environment's life, so that what cannot be dialled is none,
/// and asked for again.
pub(super) fn place(host: Option<&str>, port: Option<i32>) -> Result<Option<Place>, &'static str> {
    let Some(host) = host.map(str::trim).filter(|host| !host.is_empty()) else { return Ok(None) };
    if !is_host(host) {
        return Err("the API's answer has an endpoint that is no host's name");
    }
    let port = match port.map(u16::try_from) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err("the API's answer has a port that is none"),
    };
    Ok(Some(Place { host: Some(host.to_owned()), port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_dialled_is_no_place() {
        let told = |host, port| place(host, port).map(|place| place.map(|Place { host, port }| (host.unwrap(), port)));
        let at = |host: &str, port| Ok(Some((host.to_owned(), port)));
        assert_eq!(told(Some("db.example.com"), Some(5432)), at("db.example.com", Some(5432)));
        assert_eq!(told(Some(" db \n"), None), at("db", None));
        for nothing in [None, Some(""), Some(" \n")] {
            assert_eq!(told(nothing, Some(5432)), Ok(None), "{nothing:?}");
        }
        let endless = "a".repeat(1 << 20);
        for unfit in ["/tmp", "a,b", "postgres://u:p@host", "host\u{7}", &endless] {
            assert!(told(Some(unfit), Some(5432)).is_err(), "{unfit:.20}");
        }
        for unfit in [0, -1, 65_536, 70_000, i32::MAX, i32::MIN] {
            assert!(told(Some("db"), Some(unfit)).is_err(), "{unfit}");
        }
    }
}
