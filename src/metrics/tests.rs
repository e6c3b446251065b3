use std::time::Duration;

use serde_json::Value;

use super::Emf;
use crate::event::{Discard, Event, Observer};
use crate::pin::{PinCause, PinReason};
use crate::status::Status;
use crate::usage::Meter;

/// What CloudWatch takes: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn is_taken(line: &Value) {
    assert!(line.to_string().len() < 256 * 1024);
    assert!(line["_aws"]["Timestamp"].as_u64().unwrap() > 1_700_000_000_000, "milliseconds");
    for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
        assert!((1..=255).contains(&directive["Namespace"].as_str().unwrap().len()));
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty());
        for set in sets {
            let set = set.as_array().unwrap();
            assert!(set.len() <= 30);
            for name in set {
                let value = line[name.as_str().unwrap()].as_str().unwrap();
                assert!((1..=1024).contains(&value.len()), "{name}: {value}");
            }
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        for metric in metrics {
            let name = metric["Name"].as_str().unwrap();
            assert!((1..=1024).contains(&name.len()));
            assert!(["Count", "Microseconds", "Percent"].contains(&metric["Unit"].as_str().unwrap()));
            let value = &line[name];
            let (Some(values), Some(counts)) = (value["Values"].as_array(), value["Counts"].as_array()) else {
                assert!(value.is_number(), "{name}: {value}");
                continue;
            };
            assert!((1..=100).contains(&values.len()) && values.len() == counts.len(), "{name}");
            assert!(values.iter().chain(counts).all(Value::is_number), "{name}");
        }
    }
}

fn line(emf: &Emf, status: &Status) -> Value {
    let lines = emf.lines(status);
    lines.iter().for_each(is_taken);
    lines[0].clone()
}

fn connected(elapsed: Duration) -> Event {
    Event::Connected { host: "a\n\"b".into(), elapsed }
}

#[test]
fn every_metric_is_counted_from_line_to_line() {
    let emf = Emf::new("Shop");
    let meter = Meter::default();
    let reason = || PinReason::new(PinCause::TemporaryObject, "create temporary table t (n int)");
    for event in [
        connected(Duration::from_millis(3)),
        connected(Duration::from_millis(3)),
        Event::ConnectFailed { error: "x".into(), elapsed: Duration::ZERO },
        Event::Pinned { reason: reason() },
        Event::Pinned { reason: reason() },
        Event::Unpinned { held: Duration::ZERO },
        Event::Discarded { why: Discard::GivenBack, error: None },
        Event::Discarded { why: Discard::Idle, error: None },
        Event::Thawed { frozen: Duration::ZERO },
        Event::WriterFound { host: "b".into(), moved: true, epoch: 1, elapsed: Duration::ZERO },
        Event::WriterFound { host: "b".into(), moved: false, epoch: 1, elapsed: Duration::ZERO },
    ] {
        emf.observe(&event);
    }
    meter.borrows.record_none();
    meter.borrows.record(Duration::from_millis(20));
    Meter::count(&meter.borrows_failed);
    meter.answers.record(Duration::from_micros(400));
    let mut status = Status { usage: meter.read(), ..Status::sample() };
    let first = line(&emf, &status);
    for (name, value) in [
        ("DatabaseConnections", 2),
        ("DatabaseConnectionsWithTLS", 2),
        ("DatabaseConnectionsCurrentlyBorrowed", 2),
        ("DatabaseConnectionsCurrentlySessionPinned", 2),
        ("DatabaseConnectionRequests", 3),
        ("DatabaseConnectionsSetupFailed", 1),
        ("DatabaseConnectionsBorrowRequests", 3),
        ("DatabaseConnectionsBorrowRequestsAborted", 1),
        ("QueryRequests", 1),
        ("QueryRequestsTLS", 1),
        ("LambdaRdsPins", 2),
        ("LambdaRdsGivenBack", 1),
        ("LambdaRdsThaws", 1),
        ("LambdaRdsFailovers", 1),
    ] {
        assert_eq!(first[name], value, "{name} in {first}");
    }
    assert_eq!((&first["Pins"]["TemporaryObject"], &first["Target"]), (&2.into(), &"db.example:5432".into()));
    assert_eq!(first["LambdaRdsSetupLatency"]["Count"], 2);
    assert_eq!(first["LambdaRdsSetupLatency"]["Sum"], 6000);
    assert_eq!(first["DatabaseConnectionsBorrowLatency"]["Counts"], serde_json::json!([1, 1]));
    assert!((60.0..70.0).contains(&first["AvailabilityPercentage"].as_f64().unwrap()));
    assert!(first.get("LambdaRdsRefused").is_none() && first.get("QueryRequestsNoTLS").is_none(), "{first}");

    // What was counted is counted once, and a session that is still pinned is.
    let second = line(&emf, &status);
    for name in ["DatabaseConnectionRequests", "QueryRequests", "LambdaRdsPins", "DatabaseConnectionsBorrowLatency"] {
        assert!(second.get(name).is_none(), "{name} in {second}");
    }
    assert_eq!(second["DatabaseConnectionsCurrentlySessionPinned"], 1);
    meter.answers.record(Duration::from_micros(400));
    status.usage = meter.read();
    assert_eq!(line(&emf, &status)["QueryRequests"], 1);
}

#[test]
fn readers_have_a_line_of_their_own_where_they_are_used() {
    let emf = Emf::new("Shop").named("orders");
    assert_eq!(emf.lines(&Status::sample()).len(), 1);
    let meter = Meter::default();
    meter.answers.record(Duration::from_secs(1));
    let status = Status { reader_connections: 1, reader_usage: meter.read(), ..Status::sample() };
    let lines = emf.lines(&status);
    lines.iter().for_each(is_taken);
    let [writer, reader] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&writer["TargetRole"], &reader["TargetRole"]), (&"READ_WRITE".into(), &"READ_ONLY".into()));
    assert_eq!((&reader["QueryRequests"], writer.get("QueryRequests")), (&1.into(), None));
    assert_eq!(reader["ProxyName"], "orders");
}

#[test]
fn a_line_stays_within_what_cloudwatch_takes_whatever_was_counted() {
    for by_proxy_only in [false, true] {
        let emf = if by_proxy_only { Emf::new("Shop").by_proxy_only() } else { Emf::new("Shop") };
        let meter = Meter::default();
        for power in 0..64 {
            for length in [1_u64 << power, (1 << power) + (1 << power) / 2].map(Duration::from_micros) {
                meter.answers.record(length);
                meter.borrows.record(length);
                emf.observe(&connected(length));
            }
        }
        emf.observe(&connected(Duration::MAX));
        let status =
            Status { usage: meter.read(), writer: by_proxy_only.then(|| "db:5432".to_owned()), ..Status::sample() };
        let line = line(&emf, &status);
        let sets = line["_aws"]["CloudWatchMetrics"][0]["Dimensions"].as_array().unwrap().len();
        assert_eq!(sets == 1, by_proxy_only, "{line}");
    }
}
