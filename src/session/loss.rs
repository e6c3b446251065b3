//! What it means for the work in hand that a statement has failed or the connection is gone.

use std::io;
use std::time::Duration;

use super::connection::Connection;
use crate::engine::{Diagnosis, Engine};
use crate::error::{Error, Outcome, Phase, chain};
use crate::failover::{self, Verdict};

impl<DB: Engine> Connection<DB> {
    /// The connection is broken: closes it, and says what that means for the work in hand.
    pub(super) fn lose(
        &mut self,
        phase: Phase,
        sent: bool,
        elapsed: Duration,
        source: sqlx::Error,
        diagnosis: Diagnosis,
    ) -> Error {
        // Before it is sent a statement's phase is not yet the transaction's.
        let inside = phase == Phase::Statement && self.state.depth() > 0;
        let phase = if inside { Phase::InTransaction } else { phase };
        let work = self.state.work(phase, false, sent);
        let outcome = match failover::judge(diagnosis, work, false) {
            Verdict::Again => Outcome::NotExecuted,
            // Whatever was under way, what was done before may have stayed.
            Verdict::Tell(_) if self.state.depth() > 0 && self.state.may_have_committed() => Outcome::Unknown,
            Verdict::Tell(outcome) => outcome,
        };
        if let Some(mut lease) = self.lease.take() {
            let wire = lease.conn();
            // What the driver makes of an answer says nothing about the server.
            if !matches!(source, sqlx::Error::Protocol(_)) {
                self.pool.connector().suspect(wire.proof, &wire.at, &chain(&source));
            }
            lease.broke();
        }
        self.state.lost();
        let error = Error::ConnectionLost { phase, elapsed, outcome, source };
        self.may_succeed_again = error.may_pass();
        error
    }

    /// The connection leads to a server that is not the one to talk to.
    pub(super) fn leave(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            lease.broke();
        }
        self.state.lost();
    }

    pub(super) fn gone(&self, phase: Phase) -> Error {
        let message = "the connection that held this session's transaction or pinned state was lost earlier";
        let outcome = match phase {
            // What a text has committed before is not to be done again with the rest of its guard's transaction.
            _ if self.state.has_guards() && self.state.may_have_committed() => Outcome::Unknown,
            Phase::Commit if self.state.is_doubtful() => Outcome::Unknown,
            Phase::Commit => Outcome::RolledBack,
            _ => Outcome::NotExecuted,
        };
        Error::ConnectionLost {
            phase,
            elapsed: Duration::ZERO,
            outcome,
            source: sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, message)),
        }
    }
}
