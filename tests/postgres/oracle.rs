//! The classifier held against the server. A text that is called plain must leave its session as it was, one that is
//! called a setting must change only that one, and no text may be split elsewhere than the server splits it.
//!
//! `ORACLE_CASES=20000 cargo test --all-features --test behaviour oracle` tries more generated texts, and other ones each
//! time.

mod corpus;
#[path = "../oracle/fresh.rs"]
mod fresh;
mod heir;
mod pieces;
mod share;
mod witness;

use std::cell::RefCell;

use lambda_rds::internals::postgres as inspect;
use tokio::runtime::Runtime;

use crate::support::postgres::{Postgres as Server, PostgresOptions};

use self::pieces::PIECES;
use self::witness::Session;
use crate::oracle::snapshot::Snapshot;

/// Names of settings that say who the session acts as: each shows in the others, and decides what is shown at all.
const IDENTITY: [&str; 2] = ["role", "session_authorization"];

/// What a text may change, by what it is called.
fn allows(verdict: &str, before: &Snapshot, after: &Snapshot) -> bool {
    let changed = before.changed(after);
    if verdict.starts_with("pin:") || verdict == "reset:*" || changed.is_empty() {
        return true;
    }
    if verdict == "control" {
        // What is of the transaction comes and goes with it.
        return changed.iter().all(|key| *key == "transaction" || key.starts_with("setting transaction_"));
    }
    if verdict == "end" {
        // `DISCARD ALL` takes the settings back too.
        return changed.iter().all(|key| !after.contains(key) || key.starts_with("setting "));
    }
    let Some((_, name)) = verdict.split_once(':') else { return false };
    if IDENTITY.contains(&name) {
        return changed.iter().all(|key| key.starts_with("identity ") || !after.contains(key));
    }
    changed.iter().all(|key| {
        let setting = key.strip_prefix("setting ").unwrap_or_default();
        // The transaction that looks takes over the default.
        let follows = |name: &str| name.strip_prefix("default_") == Some(setting);
        name.split(',').any(|name| setting.eq_ignore_ascii_case(name) || follows(name))
    })
}

/// Runs a text on a fresh session and compares; `Err` says what the classifier got wrong.
async fn judge(server: &Server, session: &mut Option<Session>, text: &str) -> Result<(), String> {
    let verdict = inspect::verdict(text);
    let statements = inspect::statements(text);
    for wrapped in [false, true] {
        let leaves = matches!(verdict.as_str(), "control" | "end");
        let shared = !leaves && matches!(verdict.split_once(':'), Some(("setting" | "reset", _)) | None);
        if wrapped && !shared {
            continue;
        }
        let mut fresh = match session.take() {
            Some(session) => session,
            None => Session::open(server).await,
        };
        let before = fresh.origin().clone();
        if wrapped {
            fresh.run("begin").await;
        }
        let seen = fresh.run(text).await;
        if wrapped {
            fresh.run("commit").await;
        }
        let Some(after) = fresh.look().await else {
            if shared && seen.alive {
                return Err(format!("{text:?} is called {verdict} and leaves a transaction"));
            }
            continue;
        };
        if !allows(&verdict, &before, &after) {
            return Err(format!("{text:?} is called {verdict} and changes {:?}", before.changed(&after)));
        }
        let right = match (&seen.refused, wrapped) {
            (None, _) => statements == seen.completed,
            // A text of bad syntax is refused as a whole.
            (Some(code), _) if code == "42601" && seen.completed == 0 => true,
            (Some(_), _) => statements > seen.completed,
        };
        if !right {
            return Err(format!("{text:?} is split into {statements}, the server saw {seen:?}"));
        }
        if before == after {
            *session = Some(fresh);
        }
    }
    Ok(())
}

fn stage() -> (Runtime, Server) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let settings = vec![("wal_level", "logical".to_owned()), ("max_prepared_transactions", "5".to_owned())];
        let server = Server::start(PostgresOptions { settings, ..PostgresOptions::default() }).await;
        server.execute(corpus::SCENE).await;
        server
    });
    (runtime, server)
}

#[test]
fn the_corpus_does_what_the_classifier_says() {
    let (runtime, server) = stage();
    let mut session = None;
    let mut wrong = Vec::new();
    let rows = corpus::PLAIN.iter().map(|text| ("plain", *text)).chain(corpus::OTHERS.iter().copied());
    for (expected, text) in rows {
        let verdict = inspect::verdict(text);
        if verdict != expected {
            wrong.push(format!("{text:?} is called {verdict}, not {expected}"));
        }
        wrong.extend(runtime.block_on(judge(&server, &mut session, text)).err());
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_server_accepts_every_plain_row() {
    // A row that is refused proves nothing.
    let (runtime, server) = stage();
    let mut session = runtime.block_on(Session::open(&server));
    let refused: Vec<_> = corpus::PLAIN
        .iter()
        .filter_map(|text| {
            let seen = runtime.block_on(async {
                let wrapped = needs_transaction(text);
                if wrapped {
                    session.run("begin").await;
                }
                let seen = session.run(text).await;
                if wrapped {
                    session.run("commit").await;
                }
                seen
            });
            seen.refused.map(|code| format!("{code} {text}"))
        })
        .collect();
    assert_eq!(refused, Vec::<String>::new());
}

fn needs_transaction(text: &str) -> bool {
    ["declare", "lock", "select lo_", "close"].iter().any(|word| text.to_ascii_lowercase().starts_with(word))
}

#[test]
fn a_setting_means_the_same_whatever_was_set_before() {
    let (runtime, server) = stage();
    let value = |texts: &[&str]| {
        runtime.block_on(async {
            let mut session = Session::open(&server).await;
            for text in texts {
                session.run(text).await;
            }
            session.look().await
        })
    };
    let settings = |(verdict, text): &(&'static str, &'static str)| {
        verdict.strip_prefix("setting:").filter(|name| !IDENTITY.contains(name)).map(|name| (name, *text))
    };
    let mut last = std::collections::BTreeMap::new();
    for (name, text) in corpus::OTHERS.iter().filter_map(settings) {
        let Some(earlier) = last.insert(name, text) else { continue };
        assert!(value(&[text]) == value(&[earlier, text]), "{earlier:?} shows through {text:?}");
    }
}

#[test]
fn generated_texts_do_what_the_classifier_says() {
    let (runtime, server) = stage();
    let session = RefCell::new(None);
    crate::oracle::generator::try_texts(&PIECES, |text| {
        let mut held = session.take();
        let result = runtime.block_on(judge(&server, &mut held, text));
        session.replace(held);
        result
    });
}
