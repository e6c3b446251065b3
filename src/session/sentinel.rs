//! Whether the transaction that is open is still the one that the guards have begun: the server is made to show it.

use tokio::time::timeout_at;

use super::borrow::Borrow;
use super::core::{self, Intent, Sentinel};
use crate::deadline::Deadline;
use crate::engine::{Engine, Found};
use crate::error::{Error, Outcome, timed_out};
use crate::random;

impl<DB: Engine> Borrow<'_, DB> {
    /// Before a statement: sees to it that whatever it does can be told afterwards. Mostly there is nothing to do.
    pub(super) async fn stay_marked(&mut self, intent: &mut Intent<'_>) -> Result<(), Error> {
        let may_control = intent.pin.as_ref().is_some_and(|reason| DB::may_control(reason.cause()));
        let state = &self.session.state;
        if (may_control || state.sentinel() == Sentinel::Due) && Box::pin(self.set_sentinel()).await? {
            // What it asks about is the sentinel now.
            Box::pin(self.check_generated(intent)).await?;
        }
        let state = &self.session.state;
        let unmarks = matches!(state.sentinel(), Sentinel::At(_)) && DB::may_unmark(intent.sql);
        // What is set outside of a transaction stays with the pooler.
        let is_pooled = self.session.connector().pools_transactions();
        let sets = is_pooled && intent.change.is_some() && state.has_guards() && state.is_doubtful();
        if unmarks || sets {
            Box::pin(self.look_before(unmarks)).await?;
        }
        if may_control && self.flight.may_end_unseen(intent.pin.as_ref()) {
            self.session.state.unmarked_for_good();
        }
        Ok(())
    }

    /// The server does not tell whether a transaction is still the same, and a sentinel does: set before something that may end a
    /// guard's transaction unseen. Whether it was set just now.
    pub(super) async fn set_sentinel(&mut self) -> Result<bool, Error> {
        let state = &self.session.state;
        let is_known = !state.is_doubtful() && state.sentinel() == Sentinel::None || state.sentinel() == Sentinel::Due;
        // An aborted transaction takes none.
        if !state.has_guards() || !is_known || state.is_aborted() {
            return Ok(false);
        }
        let deadline = self.deadline()?;
        self.start_exchange();
        let text = DB::sentinel(self.session.state.choose_mark(random::mark()));
        self.run_until(deadline, text).await?;
        self.session.state.sentinel_set();
        Ok(true)
    }

    /// The end of a savepoint, with a new sentinel where it takes the one that there was.
    pub(super) fn with_sentinel(&mut self, end: String, takes_sentinel: bool) -> String {
        if !takes_sentinel {
            return end;
        }
        let mark = self.session.state.choose_mark(random::mark());
        format!("{end}; {}", DB::sentinel(mark))
    }

    /// Ends a transaction that something else may have ended or aborted before, and says what it has found. It ends as the guard asked
    /// only if it is healthy and shown to be the guard's own; anything else is rolled back.
    pub(super) async fn end_doubtful(&mut self, commits: bool) -> Result<Found, Error> {
        let deadline = Deadline::after(self.session.pool.borrow_timeout());
        let found = match self.look_for_own(deadline).await {
            Err(error) if !DB::diagnose(&error).is_of_statement() => return Err(self.unanswered(error)),
            found => found,
        };
        if commits && matches!(found, Ok(Found::Healthy)) {
            self.tidy().await?;
            let text = self.and_hand_over("COMMIT".to_owned(), false);
            self.run(text).await?;
        } else {
            // It may be aborted by the very question.
            self.run_until(deadline, "ROLLBACK".to_owned()).await?;
        }
        found.map_err(|error| self.fail(error, None))
    }

    /// Looks for the transaction of the guards, in a text of its own: in one text with the `COMMIT`, the commit's refusal could be taken
    /// for the answer to this question.
    async fn look_for_own(&mut self, deadline: Deadline) -> Result<Found, sqlx::Error> {
        let (sentinel, mark) = (self.session.state.sentinel(), self.session.state.mark());
        let (failover, wire) = self.connected();
        let peer = wire.peer.clone();
        let look = async {
            match sentinel {
                Sentinel::At(_) => DB::find_marked(&mut wire.driver, mark).await,
                Sentinel::Due => DB::probe(&mut wire.driver).await,
                Sentinel::None => match DB::probe(&mut wire.driver).await? {
                    // Nothing shows whose it is.
                    Found::Healthy => Ok(Found::Nothing),
                    found => Ok(found),
                },
            }
        };
        timeout_at(deadline.instant(), failover.attend(peer.as_deref(), look))
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    /// Looks whether the transaction is still the guard's, before a text that has to be in it. `unmarks`: that may take the sentinel
    /// away, although the transaction goes on; a new one is due then before anything else can end it.
    async fn look_before(&mut self, unmarks: bool) -> Result<(), Error> {
        let deadline = self.deadline()?;
        self.start_exchange();
        let found = match self.look_for_own(deadline).await {
            Ok(found) => found,
            Err(error) => return Err(self.fail(error, None)),
        };
        if found == Found::Nothing {
            self.session.state.missed_savepoint();
            self.rest();
            return Err(Error::TransactionAborted { why: core::ENDED_BEFORE.to_owned(), outcome: Outcome::Unknown });
        }
        if unmarks {
            self.session.state.unmarked(found == Found::Healthy);
        }
        Ok(())
    }
}
