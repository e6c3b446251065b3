//! CloudWatch metrics by the Embedded Metric Format: a line of JSON on stdout, no call, no agent.
//!
//! The names are RDS Proxy's (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.monitoring.html>), where there
//! is such a thing here, and means what RDS Proxy means by it. RDS Proxy has no query metrics for PostgreSQL's extended
//! protocol, which is nearly all that sqlx speaks; here every statement passes through. What RDS Proxy does not have begins
//! with `LambdaRds`.
//!
//! | metric | unit | of the time since the last line |
//! |---|---|---|
//! | `DatabaseConnections`, `DatabaseConnectionsWithTLS`, `MaxDatabaseConnectionsAllowed` | Count | at this moment |
//! | `DatabaseConnectionsCurrentlyBorrowed`, `DatabaseConnectionsCurrentlySessionPinned` | Count | the most at a time |
//! | `DatabaseConnectionRequests`, `DatabaseConnectionRequestsWithTLS` | Count | connects, whether they succeeded or not |
//! | `DatabaseConnectionsSetupSucceeded`, `DatabaseConnectionsSetupFailed` | Count | of those |
//! | `DatabaseConnectionsBorrowRequests`, `DatabaseConnectionsBorrowRequestsAborted` | Count | waits for a connection, and those that ended without one |
//! | `DatabaseConnectionsBorrowLatency` | Microseconds | how long they took, where they ended with one |
//! | `AvailabilityPercentage` | Percent | the share of waits that ended with a connection |
//! | `QueryRequests`, `QueryRequestsTLS`, `QueryRequestsNoTLS` | Count | statements; a text of several is one |
//! | `QueryDatabaseResponseLatency` | Microseconds | from the moment when a statement had its connection to the end of its answer |
//! | `LambdaRdsSetupLatency` | Microseconds | a connect, from the credentials to the end of the set-up |
//! | `LambdaRdsReplays`, `LambdaRdsReruns` | Count | settings put on another connection; statements run again by themselves |
//! | `LambdaRdsPins` | Count | sessions that were pinned; the field `Pins` beside it has their causes |
//! | `LambdaRdsFailovers`, `LambdaRdsSuspicions` | Count | another writer was found; something spoke against the writer |
//! | `LambdaRdsRefused`, `LambdaRdsGivenBack` | Count | refusals of a full server that were waited out; connections given back for others |
//! | `LambdaRdsThaws`, `LambdaRdsRecovered`, `LambdaRdsCredentialsFetched` | Count | what the names say |
//!
//! Latencies are distributions, so that CloudWatch can tell percentiles. Counts of none, and distributions without a value,
//! are left out. RDS Proxy's metrics of its clients (`ClientConnections…`) have no meaning here: there is no connection
//! between the application and this crate. Nor is there a `…CurrentlyInTransaction`: at the end of an invocation there is none.
//!
//! Dimensions are `ProxyName`; `ProxyName, FunctionName`; `ProxyName, Target, TargetRole`. CloudWatch asks a price for each
//! metric in each of them; [`Emf::by_proxy_only`] has the first alone.

mod line;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Discard, Event, Observer};
use crate::status::Status;
use crate::usage::{Histogram, Usage};

use self::line::{Line, Role};

/// An observer that writes a line of metrics after each invocation. Clones share the counts.
///
/// ```
/// use lambda_rds::{Postgres, Proxy, metrics::Emf};
///
/// let proxy = Proxy::<Postgres>::builder().url("postgres://app:pw@db/shop").observer(Emf::new("Shop")).build()?;
/// # Ok::<_, lambda_rds::ConfigError>(())
/// ```
///
/// It writes when the proxy's upkeep is done, which the [`lambda`](crate::lambda) layer sees to after each response. A
/// function without the layer calls [`Proxy::upkeep`](crate::Proxy::upkeep), or [`flush`](Self::flush) with a clone of its own.
#[derive(Debug, Clone)]
pub struct Emf {
    place: Place,
    counts: Arc<Mutex<Counts>>,
}

/// Where the metrics of a line belong.
#[derive(Debug, Clone)]
struct Place {
    namespace: String,
    proxy_name: String,
    function_name: Option<String>,
    by_proxy_only: bool,
}

/// What events tell, since the last line.
#[derive(Debug, Default)]
struct Counts {
    succeeded: u64,
    failed: u64,
    setup: Histogram,
    pins: BTreeMap<String, u64>,
    pinned: usize,
    most_pinned: usize,
    failovers: u64,
    suspicions: u64,
    refused: u64,
    given_back: u64,
    thaws: u64,
    recovered: u64,
    fetched: u64,
    /// As read when the last line was written: on connections to the writer, and to readers.
    written: (Usage, Usage),
}

impl Emf {
    /// Metrics in this CloudWatch namespace. The proxy is called after the function (`AWS_LAMBDA_FUNCTION_NAME`); elsewhere
    /// `lambda-rds`.
    pub fn new(namespace: impl Into<String>) -> Self {
        let function_name = std::env::var("AWS_LAMBDA_FUNCTION_NAME").ok().filter(|name| !name.is_empty());
        let place = Place {
            namespace: namespace.into(),
            proxy_name: function_name.clone().unwrap_or_else(|| "lambda-rds".to_owned()),
            function_name,
            by_proxy_only: false,
        };
        Self { place, counts: Arc::default() }
    }

    /// Another name for the proxy, the dimension `ProxyName`: several functions may share one.
    #[must_use]
    pub fn named(mut self, proxy_name: impl Into<String>) -> Self {
        self.place.proxy_name = proxy_name.into();
        self
    }

    /// With the dimension `ProxyName` alone, at a third of the price.
    #[must_use]
    pub fn by_proxy_only(mut self) -> Self {
        self.place.by_proxy_only = true;
        self
    }

    /// Writes what has come since the last time to stdout, where Lambda's log takes it from: a line, and a second one where
    /// readers were used.
    ///
    /// # Errors
    /// The write's.
    pub fn flush(&self, status: &Status) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        self.lines(status).into_iter().try_for_each(|line| writeln!(stdout, "{line}"))
    }

    fn lines(&self, status: &Status) -> Vec<serde_json::Value> {
        let mut counts = self.counts();
        let pinned = counts.pinned;
        let written = (status.usage.clone(), status.reader_usage.clone());
        let counts =
            std::mem::replace(&mut *counts, Counts { pinned, most_pinned: pinned, written, ..Counts::default() });
        let mut lines = vec![self.writers_line(status, &counts)];
        let readers = status.reader_usage.since(&counts.written.1);
        if status.reader_connections > 0 || readers.response_latency.count() > 0 {
            lines.push(self.readers_line(status, &readers));
        }
        lines
    }

    fn writers_line(&self, status: &Status, counts: &Counts) -> serde_json::Value {
        let mut line = Line::new(&self.place, Role::Writer, status);
        line.gauge("DatabaseConnectionsCurrentlyBorrowed", status.most_leased.max(status.leased));
        line.gauge("DatabaseConnectionsCurrentlySessionPinned", counts.most_pinned.max(status.pinned));
        let requests = counts.succeeded.saturating_add(counts.failed);
        line.count("DatabaseConnectionRequests", requests);
        line.count("DatabaseConnectionRequestsWithTLS", if status.encrypted { requests } else { 0 });
        line.count("DatabaseConnectionsSetupSucceeded", counts.succeeded);
        line.count("DatabaseConnectionsSetupFailed", counts.failed);
        line.distribution("LambdaRdsSetupLatency", &counts.setup.read());
        line.usage(&status.usage.since(&counts.written.0), status.encrypted);
        for (name, count) in [
            ("LambdaRdsPins", counts.pins.values().sum()),
            ("LambdaRdsFailovers", counts.failovers),
            ("LambdaRdsSuspicions", counts.suspicions),
            ("LambdaRdsRefused", counts.refused),
            ("LambdaRdsGivenBack", counts.given_back),
            ("LambdaRdsThaws", counts.thaws),
            ("LambdaRdsRecovered", counts.recovered),
            ("LambdaRdsCredentialsFetched", counts.fetched),
        ] {
            line.count(name, count);
        }
        if !counts.pins.is_empty() {
            line.field("Pins", serde_json::json!(counts.pins));
        }
        line.finish()
    }

    fn readers_line(&self, status: &Status, usage: &Usage) -> serde_json::Value {
        let mut line = Line::new(&self.place, Role::Reader, status);
        line.usage(usage, status.encrypted);
        line.finish()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Emf {
    fn observe(&self, event: &Event) {
        if let Event::UpkeepDone { status } = event {
            if let Err(error) = self.flush(status) {
                tracing::warn!(target: "lambda_rds", %error, "the metrics could not be written");
            }
            return;
        }
        let mut counts = self.counts();
        match event {
            Event::Connected { elapsed, .. } => {
                counts.succeeded += 1;
                counts.setup.record(*elapsed);
            }
            Event::ConnectFailed { .. } => counts.failed += 1,
            Event::Refused { .. } => counts.refused += 1,
            Event::CredentialsFetched { .. } => counts.fetched += 1,
            Event::Recovered { .. } => counts.recovered += 1,
            Event::Discarded { why: Discard::GivenBack, .. } => counts.given_back += 1,
            Event::Thawed { .. } => counts.thaws += 1,
            Event::Suspected { .. } => counts.suspicions += 1,
            Event::WriterFound { moved, .. } => counts.failovers += u64::from(*moved),
            Event::Pinned { reason } => {
                *counts.pins.entry(format!("{:?}", reason.cause())).or_default() += 1;
                counts.pinned += 1;
                counts.most_pinned = counts.most_pinned.max(counts.pinned);
            }
            Event::Unpinned { .. } => counts.pinned = counts.pinned.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
