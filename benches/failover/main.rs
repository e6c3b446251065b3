//! How long a failover takes the application, beyond what it takes the database.
//!
//! `FAILOVERS=20 cargo bench --features _internals,mysql --bench failover` loses the writer that often in each of the cases below,
//! with this crate and with those it is compared with. `FAILOVER_OUT=x.svg` also writes a timeline, and each run's figures
//! to `x.csv`. `FAILOVER_PEERS` is how often the others take part, 5 times at the most by default; who has not recovered
//! twice is not waited for again. `FAILOVER_CASE=silent` is only the cases with that in their names.
//!
//! The application writes every 10 ms from four tasks on one pool. A prober asks the promoted node every millisecond or
//! two whether it takes writes; what a contestant is measured by is its first good write minus that moment: its own part.
//!
//! The others are sqlx's pool on an endpoint whose DNS follows the writer after 5 s, and the AWS Advanced wrappers, if
//! they are there:
//!
//! ```text
//! python3 -m venv ../peers/py && ../peers/py/bin/pip install aws-advanced-python-wrapper==3.1.0 'psycopg[binary]==3.3.9'
//! npm install --prefix ../peers/node aws-advanced-nodejs-wrapper@2.0.1 pg@8.23.1 \
//!     @aws-sdk/credential-providers @aws-sdk/rds-signer
//! FAILOVER_PYTHON=$PWD/../peers/py/bin/python FAILOVER_NODE=$PWD/../peers/node FAILOVERS=20 cargo bench ...
//! ```
//!
//! A wrapper is a program of its own, `peer.py` or `peer.mjs`: four threads or loops with a connection each, no TLS (this
//! crate has verify-full), its default plugins, the flavour given, and the topology from functions like Aurora's. It
//! writes again at once when it is told of a failover that succeeded, and connects again at once after any other error. It
//! says when each write ended by CLOCK_MONOTONIC, which is ours too: the pipe between costs nothing.
#![allow(clippy::print_stdout, missing_docs, reason = "a program for a person at a terminal")]

mod application;
mod peer;
mod picture;
mod rig;
#[path = "../../tests/support/mod.rs"]
mod support;
mod trial;

use std::time::Duration;

use application::Contestant;
use peer::Peer;
use trial::{Case, Fault, Trial};

const CASES: [Case; 7] = [
    Case {
        name: "killed",
        promoted_after: Duration::ZERO,
        wrappers: true,
        target: "median 8 ms, max 40 ms; 0.3x Python",
        ..Case::PLAIN
    },
    Case {
        name: "killed, promoted after 3 s",
        promoted_after: Duration::from_secs(3),
        wrappers: true,
        target: "median 8 ms, max 40 ms; 0.3x Python, 0.1x Node.js",
        ..Case::PLAIN
    },
    Case { name: "killed, replica's sessions cut", cuts: true, target: "median 30 ms", ..Case::PLAIN },
    Case { name: "silent", fault: Fault::Silent, wrappers: true, target: "1200 ms", ..Case::PLAIN },
    Case {
        name: "silent, in 30 s statements",
        fault: Fault::Silent,
        long_statements: true,
        target: "1200 ms",
        ..Case::PLAIN
    },
    Case { name: "silent: its address drops packets", fault: Fault::Dropped, target: "1200 ms", ..Case::PLAIN },
    Case {
        name: "silent: drops packets, in 30 s statements",
        fault: Fault::Dropped,
        long_statements: true,
        target: "1200 ms",
        ..Case::PLAIN
    },
];

/// One of the others that has not recovered that often is not given another try in the same case.
const HOPELESS: usize = 2;

/// All runs of one contestant in one case.
struct Series {
    case: &'static Case,
    contestant: Contestant,
    trials: Vec<Trial>,
}

impl Series {
    fn run(runtime: &tokio::runtime::Runtime, case: &'static Case, contestant: Contestant, runs: usize) -> Self {
        let mut trials = Vec::new();
        for _ in 0..runs {
            trials.push(runtime.block_on(trial::run(case, contestant)));
            if trials.iter().filter(|trial| trial.own_part().is_none()).count() == HOPELESS && !contestant.is_ours() {
                break;
            }
        }
        Self { case, contestant, trials }
    }

    /// The own parts in milliseconds, sorted; those who never recovered come last, as infinite.
    fn own_parts(&self) -> Vec<f64> {
        let mut parts: Vec<f64> = self.trials.iter().map(|trial| trial.own_part().unwrap_or(f64::INFINITY)).collect();
        parts.sort_by(f64::total_cmp);
        parts
    }

    /// The run in the middle.
    fn typical(&self) -> Option<&Trial> {
        let median = self.median()?;
        self.trials.iter().find(|trial| trial.own_part().unwrap_or(f64::INFINITY).total_cmp(&median).is_eq())
    }

    fn median(&self) -> Option<f64> {
        let parts = self.own_parts();
        parts.get(parts.len() / 2).copied()
    }

    fn target(&self) -> &'static str {
        match self.contestant {
            Contestant::Ours => self.case.target,
            Contestant::OursOnMariaDb if self.case.fault == Fault::Killed => "median 25 ms",
            Contestant::OursOnMariaDb => "1200 ms",
            _ => "",
        }
    }

    fn print(&self) {
        let parts = self.own_parts();
        let (Some(max), Some(median)) = (parts.last(), self.median()) else { return };
        let failed: usize = self.trials.iter().map(Trial::failed).sum();
        println!(
            "  {:<42} {:<24} {:>3} {:>10} {:>10} {:>8.1}   {}",
            self.case.name,
            self.contestant.name(),
            parts.len(),
            shown(median),
            shown(*max),
            failed as f64 / parts.len() as f64,
            self.target(),
        );
    }
}

/// Our median over each wrapper's.
fn print_ratios(case: &[Series]) {
    let Some((ours, others)) = case.split_first() else { return };
    for other in others.iter().filter(|other| other.contestant.is_wrapper()) {
        let ratio = match (ours.median(), other.median()) {
            (Some(ours), Some(theirs)) if theirs.is_finite() && theirs > 0.0 => format!("{:.3}x", ours / theirs),
            _ => "-".to_owned(),
        };
        println!("  {:<42} ours / {:<28} {ratio:>7}", "", other.contestant.name());
    }
}

fn shown(milliseconds: f64) -> String {
    if milliseconds.is_finite() { format!("{milliseconds:.1} ms") } else { "never".to_owned() }
}

fn main() {
    let number = |name| std::env::var(name).ok().and_then(|runs| runs.parse::<usize>().ok());
    let runs = number("FAILOVERS").unwrap_or(3);
    let peer_runs = number("FAILOVER_PEERS").unwrap_or_else(|| runs.min(5));
    let wanted = std::env::var("FAILOVER_CASE").unwrap_or_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("own part: first good write minus the moment the new writer takes writes; per run, failed requests");
    for absent in Contestant::ALL.into_iter().filter(|contestant| !Peer::is_installed(*contestant)) {
        let variable = peer::variable(absent).unwrap_or_default();
        println!("  the {} did not take part: {variable} does not say where it is", absent.name());
    }
    println!(
        "\n  {:<42} {:<24} {:>3} {:>10} {:>10} {:>8}   target",
        "the writer is", "", "n", "median", "max", "failed"
    );
    let mut all: Vec<Series> = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(&wanted)) {
        let first = all.len();
        for contestant in Contestant::ALL {
            if contestant.is_wrapper() && !(case.wrappers && Peer::is_installed(contestant)) {
                continue;
            }
            let runs = if contestant.is_ours() { runs } else { peer_runs };
            let series = Series::run(&runtime, case, contestant, runs);
            series.print();
            all.push(series);
        }
        print_ratios(&all[first..]);
    }
    println!("\n  never: not within {:?} after the promotion", trial::PATIENCE);
    if let Some(path) = std::env::var_os("FAILOVER_OUT") {
        picture::write(path.as_ref(), &all).expect("FAILOVER_OUT can be written");
    }
}
