//! Before an exchange: what an earlier one left open is settled, the session's settings are put on the connection, and it is made
//! sure that what the statement asks of earlier statements (`check_generated`) is this session's own.

use super::borrow::{Borrow, summary};
use super::connection::Connection;
use super::core::generated::{self, Exchange, Use};
use super::core::{self, Facts, Intent, Sentinel, Step, Taken, in_flight};
use crate::deadline::Deadline;
use crate::engine::{Cleanup, Control, Engine, Found, Settings, Staleness};
use crate::error::{Error, Outcome, Phase};
use crate::pin::PinCause;
use crate::usage::Meter;

impl<DB: Engine> Borrow<'_, DB> {
    /// Makes the connection fit for this session's next exchange: step by step, as the account says. Mostly there is nothing to
    /// do, and what there is is boxed, so that no statement's future is as large as all of it.
    pub(super) async fn settle(&mut self, intent: &Intent<'_>) -> Result<(), Error> {
        let mut taken = Taken::default();
        while let Some(step) = self.next(intent, &mut taken) {
            Box::pin(self.perform(step, intent)).await?;
        }
        Ok(())
    }

    fn next(&mut self, intent: &Intent<'_>, taken: &mut Taken) -> Option<Step> {
        let facts = Facts {
            in_flight: self.wire().in_flight,
            stale: self.is_stale() && !self.can_wait_for_plans(intent),
            other_settings: self.has_other_settings() && !self.runs_under_term(intent),
        };
        self.session.state.next(facts, taken)
    }

    async fn perform(&mut self, step: Step, intent: &Intent<'_>) -> Result<(), Error> {
        match step {
            Step::Drain => self.drain().await,
            Step::RollBack(depth) => self.roll_back_abandoned(depth).await,
            Step::AskAfterText => self.ask_after_text().await,
            Step::AskAfterFailure => self.ask_after_failure().await,
            Step::Replan => {
                self.refuse_late_plans(intent)?;
                self.replan(intent).await
            }
            Step::Replay => self.replay(intent).await,
        }
    }

    /// Whether the connection may not have this session's settings. A pinned session's are where they were made.
    fn has_other_settings(&mut self) -> bool {
        let state = &self.session.state;
        let elsewhere = if self.session.connector().pools_transactions() {
            state.is_aborted() || state.depth() == 0 && state.is_doubtful()
        } else {
            state.pin_reason().is_some()
        };
        if elsewhere {
            return false;
        }
        let Connection { state, lease, .. } = &mut *self.session;
        lease.as_mut().is_some_and(|lease| *lease.conn().carried.settings() != state.settings_at_rest())
    }

    /// Whether this statement may run while the connection still has the term of its slot (`connector/slot_term`). Others have
    /// that taken back first, for the server would close the connection while their session is at rest.
    fn runs_under_term(&mut self, intent: &Intent<'_>) -> bool {
        let is_statement = self.flight.phase() == Phase::Statement;
        let Connection { state, lease, pool, .. } = &mut *self.session;
        is_statement
            && state.is_free()
            && state.settings().is_empty()
            && lease.as_mut().is_some_and(|lease| lease.conn().carried.bears_one(|| pool.clock().now()))
            && intent.is_self_contained::<DB>()
    }

    /// Reads what a dropped statement left unread on the connection.
    async fn drain(&mut self) -> Result<(), Error> {
        let pool = self.session.pool.clone();
        let deadline = self.deadline()?;
        let (connector, unread) = (pool.connector().connector(), self.session.unread());
        let rested = self.until(deadline, async |wire| connector.come_to_rest(wire, unread).await).await?;
        if let Some(error) = rested.late {
            let is_no_savepoint = DB::is_no_savepoint(&error);
            let why = summary(&error);
            if self.session.state.note_late(DB::diagnose(&error), is_no_savepoint, &why) {
                self.rest();
                return Err(Error::TransactionAborted { why: core::aborted_by(&why), outcome: Outcome::Unknown });
            }
        }
        Ok(())
    }

    /// Sends the rollback that a dropped transaction left to send. It is sent at the first poll, and never twice: a savepoint
    /// that is gone cannot be rolled back to.
    async fn roll_back_abandoned(&mut self, depth: usize) -> Result<(), Error> {
        let deadline = self.deadline()?;
        self.be_ready().await?;
        self.session.state.rolled_back_abandoned();
        let wants_sentinel = self.session.state.sentinel() == Sentinel::Due;
        let text = self.with_sentinel(core::rollback(depth), wants_sentinel);
        match self.send(deadline, text).await? {
            None => {
                let (_, state, carried) = self.deciding();
                in_flight::abandoned_rolled_back::<DB>(state, carried);
                Ok(())
            }
            Some(refusal) if depth > 1 && DB::is_no_savepoint(&refusal) => {
                self.session.state.missed_savepoint();
                Ok(())
            }
            Some(refusal) => Err(self.lose(refusal)),
        }
    }

    /// Sends a text of this crate's own; what the server refuses is an answer, and says nothing against the connection.
    pub(super) async fn send(&mut self, deadline: Deadline, text: String) -> Result<Option<sqlx::Error>, Error> {
        let sent = self.until(deadline, async |wire| match DB::run(&mut wire.driver, text).await {
            Err(error) if DB::diagnose(&error).is_of_statement() => Ok(Some(error)),
            result => result.map(|()| None),
        });
        sent.await
    }

    /// Asks the server whether a transaction is open.
    pub(super) async fn probe(&mut self) -> Result<Found, Error> {
        let deadline = self.deadline()?;
        self.until(deadline, async |wire| DB::probe(&mut wire.driver).await).await
    }

    /// Asks the server what became of a text that goes from begin to end and failed in between.
    async fn ask_after_text(&mut self) -> Result<(), Error> {
        let found = self.probe().await?;
        self.session.state.found_half_done(found != Found::Nothing);
        if found == Found::Nothing {
            self.ended();
        }
        Ok(())
    }

    /// Asks the server whether the transaction in which a statement failed is still there.
    async fn ask_after_failure(&mut self) -> Result<(), Error> {
        if DB::begins_by_itself(self.session.state.settings()) {
            // With autocommit off the question itself would begin a transaction, so that it is not asked. Where the transaction would be
            // missed it is taken for gone; otherwise the one that comes next serves as well.
            let is_missed = self.session.state.would_be_missed();
            self.session.state.found_unsure(!is_missed);
            return Ok(());
        }
        let found = self.probe().await?;
        self.session.state.found_unsure(found != Found::Nothing);
        if found == Found::Nothing {
            self.ended();
        }
        Ok(())
    }

    /// Asks the server, before a guard begins, whether a transaction is open, where this is not known. `BEGIN` could commit a
    /// transaction that a text has begun, or do nothing inside one, and the guard would end what it did not begin; and MySQL accepts
    /// a savepoint outside of any transaction without a word. A transaction that a procedure has left open is refused. With
    /// autocommit off the server could not tell.
    pub(super) async fn settle_doubt(&mut self) -> Result<(), Error> {
        let state = &self.session.state;
        if !state.is_doubtful() || DB::begins_by_itself(state.settings()) {
            return Ok(());
        }
        let is_open = self.probe().await? != Found::Nothing;
        let state = &mut self.session.state;
        let refusal = if !state.has_guards() {
            let begun_by_nobody = !state.found_in_doubt(is_open);
            begun_by_nobody.then(|| Error::ImplicitCommit { statement: "BEGIN".to_owned() })
        } else if is_open {
            None
        } else {
            state.missed_savepoint();
            Some(Error::TransactionAborted { why: core::ENDED_BEFORE.to_owned(), outcome: Outcome::Unknown })
        };
        match refusal {
            None => Ok(()),
            Some(refusal) => {
                self.rest();
                Err(refusal)
            }
        }
    }

    /// Whether what is prepared on the connection no longer means what it meant.
    fn is_stale(&mut self) -> bool {
        // In doubt it may be inside of one all the same.
        let outside = self.session.state.depth() == 0 && !self.session.state.is_doubtful();
        let carried = &mut self.wire().carried;
        if outside {
            carried.outside();
        }
        carried.staleness() != Staleness::Fresh
    }

    /// Plans anew under the settings of now: the server the plans that it keeps, and the driver its own statements. The server
    /// keeps those of statements inside functions and triggers too, whether the driver has prepared anything or not.
    pub(super) async fn replan(&mut self, intent: &Intent<'_>) -> Result<(), Error> {
        if let Some(replan) = DB::RULES.replan {
            // An aborted transaction refuses it, and every statement but its end too. It is asked for again after that.
            if self.session.state.is_aborted() {
                return Ok(());
            }
            let deadline = self.deadline()?;
            if let Some(refusal) = self.send(deadline, replan.to_owned()).await? {
                return self.go_on_without_plans(refusal, intent);
            }
        }
        self.prepare_anew().await
    }

    /// Whether to go on after the server has refused to plan anew, for a cancel from outside or a limit of time. In an aborted
    /// transaction the server refuses each statement but its end. Otherwise a statement would be run by plans of other
    /// settings, so that it is told the refusal in its place; and what begins or ends a transaction finds that one aborted.
    fn go_on_without_plans(&mut self, refusal: sqlx::Error, intent: &Intent<'_>) -> Result<(), Error> {
        let code = refusal.as_database_error().and_then(|refusal| refusal.code());
        if code.is_some() && code.as_deref() == DB::RULES.aborted {
            return Ok(());
        }
        let is_statement = matches!(self.flight.phase(), Phase::Statement | Phase::InTransaction);
        let controls = intent.class.control().is_some_and(Control::is_single_statement);
        if is_statement && !controls {
            return Err(self.fail(refusal, None));
        }
        self.session.state.note_failure(DB::diagnose(&refusal), false, &summary(&refusal));
        Ok(())
    }

    /// The driver's part of [`replan`](Self::replan), after the server's.
    async fn prepare_anew(&mut self) -> Result<(), Error> {
        let wire = self.wire();
        let is_planned_anew = DB::RULES.replan.is_some() && wire.carried.staleness() == Staleness::Plans;
        // The names of types that the driver has learnt are dealt with when a statement fails.
        if !is_planned_anew && wire.has_prepared() {
            let deadline = self.deadline()?;
            self.until(deadline, async |wire| DB::forget(&mut wire.driver).await).await?;
        }
        self.wire().carried.planned_anew();
        Ok(())
    }

    /// Takes everything that others left off the connection.
    pub(super) async fn clean(&mut self) -> Result<(), Error> {
        let pool = self.session.pool.clone();
        let deadline = self.deadline()?;
        self.until(deadline, async |wire| pool.connector().connector().clean(wire).await).await?;
        let id = self.session.id;
        self.wire().carried.come_into(id);
        Ok(())
    }

    /// Sets what this session has set and the connection does not have, and takes back what others left; one round trip,
    /// none when equal.
    async fn replay(&mut self, intent: &Intent<'_>) -> Result<(), Error> {
        let wanted = self.session.state.settings_at_rest();
        let text = match self.replay_to(&wanted) {
            None => {
                // Equal by value: from here on they share memory, and the next comparison is one of pointers.
                self.wire().carried.agree_on(wanted);
                return Ok(());
            }
            // A reset restores what the login had, and not what the `init_query` has set since: the connection is cleaned instead.
            Some(_) if self.session.connector().has_init_query() && !self.wire().carried.settings().is_empty() => {
                self.clean().await?;
                match self.replay_to(&wanted) {
                    Some(text) => text,
                    None => return Ok(()),
                }
            }
            Some(text) => text,
        };
        let wire = self.wire();
        // In the same round trip, where what the server has planned has to be planned anew.
        let is_outdated = DB::staleness(wire.carried.settings(), &wanted) != Staleness::Fresh;
        let waits = self.can_wait_for_plans(intent);
        let replans = DB::RULES.replan.filter(|_| is_outdated && !waits);
        if replans.is_some() {
            self.refuse_late_plans(intent)?;
        }
        let wire = self.wire();
        let text = match replans {
            Some(replan) => format!("{text}; {replan}"),
            None => text,
        };
        // Cut short, it may be there or not: then the connection is cleaned.
        let cleanup = wire.carried.soil(DB::cleanup_after(PinCause::Setting));
        let deadline = self.deadline()?;
        let refused = self.send(deadline, text).await?;
        if refused.is_none() || DB::RULES.texts_are_atomic {
            self.wire().carried.unsoil(cleanup);
        }
        if let Some(error) = refused {
            return Err(self.refuse_replay(error));
        }
        Meter::count(&self.session.pool.meter().replays);
        self.wire().carried.become_set::<DB>(wanted);
        match self.is_stale() && !waits {
            true if replans.is_some() => self.prepare_anew().await,
            true => self.replan(intent).await,
            false => Ok(()),
        }
    }

    /// The server has refused to take the connection from one session's settings to another's: a role that one session has set may
    /// forbid the next session's `SET` or `RESET`. Where others have used the connection nobody can tell whose setting is at fault, so
    /// it is closed, and the session's settings are tried on another one.
    fn refuse_replay(&mut self, error: sqlx::Error) -> Error {
        if self.wire().carried.was_shared() && self.session.state.is_free() {
            self.wire().carried.soil(Cleanup::Impossible);
            self.session.refused_connection = true;
        }
        self.session.state.note_failure(DB::diagnose(&error), false, &summary(&error));
        self.rest();
        error.into()
    }

    fn replay_to(&mut self, wanted: &Settings) -> Option<String> {
        let wire = self.wire();
        DB::replay(wire.carried.settings(), wanted, &wire.login_defaults)
    }

    /// Refuses a question about what the server remembers where the answer could be another session's.
    pub(super) async fn check_generated(&mut self, intent: &Intent<'_>) -> Result<(), Error> {
        let state = &self.session.state;
        let (held, begins) =
            (state.depth() > 0, self.flight.phase() == Phase::Begin || intent.class.control() == Some(Control::Begin));
        let mut next = Use {
            text: intent.class.sequence,
            begins: begins && !held,
            pins: intent.pin.is_some(),
            held,
            aborted: state.is_aborted(),
            was_refused: false,
        };
        loop {
            match self.before(next) {
                generated::Step::Go => return Ok(()),
                // Refused once, it would be refused again.
                generated::Step::Empty => next.was_refused = !Box::pin(self.forget_generated(held)).await?,
                generated::Step::Look if Box::pin(self.look_at_generated(held)).await? => {}
                generated::Step::Look => return Err(self.refuse_read(generated::NUMBERS)),
                generated::Step::Refuse(state) => return Err(self.refuse_read(state)),
            }
        }
    }

    fn before(&mut self, next: Use) -> generated::Step {
        let Connection { lease, state, .. } = &mut *self.session;
        let Some(lease) = lease else { return generated::Step::Go };
        let wire = lease.conn();
        state.generated.before(
            Exchange { wire: wire.id, number: wire.carried.exchanges() },
            &mut wire.carried.memory,
            next,
        )
    }

    fn refuse_read(&mut self, state: &'static str) -> Error {
        self.rest();
        Error::SessionStateLost { state }
    }

    /// Makes the server forget the numbers that others have left. Whether it has.
    async fn forget_generated(&mut self, held: bool) -> Result<bool, Error> {
        let deadline = self.deadline()?;
        let text = DB::RULES.forget_generated.to_owned();
        let refused = self.send(deadline, text).await?;
        if let Some(error) = &refused {
            self.session.state.note_failure(DB::diagnose(error), false, &summary(error));
        }
        if let Some(lease) = &mut self.session.lease {
            let wire = lease.conn();
            self.session.state.generated.emptied(wire.id, &mut wire.carried.memory, held, refused.is_none());
        }
        Ok(refused.is_none())
    }

    /// Asks the server for the number that it has generated last. Whether that is this session's last one.
    async fn look_at_generated(&mut self, held: bool) -> Result<bool, Error> {
        let deadline = self.deadline()?;
        let number = self.until(deadline, async |wire| DB::last_generated(&mut wire.driver).await).await?;
        let Some(lease) = &mut self.session.lease else { return Ok(false) };
        let wire = lease.conn();
        Ok(self.session.state.generated.told(wire.id, &mut wire.carried.memory, held, number))
    }
}
