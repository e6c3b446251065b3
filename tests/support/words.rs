//! What tests say to MariaDB, in MySQL's words.

use super::servers::{Family, Servers};

/// What only MariaDB has, or MySQL has no longer; in lower case. One that ends in `\0` is a whole text.
const MARIADBS: &[&str] = &[
    "set statement",
    "returning",
    "next value for",
    "previous value for",
    "nextval(",
    "default role staff for",
    "plain_3",
    "select \\n;",
    // A name does not begin so any more.
    " $$",
    // To whoever may not do it, MySQL 9.7 answers its preparation with a packet that is none, and the driver waits.
    "set global group_concat_max_len",
    "sequence",
    "lastval",
    "not atomic",
    "execute immediate",
    "drop prepare",
    "or replace table",
    "or replace temporary",
    "or replace procedure",
    "or replace user",
    "or replace definer = current_user",
    "/*m!",
    "analyze select",
    "analyze format",
    "alter online",
    "backup lock",
    "backup unlock",
    "query cache",
    "= oracle",
    "'oracle'",
    "aria",
    "set storage_engine",
    "tmp_memory_table_size",
    "log_slow_query_time",
    "max_statement_time = 1e1",
    "idle_transaction_timeout",
    "set password for caller@localhost = password(",
    // `row` goes before each of its rows there.
    "values (1), (2)\0",
    "function if not exists h",
    "alter definer = root@localhost event",
];

/// What has two names. Longer ones first.
const NAMES: [(&str, &str); 4] = [
    ("tx_isolation", "transaction_isolation"),
    ("tx_read_only", "transaction_read_only"),
    (" max_statement_time = 7,", ""),
    ("root@localhost", "root@`127.0.0.1`"),
];

/// The text as the servers under test have it; none if they have no such thing.
pub fn worded(text: &str) -> Option<String> {
    if Servers::family() == Family::MariaDb {
        return Some(text.to_owned());
    }
    let whole = format!("{}\0", text.to_ascii_lowercase());
    let is_mariadbs =
        MARIADBS.iter().any(|mark| if mark.ends_with('\0') { whole == *mark } else { whole.contains(mark) });
    (!is_mariadbs)
        .then(|| NAMES.iter().fold(text.to_owned(), |text, (mariadbs, mysqls)| text.replace(mariadbs, mysqls)))
}

/// A table of the names and the values of all settings of the session, of none that are the server's alone.
pub fn settings() -> &'static str {
    Servers::family().either(
        "(select lower(variable_name) as name, session_value as value from information_schema.system_variables \
           where session_value is not null) as settings",
        "(select lower(variable_name) as name, variable_value as value from performance_schema.variables_by_thread \
           where thread_id = ps_current_thread_id() and variable_name <> 'statement_id') as settings",
    )
}

/// A table of `variable_name` and `variable_value` of what the server counts for a session.
pub fn session_status() -> &'static str {
    Servers::family().either("information_schema.session_status", "performance_schema.session_status")
}

/// An expression: whether the session is in a transaction, 0 or 1. MySQL has a list of those instead of a variable; a
/// statement outside of one is a transaction of its own.
pub fn is_in_transaction() -> &'static str {
    Servers::family().either(
        "@@in_transaction",
        "(select count(*) from performance_schema.events_transactions_current \
           where thread_id = ps_current_thread_id() and state = 'ACTIVE' and autocommit = 'NO')",
    )
}
