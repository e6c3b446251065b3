//! What a session costs in instructions, beside the bare connection: the same on every machine, however busy it is.
//!
//! `sh benches/instructions.sh` installs what it needs and runs it. User mode only, optimised as for a release, one thread, no
//! TLS, counted by callgrind: the difference between two runs of different lengths, so that connecting is not in it.
#![allow(clippy::print_stdout, missing_docs, reason = "a program for a person at a terminal")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;

use lambda_rds::{Connection, MySql, Postgres, Proxy, Tls};
use sqlx::Connection as _;
use support::mariadb::{MariaDb, MariaDbOptions};
use support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};

/// Two lengths of a run, in repetitions.
const SHORT: u32 = 200;
const LONG: u32 = 1200;

macro_rules! measured {
    ($engine:ty, $work:expr, $subject:expr, $url:expr, $times:expr, $select:literal, $with_value:literal) => {{
        let (url, times) = ($url, $times);
        let mut bare = <$engine as sqlx::Database>::Connection::connect(url).await.expect("connects");
        let proxy = Proxy::<$engine>::builder().url(url).tls(Tls::Disable).build().expect("valid");
        let mut session: Connection<$engine> = proxy.get_connection().await.expect("connects");
        for _ in 0..times {
            match ($subject, $work) {
                ("bare", "query") => {
                    sqlx::query($select).execute(&mut bare).await.expect("answers");
                }
                ("session", "query") => {
                    sqlx::query($select).execute(&mut session).await.expect("answers");
                }
                ("bare", "transaction") => {
                    let mut transaction = bare.begin().await.expect("begins");
                    sqlx::query($with_value).bind(1_i32).execute(&mut *transaction).await.expect("answers");
                    transaction.commit().await.expect("commits");
                }
                ("session", "transaction") => {
                    let mut transaction = session.begin().await.expect("begins");
                    sqlx::query($with_value).bind(1_i32).execute(&mut *transaction).await.expect("answers");
                    transaction.commit().await.expect("commits");
                }
                (subject, work) => panic!("{subject} {work}"),
            }
        }
    }};
}

#[tokio::main(flavor = "current_thread")]
async fn run(subject: &str, work: &str, url: &str, times: u32) {
    if url.starts_with("mysql") {
        measured!(MySql, work, subject, url, times, "select 1", "select cast(? as char)");
    } else {
        measured!(Postgres, work, subject, url, times, "select 1", "select $1::int4");
    }
}

/// The instructions that a process of this program executes.
fn counted(subject: &str, work: &str, url: &str, times: u32) -> f64 {
    let program = std::env::current_exe().expect("a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["run", subject, work, url, &times.to_string()])
        .output()
        .expect("valgrind is there: sh benches/instructions.sh installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected.and_then(|(_, number)| number.trim().parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

fn row(engine: &str, work: &str, url: &str) {
    let once = |subject| {
        let (short, long) = (counted(subject, work, url, SHORT), counted(subject, work, url, LONG));
        (long - short) / f64::from(LONG - SHORT)
    };
    let (bare, session) = (once("bare"), once("session"));
    println!("{engine:<12} {work:<12} {bare:>10.0} {session:>10.0} {:>8.2} x", session / bare);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["run", subject, work, url, times] = words[..] {
        return run(subject, work, url, times.parse().expect("a number"));
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let postgres = runtime.block_on(Server::start(PostgresOptions::default()));
    let mariadb = runtime.block_on(MariaDb::start(MariaDbOptions::default()));
    // TLS would be most of what is counted.
    let on_postgres = format!("{}?sslmode=disable", postgres.url_for("plain", APP_PASSWORD, "app"));
    let on_mariadb = format!("{}?ssl-mode=disabled", mariadb.url_for("plain", APP_PASSWORD, "app"));
    println!("{:<12} {:<12} {:>10} {:>10}", "", "", "bare", "session");
    for work in ["query", "transaction"] {
        row("PostgreSQL", work, &on_postgres);
        row("MariaDB", work, &on_mariadb);
    }
}
