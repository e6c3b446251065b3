//! Through the `metrics` facade.

use std::sync::{Arc, Mutex};

use metrics::{Label, counter, gauge, histogram};

use super::counts::Counts;
use super::histogram::record;
use super::measured::{Role, Sink, has_readers, of_readers, of_writer};
use crate::event::{Event, Observer};
use crate::status::Status;
use crate::usage::Distribution;

/// An observer that hands the same numbers to the recorder behind the [`metrics`](https://docs.rs/metrics) facade: Prometheus',
/// StatsD's, OpenTelemetry's, whichever the application has installed. Clones share the counts.
///
/// ```
/// use lambda_rds::{Postgres, Proxy, metrics::Facade};
///
/// let proxy = Proxy::<Postgres>::builder().url("postgres://app:pw@db/shop").observer(Facade::new("orders")).build()?;
/// # Ok::<_, lambda_rds::ConfigError>(())
/// ```
///
/// The names are those of [this module](super), counts are counters, latencies are histograms in seconds. The labels are
/// `ProxyName` and `TargetRole` (`READ_WRITE`, `READ_ONLY`). It reports when the proxy's upkeep is done, which the
/// [`lambda`](crate::lambda) layer sees to after each response; a function without the layer calls
/// [`Proxy::upkeep`](crate::Proxy::upkeep).
///
/// With the feature `otel` it has the writer's pool in OpenTelemetry's words too, under the proxy's name
/// (`db.client.connection.pool.name`): `db.client.connection.count` (by `db.client.connection.state`, `idle` and `used`), `.max`,
/// `.pending_requests`, `.create_time` and `.wait_time`.
#[derive(Debug, Clone)]
pub struct Facade {
    proxy_name: String,
    counts: Arc<Mutex<Counts>>,
}

impl Facade {
    /// For a proxy of this name.
    pub fn new(proxy_name: impl Into<String>) -> Self {
        Self { proxy_name: proxy_name.into(), counts: Arc::default() }
    }

    /// Hands over what has come since the last time.
    pub fn flush(&self, status: &Status) {
        let (counts, usage, readers_usage) = Counts::taken(&self.counts, status);
        of_writer(&mut self.recorder(Role::Writer), status, &counts, &usage);
        #[cfg(feature = "otel")]
        super::otel::of_pool(&self.proxy_name, status, &counts, &usage);
        if has_readers(status, &readers_usage) {
            of_readers(&mut self.recorder(Role::Reader), status, &readers_usage);
        }
    }

    fn recorder(&self, role: Role) -> Labelled {
        Labelled(vec![Label::new("ProxyName", self.proxy_name.clone()), Label::new("TargetRole", role.name())])
    }
}

impl Observer for Facade {
    fn observe(&self, event: &Event) {
        match event {
            Event::UpkeepDone { status } => self.flush(status),
            event => Counts::note(&self.counts, event),
        }
    }
}

/// The recorder, with the labels of what it is given.
struct Labelled(Vec<Label>);

impl Sink for Labelled {
    fn gauge(&mut self, name: &'static str, value: usize) {
        gauge!(name, self.0.iter()).set(value as f64);
    }

    fn counted(&mut self, name: &'static str, count: u64) {
        counter!(name, self.0.iter()).increment(count);
    }

    fn distribution(&mut self, name: &'static str, of: &Distribution) {
        record(&histogram!(name, self.0.iter()), of);
    }

    fn percent(&mut self, name: &'static str, value: f64) {
        gauge!(name, self.0.iter()).set(value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString,
        Unit, with_local_recorder,
    };

    use super::*;
    use crate::metrics::Emf;
    use crate::usage::Meter;

    /// Keeps the sum of what it is given, by name and role.
    #[derive(Default)]
    struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

    struct Sum(String, Arc<Mutex<BTreeMap<String, f64>>>);

    impl Sum {
        fn add(&self, value: f64) {
            *self.1.lock().unwrap().entry(self.0.clone()).or_default() += value;
        }
    }

    impl CounterFn for Sum {
        fn increment(&self, value: u64) {
            self.add(value as f64);
        }

        fn absolute(&self, _: u64) {
            unreachable!("counts are added up");
        }
    }

    impl GaugeFn for Sum {
        fn increment(&self, _: f64) {
            unreachable!("gauges are set");
        }

        fn decrement(&self, _: f64) {
            unreachable!("gauges are set");
        }

        fn set(&self, value: f64) {
            self.add(value);
        }
    }

    impl HistogramFn for Sum {
        fn record(&self, value: f64) {
            self.add(value);
        }
    }

    impl Sums {
        fn of(&self, key: &Key) -> Arc<Sum> {
            let labels: Vec<_> = key.labels().map(Label::value).collect();
            Arc::new(Sum(format!("{} {}", labels.join(" "), key.name()), Arc::clone(&self.0)))
        }
    }

    impl Recorder for Sums {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.of(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.of(key))
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.of(key))
        }
    }

    #[test]
    fn the_recorder_gets_the_numbers_of_a_line_once() {
        let (facade, emf, meter) = (Facade::new("orders"), Emf::new("Shop"), Meter::default());
        let connected = Event::Connected { host: "db".into(), elapsed: Duration::from_millis(3) };
        for event in [connected.clone(), connected, Event::Thawed { frozen: Duration::ZERO }] {
            facade.observe(&event);
            emf.observe(&event);
        }
        meter.borrows.record(Duration::from_millis(20));
        meter.answers.record(Duration::from_millis(20));
        let status =
            Status { reader_connections: 1, usage: meter.read(), reader_usage: meter.read(), ..Status::sample() };
        let sums = Sums::default();
        with_local_recorder(&sums, || facade.observe(&Event::UpkeepDone { status: status.clone().into() }));
        let told = sums.0.lock().unwrap().clone();
        for (role, line) in ["READ_WRITE", "READ_ONLY"].into_iter().zip(emf.lines(&status)) {
            let names = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().iter();
            let names: Vec<_> = names.map(|metric| metric["Name"].as_str().unwrap()).collect();
            let of_role = told.keys().filter(|key| key.starts_with(&format!("orders {role} "))).count();
            assert_eq!(of_role, names.len(), "{told:?}");
            for name in names {
                let value = told[&format!("orders {role} {name}")];
                match &line[name] {
                    number if number.is_number() => assert_eq!(number.as_f64(), Some(value), "{name}"),
                    lengths => {
                        let micros = lengths["Values"][0].as_f64().unwrap() * lengths["Count"].as_f64().unwrap();
                        assert!((micros / 1e6 - value).abs() < 1e-9, "{name}: {value} of {lengths}");
                    }
                }
            }
        }
        #[cfg(feature = "otel")]
        for (name, value) in [
            ("idle db.client.connection.count", status.idle as f64),
            ("used db.client.connection.count", status.leased as f64),
            ("db.client.connection.max", status.max_connections as f64),
            ("db.client.connection.pending_requests", status.waiting as f64),
            ("db.client.connection.create_time", told["orders READ_WRITE LambdaRdsSetupLatency"]),
            ("db.client.connection.wait_time", told["orders READ_WRITE DatabaseConnectionsBorrowLatency"]),
        ] {
            assert_eq!(told.get(&format!("orders {name}")), Some(&value), "{name}");
        }
        let again = Sums::default();
        with_local_recorder(&again, || facade.flush(&status));
        let counted = ["LambdaRdsThaws", "DatabaseConnectionRequests", "QueryRequests", "LambdaRdsSetupLatency"];
        for name in counted {
            assert!(!again.0.lock().unwrap().contains_key(&format!("orders READ_WRITE {name}")), "{name} once more");
        }
    }
}
