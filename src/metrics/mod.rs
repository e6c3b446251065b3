//! CloudWatch metrics by the Embedded Metric Format: a line of JSON on stdout, no call, no agent.
//!
//! The names are RDS Proxy's, so that dashboards carry over
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.monitoring.html>); the format is
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::event::{Event, Observer};
use crate::proxy::Status;

/// Counts events until they are written. Clones share the counts: one goes to `observer(..)`, one is kept to
/// [`flush`](Self::flush).
///
/// ```
/// use lambda_rds::{Postgres, Proxy, metrics::Emf};
///
/// let metrics = Emf::new("Shop");
/// let proxy = Proxy::<Postgres>::builder().url("postgres://app:pw@db/shop").observer(metrics.clone()).build()?;
/// // At the end of an invocation:
/// metrics.flush(&proxy.status()).ok();
/// # Ok::<_, lambda_rds::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Emf(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    namespace: String,
    succeeded: AtomicU64,
    failed: AtomicU64,
    setup: std::sync::Mutex<Duration>,
}

impl Emf {
    /// Metrics in this CloudWatch namespace.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self(Arc::new(Counts {
            namespace: namespace.into(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            setup: std::sync::Mutex::default(),
        }))
    }

    /// Writes one line to stdout, where Lambda's log takes it from, and begins to count anew.
    ///
    /// # Errors
    /// The write's.
    pub fn flush(&self, status: &Status) -> std::io::Result<()> {
        writeln!(std::io::stdout().lock(), "{}", self.line(status))
    }

    fn line(&self, status: &Status) -> Value {
        let succeeded = self.0.succeeded.swap(0, Ordering::Relaxed);
        let failed = self.0.failed.swap(0, Ordering::Relaxed);
        let setup = std::mem::take(&mut *self.0.setup.lock().unwrap_or_else(PoisonError::into_inner));
        let values = [
            ("DatabaseConnections", "Count", json!(status.connections)),
            ("DatabaseConnectionsCurrentlyBorrowed", "Count", json!(status.leased)),
            ("DatabaseConnectionsCurrentlySessionPinned", "Count", json!(status.pinned)),
            ("MaxDatabaseConnectionsAllowed", "Count", json!(status.max_connections)),
            ("DatabaseConnectionRequests", "Count", json!(succeeded.saturating_add(failed))),
            ("DatabaseConnectionsSetupSucceeded", "Count", json!(succeeded)),
            ("DatabaseConnectionsSetupFailed", "Count", json!(failed)),
            (
                "DatabaseConnectionsSetupLatency",
                "Microseconds",
                json!(u64::try_from(setup.as_micros()).unwrap_or(u64::MAX)),
            ),
        ];
        let metrics: Vec<_> = values.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Map::new();
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": now.as_millis(),
                "CloudWatchMetrics": [{"Namespace": self.0.namespace, "Dimensions": [[]], "Metrics": metrics}],
            }),
        );
        line.extend(values.into_iter().map(|(name, _, value)| (name.to_owned(), value)));
        Value::Object(line)
    }
}

impl Observer for Emf {
    fn observe(&self, event: &Event) {
        match event {
            Event::Connected { elapsed, .. } => {
                self.0.succeeded.fetch_add(1, Ordering::Relaxed);
                let mut setup = self.0.setup.lock().unwrap_or_else(PoisonError::into_inner);
                *setup = setup.saturating_add(*elapsed);
            }
            Event::ConnectFailed { .. } => {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_metric_has_its_value_and_counting_begins_anew() {
        let emf = Emf::new("Shop");
        emf.observe(&Event::Connected { host: "db:5432".into(), elapsed: Duration::from_millis(3) });
        emf.observe(&Event::ConnectFailed { error: "x".into(), elapsed: Duration::ZERO });
        let status = Status {
            connections: 2,
            max_connections: 4,
            idle: 1,
            leased: 1,
            pinned: 0,
            waiting: 0,
            reader_connections: 0,
            epoch: 0,
            writer: None,
        };
        let line = emf.line(&status);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Shop");
        for metric in directive["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        }
        assert_eq!(line["DatabaseConnectionRequests"], 2);
        assert_eq!(line["DatabaseConnectionsSetupLatency"], 3000);
        assert_eq!(emf.line(&status)["DatabaseConnectionRequests"], 0);
        for _ in 0..2 {
            emf.observe(&Event::Connected { host: "a\n\"b".into(), elapsed: Duration::MAX });
        }
        assert_eq!(emf.line(&status)["DatabaseConnectionsSetupLatency"], u64::MAX, "as long as a number can be");
    }
}
