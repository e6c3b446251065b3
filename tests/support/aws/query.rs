//! The Query protocol, version 2014-10-31: a form comes in, XML goes out.

use std::fmt::Write as _;

use hyper::StatusCode;

use super::{
    super::http::{Reply, reply},
    Answer, ServiceError,
};

const NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";
const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

/// A request to the RDS API: a form of `Action` and flattened parameters.
pub(super) struct Call {
    pub(super) action: String,
    parameters: Vec<(String, String)>,
}

impl Call {
    pub(super) fn parse(body: &[u8]) -> Self {
        let parameters = parse_form(body);
        let mut call = Self { action: String::new(), parameters };
        call.action = call.parameter("Action").unwrap_or_default().to_owned();
        call
    }

    /// The identifier asked for, or else the values of the filter.
    pub(super) fn detail(&self) -> String {
        self.parameter("DBClusterIdentifier")
            .or_else(|| self.parameter("DBInstanceIdentifier"))
            .map_or_else(|| self.filter("db-cluster-id").join(" "), str::to_owned)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The values of filter `name`: `Filters.Filter.N.Name=name` with `Filters.Filter.N.Values.Value.M`.
    pub(super) fn filter(&self, name: &str) -> Vec<&str> {
        let prefixes: Vec<_> = self
            .parameters
            .iter()
            .filter(|(_, value)| value == name)
            .filter_map(|(key, _)| key.strip_suffix(".Name"))
            .map(|filter| format!("{filter}.Values."))
            .collect();
        self.parameters
            .iter()
            .filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix)))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The envelope every answer has, around the result that `write` writes.
    pub(super) fn response(&self, write: impl FnOnce(&mut Xml)) -> Answer {
        let mut xml = Xml::default();
        let root = format!("{}Response", self.action);
        xml.root(&root, |xml| {
            xml.group(&format!("{}Result", self.action), write);
            xml.group("ResponseMetadata", |xml| xml.leaf("RequestId", REQUEST_ID));
        });
        Answer(xml.0)
    }
}

pub(super) fn encode(outcome: Result<Answer, ServiceError>) -> Reply {
    match outcome {
        Ok(Answer(body)) => reply(StatusCode::OK, "text/xml", body),
        Err(error) => reply(error.status, "text/xml", encode_error(&error)),
    }
}

fn encode_error(error: &ServiceError) -> String {
    let fault = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    let mut xml = Xml::default();
    xml.root("ErrorResponse", |xml| {
        xml.group("Error", |xml| {
            xml.leaf("Type", fault);
            xml.leaf("Code", error.code);
            xml.leaf("Message", &error.message);
        });
        xml.leaf("RequestId", REQUEST_ID);
    });
    xml.0
}

/// Just enough of an XML writer.
#[derive(Default)]
pub(super) struct Xml(String);

impl Xml {
    fn root(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "<{name} xmlns=\"{NAMESPACE}\">");
        content(self);
        let _ = write!(self.0, "</{name}>");
    }

    pub(super) fn group(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name}>");
        content(self);
        let _ = write!(self.0, "</{name}>");
    }

    pub(super) fn leaf(&mut self, name: &str, text: impl AsRef<str>) {
        let text = text.as_ref().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.group(name, |xml| xml.0.push_str(&text));
    }

    pub(super) fn option(&mut self, name: &str, text: Option<impl AsRef<str>>) {
        if let Some(text) = text {
            self.leaf(name, text);
        }
    }
}

/// Decodes `application/x-www-form-urlencoded`.
fn parse_form(body: &[u8]) -> Vec<(String, String)> {
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let mut next = || percent_decode(sides.next().unwrap_or_default());
            (next(), next())
        })
        .collect()
}

fn percent_decode(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let digits = [char::from(*high), char::from(*low)].map(|digit| digit.to_digit(16));
                // What is not hexadecimal decodes to NUL, which matches no identifier.
                let value = digits[0].zip(digits[1]).map_or(0, |(high, low)| high * 16 + low);
                decoded.push(u8::try_from(value).unwrap_or(0));
                rest = after;
            }
            (byte, _) => decoded.push(*byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
