//! The quickstart as a real function process under a Runtime API: cold start, freeze and thaw, and what a person sees
//! when the configuration is wrong.

use std::time::Duration;

use serde_json::{Value, json};

use super::stage::*;
use crate::support::aws::{Aws, Service};
use crate::support::lambda::{Environment, ErrorKind, FunctionSpec, example};

struct Stage {
    server: Server,
    aws: Aws,
}

impl Stage {
    async fn set() -> Self {
        let server = Server::start(logging_statements()).await;
        server.execute(ORDERS).await;
        let aws = Aws::start().await;
        aws.secret("orders").put(json!({
            "engine": FAMILY, "host": server.host(), "port": server.port().to_string(), "dbname": "app",
            "username": "app", "password": APP_PASSWORD,
        }));
        Self { server, aws }
    }

    fn function(&self) -> FunctionSpec {
        let mut function = FunctionSpec::new(example(QUICKSTART));
        function.env = self.aws.environment();
        function.env.push(("LAMBDA_RDS_SECRET".to_owned(), "orders".to_owned()));
        let ca = String::from_utf8_lossy(self.server.ca_pem()).into_owned();
        function.env.push(("LAMBDA_RDS_CA_PEM".to_owned(), ca));
        function
    }

    fn texts_beyond_the_logins(&self) -> Vec<String> {
        let mut texts = texts(&self.server);
        // What is asked after the response.
        texts.retain(|text| !ASKS_HOW_FULL.iter().any(|asks| text.contains(asks)));
        for begins in first_texts() {
            let first = texts.iter().position(|text| text.starts_with(begins));
            texts.remove(first.unwrap_or_else(|| panic!("no {begins} in {texts:#?}")));
        }
        texts
    }

    fn logins(&self) -> usize {
        self.server.log().lines().filter(|line| line.contains(LOGIN)).count()
    }
}

#[tokio::test]
async fn a_cold_start_fetches_one_secret_and_connects_once_and_sends_nothing_else() {
    let stage = Stage::set().await;
    let environment = Environment::start(stage.function()).await;
    environment.ready().await.expect("init");
    assert_eq!((stage.logins(), stage.texts_beyond_the_logins()), (1, vec![]), "init only logs in");
    let invocation = environment.invoke(json!({"item": "tea"})).await;
    assert_eq!(invocation.result.expect("served")["item"], Value::from("tea"));

    let requests = stage.aws.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!((requests[0].service, requests[0].detail.as_str()), (Service::SecretsManager, "orders AWSCURRENT"));
    assert_eq!(stage.logins(), 1);
    assert_eq!(stage.texts_beyond_the_logins(), [""; 0]);
    let executed = executed(&stage.server);
    assert!(executed[0].contains("insert into orders"), "the first statement is the handler's: {executed:#?}");
    assert!(stage.server.log().contains("lambda-rds stage"), "{}", stage.server.log());
}

#[tokio::test]
async fn a_connection_that_died_in_a_freeze_costs_one_connect_and_no_error() {
    let stage = Stage::set().await;
    let environment = Environment::start(stage.function()).await;
    environment.invoke(json!({"item": "before"})).await.result.expect("served");
    for times in 1..=3 {
        environment.freeze().await;
        assert_eq!(stage.server.terminate_sessions("app").await, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
        environment.thaw();
        environment.invoke(json!({"item": "after"})).await.result.expect("served");
        assert_eq!(stage.logins(), 1 + times);
    }
}

#[tokio::test]
async fn a_connection_that_lives_through_a_freeze_is_used_again() {
    let stage = Stage::set().await;
    let environment = Environment::start(stage.function()).await;
    environment.invoke(json!({"item": "before"})).await.result.expect("served");
    environment.freeze().await;
    // Longer than `validate_after`: it is asked before it is lent.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    environment.thaw();
    environment.invoke(json!({"item": "after"})).await.result.expect("served");
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn two_environments_serve_side_by_side() {
    let stage = Stage::set().await;
    let (one, other) = tokio::join!(Environment::start(stage.function()), Environment::start(stage.function()));
    for n in 0..20 {
        let (a, b) = tokio::join!(one.invoke(json!({"item": n.to_string()})), other.invoke(json!({"item": "x"})));
        a.result.expect("served");
        b.result.expect("served");
    }
    assert_eq!(stage.server.sessions("app").await, 2);
}

#[tokio::test]
async fn a_missing_configuration_is_said_on_stderr() {
    let mut function = FunctionSpec::new(example(QUICKSTART));
    function.env = vec![("LAMBDA_RDS_SECERT".to_owned(), "x".to_owned())];
    let environment = Environment::start(function).await;
    let error = environment.ready().await.expect_err("no database is named");
    assert_eq!(error.kind, ErrorKind::Crashed);
    assert!(environment.stderr().contains("LAMBDA_RDS_SECERT"), "{}", environment.stderr());
}

#[tokio::test]
async fn a_handler_error_tells_the_invoker_its_kind_and_the_log_the_causes() {
    let stage = Stage::set().await;
    let environment = Environment::start(stage.function()).await;
    environment.ready().await.expect("init");
    stage.server.execute(NO_ORDERS).await;
    let error = environment.invoke(json!({"item": "x"})).await.result.expect_err("no such table");
    assert_eq!(error.error_type, "lambda_rds::Error::Database");
    assert!(error.message.starts_with("the database, or its driver, answered with an error; "), "{error:?}");
    assert!(!error.message.contains("orders"), "the database's words are not for the invoker: {error:?}");
    let log = environment.stdout();
    let told: Vec<_> = log.lines().filter(|line| line.contains("the invocation failed")).collect();
    assert!(matches!(told[..], [line] if line.contains(NO_SUCH_TABLE)), "{log}");
    stage.server.stop().await;
    let error = environment.invoke(json!({"item": "x"})).await.result.expect_err("no server");
    assert_eq!(error.error_type, "lambda_rds::Error::Unreachable", "{error:?}");
    assert_eq!(error.message, "the database cannot be reached; nothing was executed; the function's log says more");
    assert!(environment.stdout().contains("nothing listens on that port"), "{}", environment.stdout());
}

/// A snapshot is shared by all environments that are made of it.
#[tokio::test]
async fn no_connection_and_no_password_is_part_of_a_snapshot() {
    let stage = Stage::set().await;
    let mut function = stage.function();
    function.snap_start = true;
    let environment = Environment::start(function).await;
    environment.snapshot().await;
    assert_eq!(stage.logins(), 1, "the init phase has shown that the database is there");
    stage.server.wait_until_sessions("app", 0).await;
    // What is true of the database may be another by the time of the restore.
    stage.server.set_password("app", "another one").await;
    let place = json!({
        "engine": FAMILY, "host": stage.server.host(), "port": stage.server.port(), "dbname": "app",
        "username": "app", "password": "another one",
    });
    stage.aws.secret("orders").put(place);
    let read = stage.aws.secrets_read().len();
    environment.restore();
    let invocation = environment.invoke(json!({"item": "tea"})).await;
    assert_eq!(invocation.result.expect("an answer")["item"], "tea");
    assert_eq!((stage.logins(), stage.aws.secrets_read().len()), (2, read + 1), "with what the secret says now");
}
