//! What a statement may leave behind in a server session, as far as the server shows it.

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use crate::oracle::snapshot::{Seen, Snapshot};
use crate::support::postgres::Postgres as Server;

/// Custom settings that the texts use; the server lists none of them by itself.
const CUSTOM: &str = "{app.tenant,app.user,session.x,local.x,transaction.x,constraints.x,role.x,time.x,schema.x,all.x,\
                      names.x,authorization.x,zone.x,app.b.c,pg_trgm.similarity_threshold}";

const LOOK: &str = r"
    select k, v from (
        select 'setting ' || name, setting from pg_catalog.pg_settings
        where context <> 'internal' and name not like '%.%'
        union all select 'setting ' || n, coalesce(pg_catalog.current_setting(n, true), '') from unnest('CUSTOM'::text[]) n
        union all select 'identity current', current_user::text
        union all select 'identity session', session_user::text
        union all select 'identity role', pg_catalog.current_setting('role')
        union all select 'temporary relation ' || relname, relkind::text from pg_catalog.pg_class
            where relnamespace = pg_catalog.pg_my_temp_schema()
        union all select 'temporary function ' || proname, '' from pg_catalog.pg_proc
            where pronamespace = pg_catalog.pg_my_temp_schema()
        union all select 'temporary type ' || typname, '' from pg_catalog.pg_type
            where typnamespace = pg_catalog.pg_my_temp_schema()
        union all select 'temporary operator ' || oprname, '' from pg_catalog.pg_operator
            where oprnamespace = pg_catalog.pg_my_temp_schema()
        union all select 'temporary collation ' || collname, '' from pg_catalog.pg_collation
            where collnamespace = pg_catalog.pg_my_temp_schema()
        union all select 'temporary text search ' || cfgname, '' from pg_catalog.pg_ts_config
            where cfgnamespace = pg_catalog.pg_my_temp_schema()
        union all select 'temporary statistics ' || stxname, '' from pg_catalog.pg_statistic_ext
            where stxnamespace = pg_catalog.pg_my_temp_schema()
        union all select 'advisory lock ' || classid || '.' || objid || '.' || mode, '' from pg_catalog.pg_locks
            where pid = pg_catalog.pg_backend_pid() and locktype = 'advisory'
        union all select 'prepared ' || name, statement from pg_catalog.pg_prepared_statements where from_sql
        union all select 'channel ' || c, '' from pg_catalog.pg_listening_channels() c
        union all select 'cursor ' || name, is_holdable::text from pg_catalog.pg_cursors where name <> ''
        union all select 'slot ' || slot_name, '' from pg_catalog.pg_replication_slots
            where temporary and active_pid = pg_catalog.pg_backend_pid()
        union all select 'origin', pg_catalog.pg_replication_origin_session_is_setup()::text
        union all select 'dblink', coalesce(public.dblink_get_connections()::text, '')
        union all select 'transaction', (pg_catalog.now() <> pg_catalog.statement_timestamp())::text
    ) x (k, v)";

/// A session of a superuser, so that nothing fails for want of a right.
pub(super) struct Session {
    conn: PgConnection,
    origin: Snapshot,
}

impl Session {
    pub(super) async fn open(server: &Server) -> Self {
        let mut conn = server.admin().await;
        // A statement that waits is not what is asked about.
        conn.execute("set lock_timeout = '2s'").await.unwrap();
        let origin = look(&mut conn).await.expect("a fresh session answers");
        Self { conn, origin }
    }

    /// As it was at first.
    pub(super) fn origin(&self) -> &Snapshot {
        &self.origin
    }

    /// `None` in an aborted transaction, and when the session is gone.
    pub(super) async fn look(&mut self) -> Option<Snapshot> {
        look(&mut self.conn).await
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
        let code = |error: &sqlx::Error| error.as_database_error().and_then(|error| error.code()).map(Into::into);
        let alive =
            refused.as_ref().is_none_or(|error| code(error).is_some_and(|code: String| !code.starts_with("57")));
        let refused = refused.map(|error| code(&error).unwrap_or_else(|| error.to_string()));
        Seen { completed, refused, alive }
    }
}

async fn look(conn: &mut PgConnection) -> Option<Snapshot> {
    Some(pairs(conn).await?.into_iter().collect())
}

/// What, and how.
pub(super) async fn pairs(conn: &mut PgConnection) -> Option<Vec<(String, String)>> {
    let text = LOOK.replace("CUSTOM", CUSTOM);
    let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await.ok()?;
    Some(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
