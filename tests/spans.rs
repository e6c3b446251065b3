//! Spans in OpenTelemetry's words: what a statement waited for, and nothing that it holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lambda_rds::Error;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::stage::*;
use crate::support::http::lock;

#[derive(Debug, Default, Clone)]
struct Seen {
    parent: Option<u64>,
    fields: BTreeMap<String, String>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// All spans of this crate, as an exporter would see them.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<u64, Seen>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != "lambda_rds" {
            return;
        }
        let parent = context.span(id).and_then(|span| span.parent().map(|parent| parent.id().into_u64()));
        let mut seen = Seen { parent, ..Seen::default() };
        attributes.record(&mut seen);
        lock(&self.0).insert(id.into_u64(), seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(seen) = lock(&self.0).get_mut(&id.into_u64()) {
            values.record(seen);
        }
    }
}

impl Spans {
    /// Those of that name, with their numbers.
    fn named(&self, name: &str) -> Vec<(u64, Seen)> {
        let all = lock(&self.0).clone();
        all.into_iter().filter(|(_, seen)| seen.fields.get("otel.name").is_some_and(|is| is == name)).collect()
    }
}

#[tokio::test]
async fn what_a_statement_waits_for_is_a_span_of_it_and_nothing_that_it_holds() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    // Its connection is gone, so that the statement waits for another.
    assert_eq!(server.terminate_sessions("app").await, 1);
    crate::support::until::until("the connection is closed", async || {
        let n = sqlx::query_scalar::<_, String>(ECHO).bind("hunter2").fetch_one(&mut conn).await;
        n.is_ok()
    })
    .await;
    let mut tx = conn.begin().await?;
    sqlx::query("select 'hunter2' from nowhere").execute(&mut *tx).await.expect_err("there is no such table");
    tx.rollback().await?;

    let selects = spans.named("SELECT");
    let (good, bad) = (&selects[0].1.fields, &selects.last().expect("two").1.fields);
    let system = if FAMILY == "postgres" { "postgresql" } else { "mysql" };
    assert_eq!((good["db.system.name"].as_str(), good["otel.kind"].as_str()), (system, "client"));
    assert_eq!((bad["db.response.status_code"].as_str(), bad["error.type"].as_str()), (NO_TABLE, NO_TABLE), "{bad:?}");
    assert_eq!((bad["otel.status_code"].as_str(), bad["server.port"].clone()), ("ERROR", server.port().to_string()));
    assert_eq!((spans.named("BEGIN").len(), spans.named("ROLLBACK").len()), (1, 1));
    let connects = spans.named("connect");
    let waited = |(_, connect): &(u64, Seen)| selects.iter().any(|(id, _)| connect.parent == Some(*id));
    assert!(connects.len() >= 2 && connects.iter().any(waited), "{connects:?} {selects:?}");
    assert!(!format!("{:?}", lock(&spans.0)).contains("hunter2"));
    Ok(())
}
