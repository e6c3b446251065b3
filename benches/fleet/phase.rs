//! One phase of a scenario, and the row that it prints.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::environment::Sample;
use crate::service::Service;

pub(crate) const HEADER: &str = "engine,phase,subject,environments,slots,failed,invocations,p50_ms,p99_ms,max_ms,kept,connects,refused,statements,seconds";

/// How much of an error's text is told.
const MESSAGE: usize = 400;

/// What a picture is made of.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) subject: &'static str,
    pub(crate) environments: usize,
    pub(crate) slots: usize,
    pub(crate) failed: usize,
    pub(crate) invocations: usize,
    /// In milliseconds.
    pub(crate) p99: f64,
}

/// What stays the same in a row.
#[derive(Debug)]
pub(crate) struct Phase<'a> {
    pub(crate) service: &'a Service,
    pub(crate) slots: usize,
    before: Counts,
    began: Instant,
}

impl<'a> Phase<'a> {
    pub(crate) async fn begin(service: &'a Service, slots: usize) -> Self {
        Self { service, slots, before: service.counts().await, began: Instant::now() }
    }

    /// Prints a row about these.
    pub(crate) async fn end(&self, name: &str, environments: usize, samples: &[Sample]) -> Row {
        self.print(name, environments, samples, false).await
    }

    /// As [`end`](Self::end), with the statements that the server has counted.
    pub(crate) async fn end_with_statements(&self, name: &str, environments: usize, samples: &[Sample]) {
        self.print(name, environments, samples, true).await;
    }

    async fn print(&self, name: &str, environments: usize, samples: &[Sample], statements: bool) -> Row {
        let seconds = self.began.elapsed().as_secs_f64();
        let counts = self.service.counts().await;
        let (engine, subject, slots) = (self.service.engine(), self.service.subject.name(), self.slots);
        let failed = samples.iter().filter(|sample| sample.failure.is_some()).count();
        let invocations = samples.len();
        let mut latencies: Vec<_> = samples.iter().map(|sample| sample.latency).collect();
        latencies.sort_unstable();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| milliseconds(&latencies, share));
        let known: Vec<_> = samples.iter().filter_map(|sample| sample.kept).collect();
        let kept = known.iter().filter(|kept| **kept).count();
        let kept = if known.is_empty() { String::new() } else { format!("{:.1}", percent(kept, known.len())) };
        let connects = counts.connects.saturating_sub(self.before.connects);
        let refused = counts.refused.saturating_sub(self.before.refused);
        let executed = counts.statements.saturating_sub(self.before.statements);
        let statements =
            if statements { format!("{:.2}", executed as f64 / invocations as f64) } else { String::new() };
        println!(
            "{engine},{name},{subject},{environments},{slots},{failed},{invocations},{p50:.1},{p99:.1},{max:.1},{kept},\
             {connects},{refused},{statements},{seconds:.1}"
        );
        tell_of_failures(name, subject, samples);
        Row { subject, environments, slots, failed, invocations, p99 }
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// The latency that this share of all stays below, in a sorted list.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a short list")]
fn milliseconds(sorted: &[Duration], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let latency = sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1)));
    latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

fn tell_of_failures(name: &str, subject: &str, samples: &[Sample]) {
    let mut kinds: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for failure in samples.iter().filter_map(|sample| sample.failure.as_ref()) {
        kinds.entry(&failure.kind).or_insert((0, &failure.message)).0 += 1;
    }
    for (kind, (times, message)) in kinds {
        let message: String = message.chars().map(|c| if c == '\n' { ' ' } else { c }).take(MESSAGE).collect();
        // What a handler boxes has no name worth telling.
        let kind = if kind.starts_with('&') { "an error" } else { kind };
        eprintln!("# {name}, {subject}: {times} x {kind}: {message}");
    }
}
