//! Credentials on trial: each crowd of logins sends one ahead.
//!
//! A server may count refused logins and lock the user, and twenty callers who were told the same password at the same
//! moment would be refused twenty times; that it has let in the same an hour ago says nothing, for it may be a new one since
//! a moment. So the first of them logs in, and a second where that takes long, and the others wait for what the database says:
//! let in, they all follow at once; refused, none of them tries it again. Who logs in alone waits for nobody. For a connect
//! nothing is remembered longer than that: when a refused secret is tried again is its provider's to say. A cancel asks no
//! provider first; for it a refusal stands until that server has let somebody in with the same credentials.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::credentials::{Credentials, CredentialsRequest};

/// So long those who were let in before wait for the one who went ahead, until one more goes: its way may have lost it. No third
/// one does, for a server may take its time to refuse (MySQL's `connection_control`, PostgreSQL's `auth_delay`).
const HEAD_START: Duration = Duration::from_secs(1);

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

/// Whose turn it is.
pub(super) enum Turn<'a> {
    /// Everybody's who waited: these have been let in since the caller came.
    Everybodys,
    /// The caller's. Dropped without a verdict, it is the next one's.
    Yours(#[allow(dead_code, reason = "held for its end")] Trial<'a>),
    /// Somebody else's, and the database has refused them.
    Refused,
}

#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<Docket>);

#[derive(Debug, Default)]
struct Docket {
    /// What each server has let in last, and how many it had let in by then, wherever.
    proven: Vec<(Key, u64)>,
    let_in: u64,
    under_way: Vec<Tried>,
    /// Each with how many there had been when it came.
    refusals: Vec<(Key, u64)>,
    refused: u64,
    /// By what was asked for: the host, where it was known before the credentials were, and the port.
    accepted: HashMap<(Option<String>, u16), u64>,
}

/// Credentials that somebody logs in with.
#[derive(Debug)]
struct Tried {
    key: Key,
    /// How many logins with them are under way.
    logins: usize,
    /// Notified whenever one of those logins ends.
    ended: watch::Sender<()>,
}

/// A login on whose end others may wait.
pub(super) struct Trial<'a> {
    trials: &'a Trials,
    key: Key,
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
        let (came, patience) = (self.lock().let_in, Instant::now() + HEAD_START);
        loop {
            let (mut ended, waits_for_ever) = {
                let mut docket = self.lock();
                let known = docket.proven.iter().find(|(proven, _)| proven == key).map(|(_, nth)| *nth);
                if known.is_some_and(|nth| nth > came) {
                    return Turn::Everybodys;
                }
                if docket.refusals.iter().any(|(refused, nth)| refused == key && *nth > seen) {
                    return Turn::Refused;
                }
                let late = known.is_some() && Instant::now() >= patience;
                match docket.under_way.iter_mut().find(|tried| tried.key == *key) {
                    Some(tried) if late && tried.logins == 1 => {
                        tried.logins += 1;
                        return Turn::Yours(Trial { trials: self, key: key.clone() });
                    }
                    Some(tried) => (tried.ended.subscribe(), known.is_none() || late),
                    None => {
                        docket.under_way.push(Tried { key: key.clone(), logins: 1, ended: watch::Sender::new(()) });
                        return Turn::Yours(Trial { trials: self, key: key.clone() });
                    }
                }
            };
            // The sender is dropped when the last of these logins ends, so that an error means the same as a change.
            let ended = ended.changed();
            if waits_for_ever {
                let _ = ended.await;
            } else {
                let _ = timeout_at(patience, ended).await;
            }
        }
    }

    /// The server has let these in.
    pub(super) fn accept(&self, key: &Key, request: &CredentialsRequest) {
        let mut docket = self.lock();
        *docket.accepted.entry((request.host.clone(), request.port)).or_default() += 1;
        // They are right by now. What else it has refused says the more for being refused while these are right.
        docket.refusals.retain(|(refused, _)| refused != key);
        docket.let_in += 1;
        docket.proven.retain(|(proven, _)| !proven.is_of(key));
        if docket.proven.len() == MOST_SERVERS {
            docket.proven.remove(0);
        }
        let nth = docket.let_in;
        docket.proven.push((key.clone(), nth));
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
        if docket.proven.iter().any(|(proven, _)| proven == key) {
            // It knows others by now: what it had refused while these were right may be what it wants.
            docket.refusals.retain(|(refused, _)| !refused.is_of(key));
        }
        docket.proven.retain(|(proven, _)| proven != key);
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

impl Drop for Trial<'_> {
    /// It has ended, well or badly: what the database has said of it is noted before.
    fn drop(&mut self) {
        let mut docket = self.trials.lock();
        if let Some(position) = docket.under_way.iter().position(|tried| tried.key == self.key) {
            let tried = &mut docket.under_way[position];
            tried.logins -= 1;
            tried.ended.send_replace(());
            if tried.logins == 0 {
                docket.under_way.swap_remove(position);
            }
        }
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
            Turn::Everybodys => "everybody's",
            Turn::Yours(_) => "yours",
            Turn::Refused => "refused",
        }
    }

    async fn turn<'a>(trials: &'a Trials, key: &Key) -> Turn<'a> {
        trials.turn(key, trials.refused()).await
    }

    #[tokio::test]
    async fn one_tries_and_those_who_wait_follow_what_was_said() {
        for (accepted, told) in [(true, "everybody's"), (false, "refused")] {
            let (trials, key) = (Trials::default(), key("db", "x"));
            let Turn::Yours(trial) = turn(&trials, &key).await else { panic!("nobody tries it") };
            let late = trials.refused();
            let mut waiting = pin!(turn(&trials, &key));
            assert!((&mut waiting).now_or_never().is_none(), "somebody else tries it");
            if accepted {
                trials.accept(&key, &CredentialsRequest::to("db"));
            } else {
                trials.refuse(&key);
            }
            drop(trial);
            assert_eq!(name(&waiting.await), told);
            let after = if accepted { "yours" } else { "refused" };
            assert_eq!(name(&trials.turn(&key, late).await), after, "told the same before, and come after");
            assert_eq!(name(&turn(&trials, &key).await), "yours", "asked for anew");
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
    async fn what_one_server_has_let_in_says_nothing_of_another() {
        let (trials, writer) = (Trials::default(), key("writer", "x"));
        let first = turn(&trials, &writer).await;
        let mut waiting = pin!(turn(&trials, &writer));
        assert!((&mut waiting).now_or_never().is_none());
        trials.accept(&key("reader", "x"), &CredentialsRequest::to("reader"));
        trials.accept(&key("writer", "y"), &CredentialsRequest::to("writer"));
        drop(first);
        assert_eq!(name(&waiting.await), "yours");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_sends_one_ahead_and_one_more_where_that_takes_long() {
        let (trials, key) = (Trials::default(), key("db", "x"));
        trials.accept(&key, &CredentialsRequest::to("db"));
        let first = turn(&trials, &key).await;
        assert_eq!(name(&first), "yours", "it may be another one by now");
        let mut waiting = pin!(turn(&trials, &key));
        assert!((&mut waiting).now_or_never().is_none());
        let began = Instant::now();
        let second = waiting.await;
        assert_eq!((name(&second), began.elapsed()), ("yours", HEAD_START));
        let mut waiting = pin!(turn(&trials, &key));
        assert!(tokio::time::timeout(10 * HEAD_START, &mut waiting).await.is_err(), "both may be refused");
        drop(first);
        assert!(
            (&mut waiting).now_or_never().is_none_or(|turn| name(&turn) == "yours"),
            "the first came to no verdict"
        );
        trials.accept(&key, &CredentialsRequest::to("db"));
        drop(second);
        let unknown = self::key("db", "y");
        let _first = turn(&trials, &unknown).await;
        let mut waiting = pin!(turn(&trials, &unknown));
        assert!(
            tokio::time::timeout(2 * HEAD_START, &mut waiting).await.is_err(),
            "what nobody has proven is tried by one"
        );
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
        assert_eq!(name(&trials.turn(&old, 0).await), "yours");
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
    async fn a_refusal_is_over_when_what_was_right_beside_it_is_refused() {
        let (trials, old, new) = (Trials::default(), key("db", "old"), key("db", "new"));
        let elsewhere = key("other", "new");
        trials.refuse(&new);
        trials.refuse(&elsewhere);
        trials.accept(&old, &CredentialsRequest::to("db"));
        assert_eq!(name(&trials.turn(&new, 0).await), "refused");
        trials.refuse(&old);
        assert_eq!(name(&trials.turn(&new, 0).await), "yours");
        assert_eq!(name(&trials.turn(&elsewhere, 0).await), "refused", "another server knows what it knows");
    }

    #[tokio::test]
    async fn logins_are_counted_by_server() {
        let (trials, key) = (Trials::default(), key("db", "x"));
        trials.accept(&key, &CredentialsRequest::to("db"));
        assert_eq!((trials.accepted(Some("db"), 5432), trials.accepted(Some("other"), 5432)), (1, 0));
        trials.refuse(&key);
        assert!(trials.lock().proven.is_empty());
    }
}
