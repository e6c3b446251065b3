//! What to do about a statement that failed: run it again, or say what became of it. Pure.
//!
//! Again only where the server provably did not execute it. Everything else is for the application, with an
//! [`Outcome`] that is never better than what is known.

use crate::engine::Diagnosis;
use crate::error::{Outcome, Phase};

/// What was under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) phase: Phase,
    /// A part of its answer was given to the application.
    pub(crate) handed_on: bool,
    /// The session has something on this connection that no other has: a transaction, a pin.
    pub(crate) bound: bool,
    /// The session does not know for sure whether a transaction is open, or what in it has been committed.
    pub(crate) doubtful: bool,
    /// The statement may have reached the server. What is sent before it, to make the connection fit, is not it.
    pub(crate) sent: bool,
    /// The refusal shows that nothing of the statement was executed.
    pub(crate) unexecuted: bool,
    /// A pooler stands in between, which says such things as that a server is full in the middle of a session. Otherwise
    /// it is a statement's own word.
    pub(crate) pooled: bool,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Run it again, on another connection.
    Again,
    /// Tell the application.
    Tell(Outcome),
}

/// `reader`: the server was asked after a refusal to write, and says that it is none that writes.
pub(crate) fn judge(diagnosis: Diagnosis, work: Work, reader: bool) -> Verdict {
    let free = !work.bound && !work.handed_on && !work.doubtful;
    let unread = (!work.sent || diagnosis == Diagnosis::HungUp) && !work.handed_on;
    match (diagnosis, work.phase) {
        // Nothing was begun: https://www.postgresql.org/docs/current/hot-standby.html
        (Diagnosis::ReadOnly, Phase::Statement | Phase::Begin) if reader && free => Verdict::Again,
        (Diagnosis::ReadOnly | Diagnosis::NotSent, _) => Verdict::Tell(Outcome::NotExecuted),
        // A last word in the place of an answer, of a server or a pooler that takes no statements at all.
        (Diagnosis::NotReady | Diagnosis::Full | Diagnosis::Authentication, Phase::Statement | Phase::Begin)
            if free && work.pooled =>
        {
            Verdict::Again
        }
        (Diagnosis::Dead, Phase::Begin) if free => Verdict::Again,
        (Diagnosis::Misled, Phase::Statement) if free && work.unexecuted => Verdict::Again,
        (
            Diagnosis::Statement | Diagnosis::RolledBack | Diagnosis::Unsure | Diagnosis::StalePlan | Diagnosis::Misled,
            _,
        ) => Verdict::Tell(Outcome::RolledBack),
        (_, Phase::Begin) => Verdict::Tell(Outcome::NotExecuted),
        // The server never read it. What came before it in its transaction went with the connection.
        (_, Phase::Statement) if unread && free => Verdict::Again,
        (_, Phase::Statement) if unread => Verdict::Tell(Outcome::NotExecuted),
        (_, Phase::Commit) if unread && !work.doubtful => Verdict::Tell(Outcome::RolledBack),
        // What was done in the transaction went with the connection, unless something in it may have committed.
        (_, Phase::InTransaction | Phase::Rollback) if !work.doubtful => Verdict::Tell(Outcome::RolledBack),
        // Sent, and no answer: a commit without an answer always is.
        _ => Verdict::Tell(Outcome::Unknown),
    }
}

/// A statement has come to its end although the invocation's was near. What a cancel has hit may have been the commit's wait
/// for its standbys, of which PostgreSQL says no more than a warning
/// (<https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION>). `may_commit`: the text may have ended
/// its transaction.
pub(crate) fn ended(phase: Phase, cancelled: bool, may_commit: bool) -> Outcome {
    let commits = may_commit || matches!(phase, Phase::Statement | Phase::Commit);
    if cancelled && commits { Outcome::Unknown } else { Outcome::Completed }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Work = Work {
        phase: Phase::Statement,
        handed_on: false,
        bound: false,
        doubtful: false,
        sent: true,
        unexecuted: true,
        pooled: true,
    };

    #[test]
    fn what_a_cancel_may_have_cut_off_from_its_standbys_is_not_called_completed() {
        for (phase, cancelled, may_commit, outcome) in [
            (Phase::Statement, false, false, Outcome::Completed),
            (Phase::Statement, true, false, Outcome::Unknown),
            (Phase::Commit, true, false, Outcome::Unknown),
            (Phase::InTransaction, true, false, Outcome::Completed),
            (Phase::InTransaction, true, true, Outcome::Unknown),
            (Phase::InTransaction, false, true, Outcome::Completed),
        ] {
            assert_eq!(ended(phase, cancelled, may_commit), outcome, "{phase:?}, {cancelled}, {may_commit}");
        }
    }

    #[test]
    fn only_what_was_provably_not_executed_is_run_again() {
        use Diagnosis::{Dead, Full, HungUp, Interrupted, Misled, NotReady, NotSent, ReadOnly, StalePlan, Statement};
        use Outcome::{NotExecuted, RolledBack, Unknown};
        use Verdict::{Again, Tell};
        let begin = Work { phase: Phase::Begin, ..FREE };
        let inside = Work { phase: Phase::InTransaction, bound: true, ..FREE };
        let commit = Work { phase: Phase::Commit, bound: true, ..FREE };
        let rollback = Work { phase: Phase::Rollback, bound: true, ..FREE };
        let streaming = Work { handed_on: true, ..FREE };
        let pinned = Work { bound: true, ..FREE };
        let unsure = |work: Work| Work { doubtful: true, ..work };
        let unsent = |work: Work| Work { sent: false, ..work };
        for (diagnosis, work, reader, verdict) in [
            (ReadOnly, FREE, true, Again),
            (ReadOnly, begin, true, Again),
            (ReadOnly, FREE, false, Tell(NotExecuted)), // the application's own read-only transaction
            (ReadOnly, streaming, true, Tell(NotExecuted)),
            (ReadOnly, pinned, true, Tell(NotExecuted)),
            (ReadOnly, inside, true, Tell(NotExecuted)),
            (NotReady, FREE, false, Again),
            (Full, FREE, false, Again),
            (Full, Work { pooled: false, ..FREE }, false, Tell(Unknown)),
            (Diagnosis::Authentication, Work { pooled: false, ..FREE }, false, Tell(Unknown)),
            (Full, Work { pooled: false, ..inside }, false, Tell(RolledBack)),
            (NotReady, inside, false, Tell(RolledBack)),
            (NotReady, streaming, false, Tell(Unknown)),
            (Dead, FREE, false, Tell(Unknown)),
            (Dead, begin, false, Again),
            (Dead, unsure(begin), false, Tell(NotExecuted)),
            (Dead, inside, false, Tell(RolledBack)),
            (Dead, unsure(inside), false, Tell(Unknown)),
            (Dead, commit, false, Tell(Unknown)),
            (Dead, rollback, false, Tell(RolledBack)),
            (Dead, pinned, false, Tell(Unknown)),
            (Dead, unsent(FREE), false, Again),
            (Dead, unsent(pinned), false, Tell(NotExecuted)),
            (Dead, unsent(unsure(pinned)), false, Tell(NotExecuted)),
            (Dead, unsent(inside), false, Tell(RolledBack)),
            (Dead, unsent(commit), false, Tell(RolledBack)),
            (Dead, unsent(unsure(commit)), false, Tell(Unknown)),
            (HungUp, FREE, false, Again),
            (HungUp, streaming, false, Tell(Unknown)),
            (HungUp, pinned, false, Tell(NotExecuted)),
            (HungUp, inside, false, Tell(RolledBack)),
            (HungUp, commit, false, Tell(RolledBack)),
            (HungUp, unsure(commit), false, Tell(Unknown)),
            (Statement, FREE, false, Tell(RolledBack)),
            (Statement, commit, false, Tell(RolledBack)),
            (StalePlan, inside, false, Tell(RolledBack)),
            (Misled, FREE, false, Again),
            (Misled, Work { unexecuted: false, ..FREE }, false, Tell(RolledBack)),
            (Misled, pinned, false, Tell(RolledBack)),
            (Misled, inside, false, Tell(RolledBack)),
            (Diagnosis::RolledBack, inside, false, Tell(RolledBack)),
            (Diagnosis::Unsure, inside, false, Tell(RolledBack)),
            (NotSent, FREE, false, Tell(NotExecuted)),
            (Interrupted, FREE, false, Tell(Unknown)),
        ] {
            assert_eq!(judge(diagnosis, work, reader), verdict, "{diagnosis:?} in {work:?}, reader: {reader}");
        }
    }
}
