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

use aws_credential_types::provider::error::CredentialsError as NoIdentity;
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
use super::{Cause, Credentials, CredentialsError, CredentialsFuture, CredentialsProvider, CredentialsRequest, secret};
use crate::aws::{Aws, few_attempts};
use crate::clock::Clock;
use crate::error::chain;
use crate::event::{Event, Events};
use crate::remembered_failure::Pending;

const SERVICE: &str = "Secrets Manager";

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
            // An old secret that may still be right beats none; if it is wrong the database says so. Nobody has taken the access away
            // either from who finds no AWS credentials: their endpoint may be away for a moment.
            Some((kept, age)) if error.is_transient() || matches!(error, CredentialsError::NoAwsCredentials { .. }) => {
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
            _ if has_no_identity(&error) => {
                return CredentialsError::NoAwsCredentials { service: SERVICE, source: Box::new(error) };
            }
            _ => {}
        }
        let code = error.code().unwrap_or_default().to_owned();
        // As a text: what the client could not read it keeps as it came, and shows in its `Debug`, a secret's text as well.
        let source: Cause = chain(&error).into();
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
            _ => CredentialsError::Service { service: SERVICE, subject: secret, elapsed, source },
        }
    }
}

/// Whether the SDK has found nothing to sign the request with. Where it looked in vain, because something failed, it may find
/// something the next time.
fn has_no_identity(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|cause| {
        matches!(cause.downcast_ref(), Some(NoIdentity::CredentialsNotLoaded(_) | NoIdentity::InvalidConfiguration(_)))
    })
}

/// The region in `arn:aws:secretsmanager:<region>:<account>:secret:<name>`, of any partition.
fn region_of(secret: &str) -> Option<&str> {
    let mut parts = secret.split(':');
    let is_arn = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("secretsmanager");
    parts.next().filter(|region| is_arn && !region.is_empty())
}

fn unreachable(elapsed: Duration, source: Option<Cause>) -> CredentialsError {
    let endpoint = "com.amazonaws.<region>.secretsmanager";
    CredentialsError::Unreachable { service: SERVICE, endpoint, elapsed, source }
}

impl CredentialsProvider for SecretsManager {
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        Box::pin(self.answer(request))
    }

    fn forget(&self) {
        self.cache.clear();
        *self.verdicts.lock().unwrap_or_else(PoisonError::into_inner) = Verdicts::default();
    }
}

#[cfg(test)]
mod tests;
