//! A secret, a URL or a connection string in the place of a name, wherever names come from: it is refused, and not shown.

use std::time::Duration;

use lambda_rds::{Credentials, PgProxy, Postgres, ProxyBuilder};
use serde_json::json;

use crate::support::aws::Aws;
use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions as ServerOptions};
use crate::support::{Recorder, chain, proxy_to};

const PASSWORD: &str = "xyzzy-plugh-plover";
const MARK: &str = "xyzzy";

async fn everything(builder: ProxyBuilder<Postgres>) -> String {
    let recorder = Recorder::default();
    let builder = builder.observer(recorder.observer()).borrow_timeout(Duration::from_secs(2));
    let mut said = format!("{builder:?} {builder:#?}");
    match builder.build() {
        Err(error) => said.push_str(&chain(&error)),
        Ok(proxy) => {
            said.push_str(&format!("{proxy:?}"));
            if let Err(error) = proxy.get_connection().await {
                said.push_str(&chain(&error));
            }
        }
    }
    said.push_str(&format!("{:?}", recorder.events()));
    said
}

async fn shown(cases: Vec<(&'static str, ProxyBuilder<Postgres>)>) -> Vec<String> {
    let mut shown = Vec::new();
    for (what, builder) in cases {
        let said = everything(builder).await;
        if let Some(at) = said.rfind(MARK) {
            let start = said.floor_char_boundary(at.saturating_sub(70));
            let end = said.floor_char_boundary((at + 40).min(said.len()));
            shown.push(format!("{what} ({} times): …{}…", said.matches(MARK).count(), &said[start..end]));
        }
    }
    shown
}

/// Connection strings that are no URLs: libpq's, ADO's, and a URL without its scheme.
#[tokio::test]
async fn a_connection_string_in_the_place_of_a_name_does_not_show() {
    let server = Server::start(ServerOptions::default()).await;
    let place = || proxy_to(&server).url(server.url_for("nobody", "x", "app"));
    let dsn = format!("host=db user=app password={PASSWORD} dbname=app");
    let ado = format!("Server=db;Uid=app;Pwd={PASSWORD};Database=app");
    let said = shown(vec![
        ("libpq's as database", proxy_to(&server).database(dsn.clone())),
        ("libpq's as user", place().user(dsn.clone())),
        ("ADO's as database", proxy_to(&server).database(ado.clone())),
        ("ADO's as user", place().user(ado.clone())),
        ("a path with a query as database", proxy_to(&server).database(format!("app?password={PASSWORD}"))),
        ("user/password as user", place().user(format!("app/{PASSWORD}@db"))),
    ])
    .await;
    assert!(said.is_empty(), "{said:#?}");
}

/// The places that no check looks at.
#[tokio::test]
async fn a_url_in_the_place_of_a_pattern_a_name_or_a_path_does_not_show() {
    let server = Server::start(ServerOptions::default()).await;
    let url = format!("postgres://app:{PASSWORD}@db.invalid/app");
    let encoded = crate::support::site::percent_encoded(&url);
    let said = shown(vec![
        ("pattern", proxy_to(&server).instance_host_pattern(url.clone())),
        ("pattern with a ?", proxy_to(&server).instance_host_pattern(format!("?.{url}"))),
        ("application name", PgProxy::builder().url(format!("{}?application_name={encoded}", server.url()))),
        ("root file", PgProxy::builder().url(format!("{}?sslrootcert={encoded}", server.url()))),
        ("member's id", proxy_to(&server).instances([(url.clone(), "localhost", server.port())])),
        ("init query", proxy_to(&server).init_query(format!("select '{PASSWORD}' from nowhere"))),
    ])
    .await;
    assert!(said.is_empty(), "{said:#?}");
}

/// What is no URL, in places whose values are shown where they are wrong.
#[tokio::test]
async fn a_secret_in_the_place_of_a_path_or_a_word_does_not_show() {
    let server = Server::start(ServerOptions::default()).await;
    let joint = if server.url().contains('?') { '&' } else { '?' };
    let mut cases = Vec::new();
    for text in [
        format!("host=db user=app password={PASSWORD}"),
        format!(r#"{{"username":"app","password":"{PASSWORD}"}}"#),
        format!("Server=db;Pwd={PASSWORD}"),
        format!("app:{PASSWORD}@db/app"),
        format!("-----BEGIN PRIVATE KEY-----\n{PASSWORD}\n-----END PRIVATE KEY-----"),
    ] {
        let encoded = crate::support::site::percent_encoded(&text);
        for place in ["application_name", "sslrootcert", "sslmode", "port", "statement-cache-capacity"] {
            cases.push((place, PgProxy::builder().url(format!("{}{joint}{place}={encoded}", server.url()))));
        }
    }
    // A semicolon in the place of an ampersand, as other drivers' strings have it.
    for tail in ["sslmode=require;password", "port=5432;password", "sslmode=require%26password", "sslmode=require,pwd"]
    {
        cases.push((tail, PgProxy::builder().url(format!("postgres://app@db.invalid/app?{tail}={PASSWORD}"))));
    }
    let said = shown(cases).await;
    assert!(said.is_empty(), "{said:#?}");
}

/// The fields of a secret that are not its host.
#[tokio::test]
async fn a_secret_whose_database_or_user_is_a_url_does_not_show_its_password() {
    let (aws, server) = (Aws::start().await, Server::start(ServerOptions::default()).await);
    let url = format!("postgres://app:{PASSWORD}@db.invalid/app");
    let text = json!({"username": "app", "password": PASSWORD}).to_string();
    let mut cases = Vec::new();
    for (name, value) in [
        ("url-as-dbname", json!({"username": "app", "password": APP_PASSWORD, "dbname": url})),
        ("text-as-dbname", json!({"username": "app", "password": APP_PASSWORD, "dbname": text})),
        ("url-as-username", json!({"username": url, "password": PASSWORD})),
        ("pair-as-username", json!({"username": format!("app:{PASSWORD}"), "password": PASSWORD})),
        ("text-as-username", json!({"username": text, "password": PASSWORD})),
    ] {
        aws.secret(name).put(value);
        let place = PgProxy::builder().host(server.host()).port(server.port()).ca_pem(server.ca_pem());
        cases.push((name, place.secret(name).aws_config(aws.sdk_config())));
    }
    let said = shown(cases).await;
    assert!(said.is_empty(), "{said:#?}");
}

/// A provider of the application's own may mix its fields up as well; its host is dialled, and looked up by name.
#[derive(Debug)]
struct Mixed(&'static str);

impl lambda_rds::CredentialsProvider for Mixed {
    fn credentials<'a>(
        &'a self,
        _: &'a lambda_rds::credentials::CredentialsRequest,
    ) -> lambda_rds::credentials::CredentialsFuture<'a> {
        let url = format!("postgres://app:{PASSWORD}@db.invalid/app");
        let mut credentials = Credentials::new("app", PASSWORD);
        match self.0 {
            "host" => credentials.host = Some(url),
            "user" => credentials.user = url,
            _ => credentials.database = Some(url),
        }
        Box::pin(std::future::ready(Ok(credentials)))
    }
}

#[tokio::test]
async fn a_provider_that_mixes_its_fields_up_does_not_show_its_password() {
    let server = Server::start(ServerOptions::default()).await;
    let place = || PgProxy::builder().port(server.port()).ca_pem(server.ca_pem());
    let said = shown(vec![
        ("host", place().credentials(Mixed("host"))),
        ("user", place().host(server.host()).credentials(Mixed("user"))),
    ])
    .await;
    assert!(said.is_empty(), "{said:#?}");
}
