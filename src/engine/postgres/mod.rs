//! PostgreSQL: RDS for PostgreSQL, Aurora PostgreSQL, and anything that speaks their protocol.

mod block;
mod bound;
mod called;
mod cancel;
mod classify;
mod cluster;
mod connect;
mod context;
mod control;
mod diagnose;
mod dialect;
mod driver;
#[cfg(feature = "_internals")]
pub mod inspect;
mod leaves;
mod lexer;
mod liveness;
mod occupancy;
mod pin_ends;
mod prefilter;
mod rules;
mod scan;
mod settings;
mod snapshot;
mod statement;
mod survey;
mod words;
