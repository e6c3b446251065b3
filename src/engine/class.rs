//! What a text does to the session it runs in.

use super::Sequence;
use crate::pin::PinCause;

/// What a text does to the session it runs in. Borrowed from the text: classifying allocates nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Class<'a> {
    /// It leaves something behind that cannot be moved to another connection.
    pub(crate) pins: Option<PinCause>,
    /// What it leaves behind may be what nothing takes away, whatever it pins for.
    pub(crate) stays: bool,
    /// What it does that is followed.
    pub(crate) effect: Effect<'a>,
    /// What it has to do with what the server remembers of earlier statements.
    pub(crate) sequence: Sequence,
    /// Its first statement is a commit, which an aborted transaction answers with a rollback, and calls a success.
    pub(crate) begins_with_commit: bool,
    /// The same text may have another shape of answer in another session: it is not kept prepared.
    pub(crate) uncacheable: bool,
    /// It commits the transaction that is open, before it is executed, whatever becomes of it.
    pub(crate) commits: bool,
    /// Several statements, of which the first may be done when a later one is refused.
    pub(crate) several: bool,
    /// It is not known to be done all or nothing where no transaction is open: a part of it may stay done when it fails.
    pub(crate) partly: bool,
    /// What it sets until the transaction ends makes this of the statements that are prepared.
    pub(crate) replans: Staleness,
    /// It makes a temporary table that goes with its transaction.
    pub(crate) passing_table: bool,
    /// It may define, or let live on, what is temporary because something else of its transaction is.
    pub(crate) defines: bool,
    /// The server refuses it outside of a transaction: what it does ends with one.
    pub(crate) needs_transaction: bool,
    /// Rows are to go from or to the client in a way of their own, for which a statement's text has no place.
    pub(crate) copies: bool,
}

impl<'a> Class<'a> {
    /// It changes a setting that can be set again elsewhere.
    pub(crate) fn setting(&self) -> Option<Setting<'a>> {
        if let Effect::Sets(setting) = self.effect { Some(setting) } else { None }
    }

    /// It begins or ends a transaction or a savepoint.
    pub(crate) fn control(&self) -> Option<Control<'a>> {
        if let Effect::Controls(control) = self.effect { Some(control) } else { None }
    }

    /// It takes something away that pins.
    pub(crate) fn ends(&self) -> Option<PinEnd> {
        if let Effect::Ends(ends) = self.effect { Some(ends) } else { None }
    }
}

/// What a text does to the session that the session's account follows: one thing at the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Effect<'a> {
    /// It has none, or the session is bound to its connection by what it [pins](Class::pins) for.
    #[default]
    None,
    /// It changes a setting that can be set again elsewhere.
    Sets(Setting<'a>),
    /// It begins or ends a transaction or a savepoint.
    Controls(Control<'a>),
    /// It takes something away that pins.
    Ends(PinEnd),
}

impl<'a> From<Option<Control<'a>>> for Effect<'a> {
    fn from(control: Option<Control<'a>>) -> Self {
        control.map_or(Self::None, Self::Controls)
    }
}

/// What a server is asked before a statement whose text does not tell what it sets.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) text: String,
    /// It has the statement's parameters.
    pub(crate) given: bool,
}

/// Transaction control as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control<'a> {
    /// A transaction begins; inside one this does nothing.
    Begin,
    /// The transaction ends, or is handed over to be decided elsewhere; `chain`: the next one begins at once.
    Commit {
        /// `AND CHAIN`
        chain: bool,
    },
    /// The transaction is taken back.
    Rollback {
        /// `AND CHAIN`
        chain: bool,
    },
    /// A savepoint is set.
    Savepoint(Label<'a>),
    /// Everything since the savepoint is taken back; it stays.
    RollbackTo(Label<'a>),
    /// The savepoint is given up; what was done since stays.
    Release(Label<'a>),
    /// A text of several statements: a transaction from its begin to its end, with plain statements in between.
    Whole,
    /// Among several statements, or not understood.
    Unclear {
        /// The transaction that it is sent in may end by it.
        ends: bool,
    },
}

impl Control<'_> {
    /// Whether it is one statement that is understood.
    pub(crate) fn is_single_statement(self) -> bool {
        !matches!(self, Control::Whole | Control::Unclear { .. })
    }
}

/// A savepoint's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label<'a> {
    pub(crate) name: &'a str,
    /// Written without quotes: upper and lower case are one.
    pub(crate) folds: bool,
}

impl Label<'_> {
    pub(crate) fn key(self) -> String {
        if self.folds { self.name.to_ascii_lowercase() } else { self.name.replace("\"\"", "\"") }
    }
}

/// What a statement takes away of what pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PinEnd {
    /// What this cause left behind, all of it.
    Of(PinCause),
    /// Everything that a statement can take away, the settings too.
    Everything,
    /// Nothing that pins, but what the driver had prepared or a sequence had drawn.
    Other,
}

/// A change of a session's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting<'a> {
    /// This statement sets it, here and wherever it is run again.
    Set {
        /// The setting.
        name: Name<'a>,
        /// The statement: [`super::Dialect::settings_of`] words it anew.
        statement: &'a str,
    },
    /// Back to what it was at login.
    Reset(Name<'a>),
    /// All of them back, but for who the session acts as.
    ResetAll,
    /// This statement sets several: [`super::Dialect::settings_of`] takes it apart.
    Several(&'a str),
}

/// A setting's name: `search_path`, or `app.tenant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a>(pub(crate) &'a str, pub(crate) Option<&'a str>);

impl Name<'_> {
    /// As a key: names are the same in either case.
    pub(crate) fn key(self) -> String {
        let mut key = self.0.to_ascii_lowercase();
        if let Some(rest) = self.1 {
            key.push('.');
            key.push_str(&rest.to_ascii_lowercase());
        }
        key
    }
}

/// When a text takes the snapshot of the transaction that it is sent in, if there is none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snapshot {
    /// It needs none, and nothing that was planned.
    Never,
    /// Or as well a moment before.
    AtOnce,
    /// After something that has to come before it, as a lock.
    Later,
}

/// What has become of the statements that a connection has prepared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Staleness {
    /// They mean what they meant.
    #[default]
    Fresh,
    /// The server has to read and plan them again: [`super::Rules::replan`].
    Plans,
    /// The driver has to prepare them again: [`super::Driver::forget`].
    Statements,
    /// As `Statements`, and names of types may stand for others than the driver has learnt.
    Names,
}
