//! Where the credentials come from, how often they are asked for, and what happens when they change.
//!
//! Each test has a role of its own, so that changing its password disturbs nobody.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use lambda_rds::credentials::{CredentialsFuture, CredentialsRequest};
use lambda_rds::{Connection, Credentials, CredentialsError, CredentialsProvider, Error, Event, ProxyBuilder};
use serde_json::json;

use super::stage::*;
use crate::support::aws::{Aws, Fault, Service};
use crate::support::fault_proxy::FaultProxy;
use crate::support::http::lock;
use crate::support::{Recorder, child};

const SECRET: &str = "prod/shop/db";
const NEW_PASSWORD: &str = "app-secret-2";

/// A proxy for this secret on this server.
fn with_secret(server: &Server, aws: &Aws) -> ProxyBuilder<Db> {
    DbProxy::builder()
        .host(server.host())
        .port(server.port())
        .database("app")
        .ca_pem(server.ca_pem())
        .secret(SECRET)
        .aws_config(aws.sdk_config())
}

fn secret_of(user: &str, password: &str) -> serde_json::Value {
    json!({"username": user, "password": password})
}

/// A session that keeps its connection, so that the next one needs another.
async fn connect(proxy: &DbProxy) -> Result<Connection<Db>, Error> {
    let mut conn = proxy.get_connection().await?;
    conn.pin().await?;
    Ok(conn)
}

async fn user_of(conn: &mut Connection<Db>) -> String {
    sqlx::query_scalar(USER).fetch_one(conn).await.expect("the session works")
}

fn refusals(recorder: &Recorder) -> usize {
    recorder.count(|event| matches!(event, Event::CredentialsRefused { .. }))
}

#[tokio::test]
async fn a_cold_start_takes_one_request_for_the_secret_and_one_connect() {
    let (aws, server) = (Aws::start().await, server().await);
    let relay = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    aws.secret(SECRET).put(secret_of("app", APP_PASSWORD));
    let proxy = with_secret(server, &aws).port(relay.port()).build().unwrap();
    assert_eq!((aws.requests().len(), relay.connections()), (0, 0), "building does nothing");

    let mut conn = proxy.get_connection().await.unwrap();
    assert_eq!(user_of(&mut conn).await, "app");
    assert_eq!((aws.requests().len(), relay.connections()), (1, 1));
    assert_eq!(aws.secrets_read(), ["prod/shop/db AWSCURRENT"]);
}

#[tokio::test]
async fn with_a_fixed_password_aws_is_never_asked() {
    let (aws, server) = (Aws::start().await, server().await);
    let relay = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let proxy = proxy_to(server).port(relay.port()).aws_config(aws.sdk_config()).build().unwrap();
    let mut conn = proxy.get_connection().await.unwrap();
    assert_eq!(user_of(&mut conn).await, "app");
    assert_eq!((aws.requests().len(), relay.connections()), (0, 1));
}

#[tokio::test]
async fn a_secret_is_read_once_for_many_connects_even_at_the_same_time() {
    let (aws, server) = (Aws::start().await, server().await);
    aws.secret(SECRET).put(secret_of("app", APP_PASSWORD));
    let proxy = with_secret(server, &aws).max_connections(12).build().unwrap();
    let first = try_join_all((0..6).map(|_| connect(&proxy))).await.unwrap();
    let second = try_join_all((0..6).map(|_| connect(&proxy))).await.unwrap();
    assert_eq!((first.len() + second.len(), proxy.status().connections), (12, 12));
    assert_eq!(aws.requests().len(), 1);
}

#[tokio::test]
async fn after_a_rotation_one_refusal_finds_the_new_password() {
    let (aws, server) = (Aws::start().await, account("rotated", None).await);
    aws.secret(SECRET).put(secret_of("rotated", APP_PASSWORD));
    let recorder = Recorder::default();
    let proxy = with_secret(server, &aws).max_connections(4).observer(recorder.observer()).build().unwrap();
    let mut before = connect(&proxy).await.unwrap();

    server.set_password("rotated", NEW_PASSWORD).await;
    aws.secret(SECRET).rotate(secret_of("rotated", NEW_PASSWORD));
    let _after = connect(&proxy).await.unwrap();
    assert_eq!((refusals(&recorder), aws.requests().len()), (1, 2));
    // A session that is logged in stays so, and the next connect knows the new password.
    assert_eq!(user_of(&mut before).await, "rotated");
    let _next = connect(&proxy).await.unwrap();
    assert_eq!((refusals(&recorder), aws.requests().len(), proxy.status().connections), (1, 2, 3));
}

/// What a server says of a refused login holds such a password, and is a refused login as any other.
#[tokio::test]
async fn a_password_that_servers_use_as_a_word_is_rotated_as_any_other() {
    let server = account("wordy", None).await;
    for word in ["password", "authentication", "Access denied for user", "database", "severity", "position", "(using p"]
    {
        let aws = Aws::start().await;
        server.set_password("wordy", word).await;
        aws.secret(SECRET).put(secret_of("wordy", word));
        let recorder = Recorder::default();
        let proxy = with_secret(server, &aws).max_connections(2).observer(recorder.observer()).build().unwrap();
        let _before = connect(&proxy).await.unwrap();
        server.set_password("wordy", NEW_PASSWORD).await;
        aws.secret(SECRET).rotate(secret_of("wordy", NEW_PASSWORD));
        let _after = connect(&proxy).await.unwrap();
        assert_eq!((refusals(&recorder), aws.requests().len()), (1, 2), "{word}");
    }
}

#[tokio::test]
async fn a_herd_that_meets_a_rotation_asks_once() {
    const HERD: usize = 20;
    let (aws, server) = (Aws::start().await, account("herd", None).await);
    aws.secret(SECRET).put(secret_of("herd", APP_PASSWORD));
    let recorder = Recorder::default();
    // Time for a loaded machine: what is counted here is requests.
    let patience = Duration::from_secs(60);
    let builder = with_secret(server, &aws).connect_timeout(patience).borrow_timeout(patience);
    let proxy = builder.max_connections(HERD + 1).observer(recorder.observer()).build().unwrap();
    let _first = connect(&proxy).await.unwrap();

    server.set_password("herd", NEW_PASSWORD).await;
    aws.secret(SECRET).rotate(secret_of("herd", NEW_PASSWORD));
    aws.clear_requests();
    let herd = join_all((0..HERD).map(|_| connect(&proxy))).await;
    assert!(herd.iter().all(Result::is_ok), "{herd:?}");
    assert_eq!(aws.secrets_read(), ["prod/shop/db AWSCURRENT"]);
    assert_eq!(refusals(&recorder), 1, "one goes ahead, and the others are told");
}

#[tokio::test]
async fn a_pending_password_that_the_database_has_already_is_found() {
    let (aws, server) = (Aws::start().await, account("pending", None).await);
    aws.secret(SECRET).put(secret_of("pending", APP_PASSWORD));
    aws.secret(SECRET).stage_pending(secret_of("pending", NEW_PASSWORD));
    server.set_password("pending", NEW_PASSWORD).await;
    let proxy = with_secret(server, &aws).build().unwrap();
    let _first = connect(&proxy).await.unwrap();
    assert_eq!(aws.secrets_read().last().unwrap(), "prod/shop/db AWSPENDING");

    // What worked is what is used next, also when the rotation is finished.
    aws.secret(SECRET).promote_pending();
    aws.clear_requests();
    let _second = connect(&proxy).await.unwrap();
    assert!(aws.requests().is_empty(), "{:?}", aws.requests());
}

#[tokio::test]
async fn the_previous_password_is_tried_last() {
    let (aws, server) = (Aws::start().await, account("previous", None).await);
    aws.secret(SECRET).put(secret_of("previous", APP_PASSWORD));
    aws.secret(SECRET).rotate(secret_of("previous", NEW_PASSWORD));
    connect(&with_secret(server, &aws).build().unwrap()).await.unwrap();
    let stages: Vec<_> = aws.secrets_read().iter().map(|read| read.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(stages.last().unwrap(), "AWSPREVIOUS", "{stages:?}");
    assert!(stages.iter().position(|stage| stage == "AWSPENDING") < Some(stages.len() - 1), "{stages:?}");
}

#[tokio::test]
async fn a_secret_that_is_wrong_in_every_stage_is_a_refused_login() {
    let (aws, server) = (Aws::start().await, account("stale", None).await);
    aws.secret(SECRET).put(secret_of("stale", "wrong"));
    aws.secret(SECRET).rotate(secret_of("stale", "wrong as well"));
    let error = with_secret(server, &aws).build().unwrap().get_connection().await.unwrap_err();
    assert!(matches!(&error, Error::Authentication { user, refused: 2, .. } if user == "stale"), "{error:?}");
}

/// How many rounds of calls fit into this time: after 1 s, 2 s, 4 s and so on.
fn most_rounds(spent: Duration) -> usize {
    1 + usize::try_from(spent.as_secs().saturating_add(1).ilog2()).unwrap()
}

#[tokio::test]
async fn a_broken_secret_costs_one_round_and_two_refused_logins_however_many_callers_there_are() {
    const CALLERS: usize = 20;
    let (aws, server) = (Aws::start().await, account("broken", None).await);
    let relay = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    aws.secret(SECRET).put(secret_of("broken", "wrong"));
    aws.secret(SECRET).rotate(secret_of("broken", "wrong as well"));
    let recorder = Recorder::default();
    // Time for a loaded machine: what is counted here is requests and logins.
    let patience = Duration::from_secs(60);
    let builder = with_secret(server, &aws).port(relay.port()).connect_timeout(patience).borrow_timeout(patience);
    let proxy = builder.max_connections(CALLERS).observer(recorder.observer()).build().unwrap();
    let started = Instant::now();
    let callers = join_all((0..CALLERS).map(async |_| {
        // Each tries again at once.
        [proxy.get_connection().await.unwrap_err(), proxy.get_connection().await.unwrap_err()]
    }));
    for error in callers.await.iter().flatten() {
        let text = crate::support::chain(error);
        match error {
            Error::Authentication { user, .. } => assert_eq!(user, "broken"),
            Error::Credentials(CredentialsError::Refused { .. }) => assert!(text.contains("remembered"), "{text}"),
            Error::Credentials(CredentialsError::Exhausted) => {}
            _ => panic!("{text}"),
        }
    }
    let rounds = most_rounds(started.elapsed());
    let (calls, logins) = (aws.requests().len(), refusals(&recorder));
    assert!((1..=2 * rounds).contains(&logins), "{logins} refused logins in {rounds} rounds");
    assert_eq!(relay.connections(), logins, "nobody else has dialled");
    assert!((4..=4 * rounds).contains(&calls), "{calls} calls in {rounds} rounds");
    // What was wrong is mended, and that is found out.
    server.set_password("broken", "wrong as well").await;
    let mended = async {
        while let Err(error) = proxy.get_connection().await {
            assert!(matches!(error, Error::Credentials(_) | Error::Authentication { .. }), "{error:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(patience, mended).await.expect("it is tried again");
}

#[tokio::test]
async fn a_secret_that_is_denied_is_not_asked_for_by_every_invocation() {
    let (aws, server) = (Aws::start().await, server().await);
    aws.fault(Service::SecretsManager, Fault::AccessDenied);
    let proxy = with_secret(server, &aws).build().unwrap();
    let started = Instant::now();
    for attempt in 0..200 {
        let error = proxy.get_connection().await.unwrap_err();
        assert!(matches!(&error, Error::Credentials(CredentialsError::Denied { .. })), "{error:?}");
        let text = crate::support::chain(&error);
        assert!(attempt == 0 || started.elapsed() > Duration::from_secs(1) || text.contains("remembered"), "{text}");
    }
    let (calls, rounds) = (aws.requests().len(), most_rounds(started.elapsed()));
    assert!((1..=rounds).contains(&calls), "{calls} calls in {:?}", started.elapsed());
}

#[tokio::test]
async fn a_cluster_that_may_not_be_looked_up_is_not_looked_up_by_every_invocation() {
    const CALLERS: usize = 20;
    let aws = Aws::start().await;
    for (fault, calls_each) in [(Fault::AccessDenied, 1), (Fault::Throttle, 3)] {
        aws.fault(Service::Rds, fault);
        aws.clear_requests();
        let place = DbProxy::builder().cluster("stage").user("app").password(APP_PASSWORD);
        let proxy = place.aws_config(aws.sdk_config()).max_connections(CALLERS).build().unwrap();
        let started = Instant::now();
        for error in join_all((0..CALLERS).map(|_| proxy.get_connection())).await {
            let error = error.unwrap_err();
            assert!(matches!(&error, Error::Endpoint { .. }), "{error:?}");
        }
        for _ in 0..50 {
            let text = crate::support::chain(&proxy.get_connection().await.unwrap_err());
            assert!(started.elapsed() > Duration::from_secs(1) || text.contains("remembered"), "{text}");
        }
        let (calls, seconds) = (aws.requests().len(), usize::try_from(started.elapsed().as_secs()).unwrap());
        // The pause is a second at the least, and three attempts are the SDK's own.
        assert!((1..=calls_each * (1 + seconds)).contains(&calls), "{fault:?}: {calls} calls in {seconds} s");
    }
    aws.fault(Service::Rds, Fault::None);
}

#[tokio::test]
async fn a_service_in_trouble_leaves_the_secret_in_use() {
    let (aws, server) = (Aws::start().await, server().await);
    aws.secret(SECRET).put(secret_of("app", APP_PASSWORD));
    let proxy = with_secret(server, &aws).max_connections(4).build().unwrap();
    let mut sessions = vec![connect(&proxy).await.unwrap()];
    for fault in [Fault::Throttle, Fault::InternalError, Fault::NoAnswer] {
        aws.fault(Service::SecretsManager, fault);
        sessions.push(connect(&proxy).await.unwrap());
    }
    assert_eq!((aws.requests().len(), proxy.status().connections), (1, 4));
}

#[tokio::test]
async fn a_service_that_recovers_in_time_is_waited_for() {
    let (aws, server) = (Aws::start().await, server().await);
    aws.secret(SECRET).put(secret_of("app", APP_PASSWORD));
    aws.fault_next(Service::SecretsManager, Fault::Throttle, 1);
    aws.fault_next(Service::SecretsManager, Fault::InternalError, 1);
    assert!(with_secret(server, &aws).build().unwrap().get_connection().await.is_ok());
}

#[tokio::test]
async fn alternating_users_are_followed() {
    let (aws, server) = (Aws::start().await, account("alternating", None).await);
    account("alternating_clone", None).await;
    aws.secret(SECRET).put(secret_of("alternating", APP_PASSWORD));
    let proxy = with_secret(server, &aws).max_connections(3).build().unwrap();
    let mut first = connect(&proxy).await.unwrap();
    aws.secret(SECRET).rotate(secret_of("alternating_clone", APP_PASSWORD));
    // The old user stays good until the rotation after this one.
    let mut second = connect(&proxy).await.unwrap();
    server.execute(&lock_out("alternating")).await;
    let mut third = connect(&proxy).await.unwrap();
    let users = [user_of(&mut first).await, user_of(&mut second).await, user_of(&mut third).await];
    assert_eq!(users, ["alternating", "alternating", "alternating_clone"]);
}

#[tokio::test]
async fn a_secret_may_bring_host_port_and_database() {
    let (aws, server) = (Aws::start().await, server().await);
    for port in [json!(server.port()), json!(server.port().to_string())] {
        aws.secret(SECRET).put(json!({
            "engine": FAMILY, "host": server.host(), "port": port, "dbname": "app",
            "username": "app", "password": APP_PASSWORD,
        }));
        let builder = || DbProxy::builder().secret(SECRET).aws_config(aws.sdk_config()).ca_pem(server.ca_pem());
        let proxy = builder().build().unwrap();
        let mut conn = proxy.get_connection().await.unwrap();
        let database: String = sqlx::query_scalar(DATABASE).fetch_one(&mut conn).await.unwrap();
        assert_eq!(database, "app");
        assert_eq!(proxy.status().writer, Some(format!("localhost:{}", server.port())));
        // What is configured wins; the secret's port belongs to the secret's host.
        let error = builder().database("shop").build().unwrap().get_connection().await.unwrap_err();
        assert!(matches!(&error, Error::UnknownDatabase { .. }), "{error:?}");
        let error = builder().host("db.invalid").build().unwrap().get_connection().await.unwrap_err();
        assert!(matches!(&error, Error::Dns { host, .. } if host == "db.invalid"), "{error:?}");
    }
    aws.secret(SECRET).put(secret_of("app", APP_PASSWORD));
    let nowhere = DbProxy::builder().secret(SECRET).aws_config(aws.sdk_config()).build().unwrap();
    let error = nowhere.get_connection().await.unwrap_err();
    assert!(matches!(&error, Error::Config(lambda_rds::ConfigError::NoHost)), "{error:?}");
}

/// All that a deployed function has: its environment. The SDK finds region, keys and endpoint there by itself.
#[tokio::test]
async fn the_environment_alone_is_enough() {
    if child::is_one() {
        return log_in_by_the_environment().await;
    }
    let (aws, server) = (Aws::start().await, server().await);
    let host = [("LAMBDA_RDS_HOST", server.host().to_owned()), ("LAMBDA_RDS_PORT", server.port().to_string())];
    let roots = ("LAMBDA_RDS_CA_PEM", String::from_utf8(server.ca_pem().to_vec()).unwrap());
    let common = host.into_iter().chain([roots, ("LAMBDA_RDS_DATABASE", "app".to_owned())]);
    let mut environment: Vec<_> = common.map(|(name, value)| (name.to_owned(), value)).collect();
    environment.push(("LAMBDA_RDS_SECRET".to_owned(), aws.secret(SECRET).arn()));
    environment.extend(aws.environment());
    aws.secret(SECRET).put(secret_of("app", APP_PASSWORD));
    let said = child::run(concat!(module_path!(), "::the_environment_alone_is_enough"), &environment).await;
    assert!(said.contains("logged in as app"), "{said}");
    assert_eq!(aws.requests().len(), 1);
}

async fn log_in_by_the_environment() {
    let mut conn = lambda_rds::get_connection::<Db>().await.unwrap();
    println!("logged in as {}", user_of(&mut conn).await);
    // The second call is served by the same proxy.
    drop(conn);
    let proxy = lambda_rds::init::<Db>().await.unwrap();
    assert_eq!(proxy.status().connections, 1);
}

/// A source of the application's own, which hands out one password after the other.
#[derive(Debug)]
struct Vault {
    user: &'static str,
    passwords: &'static [&'static str],
    asked: std::sync::Arc<Mutex<Vec<CredentialsRequest>>>,
}

impl Vault {
    fn new(user: &'static str, passwords: &'static [&'static str]) -> Self {
        Self { user, passwords, asked: std::sync::Arc::default() }
    }
}

impl CredentialsProvider for Vault {
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        lock(&self.asked).push(request.clone());
        let next = self.passwords.get(request.refused.len());
        let answer = next.map(|password| Credentials::new(self.user, *password)).ok_or(CredentialsError::Exhausted);
        Box::pin(std::future::ready(answer))
    }
}

fn with_provider(server: &Server, provider: impl CredentialsProvider) -> ProxyBuilder<Db> {
    let place = DbProxy::builder().host(server.host()).port(server.port()).database("app");
    place.ca_pem(server.ca_pem()).credentials(provider)
}

#[tokio::test]
async fn a_provider_of_ones_own_is_told_what_was_refused() {
    let server = server().await;
    let vault = Vault::new("app", &["wrong", APP_PASSWORD]);
    let asked = std::sync::Arc::clone(&vault.asked);
    let proxy = with_provider(server, vault).build().unwrap();
    assert_eq!(user_of(&mut proxy.get_connection().await.unwrap()).await, "app");
    let asked = lock(&asked);
    let [first, second] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((first.host.as_deref(), first.port, first.engine), (Some(server.host()), server.port(), FAMILY));
    assert_eq!((first.refused.len(), second.refused[0].password.expose()), (0, "wrong"));
}

#[tokio::test]
async fn a_provider_that_has_nothing_left_ends_in_the_databases_answer() {
    let recorder = Recorder::default();
    let vault = Vault::new("app", &["wrong", "wrong as well"]);
    let proxy = with_provider(server().await, vault).observer(recorder.observer()).build().unwrap();
    let error = proxy.get_connection().await.unwrap_err();
    assert!(matches!(&error, Error::Authentication { refused: 2, .. }), "{error:?}");
    assert_eq!((error.sqlstate().as_deref(), refusals(&recorder)), (Some(WRONG_PASSWORD), 2));
}

#[tokio::test]
async fn a_provider_may_bring_the_host_and_may_fail() {
    #[derive(Debug)]
    struct Registry(Option<Credentials>);
    impl CredentialsProvider for Registry {
        fn credentials<'a>(&'a self, _: &'a CredentialsRequest) -> CredentialsFuture<'a> {
            let answer = self.0.clone().ok_or_else(|| CredentialsError::Provider("the vault is sealed".into()));
            Box::pin(std::future::ready(answer))
        }
    }
    let server = server().await;
    let mut known = Credentials::new("app", APP_PASSWORD);
    (known.host, known.port) = (Some(server.host().to_owned()), Some(server.port()));
    let builder = DbProxy::builder().ca_pem(server.ca_pem()).credentials(Registry(Some(known)));
    assert!(builder.build().unwrap().get_connection().await.is_ok());

    let error = with_provider(server, Registry(None)).build().unwrap().get_connection().await.unwrap_err();
    assert!(matches!(&error, Error::Credentials(CredentialsError::Provider(_))), "{error:?}");
    assert!(crate::support::chain(&error).contains("the vault is sealed"));
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_provider_that_never_answers_is_given_up() {
    #[derive(Debug)]
    struct Hanging;
    impl CredentialsProvider for Hanging {
        fn credentials<'a>(&'a self, _: &'a CredentialsRequest) -> CredentialsFuture<'a> {
            Box::pin(std::future::pending())
        }
    }
    let bound = Duration::from_millis(300);
    let proxy = with_provider(server().await, Hanging).borrow_timeout(bound).build().unwrap();
    let error = proxy.get_connection().await.unwrap_err();
    let Error::Credentials(CredentialsError::Unreachable { service, elapsed, .. }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*service, "the credentials provider");
    assert!(*elapsed < bound + Duration::from_secs(4), "{elapsed:?}");
    assert!(error.is_retryable());
}

/// RDS hands the token to somebody else to check, and so does this server.
#[tokio::test]
async fn an_iam_token_is_signed_for_host_port_and_user_and_kept() {
    const USER: &str = "iam@app";
    let (aws, server) = (Aws::start().await, TokenServer::start(USER).await);
    let recorder = Recorder::default();
    let builder = || server.place().user(USER).iam().aws_config(aws.sdk_config()).observer(recorder.observer());
    let proxy = builder().build().unwrap();
    let mut first = connect(&proxy).await.unwrap();
    let _second = connect(&proxy).await.unwrap();
    assert_eq!(user_of(&mut first).await, USER);

    let tokens = server.tokens();
    let place = format!("localhost:{}/?Action=connect&DBUser=iam%40app&", server.port());
    assert!(tokens[0].starts_with(&place), "{tokens:?}");
    assert!(tokens[0].contains("%2Feu-central-1%2Frds-db%2Faws4_request&"), "{tokens:?}");
    assert!(tokens[0].contains("X-Amz-Expires=900&"), "{tokens:?}");
    assert_eq!(tokens[0], tokens[1], "one token serves many connects");
    let signed =
        || recorder.count(|event| matches!(event, Event::CredentialsFetched { source, .. } if source == "iam"));
    assert_eq!((signed(), aws.requests().len()), (1, 0), "signed once, without a network");

    server.refuse();
    let error = builder().build().unwrap().get_connection().await.unwrap_err();
    assert!(matches!(&error, Error::Authentication { user, .. } if user == USER), "{error:?}");
    let account = if FAMILY == "postgres" { "the role has rds_iam" } else { "identified with AWSAuthenticationPlugin" };
    let text = error.to_string();
    assert!(text.contains("for IAM that") && text.contains(account) && text.contains("rds-db:connect"), "{text}");
}

/// Whatever a URL, a connection string or a shell would take for something else. (PostgreSQL's driver refuses what
/// SASLprep forbids, such as control characters: `mysql::logins` has those.)
#[tokio::test]
async fn a_password_may_have_any_character() {
    let server = account("peculiar", None).await;
    for password in ["a'b\"c`d\\e", "%2F:@/?#[]&=+ ;$", " blank ", "ünïcødé ключ", "\\0\\n\\'", &"long ".repeat(40)]
    {
        server.set_password("peculiar", password).await;
        for builder in [
            proxy_to(server).url(server.url_for("peculiar", password, "app")),
            proxy_to(server).url(server.url_for("peculiar", "x", "app")).password(password),
        ] {
            let connected = builder.build().unwrap().get_connection().await;
            assert!(connected.is_ok(), "{password:?}: {connected:?}");
        }
    }
}
