//! What an answer of a server proves, phase by phase: the columns of both engines' tables.

use super::Diagnosis;
use crate::error::{Outcome, Phase};
use crate::failover::{Verdict, Work, judge};

pub(super) const AGAIN: Verdict = Verdict::Again;
pub(super) const NOT_EXECUTED: Verdict = Verdict::Tell(Outcome::NotExecuted);
pub(super) const ROLLED_BACK: Verdict = Verdict::Tell(Outcome::RolledBack);
pub(super) const UNKNOWN: Verdict = Verdict::Tell(Outcome::Unknown);

/// What becomes of a statement: one that was not sent yet, for the answer was to what makes the connection fit for it; one
/// that was sent, alone; one that was sent in a transaction; a commit that was sent.
pub(super) type Proof = [Verdict; 4];

/// The server refused it, and had taken it back before it said so.
pub(super) const REFUSED: Proof = [ROLLED_BACK; 4];
/// It refused to write: the statement was not begun with. Asked, it says that it is none that only reads.
pub(super) const READ_ONLY: Proof = [NOT_EXECUTED; 4];
/// It hung up, and how far it came is not known.
pub(super) const LOST: Proof = [AGAIN, UNKNOWN, ROLLED_BACK, UNKNOWN];
/// It had hung up before it read the statement.
pub(super) const UNREAD: Proof = [AGAIN, AGAIN, ROLLED_BACK, ROLLED_BACK];
/// It takes no statements. In the place of a commit's answer that is a pooler's word, and none of the server's.
pub(super) const TURNED_AWAY: Proof = [AGAIN, AGAIN, ROLLED_BACK, UNKNOWN];

pub(super) fn proof(diagnosis: Diagnosis) -> Proof {
    // As a pooler in between would say it, where that makes a difference.
    let alone = Work {
        phase: Phase::Statement,
        handed_on: false,
        bound: false,
        doubtful: false,
        sent: true,
        unexecuted: false,
        pooled: true,
    };
    let works = [
        Work { sent: false, ..alone },
        alone,
        Work { phase: Phase::InTransaction, bound: true, ..alone },
        Work { phase: Phase::Commit, bound: true, ..alone },
    ];
    works.map(|work| judge(diagnosis, work, false))
}
