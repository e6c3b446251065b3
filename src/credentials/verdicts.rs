//! What each server has said of a secret's versions. Pure: whoever asks the service, or logs in, tells what was said.
//!
//! A server's word counts for that server. One that refuses the password, because it has another or because somebody
//! has taken it over, says nothing of the others: they are asked with what they take.

use std::time::Duration;

use super::round::Round;
use super::{Credentials, CredentialsRequest};
use crate::clock::Moment;
use crate::remembered_failure::{Kind, Lapse, Pending};

/// As many servers are told apart; a cluster has sixteen at the most. The one that was asked for longest ago makes room.
const MOST: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Verdicts(Vec<Verdict>);

#[derive(Debug)]
pub(super) struct Verdict {
    host: Option<String>,
    port: u16,
    /// All versions were refused, so nobody asks or logs in until then.
    lapse: Option<Lapse>,
    /// Not handed out again before the source was asked.
    refused: Vec<Credentials>,
    /// How many logins it had accepted by then.
    accepted: u64,
    /// It has accepted one since all versions were refused.
    let_in: bool,
    pub(super) round: Option<Round>,
    /// Another version than `AWSCURRENT`, which it had refused.
    own: Option<(Credentials, Moment)>,
}

impl Verdicts {
    /// Of the server that is to be dialled; what was remembered of it ends with a login that it has accepted since.
    pub(super) fn of(&mut self, request: &CredentialsRequest) -> &mut Verdict {
        let known = self.0.iter().position(|known| known.host == request.host && known.port == request.port);
        let mut verdict = match known {
            Some(position) => self.0.remove(position),
            None => Verdict::new(request),
        };
        if verdict.accepted < request.accepted {
            // The source is asked no sooner for that: a server that says yes and no in turn is none to ask it for.
            verdict.lapse = verdict.lapse.map(Lapse::shortest);
            (verdict.let_in, verdict.accepted) = (true, request.accepted);
            verdict.refused.clear();
        }
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(verdict);
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

impl Verdict {
    fn new(request: &CredentialsRequest) -> Self {
        Self {
            host: request.host.clone(),
            port: request.port,
            lapse: None,
            refused: Vec::new(),
            accepted: request.accepted,
            let_in: false,
            round: None,
            own: None,
        }
    }

    /// Whether these are known to be refused, and the source has not been asked since.
    pub(super) fn has_refused(&self, credentials: &Credentials) -> bool {
        self.refused.contains(credentials)
    }

    /// What it takes in place of what is current, and for how long it has.
    pub(super) fn own(&self, now: Moment) -> Option<(Credentials, Duration)> {
        self.own.as_ref().map(|(own, since)| (own.clone(), now.since(*since)))
    }

    /// While nobody is to try again.
    pub(super) fn pending(&self, now: Moment) -> Option<Pending> {
        self.lapse?.pending(now)
    }

    /// The source has answered. What it said may be refused again; only a login proves it good.
    pub(super) fn answered(&mut self, own: Option<Credentials>, now: Moment) {
        self.refused.clear();
        self.own = own.map(|own| (own, now));
    }

    /// It has refused these, and the source had no others.
    pub(super) fn refuses(&mut self, refused: &[Credentials]) {
        for one in refused {
            if !self.refused.contains(one) {
                self.refused.push(one.clone());
            }
        }
    }

    /// And that is all that there are.
    pub(super) fn exhausted(&mut self, now: Moment) {
        let previous = self.lapse.filter(|_| !std::mem::take(&mut self.let_in));
        self.lapse = Some(Lapse::after(previous, now, Kind::Lasting));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::at(Duration::from_secs_f64(seconds))
    }

    fn login(password: &str) -> Credentials {
        Credentials::new("app", password)
    }

    fn request(host: &str, accepted: u64) -> CredentialsRequest {
        CredentialsRequest { accepted, ..CredentialsRequest::to(host) }
    }

    #[test]
    fn what_was_refused_is_not_handed_out_until_the_source_was_asked_or_a_login_accepted() {
        let mut verdicts = Verdicts::default();
        let verdict = verdicts.of(&request("db", 3));
        let fail = |verdict: &mut Verdict, when| {
            verdict.refuses(&[login("a"), login("b")]);
            verdict.exhausted(at(when));
        };
        fail(verdict, 0.0);
        assert!(verdict.has_refused(&login("a")) && !verdict.has_refused(&login("c")));
        assert!(verdict.pending(at(1.0)).is_none() && verdict.has_refused(&login("a")), "asked before it is tried");
        verdict.answered(None, at(1.0));
        assert!(!verdict.has_refused(&login("a")), "the source still says so: one more trial");
        fail(verdict, 1.0);
        assert!(verdict.pending(at(2.9)).is_some(), "an answer is no success: twice as long");
        assert!(verdicts.of(&request("db", 3)).pending(at(2.9)).is_some());
        let verdict = verdicts.of(&request("db", 4));
        assert!(verdict.pending(at(2.9)).is_none() && !verdict.has_refused(&login("a")), "let in since");
        fail(verdict, 5.0);
        assert!(verdict.pending(at(6.0)).is_none(), "from the beginning");
    }

    #[test]
    fn a_server_that_says_yes_and_no_in_turn_is_none_to_ask_the_source_for() {
        let mut verdicts = Verdicts::default();
        for login in 0..100_u32 {
            let now = at(f64::from(login) / 100.0);
            let verdict = verdicts.of(&request("db", login.into()));
            assert_eq!(verdict.pending(now).is_none(), login == 0, "{login}");
            if login == 0 {
                verdict.exhausted(now);
            }
        }
        assert!(verdicts.of(&request("db", 100)).pending(at(1.0)).is_none());
    }

    #[test]
    fn a_servers_word_counts_for_that_server() {
        let mut verdicts = Verdicts::default();
        let bad = verdicts.of(&request("reader", 0));
        bad.refuses(&[login("a")]);
        bad.exhausted(at(0.0));
        bad.answered(Some(login("b")), at(0.0));
        bad.refuses(&[login("a")]);
        // What another one accepts says nothing of it either.
        for accepted in [0, 7] {
            let good = verdicts.of(&request("writer", accepted));
            assert!(good.pending(at(0.5)).is_none() && !good.has_refused(&login("a")) && good.own(at(0.5)).is_none());
        }
        let bad = verdicts.of(&request("reader", 0));
        assert!(bad.pending(at(0.5)).is_some() && bad.has_refused(&login("a")) && bad.own(at(0.5)).is_some());
    }

    #[test]
    fn servers_without_number_take_no_room_without_bound() {
        let mut verdicts = Verdicts::default();
        for number in 0..100 {
            verdicts.of(&request(&format!("db{number}"), 0)).exhausted(at(0.0));
            verdicts.of(&request("often", 0)).exhausted(at(0.0));
        }
        assert_eq!(verdicts.0.len(), MOST);
        assert!(verdicts.of(&request("often", 0)).pending(at(30.0)).is_some());
    }
}
