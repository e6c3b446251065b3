//! One line of the Embedded Metric Format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::Place;
use crate::status::Status;
use crate::usage::{Distribution, Usage};

/// As RDS Proxy calls them in its dimension `TargetRole`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// A line that is being written.
pub(super) struct Line {
    namespace: Value,
    dimensions: Vec<Vec<&'static str>>,
    metrics: Vec<Value>,
    fields: Map<String, Value>,
}

impl Line {
    /// With the gauges that every line has.
    pub(super) fn new(place: &Place, role: Role, status: &Status) -> Self {
        let mut line = Self {
            namespace: json!(place.namespace),
            dimensions: vec![vec!["ProxyName"]],
            metrics: Vec::new(),
            fields: Map::new(),
        };
        line.field("ProxyName", json!(place.proxy_name));
        if let Some(function) = &place.function_name {
            line.field("FunctionName", json!(function));
        }
        let target = status.writer.as_ref().filter(|_| role == Role::Writer);
        if let Some(target) = target {
            line.field("Target", json!(target));
        }
        line.field("TargetRole", json!(if role == Role::Writer { "READ_WRITE" } else { "READ_ONLY" }));
        if !place.by_proxy_only {
            if place.function_name.is_some() {
                line.dimensions.push(vec!["ProxyName", "FunctionName"]);
            }
            let of_target = if target.is_some() {
                vec!["ProxyName", "Target", "TargetRole"]
            } else {
                vec!["ProxyName", "TargetRole"]
            };
            line.dimensions.push(of_target);
        }
        let connections = if role == Role::Writer { status.connections } else { status.reader_connections };
        line.gauge("DatabaseConnections", connections);
        line.gauge("DatabaseConnectionsWithTLS", if status.encrypted { connections } else { 0 });
        line.gauge("MaxDatabaseConnectionsAllowed", status.max_connections);
        line
    }

    /// What can be searched for in the log, and be a dimension.
    pub(super) fn field(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    fn metric(&mut self, name: &'static str, unit: &'static str, value: Value) {
        self.metrics.push(json!({"Name": name, "Unit": unit}));
        self.fields.insert(name.to_owned(), value);
    }

    pub(super) fn gauge(&mut self, name: &'static str, value: usize) {
        self.metric(name, "Count", json!(value));
    }

    /// None is left out.
    pub(super) fn count(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            self.metric(name, "Count", json!(count));
        }
    }

    /// One without a value is left out.
    pub(super) fn distribution(&mut self, name: &'static str, of: &Distribution) {
        let (values, counts): (Vec<_>, Vec<_>) = of.values().unzip();
        if let (Some(least), Some(most)) = (values.first(), values.last()) {
            let sum = u64::try_from(of.total().as_micros()).unwrap_or(u64::MAX);
            let value = json!({
                "Min": least, "Max": most, "Sum": sum, "Count": of.count(), "Values": values, "Counts": counts,
            });
            self.metric(name, "Microseconds", value);
        }
    }

    pub(super) fn usage(&mut self, usage: &Usage, encrypted: bool) {
        let served = usage.borrow_latency.count();
        let borrows = served.saturating_add(usage.borrows_failed);
        self.count("DatabaseConnectionsBorrowRequests", borrows);
        self.count("DatabaseConnectionsBorrowRequestsAborted", usage.borrows_failed);
        self.distribution("DatabaseConnectionsBorrowLatency", &usage.borrow_latency);
        if borrows > 0 {
            self.metric("AvailabilityPercentage", "Percent", json!(served as f64 * 100.0 / borrows as f64));
        }
        let queries = usage.response_latency.count();
        self.count("QueryRequests", queries);
        self.count(if encrypted { "QueryRequestsTLS" } else { "QueryRequestsNoTLS" }, queries);
        self.distribution("QueryDatabaseResponseLatency", &usage.response_latency);
        self.count("LambdaRdsReplays", usage.replays);
        self.count("LambdaRdsReruns", usage.reruns);
    }

    pub(super) fn finish(self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Map::new();
        let directive = json!({"Namespace": self.namespace, "Dimensions": self.dimensions, "Metrics": self.metrics});
        line.insert("_aws".to_owned(), json!({"Timestamp": now.as_millis(), "CloudWatchMetrics": [directive]}));
        line.extend(self.fields);
        Value::Object(line)
    }
}
