//! When a transaction takes its snapshot. The server takes none for what needs none, so that a `LOCK` comes before whatever is read,
//! and the isolation can be chosen after it:
//! <https://github.com/postgres/postgres/blob/master/src/backend/tcop/pquery.c>, `PlannedStmtRequiresSnapshot`.

use super::lexer::Lexer;
use crate::engine::Snapshot;
use crate::engine::token::{Token, is};

/// What begins statements that need neither a snapshot nor a plan, `SET CONSTRAINTS … IMMEDIATE` apart, which fires triggers.
const NEED_NONE: [&str; 12] = [
    "lock",
    "set",
    "reset",
    "show",
    "begin",
    "start",
    "savepoint",
    "release",
    "rollback",
    "listen",
    "unlisten",
    "notify",
];

/// And those among them that choose what a snapshot is.
const CHOOSE: [&str; 3] = ["set", "begin", "start"];

/// What a text does with the snapshot of the transaction that it is sent in.
pub(super) fn snapshot(sql: &str) -> Snapshot {
    let (mut last, mut waits, mut reads) = (Token::End, false, false);
    // What the statement under way is about: the isolation, or constraints.
    let (mut chooses, mut fires) = (false, false);
    for token in Lexer::new(sql) {
        if last == Token::End && token != Token::End {
            fires = false;
            chooses = CHOOSE.iter().any(|word| is(token, word));
            reads |= !NEED_NONE.iter().any(|word| is(token, word));
            waits |= !reads && is(token, "lock");
        } else if is(last, "set") && is(token, "constraints") {
            fires = true;
        } else if fires && is(token, "immediate") {
            reads = true;
        } else if chooses && !reads && is_about_isolation(token) {
            waits = true;
        }
        last = token;
    }
    match (reads, waits) {
        (false, _) => Snapshot::Never,
        (true, false) => Snapshot::AtOnce,
        (true, true) => Snapshot::Later,
    }
}

/// Whether a word of a statement is about what may only be said before the first snapshot.
fn is_about_isolation(token: Token<'_>) -> bool {
    let (Token::Word(word) | Token::Identifier(word)) = token else { return false };
    ["isolation", "transaction_isolation", "snapshot", "deferrable", "transaction_deferrable"]
        .into_iter()
        .any(|name| word.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_its_snapshot_by_its_first_statement_that_needs_one() {
        for (sql, expected) in [
            ("lock table q in share mode", Snapshot::Never),
            ("SET LOCAL timezone = 'UTC'; /* ; */ lock q;", Snapshot::Never),
            ("set transaction isolation level serializable, read only", Snapshot::Never),
            ("savepoint a; release a; rollback to a; show all; reset all; listen a; notify a, 'x'", Snapshot::Never),
            ("begin; start transaction", Snapshot::Never),
            ("", Snapshot::Never),
            (";;", Snapshot::Never),
            ("set constraints all deferred; lock q", Snapshot::Never),
            ("select 1", Snapshot::AtOnce),
            ("set constraints all immediate", Snapshot::AtOnce),
            ("set local a.b = 1; select 1", Snapshot::AtOnce),
            ("savepoint a; update q set n = 1; lock q", Snapshot::AtOnce),
            ("commit", Snapshot::AtOnce),
            ("fetch c", Snapshot::AtOnce),
            ("do $$ begin lock q; end $$", Snapshot::AtOnce),
            ("show transaction_isolation; select 1", Snapshot::AtOnce),
            ("lock q; select 1", Snapshot::Later),
            ("set local a.b = 1; LOCK TABLE q; insert into q values (1)", Snapshot::Later),
            ("set transaction isolation level repeatable read; select 1", Snapshot::Later),
            ("set local transaction_isolation = 'serializable'; select 1", Snapshot::Later),
            ("lock q; commit", Snapshot::Later),
            ("\"lock\" q; select 1", Snapshot::AtOnce),
        ] {
            assert_eq!(snapshot(sql), expected, "{sql}");
        }
    }
}
