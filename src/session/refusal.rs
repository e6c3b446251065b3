//! What is refused before it is sent, because it could not be right.

use super::connection::Connection;
use super::core::{self, Intent, Reading};
use crate::engine::{Control, Engine};
use crate::error::{Error, Phase};
use crate::pin::{PinCause, shorten};

impl<DB: Engine> Connection<DB> {
    /// Refuses what could not be right on this session, before it is sent.
    pub(super) fn refuse(&self, intent: &Intent<'_>) -> Result<(), Error> {
        let refused = |why, cure| Err(Error::Refused { statement: shorten(intent.sql), why, cure, source: None });
        if intent.class.copies {
            return refused(
                "sends or wants rows in a way of their own, for which a statement's text has no place",
                "call copy_in_raw() or copy_out_raw() on the connection that pin() hands out",
            );
        }
        let pooled = self.connector().pools_transactions();
        if pooled && self.would_mix_doubt_and_settings(intent) {
            return refused(
                "may end its transaction unseen, and the settings of its session would stay on the server's connection, which a \
                 pooler in between gives to others",
                "send its statements one by one, and end transactions with commit() and rollback(), or as texts that they were begun \
                 with; or set what ends with the transaction (SET LOCAL)",
            );
        }
        if pooled
            && intent.change.as_ref().is_some_and(|change| change.sets(|name| DB::RULES.read_at_begin.contains(&name)))
        {
            return refused(
                "is read when a transaction begins, and behind a pooler a session's settings are there only after that",
                "say it in each transaction (BEGIN ISOLATION LEVEL …, or SET TRANSACTION as its first statement), set it for the role \
                 (ALTER ROLE … SET), or connect past the pooler",
            );
        }
        // `EXECUTE` is looked at as well: behind a pooler the name that it gives may be of somebody else's prepared statement.
        let looks = intent.pin.is_some() || intent.leaves_untracked || pooled && intent.class.uncacheable;
        if !looks || self.state.is_handed_out() {
            return Ok(());
        }
        let leaves = DB::leaves(intent.sql);
        if leaves.contains(&PinCause::Listen) {
            return refused(
                "would be told of notifications that nobody receives",
                "use sqlx's PgListener on a connection of its own, or pin() the session and listen on what that hands out",
            );
        }
        if pooled && (!leaves.is_empty() || intent.follows_table) {
            return refused(
                "leaves something on the server's connection, which a pooler in between gives to others",
                "send a SET as a statement of its own, use what ends with its transaction (SET LOCAL, ON COMMIT DROP, \
                 pg_advisory_xact_lock), connect past the pooler, or pin() the session where the pooler keeps connections \
                 for sessions",
            );
        }
        Ok(())
    }

    /// Whether nobody would know in which transaction, and so on which connection of the server, this session's settings are: it
    /// has some, and this may end the transaction unseen.
    fn would_mix_doubt_and_settings(&self, intent: &Intent<'_>) -> bool {
        let state = &self.state;
        let is_unknown = intent.pin.as_ref().is_some_and(|pin| pin.cause() == PinCause::UnknownStatement);
        let ends = |control| matches!(state.read(control), Reading::Unclear { ends: true });
        let may_end = is_unknown || intent.class.control().is_some_and(ends) && !state.follows_commit(&intent.class);
        may_end && !state.settings().is_empty()
    }

    /// Where the server has rolled back by itself, or a guard's savepoint was not there any more, what is sent now would be outside of
    /// any transaction, and stay; or in one that the guard has not begun.
    pub(super) fn refuse_gone(&self, phase: Phase, control: Option<Control<'_>>) -> Result<(), Error> {
        let text_ends = matches!(control, Some(Control::Commit { .. } | Control::Rollback { .. }));
        let ends = matches!(phase, Phase::Commit | Phase::Rollback) || text_ends && !self.state.has_guards();
        let why = match self.state.gone() {
            _ if ends => return Ok(()),
            Some(why) => core::aborted_by(why),
            None if self.state.has_missed_savepoint() => core::ENDED_BEFORE.to_owned(),
            None => return Ok(()),
        };
        Err(Error::TransactionAborted { why, outcome: self.outcome_of_rollback() })
    }

    /// A text from begin to end has no place for the settings that a pooler in between lets nobody keep.
    pub(super) fn refuse_whole(&self, control: Option<Control<'_>>) -> Result<(), Error> {
        let begins = matches!(control, Some(Control::Whole | Control::Unclear { .. }));
        if !begins || self.state.depth() > 0 || self.state.settings().is_empty() {
            return Ok(());
        }
        let message =
            "behind a pooler a session that has settings begins and ends transactions with begin() and commit()";
        Err(Error::Database(sqlx::Error::InvalidArgument(message.to_owned())))
    }
}
