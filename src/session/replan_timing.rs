//! In a transaction, planning anew waits until the session's own first read, because it makes the server take the transaction's
//! snapshot.

use super::borrow::Borrow;
use super::core::Intent;
use crate::engine::{Engine, Snapshot};
use crate::error::{Error, Phase};
use crate::pin::shorten;

impl<DB: Engine> Borrow<'_, DB> {
    /// Whether the statement that has it all planned anew may be sent in the session's transaction.
    fn may_take_snapshot(&self) -> bool {
        let state = &self.session.state;
        DB::RULES.replan.is_some() && (state.depth() > 0 || state.is_doubtful())
    }

    /// Whether the coming exchange needs nothing that was planned, and has to come before a snapshot.
    pub(super) fn can_wait_for_plans(&self, intent: &Intent<'_>) -> bool {
        self.may_take_snapshot()
            && match self.flight.phase() {
                // A savepoint.
                Phase::Begin | Phase::Rollback => true,
                // The last one fires what was put off until then.
                Phase::Commit => self.session.state.depth() > 1,
                Phase::Statement | Phase::InTransaction => DB::snapshot(intent.sql) == Snapshot::Never,
                _ => false,
            }
    }

    /// Refuses a text before which plans have to be made anew, and in which something has to come before that.
    pub(super) fn refuse_late_plans(&mut self, intent: &Intent<'_>) -> Result<(), Error> {
        if !self.may_take_snapshot() || DB::snapshot(intent.sql) != Snapshot::Later {
            return Ok(());
        }
        self.rest();
        Err(Error::Refused {
            statement: shorten(intent.sql),
            why: "locks, or chooses its isolation, and reads in one text, where what is planned has to be planned anew in between",
            cure: "send what comes before its first query as a text of its own",
            source: None,
        })
    }
}
