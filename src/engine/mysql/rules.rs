//! The facts about MySQL.

use super::{settings, statement};
use crate::engine::Rules;

pub(super) const RULES: Rules = Rules {
    family: "mysql",
    // It reads none.
    driver_variables: &[],
    url_schemes: &["mysql", "mariadb"],
    default_port: 3306,
    errors_abort: false,
    has_session_reset: false,
    resettable_only_from_login: &[settings::DATABASE],
    rollback_restores_settings: false,
    texts_are_atomic: false,
    asks_for_settings: &["@@", "variable", "timeout"],
    // RDS Proxy and ProxySQL follow what a session sets and prepares, or keep its connection for it.
    poolers_lose_state: false,
    // With a table, so that warnings and the rows that were found are forgotten as well, and with a limit of its own: under a
    // session's `sql_select_limit` of none nothing would be computed.
    forget_generated: "SELECT LAST_INSERT_ID(0) FROM (SELECT 0 AS a) AS a LIMIT 1",
    // What functions and triggers generate is forgotten when they end:
    // <https://dev.mysql.com/doc/refman/8.4/en/information-functions.html#function_last-insert-id>.
    refuses_ungenerated: false,
    parameter: '?',
    remarks_first: true,
    prepares_ahead: true,
    loses_its_place: true,
    probes_by_login: true,
    functions_say_anything: true,
    renamed_by: None,
    controlling_settings: &statement::CONTROLLING,
    // What follows a session there has set them before.
    read_at_begin: &[],
    cancelled: "70100",
    aborted: None,
    // The server looks names up at each execution.
    replan: None,
};
