//! Why there were no credentials the last time, for whoever asks next.

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Credentials, CredentialsError, CredentialsRequest};
use crate::clock::Moment;
use crate::error::chain;
use crate::lapse::{Kind, Lapse, Pending, Remembered};

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Option<Failure>>);

#[derive(Debug)]
struct Failure {
    lapse: Lapse,
    error: Told,
    /// What lay below it.
    cause: String,
    /// What the database had refused by then: not handed out again before the source was asked.
    refused: Vec<Credentials>,
    /// How many logins the database had accepted by then.
    accepted: u64,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A login that was accepted since ends all that was remembered: the secret is good.
    pub(super) fn heed(&self, accepted: u64) {
        self.lock().take_if(|failure| failure.accepted < accepted);
    }

    /// Whether these are known to be refused, and the source has not been asked since.
    pub(super) fn has_refused(&self, credentials: &Credentials) -> bool {
        self.lock().as_ref().is_some_and(|failure| failure.refused.contains(credentials))
    }

    /// The source has answered. What it said may be refused again; only a login proves it good.
    pub(super) fn answered(&self) {
        let mut last = self.lock();
        match last.as_mut() {
            Some(failure) if failure.error == Told::Exhausted => failure.refused.clear(),
            _ => *last = None,
        }
    }

    /// There were none, and why.
    pub(super) fn failed(&self, error: &CredentialsError, request: &CredentialsRequest, now: Moment) {
        let Some(told) = Told::of(error) else { return };
        let kind = match told {
            Told::Throttled { .. } => Kind::Crowded(fastrand::f64()),
            _ => Kind::Lasting,
        };
        let cause = error.source().map(chain).unwrap_or_default();
        let mut last = self.lock();
        let lapse = Lapse::after(last.as_ref().map(|last| last.lapse), now, kind);
        // What was refused before stays so: the source has not said anything since.
        let mut refused = last.take().map(|last| last.refused).unwrap_or_default();
        for one in &request.refused {
            if !refused.contains(one) {
                refused.push(one.clone());
            }
        }
        let accepted = request.accepted;
        *last = Some(Failure { lapse, error: told, cause, refused, accepted });
    }

    /// The same answer as the last time, while nobody is to ask again.
    pub(super) fn recall(&self, secret: &str, now: Moment) -> Option<CredentialsError> {
        let last = self.lock();
        let failure = last.as_ref()?;
        let pending = failure.lapse.pending(now)?;
        let remembered = Remembered { pending, cause: failure.cause.clone() };
        Some(failure.error.again(secret.to_owned(), remembered))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    Exhausted,
}

impl Told {
    /// `None`: it is asked again at once. Silence has taken its time already, and a network comes back by itself.
    fn of(error: &CredentialsError) -> Option<Self> {
        Some(match error {
            CredentialsError::NotFound { stage, .. } => Self::NotFound { stage: stage.clone() },
            CredentialsError::Denied { .. } => Self::Denied,
            CredentialsError::Throttled { elapsed, .. } => Self::Throttled { elapsed: *elapsed },
            CredentialsError::Service { elapsed, .. } => Self::Service { elapsed: *elapsed },
            CredentialsError::Malformed { problem, .. } => Self::Malformed { problem: problem.clone() },
            CredentialsError::Exhausted => Self::Exhausted,
            _ => return None,
        })
    }

    fn again(&self, secret: String, remembered: Remembered) -> CredentialsError {
        let Pending { ago, again } = remembered.pending;
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
            Self::Malformed { problem } => {
                CredentialsError::Malformed { secret, problem: format!("{problem} ({remembered})") }
            }
            Self::Exhausted => CredentialsError::Refused { secret, ago, again },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Deadline;

    fn at(seconds: f64) -> Moment {
        Moment::at(Duration::from_secs_f64(seconds))
    }

    fn request(refused: &[&str], accepted: u64) -> CredentialsRequest {
        CredentialsRequest {
            host: None,
            port: 5432,
            user: None,
            engine: "postgres",
            refused: refused.iter().map(|password| Credentials::new("app", *password)).collect(),
            accepted,
            deadline: Deadline::after(Duration::from_secs(9)),
        }
    }

    #[tokio::test]
    async fn each_failure_is_told_again_as_what_it_was_and_as_remembered() {
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
            (CredentialsError::Malformed { secret: secret(), problem: "no JSON".to_owned() }, "malformed: no JSON"),
            (CredentialsError::Exhausted, "the database refused every version of secret prod/db"),
        ] {
            let memory = Memory::new();
            memory.failed(&error, &request(&[], 0), at(10.0));
            let again = chain(&memory.recall("prod/db", at(10.5)).unwrap());
            assert!(again.contains(text) && again.contains("remembered") && again.contains("again in"), "{again}");
            assert_eq!(again.contains("said so"), error.source().is_some(), "{again}");
        }
        let silent = CredentialsError::Unreachable { service, endpoint: "", elapsed, source: None };
        let memory = Memory::new();
        memory.failed(&silent, &request(&[], 0), at(10.0));
        assert!(memory.recall("prod/db", at(10.0)).is_none(), "silence is not remembered");
    }

    #[tokio::test]
    async fn what_was_refused_is_not_handed_out_until_the_source_was_asked_or_a_login_accepted() {
        let (kept, other) = (Credentials::new("app", "a"), Credentials::new("app", "c"));
        let memory = Memory::new();
        let fail = |when| memory.failed(&CredentialsError::Exhausted, &request(&["a", "b"], 3), at(when));
        fail(0.0);
        assert!(memory.has_refused(&kept) && !memory.has_refused(&other));
        assert!(memory.recall("s", at(1.0)).is_none() && memory.has_refused(&kept), "asked again before it is tried");
        memory.answered();
        assert!(!memory.has_refused(&kept), "the source still says so: one more trial");
        fail(1.0);
        assert!(memory.recall("s", at(2.9)).is_some(), "an answer is no success: twice as long");
        memory.heed(3);
        assert!(memory.recall("s", at(2.9)).is_some());
        memory.heed(4);
        assert!(memory.recall("s", at(2.9)).is_none() && !memory.has_refused(&kept), "a login was accepted since");
        fail(5.0);
        assert!(memory.recall("s", at(6.0)).is_none(), "from the beginning");
    }
}
