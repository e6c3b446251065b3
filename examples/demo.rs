//! The demo: `examples/quickstart.rs`, or `quickstart_mysql.rs`, unmodified, on a local stage. `sh examples/demo.sh` builds and runs it.
//!
//! A cold start, a stream of warm invocations that write and read, freezes during which the server closes the idle
//! connection, a password rotation, a writer that is killed and a switchover, all under load. At the end the table is read
//! back: every write that was acknowledged must be there, once. The last line is JSON; the exit status is 0 only if nothing
//! was lost, duplicated or failed.
//!
//! What is in flight when the writer goes cannot be saved by anybody. It is answered with what became of it: `Unknown` is
//! counted and left alone, the rest is repeated as a Lambda client would.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person at a terminal")]
#![allow(clippy::duplicate_mod, reason = "the demo is compiled for each engine")]

#[cfg(feature = "mysql")]
#[path = "demo/mysql.rs"]
mod mysql;
#[path = "demo/postgres.rs"]
mod postgres;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "demo/tally.rs"]
mod tally;

use std::process::ExitCode;

const DEFAULT_SECONDS: u64 = 20;

/// What runs where, for how long.
struct Arguments {
    engine: String,
    seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match arguments() {
        Ok(Arguments { engine, seconds }) if engine == "postgres" => postgres::run(seconds).await,
        #[cfg(feature = "mysql")]
        Ok(Arguments { engine, seconds }) if engine == "mysql" => mysql::run(seconds).await,
        Ok(Arguments { engine, .. }) => {
            eprintln!("--engine {engine}: expected postgres or mysql, and built with the feature of that name");
            ExitCode::from(2)
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { engine: "postgres".to_owned(), seconds: DEFAULT_SECONDS };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        match (name.as_str(), given.next()) {
            ("--engine", Some(engine)) => found.engine = engine,
            ("--seconds", Some(n)) => {
                let seconds = n.parse().ok().filter(|n| *n > 0);
                found.seconds = seconds.ok_or_else(|| format!("--seconds {n}: expected a number from 1"))?;
            }
            _ => return Err("usage: demo.sh [--engine postgres|mysql] [--servers newest] [--seconds N]".to_owned()),
        }
    }
    Ok(found)
}
