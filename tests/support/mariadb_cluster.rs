//! A writer and its replicas that answer like an Aurora MySQL or a Multi-AZ DB cluster: [`cluster`](super::cluster), for
//! MariaDB and MySQL.
//!
//! A node's name is `report_host`; the writer is itself when it takes writes, or else whom it was told to follow, as long
//! as it is connected to that one. A table tells a node whom it follows, since no statement can be asked for that from
//! within another one; it is each node's own and not replicated. In a Multi-AZ cluster a replica goes on to name a writer
//! that is dead, as `show replica status` does.
//!
//! What is not like AWS, beyond what is said there: `information_schema` takes no table of ours, so that Aurora's has
//! another name ([`STATUS`], [`ME`]), and nobody finds it by himself.

use std::time::{Duration, Instant};

use sqlx::MySqlConnection;
use tokio::time::sleep;

pub use super::cluster::{Imitation, id};
use super::{
    mariadb::{MariaDb, MariaDbOptions},
    servers::Servers,
    site::START_LIMIT,
};

/// What is `information_schema.replica_host_status` in Aurora.
pub const STATUS: &str = "stage.replica_host_status";

/// What is `@@aurora_server_id` in Aurora.
pub const ME: &str = "@@report_host";

/// See the module. Dropping it ends all nodes.
#[derive(Debug)]
pub struct MariaDbCluster {
    imitation: Imitation,
    nodes: Vec<MariaDb>,
}

impl MariaDbCluster {
    /// A writer, node 0, and `replicas` of it, all of which accept connections and follow.
    pub async fn start(imitation: Imitation, replicas: usize) -> Self {
        Self::start_with(imitation, replicas, MariaDbOptions::default()).await
    }

    /// As [`start`](Self::start), with options that all nodes share.
    pub async fn start_with(imitation: Imitation, replicas: usize, mut options: MariaDbOptions) -> Self {
        options.settings.extend(name(0));
        let writer = MariaDb::start(options).await;
        writer.execute(&stage()).await;
        match imitation {
            Imitation::Aurora => writer.execute(AURORA).await,
            Imitation::MultiAz => writer.execute(&multi_az()).await,
            Imitation::Nothing => {}
        }
        let mut cluster = Self { imitation, nodes: Vec::new() };
        cluster.add(writer, 0).await;
        for _ in 0..replicas {
            cluster.add_replica(0).await;
        }
        for node in 1..=replicas {
            cluster.wait_until_follows(node, 0).await;
        }
        cluster
    }

    /// A node by its number: 0 is the first writer.
    pub fn node(&self, node: usize) -> &MariaDb {
        &self.nodes[node]
    }

    /// The authority behind all nodes' certificates.
    pub fn ca_pem(&self) -> &[u8] {
        self.nodes[0].ca_pem()
    }

    /// All nodes, for `instances(..)`.
    pub fn instances(&self) -> Vec<(String, String, u16)> {
        let instance = |(node, server): (usize, &MariaDb)| (id(node), server.host().to_owned(), server.port());
        self.nodes.iter().enumerate().map(instance).collect()
    }

    /// Kills the writer, promotes `to`, makes the other living replicas follow it, and says when `to` first took a write.
    /// What was written before the call is not lost: at AWS the storage is shared. What is written during the call is not
    /// lost after [`acknowledge_late`](Self::acknowledge_late).
    pub async fn fail_over(&self, from: usize, to: usize) -> Instant {
        self.wait_until_follows(to, from).await;
        self.nodes[from].kill().await;
        self.promote(to).await
    }

    /// Promotes a replica, makes the other living replicas follow it, and says when it first took a write. The old writer
    /// is left as it is: alive and unaware, suspended or dead.
    pub async fn promote(&self, to: usize) -> Instant {
        let watch = self.watch_for_writes(to).await;
        let others = self.other_replicas(to).await;
        self.catch_up(to, &others).await;
        let (first_write, ()) = tokio::join!(watch, self.nodes[to].promote());
        for node in others {
            self.repoint(node, to).await;
        }
        first_write
    }

    /// Tells when a node first takes a write: a future that is ready to look before anybody promotes.
    pub async fn watch_for_writes(&self, node: usize) -> impl Future<Output = Instant> + use<> {
        // Whom `read_only` stops, unlike the administrator.
        let mut watcher = self.nodes[node].enter_as("watcher").await;
        async move {
            let deadline = Instant::now() + START_LIMIT;
            while let Err(error) = write(&mut watcher).await {
                assert!(Instant::now() < deadline, "it took no write within {START_LIMIT:?}: {error}");
                sleep(Duration::from_millis(1)).await;
            }
            Instant::now()
        }
    }

    /// One more replica of `writer`; its number is the next.
    pub async fn add_replica(&mut self, writer: usize) {
        let node = self.nodes.len();
        let replica = self.nodes[writer].replica_with(&name(node)).await;
        self.add(replica, writer).await;
        self.remember(node, writer).await;
        self.wait_until_follows(node, writer).await;
    }

    /// From now on `writer` acknowledges a commit when a replica has received it: a promotion loses nothing of that.
    /// Replicas that come later have no part in it.
    pub async fn acknowledge_late(&self, writer: usize) {
        let replicas = self.other_replicas(writer).await;
        for &node in &replicas {
            let sql = self.nodes[node].family().semi_sync().on_a_replica;
            self.nodes[node].execute(sql).await;
        }
        let writer = &self.nodes[writer];
        let words = writer.family().semi_sync();
        writer.execute(words.on_the_source).await;
        let (status, clients, is_on) = (words.status, words.clients, words.is_on);
        let question = format!(
            "select 1 from {status} c, {status} s \
             where c.variable_name = '{clients}' and c.variable_value >= {} \
               and s.variable_name = '{is_on}' and s.variable_value = 'ON'",
            replicas.len().max(1)
        );
        let deadline = Instant::now() + START_LIMIT;
        while writer.rows(&question).await.is_empty() {
            assert!(Instant::now() < deadline, "{writer} has too few semi-synchronous replicas after {START_LIMIT:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Brings a dead node back as a replica of `writer`, on its old port; what it had written alone is lost.
    pub async fn rejoin(&self, node: usize, writer: usize) {
        self.nodes[node].start_again_as_replica_of(&self.nodes[writer]).await;
        self.remember(node, writer).await;
        self.wait_until_follows(node, writer).await;
    }

    /// Makes a living node follow another one.
    pub async fn repoint(&self, node: usize, writer: usize) {
        self.nodes[node].repoint(&self.nodes[writer]).await;
        self.remember(node, writer).await;
    }

    /// Waits until a node is connected to `writer` and has all that is there now.
    pub async fn wait_until_follows(&self, node: usize, writer: usize) {
        let (node, writer) = (&self.nodes[node], &self.nodes[writer]);
        node.wait_until_has(&writer.position().await).await;
        let deadline = Instant::now() + START_LIMIT;
        while !node.follows(writer).await {
            if Instant::now() > deadline {
                panic!("{node} does not follow {writer} after {START_LIMIT:?}: {}", node.replication().await);
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The living replicas but one.
    async fn other_replicas(&self, but: usize) -> Vec<usize> {
        let mut found = Vec::new();
        for (node, server) in self.nodes.iter().enumerate() {
            if node != but && server.is_running() && !server.is_suspended() && server.is_replica().await {
                found.push(node);
            }
        }
        found
    }

    /// Where the storage is shared nobody has what another one lacks, and here a replica could not follow one that lacks
    /// something.
    async fn catch_up(&self, to: usize, others: &[usize]) {
        let family = Servers::family();
        let (mut best, mut most) = (to, family.length(&self.nodes[to].received().await));
        for &node in others {
            let received = family.length(&self.nodes[node].received().await);
            if received > most {
                (best, most) = (node, received);
            }
        }
        if best != to {
            let received = self.nodes[best].received().await;
            self.nodes[to].repoint(&self.nodes[best]).await;
            self.nodes[to].wait_until_has(&received).await;
        }
    }

    /// A new member, which reaches the replicas like any other row.
    async fn add(&mut self, server: MariaDb, writer: usize) {
        let (name, number, port) = (id(self.nodes.len()), server.server_id(), server.port());
        let mut sql = format!("insert into stage.members values ('{name}', {port});");
        if self.imitation == Imitation::MultiAz {
            sql += &format!("insert into mysql.rds_topology values ({number}, '{}', {port})", server.host());
        }
        self.nodes.push(server);
        self.nodes[writer].execute(&sql).await;
    }

    async fn remember(&self, node: usize, writer: usize) {
        let sql = format!(
            "set sql_log_bin = 0; delete from stage.source; insert into stage.source values ('{}')",
            id(writer)
        );
        self.nodes[node].execute(&sql).await;
    }
}

fn name(node: usize) -> [(&'static str, String); 1] {
    [("report_host", id(node))]
}

async fn write(watcher: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("insert into stage.writes values ()").execute(watcher).await.map(|_| ())
}

/// Who there is, and a place for the writes that show a writer.
fn stage() -> String {
    // How the list of sessions shows a receiver that is connected.
    let receives = Servers::family().either(
        "command = 'Slave_IO' and (state like 'Waiting for master%' or state like 'Queueing master%')",
        "user = 'system user' and (state like 'Waiting for source%' or state like 'Queueing source%')",
    );
    format!(
        "create database stage;
         create table stage.members (id varchar(60) primary key, port int not null);
         create table stage.source (id varchar(60) not null);
         create table stage.writes (at timestamp(6) not null default current_timestamp(6));
         create user watcher@'127.0.0.1';
         grant select on app.* to watcher@'127.0.0.1';
         grant insert on stage.writes to watcher@'127.0.0.1';
         -- An ordinary account sees nothing of the receiver.
         create function stage.writer() returns varchar(60) reads sql data sql security definer
           return case when not @@global.read_only then @@report_host
             else (select s.id from stage.source s where exists (
               select 1 from information_schema.processlist where {receives})) end"
    )
}

/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/AuroraMySQL.Reference.ISTables.html>; columns that are
/// never looked at are left out.
const AURORA: &str = "
    create view stage.replica_host_status as
      select m.id as server_id,
             if(m.id = w.id, 'MASTER_SESSION_ID', sha2(m.id, 256)) as session_id,
             now(6) as last_update_timestamp,
             cast(if(m.id = w.id, 0, 12) as double) as replica_lag_in_milliseconds
        from stage.members m left join (select stage.writer() as id) w on true;
    grant select on stage.replica_host_status to app@'%';
";

/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/multi-az-db-clusters-concepts-connection-management.html>
fn multi_az() -> String {
    format!(
        "create table mysql.rds_topology
           (id bigint unsigned primary key, endpoint varchar(255) not null, port int not null);
         grant select on mysql.rds_topology to app@'%';
         grant {} on *.* to app@'%'",
        see_replication()
    )
}

/// The right that `show replica status` takes.
pub fn see_replication() -> &'static str {
    Servers::family().either("replica monitor", "replication client")
}
