//! The facts about PostgreSQL.

use super::connect;
use crate::engine::Rules;

pub(super) const RULES: Rules = Rules {
    family: "postgres",
    driver_variables: connect::DRIVER_VARIABLES,
    url_schemes: &["postgres", "postgresql"],
    default_port: 5432,
    errors_abort: true,
    has_session_reset: true,
    resettable_only_from_login: &[],
    rollback_restores_settings: true,
    texts_are_atomic: true,
    asks_for_settings: &["show", "sett", "timeout", "_to_xml"],
    poolers_lose_state: true,
    forget_generated: "DISCARD SEQUENCES",
    refuses_ungenerated: true,
    parameter: '$',
    // Comments are counted, and errors say where they are.
    remarks_first: false,
    prepares_ahead: false,
    loses_its_place: false,
    probes_by_login: false,
    functions_say_anything: false,
    renamed_by: Some("application_name"),
    controlling_settings: &[],
    read_at_begin: &[
        "default_transaction_isolation",
        "default_transaction_read_only",
        "default_transaction_deferrable",
    ],
    cancelled: "57014",
    aborted: Some("25P02"),
    // By itself the server looks anew when an object changes, not when another comes to stand before it, nor when a
    // literal would be read in another way: <https://www.postgresql.org/docs/current/sql-prepare.html>.
    replan: Some("DISCARD PLANS"),
};
