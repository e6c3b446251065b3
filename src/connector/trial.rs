//! Credentials on trial: those that no login has proven yet are tried by one login at a time.
//!
//! A server may count refused logins and lock the user, and twenty callers who were told the same password at the same
//! moment would be refused twenty times. So the first of them logs in and the others wait for what the database says: let
//! in, they all follow at once; refused, none of them tries it again. For a connect nothing is remembered longer than that:
//! when a refused secret is tried again is its provider's to say. A cancel asks no provider first; for it a refusal stands
//! until that server has let somebody in with the same credentials.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::credentials::{Credentials, CredentialsRequest};

/// As many servers are told apart; a cluster has sixteen at the most.
const MOST_SERVERS: usize = 32;

/// As many refusals are remembered: those of all versions of a secret at each server.
const MOST_REFUSALS: usize = 4 * MOST_SERVERS;

/// What is tried, and where: another server may know another password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) credentials: Credentials,
}

impl Key {
    fn is_of(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

/// How a trial ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    UnderWay,
    Refused,
    /// Let in; or it came to no verdict, and the next one tries.
    Over,
}

/// Whose turn it is.
pub(super) enum Turn<'a> {
    /// These have been let in before: nobody waits.
    Proven,
    /// The caller's. Dropped without a verdict, it is the next one's.
    Yours(Trial<'a>),
    /// Somebody else's, and the database has refused them.
    Refused,
}

#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<Docket>);

#[derive(Debug, Default)]
struct Docket {
    /// What each server has let in last.
    proven: Vec<Key>,
    under_way: Vec<(Key, watch::Sender<Verdict>)>,
    /// Each with how many there had been when it came.
    refusals: Vec<(Key, u64)>,
    refused: u64,
    /// By what was asked for: the host, where it was known before the credentials were, and the port.
    accepted: HashMap<(Option<String>, u16), u64>,
}

/// A login on whose end others may wait.
pub(super) struct Trial<'a> {
    trials: &'a Trials,
    key: Option<Key>,
}

impl Trials {
    /// How many logins the server at this place has accepted.
    pub(super) fn accepted(&self, host: Option<&str>, port: u16) -> u64 {
        self.lock().accepted.get(&(host.map(str::to_owned), port)).copied().unwrap_or_default()
    }

    /// How many trials have ended in a refusal: read before credentials are asked for, so that a refusal of what is then
    /// told cannot be missed.
    pub(super) fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// Waits while somebody else tries these. `seen`: as [`refused`](Self::refused) was when they were asked for.
    ///
    /// # Cancel safety
    /// A dropped future waits no more.
    pub(super) async fn turn(&self, key: &Key, seen: u64) -> Turn<'_> {
        loop {
            let mut verdict = {
                let mut docket = self.lock();
                if docket.proven.contains(key) {
                    return Turn::Proven;
                }
                if docket.refusals.iter().any(|(refused, nth)| refused == key && *nth > seen) {
                    return Turn::Refused;
                }
                match docket.under_way.iter().find(|(tried, _)| tried == key) {
                    Some((_, verdict)) => verdict.subscribe(),
                    None => {
                        docket.under_way.push((key.clone(), watch::Sender::new(Verdict::UnderWay)));
                        return Turn::Yours(Trial { trials: self, key: Some(key.clone()) });
                    }
                }
            };
            // An error is a trial that is over.
            if verdict.wait_for(|verdict| *verdict != Verdict::UnderWay).await.is_ok_and(|v| *v == Verdict::Refused) {
                return Turn::Refused;
            }
        }
    }

    /// The server has let these in.
    pub(super) fn accept(&self, key: &Key, request: &CredentialsRequest) {
        let mut docket = self.lock();
        *docket.accepted.entry((request.host.clone(), request.port)).or_default() += 1;
        // They are right by now. What else it has refused says the more for being refused while these are right.
        docket.refusals.retain(|(refused, _)| refused != key);
        if !docket.proven.contains(key) {
            docket.proven.retain(|proven| !proven.is_of(key));
            if docket.proven.len() == MOST_SERVERS {
                docket.proven.remove(0);
            }
            docket.proven.push(key.clone());
        }
    }

    /// Forgets all credentials: what has been proven, and what was refused. Those under trial are their logins' own.
    #[cfg(feature = "lambda")]
    pub(super) fn forget(&self) {
        let mut docket = self.lock();
        docket.proven.clear();
        docket.refusals.clear();
    }

    /// The database has refused these: they are proven no longer.
    pub(super) fn refuse(&self, key: &Key) {
        let mut docket = self.lock();
        docket.refused += 1;
        docket.proven.retain(|proven| proven != key);
        docket.refusals.retain(|(refused, _)| refused != key);
        if docket.refusals.len() == MOST_REFUSALS {
            docket.refusals.remove(0);
        }
        let nth = docket.refused;
        docket.refusals.push((key.clone(), nth));
    }

    fn lock(&self) -> MutexGuard<'_, Docket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trial<'_> {
    /// The database has refused them: all who wait are told.
    pub(super) fn refused(mut self) {
        self.end(Verdict::Refused);
    }

    fn end(&mut self, verdict: Verdict) {
        let Some(key) = self.key.take() else { return };
        let mut docket = self.trials.lock();
        if let Some(position) = docket.under_way.iter().position(|(tried, _)| *tried == key) {
            let (_, waiting) = docket.under_way.swap_remove(position);
            waiting.send_replace(verdict);
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.end(Verdict::Over);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn key(host: &str, password: &str) -> Key {
        Key { host: host.to_owned(), port: 5432, credentials: Credentials::new("app", password) }
    }

    fn name(turn: &Turn<'_>) -> &'static str {
        match turn {
            Turn::Proven => "proven",
            Turn::Yours(_) => "yours",
            Turn::Refused => "refused",
        }
    }

    async fn turn<'a>(trials: &'a Trials, key: &Key) -> Turn<'a> {
        trials.turn(key, trials.refused()).await
    }

    #[tokio::test]
    async fn one_tries_and_those_who_wait_follow_what_was_said() {
        for (accepted, told) in [(true, "proven"), (false, "refused")] {
            let (trials, key) = (Trials::default(), key("db", "x"));
            let Turn::Yours(trial) = turn(&trials, &key).await else { panic!("nobody tries it") };
            let late = trials.refused();
            let mut waiting = pin!(turn(&trials, &key));
            assert!((&mut waiting).now_or_never().is_none(), "somebody else tries it");
            if accepted {
                trials.accept(&key, &CredentialsRequest::to("db"));
                drop(trial);
            } else {
                trials.refuse(&key);
                trial.refused();
            }
            assert_eq!(name(&waiting.await), told);
            assert_eq!(name(&trials.turn(&key, late).await), told, "told the same before, and come after");
            let anew = turn(&trials, &key).await;
            assert_eq!(name(&anew), if accepted { "proven" } else { "yours" }, "asked for anew");
        }
    }

    #[tokio::test]
    async fn a_trial_without_a_verdict_is_the_next_ones() {
        let (trials, key) = (Trials::default(), key("db", "x"));
        let first = turn(&trials, &key).await;
        let mut waiting = pin!(turn(&trials, &key));
        assert!((&mut waiting).now_or_never().is_none());
        drop(first);
        assert_eq!(name(&waiting.await), "yours");
    }

    #[tokio::test]
    async fn another_server_and_other_credentials_are_another_trial() {
        let trials = Trials::default();
        let _first = turn(&trials, &key("db", "x")).await;
        for other in [key("other", "x"), key("db", "y")] {
            assert_eq!(name(&turn(&trials, &other).await), "yours");
        }
    }

    #[tokio::test]
    async fn what_one_server_has_let_in_is_on_trial_at_another() {
        let trials = Trials::default();
        trials.accept(&key("reader", "x"), &CredentialsRequest::to("reader"));
        assert_eq!(name(&turn(&trials, &key("reader", "x")).await), "proven");
        assert_eq!(name(&turn(&trials, &key("writer", "x")).await), "yours");
        trials.accept(&key("writer", "x"), &CredentialsRequest::to("writer"));
        trials.accept(&key("writer", "y"), &CredentialsRequest::to("writer"));
        assert_eq!(name(&turn(&trials, &key("reader", "x")).await), "proven");
        assert_eq!(name(&turn(&trials, &key("writer", "x")).await), "yours", "another has taken its place");
    }

    /// A cancel tries what its connection was made with, time and again, and then what the provider has by now.
    #[tokio::test]
    async fn a_refusal_stands_when_other_credentials_are_let_in() {
        let trials = Trials::default();
        let (old, new) = (key("db", "old"), key("db", "new"));
        trials.refuse(&old);
        trials.accept(&new, &CredentialsRequest::to("db"));
        assert_eq!(name(&trials.turn(&old, 0).await), "refused");
        trials.accept(&old, &CredentialsRequest::to("db"));
        assert_eq!(name(&trials.turn(&old, 0).await), "proven");
        assert_eq!(name(&trials.turn(&new, 0).await), "yours");
    }

    #[cfg(feature = "lambda")]
    #[tokio::test]
    async fn nothing_is_remembered_after_it_was_to_be_forgotten() {
        let (trials, good, bad) = (Trials::default(), key("db", "good"), key("db", "bad"));
        trials.accept(&good, &CredentialsRequest::to("db"));
        trials.refuse(&bad);
        trials.forget();
        for key in [good, bad] {
            assert_eq!(name(&trials.turn(&key, 0).await), "yours");
        }
        let docket = trials.lock();
        assert!(docket.proven.is_empty() && docket.refusals.is_empty() && docket.under_way.is_empty());
    }

    #[tokio::test]
    async fn what_is_refused_later_is_proven_no_longer() {
        let (trials, key) = (Trials::default(), key("db", "x"));
        trials.accept(&key, &CredentialsRequest::to("db"));
        assert_eq!(name(&turn(&trials, &key).await), "proven");
        assert_eq!((trials.accepted(Some("db"), 5432), trials.accepted(Some("other"), 5432)), (1, 0));
        trials.refuse(&key);
        assert_eq!(name(&turn(&trials, &key).await), "yours");
    }
}
