//! How many statements of a corpus pin, and by what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lambda_rds::internals::postgres as inspect;

use super::corpus;

/// Of PostgreSQL's own regression tests so many in ten thousand may be of a kind that pins. They are there to try what pins,
/// temporary tables above all; applications are not.
const MOST_OF_A_KIND: usize = 190;

/// And so many may give their session a pin that it does not have yet.
const MOST_THAT_PIN: usize = 120;

#[derive(Default)]
struct Share {
    all: usize,
    of_a_kind: usize,
    pinned: usize,
    /// What the session of the script that is read has been pinned by.
    session: BTreeSet<String>,
    by: BTreeMap<String, Vec<String>>,
}

impl Share {
    fn add(&mut self, statement: &str) {
        self.all += 1;
        let verdict = inspect::verdict(statement);
        if let Some(cause) = verdict.strip_prefix("pin:") {
            self.of_a_kind += 1;
            self.pinned += usize::from(self.session.insert(cause.to_owned()));
            self.by
                .entry(cause.to_owned())
                .or_default()
                .push(statement.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }

    /// A table, the largest cause first. With `PINNED=1` every statement that pins is shown.
    fn print(&self, what: &str) {
        let percent = |part: usize| 100.0 * part as f64 / self.all.max(1) as f64;
        let (of_a_kind, pinned) = (percent(self.of_a_kind), percent(self.pinned));
        println!("{what}: {} statements; {of_a_kind:.2} % are of a kind that pins, {pinned:.2} % pin", self.all);
        let mut by: Vec<_> = self.by.iter().collect();
        by.sort_by_key(|(_, statements)| std::cmp::Reverse(statements.len()));
        for (cause, statements) in by {
            println!("  {:6} {cause}", statements.len());
            if std::env::var_os("PINNED").is_some() {
                for statement in statements {
                    println!("         {statement}");
                }
            }
        }
    }
}

/// All files of that kind below a folder.
fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            into.push(path);
        }
    }
}

/// What psql would send of a script: without its own commands, and without the rows that follow a `COPY … FROM STDIN`.
fn sent(script: &str) -> String {
    let mut sent = String::with_capacity(script.len());
    let mut rows = false;
    for line in script.lines() {
        if rows {
            rows = line != "\\.";
            continue;
        }
        if line.starts_with(['\\', ':']) {
            // Its own commands, and statements that its variables hold.
            continue;
        }
        let line = &line.replace("\\;", ";");
        let lower = line.to_ascii_lowercase();
        rows = lower.starts_with("copy ") && lower.contains("from stdin") && lower.contains(';');
        // `\gset` and its kind send what stands before them.
        let end = line.find(" \\g").or_else(|| line.find(" \\crosstab"));
        sent.push_str(end.map_or(line, |end| &line[..end]));
        sent.push_str(if end.is_some() { ";\n" } else { "\n" });
    }
    sent
}

/// `CORPUS=<src/test/regress/sql of PostgreSQL's source> cargo test --all-features --test behaviour share -- --nocapture`
/// looks at PostgreSQL's regression tests too.
#[test]
fn the_share_of_a_corpus_that_pins_is_told() {
    let mut share = Share::default();
    corpus::PLAIN.iter().copied().chain(corpus::OTHERS.iter().map(|(_, text)| *text)).for_each(|text| share.add(text));
    share.print("our own corpus");
    assert!(corpus::PLAIN.iter().all(|text| !inspect::verdict(text).starts_with("pin:")));

    let Some(folder) = std::env::var_os("CORPUS") else { return };
    let mut scripts = Vec::new();
    files(Path::new(&folder), &mut scripts);
    let mut share = Share::default();
    for script in scripts {
        // Some are in other encodings.
        let script = String::from_utf8_lossy(&fs::read(script).expect("a file")).into_owned();
        share.session.clear();
        inspect::split(&sent(&script)).for_each(|statement| share.add(statement));
    }
    share.print("PostgreSQL's regression tests");
    let within = |part: usize, most: usize| part * 10_000 <= share.all * most;
    assert!(within(share.of_a_kind, MOST_OF_A_KIND), "{} of {} are of a kind that pins", share.of_a_kind, share.all);
    assert!(within(share.pinned, MOST_THAT_PIN), "{} of {} pin", share.pinned, share.all);
}
