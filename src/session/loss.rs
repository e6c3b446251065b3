//! What it means for the work in hand that a statement has failed or the connection is gone.

use std::io;
use std::time::Duration;

use super::connection::Connection;
use crate::engine::{Diagnosis, Engine};
use crate::error::{Error, Outcome, Phase, chain};
use crate::failover::{self, Verdict, Work};

impl<DB: Engine> Connection<DB> {
    /// The connection is broken: closes it, and says what that means for the work in hand.
    pub(super) fn lose(&mut self, phase: Phase, sent: bool, elapsed: Duration, source: sqlx::Error) -> Error {
        // Before it is sent a statement's phase is not yet the transaction's.
        let inside = phase == Phase::Statement && self.state.depth() > 0;
        let phase = if inside { Phase::InTransaction } else { phase };
        let work = self.work(phase, false, sent);
        let outcome = match failover::judge(DB::diagnose(&source), work, false) {
            Verdict::Again => Outcome::NotExecuted,
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
        self.interrupted = false;
        self.state.lost();
        let error = Error::ConnectionLost { phase, elapsed, outcome, source };
        self.may_succeed_again = error.may_pass();
        error
    }

    /// A statement has failed on a connection that is fine. `whole`: it was a text from begin to end.
    pub(super) fn note_failure(&mut self, diagnosis: Diagnosis, whole: bool, why: &str) {
        match diagnosis {
            _ if whole => self.state.failed_half_way(why),
            Diagnosis::RolledBack if self.state.has_guards() => self.state.rolled_back_by_server(why),
            // A deadlock may be one of locks that no transaction holds: of `GET_LOCK`'s in MariaDB.
            Diagnosis::RolledBack | Diagnosis::Unsure => self.state.failed_unsure(why),
            _ if DB::RULES.errors_abort => self.state.failed(why),
            _ => {}
        }
    }

    /// What is under way, for a verdict.
    pub(super) fn work(&self, phase: Phase, handed_on: bool, sent: bool) -> Work {
        let bound = self.state.depth() > 0 || self.state.pin_reason().is_some();
        Work { phase, handed_on, bound, doubtful: self.state.is_doubtful(), sent }
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
        let outcome = if phase == Phase::Commit && !self.state.is_doubtful() {
            Outcome::RolledBack
        } else {
            Outcome::NotExecuted
        };
        Error::ConnectionLost {
            phase,
            elapsed: Duration::ZERO,
            outcome,
            source: sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, message)),
        }
    }
}
