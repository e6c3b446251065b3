//! By the Embedded Metric Format.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::counts::Counts;
use super::line::{Line, Place};
use super::measured::{Role, has_readers, of_readers, of_writer};
use crate::event::{Event, Observer};
use crate::status::Status;

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

    pub(super) fn lines(&self, status: &Status) -> Vec<serde_json::Value> {
        let (counts, usage, readers_usage) = Counts::taken(&self.counts, status);
        let mut writers = Line::new(&self.place, Role::Writer, status);
        of_writer(&mut writers, status, &counts, &usage);
        if !counts.pins.is_empty() {
            writers.field("Pins", serde_json::json!(counts.pins));
        }
        let mut lines = vec![writers.finish()];
        if has_readers(status, &readers_usage) {
            let mut readers = Line::new(&self.place, Role::Reader, status);
            of_readers(&mut readers, status, &readers_usage);
            lines.push(readers.finish());
        }
        lines
    }
}

impl Observer for Emf {
    fn observe(&self, event: &Event) {
        if let Event::UpkeepDone { status } = event {
            if let Err(error) = self.flush(status) {
                tracing::warn!(target: "lambda_rds", %error, "the metrics could not be written");
            }
        } else {
            Counts::note(&self.counts, event);
        }
    }
}
