//! What a statement may leave behind in a server session, as far as the server shows it.

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row};

use crate::oracle::snapshot::{Seen, Snapshot};
use crate::support::mariadb::MariaDb as Server;
use crate::support::on_mysql::{is_in_transaction, session_status, settings};
use crate::support::servers::Servers;

/// The server's own answers, in one round trip. What differs from look to look is left out.
fn question() -> String {
    let (variables, values) = Servers::family().either(
        ("information_schema.user_variables", "variable_value"),
        // Of this thread only.
        (
            "(select variable_name, convert(variable_value using utf8mb4) as shown \
               from performance_schema.user_variables_by_thread where thread_id = ps_current_thread_id()) as variables",
            "shown",
        ),
    );
    format!(
        "select 'transaction' as k, {} as v
         union all select concat('setting ', name), value from {}
             where name not in ('timestamp', 'rand_seed1', 'rand_seed2', 'in_transaction', 'warning_count',
             'error_count', 'last_insert_id', 'identity', 'last_gtid', 'pseudo_thread_id')
         union all select 'memory', last_insert_id()
         union all select 'identity user', current_user()
         union all select 'identity role', ifnull(current_role(), '')
         union all select 'identity database', ifnull(database(), '')
         union all select concat('variable ', variable_name), ifnull({values}, '') from {variables}
         union all select concat('lock ', name), '' from (select 'a' as name union select 'b' union select ';') locks
             where is_used_lock(name) = connection_id()
         union all select lower(variable_name), variable_value from {}
             where variable_name in ('COM_PREPARE_SQL', 'COM_EXECUTE_IMMEDIATE')
         limit 10000",
        is_in_transaction(),
        settings(),
        session_status()
    )
}

/// Questions that the server refuses in its own way when something was left.
const PROBES: [(&str, &str); 4] = [
    ("handler", "handler t read first"),
    ("temporary table", "select lasting from app.g limit 0"),
    ("temporary sequence", "select lasting from app.gs limit 0"),
    ("table locks", "delete from app.untouched where false"),
];

/// A session of the administrator, so that nothing fails for want of a right.
pub(super) struct Session {
    conn: MySqlConnection,
    origin: Snapshot,
}

impl Session {
    pub(super) async fn open(server: &Server) -> Self {
        let mut conn = server.admin().await;
        // A statement that waits is not what is asked about.
        conn.execute("set lock_wait_timeout = 2, innodb_lock_wait_timeout = 2").await.unwrap();
        let origin = look(&mut conn).await.unwrap_or_else(|error| panic!("a fresh session answers with {error}"));
        Self { conn, origin }
    }

    /// As it was at first.
    pub(super) fn origin(&self) -> &Snapshot {
        &self.origin
    }

    /// `None` when the session is gone.
    pub(super) async fn look(&mut self) -> Option<Snapshot> {
        look(&mut self.conn).await.ok()
    }

    pub(super) async fn run(&mut self, text: &str) -> Seen {
        let mut completed = 0;
        let refused = {
            let mut results = self.conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(text.to_owned())));
            loop {
                match results.try_next().await {
                    Ok(Some(sqlx::Either::Left(_))) => completed += 1,
                    Ok(Some(sqlx::Either::Right(_))) => {}
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            }
        };
        let alive = refused.as_ref().is_none_or(|error| error.as_database_error().is_some());
        Seen { completed, refused: refused.as_ref().map(number), alive }
    }

    pub(super) async fn begin(&mut self) {
        self.run("begin; savepoint oracle").await;
    }

    /// Whether the transaction that `begin` had begun is there no longer; ends it if it is.
    pub(super) async fn end(&mut self) -> bool {
        let ended = self.run("release savepoint oracle").await.refused.as_deref() == Some("1305");
        self.run("rollback").await;
        ended
    }

    pub(super) async fn close(self) {
        let _ = self.conn.close().await;
    }
}

/// The server's number of an error.
fn number(error: &sqlx::Error) -> String {
    let refusal =
        error.as_database_error().and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>());
    refusal.map_or_else(|| error.to_string(), |refusal| refusal.number().to_string())
}

pub(super) async fn look(conn: &mut MySqlConnection) -> Result<Snapshot, sqlx::Error> {
    let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(question()))).await?;
    let text = |row: &sqlx::mysql::MySqlRow, at: usize| {
        String::from_utf8_lossy(&row.get_unchecked::<Vec<u8>, _>(at)).into_owned()
    };
    let mut pairs: Vec<(String, String)> = rows.iter().map(|row| (text(row, 0), text(row, 1))).collect();
    for (key, probe) in PROBES {
        let answer = conn.fetch_all(sqlx::raw_sql(probe)).await;
        pairs.push((key.to_owned(), answer.as_ref().err().map(number).unwrap_or_default()));
    }
    Ok(pairs.into_iter().collect())
}
