//! Whose number is it? Rules for statements that read what the server's session remembers: generated numbers, and the
//! diagnostics of the statements before.
//!
//! *`LAST_INSERT_ID()` or `currval` is sent only where this session alone has used the connection since that last held no number of
//! another session. If this session has used other connections as well, the number must have been generated here after that point.*
//!
//! What the statements of others have done does not count, for no text tells: all of them spoil. So that a question has an
//! answer all the same, the server is told to forget its numbers before a session generates some where others have been;
//! when that pays is all that the texts are read for.

use crate::connector::Memory;
use crate::engine::Sequence;

/// What is refused when a number is asked for.
pub(in crate::session) const NUMBERS: &str = "the last number of a sequence (currval, lastval, LAST_INSERT_ID)";
/// And when it is about the statements before.
const DIAGNOSTICS: &str = "what the statement before had found (ROW_COUNT, FOUND_ROWS, SHOW WARNINGS)";

/// One exchange on a physical connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) struct Exchange {
    pub(in crate::session) wire: u64,
    pub(in crate::session) number: u64,
}

/// A text that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::session) struct Use {
    pub(in crate::session) text: Sequence,
    /// A transaction begins with it; what is to be forgotten is forgotten before.
    pub(in crate::session) begins: bool,
    /// It pins: what it does, now or later, may not be seen.
    pub(in crate::session) pins: bool,
    /// A transaction is open.
    pub(in crate::session) held: bool,
    /// Its transaction is aborted: an exchange before it would fail.
    pub(in crate::session) aborted: bool,
    /// The server has refused to forget its numbers before it.
    pub(in crate::session) was_refused: bool,
}

/// What is to be done before a text is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Step {
    Go,
    /// The server is to forget its numbers. Then [`before`](Generated::before) is asked again.
    Empty,
    /// The server is to tell its number. Then it is asked again.
    Look,
    /// The answer could be another session's.
    Refuse(&'static str),
}

/// What a session knows of the numbers that it has generated, and of its last statements.
#[derive(Debug, Default)]
pub(in crate::session) struct Generated {
    session: u64,
    /// PostgreSQL: `currval` fails if no number was generated, and any statement may call `nextval` unseen. Otherwise (MySQL) the
    /// answer is 0, which an `INSERT` could store; but numbers of functions and triggers are forgotten when those end, so that the
    /// text shows what generates.
    refuses: bool,
    /// The connection of its last statement.
    at: Option<u64>,
    /// Something was sent that may have generated.
    sent: bool,
    /// It may have generated a number that is remembered nowhere, or elsewhere than at its last connection.
    astray: bool,
    /// The same, of what no statement makes the server forget.
    left: bool,
    /// The text under way.
    text: Sequence,
    /// Its last statement.
    previous: Option<Exchange>,
    /// What its statements have left there, nothing else having been sent since: rows found, warnings.
    own: Sequence,
    /// This session's statements were not one unbroken run that began with a login: it has changed connections, or something else was
    /// sent in between. Never taken back, so that older diagnostics are refused from then on wherever anybody else has been.
    scattered: bool,
}

impl Generated {
    pub(in crate::session) fn new(session: u64, refuses: bool) -> Self {
        Self { session, refuses, ..Self::default() }
    }

    /// What is to be done before a text is sent on this connection, after this exchange.
    pub(in crate::session) fn before(&mut self, at: Exchange, memory: &mut Memory, next: Use) -> Step {
        let text = next.text;
        if text.reads() {
            memory.asked();
        }
        if memory.pooled && !next.held {
            // What the statements before have left may lie in another of the server's sessions.
            self.own = Sequence::NONE;
        }
        let stays = self.stays(at.wire, memory, next.held);
        let numbers = memory.numbers && (stays || memory.holder.is_none() && !memory.pooled);
        let all = memory.all && (stays || memory.holder.is_none() && !memory.pooled);
        let (astray, left) = (self.astray || !stays && self.sent, self.left || !stays && self.sent);

        let pays = next.pins || (text.generates() || next.begins) && (text.reads() || memory.credit > 0);
        // Between two transactions a pooler may give the server's session to somebody else.
        let stands = !next.aborted && !next.was_refused && !text.reads_diagnostics() && (next.held || !memory.pooled);
        if !numbers && pays && stands {
            return Step::Empty;
        }
        // What a text that pins reads is not seen: it goes nowhere where the server has refused to forget.
        let hides = next.pins && next.was_refused;
        if (text.reads() || hides) && !numbers {
            return Step::Refuse(NUMBERS);
        }
        if text.reads() && astray && !self.refuses {
            // Asking for the number would overwrite the diagnostics that the statement is about to read.
            return if text.reads_diagnostics() { Step::Refuse(NUMBERS) } else { Step::Look };
        }
        if text.reads_kept() && (left || !all) {
            return Step::Refuse(NUMBERS);
        }
        let followed = self.previous == Some(at) && (next.held || !memory.pooled);
        // Older ones than the session's own are nobody's where nobody else has been.
        let earlier = self.own.then(text).reads_earlier() && (self.scattered || !all);
        if text.reads_diagnostics() && !followed || earlier {
            return Step::Refuse(DIAGNOSTICS);
        }
        self.come(at.wire, memory, next.held);
        self.text = text;
        self.sent |= self.refuses || text.generates() || next.pins;
        Step::Go
    }

    /// The server was told to forget its numbers, and has done so or refused.
    pub(in crate::session) fn emptied(&mut self, wire: u64, memory: &mut Memory, held: bool, done: bool) {
        if !done {
            memory.credit = 0;
            return;
        }
        self.come(wire, memory, held);
        // Those of the session's own are gone as well.
        self.astray |= self.sent;
        memory.numbers = true;
        memory.credit = memory.credit.saturating_sub(1);
    }

    /// The server has told its number, zero if none was generated since it was made to forget. Whether that is this
    /// session's last one.
    pub(in crate::session) fn told(&mut self, wire: u64, memory: &mut Memory, held: bool, number: u64) -> bool {
        self.come(wire, memory, held);
        // Generated here, and after whatever was generated elsewhere.
        self.astray &= number == 0;
        !self.astray
    }

    /// A statement is sent as exchange `now`; `before` was the last exchange on that connection until then.
    ///
    /// For numbers it makes no difference what becomes of it: one that has succeeded, failed or was dropped may have
    /// generated.
    pub(in crate::session) fn sent(&mut self, before: Exchange, now: Exchange) {
        if self.previous != Some(before) {
            self.own = Sequence::NONE;
            self.scattered |= self.previous.is_some() || before.number > 0;
        }
        self.previous = Some(now);
    }

    /// It was executed to its end.
    pub(in crate::session) fn succeeded(&mut self) {
        self.own |= std::mem::take(&mut self.text).left();
    }

    /// It has failed. `ungenerated`: because no number was generated. Returns what it has asked for if one may
    /// have been, elsewhere.
    pub(in crate::session) fn failed(&self, ungenerated: bool) -> Option<&'static str> {
        (ungenerated && self.text.reads() && self.astray).then_some(NUMBERS)
    }

    /// Whether nobody has used the connection since this session did, nor this session another one.
    fn stays(&self, wire: u64, memory: &Memory, held: bool) -> bool {
        memory.holder == Some(self.session) && self.at == Some(wire) && (held || !memory.pooled)
    }

    /// The session uses this connection from here on.
    fn come(&mut self, wire: u64, memory: &mut Memory, held: bool) {
        if self.stays(wire, memory, held) {
            return;
        }
        if memory.holder.is_some() || memory.pooled {
            (memory.numbers, memory.all) = (false, false);
        }
        memory.holder = Some(self.session);
        self.at = Some(wire);
        self.astray |= self.sent;
        self.left |= self.sent;
    }
}

#[cfg(test)]
mod tests;
