//! What the demo counts, and its verdict.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::lambda::{ErrorKind, FunctionError};

/// What the demo counts.
#[derive(Default)]
pub(crate) struct Tally {
    orders: usize,
    /// Invocations that had no business to fail.
    pub(crate) failures: Vec<String>,
    /// Items, and when their invocations began and were answered.
    acknowledged: Vec<(String, Instant, Instant)>,
    /// In flight at a fault, and answered with "it may or may not have been executed".
    unknown: Vec<String>,
    /// In flight at a fault, answered with "nothing was executed" or "rolled back", and ordered again.
    retried: usize,
    pub(crate) cold_start: Duration,
    pub(crate) warm: Vec<Duration>,
    pub(crate) thaw: Vec<Duration>,
    pub(crate) failover: Duration,
    pub(crate) switchover: Duration,
    pub(crate) connects: usize,
    pub(crate) requests: usize,
}

/// What the client does about an answer.
pub(crate) enum Fate {
    Settled,
    Again,
}

impl Tally {
    pub(crate) fn next_item(&mut self) -> String {
        self.orders += 1;
        format!("item-{}", self.orders)
    }

    /// Judges an answer.
    pub(crate) fn note(
        &mut self,
        item: &str,
        began: Instant,
        in_flight: bool,
        answer: Result<Value, FunctionError>,
    ) -> Fate {
        match answer {
            Ok(receipt) if receipt["item"] == item => {
                self.acknowledged.push((item.to_owned(), began, Instant::now()));
            }
            Ok(receipt) => self.failures.push(format!("{item}: read back {receipt}")),
            Err(error) if !in_flight => self.failures.push(format!("{item}: {error:?}")),
            Err(error) if can_be_done_again(&error) => {
                self.retried += 1;
                return Fate::Again;
            }
            Err(error) if is_unknown(&error) => self.unknown.push(item.to_owned()),
            Err(error) => self.failures.push(format!("{item}: no outcome in {error:?}")),
        }
        Fate::Settled
    }

    /// The answer to the first order that was given since then.
    pub(crate) fn first_good_since(&self, moment: Instant) -> Option<Instant> {
        self.acknowledged.iter().find(|(_, began, _)| *began >= moment).map(|(_, _, answered)| *answered)
    }

    /// Prints the table and the line of JSON. `items` is what is in the database.
    pub(crate) fn report(&mut self, items: &[String]) -> ExitCode {
        let mut found: HashMap<&str, usize> = HashMap::new();
        for item in items {
            *found.entry(item).or_default() += 1;
        }
        let lost = self.acknowledged.iter().filter(|(item, ..)| !found.contains_key(item.as_str())).count();
        // An order of unknown outcome is not repeated, so it is there once at most, too.
        let duplicated = found.values().filter(|times| **times > 1).count();
        let (p50, p99) = (percentile(&mut self.warm, 50), percentile(&mut self.warm, 99));
        let thaw = percentile(&mut self.thaw, 50);
        let (cold, failover) = (milliseconds(self.cold_start), milliseconds(self.failover));
        let switchover = milliseconds(self.switchover);
        let (failed, acknowledged) = (self.failures.len(), self.acknowledged.len());
        let (invocations, unknown) = (self.orders + self.retried, self.unknown.len());

        let rows = [
            ("invocations", invocations.to_string()),
            ("failed", failed.to_string()),
            ("in flight at a fault: unknown", unknown.to_string()),
            ("in flight at a fault: retried", self.retried.to_string()),
            ("writes acknowledged", acknowledged.to_string()),
            ("writes lost", lost.to_string()),
            ("writes duplicated", duplicated.to_string()),
            ("cold start, process to response", format!("{cold:.1} ms")),
            ("warm invocation, median", format!("{p50} us")),
            ("warm invocation, 99th percentile", format!("{p99} us")),
            ("first invocation after a thaw", format!("{thaw} us")),
            ("writer killed, after the promotion", format!("{failover:.1} ms")),
            ("switchover, after the promotion", format!("{switchover:.1} ms")),
            ("physical connects", self.connects.to_string()),
            ("calls to Secrets Manager", self.requests.to_string()),
        ];
        for (name, value) in rows {
            println!("  {name:<34} {value:>14}");
        }
        for failure in self.failures.iter().take(10) {
            println!("  failed: {failure}");
        }
        // By hand, so that the fields keep their order.
        println!(
            "{{\"invocations\":{invocations},\"failed\":{failed},\"writes_acknowledged\":{acknowledged},\
             \"writes_lost\":{lost},\"writes_duplicated\":{duplicated},\"cold_start_ms\":{cold:.1},\
             \"warm_p50_us\":{p50},\"connects\":{},\"failover_ms\":{failover:.1},\"switchover_ms\":{switchover:.1},\
             \"unknown\":{unknown},\"retried\":{}}}",
            self.connects, self.retried,
        );
        if lost + duplicated + failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Lambda hands on an error's name and text only; both come from `lambda_rds::Error`.
fn can_be_done_again(error: &FunctionError) -> bool {
    let never_ran = ["NoWriter", "Unreachable", "NotReady", "PoolExhausted", "DeadlineTooClose", "ReadOnly"];
    let lost = is_ours(error) && error.message.contains("it can be done again");
    lost || never_ran.iter().any(|name| error.error_type == format!("lambda_rds::Error::{name}"))
}

fn is_unknown(error: &FunctionError) -> bool {
    is_ours(error) && error.message.contains("it may or may not have been executed")
}

fn is_ours(error: &FunctionError) -> bool {
    error.kind == ErrorKind::Function && error.error_type.starts_with("lambda_rds::Error::")
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// In microseconds; 0 when nothing was measured.
fn percentile(spans: &mut [Duration], percent: usize) -> u64 {
    spans.sort();
    let at = (spans.len() * percent / 100).min(spans.len().saturating_sub(1));
    spans.get(at).map_or(0, |span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}
