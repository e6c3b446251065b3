//! What sessions may have left in a server session's memory: the numbers that it has generated, the diagnostics of its last
//! statements. Read and written by the rule in `session/core/generated`.

/// So often, on one connection, room is made for numbers that nobody asks for.
const CREDIT: u8 = 64;

/// Whose a server session's memory is.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The session that has sent the last statement.
    pub(crate) holder: Option<u64>,
    /// No generated number in it is anybody's but the holder's.
    pub(crate) numbers: bool,
    /// Nor is anything else in it, what no statement makes the server forget.
    pub(crate) all: bool,
    /// How often the server is still told to forget its numbers before any session has asked for one.
    ///
    /// That takes a round trip, and is for applications that ask: one that never does stops paying for it, one that asks
    /// now and then goes on.
    pub(crate) credit: u8,
    /// A pooler in between may give each transaction another session of the server, with a memory of its own.
    pub(crate) pooled: bool,
}

impl Memory {
    /// Of a new login. A pooler may take it amiss when its server is told to forget: there, only for those who ask.
    pub(super) fn new(pooled: bool) -> Self {
        Self { holder: None, numbers: true, all: true, credit: if pooled { 0 } else { CREDIT }, pooled }
    }

    /// The server was told to forget its numbers, and nobody is there.
    pub(super) fn cleaned(&mut self) {
        (self.holder, self.numbers, self.all) = (None, true, false);
    }

    /// A text that is no session's was sent, which may have done anything.
    pub(super) fn touched(&mut self) {
        (self.numbers, self.all) = (false, false);
    }

    /// A session asks.
    pub(crate) fn asked(&mut self) {
        self.credit = CREDIT;
    }
}

#[cfg(test)]
impl Memory {
    pub(crate) fn fresh(pooled: bool) -> Self {
        Self::new(pooled)
    }

    pub(crate) fn clean_up(&mut self) {
        self.cleaned();
    }
}
