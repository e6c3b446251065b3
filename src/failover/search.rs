//! The way to the writer: straight where it is known, and otherwise by a search, one for all who wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::hunt::{self, Scout, Told};
use super::{FIRST_BOUND, Failover, LOOK_BOUND, changed_role};
use crate::backoff::Backoff;
use crate::connector::{Access, Wire};
use crate::deadline::Deadline;
use crate::engine::{Engine, Flavour, Survey};
use crate::error::{Answer, Error, Phase, chain, timed_out};
use crate::event::Event;
use crate::pool::Attempt;
use crate::random;
use crate::topology::{Address, Candidates, Place};

/// A login at the known writer takes 5-50 ms. After this the others are asked as well, where there are others; the writer
/// is one of those who are asked then, and gets more time with every attempt.
const STRAIGHT_BOUND: Duration = Duration::from_millis(400);

/// Pauses between attempts at a server that is alone.
const RESTART_BASE: Duration = Duration::from_millis(20);
const RESTART_CAP: Duration = Duration::from_millis(250);

impl<DB: Engine> Failover<DB> {
    /// A connection to the writer: straight where it is known, after a search where it is in doubt.
    pub(super) async fn connect_writer(&self, attempt: &Attempt) -> Result<Wire<DB>, Error> {
        let begun = Instant::now();
        let mut attempt = attempt.clone();
        let mut tries = 0;
        // Those who waited for a search dial one after the other: the logins of all of them at once would be ahead of the
        // first statement on the connection that was found, and that one serves them meanwhile.
        let mut place_in_line = None;
        loop {
            if !self.belief.is_in_doubt() || self.has_no_peers() {
                let news = self.belief.news();
                let dialled = self.straight_or_late(&attempt, tries).await;
                drop(place_in_line.take());
                match dialled {
                    Ok(wire) => return Ok(wire),
                    Err(error) if self.is_worth_a_search(&error) && begun.elapsed() < self.spans.failover => {
                        if self.has_no_peers() {
                            return self.persist(error, &attempt).await;
                        }
                        if self.belief.news() != news {
                            // Many dial at the same time: the slow ones among them do not put the writer in doubt that
                            // a quick one has just proven, nor the new one when the old one is given up.
                            if attempt.deadline.remaining().is_zero() {
                                return Err(error);
                            }
                            tries += 1;
                            continue;
                        }
                        let at = self.topology.writer().map(|writer| writer.address);
                        let unknown = || Address::new("the target", 0);
                        self.doubt(&at.unwrap_or_else(unknown), &chain(&error));
                    }
                    Err(error) => return Err(error),
                }
            }
            attempt.enter(Phase::Searching);
            let waiting = Searching::new(&self.searching);
            let mut turn = self.turn.lock().await;
            drop(waiting);
            if !self.belief.is_in_doubt() {
                // Somebody else has found it meanwhile, and that may have taken longer than a dial is given.
                attempt = attempt.within(attempt.deadline.extended(self.spans.failover));
                place_in_line = Some(turn);
                continue;
            }
            let answers = match &*turn {
                // Somebody else has searched in vain since this attempt began.
                Some((failed, answers)) if *failed >= begun => answers.clone(),
                _ => match self.search(&attempt).await {
                    Ok(wire) => return Ok(wire),
                    Err(answers) => {
                        *turn = Some((Instant::now(), answers.clone()));
                        answers
                    }
                },
            };
            return Err(Error::NoWriter { elapsed: begun.elapsed(), answers });
        }
    }

    /// To the writer that is known, or to where the target is said to be.
    async fn straight(&self, attempt: &Attempt) -> Result<Wire<DB>, Error> {
        let known = self.topology.writer();
        let place = match known {
            Some(writer) => Place { host: Some(writer.address.host), port: Some(writer.address.port) },
            None => self.connector.home(attempt.deadline).await?,
        };
        let mut wire = self.connector.reach(place, Access::ReadWrite, attempt).await?;
        self.topology.aim_first(&wire.at);
        if !self.has_roles() || !self.topology.is_cluster_like() {
            self.proven(&mut wire);
            return Ok(wire);
        }
        attempt.enter(Phase::Setup);
        match self.look(&mut wire).await? {
            Told::Writer => {}
            Told::Reader if self.is_only_server(&wire.at) => self.belief.be_solitary(),
            told => return Err(changed_role(&wire.at, told)),
        }
        self.proven(&mut wire);
        Ok(wire)
    }

    /// As [`straight`](Self::straight), but where there are others to ask a silent server is not waited for.
    async fn straight_or_late(&self, attempt: &Attempt, tries: u32) -> Result<Wire<DB>, Error> {
        if self.has_no_peers() || !self.has_roles() {
            return self.straight(attempt).await;
        }
        let established = self.belief.is_established();
        let bound = if established { STRAIGHT_BOUND } else { FIRST_BOUND };
        let bound = bound.saturating_mul(2_u32.saturating_pow(tries));
        self.straight(&attempt.within(attempt.deadline.within(bound))).await
    }

    /// A server that is alone may be restarting, and its name may lead elsewhere in a moment.
    async fn persist(&self, mut error: Error, attempt: &Attempt) -> Result<Wire<DB>, Error> {
        let attempt = attempt.within(attempt.deadline.within(self.spans.restart));
        let _persisting = Searching::new(&self.persisting);
        let mut pauses = Backoff::new(RESTART_BASE, RESTART_CAP, random::generator());
        while self.is_worth_a_search(&error) {
            let host = self.connector.last_login().unwrap_or_default();
            *self.heard() = vec![Answer { host, answer: chain(&error) }];
            let pause = pauses.next().unwrap_or(RESTART_CAP);
            if pause >= attempt.deadline.remaining() {
                break;
            }
            sleep(pause).await;
            let left = attempt.deadline.remaining();
            error = match self.straight(&attempt).await {
                Ok(wire) => return Ok(wire),
                // Cut off before anybody could have answered: it says less than the one before it.
                Err(_) if left < RESTART_CAP && attempt.deadline.remaining().is_zero() => return Err(error),
                Err(error) => error,
            };
        }
        Err(error)
    }

    /// Searches, while nobody else does.
    async fn search(&self, attempt: &Attempt) -> Result<Wire<DB>, Vec<Answer>> {
        let _searching = Searching::new(&self.searching);
        attempt.enter(Phase::Searching);
        let deadline = Deadline::after(self.spans.failover);
        let before = self.epoch();
        self.heard().clear();
        let mut wire = hunt::hunt(&Search { failover: self, attempt }, deadline).await?;
        self.proven(&mut wire);
        let (host, elapsed) = (wire.at.to_string(), deadline.spent());
        self.events.emit(&Event::WriterFound { host, moved: self.epoch() != before, epoch: self.epoch(), elapsed });
        Ok(wire)
    }
}

/// One search's way of asking.
struct Search<'a, DB: Engine> {
    failover: &'a Failover<DB>,
    attempt: &'a Attempt,
}

impl<DB: Engine> Search<'_, DB> {
    /// A known member is asked for its role alone, one short query, because somebody is waiting for the writer; its neighbours are asked
    /// for at the connection's next validation. A reader is asked for its neighbours too, since it may know the new writer. Behind an
    /// endpoint's name the full look is always made, because the server has to say which member it is.
    async fn ask(&self, wire: &mut Wire<DB>) -> Result<Told, Error> {
        if self.is_member(&wire.at) {
            let asked = timeout(LOOK_BOUND, DB::survey(&mut wire.driver, Flavour::Plain)).await;
            let survey = asked.unwrap_or_else(|_| Err(timed_out())).map_err(Error::Database)?;
            if !survey.is_reader {
                self.failover.topology.learn(&wire.at, &Survey { flavour: Flavour::Unknown, ..survey });
                return Ok(Told::Writer);
            }
        }
        self.failover.look(wire).await
    }

    fn is_member(&self, at: &Address) -> bool {
        self.candidates().members.iter().any(|member| member.address.is(at))
    }
}

impl<DB: Engine> Scout for Search<'_, DB> {
    type Conn = Wire<DB>;

    fn candidates(&self) -> Candidates {
        self.failover.topology.candidates()
    }

    async fn dial(&self, at: &Address, deadline: Deadline) -> Result<(Wire<DB>, Told), Error> {
        let place = Place { host: Some(at.host.clone()), port: Some(at.port) };
        let mut wire = self.failover.connector.reach(place, Access::ReadWrite, &self.attempt.within(deadline)).await?;
        let told = self.ask(&mut wire).await?;
        Ok((wire, told))
    }

    async fn wait(&self, wire: &mut Wire<DB>, bound: Duration) -> Result<Told, Error> {
        match DB::await_promotion(&mut wire.driver, bound).await {
            Ok(true) if self.is_member(&wire.at) => {
                self.failover.topology.learn(&wire.at, &Survey::default());
                wire.looked = None;
                Ok(Told::Writer)
            }
            Ok(true) => self.failover.look(wire).await,
            Ok(false) => Ok(Told::Reader),
            Err(error) => Err(Error::Database(error)),
        }
    }

    async fn consult(&self, deadline: Deadline) {
        self.failover.consult(false, deadline).await;
    }

    fn heard(&self, answer: Answer) {
        let mut heard = self.failover.heard();
        heard.retain(|known| known.host != answer.host);
        heard.push(answer);
    }
}

/// Counts those who search, or wait for one who does.
struct Searching<'a>(&'a AtomicUsize);

impl<'a> Searching<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
