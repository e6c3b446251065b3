//! Statements that take away what earlier ones left behind in the session: `UNLOCK TABLES` and `RELEASE_ALL_LOCKS()`.
//!
//! Grammar: <https://dev.mysql.com/doc/refman/8.4/en/lock-tables.html>, `locking-functions`.

use super::lexer::Lexer;
use crate::engine::PinEnd;
use crate::engine::token::{Token, is};
use crate::pin::PinCause;

pub(super) fn pin_end(mut tokens: Lexer<'_>) -> Option<PinEnd> {
    let mut next = || tokens.next();
    let first = next()?;
    let cause = if is(first, "unlock") {
        let what = next()?;
        (is(what, "tables") || is(what, "table")).then_some(PinCause::TableLock)?
    } else if is(first, "select") || is(first, "do") {
        let call = is(next()?, "release_all_locks") && next()? == Token::Symbol(b'(');
        (call && next()? == Token::Symbol(b')')).then_some(PinCause::AdvisoryLock)?
    } else {
        return None;
    };
    // Anything after it may keep it from running.
    tokens.next().is_none().then_some(PinEnd::Of(cause))
}
