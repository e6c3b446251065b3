//! What a text does to its session: one pass over its words, without allocating.
//!
//! Only what is known is plain; whatever is not understood pins. State that hides inside functions, triggers and procedures
//! is not seen: `CALL` pins, a function called from a query does not, whatever it sets, draws or asks.

use super::control;
use super::lexer::{Doubts, Lexer, Reading};
use super::pin_ends;
use super::prefilter;
use super::scan::next_statement;
use super::settings::{self, Change};
use super::statement::Statement;
use crate::engine::series::Series;
use crate::engine::token::Token;
use crate::engine::{Class, Control, Effect};
use crate::pin::PinCause;

pub(super) fn classify(sql: &str) -> Class<'_> {
    prefilter::classify(sql).unwrap_or_else(|| read(sql))
}

/// As `classify`, word by word; in more than one way where the text does not say how the server reads it.
pub(super) fn read(sql: &str) -> Class<'_> {
    read_in_ways(sql, Reading::differs)
}

/// In those of the ways that differ.
fn read_in_ways(sql: &str, differ: fn(Reading, Reading, Doubts) -> bool) -> Class<'_> {
    let mut lexer = Lexer::new(sql);
    let usual = read_once(sql, &mut lexer);
    if lexer.is_beyond_trying() {
        return anything(usual);
    }
    let mut class = usual;
    // Most texts are the same in most readings.
    let mut known = [(Reading::USUAL, lexer.doubts()); 1 + Reading::OTHERS.len()];
    let mut count = 1;
    for reading in Reading::OTHERS {
        if known[..count].iter().any(|(other, met)| !differ(reading, *other, *met)) {
            continue;
        }
        let mut lexer = Lexer::reading(sql, reading);
        let other = read_once(sql, &mut lexer);
        if lexer.is_beyond_trying() {
            return anything(usual);
        }
        known[count] = (reading, lexer.doubts());
        count += 1;
        let (sequence, several) = (class.sequence | other.sequence, class.several || other.several);
        let partly = class.partly || other.partly;
        (class.sequence, class.several, class.partly) = (sequence, several, partly);
        let other = Class { sequence, several, partly, ..other };
        class = if class == other { class } else { either(class, other) };
    }
    class
}

/// What a text does of which only one way to read it is known, of many.
fn anything(usual: Class<'_>) -> Class<'_> {
    Class { effect: Effect::Controls(Control::Unclear { ends: true }), several: true, ..either(usual, usual) }
}

/// What a text does that may be one or the other.
fn either<'a>(one: Class<'a>, other: Class<'a>) -> Class<'a> {
    Class {
        pins: Some(PinCause::UnknownStatement),
        sequence: one.sequence,
        effect: one.control().or_else(|| other.control()).map(|_| Control::Unclear { ends: true }).into(),
        // Where only one of them does, the transaction is looked after as with all that is not understood.
        commits: one.commits && other.commits,
        several: one.several,
        // One of them may be a procedure's call, or a definition.
        partly: true,
        ..Class::default()
    }
}

fn read_once<'a>(sql: &'a str, lexer: &mut Lexer<'a>) -> Class<'a> {
    let mut found: Option<Statement<'_>> = None;
    let mut all = Class::default();
    let mut series = Series::default();
    while let Some(statement) = next_statement(lexer) {
        let control = statement.is_control().then(|| control::parse(lexer.of(&sql[statement.start..statement.end])));
        series.add(control, found.is_some(), statement.commits());
        all.sequence = if found.is_some() { all.sequence.then(statement.sequence) } else { statement.sequence };
        all.pins = all.pins.or_else(|| statement.pins());
        all.commits |= statement.commits();
        all.partly |= statement.commits() && !statement.is_atomic() || statement.is_beyond_knowing();
        found = Some(statement);
    }
    let Some(statement) = found else { return all };
    if series.several {
        // A setting among several statements is not taken apart from them.
        all.effect = series.control().into();
        let pins = all.pins.is_some() || matches!(all.effect, Effect::Controls(Control::Unclear { .. }));
        return Class { pins: pins.then_some(PinCause::SeveralStatements), several: true, ..all };
    }
    let text = &sql[statement.start..statement.end];
    if let Some(control) = series.first {
        let pins = control.is_none().then_some(PinCause::RawTransaction);
        return Class { pins, effect: Effect::Controls(control.unwrap_or(Control::Unclear { ends: true })), ..all };
    }
    if !statement.is_whole() {
        return all;
    }
    if let Some(ends) = pin_ends::pin_end(lexer.of(text)) {
        return Class { pins: None, effect: Effect::Ends(ends), ..all };
    }
    match settings::change(text, lexer.of(text)) {
        Some(Change::Lasting(setting)) => Class { pins: None, effect: Effect::Sets(setting), ..all },
        Some(Change::None) => Class { pins: None, ..all },
        Some(Change::Pins(cause)) => {
            // What it does to transactions is not followed, then.
            let cause = if statement.controls { PinCause::UnknownStatement } else { cause };
            let partly = all.partly || cause == PinCause::UnknownStatement;
            Class { pins: Some(cause), partly, ..all }
        }
        None => all,
    }
}

/// The word that a text begins with, after comments and parentheses; empty where it is none.
pub(super) fn first_word(sql: &str) -> &str {
    match next_statement(&mut Lexer::new(sql)).map(|statement| statement.first) {
        Some(Token::Word(word)) => word,
        _ => "",
    }
}

/// How many statements there are, the empty ones left out.
#[cfg(any(test, feature = "_internals"))]
pub(super) fn statements(sql: &str) -> usize {
    let mut lexer = Lexer::new(sql);
    std::iter::from_fn(|| next_statement(&mut lexer)).count()
}

#[cfg(test)]
mod tests;
