//! Statements that take away what earlier ones left behind in the session: `UNLISTEN *`, `DISCARD`, `DEALLOCATE` and their
//! kind. Grammar: <https://www.postgresql.org/docs/current/sql-discard.html>, `sql-unlisten`, `sql-deallocate`, `sql-close`.

use super::lexer::Lexer;
use crate::engine::PinEnd;
use crate::engine::token::{Token, is};
use crate::pin::PinCause;

pub(super) fn pin_end(statement: &str) -> Option<PinEnd> {
    let mut tokens = Lexer::new(statement);
    let mut next = || tokens.next();
    let first = next()?;
    let end = match first {
        first if is(first, "unlisten") => (next()? == Token::Symbol(b'*')).then_some(PinEnd::Of(PinCause::Listen))?,
        first if is(first, "close") => is(next()?, "all").then_some(PinEnd::Of(PinCause::HoldableCursor))?,
        first if is(first, "deallocate") => {
            let mut what = next()?;
            if is(what, "prepare") {
                what = next()?;
            }
            if is(what, "all") { PinEnd::Of(PinCause::PreparedStatement) } else { PinEnd::Other }
        }
        first if is(first, "discard") => match next()? {
            what if is(what, "all") => PinEnd::Everything,
            what if is(what, "temp") || is(what, "temporary") => PinEnd::Of(PinCause::TemporaryObject),
            what if is(what, "plans") || is(what, "sequences") => PinEnd::Other,
            _ => return None,
        },
        first if is(first, "select") => {
            let mut name = next()?;
            if is(name, "pg_catalog") && next()? == Token::Symbol(b'.') {
                name = next()?;
            }
            let call = is(name, "pg_advisory_unlock_all") && next()? == Token::Symbol(b'(');
            (call && next()? == Token::Symbol(b')')).then_some(PinEnd::Of(PinCause::AdvisoryLock))?
        }
        _ => return None,
    };
    // Anything after it may keep it from running.
    tokens.next().is_none().then_some(end)
}
