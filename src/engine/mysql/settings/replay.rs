//! The text that takes a connection from one set of settings to another.

use super::{AUTOCOMMIT, DATABASE, ISOLATION, NAMES, READ_ONLY, SQL_MODE};
use crate::engine::Settings;

/// Settings of which every value is taken as it is, or refused, in any mode.
const NEVER_CUT: [&str; 7] = [NAMES, DATABASE, SQL_MODE, AUTOCOMMIT, ISOLATION, READ_ONLY, "time_zone"];

/// Settings that every version turns off where they are set to `DEFAULT` after they have been set to anything: the server
/// keeps them as the opposite of their names, and forgets to turn the default round.
const DEFAULT_IS_WRONG: [&str; 2] = ["foreign_key_checks", "unique_checks"];

/// The statements, in one text, that take a connection from `applied` to `wanted`.
///
/// How texts are read comes first.
pub(in crate::engine::mysql) fn replay(applied: &Settings, wanted: &Settings, home: &Settings) -> Option<String> {
    if applied == wanted {
        return None;
    }
    let first = [NAMES, SQL_MODE];
    let differs = |name: &str| applied.get(name) != wanted.get(name);
    let goal = |name: &str| wanted.get(name).map(str::to_owned).or_else(|| back(name, home));
    let taken_back = applied.names().filter(|name| !wanted.contains(name));
    let names = first.into_iter().chain(taken_back.chain(wanted.names()).filter(|name| !first.contains(name)));
    let mut statements: Vec<_> = names.filter(|name| differs(name)).filter_map(goal).collect();
    // A value that was cut to size where the session was lenient is refused where it is strict by now.
    if let Some(mode) = wanted.get(SQL_MODE)
        && wanted.names().any(|name| differs(name) && !NEVER_CUT.contains(&name))
    {
        statements.retain(|statement| statement != mode);
        statements.insert(usize::from(differs(NAMES)), format!("SET {SQL_MODE} = ''"));
        statements.push(mode.to_owned());
    }
    // The driver sends UTF-8, whatever the server takes it for.
    if let Some(database) = goal(DATABASE)
        && differs(DATABASE)
        && !database.is_ascii()
        && (applied.contains(NAMES) || wanted.contains(NAMES))
    {
        statements.retain(|statement| *statement != database);
        statements.splice(0..0, ["SET NAMES utf8mb4".to_owned(), database]);
        statements.extend(goal(NAMES).filter(|_| !differs(NAMES)));
    }
    (!statements.is_empty()).then(|| statements.join(";\n"))
}

/// What takes a setting back to what it was at login.
fn back(name: &str, home: &Settings) -> Option<String> {
    if let Some(statement) = home.get(name) {
        return Some(statement.to_owned());
    }
    let name = match name {
        // No statement does, but for a login's own.
        DATABASE => return None,
        NAMES => return Some("SET NAMES DEFAULT".to_owned()),
        // MySQL 5.7.20 and later knows the second name, MariaDB up to 11.0 only the first; each takes the other's for a
        // comment.
        ISOLATION => "/*M! tx_isolation */ /*!50720 transaction_isolation */",
        READ_ONLY => "/*M! tx_read_only */ /*!50720 transaction_read_only */",
        name if DEFAULT_IS_WRONG.iter().any(|known| name.eq_ignore_ascii_case(known)) => {
            return Some(format!("SET SESSION {name} = @@global.{name}"));
        }
        name => name,
    };
    Some(format!("SET SESSION {name} = DEFAULT"))
}
