//! How many database sessions a function needs, and what to put between when there are too few.
//!
//! ```text
//! cargo run --example capacity -- --environments 1000 --query-ms 20 --invocation-ms 100 --max-connections 200
//! ```
//!
//! `--environments` is the function's concurrency: how many invocations run at the same time. `--query-ms` is what one of
//! them keeps the database busy, `--invocation-ms` how long it takes in all, `--max-connections` what the database admits
//! (less the reserved ones). `--connect-ms` is what a connect takes: 15 by default, measured with TLS in one zone.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person at a terminal")]

use std::process::ExitCode;

/// Of what there is, so much is used at the most: arrivals come in crowds.
const USABLE: f64 = 0.8;

struct Load {
    environments: f64,
    query: f64,
    invocation: f64,
    slots: f64,
    connect: f64,
}

impl Load {
    /// One session each, kept while the environment is frozen, too.
    fn kept(&self) -> f64 {
        self.environments
    }

    /// One session for as long as an invocation takes, and its login.
    fn given_back(&self) -> f64 {
        self.environments * (self.invocation + self.connect) / self.invocation.max(1.0)
    }

    /// What a pooler in transaction mode needs: a session for as long as the database is busy.
    fn pooled(&self) -> f64 {
        self.environments * (self.query / self.invocation.max(1.0)).min(1.0)
    }

    fn verdict(&self) -> &'static str {
        if self.kept() <= self.slots / 2.0 {
            "Connect directly: everybody keeps a connection, warm invocations pay for none."
        } else if self.given_back() <= self.slots * USABLE {
            "Connect directly: while the server is more than half full, slots are given back after each invocation, and most invocations pay for a connect."
        } else if self.pooled() <= self.slots * USABLE {
            "Put RDS Proxy or PgBouncer between (LAMBDA_RDS_VIA_PROXY=true), or lower the function's reserved concurrency."
        } else {
            "The database is busier than it can be: a larger one, faster statements or less concurrency. No pooler helps."
        }
    }
}

fn main() -> ExitCode {
    let mut load = Load { environments: 100.0, query: 20.0, invocation: 100.0, slots: 100.0, connect: 15.0 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let Some(value) = arguments.next().and_then(|value| value.parse::<f64>().ok()).filter(|value| *value >= 0.0)
        else {
            eprintln!("{name} wants a number");
            return ExitCode::FAILURE;
        };
        match name.as_str() {
            "--environments" => load.environments = value,
            "--query-ms" => load.query = value,
            "--invocation-ms" => load.invocation = value,
            "--max-connections" => load.slots = value,
            "--connect-ms" => load.connect = value,
            _ => {
                eprintln!(
                    "{name} is none of --environments, --query-ms, --invocation-ms, --max-connections, --connect-ms"
                );
                return ExitCode::FAILURE;
            }
        }
    }
    println!("| sessions needed | | of {:.0} |", load.slots);
    println!("|---|---|---|");
    for (way, sessions) in [
        ("a connection kept by each environment", load.kept()),
        ("one for the length of each invocation", load.given_back()),
        ("behind a pooler in transaction mode", load.pooled()),
    ] {
        println!("| {way} | {:.0} | {:.0} % |", sessions.ceil(), 100.0 * sessions / load.slots.max(1.0));
    }
    println!("\n{}", load.verdict());
    ExitCode::SUCCESS
}
