//! What the application holds: a logical session, public as [`Connection`].
//!
//! A session borrows a physical connection for one statement, or for one transaction, and gives it back when that ends. `core`
//! decides and never awaits: what a text does, what has to happen before it, what comes of it, whose the numbers are that the
//! server remembers. Everything else obeys it. `run` is the way of a `query` to its `answer`; on it lie `refusal` (what could
//! not be right), `checkout` (a connection), `settle` (made fit), `sentinel` (whose the open transaction is), `borrow` (one
//! exchange), `conclude` (what is done with what came of it) and `loss` (what that means for the work in hand). `prepared` sees
//! to it that what others have prepared on the connection, and what its driver has learnt from them, is nobody else's. `pooled` is
//! what a transaction pooler makes of it, and `commit_and_reset` the end of a transaction there; `replan_timing` says when what a
//! setting has made stale may be planned anew; `slow` tells where a statement's time went. `connection` is the session's own fields,
//! `transaction` the guard, `owned` one that borrows nothing, `handed_out` the connection in the application's own hands;
//! `executor` speaks sqlx's traits.

mod answer;
mod borrow;
mod checkout;
mod commit_and_reset;
mod conclude;
mod connection;
mod core;
mod executor;
mod handed_out;
mod loss;
#[cfg(feature = "sea-orm")]
mod owned;
mod pooled;
mod prepared;
mod query;
mod refusal;
mod replan_timing;
mod run;
mod sentinel;
mod settle;
mod slow;
mod transaction;

pub use self::connection::Connection;
#[cfg(feature = "sea-orm")]
pub(crate) use self::owned::{OwnedTransaction, rows};
pub use self::transaction::Transaction;
