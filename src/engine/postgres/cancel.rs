//! Ends what another session is doing.
//!
//! The protocol's own cancel request needs a key that the driver keeps to itself, so the session is looked for in the
//! server's list. There it is found by its number, if that was asked; else by the name that it had at its login, and where it
//! may have another one by now, by the way to it, which nothing changes that a session can do. It is one of its own user's: any
//! other one may call itself so.

use sqlx::postgres::PgConnection;
use sqlx::{Error, Postgres, Row};

use crate::engine::question::{row, rows};
use crate::engine::{Target, Way};

/// What `ALTER ROLE ... SET role` has made of the login would not see what its own user's sessions do; and nothing is looked
/// up in anybody's schema, whatever path the login has. Both stay.
const AS_ITSELF: &str = "SET SESSION AUTHORIZATION DEFAULT; SET ROLE NONE; SET search_path = pg_catalog, pg_temp";

/// What no other session has been or will be: a number is given again, but not in the same microsecond. A whole number, for
/// a session decides how many digits of others are shown.
const NUMBER: &str = "pg_catalog.concat(pid, '@', (pg_catalog.date_part('epoch', backend_start) \
    operator(pg_catalog.*) 1000000::pg_catalog.float8)::pg_catalog.int8)";

/// The server's number for this session, and since when.
pub(super) async fn number(conn: &mut PgConnection) -> Result<String, Error> {
    let text = format!("SELECT {NUMBER} FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())");
    row::<Postgres>(conn, text).await?.try_get(0)
}

/// False: there is no such session.
pub(super) async fn cancel(side: &mut PgConnection, target: &Target) -> Result<bool, Error> {
    let cancel = of("pg_catalog.pg_cancel_backend(pid)", target);
    // The server sees to one message after the other: dropped, it is sent in whole or not at all.
    is_true(side, format!("{AS_ITSELF}; {cancel}")).await
}

async fn is_true(side: &mut PgConnection, text: String) -> Result<bool, Error> {
    let rows = rows::<Postgres>(side, text).await?;
    let value: Option<Option<bool>> = rows.last().map(|row| row.try_get(0)).transpose()?;
    Ok(value.flatten().unwrap_or_default())
}

/// Asks one thing of one session. Workers have their leader's name.
fn of(what: &str, target: &Target) -> String {
    if let Some(number) = &target.number {
        let number = literal(number);
        return format!(
            "SELECT {what} FROM pg_catalog.pg_stat_activity WHERE {NUMBER} operator(pg_catalog.=) {number}"
        );
    }
    let way = target.way.map_or_else(|| "false".to_owned(), leads_here);
    let name = literal(&target.name);
    format!(
        "SELECT {what} FROM pg_catalog.pg_stat_activity \
         WHERE usename operator(pg_catalog.=) SESSION_USER AND pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid() \
           AND (backend_type operator(pg_catalog.=) 'parallel worker') IS NOT TRUE \
           AND (({way}) IS TRUE OR application_name operator(pg_catalog.=) {name}) \
         ORDER BY ({way}) IS TRUE DESC LIMIT 1"
    )
}

/// A session's address is its own as long as its client holds the socket. Where the server calls the connection that asks
/// by its own name, nothing on the way translates.
fn leads_here(way: Way) -> String {
    let is = |address: &str, port: &str, socket: std::net::SocketAddr| {
        format!(
            "{address} operator(pg_catalog.=) {}::pg_catalog.inet AND {port} operator(pg_catalog.=) {}",
            literal(&socket.ip().to_string()),
            socket.port()
        )
    };
    format!(
        "{} AND {}",
        is("client_addr", "client_port", way.to_it),
        is("pg_catalog.inet_client_addr()", "pg_catalog.inet_client_port()", way.beside)
    )
}

/// The same whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is() {
        for (name, read) in [("lambda-rds #0a", "E'lambda-rds #0a'"), ("it's", "E'it''s'"), (r"\' or", r"E'\\'' or'")] {
            assert_eq!(literal(name), read);
        }
    }

    #[test]
    fn a_way_that_is_not_known_leads_nowhere() {
        let target = Target { name: "one".to_owned(), ..Target::default() };
        assert!(of("pid", &target).contains("((false) IS TRUE OR application_name operator(pg_catalog.=) E'one')"));
    }
}
