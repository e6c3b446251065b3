//! Secrets show nowhere: in no `Debug`, no text, no cause, no event, and in no log at any level.
//!
//! Everything that a program could print is collected, whatever happens to the connect, and searched for the secret.

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};

use lambda_rds::credentials::{CredentialsFuture, CredentialsRequest};
use lambda_rds::{Credentials, CredentialsError, CredentialsProvider, Error, Proxy, ProxyBuilder};
use serde_json::json;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use super::stage::*;
use crate::support::aws::{self, Aws, Fault, SECRET_KEY, Service};
use crate::support::http::{self, lock};
use crate::support::{Recorder, chain};

/// Nothing else in this process has these letters.
const PASSWORD: &str = "xyzzy-plugh-plover";
const OTHER_PASSWORD: &str = "xyzzy-frotz-rezrov";
/// What all of the above have in common.
const MARK: &str = "xyzzy";

/// Whatever was printed or logged by this thread since the beginning; tests run on one thread each.
struct Listener {
    heard: Heard,
    recorder: Recorder,
    _logs: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

/// For the threads of other tests: it wants nothing, and leaves open what others want. Without it, whoever comes first to a
/// place that logs, and has no listener, may turn that place off for the whole process (tracing's cache of interests).
struct Nobody;

impl tracing::Subscriber for Nobody {
    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

impl Listener {
    /// Listens to every target at every level, the driver's and the SDK's included.
    fn new() -> Self {
        // The first of the process; the others find it there.
        let _ = tracing::subscriber::set_global_default(Nobody);
        let heard = Heard::default();
        let writer = heard.clone();
        let logs = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::from_level(Level::TRACE))
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self { heard, recorder: Recorder::default(), _logs: tracing::subscriber::set_default(logs) }
    }

    fn hear(&self, thing: &impl Debug) {
        lock(&self.heard.0).extend(format!("{thing:?} {thing:#?}\n").into_bytes());
    }

    /// Connects, and hears all there is about it.
    async fn attempt(&self, builder: ProxyBuilder<Db>) -> Result<(), Error> {
        let builder = builder.observer(self.recorder.observer());
        self.hear(&builder);
        let result: Result<(), Error> = async {
            let proxy = builder.build()?;
            self.hear(&proxy);
            let mut conn = proxy.get_connection().await?;
            self.hear(&conn);
            sqlx::query(ECHO).bind("a parameter").execute(&mut conn).await?;
            conn.pin().await?;
            self.hear(&(&conn, proxy.status()));
            Ok(())
        }
        .await;
        if let Err(error) = &result {
            self.hear(&(chain(error), error));
        }
        // As it travels through sqlx's traits.
        result.map_err(|error| {
            let travelling = sqlx::Error::from(error);
            self.hear(&(chain(&travelling), &travelling));
            Error::from(travelling)
        })
    }

    /// All that was heard.
    ///
    /// # Panics
    /// When one of the secrets was.
    fn heard_none_of(self, secrets: &[&str]) -> String {
        self.hear(&self.recorder.events());
        let heard = String::from_utf8_lossy(&lock(&self.heard.0)).into_owned();
        for secret in secrets {
            if let Some(line) = heard.lines().find(|line| line.contains(secret)) {
                panic!("{secret} shows in: {line}");
            }
        }
        heard
    }
}

impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_fixed_password_does_not_show() {
    let server = account("secretive", None).await;
    server.set_password("secretive", PASSWORD).await;
    let listener = Listener::new();
    let url = |password, database| server.url_for("secretive", password, database);
    listener.attempt(proxy_to(server).url(url(PASSWORD, "app"))).await.unwrap();
    let separately = Proxy::builder().host(server.host()).port(server.port()).user("secretive").password(PASSWORD);
    listener.attempt(separately.database("app").ca_pem(server.ca_pem())).await.unwrap();

    for failing in [
        proxy_to(server).url(url(OTHER_PASSWORD, "app")),
        proxy_to(server).url(url(PASSWORD, "nowhere")),
        proxy_to(server).url(url(PASSWORD, "app")).host("db.invalid"),
        proxy_to(server).url(url(PASSWORD, "app").replace("localhost", "db.invalid")),
        Proxy::builder().url(format!("{}?sslkey={PASSWORD}", url("x", "app"))),
        // In the place of something else.
        Proxy::builder().host(url(PASSWORD, "app")),
        Proxy::builder().host(format!("app:{PASSWORD}@db.example")).user("app"),
        Proxy::builder().instances([("a", format!("app:{PASSWORD}@db.example"), 5432)]).user("app"),
        Proxy::builder().host("db.example").secret(json!({"username": "app", "password": PASSWORD}).to_string()),
        Proxy::builder().host("db.example").secret(format!("{PASSWORD} ")),
        Proxy::builder().host("db.example").add_ca_pem(PASSWORD),
        Proxy::builder().url(url(PASSWORD, "app")),
        Proxy::builder().url(format!("{}?sslmode=prefer", url(PASSWORD, "app"))),
        Proxy::builder().url(format!("{}?pasword={PASSWORD}", url("x", "app"))),
        Proxy::builder().url(format!("{FAMILY}://app:{PASSWORD}@db:port/app")),
        Proxy::builder().url(format!("{FAMILY}://app:#{PASSWORD}@db/app")),
        Proxy::builder().url(format!("{FAMILY}://app:7?{PASSWORD}@db/app")),
        Proxy::builder().url(format!("{FAMILY}://app:7/{PASSWORD}@db/app")),
        Proxy::builder().url(format!("{PASSWORD}@db/app")),
        Proxy::builder().url(url(PASSWORD, "app")).ca_pem(PASSWORD),
    ] {
        listener.attempt(failing).await.unwrap_err();
    }
    let heard = listener.heard_none_of(&[MARK]);
    assert!(heard.contains("secretive") && heard.contains("CredentialsRefused"), "it was listened to");
    assert!(heard.contains("lambda_rds: a connection is open"), "to the logs as well");
}

/// Keys and tenants stand in settings: the application's, which are replayed, and those of `init_query`.
#[tokio::test]
async fn what_the_statements_of_a_connection_set_does_not_show() {
    const NUMBER: usize = 7_355_608;
    const SHOWN: &str = "7355608";
    let server = server().await;
    let builder = || {
        let query = format!("{INIT_QUERY} /* {PASSWORD} */");
        proxy_to(server).init_query(query).max_connections(1)
    };
    async fn replay(builder: ProxyBuilder<Db>) {
        let proxy = builder.build().unwrap();
        let (mut one, mut other) = (proxy.get_connection().await.unwrap(), proxy.get_connection().await.unwrap());
        sqlx::query(sqlx::AssertSqlSafe(set_mark(NUMBER))).execute(&mut one).await.unwrap();
        for conn in [&mut other, &mut one] {
            sqlx::raw_sql("select 1").execute(conn).await.unwrap();
        }
    }
    let listener = Listener::new();
    listener.hear(&builder());
    replay(builder()).await;
    let heard = listener.heard_none_of(&[MARK, SHOWN]);
    assert!(heard.contains("init_query: Some(\"<") && heard.contains("ca_pem: <"), "lengths are shown: {heard}");
    assert!(heard.contains("lambda_rds: a connection is open"), "it was listened to");

    // Whoever wants the driver's own log has it.
    let listener = Listener::new();
    replay(builder().log_statements(true)).await;
    let heard = listener.heard_none_of(&[]);
    assert!(heard.contains("sqlx::query") && heard.contains(PASSWORD), "{heard}");
}

#[tokio::test]
async fn a_secrets_password_does_not_show() {
    const SECRET: &str = "prod/secretive/db";
    let server = account("secretive_too", None).await;
    server.set_password("secretive_too", PASSWORD).await;
    let aws = Aws::start().await;
    let listener = Listener::new();
    let builder = || {
        let place = Proxy::builder().host(server.host()).port(server.port()).database("app");
        place.ca_pem(server.ca_pem()).secret(SECRET).aws_config(aws.sdk_config())
    };
    let of = |password: &str| json!({"username": "secretive_too", "password": password});
    aws.secret(SECRET).put(of(OTHER_PASSWORD));
    aws.secret(SECRET).stage_pending(of(PASSWORD));
    listener.attempt(builder()).await.unwrap();
    aws.secret(SECRET).put(of(OTHER_PASSWORD));
    listener.attempt(builder()).await.unwrap_err();
    for malformed in [PASSWORD.to_owned(), format!("[\"{PASSWORD}\"]"), json!({"password": PASSWORD}).to_string()] {
        aws.secret(SECRET).put(malformed);
        listener.attempt(builder()).await.unwrap_err();
    }
    aws.secret(SECRET).put(json!({"username": "u", "password": PASSWORD, "port": "high"}));
    listener.attempt(builder()).await.unwrap_err();
    for fault in [Fault::Throttle, Fault::AccessDenied, Fault::InternalError] {
        aws.fault(Service::SecretsManager, fault);
        listener.attempt(builder()).await.unwrap_err();
    }
    let heard = listener.heard_none_of(&[MARK, SECRET_KEY]);
    assert!(heard.contains("is malformed") && heard.contains("secrets-manager AWSPENDING"), "it was listened to");
}

/// The client keeps an answer that it could not read, and shows it in the `Debug` of its error.
#[tokio::test]
async fn an_answer_that_cannot_be_read_does_not_show() {
    let secret = json!({"username": "u", "password": PASSWORD}).to_string();
    let good = json!({"ARN": "arn:x", "Name": "s", "SecretString": secret});
    let with = |key: &str, value: serde_json::Value| {
        let mut answer = good.clone();
        answer[key] = value;
        answer.to_string()
    };
    let cut = good.to_string();
    let answers = [
        (200, with("CreatedDate", json!("2024-01-01T00:00:00Z"))),
        (200, with("VersionId", json!(5))),
        (200, with("VersionStages", json!({}))),
        (200, cut[..cut.len() - 2].to_owned()),
        (302, good.to_string()),
        (400, good.to_string()),
        (400, json!({"__type": "ResourceNotFoundException", "message": "none", "SecretString": secret}).to_string()),
        (500, good.to_string()),
    ];
    for (status, answer) in answers {
        let body = answer.clone();
        let service = http::Server::start(move |_| {
            let status = hyper::StatusCode::from_u16(status).unwrap();
            std::future::ready(http::reply(status, "application/x-amz-json-1.1", body.clone()))
        });
        let service = service.await;
        let listener = Listener::new();
        let config = aws::sdk_config(&format!("http://{}", service.address()));
        let place = Proxy::builder().host("127.0.0.1").port(1).database("app").secret("s").aws_config(config);
        listener.attempt(place).await.unwrap_err();
        let heard = listener.heard_none_of(&[MARK]);
        assert!(heard.contains("Secrets Manager") || heard.contains("was not found"), "{status} {answer}: {heard}");
    }
}

#[tokio::test]
async fn a_providers_password_does_not_show() {
    #[derive(Debug)]
    struct Provider(Credentials);
    impl CredentialsProvider for Provider {
        fn credentials<'a>(&'a self, _: &'a CredentialsRequest) -> CredentialsFuture<'a> {
            let answer: Result<_, CredentialsError> = Ok(self.0.clone());
            Box::pin(std::future::ready(answer))
        }
    }
    let server = account("secretive_three", None).await;
    let listener = Listener::new();
    let provider = Provider(Credentials::new("secretive_three", PASSWORD));
    listener.hear(&provider);
    let place = Proxy::builder().host(server.host()).port(server.port()).database("app");
    listener.attempt(place.ca_pem(server.ca_pem()).credentials(provider)).await.unwrap_err();
    listener.heard_none_of(&[MARK]);
}

#[tokio::test]
async fn a_token_and_the_keys_behind_it_do_not_show() {
    let (aws, server) = (Aws::start().await, TokenServer::start("tokened").await);
    let listener = Listener::new();
    let builder = || server.place().user("tokened").iam().aws_config(aws.sdk_config());
    listener.attempt(builder()).await.unwrap();
    server.refuse();
    listener.attempt(builder()).await.unwrap_err();
    let signatures: Vec<_> = server.tokens().iter().map(|token| signature(token).to_owned()).collect();
    assert!(signatures.len() >= 2 && signatures.iter().all(|signature| signature.len() == 64), "{signatures:?}");
    let mut secrets: Vec<&str> = signatures.iter().map(String::as_str).collect();
    secrets.push(SECRET_KEY);
    listener.heard_none_of(&secrets);
}

/// Without it a token is worth nothing.
fn signature(token: &str) -> &str {
    token.rsplit("X-Amz-Signature=").next().unwrap_or_default()
}
