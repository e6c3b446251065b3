//! Why the service had no credentials the last time, for whoever asks next.

use std::error::Error;
use std::time::Duration;

use super::CredentialsError;
use crate::clock::Moment;
use crate::error::chain;
use crate::random;
use crate::remembered_failure::{Failure, Kind, Remembered};

/// A failure that took less time than this would be repeated as fast as a handler tries again.
const SOON: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Memory(Option<Failure<Told>>);

impl Memory {
    pub(super) fn answered(&mut self) {
        self.0 = None;
    }

    /// There were none, and why.
    pub(super) fn failed(&mut self, error: &CredentialsError, now: Moment) {
        let Some(told) = Told::of(error) else { return };
        let kind = match told {
            Told::Throttled { .. } | Told::Unreachable { .. } => Kind::Crowded(random::generator().f64()),
            _ => Kind::Lasting,
        };
        let cause = error.source().map(chain).unwrap_or_default();
        self.0 = Some(Failure::after(self.0.take(), now, kind, told, cause));
    }

    /// The same answer as the last time, while nobody is to ask again.
    pub(super) fn recall(&self, secret: &str, now: Moment) -> Option<CredentialsError> {
        let failure = self.0.as_ref()?;
        let remembered = failure.recall(now)?;
        Some(failure.told.again(secret.to_owned(), remembered))
    }
}

/// A failure that is told again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    NotFound { stage: String },
    Denied,
    Throttled { elapsed: Duration },
    Service { elapsed: Duration },
    Malformed { problem: String },
    NoAwsCredentials { service: &'static str },
    Unreachable { service: &'static str, endpoint: &'static str, elapsed: Duration },
}

impl Told {
    /// `None`: it is asked again at once. Silence has taken its time already; whoever hangs up at once has not.
    fn of(error: &CredentialsError) -> Option<Self> {
        Some(match error {
            CredentialsError::NotFound { stage, .. } => Self::NotFound { stage: stage.clone() },
            CredentialsError::Denied { .. } => Self::Denied,
            CredentialsError::Throttled { elapsed, .. } => Self::Throttled { elapsed: *elapsed },
            CredentialsError::Service { elapsed, .. } => Self::Service { elapsed: *elapsed },
            CredentialsError::Malformed { problem, .. } => Self::Malformed { problem: problem.clone() },
            CredentialsError::NoAwsCredentials { service, .. } => Self::NoAwsCredentials { service },
            CredentialsError::Unreachable { service, endpoint, elapsed, .. } if *elapsed < SOON => {
                Self::Unreachable { service, endpoint, elapsed: *elapsed }
            }
            _ => return None,
        })
    }

    fn again(&self, secret: String, remembered: Remembered) -> CredentialsError {
        match self.clone() {
            Self::NotFound { stage } => CredentialsError::NotFound { secret, stage, source: Box::new(remembered) },
            Self::Denied => CredentialsError::Denied { secret, source: Box::new(remembered) },
            Self::Throttled { elapsed } => {
                CredentialsError::Throttled { secret, elapsed, source: Box::new(remembered) }
            }
            Self::Service { elapsed } => CredentialsError::Service {
                service: "Secrets Manager",
                subject: secret,
                elapsed,
                source: Box::new(remembered),
            },
            Self::NoAwsCredentials { service } => {
                CredentialsError::NoAwsCredentials { service, source: Box::new(remembered) }
            }
            Self::Unreachable { service, endpoint, elapsed } => {
                CredentialsError::Unreachable { service, endpoint, elapsed, source: Some(Box::new(remembered)) }
            }
            Self::Malformed { problem } => {
                CredentialsError::Malformed { secret, problem: format!("{problem} ({remembered})") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::at(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn each_failure_is_told_again_as_what_it_was_and_as_remembered() {
        let (secret, cause) = (|| "prod/db".to_owned(), || "said so".into());
        let (service, elapsed) = ("Secrets Manager", Duration::ZERO);
        for (error, text) in [
            (CredentialsError::Denied { secret: secret(), source: cause() }, "access to secret prod/db was denied"),
            (
                CredentialsError::NotFound { secret: secret(), stage: "AWSCURRENT".to_owned(), source: cause() },
                "secret prod/db was not found (AWSCURRENT)",
            ),
            (CredentialsError::Throttled { secret: secret(), elapsed, source: cause() }, "throttled the request"),
            (
                CredentialsError::Service { service, subject: secret(), elapsed, source: cause() },
                "Secrets Manager failed for prod/db",
            ),
            (
                CredentialsError::NoAwsCredentials { service, source: cause() },
                "no AWS credentials to ask Secrets Manager",
            ),
            (CredentialsError::Malformed { secret: secret(), problem: "no JSON".to_owned() }, "malformed: no JSON"),
        ] {
            let mut memory = Memory::default();
            memory.failed(&error, at(10.0));
            let again = chain(&memory.recall("prod/db", at(10.5)).unwrap());
            assert!(again.contains(text) && again.contains("remembered") && again.contains("again in"), "{again}");
            assert_eq!(again.contains("said so"), error.source().is_some(), "{again}");
            memory.answered();
            assert!(memory.recall("prod/db", at(10.5)).is_none());
        }
        for (elapsed, remembered) in [(SOON, false), (SOON / 2, true)] {
            let silent = CredentialsError::Unreachable { service, endpoint: "", elapsed, source: None };
            let mut memory = Memory::default();
            memory.failed(&silent, at(10.0));
            assert_eq!(memory.recall("prod/db", at(10.0)).is_some(), remembered, "after {elapsed:?}");
        }
    }
}
