//! What both engines' oracles share: the texts that are tried, and what a server shows of a session.

pub(crate) mod generator;
pub(crate) mod snapshot;
