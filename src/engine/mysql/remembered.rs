//! Words by which a statement asks for what the server's session remembers of the statements before it.

use super::lexer::Lexer;
use crate::engine::Sequence;
use crate::engine::token::{Token, is};

/// System variables that tell what the session remembers. MariaDB's `last_gtid` is that of the last transaction.
const REMEMBERED: [(&str, Sequence); 5] = [
    ("last_insert_id", Sequence::READS),
    ("identity", Sequence::READS),
    ("last_gtid", Sequence::READS_KEPT),
    ("warning_count", Sequence::READS_WARNINGS),
    ("error_count", Sequence::READS_WARNINGS),
];

/// With it `id IS NULL` asks for the row of the last number. It is off from the login on, and a session that sets it pins; a
/// statement may set it for itself.
const NULL_IS_THE_LAST_NUMBER: &str = "sql_auto_is_null";

/// `SQL%ROWCOUNT` and its kind, of MariaDB's Oracle mode.
const OF_THE_LAST_STATEMENT: [&str; 3] = ["rowcount", "found", "notfound"];

/// A pattern that is longer than any name lets everything pass, and is not looked through.
const LONGEST_PATTERN: usize = 256;

/// What `LAST_INSERT_ID` has to do with it, by what stands between its parentheses: with a value it remembers that one.
pub(super) fn last_insert_id(arguments: &Lexer<'_>) -> Sequence {
    let asks = arguments.clone().next() == Some(Token::Symbol(b')'));
    if asks { Sequence::READS } else { Sequence::GENERATES }
}

/// What a system variable of this name tells.
pub(super) fn variable(name: &str) -> Sequence {
    let told = REMEMBERED.iter().filter(|(known, _)| may_be(name, known));
    told.fold(Sequence::NONE, |all, (_, sequence)| all | *sequence)
}

/// Whether a variable that is set for one statement makes `id IS NULL` a question.
pub(super) fn makes_null_a_question(name: &str) -> bool {
    may_be(name, NULL_IS_THE_LAST_NUMBER)
}

/// What MariaDB's Oracle mode calls `s.currval`, `s.nextval`, `SQL%ROWCOUNT`.
pub(super) fn in_oracle_mode(last_but_one: Token<'_>, last: Token<'_>, name: &str) -> Sequence {
    let same = |known: &str| name.eq_ignore_ascii_case(known);
    match last {
        Token::Symbol(b'.') if same("currval") => Sequence::READS_KEPT,
        Token::Symbol(b'.') if same("nextval") => Sequence::GENERATES,
        Token::Symbol(b'%') if is(last_but_one, "sql") && OF_THE_LAST_STATEMENT.into_iter().any(same) => {
            Sequence::READS_COUNT
        }
        _ => Sequence::NONE,
    }
}

/// What `SHOW VARIABLES` shows of what is remembered of statements, by what comes after it. Warnings that are counted are
/// nobody else's where the numbers are not.
pub(super) fn shown(rest: &Lexer<'_>) -> Sequence {
    let mut rest = rest.clone();
    let pattern = match (rest.next(), rest.next()) {
        (Some(like), Some(Token::String(pattern))) if is(like, "like") => pattern,
        _ => "%",
    };
    // The server compares without accents.
    let is_any = !pattern.is_ascii() || pattern.len() > LONGEST_PATTERN;
    // What a backslash stands for may be any character as well as itself: without it, it is taken for more, never for less.
    let plain = pattern.bytes().filter(|byte| *byte != b'\\').map(|byte| byte.to_ascii_lowercase());
    let pattern: Vec<u8> = if is_any { vec![b'%'] } else { plain.collect() };
    let shown = REMEMBERED.iter().filter(|(name, _)| matches_pattern(name.as_bytes(), &pattern));
    let reads = |sequence: Sequence| if sequence.reads_kept() { sequence } else { Sequence::READS };
    shown.fold(Sequence::NONE, |all, (_, sequence)| all | reads(*sequence))
}

/// Whether the name of a variable may be this one. MySQL compares names without accents, and without blanks at their end: one
/// that is made of anything but plain letters may be any of them.
fn may_be(name: &str, known: &str) -> bool {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'));
    !is_plain || name.eq_ignore_ascii_case(known)
}

/// `LIKE`, without escapes. What a `%` stands for is taken as short as it goes, and longer only where the rest does not fit: so
/// often as the name is long, and no more, for a text may ask a hundred thousand times.
fn matches_pattern(name: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut wanted, mut any) = (0, 0, None);
    loop {
        match (pattern.get(wanted), name.get(at)) {
            (Some(b'%'), _) => {
                wanted += 1;
                any = Some((wanted, at));
            }
            (None, None) => return true,
            (Some(b'_'), Some(_)) => (wanted, at) = (wanted + 1, at + 1),
            (Some(byte), Some(letter)) if byte == letter => (wanted, at) = (wanted + 1, at + 1),
            _ => match any {
                Some((rest, from)) if from < name.len() => {
                    (wanted, at) = (rest, from + 1);
                    any = Some((rest, at));
                }
                _ => return false,
            },
        }
    }
}
