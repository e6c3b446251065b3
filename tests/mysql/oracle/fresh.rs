//! A fresh login as the reference: everything that the server tells of a session, on a connection that others have used at
//! the moment at which the next session gets it, is what a login of its own would have.

use lambda_rds::{MySqlProxy, Proxy};
use sqlx::{AssertSqlSafe, MySqlConnection};

use super::pieces::PIECES;
use super::{corpus, stage, witness};
use crate::oracle::generator;
use crate::oracle::snapshot::Snapshot;
use crate::support::mariadb::MariaDb as Server;

/// A login that may do everything but what would spare it the server's `init_connect`, and a server whose defaults are
/// unlike those that it comes with.
const LOGIN: &str = "
    create user heir@'%' identified by 'of its own';
    grant select, insert, update, delete, create, drop, alter, index, references, lock tables, create temporary tables,
        execute, create routine, alter routine, trigger, event, create view, show view, process, reload
        on *.* to heir@'%';
    set global init_connect = 'set @of_the_login = 7, div_precision_increment = 6, long_query_time = 3';
    set global lock_wait_timeout = 2; set global innodb_lock_wait_timeout = 2; set global group_concat_max_len = 4096;
    set global sort_buffer_size = 131072; set global default_week_format = 3; set global lc_time_names = 'de_DE';
    set global max_sort_length = 512; set global net_write_timeout = 77; set global foreign_key_checks = on";

struct Stage {
    server: Server,
    proxy: MySqlProxy,
    login: Snapshot,
}

fn proxy_to(server: &Server) -> MySqlProxy {
    let url = format!("{}?ssl-mode=disabled", server.url_for("heir", "of its own", "app"));
    Proxy::builder().url(url).max_connections(1).build().expect("valid")
}

async fn look(conn: &mut MySqlConnection) -> Snapshot {
    witness::look(conn).await.unwrap_or_else(|error| panic!("a session at rest answers with {error}"))
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
        assert!(stage.login.contains("variable of_the_login"), "init_connect has run");
        let mut wrong = Vec::new();
        let rows = corpus::plain().into_iter().chain(corpus::committing());
        for text in rows.chain(corpus::others().into_iter().map(|(_, text)| text)) {
            wrong.extend(stage.judge(&[&text]).await.err());
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
        runtime.block_on(stage.judge(&["set group_concat_max_len = 9000", text, "set @left_behind = 1", text]))
    });
    runtime.block_on(async { drop(stage) });
}
