//! Transaction control as text: `BEGIN`, `COMMIT`, `ROLLBACK TO x` and their kind.
//!
//! Grammar: <https://www.postgresql.org/docs/current/sql-begin.html>, `sql-commit`, `sql-rollback`, `sql-savepoint`,
//! `sql-rollback-to`, `sql-release-savepoint`, `sql-prepare-transaction`.

use super::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::engine::{Control, Label};

/// The server cuts longer names, and two that differ after this are one to it.
pub(super) const LONGEST_NAME: usize = 63;

/// The words that begin such a statement. `PREPARE TRANSACTION` is one too.
const WORDS: [&str; 8] = ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"];

pub(super) fn is_control(first: Token<'_>, second: Option<Token<'_>>) -> bool {
    let two = |one, other| is(first, one) && second.is_some_and(|token| is(token, other));
    if two("commit", "prepared") || two("rollback", "prepared") {
        // Decides on another session's transaction; this one must not be in any.
        return false;
    }
    two("prepare", "transaction") || WORDS.iter().any(|word| is(first, word))
}

/// What one such statement does; `None` when it is not understood.
pub(super) fn parse(statement: &str) -> Option<Control<'_>> {
    let mut tokens = Lexer::new(statement);
    let first = tokens.next()?;
    if is(first, "begin") {
        return Some(Control::Begin);
    }
    if is(first, "start") {
        return is(tokens.next()?, "transaction").then_some(Control::Begin);
    }
    if is(first, "prepare") {
        // Whatever becomes of it, it is this session's no longer.
        return Some(Control::Commit { chain: false });
    }
    if is(first, "savepoint") {
        return label(tokens.next()?, tokens).map(Control::Savepoint);
    }
    let mut next = tokens.next();
    if is(first, "release") {
        return savepoint(next?, tokens).map(Control::Release);
    }
    if next.is_some_and(|token| is(token, "work") || is(token, "transaction")) {
        next = tokens.next();
    }
    let rollback = is(first, "rollback") || is(first, "abort");
    if rollback && next.is_some_and(|token| is(token, "to")) {
        return savepoint(tokens.next()?, tokens).map(Control::RollbackTo);
    }
    let chain = match next {
        None => false,
        Some(token) if is(token, "and") => match tokens.next()? {
            token if is(token, "chain") => true,
            token if is(token, "no") => !is(tokens.next()?, "chain"),
            _ => return None,
        },
        Some(_) => return None,
    };
    Some(if rollback { Control::Rollback { chain } } else { Control::Commit { chain } })
}

/// `[SAVEPOINT] name`. A savepoint may be called "savepoint".
fn savepoint<'a>(first: Token<'a>, mut tokens: Lexer<'a>) -> Option<Label<'a>> {
    match (is(first, "savepoint"), tokens.clone().next()) {
        (true, Some(_)) => label(tokens.next()?, tokens),
        _ => label(first, tokens),
    }
}

/// A name that ends its statement.
fn label<'a>(name: Token<'a>, mut rest: Lexer<'a>) -> Option<Label<'a>> {
    let label = match name {
        Token::Word(word) => Label { name: word, folds: true },
        Token::Identifier(word) => Label { name: word, folds: false },
        _ => return None,
    };
    (rest.next().is_none() && label.name.len() <= LONGEST_NAME).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_control_is_understood_in_all_its_forms() {
        let folded = |name| Label { name, folds: true };
        for (sql, control) in [
            ("begin", Some(Control::Begin)),
            ("BEGIN WORK ISOLATION LEVEL SERIALIZABLE, READ ONLY", Some(Control::Begin)),
            ("start transaction read only", Some(Control::Begin)),
            ("start", None),
            ("commit", Some(Control::Commit { chain: false })),
            ("end transaction", Some(Control::Commit { chain: false })),
            ("commit work and no chain", Some(Control::Commit { chain: false })),
            ("commit and chain", Some(Control::Commit { chain: true })),
            ("prepare transaction 'x'", Some(Control::Commit { chain: false })),
            ("rollback /* it */ work", Some(Control::Rollback { chain: false })),
            ("abort and chain", Some(Control::Rollback { chain: true })),
            ("savepoint A", Some(Control::Savepoint(folded("A")))),
            ("savepoint \"A\"", Some(Control::Savepoint(Label { name: "A", folds: false }))),
            ("rollback to a", Some(Control::RollbackTo(folded("a")))),
            ("rollback transaction to savepoint a", Some(Control::RollbackTo(folded("a")))),
            ("release a", Some(Control::Release(folded("a")))),
            ("release savepoint savepoint", Some(Control::Release(folded("savepoint")))),
            ("release savepoint", Some(Control::Release(folded("savepoint")))),
            ("commit nonsense", None),
            ("savepoint", None),
            ("savepoint a b", None),
        ] {
            assert_eq!(parse(sql), control, "{sql}");
        }
        assert_eq!(parse(&format!("savepoint {}", "x".repeat(64))), None, "the server would cut it");
    }
}
