//! Who writes and who follows whom. A replica starts from the template and gets from its primary all that happened since,
//! by GTID: no server ever removes a part of its binary log.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sqlx::{Row, mysql::MySqlRow};

use super::super::servers::Family;
use super::{MariaDb, Template};

/// A node that starts anew gets everything that was ever written.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);

impl MariaDb {
    /// A replica of this server, with the same options, that accepts (read-only) connections and has everything that is
    /// there now.
    pub async fn replica(&self) -> Self {
        self.replica_with(&[]).await
    }

    /// A replica with settings of its own; they win over this server's.
    pub async fn replica_with(&self, settings: &[(&'static str, String)]) -> Self {
        let mut options = self.options.clone();
        options.settings.extend_from_slice(settings);
        let replica = Self::prepare(self.installation.clone(), options, Arc::clone(&self.authority));
        replica.is_reader.store(true, Ordering::Relaxed);
        replica.copy_template().await;
        let replica = replica.launch().await;
        replica.repoint(self).await;
        replica.wait_until_has(&self.position().await).await;
        replica
    }

    /// What a replica starts from: it gets all that happened since then from its primary, which keeps it.
    async fn copy_template(&self) {
        self.site.copy_data(&Template::shared().await.site).await;
    }

    /// Makes a replica, or a writer that was demoted, a writer, and returns when it is one. What it has received is
    /// applied before.
    pub async fn promote(&self) {
        let words = self.family().replication();
        self.execute(words.stop_receiving).await;
        self.wait_until_has(&self.received().await).await;
        self.is_reader.store(false, Ordering::Relaxed);
        self.execute(&format!("{}; {}; set global read_only = 0", words.stop, words.forget)).await;
    }

    /// Makes a writer read-only, as its configuration can; it waits for statements there are.
    pub async fn demote(&self) {
        self.is_reader.store(true, Ordering::Relaxed);
        self.execute("set global read_only = 1").await;
    }

    /// Makes a running replica, or a new server, follow `primary`.
    pub async fn repoint(&self, primary: &Self) {
        let words = self.family().replication();
        let follow = self.family().follow(primary.admin_port);
        self.execute(&format!("{}; {follow}; {}", words.stop, words.start)).await;
    }

    /// Starts a server that was killed or stopped as a replica of another one, on the same port, with the other's data.
    pub async fn start_again_as_replica_of(&self, primary: &Self) {
        assert!(!self.is_running(), "{self} is still running");
        self.site.remove_data();
        self.copy_template().await;
        self.is_reader.store(true, Ordering::Relaxed);
        self.start_again().await;
        self.let_in_without_tls().await;
        // A server passes over what it has written itself, and this one may have: it gets that under another name.
        let id = self.server_id();
        self.execute(&format!("set global server_id = {}", id + u32::from(u16::MAX))).await;
        self.repoint(primary).await;
        self.wait_until_has(&primary.position().await).await;
        let words = self.family().replication();
        self.execute(&format!("{}; set global server_id = {id}; {}", words.stop, words.start)).await;
    }

    /// Whether this server was told to follow another one, be that one alive or not.
    pub async fn is_replica(&self) -> bool {
        self.source().await.is_some()
    }

    /// Whether this server is connected to `primary` as its replica.
    pub async fn follows(&self, primary: &Self) -> bool {
        let Some(source) = self.source().await else { return false };
        let words = self.family().replication();
        text(&source, words.receives) == "Yes" && text(&source, words.source_port) == primary.admin_port.to_string()
    }

    /// Lets a replica that was started again go on.
    pub(super) async fn follow_again(&self) {
        if self.is_replica().await {
            self.execute(self.family().replication().go_on).await;
        }
    }

    /// Everything there is on this server, as a GTID position.
    pub async fn position(&self) -> String {
        text(&self.rows(self.family().replication().position).await[0], "position").replace('\n', "")
    }

    /// Everything this replica has received, applied or not.
    pub async fn received(&self) -> String {
        let received = self.family().replication().received;
        let received = self.source().await.map_or_else(String::new, |source| text(&source, received));
        if self.family() == Family::MariaDb {
            return received;
        }
        // MySQL tells only of what it has received since it was started; as one set with what it has.
        let all = format!("{received},{}", self.position().await).replace('\n', "");
        text(&self.rows(&format!("select gtid_subtract('{all}', '') as received")).await[0], "received")
            .replace('\n', "")
    }

    /// Waits until this replica has applied everything up to a position.
    pub async fn wait_until_has(&self, position: &str) {
        let wait = self.family().wait_for(position, CATCH_UP_LIMIT.as_secs());
        if text(&self.rows(&wait).await[0], "waited") != "0" {
            let state = self.replication().await;
            panic!("{self} lacks {position} after {CATCH_UP_LIMIT:?}: {state}");
        }
    }

    /// How the replica says that it is, for a message.
    pub async fn replication(&self) -> String {
        let Some(source) = self.source().await else { return "it follows nobody".to_owned() };
        let words = self.family().replication();
        let names = [
            words.source_port,
            words.receives,
            words.applies,
            words.received,
            "Last_Error",
            "Last_SQL_Error",
            "Last_IO_Error",
        ];
        names.map(|name| format!("{name}: {}", text(&source, name))).join(", ")
    }

    async fn source(&self) -> Option<MySqlRow> {
        self.rows("show replica status").await.pop()
    }
}

/// Whatever the column's type, a text was asked for and a text came.
fn text(row: &MySqlRow, column: &str) -> String {
    row.try_get_unchecked::<Option<String>, _>(column).ok().flatten().unwrap_or_default()
}
