//! The classifier held against the server, as its twin for PostgreSQL is: what is called plain leaves its session as it was,
//! what is called a setting changes that one, what commits ends the transaction that is open and nothing else does, and
//! no text is split elsewhere than the server splits it.

mod corpus;
#[path = "../oracle/fresh.rs"]
mod fresh;
mod heir;
mod pieces;
mod witness;

use std::cell::RefCell;

use lambda_rds::internals::mysql as inspect;
use tokio::runtime::Runtime;

use self::pieces::PIECES;
use self::witness::Session;
use crate::oracle::generator;
use crate::oracle::snapshot::{Seen, Snapshot};
use crate::support::mariadb::{MariaDb as Server, MariaDbOptions};
use crate::support::on_mysql::worded;

/// What else shows a setting.
fn shows(name: &str) -> &[&'static str] {
    match name {
        "names" => &[
            "setting character_set_client",
            "setting character_set_connection",
            "setting character_set_results",
            "setting collation_connection",
        ],
        "database" => &["identity database", "setting character_set_database", "setting collation_database"],
        "transaction_isolation" => &["setting tx_isolation", "setting transaction_isolation"],
        "transaction_read_only" => &["setting tx_read_only", "setting transaction_read_only", "table locks"],
        "default_storage_engine" => &["setting storage_engine"],
        "tmp_table_size" => &["setting tmp_memory_table_size"],
        "long_query_time" => &["setting log_slow_query_time"],
        _ => &[],
    }
}

/// What a text may change, by what it is called.
fn allows(text: &str, verdict: &str, before: &Snapshot, after: &Snapshot) -> bool {
    let mut changed = before.changed(after);
    changed.retain(|key| key != "memory" || !inspect::draws(text));
    if verdict.starts_with("pin:") || changed.is_empty() {
        return true;
    }
    if verdict == "control" {
        return changed.iter().all(|key| matches!(key.as_str(), "transaction" | "table locks"));
    }
    if verdict == "end" {
        return changed.iter().all(|key| !after.contains(key) || key == "table locks");
    }
    let Some((_, names)) = verdict.split_once(':') else { return false };
    let own = |key: &str, name: &str| {
        key.strip_prefix("setting ").is_some_and(|setting| setting == name) || shows(name).contains(&key)
    };
    changed.iter().all(|key| names.split(',').any(|name| own(key, name)))
}

/// Runs a text on a fresh session, inside a transaction and outside; `Err` says what the classifier got wrong.
async fn judge(server: &Server, session: &mut Option<Session>, text: &str) -> Result<(), String> {
    let verdict = inspect::verdict(text);
    for inside in [true, false] {
        let mut fresh = match session.take() {
            Some(session) => session,
            None => Session::open(server).await,
        };
        if inside {
            fresh.begin().await;
        }
        let seen = fresh.run(text).await;
        if inside && seen.alive {
            let ended = fresh.end().await;
            judge_end(text, &verdict, &seen, ended)?;
        }
        let before = fresh.origin().clone();
        let Some(after) = fresh.look().await else { continue };
        if !allows(text, &verdict, &before, &after) {
            let changed = before.changed(&after);
            return Err(format!("{text:?} is called {verdict} and changes {changed:?}"));
        }
        if !is_split_right(text, &verdict, &seen) {
            return Err(format!("{text:?} is split into {}, the server saw {seen:?}", inspect::statements(text)));
        }
        if before == after {
            *session = Some(fresh);
        } else {
            fresh.close().await;
        }
    }
    Ok(())
}

/// Whether the transaction that a text was sent in is over where it is said to be.
fn judge_end(text: &str, verdict: &str, seen: &Seen, ended: bool) -> Result<(), String> {
    let commits = inspect::commits(text);
    // What controls a transaction, or may do so unseen, is asked about it.
    let known = verdict != "control" && !inspect::may_control(text);
    // One that is refused may be refused before it commits.
    if known && ended != commits && (seen.refused.is_none() || !commits) {
        return Err(format!("{text:?} is called {verdict}, commits: {commits}, and the transaction ended: {ended}"));
    }
    Ok(())
}

fn is_split_right(text: &str, verdict: &str, seen: &Seen) -> bool {
    let statements = inspect::statements(text);
    // A body is taken with all that follows, a block has any number of results, and what a server passes over may be
    // anything.
    let odd = ["/*!", "/*m!", "atomic", "procedure"].iter().any(|word| text.to_ascii_lowercase().contains(word));
    if matches!(verdict, "pin:UnknownStatement" | "pin:Procedure") || odd && verdict.starts_with("pin:") {
        return true;
    }
    let ends = inspect::semicolons(text);
    // An empty statement is answered if it holds a comment, and refused if not.
    match &seen.refused {
        None => (statements..=ends + 1).contains(&seen.completed),
        Some(_) => seen.completed <= ends,
    }
}

fn stage() -> (Runtime, Server) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let server = Server::start(MariaDbOptions::default()).await;
        // What only MariaDB has is not there.
        let scene = corpus::SCENE.split_inclusive(';').filter_map(worded);
        server.execute(&scene.collect::<String>()).await;
        server
    });
    (runtime, server)
}

#[test]
fn the_corpus_does_what_the_classifier_says() {
    let (runtime, server) = stage();
    let mut session = None;
    let mut wrong = Vec::new();
    let rows = corpus::plain().into_iter().chain(corpus::committing()).map(|text| ("plain", text));
    for (expected, text) in rows.chain(corpus::others()) {
        let text = text.as_str();
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
    let rows = corpus::plain().into_iter().chain(corpus::committing());
    let refused: Vec<_> = rows
        .filter_map(|text| runtime.block_on(session.run(&text)).refused.map(|number| format!("{number} {text}")))
        .collect();
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn definitions_commit_and_nothing_else_does() {
    for text in corpus::plain() {
        assert!(!inspect::commits(&text), "{text}");
    }
    for text in corpus::committing() {
        assert!(inspect::commits(&text), "{text}");
    }
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
    let setting = |(verdict, text): (&'static str, String)| Some((verdict.strip_prefix("setting:")?, text));
    let mut last = std::collections::BTreeMap::new();
    for (name, text) in corpus::others().into_iter().filter_map(setting) {
        let Some(earlier) = last.insert(name, text.clone()) else { continue };
        assert!(value(&[&text]) == value(&[&earlier, &text]), "{earlier:?} shows through {text:?}");
    }
}

#[test]
fn generated_texts_do_what_the_classifier_says() {
    let (runtime, server) = stage();
    let session = RefCell::new(None);
    generator::try_texts(&PIECES, |text| {
        let mut held = session.take();
        let result = runtime.block_on(judge(&server, &mut held, text));
        session.replace(held);
        result
    });
}
