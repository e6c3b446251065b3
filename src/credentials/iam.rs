//! IAM database authentication: a token in the password's place, signed here, without a network.
//!
//! A token is a presigned request of the service `rds-db`
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html>). It is valid for 15 minutes,
//! for one host, port and user, and only as long as the role's credentials behind it. It is checked at login only.
//! `aws-sdk-rds` has a signer too; this one is used because it percent-encodes the user and takes no client to build.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::cache::Cache;
use super::{Cause, Credentials, CredentialsError, CredentialsFuture, CredentialsProvider, CredentialsRequest};
use crate::aws::Aws;
use crate::clock::Clock;
use crate::event::{Event, Events};
use crate::retry::Deadline;

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
        Self { aws, tokens: Cache::new(clock), events }
    }

    async fn answer(&self, request: &CredentialsRequest) -> Result<Credentials, CredentialsError> {
        let missing = |problem: &str| CredentialsError::Signing { problem: problem.to_owned(), source: None };
        let host = request.host.as_deref().ok_or_else(|| missing("the host is not known"))?;
        let user = request.user.as_deref().ok_or_else(|| missing("no database user is configured"))?;
        let kept = || {
            let token = self.tokens.younger_than(KEEP)?;
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
        // The host's own region first: a token for another region is refused.
        let region = crate::tls::region_of(host).or_else(|| config.region().map(|region| region.as_ref().to_owned()));
        let region = region.ok_or_else(|| missing("the region is not known; set AWS_REGION"))?;
        let provider = config.credentials_provider().ok_or_else(|| missing("there is no AWS credentials provider"))?;
        let identity = provider.provide_credentials().await.map_err(|error| CredentialsError::Signing {
            problem: "the function has no AWS credentials".to_owned(),
            source: Some(Box::new(error)),
        })?;
        presign(host, port, user, &region, identity.into(), SystemTime::now()).map_err(|source| {
            CredentialsError::Signing { problem: format!("{host}:{port} cannot be signed for"), source: Some(source) }
        })
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
}
