//! A stand-in for AWS: Secrets Manager and the RDS API on one loopback port.
//!
//! It speaks the real wire formats, JSON 1.1 and Query/XML, so the unchanged SDK clients reach it through
//! `AWS_ENDPOINT_URL`. Everything it knows is scripted by the test. It keeps a log of what was asked, and it can
//! throttle, fail, dawdle or say nothing at all. Signatures are not checked; only their credential scope is read.

mod query;
mod rds;
mod secrets;

use std::{
    collections::{HashMap, VecDeque},
    future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use hyper::{
    Request as HttpRequest, StatusCode,
    body::{Bytes, Incoming},
};

use super::http::{Reply, Server, header, lock, reply, whole_body};

pub use rds::{Cluster, Instance};
pub use secrets::Secret;

/// The Region the stand-in pretends to be in.
pub const REGION: &str = "eu-central-1";

/// The account that owns every ARN of the stand-in.
pub const ACCOUNT: &str = "123456789012";

/// The key that requests are signed with; the stand-in does not look.
pub const SECRET_KEY: &str = "stand-in-secret-key";

/// The stand-in. It starts empty and ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct Aws {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Aws {
    /// Starts a stand-in that knows no secret, no cluster and no instance.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let handler_state = Arc::clone(&state);
        let server = Server::start(move |request| handle(Arc::clone(&handler_state), request)).await;
        Self { server, state }
    }

    /// The endpoint of every service.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// What a process needs in its environment to talk to the stand-in and never to the real AWS.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.url().as_str()),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "AKIDSTANDIN"),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// The same for a proxy that is built in code.
    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(&self.url())
    }

    /// The secret called `name`, which need not exist yet.
    pub fn secret(&self, name: &str) -> Secret<'_> {
        Secret::new(&self.state, name)
    }

    /// Creates `cluster`, or replaces the one of the same identifier.
    pub fn put_cluster(&self, cluster: Cluster) {
        lock(&self.state).rds.put_cluster(cluster);
    }

    /// Creates `instance`, or replaces the one of the same identifier.
    pub fn put_instance(&self, instance: Instance) {
        lock(&self.state).rds.put_instance(instance);
    }

    /// Forgets an instance, and with it the membership in its cluster.
    pub fn remove_instance(&self, instance: &str) {
        lock(&self.state).rds.remove_instance(instance);
    }

    /// Makes the API name `instance` as the writer of `cluster`.
    ///
    /// # Panics
    ///
    /// When there is no such cluster: a failover nobody can see is a mistake in the test.
    pub fn set_writer(&self, cluster: &str, instance: &str) {
        lock(&self.state).rds.set_writer(cluster, instance);
    }

    /// Makes `service` behave like `fault` until told otherwise.
    pub fn fault(&self, service: Service, fault: Fault) {
        lock(&self.state).faults.entry(service).or_default().standing = fault;
    }

    /// Makes the next `times` requests to `service` meet `fault`, before whatever [`Aws::fault`] has set.
    pub fn fault_next(&self, service: Service, fault: Fault, times: usize) {
        let mut state = lock(&self.state);
        let plan = state.faults.entry(service).or_default();
        plan.next.extend(std::iter::repeat_n(fault, times));
    }

    /// Every request so far, faulty ones included, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state).log.clone()
    }

    /// The secrets and stages asked for so far, such as `prod/db AWSCURRENT`.
    pub fn secrets_read(&self) -> Vec<String> {
        let log = self.requests().into_iter();
        log.filter(|request| request.action == "GetSecretValue").map(|request| request.detail).collect()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        lock(&self.state).log.clear();
    }
}

/// An SDK configuration whose services are all at `url`, and which takes nothing from the environment. It retries as
/// often as the SDK does by default, after shorter pauses.
pub fn sdk_config(url: &str) -> SdkConfig {
    let credentials = Credentials::new("AKIDSTANDIN", SECRET_KEY, None, None, "stage");
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(10)))
        .http_client(http)
        .build()
}

/// A service of the stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Secrets Manager, JSON 1.1.
    SecretsManager,
    /// The RDS API, Query/XML.
    Rds,
}

/// How a service misbehaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// The right answer, late.
    Delay(Duration),
    /// "Rate exceeded", which the SDK retries.
    Throttle,
    /// An internal error, which the SDK retries.
    InternalError,
    /// The caller's role lacks the permission.
    AccessDenied,
    /// The connection is accepted and stays silent, like a private subnet without an endpoint behind a dropped flow.
    NoAnswer,
}

/// One request the stand-in has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it had arrived in full.
    pub at: Instant,
    /// The service it was for.
    pub service: Service,
    /// The operation, such as `GetSecretValue`.
    pub action: String,
    /// What it asked for: the secret's id and stage (`prod/db AWSCURRENT`), or the cluster or instance.
    pub detail: String,
}

#[derive(Debug, Default)]
struct State {
    secrets: secrets::Store,
    rds: rds::Store,
    faults: HashMap<Service, FaultPlan>,
    log: Vec<Request>,
}

impl State {
    /// Writes `call` into the log and says which fault it meets.
    fn admit(&mut self, call: &Call) -> Fault {
        self.log.push(Request {
            at: Instant::now(),
            service: call.service(),
            action: call.action().to_owned(),
            detail: call.detail(),
        });
        let plan = self.faults.entry(call.service()).or_default();
        plan.next.pop_front().unwrap_or(plan.standing)
    }

    fn answer(&self, call: &Call) -> Result<Answer, ServiceError> {
        match call {
            Call::Secrets(call) => self.secrets.answer(call),
            Call::Rds(call) => self.rds.answer(call),
        }
    }
}

#[derive(Debug, Default)]
struct FaultPlan {
    standing: Fault,
    next: VecDeque<Fault>,
}

/// A request as its service understands it.
enum Call {
    Secrets(secrets::Call),
    Rds(query::Call),
}

impl Call {
    /// The service is named by the signature's scope; an unsigned request is told by its protocol.
    fn parse(request: &HttpRequest<()>, body: &[u8]) -> Self {
        let scope = header(request, "authorization").split('/').nth(3);
        let target = header(request, "x-amz-target");
        if scope == Some("secretsmanager") || target.starts_with("secretsmanager.") {
            return Self::Secrets(secrets::Call::parse(target, body));
        }
        Self::Rds(query::Call::parse(body))
    }

    fn service(&self) -> Service {
        match self {
            Self::Secrets(_) => Service::SecretsManager,
            Self::Rds(_) => Service::Rds,
        }
    }

    fn action(&self) -> &str {
        match self {
            Self::Secrets(call) => &call.action,
            Self::Rds(call) => &call.action,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Secrets(call) => call.detail(),
            Self::Rds(call) => call.detail(),
        }
    }
}

/// A body in the service's own format.
struct Answer(String);

/// A refusal with the code and the status AWS gives it.
#[derive(Debug, PartialEq, Eq)]
struct ServiceError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ServiceError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The same trouble has another code in each service.
    fn throttled(service: Service) -> Self {
        let code = match service {
            Service::SecretsManager => "ThrottlingException",
            Service::Rds => "Throttling",
        };
        Self::new(StatusCode::BAD_REQUEST, code, "Rate exceeded")
    }

    fn internal(service: Service) -> Self {
        let code = match service {
            Service::SecretsManager => "InternalServiceError",
            Service::Rds => "InternalFailure",
        };
        let message = "An error occurred on the server side.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }

    fn access_denied(call: &Call) -> Self {
        let (status, code, prefix) = match call.service() {
            Service::SecretsManager => (StatusCode::BAD_REQUEST, "AccessDeniedException", "secretsmanager"),
            Service::Rds => (StatusCode::FORBIDDEN, "AccessDenied", "rds"),
        };
        let message = format!(
            "User: arn:aws:sts::{ACCOUNT}:assumed-role/function/stage is not authorized to perform: {prefix}:{} because \
             no identity-based policy allows the action",
            call.action(),
        );
        Self::new(status, code, message)
    }
}

async fn handle(state: Arc<Mutex<State>>, request: HttpRequest<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let Some(body) = whole_body(body).await else {
        return reply(StatusCode::BAD_REQUEST, "text/plain", Bytes::new());
    };
    let call = Call::parse(&HttpRequest::from_parts(parts, ()), &body);
    let fault = lock(&state).admit(&call);
    let outcome = match fault {
        Fault::None => lock(&state).answer(&call),
        Fault::Delay(time) => {
            tokio::time::sleep(time).await;
            lock(&state).answer(&call)
        }
        Fault::Throttle => Err(ServiceError::throttled(call.service())),
        Fault::InternalError => Err(ServiceError::internal(call.service())),
        Fault::AccessDenied => Err(ServiceError::access_denied(&call)),
        Fault::NoAnswer => future::pending().await,
    };
    match call.service() {
        Service::SecretsManager => secrets::encode(outcome),
        Service::Rds => query::encode(outcome),
    }
}
