//! Every example runs as a function, on a real server. The quickstarts and `managed_instances` have tests of their own.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Imitation};
use crate::support::lambda::{Environment, FunctionSpec, example};
use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::until::until;

/// What the examples say that their tables are.
const TABLES: &str = "\
    create table orders (id bigint generated always as identity primary key, item text not null); \
    create table messages (id text primary key, body text not null); \
    create table payments (key text primary key, amount bigint not null); \
    create table archived (item text not null); \
    create table notes (tenant text not null, note text not null); \
    alter table notes enable row level security; \
    create policy own on notes using (tenant = nullif(current_setting('app.tenant', true), '')); \
    grant all on orders, messages, payments, archived, notes to app; \
    create schema app authorization app";

async fn server() -> Postgres {
    let server = Postgres::start(PostgresOptions::default()).await;
    server.execute(TABLES).await;
    server
}

fn ca(server: &Postgres) -> String {
    String::from_utf8_lossy(server.ca_pem()).into_owned()
}

async fn function(name: &str, server: &Postgres, more: &[(&str, String)]) -> Environment {
    let mut function = FunctionSpec::new(example(name));
    let ours = [("LAMBDA_RDS_URL", server.url()), ("LAMBDA_RDS_CA_PEM", ca(server))];
    let variables = ours.iter().chain(more);
    function.env = variables.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Environment::start(function).await
}

async fn answer(environment: &Environment, event: Value) -> Value {
    let invocation = environment.invoke(event).await;
    invocation.result.unwrap_or_else(|error| panic!("{error:?}\n{}", environment.stdout()))
}

/// As API Gateway and function URLs send it.
fn request(method: &str, path: &str, body: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {"content-type": "text/plain"},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default", "timeEpoch": 0},
        "body": body, "isBase64Encoded": false,
    })
}

#[tokio::test]
async fn an_http_api_adds_and_shows_orders() {
    let server = server().await;
    let environment = function("http", &server, &[]).await;
    let added = answer(&environment, request("POST", "/orders", "tea")).await;
    assert_eq!((&added["statusCode"], &added["body"]), (&200.into(), &"1".into()), "{added}");
    let shown = answer(&environment, request("GET", "/orders/1", "")).await;
    assert_eq!(shown["body"], "tea", "{shown}");
    assert_eq!(answer(&environment, request("GET", "/orders/2", "")).await["statusCode"], 404);
    server.execute("drop table orders").await;
    let failed = answer(&environment, request("GET", "/orders/1", "")).await;
    assert_eq!((&failed["statusCode"], &failed["body"]), (&500.into(), &"".into()), "{failed}");
}

#[tokio::test]
async fn a_message_of_a_batch_that_fails_comes_again_alone() {
    let server = server().await;
    server.execute("alter table messages add check (body <> 'bad')").await;
    let environment = function("sqs", &server, &[]).await;
    let message = |id: &str, body: &str| json!({"messageId": id, "body": body, "eventSource": "aws:sqs"});
    let batch =
        json!({"Records": [message("1", "good"), message("2", "bad"), message("1", "good"), message("3", "good")]});
    let failed = answer(&environment, batch).await;
    assert_eq!(failed, json!({"batchItemFailures": [{"itemIdentifier": "2"}]}));
    let done = sqlx::query_scalar::<_, String>("select id from messages order by id");
    assert_eq!(done.fetch_all(&mut server.admin().await).await.expect("an answer"), ["1", "3"]);
}

#[tokio::test]
async fn a_streamed_response_has_every_row() {
    let server = server().await;
    server.execute("insert into orders (item) select 'item ' || n from generate_series(1, 1000) n").await;
    let environment = function("stream", &server, &[]).await;
    let text = answer(&environment, json!({})).await;
    assert_eq!(text.as_str().map(|text| text.lines().count()), Some(1000), "{text}");
}

#[tokio::test]
async fn what_is_read_comes_from_a_reader() {
    let cluster = Cluster::start(Imitation::Aurora, 1).await;
    cluster.node(0).execute(TABLES).await;
    cluster.wait_until_follows(1, 0).await;
    let members: Vec<_> = cluster.instances().iter().map(|(id, host, port)| format!("{id}={host}:{port}")).collect();
    let members = [("LAMBDA_RDS_INSTANCES", members.join(","))];
    let environment = function("read_write_split", cluster.node(0), &members).await;
    let told = answer(&environment, json!({"item": "tea"})).await;
    assert_eq!(told["id"], 1, "{told}");
    assert!(told["orders"].as_i64().is_some_and(|orders| orders <= 1), "{told}");
    assert_eq!(cluster.node(1).sessions("app").await, 1);
}

#[tokio::test]
async fn a_tenant_sees_its_own_notes() {
    let server = server().await;
    let environment = function("multi_tenant", &server, &[]).await;
    for (tenant, note, notes) in [("a", "1", json!(["1"])), ("b", "2", json!(["2"])), ("a", "3", json!(["1", "3"]))] {
        assert_eq!(answer(&environment, json!({"tenant": tenant, "note": note})).await, notes);
    }
}

#[tokio::test]
async fn migrations_are_applied_once() {
    let server = server().await;
    let environment = function("migrations", &server, &[]).await;
    for _ in 0..2 {
        assert_eq!(answer(&environment, json!({})).await, 2);
    }
}

#[tokio::test]
async fn two_databases_are_served_side_by_side() {
    let (server, archive) = (server().await, server().await);
    server.execute("insert into orders (item) values ('tea'), ('milk')").await;
    let other = [("ARCHIVE_URL", archive.url()), ("ARCHIVE_CA_PEM", ca(&archive))];
    let environment = function("two_databases", &server, &other).await;
    assert_eq!(answer(&environment, json!({})).await, json!({"archived": 2}));
    let count = sqlx::query_scalar::<_, i64>("select count(*) from archived");
    assert_eq!(count.fetch_one(&mut archive.admin().await).await.expect("an answer"), 2);
}

#[tokio::test]
async fn what_happens_is_seen_as_a_line_of_metrics_an_event_and_a_table() {
    let server = server().await;
    let environment = function("observer", &server, &[]).await;
    for _ in 0..2 {
        let status = answer(&environment, json!({})).await;
        assert!(status.as_str().is_some_and(|status| status.contains("1 of 2")), "{status}");
    }
    // What is written after the response is there before the freeze.
    let metrics = || -> Vec<Value> {
        let lines = environment.stdout();
        let lines = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line.get("_aws").is_some()).collect()
    };
    until("a line of metrics for each invocation", async || metrics().len() >= 2).await;
    environment.shutdown().await;
    assert!(environment.stdout().contains("pinned: "), "{}", environment.stdout());
    let metrics = metrics();
    assert_eq!(metrics.len(), 2, "{metrics:?}");
    assert_eq!((&metrics[0]["QueryRequests"], &metrics[0]["Pins"]["TemporaryObject"]), (&1.into(), &1.into()));
    assert_eq!((&metrics[0]["ProxyName"], &metrics[0]["FunctionName"]), (&"orders".into(), &"stage".into()));
}

#[tokio::test]
async fn a_providers_password_is_read_again_when_it_was_changed() {
    let server = server().await;
    let file = std::env::temp_dir().join(format!("lambda-rds-password-{}", std::process::id()));
    std::fs::write(&file, crate::support::postgres::APP_PASSWORD).expect("a file");
    let place = [
        ("LAMBDA_RDS_URL", format!("postgres://app@{}:{}/app", server.host(), server.port())),
        ("PASSWORD_FILE", file.display().to_string()),
    ];
    let environment = function("provider", &server, &place).await;
    assert_eq!(answer(&environment, json!({})).await, "app");
    server.set_password("app", "another one").await;
    std::fs::write(&file, "another one\n").expect("a file");
    server.terminate_sessions("app").await;
    assert_eq!(answer(&environment, json!({})).await, "app");
    std::fs::remove_file(&file).expect("a file");
}

#[tokio::test]
async fn a_payment_is_made_once() {
    let server = server().await;
    let environment = function("idempotent", &server, &[]).await;
    for amount in [5, 6] {
        assert_eq!(answer(&environment, json!({"key": "k", "amount": amount})).await, Value::Null);
    }
    let paid: Vec<i64> =
        sqlx::query_scalar("select amount from payments").fetch_all(&mut server.admin().await).await.unwrap();
    assert_eq!(paid, [5], "once");
}

#[tokio::test]
async fn an_invocation_and_its_statements_are_one_trace() {
    let server = server().await;
    let environment = function("otel", &server, &[]).await;
    assert_eq!(answer(&environment, json!({})).await, 0);
    // What is written after the response is there before the freeze.
    until("the span of the invocation", async || environment.stdout().contains(": stage\n")).await;
    let stdout = environment.stdout();
    let spans: Vec<Vec<(&str, &str)>> = stdout
        .split("Span #")
        .skip(1)
        .map(|span| {
            let lines = span.lines().filter_map(|line| line.split_once(':'));
            lines.map(|(name, value)| (name.trim(), value.trim())).collect()
        })
        .collect();
    let of = |name: &str, what: &str| {
        let span = spans.iter().find(|span| span.contains(&("Name", name)));
        let span = span.unwrap_or_else(|| panic!("no span {name} in {stdout}"));
        span.iter().find(|(field, _)| *field == what).unwrap_or_else(|| panic!("no {what} in {span:?}")).1
    };
    assert_eq!(of("SELECT", "TraceId"), of("stage", "TraceId"), "{stdout}");
    assert_eq!(of("SELECT", "ParentSpanId"), of("stage", "SpanId"), "{stdout}");
    // Made by `init`, before any invocation.
    assert_eq!(of("connect", "ParentSpanId"), "None (root span)", "{stdout}");
}
