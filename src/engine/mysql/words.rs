//! The words by which a query or a change of rows does something to its session, one row each. What they do beside others is
//! for [`Statement`](super::statement::Statement) to see.

use crate::engine::Sequence;
use crate::engine::words::Word::{InContext, Leaves, Remembers};
use crate::engine::words::Words;
use crate::pin::PinCause;

pub(super) static WORDS: Words<17> = Words::new([
    ("get_lock", Leaves(PinCause::AdvisoryLock)),
    // `RELEASE_ALL_LOCKS` does not release these.
    ("service_get_read_locks", Leaves(PinCause::UnknownStatement)),
    ("service_get_write_locks", Leaves(PinCause::UnknownStatement)),
    ("version_tokens_lock_shared", Leaves(PinCause::UnknownStatement)),
    ("version_tokens_lock_exclusive", Leaves(PinCause::UnknownStatement)),
    ("nextval", Remembers(Sequence::GENERATES)),
    ("setval", Remembers(Sequence::GENERATES)),
    ("lastval", Remembers(Sequence::READS_KEPT)),
    ("row_count", Remembers(Sequence::READS_COUNT)),
    ("found_rows", Remembers(Sequence::READS_FOUND)),
    // With a value it remembers that one.
    ("last_insert_id", InContext),
    ("release_all_locks", InContext),
    // `NEXT VALUE FOR`, `PREVIOUS VALUE FOR`, and `s.currval` of MariaDB's Oracle mode.
    ("next", InContext),
    ("previous", InContext),
    ("currval", InContext),
    // `SQL_CALC_FOUND_ROWS`, and `SQL%ROWCOUNT` of the Oracle mode.
    ("sql", InContext),
    // The hint.
    ("set_var", InContext),
]);
