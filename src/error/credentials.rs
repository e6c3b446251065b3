//! Why there are no credentials.

use std::fmt;
use std::time::Duration;

use super::Cause;
use super::driver::chain;

/// Why there are no credentials. No text of this crate's own holds one, and what Secrets Manager answers is told in the client's
/// words only, for its errors keep answers that they could not read. The cause that a provider of the application's own gives is
/// shown as it is.
#[derive(thiserror::Error)]
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
    /// There is nothing to ask the service with.
    #[error(
        "there are no AWS credentials to ask {service} with; in Lambda they are the execution role's, elsewhere set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    NoAwsCredentials {
        /// The service.
        service: &'static str,
        /// The SDK's error.
        source: Cause,
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

/// The text and its causes: what `main` prints of an error that it returns.
impl fmt::Debug for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self))
    }
}

impl CredentialsError {
    /// Whether the cause may pass by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unreachable { .. } | Self::Service { .. })
    }
}
