//! A fresh login as the reference: everything that the server tells of a session, on a connection that others have used at
//! the moment at which the next session gets it, is what a login of its own would have.

use sqlx::AssertSqlSafe;

use super::heir::{self, Proxy, Server};
use super::pieces::PIECES;
use super::stage;
use crate::oracle::generator;
use crate::oracle::snapshot::Snapshot;

struct Stage {
    server: Server,
    proxy: Proxy,
    login: Snapshot,
}

impl Stage {
    async fn set(server: Server, defaults: &str) -> Self {
        server.execute(defaults).await;
        let login = {
            let proxy = heir::proxy_to(&server);
            let mut session = proxy.get_connection().await.expect("connects");
            heir::look(session.pin().await.expect("a login")).await
        };
        let proxy = heir::proxy_to(&server);
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
        let found = heir::look(next.pin().await.map_err(|error| format!("{texts:?}: {error}"))?).await;
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
        let stage = Stage::set(server, heir::LOGIN).await;
        for shown in heir::SHOWN {
            assert!(stage.login.contains(shown), "{shown}");
        }
        let mut wrong = Vec::new();
        for text in heir::texts() {
            wrong.extend(stage.judge(&[&text]).await.err());
        }
        assert!(wrong.is_empty(), "{} texts:\n{}", wrong.len(), wrong.join("\n"));
        drop(stage.server);
    });
}

#[test]
fn what_a_session_gets_after_generated_texts_is_what_a_login_has() {
    let (runtime, server) = stage();
    let stage = runtime.block_on(Stage::set(server, &format!("{}; {}", heir::LOGIN, heir::SO_THAT_SETTINGS_MOVE)));
    let [set, left] = heir::LEFT;
    generator::try_texts(&PIECES, |text| {
        runtime.block_on(async {
            // What is cleaned away takes settings with it.
            stage.judge(&[set, text]).await?;
            stage.judge(&[text, left, text]).await
        })
    });
    runtime.block_on(async { drop(stage) });
}
