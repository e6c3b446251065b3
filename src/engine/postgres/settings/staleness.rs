//! What a change of settings makes of what is prepared.

use super::{AUTHORIZATION, ROLE};
use crate::engine::{Settings, Staleness};

/// Settings by which no statement is read: how long it may take, who is told of it, what it may use. Any other one may be.
pub(super) const OF_EXECUTION: [&str; 25] = [
    "application_name",
    "backend_flush_after",
    "client_connection_check_interval",
    "client_min_messages",
    "commit_delay",
    "commit_siblings",
    "deadlock_timeout",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "log_duration",
    "log_lock_waits",
    "log_min_duration_statement",
    "log_min_error_statement",
    "log_min_messages",
    "log_statement",
    "maintenance_work_mem",
    "statement_timeout",
    "synchronous_commit",
    "temp_buffers",
    "temp_file_limit",
    "track_activities",
    "transaction_timeout",
    "work_mem",
];

/// Settings by which a name stands for one thing or another.
pub(super) const NAMING: [&str; 3] = ["search_path", ROLE, AUTHORIZATION];

/// What a change of one setting makes of what is prepared. What an application calls its own, with a dot in it, is read by
/// `current_setting` alone, which is not computed ahead:
/// <https://www.postgresql.org/docs/current/xfunc-volatility.html>.
pub(super) fn staleness_by(name: &str) -> Staleness {
    let among = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    if among(&NAMING) {
        Staleness::Names
    } else if among(&OF_EXECUTION) || name.contains('.') {
        Staleness::Fresh
    } else {
        Staleness::Plans
    }
}

pub(in crate::engine::postgres) fn staleness(before: &Settings, after: &Settings) -> Staleness {
    if before == after {
        return Staleness::Fresh;
    }
    before.differences(after).map(staleness_by).max().unwrap_or_default()
}
