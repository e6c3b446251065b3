//! A fresh login as the reference: everything that the server tells of a session, on a connection that others have used at
//! the moment at which the next session gets it, is what a login of its own would have.

use lambda_rds::{PgProxy, Proxy};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::pieces::PIECES;
use super::{corpus, stage, witness};
use crate::oracle::generator;
use crate::oracle::snapshot::Snapshot;
use crate::support::postgres::Postgres as Server;

/// A login whose defaults are unlike the server's, by its role and its database, and which may do everything.
const LOGIN: &str = "
    create role heir superuser login password 'of its own';
    alter role heir set work_mem = '3MB'; alter role heir set lock_timeout = '2s';
    alter role heir set search_path = shop, public; alter role heir set statement_timeout = '20s';
    alter role heir set default_transaction_isolation = 'repeatable read'; alter role heir set random_page_cost = 3;
    alter role heir set enable_seqscan = off; alter role heir set app.tenant = 'of the login';
    alter role heir set log_min_duration_statement = 5000; alter role heir set row_security = off;
    alter role heir set array_nulls = off; alter role heir set xmloption = 'document';
    alter database app set intervalstyle = 'iso_8601'; alter database app set bytea_output = 'escape';
    alter database app set default_text_search_config = 'pg_catalog.simple'; alter database app set geqo = off;
    alter database app set lc_monetary = 'C'; alter database app set temp_buffers = 200;
    alter database app set transform_null_equals = on; alter database app set app.\"user\" = 'of the database';
    alter role heir in database app set join_collapse_limit = 3; alter role heir in database app set jit = off";

/// Where a setting comes from, and what a reset would make of it. Some are set again to what they are, each transaction's
/// own for one, and those of a library are there once somebody has called it.
const SOURCES: &str = "select 'source ' || name, \
        case when name like 'transaction\\_%' or name in ('client_encoding', 'standard_conforming_strings') \
             then 'any' else source end || ' ' || coalesce(reset_val, '') \
    from pg_catalog.pg_settings where context <> 'internal' and name not like '%.%'";

struct Stage {
    server: Server,
    proxy: PgProxy,
    login: Snapshot,
}

fn proxy_to(server: &Server) -> PgProxy {
    let url = server.url_for("heir", "of its own", "app");
    Proxy::builder().url(url).ca_pem(server.ca_pem()).max_connections(1).build().expect("valid")
}

async fn look(conn: &mut PgConnection) -> Snapshot {
    let mut pairs = witness::pairs(conn).await.expect("a session at rest");
    let rows = conn.fetch_all(sqlx::raw_sql(SOURCES)).await.expect("a session at rest");
    pairs.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
    let lastval = conn.fetch_all(sqlx::raw_sql("select lastval()")).await;
    let refused = lastval.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
    pairs.push(("number".to_owned(), refused.unwrap_or_default()));
    // Each login has a name of its own.
    pairs.retain(|(key, _)| !key.ends_with(" application_name"));
    pairs.into_iter().collect()
}

impl Stage {
    async fn set(server: Server) -> Self {
        server.execute(LOGIN).await;
        let login = {
            let proxy = proxy_to(&server);
            let mut session = proxy.get_connection().await.expect("connects");
            look(session.pin().await.expect("a login")).await
        };
        let proxy = proxy_to(&server);
        Self { server, proxy, login }
    }

    /// `Err` says what of a session that has run these texts the next one sees.
    async fn judge(&self, texts: &[&str]) -> Result<(), String> {
        let mut before = self.proxy.get_connection().await.expect("connects");
        for text in texts {
            // What is refused may leave something as well.
            let _ = sqlx::raw_sql(AssertSqlSafe((*text).to_owned())).execute(&mut before).await;
        }
        drop(before);
        let mut next = self.proxy.get_connection().await.expect("connects");
        let found = look(next.pin().await.map_err(|error| format!("{texts:?}: {error}"))?).await;
        match self.login.changed(&found) {
            changed if changed.is_empty() => Ok(()),
            changed => Err(format!("after {texts:?} the next session has other {changed:?} than a login")),
        }
    }
}

#[test]
fn what_a_session_gets_after_any_text_is_what_a_login_has() {
    let (runtime, server) = stage();
    runtime.block_on(async {
        let stage = Stage::set(server).await;
        assert!(stage.login.contains("setting work_mem") && stage.login.contains("number"));
        let mut wrong = Vec::new();
        let rows = corpus::PLAIN.iter().copied().chain(corpus::OTHERS.iter().map(|(_, text)| *text));
        for text in rows {
            wrong.extend(stage.judge(&[text]).await.err());
        }
        assert!(wrong.is_empty(), "{} texts:\n{}", wrong.len(), wrong.join("\n"));
        drop(stage.server);
    });
}

#[test]
fn what_a_session_gets_after_generated_texts_is_what_a_login_has() {
    let (runtime, server) = stage();
    let stage = runtime.block_on(Stage::set(server));
    generator::try_texts(&PIECES, |text| {
        runtime.block_on(stage.judge(&["set work_mem = '9MB'", text, "create temp table left_behind (n int)", text]))
    });
    runtime.block_on(async { drop(stage) });
}
