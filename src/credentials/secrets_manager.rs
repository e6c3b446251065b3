//! A secret in AWS Secrets Manager.
//!
//! Why three stages? While a secret rotates, the database's password and the version called `AWSCURRENT` change one
//! after the other: for a moment `AWSCURRENT` is already wrong and `AWSPENDING` right, and where a rotation was taken
//! back `AWSPREVIOUS` is the one that works. After a refusal the stages are asked afresh, in that order, and no version
//! is tried twice in one connect (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotating-secrets.html>).
//!
//! What fails is remembered (`remembered`), and what a server refuses (`verdicts`): a broken secret costs one round of
//! calls (`round`) for each server in a span that grows to a minute, and no refused login beyond that round's, however many
//! callers there are and whatever the handler does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{Builder, Region};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use super::cache::Cache;
use super::remembered::Memory;
use super::round::{CURRENT, Found, Next, Round};
use super::verdicts::{Verdict, Verdicts};
use super::{Credentials, CredentialsError, CredentialsFuture, CredentialsProvider, CredentialsRequest, secret};
use crate::aws::{Aws, few_attempts};
use crate::clock::Clock;
use crate::error::chain;
use crate::event::{Event, Events};
use crate::lapse::Pending;

/// A cached secret is used this long without being asked for again; a rotation is noticed sooner, by the refusal. AWS's
/// own caching clients default to an hour as well:
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_cache-rust.html>.
const KEEP: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct SecretsManager {
    secret: String,
    aws: Aws,
    client: OnceCell<Client>,
    clock: Clock,
    cache: Cache<Credentials>,
    /// Of the service's answers.
    memory: Mutex<Memory>,
    /// Of the servers' ones.
    verdicts: Mutex<Verdicts>,
    budget: Duration,
    events: Events,
}

impl SecretsManager {
    /// `budget` bounds one request, the SDK's retries included.
    pub(crate) fn new(secret: String, aws: Aws, budget: Duration, clock: Clock, events: Events) -> Self {
        Self {
            secret,
            aws,
            client: OnceCell::new(),
            cache: Cache::new(clock.clone()),
            memory: Mutex::default(),
            verdicts: Mutex::default(),
            clock,
            budget,
            events,
        }
    }

    async fn answer(&self, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        if let Some(known) = self.known(request) {
            return known;
        }
        let _flight = self.cache.flight.lock().await;
        // Whoever held the flight before may have found what this caller needs, or that there is nothing.
        if let Some(known) = self.known(request) {
            return known;
        }
        let found = if request.refused.is_empty() {
            self.current_or_kept(request).await
        } else {
            self.not_yet_refused(request).await
        };
        let now = self.clock.now();
        if let Err(error) = &found {
            self.memory().failed(error, now);
            self.with_verdict(request, |verdict| {
                verdict.refuses(&request.refused);
                if matches!(error, CredentialsError::Exhausted) {
                    verdict.exhausted(now);
                }
            });
        }
        found
    }

    /// What can be said without a call.
    fn known(&self, request: &CredentialsRequest) -> Option<Result<Credentials, CredentialsError>> {
        let now = self.clock.now();
        let (kept, pending) = self.with_verdict(request, |verdict| {
            let is_good = |kept: &Credentials| !request.refused.contains(kept) && !verdict.has_refused(kept);
            let kept = verdict.own(now).or_else(|| self.cache.get());
            (kept.filter(|(kept, age)| *age < KEEP && is_good(kept)), verdict.pending(now))
        });
        if let Some((kept, _)) = kept {
            return Some(Ok(kept));
        }
        if let Some(Pending { ago, again }) = pending {
            return Some(Err(CredentialsError::Refused { secret: self.secret.clone(), ago, again }));
        }
        self.memory().recall(&self.secret, now).map(Err)
    }

    async fn current_or_kept(&self, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        let error = match self.fetch_version(CURRENT, request).await {
            Ok(current) => {
                self.found(request, &current.credentials, true);
                return Ok(current.credentials);
            }
            Err(error) => error,
        };
        let now = self.clock.now();
        let kept = self.with_verdict(request, |verdict| {
            let kept = verdict.own(now).or_else(|| self.cache.get());
            kept.filter(|(kept, _)| !verdict.has_refused(kept))
        });
        match kept {
            // An old secret that may still be right beats none; if it is wrong the database says so.
            Some((kept, age)) if error.is_transient() => {
                self.events.emit(&Event::CredentialsKept { error: chain(&error), age });
                Ok(kept)
            }
            // A role that may no longer read the secret gets no more of it once its term is over: that is how access is
            // taken away, and the password it was read with may be known to people who should not know it.
            _ => Err(error),
        }
    }

    async fn not_yet_refused(&self, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        let last = self.with_verdict(request, |verdict| verdict.round.take());
        let mut round = Round::resume(last, self.clock.now(), request.accepted);
        let next = loop {
            let stage = match round.next(&request.refused) {
                Next::Try(found) => break Ok(found),
                Next::Exhausted => break Err(CredentialsError::Exhausted),
                Next::Ask(stage) => stage,
            };
            match self.fetch_version(stage, request).await {
                Ok(found) => round.answered(Some(found), self.clock.now()),
                // A secret that is not being rotated has no version at the other stages.
                Err(CredentialsError::NotFound { .. }) if stage != CURRENT => round.answered(None, self.clock.now()),
                Err(error) => break Err(error),
            }
        };
        if let Ok(found) = &next {
            self.found(request, found, round.is_current(found));
        }
        self.with_verdict(request, |verdict| verdict.round = Some(round));
        next
    }

    /// The service has this. Another version than the current one is of the server that has refused that one.
    fn found(&self, request: &CredentialsRequest, found: &Credentials, is_current: bool) {
        self.memory().answered();
        if is_current {
            self.cache.put(found.clone());
        }
        let own = (!is_current).then(|| found.clone());
        self.with_verdict(request, |verdict| verdict.answered(own, self.clock.now()));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_verdict<T>(&self, request: &CredentialsRequest, what: impl FnOnce(&mut Verdict) -> T) -> T {
        what(self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).of(request))
    }

    async fn client(&self) -> &Client {
        self.client
            .get_or_init(async || {
                let config = self.aws.config().await;
                let mut builder = Builder::from(config).retry_config(few_attempts(config));
                // An ARN says where its secret is; in the function's region there may be none, or another of that name.
                if let Some(region) = region_of(&self.secret) {
                    builder = builder.region(Region::new(region.to_owned()));
                }
                Client::from_conf(builder.build())
            })
            .await
    }

    async fn fetch_version(&self, stage: &str, request: &CredentialsRequest) -> Result<Found, CredentialsError> {
        let deadline = request.deadline.within(self.budget);
        let asked = timeout_at(deadline.instant(), async {
            let client = self.client().await;
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
        let version = answer.version_id().map(str::to_owned);
        Ok(Found { version, credentials: secret::parse(&self.secret, text, request.engine)? })
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

/// The region in `arn:aws:secretsmanager:<region>:<account>:secret:<name>`, of any partition.
fn region_of(secret: &str) -> Option<&str> {
    let mut parts = secret.split(':');
    let is_arn = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("secretsmanager");
    parts.next().filter(|region| is_arn && !region.is_empty())
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
    use std::sync::Arc;

    use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig};
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_sdk_secretsmanager::config::http::{HttpRequest, HttpResponse};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };

    use super::*;
    use crate::clock::VirtualClock;

    /// A service without a network: answers with the passwords it was given, or fails as it is told.
    #[derive(Debug, Clone, Default)]
    struct Service(Arc<Mutex<Script>>);

    #[derive(Debug, Default)]
    struct Script {
        /// At each stage.
        passwords: [Option<&'static str>; 3],
        failing: Option<&'static str>,
        /// The stages that were asked for, and the region that was asked.
        asked: Vec<String>,
        region: String,
    }

    const STAGES: [&str; 3] = [CURRENT, "AWSPENDING", "AWSPREVIOUS"];
    const DENIED: &str = "AccessDeniedException";
    const THROTTLED: &str = "ThrottlingException";

    impl Service {
        fn with(passwords: [Option<&'static str>; 3]) -> Self {
            let service = Self::default();
            service.script().passwords = passwords;
            service
        }

        fn fail(&self, code: &'static str) {
            self.script().failing = Some(code);
        }

        /// How often it was asked since the last time.
        fn asked(&self) -> usize {
            std::mem::take(&mut self.script().asked).len()
        }

        fn script(&self) -> MutexGuard<'_, Script> {
            self.0.lock().unwrap()
        }

        fn config(&self, retry: RetryConfig) -> SdkConfig {
            let connector = SharedHttpConnector::new(self.clone());
            let keys = aws_credential_types::Credentials::new("AKIDEXAMPLE", "key", None, None, "test");
            SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("eu-central-1"))
                .credentials_provider(SharedCredentialsProvider::new(keys))
                .retry_config(retry)
                .http_client(http_client_fn(move |_, _| connector.clone()))
                .build()
        }
    }

    impl HttpConnector for Service {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body: serde_json::Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let stage = body["VersionStage"].as_str().unwrap().to_owned();
            let mut script = self.script();
            let scope = request.headers().get("authorization").unwrap();
            script.region = scope.split('/').nth(2).unwrap().to_owned();
            let position = STAGES.iter().position(|known| *known == stage).unwrap();
            script.asked.push(stage);
            let (status, body) = match (script.failing, script.passwords[position]) {
                (Some(code), _) => (400_u16, format!(r#"{{"__type":"{code}","Message":"no"}}"#)),
                (None, None) => (400, r#"{"__type":"ResourceNotFoundException","Message":"no"}"#.to_owned()),
                (None, Some(password)) => {
                    let secret = format!(r#"{{\"username\":\"app\",\"password\":\"{password}\"}}"#);
                    (200, format!(r#"{{"SecretString":"{secret}","VersionId":"version of {password}"}}"#))
                }
            };
            let status = status.try_into().expect("a status");
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body.into())))
        }
    }

    struct Rig {
        secrets: SecretsManager,
        service: Service,
        clock: Arc<VirtualClock>,
        events: Arc<Mutex<Vec<Event>>>,
        /// Logins that the database has accepted.
        accepted: u64,
    }

    impl Rig {
        fn new(service: &Service) -> Self {
            Self::of("prod/db", service, RetryConfig::disabled())
        }

        fn of(secret: &str, service: &Service, retry: RetryConfig) -> Self {
            let (clock, events) = (VirtualClock::new(), Arc::<Mutex<Vec<Event>>>::default());
            let seen = Arc::clone(&events);
            let secrets = SecretsManager::new(
                secret.to_owned(),
                Aws::given(service.config(retry)),
                Duration::from_secs(5),
                Clock::Virtual(Arc::clone(&clock)),
                Events::new(vec![Box::new(move |event: &Event| seen.lock().unwrap().push(event.clone()))]),
            );
            Self { secrets, service: service.clone(), clock, events, accepted: 0 }
        }

        async fn ask(&self, refused: &[Credentials]) -> Result<Credentials, CredentialsError> {
            let request = CredentialsRequest {
                host: None,
                refused: refused.to_vec(),
                accepted: self.accepted,
                ..CredentialsRequest::to("db")
            };
            self.secrets.credentials(&request).await
        }

        /// One connect to a database that takes this password: the refused logins, the calls, and whether it was let in.
        async fn connect(&mut self, password: &str) -> (usize, usize, Result<(), CredentialsError>) {
            let mut refused = Vec::new();
            let end = loop {
                match self.ask(&refused).await {
                    Ok(credentials) if credentials.password.expose() == password => {
                        self.accepted += 1;
                        break Ok(());
                    }
                    Ok(credentials) => refused.push(credentials),
                    Err(error) => break Err(error),
                }
            };
            (refused.len(), self.service.asked(), end)
        }

        fn wait(&self, seconds: f64) {
            self.clock.freeze(Duration::from_secs_f64(seconds));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_has_served_its_term_stays_in_use_while_the_service_fails() {
        let service = Service::with([Some("hunter2"), None, None]);
        let rig = Rig::new(&service);
        let first = rig.ask(&[]).await.unwrap();
        rig.clock.freeze(KEEP - Duration::from_secs(1));
        assert_eq!(rig.ask(&[]).await.unwrap(), first);
        assert_eq!(service.asked(), 1, "cached by the wall clock");

        service.fail(THROTTLED);
        rig.wait(1.0);
        assert_eq!(rig.ask(&[]).await.unwrap(), first);
        assert_eq!(service.asked(), 1, "asked for again after its term");
        let kept = rig.events.lock().unwrap().pop();
        assert!(
            matches!(&kept, Some(Event::CredentialsKept { error, age }) if *age >= KEEP && error.contains("throttled")),
            "{kept:?}"
        );

        // Once the database has refused it, it is of no use any more.
        assert!(matches!(rig.ask(&[first]).await, Err(CredentialsError::Throttled { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_may_no_longer_read_the_secret_gets_no_more_of_it_after_its_term() {
        let service = Service::with([Some("hunter2"), None, None]);
        let rig = Rig::new(&service);
        rig.ask(&[]).await.unwrap();
        service.fail(DENIED);
        rig.clock.freeze(KEEP - Duration::from_secs(1));
        assert!(rig.ask(&[]).await.is_ok());
        rig.wait(1.0);
        assert!(matches!(rig.ask(&[]).await, Err(CredentialsError::Denied { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_denied_secret_is_asked_for_again_after_a_pause_that_grows_to_a_minute() {
        for code in [DENIED, "ResourceNotFoundException", "InternalServiceError"] {
            let service = Service::with([Some("hunter2"), None, None]);
            service.fail(code);
            let mut rig = Rig::new(&service);
            for pause in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
                let (_, calls, error) = rig.connect("hunter2").await;
                let first = chain(&error.unwrap_err());
                assert!(calls == 1 && !first.contains("remembered"), "{code}, {calls}: {first}");
                rig.wait(pause - 0.5);
                for _ in 0..100 {
                    let (_, calls, error) = rig.connect("hunter2").await;
                    let again = chain(&error.unwrap_err());
                    assert!(calls == 0 && again.contains("asked again in 5"), "{code}, {calls}: {again}");
                    assert!(again.starts_with(first.split(':').next().unwrap()), "{again}");
                }
                rig.wait(0.5);
            }
            service.script().failing = None;
            assert!(rig.connect("hunter2").await.2.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_service_is_asked_three_times_and_again_after_a_jittered_pause() {
        let service = Service::with([Some("hunter2"), None, None]);
        service.fail(THROTTLED);
        let eager = RetryConfig::standard().with_max_attempts(10).with_initial_backoff(Duration::from_millis(1));
        let mut rig = Rig::of("prod/db", &service, eager);
        assert_eq!(rig.connect("hunter2").await.1, 3, "whatever the SDK was configured to");
        rig.wait(0.999);
        assert_eq!(rig.connect("hunter2").await.1, 0);
        rig.wait(2.001);
        assert_eq!(rig.connect("hunter2").await.1, 3, "three seconds at the most, the first time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_secret_costs_one_round_in_a_span_that_grows() {
        let service = Service::with([Some("a"), None, Some("b")]);
        let mut rig = Rig::new(&service);
        let (logins, calls, error) = rig.connect("other").await;
        assert!(matches!(error, Err(CredentialsError::Exhausted)), "{error:?}");
        assert_eq!((logins, calls), (2, 4), "the secret, and then each stage once");
        for span in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0] {
            rig.wait(span - 0.5);
            for _ in 0..100 {
                let (logins, calls, error) = rig.connect("other").await;
                assert_eq!((logins, calls), (0, 0));
                let text = chain(&error.unwrap_err());
                assert!(text.contains("remembered; the secret is asked for and tried again in 5"), "{text}");
            }
            rig.wait(0.5);
            let (logins, calls, error) = rig.connect("other").await;
            assert!(matches!(error, Err(CredentialsError::Exhausted)), "{error:?}");
            assert_eq!((logins, calls), (1, 2), "the other stages are known to be refused beside this version");
        }
        // The database has the secret's password again.
        rig.wait(60.0);
        assert_eq!(rig.connect("a").await.0, 0);
        // The next trouble is a new one.
        let (logins, calls, error) = rig.connect("other").await;
        assert!(matches!(error, Err(CredentialsError::Exhausted)), "{error:?}");
        assert_eq!((logins, calls), (2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_ends_what_is_remembered_of_the_secret_before() {
        let service = Service::with([Some("a"), None, Some("b")]);
        let mut rig = Rig::new(&service);
        rig.connect("c").await.2.unwrap_err();
        service.script().passwords = [Some("c"), None, Some("a")];
        rig.connect("c").await.2.unwrap_err();
        rig.wait(1.0);
        let (logins, calls, end) = rig.connect("c").await;
        assert!(end.is_ok(), "{end:?}");
        assert_eq!((logins, calls), (0, 1), "asked for before it is tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_secret_is_not_tried_again_while_the_service_denies_another() {
        let service = Service::with([Some("a"), None, None]);
        let mut rig = Rig::new(&service);
        assert!(rig.connect("a").await.2.is_ok());
        service.fail(DENIED);
        let (logins, calls, error) = rig.connect("b").await;
        assert!(matches!(error, Err(CredentialsError::Denied { .. })), "{error:?}");
        assert_eq!((logins, calls), (1, 1));
        for (pause, calls) in [(0.5, 0), (0.5, 1), (1.5, 0), (0.5, 1)] {
            rig.wait(pause);
            let (logins, asked, error) = rig.connect("b").await;
            assert!(matches!(error, Err(CredentialsError::Denied { .. })), "{error:?}");
            assert_eq!((logins, asked), (0, calls));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_arn_is_asked_for_in_its_own_region() {
        for (secret, region) in [
            ("arn:aws:secretsmanager:us-west-2:123456789012:secret:prod/db-StGe42", "us-west-2"),
            ("arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:prod/db-StGe42", "cn-north-1"),
            ("arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:db-StGe42", "us-gov-west-1"),
            ("prod/db", "eu-central-1"),
            ("arn:aws:rds:us-west-2:123456789012:cluster:x", "eu-central-1"),
            ("arn:aws:secretsmanager::123456789012:secret:x", "eu-central-1"),
        ] {
            let service = Service::with([Some("hunter2"), None, None]);
            Rig::of(secret, &service, RetryConfig::disabled()).ask(&[]).await.unwrap();
            assert_eq!(service.script().region, region, "{secret}");
        }
    }
}
