use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig};
use aws_credential_types::provider::future::ProvideCredentials as ProvideFuture;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_secretsmanager::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};

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
        let keys = aws_credential_types::Credentials::new("AKIDEXAMPLE", "key", None, None, "test");
        self.config_of(SharedCredentialsProvider::new(keys), retry)
    }

    fn config_of(&self, identity: SharedCredentialsProvider, retry: RetryConfig) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(identity)
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
        Self::with(secret, service, service.config(retry))
    }

    fn with(secret: &str, service: &Service, config: SdkConfig) -> Self {
        let (clock, events) = (VirtualClock::new(), Arc::<Mutex<Vec<Event>>>::default());
        let seen = Arc::clone(&events);
        let secrets = SecretsManager::new(
            secret.to_owned(),
            Aws::given(config),
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

/// What the SDK's providers say of themselves.
#[derive(Debug)]
struct Nobody(fn() -> NoIdentity);

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::ready(Err((self.0)()))
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_ask_with_is_told_so_and_what_to_set() {
    for (says, none) in [
        (Nobody(|| NoIdentity::not_loaded("no providers in chain provided credentials")), true),
        (Nobody(|| NoIdentity::invalid_configuration("no such profile")), true),
        // It may find some the next time.
        (Nobody(|| NoIdentity::provider_error("the endpoint is away")), false),
    ] {
        let service = Service::default();
        let config = service.config_of(SharedCredentialsProvider::new(says), RetryConfig::disabled());
        let rig = Rig::with("prod/db", &service, config);
        for _ in 0..2 {
            let error = rig.ask(&[]).await.unwrap_err();
            assert_eq!(matches!(error, CredentialsError::NoAwsCredentials { .. }), none, "{error:?}");
            assert_eq!((error.is_transient(), chain(&error).contains("AWS_PROFILE")), (!none, none), "{error:?}");
        }
        assert_eq!(service.asked(), 0);
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
