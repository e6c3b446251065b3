//! Who logs in, and with what. Asked at *connect time*, never by a timer: a frozen environment runs none.
//!
//! A provider is told which of its credentials the database has refused in this connect. With none refused it may
//! answer from its cache; after a refusal it must come up with others (go to the source, try another stage) or say that
//! it has none.

#[cfg(any(feature = "iam", feature = "secrets-manager"))]
mod cache;
mod fixed;
#[cfg(feature = "iam")]
mod iam;
#[cfg(feature = "secrets-manager")]
mod remembered;
#[cfg(feature = "secrets-manager")]
mod round;
#[cfg(feature = "secrets-manager")]
mod secret;
#[cfg(feature = "secrets-manager")]
mod secrets_manager;
#[cfg(feature = "secrets-manager")]
mod verdicts;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::redacted::Redacted;
use crate::retry::Deadline;

pub(crate) use fixed::Fixed;
#[cfg(feature = "iam")]
pub(crate) use iam::Iam;
#[cfg(feature = "secrets-manager")]
pub(crate) use secrets_manager::SecretsManager;

/// A user and a password (or token), and what a source may know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The database user.
    pub user: String,
    /// The password, or the token in its place.
    pub password: Redacted,
    /// Where the database is, if the source knows; what is configured wins.
    pub host: Option<String>,
    /// Its port, likewise.
    pub port: Option<u16>,
    /// The database's name, likewise.
    pub database: Option<String>,
}

impl Credentials {
    /// Credentials without a place.
    pub fn new(user: impl Into<String>, password: impl Into<Redacted>) -> Self {
        Self { user: user.into(), password: password.into(), host: None, port: None, database: None }
    }
}

/// What credentials are asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CredentialsRequest {
    /// The host that will be dialled, where it is known before the credentials are.
    pub host: Option<String>,
    /// Its port.
    pub port: u16,
    /// The configured user, if there is one.
    pub user: Option<String>,
    /// The engine, as secrets name it: `postgres` or `mysql`.
    pub engine: &'static str,
    /// What the database has refused in this connect, in order.
    pub refused: Vec<Credentials>,
    /// How many logins this server has accepted until this connect began: more than at a failure end what is remembered
    /// of that.
    #[cfg_attr(
        not(feature = "secrets-manager"),
        expect(dead_code, reason = "only a secret's failures are remembered")
    )]
    pub(crate) accepted: u64,
    /// When the connect gives up; a built-in provider does so by then, and says why.
    pub(crate) deadline: Deadline,
}

#[cfg(test)]
impl CredentialsRequest {
    /// For a connect to this host that has just begun.
    pub(crate) fn to(host: &str) -> Self {
        Self {
            host: Some(host.to_owned()),
            port: 5432,
            user: None,
            engine: "postgres",
            refused: Vec::new(),
            accepted: 0,
            deadline: Deadline::after(Duration::from_secs(9)),
        }
    }
}

/// The future of a [`CredentialsProvider`].
pub type CredentialsFuture<'a> = Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + 'a>>;

/// A source of credentials. Secrets Manager, IAM and fixed ones are built in; others are given to the builder.
pub trait CredentialsProvider: fmt::Debug + Send + Sync + 'static {
    /// Credentials for one connect.
    ///
    /// # Errors
    /// Why there are none. [`CredentialsError::Exhausted`] after a refusal ends the connect with the database's answer.
    ///
    /// # Cancel safety
    /// The future is dropped when the connect runs out of time; the provider must stay usable.
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a>;
}

/// Why there are no credentials. No text of this crate's own holds one; the cause below it is the service's, or that of a
/// provider of the application's own, and shown as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The secret does not exist, is marked for deletion, or has no version at that stage.
    #[error(
        "secret {secret} was not found ({stage}), or is being deleted; check its name or ARN, the region and the account"
    )]
    NotFound {
        /// Name or ARN as configured.
        secret: String,
        /// The version stage that was asked for.
        stage: String,
        /// The service's answer.
        source: Cause,
    },
    /// The function may not read the secret, or its key.
    #[error(
        "access to secret {secret} was denied; allow secretsmanager:GetSecretValue on it (and kms:Decrypt on its key) in the function's role"
    )]
    Denied {
        /// Name or ARN as configured.
        secret: String,
        /// The service's answer.
        source: Cause,
    },
    /// The service asked to slow down, for longer than the budget.
    #[error(
        "Secrets Manager throttled the request for {secret}, after {elapsed:.1?} of trying; raise the quota or share the secret's reads"
    )]
    Throttled {
        /// Name or ARN as configured.
        secret: String,
        /// Time spent.
        elapsed: Duration,
        /// The service's answer.
        source: Cause,
    },
    /// The service could not be reached, or did not answer in time.
    #[error(
        "{service} gave no answer within {elapsed:.1?}; a function in a private subnet needs a NAT gateway or the interface endpoint {endpoint}, or IAM authentication, which needs no network"
    )]
    Unreachable {
        /// The service.
        service: &'static str,
        /// The interface endpoint that would help.
        endpoint: &'static str,
        /// Time spent.
        elapsed: Duration,
        /// The client's error, where there was one and not just silence.
        source: Option<Cause>,
    },
    /// The service answered with another error.
    #[error("{service} failed for {subject} after {elapsed:.1?}")]
    Service {
        /// The service.
        service: &'static str,
        /// What was asked for.
        subject: String,
        /// Time spent.
        elapsed: Duration,
        /// The service's answer.
        source: Cause,
    },
    /// The secret's text is not what an RDS secret looks like. The text is not shown.
    #[error("secret {secret} is malformed: {problem}; expected JSON such as {{\"username\": …, \"password\": …}}")]
    Malformed {
        /// Name or ARN as configured.
        secret: String,
        /// What is wrong.
        problem: String,
    },
    /// There are no AWS credentials or no region to sign with.
    #[error("the IAM token cannot be signed: {problem}")]
    Signing {
        /// What is missing.
        problem: String,
        /// The signer's error.
        source: Option<Cause>,
    },
    /// The database has refused every version of the secret, a moment ago: nothing is asked for and nobody logs in until
    /// the pause is over.
    #[error(
        "the database refused every version of secret {secret} {ago:.1?} ago (remembered; the secret is asked for and tried again in {again:.1?}); check it against the password that the database has"
    )]
    Refused {
        /// Name or ARN as configured.
        secret: String,
        /// How long ago that was.
        ago: Duration,
        /// When it is tried again.
        again: Duration,
    },
    /// The database has refused all that there is.
    #[error("the database has refused all credentials that there are")]
    Exhausted,
    /// A provider of the application's own failed.
    #[error("the credentials provider failed")]
    Provider(#[source] Cause),
}

/// An error from below.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl CredentialsError {
    /// Whether the cause may pass by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unreachable { .. } | Self::Service { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_can_be_kept_behind_a_pointer() {
        fn object_safe(_: Option<Box<dyn CredentialsProvider>>) {}
        object_safe(None);
    }

    #[test]
    fn credentials_do_not_show_their_password() {
        let text = format!("{:?}", Credentials::new("app", "hunter2"));
        assert!(text.contains("app") && !text.contains("hunter2"), "{text}");
    }
}
