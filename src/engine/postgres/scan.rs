//! The next statement of a text, token by token.

use super::called::Called;
use super::context::{Body, Definition, Execution};
use super::lexer::Lexer;
use super::statement::{Statement, is_drivers};
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
    let mut scan = Scan::of(Statement::of(start, first));
    while let Some(token) = lexer.next() {
        if scan.ends_with(token) {
            scan.statement.end = lexer.at() - 1;
            return Some(scan.statement);
        }
        scan.see(token);
    }
    scan.statement.end = lexer.at();
    Some(scan.statement)
}

/// What is known of the statement so far, and what the next token's meaning depends on.
struct Scan<'a> {
    statement: Statement<'a>,
    creates: bool,
    copies: bool,
    body: Body,
    execution: Execution,
    definition: Definition,
    /// What would be called if this were no definition.
    mentioned: Called,
    /// Parentheses that are open.
    depth: usize,
    last_but_one: Token<'a>,
    last: Token<'a>,
}

impl<'a> Scan<'a> {
    /// Of a statement of which only the first token is read.
    fn of(statement: Statement<'a>) -> Self {
        let first = statement.first;
        Self {
            creates: is(first, "create"),
            copies: is(first, "copy"),
            body: Body::of(first),
            execution: Execution::of(first),
            definition: Definition::of(first),
            mentioned: Called::default(),
            depth: 0,
            last_but_one: first,
            last: first,
            statement,
        }
    }

    /// Semicolons inside a statement are no end: a rule's commands, in parentheses, and the body of a routine.
    #[inline]
    fn ends_with(&self, token: Token<'_>) -> bool {
        token == Token::End && self.depth == 0 && !self.body.is_open()
    }

    /// The next token that is part of it.
    #[inline]
    fn see(&mut self, token: Token<'a>) {
        match token {
            Token::Word(_) | Token::Identifier(_) => {
                self.statement.named(self.last_but_one, self.last, token);
                if self.last == Token::Symbol(b'.') {
                    // `(x).f` is `f(x)`: https://www.postgresql.org/docs/current/rowtypes.html, "functional notation"
                    self.call(token);
                }
            }
            Token::Symbol(b'(') => {
                self.depth += 1;
                self.call(self.last);
            }
            Token::Symbol(b')') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth == 0 {
            self.see_outside(token);
        }
        if self.statement.second.is_none() {
            self.statement.second = Some(token);
        }
        self.statement.concurrently |= is(token, "concurrently");
        (self.last_but_one, self.last) = (self.last, token);
    }

    /// `name (`, or what may be a function after a dot.
    fn call(&mut self, name: Token<'a>) {
        if matches!(self.definition, Definition::None) {
            self.statement.called(name);
        } else {
            self.mentioned.add(name);
        }
    }

    /// Outside of parentheses.
    #[inline]
    fn see_outside(&mut self, token: Token<'a>) {
        let (last_but_one, last) = (self.last_but_one, self.last);
        if self.body.matters() {
            self.body.see(last, token);
        }
        if self.definition.matters() {
            self.definition.see(token);
            if matches!(self.definition, Definition::None) {
                // It was none.
                self.statement.calls(std::mem::take(&mut self.mentioned));
            }
        }
        if self.execution.sees(token) && is_drivers(token) {
            // It may do anything.
            self.statement.pin(PinCause::UnknownStatement);
        }
        if self.creates && is(token, "drop") {
            self.statement.drops |= is(last, "commit") && is(last_but_one, "on");
        }
        if self.copies && (is(token, "stdin") || is(token, "stdout")) {
            // The server takes either word for either direction.
            self.statement.copies |= is(last, "from") || is(last, "to");
        }
    }
}
