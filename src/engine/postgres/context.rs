//! What a word of a statement stands in: the same word may be a call, or only be mentioned.

use crate::engine::token::{Token, is};

/// Statements in which a function is mentioned, and not called: privileges, comments, and definitions whose expressions the
/// server keeps for later. Where it computes one at once, as in `CREATE TABLE … AS` or for a partition's bound, it is none.
pub(super) enum Definition {
    /// `CREATE`, and not yet what.
    Created,
    /// `CREATE TABLE`, as long as nothing is computed in it.
    Table,
    /// Whatever comes.
    Only,
    /// Another statement.
    None,
}

impl Definition {
    pub(super) fn of(first: Token<'_>) -> Self {
        match first {
            _ if is(first, "create") => Self::Created,
            _ if ["grant", "revoke", "comment", "drop"].iter().any(|word| is(first, word)) => Self::Only,
            _ => Self::None,
        }
    }

    pub(super) fn matters(&self) -> bool {
        matches!(self, Self::Created | Self::Table)
    }

    /// The next token outside parentheses.
    pub(super) fn see(&mut self, token: Token<'_>) {
        let among = |words: &[&str]| words.iter().any(|word| is(token, word));
        *self = match self {
            Self::Created if among(&["or", "replace", "recursive", "constraint", "unlogged"]) => return,
            Self::Created if among(&["local", "global", "temp", "temporary"]) => return,
            Self::Created
                if among(&["view", "function", "procedure", "rule", "trigger", "policy", "domain", "aggregate"]) =>
            {
                Self::Only
            }
            Self::Created if among(&["table"]) => Self::Table,
            Self::Table if !among(&["as", "partition"]) => return,
            _ => Self::None,
        };
    }
}

/// `BEGIN ATOMIC … END`, the body of a routine, with its semicolons.
///
/// `begin atomic` is a body in a routine's definition only: elsewhere it may be a column and its alias. The `END` of a body
/// comes right after `ATOMIC` or a semicolon, and no other `end` does.
pub(super) enum Body {
    /// So many words of `CREATE [OR REPLACE] FUNCTION | PROCEDURE` were seen.
    Heading(u8),
    Closed,
    Open,
    /// This statement has none, or had it.
    None,
}

impl Body {
    pub(super) fn of(first: Token<'_>) -> Self {
        if is(first, "create") { Self::Heading(1) } else { Self::None }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) fn matters(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The next token outside parentheses, and the one before it.
    pub(super) fn see(&mut self, last: Token<'_>, token: Token<'_>) {
        *self = match self {
            Self::Heading(1 | 3) if is(token, "function") || is(token, "procedure") => Self::Closed,
            Self::Heading(1) if is(token, "or") => Self::Heading(2),
            Self::Heading(2) if is(token, "replace") => Self::Heading(3),
            Self::Closed if is(token, "atomic") && is(last, "begin") => Self::Open,
            Self::Open if is(token, "end") && (last == Token::End || is(last, "atomic")) => Self::None,
            Self::Heading(_) => Self::None,
            _ => return,
        };
    }
}

/// Where a statement runs another one that was prepared: `EXPLAIN … EXECUTE` and `CREATE TABLE … AS EXECUTE`. What the driver
/// has prepared under such a name may be anything, and anybody's.
///
/// Elsewhere `execute` is a privilege, a word of a trigger's, or somebody's name.
pub(super) enum Execution {
    /// Up to here there was `EXPLAIN` and its options.
    Explained,
    /// `CREATE`, and not yet what.
    Created,
    /// `CREATE TABLE`, and no `AS` yet.
    Table,
    As,
    /// The next one is its name.
    Named,
    /// None can come any more.
    None,
}

impl Execution {
    pub(super) fn of(first: Token<'_>) -> Self {
        if is(first, "explain") {
            Self::Explained
        } else if is(first, "create") {
            Self::Created
        } else {
            Self::None
        }
    }

    /// The next token outside parentheses: whether it is the name of that.
    pub(super) fn sees(&mut self, token: Token<'_>) -> bool {
        let among = |words: &[&str]| words.iter().any(|word| is(token, word));
        let found = matches!(self, Self::Named);
        *self = match self {
            Self::Explained if token == Token::Symbol(b')') || among(&["analyze", "analyse", "verbose"]) => {
                return false;
            }
            Self::Explained | Self::As if among(&["execute"]) => Self::Named,
            Self::Explained if among(&["create"]) => Self::Created,
            Self::Created if among(&["table"]) => Self::Table,
            Self::Created if among(&["unlogged", "temporary", "temp", "local", "global"]) => return false,
            Self::Table if among(&["as"]) => Self::As,
            Self::Table => return false,
            _ => Self::None,
        };
        found
    }
}
