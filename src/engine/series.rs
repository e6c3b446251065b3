//! Several statements in one text: the transaction that they make together, if they do.

use super::Control;

/// The transaction control in a text of one or more statements.
#[derive(Default)]
pub(crate) struct Series<'a> {
    pub(crate) several: bool,
    /// Of the first statement: whether it is control, and which if it is understood.
    pub(crate) first: Option<Option<Control<'a>>>,
    last: Option<Option<Control<'a>>>,
    /// Something that neither begins nor ends a transaction stands in the middle.
    any: bool,
    /// Control where a transaction from begin to end has none.
    astray: bool,
    /// A statement after the first has ended whatever was begun.
    committed: bool,
    ends: bool,
}

impl<'a> Series<'a> {
    /// The next statement. `commits`: it commits by itself, before it does anything.
    pub(crate) fn add(&mut self, control: Option<Option<Control<'a>>>, follows: bool, commits: bool) {
        if follows {
            self.several = true;
            self.committed |= commits;
            // What was the last until now stands in the middle.
            self.astray |= self.any && self.last.is_some();
            self.any = true;
        } else {
            self.first = control;
        }
        self.last = control;
        self.ends |= match control {
            None | Some(Some(Control::Begin | Control::Savepoint(_) | Control::Release(_))) => false,
            Some(_) => true,
        };
    }

    /// Whether the first statement is a commit.
    pub(crate) fn begins_with_commit(&self) -> bool {
        matches!(self.first, Some(Some(Control::Commit { .. })))
    }

    /// What several statements are together.
    pub(crate) fn control(&self) -> Option<Control<'a>> {
        let ended =
            matches!(self.last, Some(Some(Control::Commit { chain: false } | Control::Rollback { chain: false })));
        if self.first == Some(Some(Control::Begin)) && ended && !self.astray && !self.committed {
            return Some(Control::Whole);
        }
        let none = self.first.is_none() && self.last.is_none() && !self.astray;
        (!none).then_some(Control::Unclear { ends: self.ends })
    }
}
