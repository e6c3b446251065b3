//! One line of the Embedded Metric Format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::measured::{Role, Sink};
use crate::status::Status;
use crate::usage::Distribution;

/// Where the metrics of a line belong.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) proxy_name: String,
    pub(super) function_name: Option<String>,
    pub(super) by_proxy_only: bool,
}

/// A line that is being written.
pub(super) struct Line {
    namespace: Value,
    dimensions: Vec<Vec<&'static str>>,
    metrics: Vec<Value>,
    fields: Map<String, Value>,
}

impl Line {
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
        line.field("TargetRole", json!(role.name()));
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

    pub(super) fn finish(self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Map::new();
        let directive = json!({"Namespace": self.namespace, "Dimensions": self.dimensions, "Metrics": self.metrics});
        line.insert("_aws".to_owned(), json!({"Timestamp": now.as_millis(), "CloudWatchMetrics": [directive]}));
        line.extend(self.fields);
        Value::Object(line)
    }
}

impl Sink for Line {
    fn gauge(&mut self, name: &'static str, value: usize) {
        self.metric(name, "Count", json!(value));
    }

    fn counted(&mut self, name: &'static str, count: u64) {
        self.metric(name, "Count", json!(count));
    }

    fn distribution(&mut self, name: &'static str, of: &Distribution) {
        let (values, counts): (Vec<_>, Vec<_>) = of.values().unzip();
        let sum = u64::try_from(of.total().as_micros()).unwrap_or(u64::MAX);
        let value = json!({
            "Min": values.first(), "Max": values.last(), "Sum": sum, "Count": of.count(), "Values": values, "Counts": counts,
        });
        self.metric(name, "Microseconds", value);
    }

    fn percent(&mut self, name: &'static str, value: f64) {
        self.metric(name, "Percent", json!(value));
    }
}
