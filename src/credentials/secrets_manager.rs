//! A secret in AWS Secrets Manager.
//!
//! Why three stages? While a secret rotates, the database's password and the version called `AWSCURRENT` change one
//! after the other: for a moment `AWSCURRENT` is already wrong and `AWSPENDING` right, and where a rotation was taken
//! back `AWSPREVIOUS` is the one that works. After a refusal the stages are asked afresh, in that order, and no version
//! is tried twice in one connect (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotating-secrets.html>).

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use super::cache::Cache;
use super::{Credentials, CredentialsError, CredentialsFuture, CredentialsProvider, CredentialsRequest, secret};
use crate::aws::Aws;
use crate::clock::Clock;
use crate::error::chain;
use crate::event::{Event, Events};

/// A cached secret is used this long without being asked for again; a rotation is noticed sooner, by the refusal. AWS's
/// own caching clients default to an hour as well:
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_cache-rust.html>.
const KEEP: Duration = Duration::from_secs(3600);

const CURRENT: &str = "AWSCURRENT";
const STAGES: [&str; 3] = [CURRENT, "AWSPENDING", "AWSPREVIOUS"];

#[derive(Debug)]
pub(crate) struct SecretsManager {
    secret: String,
    aws: Aws,
    client: OnceCell<Client>,
    cache: Cache<Credentials>,
    budget: Duration,
    events: Events,
}

impl SecretsManager {
    /// `budget` bounds one request, the SDK's retries included.
    pub(crate) fn new(secret: String, aws: Aws, budget: Duration, clock: Clock, events: Events) -> Self {
        Self { secret, aws, client: OnceCell::new(), cache: Cache::new(clock), budget, events }
    }

    async fn answer(&self, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        let kept = || self.cache.younger_than(KEEP).filter(|kept| !request.refused.contains(kept));
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let _flight = self.cache.flight.lock().await;
        // Whoever held the flight before may have found what this caller needs.
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let found = if request.refused.is_empty() {
            self.current_or_kept(request).await?
        } else {
            self.not_yet_refused(request).await?
        };
        self.cache.put(found.clone());
        Ok(found)
    }

    async fn current_or_kept(&self, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        let error = match self.fetch(CURRENT, request).await {
            Ok(current) => return Ok(current),
            Err(error) => error,
        };
        match self.cache.get() {
            // An old secret that may still be right beats none; if it is wrong the database says so.
            Some((kept, age)) if error.is_transient() => {
                self.events.emit(&Event::CredentialsKept { error: chain(&error), age });
                Ok(kept)
            }
            _ => Err(error),
        }
    }

    async fn not_yet_refused(&self, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        for stage in STAGES {
            match self.fetch(stage, request).await {
                Ok(found) if !request.refused.contains(&found) => return Ok(found),
                Ok(_) => {}
                // A secret that is not being rotated has no version at the other stages.
                Err(CredentialsError::NotFound { .. }) if stage != CURRENT => {}
                Err(error) => return Err(error),
            }
        }
        Err(CredentialsError::Exhausted)
    }

    async fn fetch(&self, stage: &str, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        let deadline = request.deadline.within(self.budget);
        let asked = timeout_at(deadline.instant(), async {
            let client = self.client.get_or_init(async || Client::new(self.aws.config().await)).await;
            client.get_secret_value().secret_id(&self.secret).version_stage(stage).send().await
        });
        let answer = match asked.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.classify(error, stage, deadline.spent())),
            Err(_) => return Err(unreachable(deadline.spent(), None)),
        };
        let elapsed = deadline.spent();
        self.events.emit(&Event::CredentialsFetched { source: format!("secrets-manager {stage}"), elapsed });
        let binary = || answer.secret_binary().and_then(|blob| std::str::from_utf8(blob.as_ref()).ok());
        let text = answer.secret_string().or_else(binary).ok_or_else(|| CredentialsError::Malformed {
            secret: self.secret.clone(),
            problem: "it holds no text".to_owned(),
        })?;
        secret::parse(&self.secret, text, request.engine)
    }

    fn classify(&self, error: SdkError<GetSecretValueError>, stage: &str, elapsed: Duration) -> CredentialsError {
        let secret = self.secret.clone();
        match &error {
            SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
                return unreachable(elapsed, Some(Box::new(error)));
            }
            SdkError::TimeoutError(_) => return unreachable(elapsed, Some(Box::new(error))),
            _ => {}
        }
        let code = error.code().unwrap_or_default().to_owned();
        let source = Box::new(error);
        match code.as_str() {
            // InvalidRequestException: it is marked for deletion, which nothing but a restore takes back.
            "ResourceNotFoundException" | "InvalidRequestException" => {
                CredentialsError::NotFound { secret, stage: stage.to_owned(), source }
            }
            // DecryptionFailure: the role may read the secret and not use its key.
            "AccessDeniedException" | "DecryptionFailure" => CredentialsError::Denied { secret, source },
            code if code.starts_with("Throttl") || code == "TooManyRequestsException" => {
                CredentialsError::Throttled { secret, elapsed, source }
            }
            _ => CredentialsError::Service { service: "Secrets Manager", subject: secret, elapsed, source },
        }
    }
}

fn unreachable(elapsed: Duration, source: Option<super::Cause>) -> CredentialsError {
    let endpoint = "com.amazonaws.<region>.secretsmanager";
    CredentialsError::Unreachable { service: "Secrets Manager", endpoint, elapsed, source }
}

impl CredentialsProvider for SecretsManager {
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        Box::pin(self.answer(request))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_sdk_secretsmanager::config::http::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };

    use super::*;
    use crate::clock::VirtualClock;

    /// A service without a network: answers with a secret, and once it fails with "Rate exceeded".
    #[derive(Debug, Clone, Default)]
    struct Service {
        requests: Arc<AtomicUsize>,
        failing: Arc<AtomicBool>,
    }

    impl Service {
        fn fail(&self) {
            self.failing.store(true, Ordering::Relaxed);
        }

        fn requests(&self) -> usize {
            self.requests.load(Ordering::Relaxed)
        }

        fn config(&self) -> SdkConfig {
            let connector = SharedHttpConnector::new(self.clone());
            let keys = aws_credential_types::Credentials::new("AKIDEXAMPLE", "key", None, None, "test");
            SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("eu-central-1"))
                .credentials_provider(SharedCredentialsProvider::new(keys))
                .retry_config(RetryConfig::disabled())
                .http_client(http_client_fn(move |_, _| connector.clone()))
                .build()
        }
    }

    impl HttpConnector for Service {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let (status, body) = if self.failing.load(Ordering::Relaxed) {
                (400_u16, r#"{"__type":"ThrottlingException","Message":"Rate exceeded"}"#)
            } else {
                (200, r#"{"SecretString":"{\"username\":\"app\",\"password\":\"hunter2\"}"}"#)
            };
            let status = status.try_into().expect("a status");
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body.into())))
        }
    }

    #[tokio::test]
    async fn a_secret_that_has_served_its_term_stays_in_use_while_the_service_fails() {
        let (service, clock, events) = (Service::default(), VirtualClock::new(), Arc::<Mutex<Vec<Event>>>::default());
        let seen = Arc::clone(&events);
        let secrets = SecretsManager::new(
            "prod/db".to_owned(),
            Aws::given(service.config()),
            Duration::from_secs(5),
            Clock::Virtual(Arc::clone(&clock)),
            Events::new(vec![Box::new(move |event: &Event| seen.lock().unwrap().push(event.clone()))]),
        );
        let mut request = CredentialsRequest {
            host: None,
            port: 5432,
            user: None,
            engine: "postgres",
            refused: Vec::new(),
            deadline: crate::retry::Deadline::after(Duration::from_secs(9)),
        };
        let first = secrets.credentials(&request).await.unwrap();
        clock.freeze(KEEP - Duration::from_secs(1));
        assert_eq!(secrets.credentials(&request).await.unwrap(), first);
        assert_eq!(service.requests(), 1, "cached by the wall clock");

        service.fail();
        clock.freeze(Duration::from_secs(1));
        assert_eq!(secrets.credentials(&request).await.unwrap(), first);
        assert_eq!(service.requests(), 2, "asked for again after its term");
        let kept = events.lock().unwrap().pop();
        assert!(
            matches!(&kept, Some(Event::CredentialsKept { error, age }) if *age >= KEEP && error.contains("throttled")),
            "{kept:?}"
        );

        // Once the database has refused it, it is of no use any more.
        request.refused.push(first);
        assert!(matches!(secrets.credentials(&request).await, Err(CredentialsError::Throttled { .. })));
    }
}
