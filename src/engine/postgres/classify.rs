//! What a text does to its session: one pass over its words, without allocating.
//!
//! Only what is known is plain; whatever is not understood pins. State that hides inside functions, procedures and `DO`
//! blocks is not seen: `CALL` and `DO` pin, a function called from a query does not.

use super::control;
use super::leaves;
use super::lexer::Lexer;
use super::pin_ends;
use super::prefilter;
use super::scan::next_statement;
use super::settings::{self, Change};
use super::statement::Statement;
use crate::engine::Cleanup;
use crate::engine::series::Series;
use crate::engine::token::{Token, is};
use crate::engine::{Class, Control, Dialect, Effect};
use crate::pin::PinCause;

pub(super) fn classify(sql: &str) -> Class<'_> {
    prefilter::classify(sql).unwrap_or_else(|| read(sql))
}

/// As `classify`, word by word.
pub(super) fn read(sql: &str) -> Class<'_> {
    let mut lexer = Lexer::new(sql);
    let mut found: Option<Statement<'_>> = None;
    let mut all = Class::default();
    let mut series = Series::default();
    while let Some(statement) = next_statement(&mut lexer) {
        let control = statement.is_control().then(|| control::parse(&sql[statement.start..statement.end]));
        series.add(control, found.is_some(), false);
        all.sequence = if found.is_some() { all.sequence.then(statement.sequence) } else { statement.sequence };
        let makes_passing = statement.makes_passing(sql);
        let defines = !makes_passing && statement.defines();
        let follows = all.passing_table && defines;
        let pins = match statement.passes(sql) {
            Some(replans) => {
                all.replans = all.replans.max(replans);
                None
            }
            None => {
                let pins = statement.pins();
                let sets = [pins, statement.cause].contains(&Some(PinCause::Setting));
                all.stays |= sets && settings::may_change_reading(statement.text(sql));
                pins.or_else(|| follows.then_some(PinCause::TemporaryObject))
            }
        };
        all.passing_table |= makes_passing;
        all.defines |= defines;
        all.pins = match (all.pins, pins) {
            // What nothing takes away is not hidden by what stands beside it.
            (Some(one), Some(other)) => Some(if stays(other) { other } else { one }),
            (one, other) => one.or(other),
        };
        all.stays |= is(statement.first, "do") && leaves::block_stays(statement.text(sql));
        // The columns are those of the cursor, or of the statement that SQL prepared under the name.
        all.uncacheable |= is(statement.first, "fetch") || is(statement.first, "execute");
        all.copies |= statement.copies;
        found = Some(statement);
    }
    let Some(statement) = found else { return all };
    // Several are in a transaction of their own, if none of them ends it.
    all.begins_with_commit = series.begins_with_commit();
    (all.several, all.partly) = (series.several, !series.several && !statement.is_atomic());
    all.needs_transaction = !series.several && statement.needs_transaction();
    if series.several {
        // A setting among several statements is not taken apart from them.
        all.effect = series.control().into();
        let pins = all.pins.is_some() || matches!(all.effect, Effect::Controls(Control::Unclear { .. }));
        let worst = all.pins.filter(|cause| stays(*cause)).unwrap_or(PinCause::SeveralStatements);
        return Class { pins: pins.then_some(worst), ..all };
    }
    let text = sql[statement.start..statement.end].trim_ascii_end();
    if let Some(control) = series.first {
        let pins = control.is_none().then_some(PinCause::RawTransaction);
        return Class { pins, effect: Effect::Controls(control.unwrap_or(Control::Unclear { ends: true })), ..all };
    }
    if let Some(ends) = pin_ends::pin_end(text) {
        return Class { pins: None, effect: Effect::Ends(ends), ..all };
    }
    match settings::change(text) {
        Some(Change::Lasting(setting)) => Class { pins: None, effect: Effect::Sets(setting), ..all },
        // Seen already.
        Some(Change::Passing(_)) => all,
        Some(Change::Pins(cause)) => Class { pins: Some(cause), ..all },
        None => all,
    }
}

/// The statement, where there is only one.
pub(super) fn single(sql: &str) -> Option<&str> {
    let mut lexer = Lexer::new(sql);
    let statement = next_statement(&mut lexer)?;
    next_statement(&mut lexer).is_none().then(|| statement.text(sql))
}

/// The word that a text begins with, after comments and parentheses; empty where it is none.
pub(super) fn first_word(sql: &str) -> &str {
    match next_statement(&mut Lexer::new(sql)).map(|statement| statement.first) {
        Some(Token::Word(word)) => word,
        _ => "",
    }
}

/// Whether a word is anywhere in a text.
pub(super) fn has_word(sql: &str, word: &str) -> bool {
    Lexer::new(sql).any(|token| is(token, word))
}

/// Whether nothing takes away what a cause leaves behind.
fn stays(cause: PinCause) -> bool {
    <sqlx::Postgres as Dialect>::cleanup_after(cause) == Cleanup::Impossible
}

/// The statements of a text, the empty ones left out.
#[cfg(any(test, feature = "_internals"))]
pub(super) fn statements(sql: &str) -> impl Iterator<Item = &str> {
    let mut lexer = Lexer::new(sql);
    std::iter::from_fn(move || next_statement(&mut lexer)).map(|statement| &sql[statement.start..statement.end])
}

#[cfg(test)]
mod tests;
