//! Which tokio runtime a connection belongs to.
//!
//! A socket is known to the runtime that it was opened on, and to no other. Used on another one, it still takes what is
//! written, but its answers are read only as long as its own runtime runs: the statement would be executed, and nobody would
//! know. So a connection is lent on its own runtime only, and closed where another one comes for it.

use tokio::runtime::{Handle, Id};

/// The runtime of whoever calls; `None` outside of any.
pub(super) fn current() -> Option<Id> {
    Handle::try_current().ok().map(|runtime| runtime.id())
}
