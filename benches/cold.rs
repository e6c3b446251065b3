//! A cold start: from the start of a process to its first row, with a secret in Secrets Manager, beside the handler that one
//! writes by hand over the SDK and sqlx. A small secret's JSON, a verified certificate and one login in both.
//!
//! `cargo bench --features _internals,mysql --bench cold` starts both in turns, `--rounds N` times each.
#![allow(clippy::print_stdout, missing_docs, reason = "a program for a person at a terminal")]

mod field;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Stdio;
use std::time::Instant;

use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use field::{Arena, median};
use lambda_rds::{MySql, Postgres};
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use support::aws::Aws;
use support::mariadb::{MariaDb, MariaDbOptions};
use support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// In a child: who is to start.
const ROLE: &str = "COLD_START_OF";
const ROLES: [&str; 2] = ["lambda-rds", "by hand"];
const SECRET: &str = "orders";
const CA: &str = "LAMBDA_RDS_CA_PEM";

async fn ours<DB: Arena>() {
    let mut session = lambda_rds::get_connection::<DB>().await.expect("connects");
    DB::ask_session(&mut session).await;
}

async fn by_hand<DB: Arena>(options: impl FnOnce(&Value, Vec<u8>) -> field::Options<DB>) {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let aws = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http).load().await;
    let client = aws_sdk_secretsmanager::Client::new(&aws);
    let secret = client.get_secret_value().secret_id(SECRET).send().await.expect("a secret");
    let secret = serde_json::from_str(secret.secret_string().expect("a text")).expect("JSON");
    let ca = std::env::var(CA).expect("a certificate").into_bytes();
    let mut conn = DB::Connection::connect_with(&options(&secret, ca)).await.expect("connects");
    DB::ask(&mut conn).await;
}

fn text<'a>(secret: &'a Value, name: &str) -> &'a str {
    secret[name].as_str().expect("a text")
}

fn port(secret: &Value) -> u16 {
    text(secret, "port").parse().expect("a port")
}

fn postgres(secret: &Value, ca: Vec<u8>) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(text(secret, "host"))
        .port(port(secret))
        .username(text(secret, "username"))
        .password(text(secret, "password"))
        .database(text(secret, "dbname"))
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert_from_pem(ca)
}

fn mysql(secret: &Value, ca: Vec<u8>) -> MySqlConnectOptions {
    MySqlConnectOptions::new()
        .host(text(secret, "host"))
        .port(port(secret))
        .username(text(secret, "username"))
        .password(text(secret, "password"))
        .database(text(secret, "dbname"))
        .ssl_mode(MySqlSslMode::VerifyIdentity)
        .ssl_ca_from_pem(ca)
}

/// From here to the row that a new process tells of, in milliseconds.
async fn start(role: &str, environment: &[(String, String)]) -> f64 {
    let program = std::env::current_exe().expect("a bench knows its binary");
    let started = Instant::now();
    let mut child = Command::new(program)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("our own binary can be started");
    let mut word = [0];
    child.stdout.as_mut().expect("piped").read_exact(&mut word).await.expect("it has its row");
    let elapsed = started.elapsed();
    assert!(child.wait().await.expect("ends").success());
    elapsed.as_secs_f64() * 1e3
}

async fn measure(engine: &str, family: &str, (host, port, ca): (&str, u16, &[u8]), rounds: usize) {
    let aws = Aws::start().await;
    aws.secret(SECRET).put(json!({
        "engine": family, "host": host, "port": port.to_string(), "dbname": "app", "username": "app",
        "password": APP_PASSWORD,
    }));
    let mut environment = aws.environment();
    environment.push(("LAMBDA_RDS_SECRET".to_owned(), SECRET.to_owned()));
    environment.push((CA.to_owned(), String::from_utf8_lossy(ca).into_owned()));
    let mut spans = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for turn in 0..ROLES.len() {
            let who = (turn + round) % ROLES.len();
            let span = start(&format!("{} {engine}", ROLES[who]), &environment).await;
            // The first warms the machine's caches.
            if round > 0 {
                spans[who].push(span);
            }
        }
    }
    let [ours, theirs] = spans.map(|mut spans| median(&mut spans));
    println!("\nprocess start to first row on {engine}, with a secret; medians of {rounds}");
    println!("  lambda-rds {ours:.1} ms, by hand {theirs:.1} ms  => {:.2} x", ours / theirs);
}

#[tokio::main(flavor = "current_thread")]
async fn child(role: &str) {
    match role {
        "lambda-rds PostgreSQL" => ours::<Postgres>().await,
        "lambda-rds MariaDB" => ours::<MySql>().await,
        "by hand PostgreSQL" => by_hand::<Postgres>(postgres).await,
        "by hand MariaDB" => by_hand::<MySql>(mysql).await,
        role => panic!("nobody is called {role}"),
    }
    println!("row");
}

#[tokio::main]
async fn parent() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds");
    let rounds = arguments.nth(1).map_or(31, |number| number.parse().expect("a number"));
    let server = Server::start(PostgresOptions::default()).await;
    measure("PostgreSQL", "postgres", (server.host(), server.port(), server.ca_pem()), rounds).await;
    let server = MariaDb::start(MariaDbOptions::default()).await;
    measure("MariaDB", "mariadb", (server.host(), server.port(), server.ca_pem()), rounds).await;
}

fn main() {
    match std::env::var(ROLE) {
        Ok(role) => child(&role),
        Err(_) => parent(),
    }
}
