//! A round through the stages of a secret, after the database has refused what it was given.
//!
//! Callers who are refused share it: each stage is asked for once, and only when all that is known is refused. When
//! nothing is left, what was found stays known: as long as `AWSCURRENT` is the same version, the other stages are not asked
//! for again. Pure: whoever asks the service tells what it said.

use std::time::Duration;

use super::Credentials;
use crate::clock::Moment;

pub(super) const CURRENT: &str = "AWSCURRENT";
const STAGES: [&str; 3] = [CURRENT, "AWSPENDING", "AWSPREVIOUS"];

/// A round that did not come to its end is begun anew after this: the secret may have rotated meanwhile.
const STALE: Duration = Duration::from_secs(60);

/// So long a finished round speaks for the other stages: a database whose password was put back to an earlier one, by hand,
/// is found by then.
const KNOWN: Duration = Duration::from_secs(600);

/// What a stage holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) version: Option<String>,
    pub(super) credentials: Credentials,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These are to be tried.
    Try(Credentials),
    /// This stage is to be asked for.
    Ask(&'static str),
    /// All are refused.
    Exhausted,
}

#[derive(Debug)]
pub(super) struct Round {
    began: Moment,
    /// How many logins had been accepted then: one more, and the secret is good again.
    accepted: u64,
    asked: usize,
    /// All that there is was refused.
    ended: bool,
    current: Option<String>,
    found: Vec<Credentials>,
    refused: Vec<Credentials>,
    /// `AWSCURRENT` as it was when all stages were refused before.
    exhausted: Option<String>,
    /// When all stages were really asked for.
    complete: Moment,
}

impl Round {
    /// The round that goes on, or a new one.
    pub(super) fn resume(last: Option<Self>, now: Moment, accepted: u64) -> Self {
        let last = last.filter(|last| last.accepted == accepted);
        match last {
            Some(round) if !round.ended && now.since(round.began) < STALE => round,
            last => {
                let known = last.filter(|last| now.since(last.complete) < KNOWN);
                Self {
                    began: now,
                    accepted,
                    asked: 0,
                    ended: false,
                    current: None,
                    found: Vec::new(),
                    refused: Vec::new(),
                    complete: known.as_ref().map_or(now, |known| known.complete),
                    exhausted: known.and_then(|known| known.current.filter(|_| known.ended)),
                }
            }
        }
    }

    /// After these refusals, in this connect.
    pub(super) fn next(&mut self, refused: &[Credentials]) -> Next {
        for one in refused {
            if !self.refused.contains(one) {
                self.refused.push(one.clone());
            }
        }
        if let Some(found) = self.found.iter().find(|found| !self.refused.contains(found)) {
            return Next::Try(found.clone());
        }
        let Some(stage) = STAGES.get(self.asked) else {
            self.ended = true;
            return Next::Exhausted;
        };
        Next::Ask(stage)
    }

    /// Whether this is what `AWSCURRENT` holds.
    pub(super) fn is_current(&self, credentials: &Credentials) -> bool {
        // It is asked for first, and there is no round without it.
        self.found.first() == Some(credentials)
    }

    /// The stage that was to be asked for holds this, or nothing.
    pub(super) fn answered(&mut self, found: Option<Found>, now: Moment) {
        if self.asked == 0 {
            self.current = found.as_ref().and_then(|found| found.version.clone());
        }
        self.asked += 1;
        if self.asked == 1 && self.current.is_some() && self.current == self.exhausted {
            // The other stages were refused, or empty, beside this very version.
            self.asked = STAGES.len();
        } else if self.asked == STAGES.len() {
            self.complete = now;
        }
        self.found.extend(found.map(|found| found.credentials));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn login(password: &str) -> Credentials {
        Credentials::new("app", password)
    }

    /// Goes on until there is something to try, with a secret of these passwords; what was asked for, and what is to be
    /// tried.
    fn go(round: &mut Round, secret: [Option<&str>; 3], refused: &[&str], now: Moment) -> (usize, Option<Credentials>) {
        let refused: Vec<_> = refused.iter().map(|password| login(password)).collect();
        let mut calls = 0;
        loop {
            match round.next(&refused) {
                Next::Try(credentials) => return (calls, Some(credentials)),
                Next::Exhausted => return (calls, None),
                Next::Ask(stage) => {
                    calls += 1;
                    let position = STAGES.iter().position(|known| *known == stage).unwrap();
                    let found = secret[position].map(|password| Found {
                        version: Some(format!("version of {password}")),
                        credentials: login(password),
                    });
                    round.answered(found, now);
                }
            }
        }
    }

    #[test]
    fn each_stage_is_asked_for_once_and_only_when_what_is_known_is_refused() {
        let secret = [Some("a"), None, Some("b")];
        let mut round = Round::resume(None, at(0), 0);
        assert_eq!(go(&mut round, secret, &["a"], at(0)), (3, Some(login("b"))));
        for (refused, tried) in [(&["a"][..], Some("b")), (&["a"], Some("b")), (&["a", "b"], None)] {
            round = Round::resume(Some(round), at(1), 0);
            assert_eq!(go(&mut round, secret, refused, at(1)), (0, tried.map(login)), "others share it");
        }
        let mut rotated = Round::resume(None, at(0), 0);
        assert_eq!(go(&mut rotated, [Some("new"), None, Some("a")], &["a"], at(0)), (1, Some(login("new"))));
    }

    #[test]
    fn refused_stages_are_not_asked_for_again_while_the_current_version_is_the_same() {
        let broken = [Some("a"), None, Some("b")];
        let exhausted = || {
            let mut round = Round::resume(None, at(0), 7);
            assert_eq!(go(&mut round, broken, &["a", "b"], at(0)), (3, None));
            round
        };
        for (secret, accepted, when, calls, tried) in [
            (broken, 7, 2, 1, None),
            (broken, 7, 599, 1, None),
            // It has rotated: all is new.
            ([Some("c"), None, Some("a")], 7, 2, 1, Some("c")),
            // A login was accepted meanwhile: the secret was good, and this is another trouble.
            (broken, 8, 2, 3, Some("b")),
            // Long ago.
            (broken, 7, 600, 3, Some("b")),
        ] {
            let mut round = Round::resume(Some(exhausted()), at(when), accepted);
            let told = go(&mut round, secret, &["a"], at(when));
            assert_eq!(told, (calls, tried.map(login)), "{secret:?} {accepted} {when}");
        }
        let mut again = Round::resume(Some(exhausted()), at(300), 7);
        go(&mut again, broken, &["a"], at(300));
        let mut later = Round::resume(Some(again), at(650), 7);
        assert_eq!(go(&mut later, broken, &["a"], at(650)).0, 3, "counted from when they were really asked for");
    }

    #[test]
    fn a_round_that_did_not_end_goes_on_for_a_while() {
        let secret = [Some("a"), Some("b"), None];
        for (when, calls) in [(59, 0), (60, 2)] {
            let mut round = Round::resume(None, at(0), 0);
            assert_eq!(go(&mut round, secret, &["a"], at(0)), (2, Some(login("b"))));
            let mut round = Round::resume(Some(round), at(when), 0);
            assert_eq!(go(&mut round, secret, &["a"], at(when)), (calls, Some(login("b"))));
        }
    }
}
