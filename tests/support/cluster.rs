//! A primary and its streaming replicas that answer like an Aurora or a Multi-AZ DB cluster.
//!
//! What AWS adds to PostgreSQL are a few functions. They are made on the primary before the replicas are, and each node
//! answers from its own view: its name is `cluster_name`, which is per node and not replicated, and the writer is
//! itself, or whoever it streams from. So a replica that has lost its primary tells of no writer, and one whose primary
//! is suspended goes on to name it: views are as partial and as stale as real ones.
//!
//! What is not like AWS: the storage is not shared, a demoted node does not restart by itself, and there is no endpoint
//! whose DNS follows the writer.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::sleep;

use super::postgres::{Postgres, PostgresOptions};

/// How long a cluster may take until something comes true.
const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// Which functions the nodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imitation {
    /// `pg_catalog.aurora_replica_status()` and `pg_catalog.aurora_db_instance_identifier()`.
    Aurora,
    /// The extension `rds_tools`, in a schema that `app` may use.
    MultiAz,
    /// None: streaming replication of one's own.
    Nothing,
}

/// See the module. Dropping it ends all nodes.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Postgres>,
}

impl Cluster {
    /// A primary, node 0, and `replicas` of it, all of which accept connections and stream.
    pub async fn start(imitation: Imitation, replicas: usize) -> Self {
        Self::start_with(imitation, replicas, PostgresOptions::default()).await
    }

    /// As [`start`](Self::start), with options that all nodes share.
    pub async fn start_with(imitation: Imitation, replicas: usize, mut options: PostgresOptions) -> Self {
        let name = |node: usize| [("cluster_name", id(node))];
        options.settings.extend(name(0));
        let primary = Postgres::start(options).await;
        primary.execute(STAGE).await;
        match imitation {
            Imitation::Aurora => primary.execute(AURORA).await,
            Imitation::MultiAz => primary.execute(MULTI_AZ).await,
            Imitation::Nothing => {}
        }
        let mut cluster = Self { nodes: vec![primary] };
        for node in 1..=replicas {
            let replica = cluster.nodes[0].replica_with(&name(node)).await;
            cluster.nodes.push(replica);
        }
        for (node, server) in cluster.nodes.iter().enumerate() {
            let member = format!("insert into stage.members values ('{}', {})", id(node), server.port());
            cluster.nodes[0].execute(&member).await;
        }
        for node in 1..=replicas {
            cluster.wait_until_follows(node, 0).await;
        }
        cluster
    }

    /// A node by its number: 0 is the first primary.
    pub fn node(&self, node: usize) -> &Postgres {
        &self.nodes[node]
    }

    /// The authority behind all nodes' certificates.
    pub fn ca_pem(&self) -> &[u8] {
        self.nodes[0].ca_pem()
    }

    /// All nodes, for `instances(..)`.
    pub fn instances(&self) -> Vec<(String, String, u16)> {
        let instance = |(node, server): (usize, &Postgres)| (id(node), server.host().to_owned(), server.port());
        self.nodes.iter().enumerate().map(instance).collect()
    }

    /// Kills the writer like a crash, promotes `to`, makes the other living replicas follow it, and says when `to` first
    /// took a write. What was written before the call is not lost: at AWS the storage is shared.
    pub async fn fail_over(&self, from: usize, to: usize) -> Instant {
        self.wait_until_follows(to, from).await;
        self.nodes[from].kill().await;
        self.promote(to).await
    }

    /// Promotes a replica, makes the other living replicas follow it, and says when it first took a write. The old writer
    /// is left as it is: alive and unaware, suspended or dead.
    pub async fn promote(&self, to: usize) -> Instant {
        let watch = self.watch_for_writes(to).await;
        let (first_write, ()) = tokio::join!(watch, self.nodes[to].promote());
        for (node, server) in self.nodes.iter().enumerate() {
            if node != to && server.is_running() && !server.is_suspended() && is_replica(server).await {
                server.repoint(&self.nodes[to]).await;
            }
        }
        first_write
    }

    /// Tells when a node first takes a write: a future that is ready to look before anybody promotes.
    pub async fn watch_for_writes(&self, node: usize) -> impl Future<Output = Instant> + use<> {
        let mut admin = self.nodes[node].admin().await;
        async move {
            let deadline = Instant::now() + WAIT_LIMIT;
            while let Err(error) = write(&mut admin).await {
                assert!(Instant::now() < deadline, "it took no write within {WAIT_LIMIT:?}: {error}");
                sleep(Duration::from_millis(1)).await;
            }
            Instant::now()
        }
    }

    /// One more replica of `writer`; its number is the next.
    pub async fn add_replica(&mut self, writer: usize) {
        let node = self.nodes.len();
        let replica = self.nodes[writer].replica_with(&[("cluster_name", id(node))]).await;
        let member = format!("insert into stage.members values ('{}', {})", id(node), replica.port());
        self.nodes.push(replica);
        self.nodes[writer].execute(&member).await;
        self.wait_until_follows(node, writer).await;
    }

    /// From now on `writer` acknowledges a commit when one replica has applied it: a promotion loses nothing of that.
    pub async fn acknowledge_late(&self, writer: usize) {
        let mut admin = self.nodes[writer].admin().await;
        for sql in [
            "alter system set synchronous_commit = 'remote_apply'",
            "alter system set synchronous_standby_names = '*'",
            "select pg_reload_conf()",
        ] {
            let done = sqlx::raw_sql(sql).execute(&mut admin).await;
            done.unwrap_or_else(|error| panic!("node {writer} does not wait for its replicas: {error}"));
        }
        let question = "select exists (select from pg_stat_replication where sync_state = 'sync')";
        let deadline = Instant::now() + WAIT_LIMIT;
        while !scalar::<bool>(&self.nodes[writer], question).await {
            assert!(Instant::now() < deadline, "node {writer} has no synchronous replica after {WAIT_LIMIT:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Brings a dead node back as a replica of `writer`, on its old port; what it had written alone is lost.
    pub async fn rejoin(&self, node: usize, writer: usize) {
        self.nodes[node].start_again_as_replica_of(&self.nodes[writer]).await;
        self.wait_until_follows(node, writer).await;
    }

    /// Waits until a node streams from `writer` and has all that is there now.
    pub async fn wait_until_follows(&self, node: usize, writer: usize) {
        let target: String = scalar(&self.nodes[writer], "select pg_current_wal_lsn()::text").await;
        let question = format!(
            "select exists (select from pg_stat_wal_receiver where sender_port = {} and status = 'streaming') \
                and coalesce(pg_last_wal_replay_lsn() >= '{target}'::pg_lsn, false)",
            self.nodes[writer].port()
        );
        let deadline = Instant::now() + WAIT_LIMIT;
        while !scalar::<bool>(&self.nodes[node], &question).await {
            assert!(Instant::now() < deadline, "node {node} does not follow node {writer} after {WAIT_LIMIT:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What a node is called, in its own answers and in the API's.
pub fn id(node: usize) -> String {
    format!("stage-{}", node + 1)
}

async fn write(admin: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("insert into stage.writes default values").execute(admin).await.map(|_| ())
}

async fn is_replica(server: &Postgres) -> bool {
    scalar(server, "select pg_is_in_recovery()").await
}

async fn scalar<T>(server: &Postgres, sql: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let asked = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut server.admin().await).await;
    asked.unwrap_or_else(|error| panic!("{server} did not answer `{sql}`: {error}"))
}

/// Who there is, and a place for the writes that show a writer. A member's row reaches the replicas like any other.
const STAGE: &str = "
    create schema stage;
    grant usage on schema stage to public;
    create table stage.members (id text primary key, port int not null);
    create table stage.writes (at timestamptz not null default clock_timestamp());
    -- An ordinary role sees nothing of the receiver.
    create function stage.writer() returns text language sql volatile security definer
      set search_path = pg_catalog as $$
        select case when not pg_is_in_recovery() then current_setting('cluster_name')
          else (select m.id from pg_stat_wal_receiver r join stage.members m on m.port = r.sender_port
                 where r.status = 'streaming') end
      $$;
    create function stage.seen() returns table (id text, port int) language sql volatile security definer
      set search_path = pg_catalog as $$ select m.id, m.port from stage.members m order by m.id $$;
";

/// Columns that are never looked at are left out; <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora_replica_status.html>
/// has them all.
const AURORA: &str = "
    create function pg_catalog.aurora_db_instance_identifier() returns varchar language sql stable as
      $$ select current_setting('cluster_name')::varchar $$;
    create function pg_catalog.aurora_replica_status()
      returns table (server_id text, session_id text, last_update_timestamp timestamptz, replica_lag_in_msec bigint,
                     cpu double precision)
      language sql volatile set search_path = pg_catalog as $$
        select s.id, case when s.id = stage.writer() then 'MASTER_SESSION_ID' else md5(s.id) end,
               case when s.id = current_setting('cluster_name') then null else now() end,
               case when s.id = stage.writer() then null else 12 end::bigint, 1::double precision
          from stage.seen() s
      $$;
";

/// An extension without files: nothing but the catalog knows it, and that is where it is looked for.
const MULTI_AZ: &str = "
    create schema rds_tools;
    create function rds_tools.dbi_resource_id() returns text language sql stable as
      $$ select 'db-' || upper(current_setting('cluster_name')) $$;
    create function rds_tools.multi_az_db_cluster_source_dbi_resource_id() returns text language sql volatile as
      $$ select 'db-' || upper(stage.writer()) $$;
    create function rds_tools.show_topology(client text default '') returns table (id text, endpoint text, port int)
      language sql volatile as $$ select 'db-' || upper(s.id), 'localhost'::text, s.port from stage.seen() s $$;
    grant usage on schema rds_tools to app;
    set allow_system_table_mods = on;
    insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
      select pg_nextoid('pg_extension', 'oid', 'pg_extension_oid_index'), 'rds_tools', 10, 'rds_tools'::regnamespace, false, '1.0';
    alter extension rds_tools add function rds_tools.dbi_resource_id();
    alter extension rds_tools add function rds_tools.multi_az_db_cluster_source_dbi_resource_id();
    alter extension rds_tools add function rds_tools.show_topology(text);
";
