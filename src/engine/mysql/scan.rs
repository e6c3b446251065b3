//! The next statement of a text, token by token.

use super::lexer::Lexer;
use super::statement::Statement;
use crate::engine::Sequence;
use crate::engine::token::{Token, is};
use crate::pin::PinCause;

/// The next statement that is not empty.
pub(super) fn next_statement<'a>(lexer: &mut Lexer<'a>) -> Option<Statement<'a>> {
    let (start, first) = loop {
        let (start, token) = lexer.next_at()?;
        if !matches!(token, Token::End | Token::Symbol(b'(')) {
            break (start, token);
        }
    };
    let mut scan = Scan::of(Statement::of(start, lexer.at(), first));
    if lexer.is_inside() {
        // Which statement it is depends on the server.
        scan.statement.pin(PinCause::UnknownStatement);
    }
    while let Some(token) = lexer.next() {
        if token == Token::End {
            if !scan.statement.has_body {
                break;
            }
            scan.end();
            continue;
        }
        scan.reach(token, lexer);
        if scan.ends_prefix(token) {
            let Some(first) = lexer.next().filter(|token| *token != Token::End) else { break };
            scan = scan.followed_by(first, lexer.at());
        } else {
            scan.see(token, lexer);
        }
    }
    let mut statement = scan.statement;
    if lexer.has_met_spoiling_hint() {
        statement.pin(PinCause::UnknownStatement);
    }
    if lexer.has_met_hint() {
        statement.sequence |= Sequence::READS;
    }
    Some(statement)
}

/// What is known of the statement so far, and what the next token's meaning depends on.
struct Scan<'a> {
    statement: Statement<'a>,
    /// Parentheses that are open.
    depth: usize,
    /// There was a semicolon. It is part of the statement only if something follows.
    has_ended: bool,
    last_but_one: Token<'a>,
    last: Token<'a>,
}

impl<'a> Scan<'a> {
    /// Of a statement of which only the first token is read.
    fn of(statement: Statement<'a>) -> Self {
        let last = statement.first;
        Self { statement, depth: 0, has_ended: false, last_but_one: Token::End, last }
    }

    /// A semicolon that may be part of a body.
    fn end(&mut self) {
        self.has_ended = true;
    }

    /// The statement goes on to this token at least.
    #[inline]
    fn reach(&mut self, token: Token<'a>, lexer: &Lexer<'a>) {
        self.statement.body |= self.has_ended;
        self.statement.end = lexer.at();
        if lexer.is_inside() && !self.statement.is_understood_with(token) {
            self.statement.pin(PinCause::UnknownStatement);
        }
        match token {
            Token::Symbol(b'(') => self.depth += 1,
            Token::Symbol(b')') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// `SET STATEMENT … FOR`
    #[inline]
    fn ends_prefix(&self, token: Token<'_>) -> bool {
        self.depth == 0 && is(token, "for") && self.statement.is_prefix()
    }

    /// The variables are set for the statement that begins with this, and go back after it.
    fn followed_by(self, first: Token<'a>, end: usize) -> Self {
        Self { has_ended: self.has_ended, ..Self::of(self.statement.followed_by(first, end)) }
    }

    /// The next token of it.
    #[inline]
    fn see(&mut self, token: Token<'a>, rest: &Lexer<'a>) {
        let Self { statement, last_but_one, last, .. } = self;
        let is_outside = self.depth == 0;
        // The rows that a query had found are there for sure where it was told to count them, and has a table.
        statement.counts |= is(token, "sql_calc_found_rows");
        if is_outside && statement.counts && is(*last, "from") && !is(token, "dual") && is(statement.first, "select") {
            statement.sequence |= Sequence::FINDS;
        }
        statement.lists |= is_outside && token == Token::Symbol(b',');
        if is_outside && is(statement.first, "set") {
            statement.controls |= is_misspelt(token, *last);
        }
        statement.replaces |= is(token, "replace") && is(*last, "or");
        if !statement.has_body {
            statement.meet(*last_but_one, *last, token, rest);
        }
        if statement.second.is_none() {
            statement.second = Some(token);
            statement.has_body |= statement.may_have_body();
            statement.sequence |= statement.generated_by_block();
        } else if statement.third.is_none() {
            statement.third = Some(token);
        }
        (*last_but_one, *last) = (*last, token);
    }
}

/// Whether something in a `SET` may be a setting's name that is not spelt as it is listed: the server compares names without
/// accents and blanks at the end, and takes a text for one where quotes are for names.
fn is_misspelt(token: Token<'_>, last: Token<'_>) -> bool {
    let is_listed = |byte: u8| byte.is_ascii_alphanumeric() || b"_@.$".contains(&byte);
    match token {
        Token::Word(name) | Token::Identifier(name) => !name.bytes().all(is_listed),
        Token::String(_) => {
            ["set", "session", "local", "@@"].iter().any(|word| is(last, word)) || last == Token::Symbol(b',')
        }
        _ => false,
    }
}
