//! IAM database authentication: a token in the password's place, signed here, without a network.
//!
//! A token is a presigned request of the service `rds-db`
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html>). It is valid for 15 minutes,
//! for one host, port and user, and only as long as the role's credentials behind it. It is checked at login only.
//! `aws-sdk-rds` has a signer too; this one is used because it percent-encodes the user and takes no client to build.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::cache::Cache;
use super::{Cause, Credentials, CredentialsError, CredentialsFuture, CredentialsProvider, CredentialsRequest};
use crate::aws::Aws;
use crate::clock::Clock;
use crate::deadline::Deadline;
use crate::error::chain;
use crate::event::{Event, Events};
use crate::remembered_failure::{Failure, Kind};

/// What AWS allows at most.
const VALID: Duration = Duration::from_secs(900);
/// Used for less than it is valid, so that a token never expires between here and the server's check.
const KEEP: Duration = Duration::from_secs(600);

/// RFC 3986's unreserved characters stay, as Signature Version 4 demands.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug)]
pub(crate) struct Iam {
    aws: Aws,
    tokens: Cache<Token>,
    clock: Clock,
    /// How the function's own credentials were refused the last time.
    refused: Mutex<Option<Failure<()>>>,
    events: Events,
}

#[derive(Debug, Clone)]
struct Token {
    /// A token is for one place.
    place: (String, u16),
    credentials: Credentials,
}

impl Iam {
    pub(crate) fn new(aws: Aws, clock: Clock, events: Events) -> Self {
        Self { aws, tokens: Cache::new(clock.clone()), clock, refused: Mutex::default(), events }
    }

    async fn answer(&self, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        let missing = |problem: &str| CredentialsError::Signing { problem: problem.to_owned(), source: None };
        let host = request.host.as_deref().ok_or_else(|| missing("the host is not known"))?;
        let user = request.user.as_deref().ok_or_else(|| missing("no database user is configured"))?;
        let kept = || {
            let (token, _) = self.tokens.get().filter(|(_, age)| *age < KEEP)?;
            let fits = token.place.0 == host && token.place.1 == request.port;
            (fits && !request.refused.contains(&token.credentials)).then_some(token.credentials)
        };
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let _flight = self.tokens.flight.lock().await;
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        // One refusal may be a stale token; a fresh one that is refused as well will not get better.
        if request.refused.len() > 1 {
            return Err(CredentialsError::Exhausted);
        }
        let started = Deadline::after(VALID);
        let token = self.sign(host, request.port, user).await?;
        self.events.emit(&Event::CredentialsFetched { source: "iam".to_owned(), elapsed: started.spent() });
        let credentials = Credentials::new(user, token);
        self.tokens.put(Token { place: (host.to_owned(), request.port), credentials: credentials.clone() });
        Ok(credentials)
    }

    async fn sign(&self, host: &str, port: u16, user: &str) -> Result<String, CredentialsError> {
        let missing = |problem: &str| CredentialsError::Signing { problem: problem.to_owned(), source: None };
        let config = self.aws.config().await;
        // The host's own region first: a token for another region is refused. A global database's name has none.
        let region = crate::tls::region_of(host).or_else(|| config.region().map(|region| region.as_ref().to_owned()));
        let region = region.ok_or_else(|| missing("the region is not known; set AWS_REGION"))?;
        let provider = config.credentials_provider().ok_or_else(|| missing("there is no AWS credentials provider"))?;
        let none = |source: Cause| CredentialsError::Signing {
            problem: "the function has no AWS credentials".to_owned(),
            source: Some(source),
        };
        // They may come from an endpoint that a whole host shares: whoever is refused does not ask again at once.
        let remembered = self.refused().as_ref().and_then(|failure| failure.recall(self.clock.now()));
        if let Some(remembered) = remembered {
            return Err(none(Box::new(remembered)));
        }
        let identity = match provider.provide_credentials().await {
            Ok(identity) => identity,
            Err(error) => {
                let mut refused = self.refused();
                let now = self.clock.now();
                *refused = Some(Failure::after(refused.take(), now, Kind::Lasting, (), chain(&error)));
                return Err(none(Box::new(error)));
            }
        };
        *self.refused() = None;
        presign(host, port, user, &region, identity.into(), SystemTime::now()).map_err(|source| {
            CredentialsError::Signing { problem: format!("{host}:{port} cannot be signed for"), source: Some(source) }
        })
    }
}

impl Iam {
    fn refused(&self) -> MutexGuard<'_, Option<Failure<()>>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn presign(
    host: &str,
    port: u16,
    user: &str,
    region: &str,
    identity: aws_smithy_runtime_api::client::identity::Identity,
    time: SystemTime,
) -> Result<String, Cause> {
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(VALID);
    settings.signature_location = SignatureLocation::QueryParams;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(time)
        .settings(settings)
        .build()?;
    let url = format!("https://{host}:{port}/?Action=connect&DBUser={}", utf8_percent_encode(user, ESCAPED));
    let signable = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))?;
    let (instructions, _) = sign(signable, &params.into())?.into_parts();
    let mut request = http::Request::builder().uri(&url).body(())?;
    instructions.apply_to_request_http1x(&mut request);
    let signed = request.uri().to_string();
    Ok(signed.trim_start_matches("https://").to_owned())
}

impl CredentialsProvider for Iam {
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        Box::pin(self.answer(request))
    }

    fn forget(&self) {
        self.tokens.clear();
        *self.refused() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_config::{Region, SdkConfig};
    use aws_credential_types::Credentials as Keys;
    use aws_credential_types::provider::SharedCredentialsProvider;

    use super::*;
    use crate::clock::VirtualClock;

    const HOST: &str = "db.abc123.eu-central-1.rds.amazonaws.com";
    const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn keys(session_token: Option<&str>) -> Keys {
        Keys::new("AKIDEXAMPLE", SECRET_KEY, session_token.map(str::to_owned), None, "test")
    }

    /// What botocore's `generate_db_auth_token` makes of the same keys, user and second (2024-01-02T03:04:05Z).
    #[test]
    fn a_token_is_the_one_that_the_official_signer_makes() {
        for (user, session_token, query) in [
            (
                "app user/+@x",
                None,
                "Action=connect&DBUser=app%20user%2F%2B%40x&X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIDEXAMPLE%2F20240102%2Feu-central-1%2Frds-db%2Faws4_request\
                 &X-Amz-Date=20240102T030405Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
                 &X-Amz-Signature=9ff1711d2280ce8829c292df5405cdfbbb7addecbbbacadd9ed451a63ebad5f7",
            ),
            (
                "app",
                Some("SESSION/TOKEN+=="),
                "Action=connect&DBUser=app&X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIDEXAMPLE%2F20240102%2Feu-central-1%2Frds-db%2Faws4_request\
                 &X-Amz-Date=20240102T030405Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
                 &X-Amz-Security-Token=SESSION%2FTOKEN%2B%3D%3D\
                 &X-Amz-Signature=9d187f72f4ab1d1613c6696a5d3ec250b73eda0142b99c77558eb55aba97b2cc",
            ),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_164_645);
            let token = presign(HOST, 5432, user, "eu-central-1", keys(session_token).into(), time).unwrap();
            // The signer is free in the order of the parameters: the server sorts them before it checks.
            let sorted = |query: &str| {
                let mut parameters: Vec<_> = query.split('&').map(str::to_owned).collect();
                parameters.sort_unstable();
                parameters
            };
            let (place, signed) = token.split_once("/?").unwrap();
            assert_eq!((place, sorted(signed)), (format!("{HOST}:5432").as_str(), sorted(query)));
        }
    }

    fn request(host: &str) -> CredentialsRequest {
        CredentialsRequest {
            host: Some(host.to_owned()),
            port: 5432,
            user: Some("app".to_owned()),
            engine: "postgres",
            refused: Vec::new(),
            accepted: 0,
            deadline: Deadline::after(VALID),
        }
    }

    fn signer(region: Option<&'static str>) -> (Iam, Arc<VirtualClock>, Arc<AtomicUsize>) {
        let config = SdkConfig::builder()
            .region(region.map(Region::new))
            .credentials_provider(SharedCredentialsProvider::new(keys(None)))
            .build();
        let (clock, signed) = (VirtualClock::new(), Arc::<AtomicUsize>::default());
        let counter = Arc::clone(&signed);
        let events = Events::new(vec![Box::new(move |_: &Event| {
            counter.fetch_add(1, Ordering::Relaxed);
        })]);
        (Iam::new(Aws::given(config), Clock::Virtual(Arc::clone(&clock)), events), clock, signed)
    }

    #[tokio::test]
    async fn a_token_is_kept_for_less_than_it_is_valid_and_for_its_host_only() {
        let (iam, clock, signed) = signer(Some("eu-central-1"));
        let count = || signed.load(Ordering::Relaxed);
        for (frozen, host, signatures) in
            [(0, HOST, 1), (599, HOST, 1), (1, HOST, 2), (0, "other.example", 3), (0, HOST, 4)]
        {
            clock.freeze(Duration::from_secs(frozen));
            iam.credentials(&request(host)).await.unwrap();
            assert_eq!(count(), signatures, "{frozen} s later, for {host}");
        }
        assert!(KEEP < VALID);
    }

    #[tokio::test]
    async fn the_hosts_own_region_comes_first() {
        for (host, configured, region) in [
            ("db.abc123.us-east-1.rds.amazonaws.com", Some("eu-central-1"), "us-east-1"),
            ("db.example.com", Some("eu-central-1"), "eu-central-1"),
            ("shop.global-abc123.global.rds.amazonaws.com", Some("eu-central-1"), "eu-central-1"),
        ] {
            let (iam, ..) = signer(configured);
            let token = iam.credentials(&request(host)).await.unwrap().password;
            assert!(token.expose().contains(&format!("%2F{region}%2Frds-db%2F")), "{host}");
        }
        let (iam, ..) = signer(None);
        let error = iam.credentials(&request("db.example.com")).await.unwrap_err();
        assert!(error.to_string().contains("set AWS_REGION"), "{error}");
    }

    #[tokio::test]
    async fn a_refused_token_is_signed_anew_once() {
        let (iam, _, signed) = signer(Some("eu-central-1"));
        let mut request = request(HOST);
        request.refused.push(Credentials::new("app", "stale"));
        iam.credentials(&request).await.unwrap();
        request.refused.push(iam.credentials(&request).await.unwrap());
        assert!(matches!(iam.credentials(&request).await, Err(CredentialsError::Exhausted)));
        assert_eq!(signed.load(Ordering::Relaxed), 1);
    }

    /// Has none, and counts how often it is asked.
    #[derive(Debug, Default, Clone)]
    struct Empty(Arc<AtomicUsize>);

    impl ProvideCredentials for Empty {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.0.fetch_add(1, Ordering::Relaxed);
            let none = aws_credential_types::provider::error::CredentialsError::provider_error("denied");
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(none))
        }
    }

    #[tokio::test]
    async fn keys_that_are_refused_are_asked_for_again_after_a_pause_that_grows_to_a_minute() {
        let (empty, clock) = (Empty::default(), VirtualClock::new());
        let shared = SharedCredentialsProvider::new(empty.clone());
        let config = SdkConfig::builder().region(Region::new("eu-central-1")).credentials_provider(shared).build();
        let iam = Iam::new(Aws::given(config), Clock::Virtual(Arc::clone(&clock)), Events::new(Vec::new()));
        for (later, asked) in [(0, 1), (999, 1), (1, 2), (1999, 2), (1, 3), (3999, 3), (1, 4), (60_000, 5), (59_999, 6)]
        {
            clock.freeze(Duration::from_millis(later));
            let error = iam.credentials(&request(HOST)).await.unwrap_err();
            assert!(matches!(error, CredentialsError::Signing { .. }) && chain(&error).contains("denied"), "{error:?}");
            assert_eq!(empty.0.load(Ordering::Relaxed), asked, "{later} ms later");
        }
    }
}
