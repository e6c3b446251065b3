//! How long a failover takes the application, beyond what it takes the database.
//!
//! `FAILOVERS=20 cargo bench --features _bench --bench failover` loses the writer that often in each of the cases below,
//! with this crate and with sqlx's pool on an endpoint whose DNS follows the writer. `FAILOVER_OUT=x.svg` also writes a
//! timeline, and each run's figures to `x.csv`. `FAILOVER_PEERS` is how often the others take part, 3 at the most by default:
//! they mostly wait for the DNS. `FAILOVER_CASE=silent` is only the cases with that in their names.
//!
//! The application writes every 10 ms from four tasks on one pool. A prober asks the promoted node every millisecond or
//! two whether it takes writes; what a contestant is measured by is its first good write minus that moment: its own part.
#![allow(clippy::print_stdout, missing_docs, reason = "a program for a person at a terminal")]

mod application;
mod picture;
#[path = "../../tests/support/mod.rs"]
mod support;
mod trial;

use std::time::Duration;

use application::Contestant;
use trial::{Case, Fault, Trial};

const CASES: [Case; 5] = [
    Case { name: "killed", promoted_after: Duration::ZERO, target: "median 8 ms, max 40 ms", ..Case::PLAIN },
    Case {
        name: "killed, promoted after 3 s",
        promoted_after: Duration::from_secs(3),
        target: "median 8 ms, max 40 ms",
        ..Case::PLAIN
    },
    Case { name: "killed, replica's sessions cut", cuts: true, target: "median 30 ms", ..Case::PLAIN },
    Case { name: "silent", fault: Fault::Silent, target: "1200 ms", ..Case::PLAIN },
    Case {
        name: "silent, in 30 s statements",
        fault: Fault::Silent,
        long_statements: true,
        target: "1200 ms",
        ..Case::PLAIN
    },
];

/// All runs of one contestant in one case.
struct Series {
    case: &'static Case,
    contestant: Contestant,
    trials: Vec<Trial>,
}

impl Series {
    /// The own parts in milliseconds, sorted; those who never recovered come last, as infinite.
    fn own_parts(&self) -> Vec<f64> {
        let mut parts: Vec<f64> = self.trials.iter().map(|trial| trial.own_part().unwrap_or(f64::INFINITY)).collect();
        parts.sort_by(f64::total_cmp);
        parts
    }

    /// The run in the middle.
    fn typical(&self) -> Option<&Trial> {
        let parts = self.own_parts();
        let median = *parts.get(parts.len() / 2)?;
        self.trials.iter().find(|trial| trial.own_part().unwrap_or(f64::INFINITY).total_cmp(&median).is_eq())
    }

    fn print(&self) {
        let parts = self.own_parts();
        let (Some(max), Some(median)) = (parts.last(), parts.get(parts.len() / 2)) else { return };
        let failed: usize = self.trials.iter().map(Trial::failed).sum();
        println!(
            "  {:<32} {:<26} {:>3} {:>10} {:>10} {:>8.1}   {}",
            self.case.name,
            self.contestant.name(),
            parts.len(),
            shown(*median),
            shown(*max),
            failed as f64 / parts.len() as f64,
            if self.contestant == Contestant::Ours { self.case.target } else { "" },
        );
    }
}

fn shown(milliseconds: f64) -> String {
    if milliseconds.is_finite() { format!("{milliseconds:.1} ms") } else { "never".to_owned() }
}

fn main() {
    let number = |name| std::env::var(name).ok().and_then(|runs| runs.parse::<usize>().ok());
    let runs = number("FAILOVERS").unwrap_or(3);
    let peer_runs = number("FAILOVER_PEERS").unwrap_or_else(|| runs.min(3));
    let wanted = std::env::var("FAILOVER_CASE").unwrap_or_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("own part: first good write minus the moment the new writer takes writes; per run, failed requests\n");
    println!("  {:<32} {:<26} {:>3} {:>10} {:>10} {:>8}   target", "the writer is", "", "n", "median", "max", "failed");
    let mut all = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(&wanted)) {
        for contestant in Contestant::ALL {
            let runs = if contestant == Contestant::Ours { runs } else { peer_runs };
            let trials = (0..runs).map(|_| runtime.block_on(trial::run(case, contestant))).collect();
            let series = Series { case, contestant, trials };
            series.print();
            all.push(series);
        }
    }
    println!("\n  never: not within {:?} after the promotion", trial::PATIENCE);
    if let Some(path) = std::env::var_os("FAILOVER_OUT") {
        picture::write(path.as_ref(), &all).expect("FAILOVER_OUT can be written");
    }
}
