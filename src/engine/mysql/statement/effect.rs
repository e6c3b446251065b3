//! What a statement does to its transaction and its session, by what was read of it.

use super::{Statement, is_among};
use crate::engine::mysql::control;
use crate::engine::token::Token;
use crate::pin::PinCause;

impl Statement<'_> {
    /// It is as its words say, from the first to the last.
    pub(in crate::engine::mysql) fn is_whole(&self) -> bool {
        !self.prefixed && self.cause.is_none()
    }

    pub(in crate::engine::mysql) fn is_control(&self) -> bool {
        !self.prefixed && control::is_control(self.first, self.second)
    }

    /// It commits the transaction that is open; where servers differ it pins instead.
    ///
    /// `UNLOCK TABLES` commits after `LOCK TABLES` only, which has left none of `BEGIN`'s open.
    pub(in crate::engine::mysql) fn commits(&self) -> bool {
        let Token::Word(first) = self.first else { return false };
        let among = |words: &[&str]| words.iter().any(|word| first.eq_ignore_ascii_case(word));
        let then = |words: &[&str]| is_among(self.second, words);
        if self.is_definition {
            // A temporary sequence commits when it is made.
            let passes = self.temporary && (among(&["drop"]) || !is_among(self.object, &["sequence"]));
            let other = self.begins || is_among(self.object, &["prepare"]);
            return self.object.is_some() && !passes && !other;
        }
        among(&["truncate", "grant", "revoke", "check", "optimize", "repair", "flush", "backup"])
            || among(&["analyze"]) && then(&["table", "tables", "local", "no_write_to_binlog"])
            || among(&["lock"]) && then(&["table", "tables"])
            || among(&["set"]) && then(&["password", "default"])
            || among(&["start"]) && then(&["transaction"])
            || among(&["begin"]) && !then(&["not"])
    }

    /// Of one that commits: whether it is known to be done all or nothing. Of several objects the first are gone when the last
    /// one is missing (MariaDB), what is created in the place of another is not put back, and accounts are made one by one.
    pub(in crate::engine::mysql) fn is_atomic(&self) -> bool {
        let of_one = ["table", "view", "index", "sequence", "procedure", "function", "trigger", "event"];
        // What seems to be a body may be statements of their own.
        let is_more = self.replaces || self.body || self.lists && self.is_ended_or_renamed();
        let definition = is_among(self.object, &of_one) && !is_more;
        let first = |words| is_among(Some(self.first), words);
        definition || first(&["truncate", "start", "begin", "lock"])
    }

    /// It may have committed, or done a part of what it does, before it fails. What only raises an error has not.
    pub(in crate::engine::mysql) fn is_beyond_knowing(&self) -> bool {
        let raises = is_among(Some(self.first), &["signal", "resignal"]);
        self.pins() == Some(PinCause::UnknownStatement) && !self.is_set() && !raises
    }

    fn is_set(&self) -> bool {
        is_among(Some(self.first), &["set"]) && self.is_whole()
    }

    fn is_ended_or_renamed(&self) -> bool {
        is_among(Some(self.first), &["drop", "rename"])
    }

    pub(in crate::engine::mysql) fn pins(&self) -> Option<PinCause> {
        let Token::Word(first) = self.first else { return Some(PinCause::UnknownStatement) };
        let among = |words: &[&str]| words.iter().any(|word| first.eq_ignore_ascii_case(word));
        if self.is_control() {
            return self.cause;
        }
        if among(&["drop"]) && is_among(self.object, &["prepare"]) {
            return Some(PinCause::PreparedStatement);
        }
        // Nothing but the end of the session releases the locks of a backup for sure.
        if self.locks || among(&["lock"]) && is_among(self.second, &["table", "tables"]) {
            // What stands before it may have left something that does not end with the locks.
            let leaves_more = self.prefixed && self.cause.is_some();
            return Some(if leaves_more { PinCause::UnknownStatement } else { PinCause::TableLock });
        }
        if among(&["drop"]) && is_among(self.object, &["database", "schema"]) {
            // It may be the one that unqualified names are looked up in.
            return Some(PinCause::UnknownStatement);
        }
        if self.is_plain {
            let unknown = self.is_heading() || self.body || among(&["load"]) && !self.loads_rows();
            return if unknown { Some(PinCause::UnknownStatement) } else { self.cause };
        }
        Some(if among(&["handler"]) {
            PinCause::Handler
        } else if among(&["prepare", "execute", "deallocate"]) {
            PinCause::PreparedStatement
        } else if among(&["call", "begin"]) {
            PinCause::Procedure
        } else {
            self.cause.filter(|cause| !cause.can_end() && !self.controls).unwrap_or(PinCause::UnknownStatement)
        })
    }

    /// `LOAD INDEX` commits with MySQL only.
    fn loads_rows(&self) -> bool {
        is_among(self.second, &["data", "xml"])
    }
}
