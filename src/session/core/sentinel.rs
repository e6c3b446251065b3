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

/// What shows whether the guard's transaction is still there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::session) enum Sentinel {
    /// Nothing does.
    #[default]
    None,
    /// One that was set at this depth. It goes with the savepoint that it lies in.
    At(usize),
    /// The guard's transaction is known to be open, and has no sentinel: one is set before the next statement that could end the
    /// transaction unseen.
    Due,
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
        self.unmarked_for_good();
    }

    /// A guard's savepoint is not there any more, and so the transaction is not that it was set in: something has ended that behind
    /// the guards. What is sent now would be outside of any, or in one of somebody else's.
    pub(in crate::session) fn missed_savepoint(&mut self) {
        if self.has_guards() {
            (self.interference, self.sentinel) = (Interference::Certain, Sentinel::None);
        } else if !self.levels.is_empty() {
            self.rolled_back(1);
        }
    }

    pub(in crate::session) fn sentinel(&self) -> Sentinel {
        self.sentinel
    }

    /// The next sentinel is set with this mark.
    pub(in crate::session) fn choose_mark(&mut self, mark: u64) -> u64 {
        self.mark = mark;
        mark
    }

    /// What the sentinel was set with.
    pub(in crate::session) fn mark(&self) -> u64 {
        self.mark
    }

    pub(in crate::session) fn sentinel_set(&mut self) {
        self.sentinel = Sentinel::At(self.depth());
    }

    /// A text may remove the sentinel although its transaction goes on. `own`: before that text, the transaction was seen to be the
    /// guard's.
    pub(in crate::session) fn unmarked(&mut self, own: bool) {
        self.sentinel = if own { Sentinel::Due } else { Sentinel::None };
    }

    /// What may end the transaction unseen is on its way: a sentinel that was not set before it cannot be set after it.
    pub(in crate::session) fn unmarked_for_good(&mut self) {
        if self.sentinel == Sentinel::Due {
            self.sentinel = Sentinel::None;
        }
    }

    /// The savepoint that has ended may have taken the sentinel with it: then a new one was set in the same text.
    pub(in crate::session) fn sentinel_set_anew(&mut self) {
        if self.sentinel == Sentinel::Due {
            self.sentinel_set();
        }
    }

    /// Whether a guard around the savepoint at `depth` has no sentinel when that has ended, and needs one. That it can be ended shows
    /// that the transaction is still there, and a new sentinel goes with it.
    pub(in crate::session) fn takes_sentinel(&self, depth: usize) -> bool {
        let around = self.levels.get(..depth - 1).unwrap_or_default();
        let is_wanted = match self.sentinel {
            Sentinel::At(at) => at >= depth,
            // What was set in another transaction shows nothing.
            Sentinel::Due | Sentinel::None => self.doubtful && self.interference == Interference::None,
        };
        is_wanted && around.iter().any(|level| level.kind == Kind::Guard)
    }

    /// The savepoint at `depth` has ended.
    pub(super) fn sentinel_leaves(&mut self, depth: usize) {
        if self.takes_sentinel(depth) {
            self.sentinel = Sentinel::Due;
        } else if matches!(self.sentinel, Sentinel::At(at) if at >= depth) {
            self.sentinel = Sentinel::None;
        }
    }
}
