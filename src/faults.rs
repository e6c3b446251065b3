//! Faults that an application's tests ask for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The next connect meets a closed port: [`Error::Unreachable`](crate::Error::Unreachable).
    ConnectRefused,
    /// The next statement gets no answer, for its connection is lost: [`Error::ConnectionLost`](crate::Error::ConnectionLost).
    /// Outside a transaction the outcome is [`Unknown`](crate::Outcome::Unknown) (it is not sent, which the error cannot know), in one
    /// [`RolledBack`](crate::Outcome::RolledBack), after which [`Proxy::transaction`](crate::Proxy::transaction) runs the work again.
    ConnectionLost,
    /// The writer fails over while the next statement is under way: its connection is lost, as by
    /// [`ConnectionLost`](Self::ConnectionLost), and all idle ones of its pool with it
    /// ([`Event::Suspected`](crate::Event::Suspected)). Other sessions keep what they have in hand, and the writer that is found is
    /// the same server.
    Failover,
    /// The next commit gets no answer: [`Outcome::Unknown`](crate::Outcome::Unknown).
    CommitUnknown {
        /// Whether the database has committed all the same.
        executed: bool,
    },
}

/// Faults that are to come, each once, in order among those of their kind. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<VecDeque<Fault>>>);

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn next(&self, fault: Fault) {
        self.lock().push_back(fault);
    }

    /// How many have not struck yet.
    pub fn pending(&self) -> usize {
        self.lock().len()
    }

    /// The next one of this kind, which has struck now.
    pub(crate) fn strike<T>(&self, kind: impl Fn(Fault) -> Option<T>) -> Option<T> {
        let mut faults = self.lock();
        let position = faults.iter().position(|fault| kind(*fault).is_some())?;
        faults.remove(position).and_then(kind)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the driver would say of a connection that is gone.
pub(crate) fn lost() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())
}
