//! One binary, so that there is one link and one shared server; one file per behaviour.
#![allow(clippy::print_stdout, reason = "a test in a process of its own answers its parent by printing")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::duplicate_mod, reason = "what both engines share is compiled for each of them")]

mod claims;
mod examples;
mod floods;
mod map;
mod names;
mod support;

#[cfg(feature = "mysql")]
mod mysql;
mod oracle;
mod postgres;
