//! The crate's own texts about transactions.

/// Why a transaction did not commit.
pub(in crate::session) fn aborted_by(why: &str) -> String {
    format!("it was aborted by an earlier error, {why}")
}

/// Why a guard cannot end what is not its transaction any more.
pub(in crate::session) const ENDED_BEFORE: &str = "a statement of its own had ended it before";

/// How the names of the guards' savepoints begin.
const GUARDS: &str = "lambda_rds_";

/// Whether a savepoint may be one of the guards', by its name.
pub(in crate::session) fn is_guards(name: &str) -> bool {
    name.get(..GUARDS.len()).is_some_and(|start| start.eq_ignore_ascii_case(GUARDS))
}

/// The text that begins at this depth.
pub(in crate::session) fn begin(depth: usize) -> String {
    if depth == 1 { "BEGIN".to_owned() } else { format!("SAVEPOINT {GUARDS}{depth}") }
}

/// The text that commits this depth.
pub(in crate::session) fn commit(depth: usize) -> String {
    if depth == 1 { "COMMIT".to_owned() } else { format!("RELEASE SAVEPOINT {GUARDS}{depth}") }
}

/// The text that rolls this depth back and leaves nothing of it.
pub(in crate::session) fn rollback(depth: usize) -> String {
    if depth == 1 {
        "ROLLBACK".to_owned()
    } else {
        format!("ROLLBACK TO SAVEPOINT {GUARDS}{depth}; RELEASE SAVEPOINT {GUARDS}{depth}")
    }
}
