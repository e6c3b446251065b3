//! Transaction control as text: `BEGIN`, `COMMIT`, `ROLLBACK TO x` and their kind.
//!
//! Grammar: <https://dev.mysql.com/doc/refman/8.4/en/commit.html>, `savepoint`, `xa-statements`.

use super::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::engine::{Control, Label};

/// The server has no longer names, and says so.
const LONGEST_NAME: usize = 64;

/// The words that begin such a statement, alone; `START TRANSACTION`, `RELEASE SAVEPOINT` and `BEGIN` are others.
const WORDS: [&str; 4] = ["commit", "rollback", "savepoint", "xa"];

pub(super) fn is_control(first: Token<'_>, second: Option<Token<'_>>) -> bool {
    let then = |word| second.is_some_and(|token| is(token, word));
    if is(first, "begin") {
        // A block, and no transaction: MariaDB's `BEGIN NOT ATOMIC`.
        return !then("not");
    }
    is(first, "start") && then("transaction")
        || is(first, "release") && then("savepoint")
        || WORDS.iter().any(|word| is(first, word))
}

/// What one such statement does; `None` when it is not understood.
pub(super) fn parse<'a>(mut tokens: Lexer<'a>) -> Option<Control<'a>> {
    let first = tokens.next()?;
    if is(first, "start") {
        return is(tokens.next()?, "transaction").then_some(Control::Begin);
    }
    if is(first, "savepoint") {
        return label(tokens).map(Control::Savepoint);
    }
    if is(first, "release") {
        return is(tokens.next()?, "savepoint").then(|| label(tokens).map(Control::Release))?;
    }
    let mut next = tokens.next();
    if next.is_some_and(|token| is(token, "work")) {
        next = tokens.next();
    }
    if is(first, "begin") {
        // What else follows is a block of MariaDB's in its Oracle mode.
        return next.is_none().then_some(Control::Begin);
    }
    let rollback = is(first, "rollback");
    if !rollback && !is(first, "commit") {
        return None;
    }
    if rollback && next.is_some_and(|token| is(token, "to")) {
        return savepoint(tokens).map(Control::RollbackTo);
    }
    let chain = chain(next, tokens)?;
    Some(if rollback { Control::Rollback { chain } } else { Control::Commit { chain } })
}

/// `[AND [NO] CHAIN] [NO RELEASE]`, up to the end. `RELEASE` ends the session.
fn chain<'a>(mut next: Option<Token<'a>>, mut tokens: Lexer<'a>) -> Option<bool> {
    let mut chain = false;
    if next.is_some_and(|token| is(token, "and")) {
        let token = tokens.next()?;
        chain = is(token, "chain");
        if !chain {
            (is(token, "no") && is(tokens.next()?, "chain")).then_some(())?;
        }
        next = tokens.next();
    }
    if next.is_some_and(|token| is(token, "no")) {
        if !is(tokens.next()?, "release") {
            return None;
        }
        next = tokens.next();
    }
    next.is_none().then_some(chain)
}

/// `[SAVEPOINT] name`. A savepoint may be called "savepoint".
fn savepoint(tokens: Lexer<'_>) -> Option<Label<'_>> {
    let mut ahead = tokens.clone();
    match (is(ahead.next()?, "savepoint"), ahead.clone().next()) {
        (true, Some(_)) => label(ahead),
        _ => label(tokens),
    }
}

/// A name that ends its statement: upper and lower case are one, in quotes too.
fn label(mut tokens: Lexer<'_>) -> Option<Label<'_>> {
    let name = match tokens.next()? {
        Token::Word(word) => word,
        Token::Identifier(word) if !word.contains('`') => word,
        _ => return None,
    };
    let whole = tokens.next().is_none() && name.chars().count() <= LONGEST_NAME;
    // The server folds other letters too, in its own way.
    (whole && name.is_ascii()).then_some(Label { name, folds: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_control_is_understood_in_all_its_forms() {
        let folded = |name| Label { name, folds: true };
        for (sql, control) in [
            ("begin", Some(Control::Begin)),
            ("BEGIN /* it */ WORK", Some(Control::Begin)),
            ("start transaction with consistent snapshot, read only", Some(Control::Begin)),
            ("begin insert into t values (1)", None),
            ("start", None),
            ("commit", Some(Control::Commit { chain: false })),
            ("commit work and no chain no release", Some(Control::Commit { chain: false })),
            ("commit and chain", Some(Control::Commit { chain: true })),
            ("commit no release", Some(Control::Commit { chain: false })),
            ("commit release", None),
            ("commit and no chain release", None),
            ("rollback work", Some(Control::Rollback { chain: false })),
            ("rollback and chain no release", Some(Control::Rollback { chain: true })),
            ("rollback release", None),
            ("savepoint A", Some(Control::Savepoint(folded("A")))),
            ("savepoint `A`", Some(Control::Savepoint(folded("A")))),
            ("savepoint `a``b`", None),
            ("savepoint 'a'", None),
            ("savepoint é", None),
            ("rollback to a", Some(Control::RollbackTo(folded("a")))),
            ("rollback work to savepoint a", Some(Control::RollbackTo(folded("a")))),
            ("rollback to savepoint", Some(Control::RollbackTo(folded("savepoint")))),
            ("release savepoint a", Some(Control::Release(folded("a")))),
            ("release savepoint savepoint", Some(Control::Release(folded("savepoint")))),
            ("release savepoint", None),
            ("commit nonsense", None),
            ("commit and", None),
            ("savepoint", None),
            ("savepoint a b", None),
            ("xa start 'x'", None),
        ] {
            assert_eq!(parse(Lexer::new(sql)), control, "{sql}");
        }
        assert_eq!(parse(Lexer::new(&format!("savepoint {}", "x".repeat(65)))), None, "the server refuses it");
    }

    #[test]
    fn blocks_and_replication_are_no_control() {
        let control = |sql| {
            let mut tokens = Lexer::new(sql);
            is_control(tokens.next().unwrap(), tokens.next())
        };
        for (sql, expected) in [
            ("begin", true),
            ("begin work", true),
            ("begin not atomic", false),
            ("start transaction", true),
            ("start slave", false),
            ("release savepoint a", true),
            ("xa recover", true),
        ] {
            assert_eq!(control(sql), expected, "{sql}");
        }
    }
}
