//! Whether the transaction that is open is still the one that the guards have begun.

use super::{Kind, State};

/// Whether something has ended the transaction of the guards behind their back: a text, a call, what was done on the connection
/// that was handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Interference {
    #[default]
    None,
    /// A text that may do so was sent.
    Possible,
    /// A savepoint of theirs was not there any more.
    Certain,
}

impl State {
    /// Whether what is open now, if anything is, may not be what the guards have begun.
    pub(in crate::session) fn is_taken_from_guards(&self) -> bool {
        self.interference >= Interference::Possible
    }

    /// Whether it is known that the transaction of the guards is over.
    pub(in crate::session) fn has_missed_savepoint(&self) -> bool {
        self.interference == Interference::Certain
    }

    /// A text may have ended the transaction of a guard.
    pub(in crate::session) fn taken_from_guards(&mut self) {
        if self.has_guards() {
            self.interference = self.interference.max(Interference::Possible);
        }
    }

    /// A guard's savepoint is not there any more, and so the transaction is not that it was set in: something has ended that behind
    /// the guards. What is sent now would be outside of any, or in one of somebody else's.
    pub(in crate::session) fn missed_savepoint(&mut self) {
        if self.has_guards() {
            self.interference = Interference::Certain;
        } else if !self.levels.is_empty() {
            self.rolled_back(1);
        }
    }

    /// Whether a sentinel shows that the transaction is still the guard's.
    pub(in crate::session) fn has_sentinel(&self) -> bool {
        self.sentinel.is_some()
    }

    /// What sentinels are set with from here on.
    pub(in crate::session) fn choose_mark(&mut self, mark: u64) {
        self.mark = mark;
    }

    pub(in crate::session) fn mark(&self) -> u64 {
        self.mark
    }

    /// It may be gone, and show nothing any more.
    pub(in crate::session) fn unmarked(&mut self) {
        self.sentinel = None;
    }

    pub(in crate::session) fn sentinel_set(&mut self) {
        (self.sentinel, self.sentinel_lost) = (Some(self.depth()), false);
    }

    /// The savepoint that has ended may have taken the sentinel with it: then a new one was set in the same text.
    pub(in crate::session) fn sentinel_set_anew(&mut self) {
        if self.sentinel_lost {
            self.sentinel_set();
        }
    }

    /// Whether the end of the savepoint at `depth` takes the sentinel away from a guard around it. That it can be ended shows
    /// that the transaction is still there, and a new sentinel goes with it.
    pub(in crate::session) fn takes_sentinel(&self, depth: usize) -> bool {
        let around = self.levels.get(..depth - 1).unwrap_or_default();
        self.sentinel.is_some_and(|at| at >= depth) && around.iter().any(|level| level.kind == Kind::Guard)
    }

    /// Whether the sentinel has gone with a savepoint that has ended.
    pub(in crate::session) fn has_lost_sentinel(&self) -> bool {
        self.sentinel_lost
    }
}
