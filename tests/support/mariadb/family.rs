//! MariaDB and MySQL side by side: the same things under different names.

use super::super::servers::{Family, Servers};

/// What a server is told and asked about replication, in its own words.
#[derive(Debug)]
pub(super) struct Replication {
    pub(super) stop: &'static str,
    pub(super) start: &'static str,
    pub(super) stop_receiving: &'static str,
    /// Ends being a replica.
    pub(super) forget: &'static str,
    /// Everything there is on a server.
    pub(super) position: &'static str,
    /// Lets a replica that was started again go on. After a crash in the middle of a statement that is no transaction
    /// MariaDB's binary log knows better than its position how far it was: what is logged there was done. MySQL has one
    /// position only.
    pub(super) go_on: &'static str,
    /// Columns of `show replica status`.
    pub(super) receives: &'static str,
    pub(super) applies: &'static str,
    pub(super) received: &'static str,
    pub(super) source_port: &'static str,
}

const MARIADB: Replication = Replication {
    stop: "stop slave",
    start: "start slave",
    stop_receiving: "stop slave io_thread",
    forget: "reset slave all",
    position: "select @@global.gtid_binlog_pos as position",
    go_on: "set global gtid_slave_pos = @@global.gtid_binlog_pos; start slave",
    receives: "Slave_IO_Running",
    applies: "Slave_SQL_Running",
    received: "Gtid_IO_Pos",
    source_port: "Master_Port",
};

const MYSQL: Replication = Replication {
    stop: "stop replica",
    start: "start replica",
    stop_receiving: "stop replica io_thread",
    forget: "reset replica all",
    position: "select @@global.gtid_executed as position",
    go_on: "start replica",
    receives: "Replica_IO_Running",
    applies: "Replica_SQL_Running",
    received: "Retrieved_Gtid_Set",
    source_port: "Source_Port",
};

/// Semi-synchronous replication: what switches it on, and how it is told that it is.
#[derive(Debug)]
pub(crate) struct SemiSync {
    pub(crate) on_a_replica: &'static str,
    /// Longer than any test waits.
    pub(crate) on_the_source: &'static str,
    pub(crate) status: &'static str,
    pub(crate) clients: &'static str,
    pub(crate) is_on: &'static str,
}

impl Family {
    pub(super) fn replication(self) -> &'static Replication {
        self.either(&MARIADB, &MYSQL)
    }

    /// Makes a server that does not replicate follow the one whose administrators come in at `port`.
    pub(super) fn follow(self, port: u16) -> String {
        match self {
            Self::MariaDb => format!(
                "change master to master_host = '127.0.0.1', master_port = {port}, master_user = 'root', master_ssl = 0, \
                 master_use_gtid = slave_pos, master_connect_retry = 1, master_heartbeat_period = 1"
            ),
            Self::MySql => format!(
                "change replication source to source_host = '127.0.0.1', source_port = {port}, source_user = 'root', \
                 source_ssl = 0, source_auto_position = 1, source_connect_retry = 1, source_retry_count = 86400, \
                 source_heartbeat_period = 1"
            ),
        }
    }

    /// Waits until everything up to a position is applied, and says 0 then.
    pub(super) fn wait_for(self, position: &str, seconds: u64) -> String {
        let wait = self.either("master_gtid_wait", "wait_for_executed_gtid_set");
        format!("select {wait}('{position}', {seconds}) as waited")
    }

    pub(crate) fn semi_sync(self) -> SemiSync {
        self.either(
            SemiSync {
                on_a_replica: "stop slave; set global rpl_semi_sync_slave_enabled = 1; start slave",
                on_the_source: "set global rpl_semi_sync_master_timeout = 600000, rpl_semi_sync_master_enabled = 1",
                status: "information_schema.global_status",
                clients: "RPL_SEMI_SYNC_MASTER_CLIENTS",
                is_on: "RPL_SEMI_SYNC_MASTER_STATUS",
            },
            SemiSync {
                on_a_replica: "stop replica; set global rpl_semi_sync_replica_enabled = 1; start replica",
                on_the_source: "set global rpl_semi_sync_source_timeout = 600000, rpl_semi_sync_source_enabled = 1",
                status: "performance_schema.global_status",
                clients: "Rpl_semi_sync_source_clients",
                is_on: "Rpl_semi_sync_source_status",
            },
        )
    }

    /// How long a position is: the number of the last transaction of MariaDB's one domain (`0-15001-17`), or how many
    /// there are in MySQL's sets (`uuid:1-17:20,uuid:1-3`).
    pub(crate) fn length(self, position: &str) -> u64 {
        match self {
            Self::MariaDb => position.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0),
            Self::MySql => {
                let sets = position.split(',').filter_map(|set| Some(set.split_once(':')?.1));
                let count = |interval: &str| {
                    let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
                    Some(last.trim().parse::<u64>().ok()? - first.trim().parse::<u64>().ok()? + 1)
                };
                sets.flat_map(|set| set.split(':')).filter_map(count).sum()
            }
        }
    }

    /// What only this family's programs know of the settings of data, whoever works on it.
    pub(super) fn settings_of_data(self) -> Vec<(&'static str, String)> {
        match self {
            Self::MariaDb => [
                ("performance_schema", "0"),
                ("innodb_log_file_size", "8M"),
                ("innodb_temp_data_file_path", "ibtmp1:4M:autoextend"),
                ("aria_log_file_size", "8M"),
                ("aria_pagecache_buffer_size", "8M"),
            ]
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
            Self::MySql => {
                let folder = Servers::folder().expect("only a folder has MySQL").join("usr");
                let place = |inside: &str| folder.join(inside).display().to_string();
                let fixed = [
                    ("innodb_redo_log_capacity", "16M"),
                    ("innodb_temp_data_file_path", "ibtmp1:12M:autoextend"),
                    // Pages that are torn when the machine dies; see above.
                    ("innodb_doublewrite", "OFF"),
                    // The certificates are our own.
                    ("auto_generate_certs", "0"),
                    ("mysqlx", "0"),
                    // Its default is a folder of the whole machine, and MariaDB has none.
                    ("secure_file_priv", ""),
                    // For the rows of `seq_1_to_…`.
                    ("cte_max_recursion_depth", "1000000"),
                    // What sessions have is shown by tables of it; what was, by nobody's wish.
                    ("performance_schema", "1"),
                    ("performance_schema_digests_size", "0"),
                    ("performance_schema_events_statements_history_long_size", "0"),
                    ("performance_schema_events_transactions_history_long_size", "0"),
                    ("performance_schema_events_waits_history_long_size", "0"),
                    ("performance_schema_events_stages_history_long_size", "0"),
                ];
                let mut settings = vec![
                    ("basedir", folder.display().to_string()),
                    ("lc_messages_dir", place("share/mysql")),
                    ("character_sets_dir", place("share/mysql/charsets")),
                    ("plugin_dir", place("lib/mysql/plugin")),
                ];
                settings.extend(fixed.map(|(name, value)| (name, value.to_owned())));
                settings
            }
        }
    }

    /// What only this family's servers know: where administrators come in, and how replication is done.
    pub(super) fn settings_of_a_server(self, admin_port: u16) -> Vec<(&'static str, String)> {
        let port = admin_port.to_string();
        match self {
            Self::MariaDb => vec![
                ("extra_port", port),
                ("extra_max_connections", "10".to_owned()),
                ("log_slave_updates", "1".to_owned()),
                ("gtid_strict_mode", "1".to_owned()),
                // See `follow_again`.
                ("skip_slave_start", "1".to_owned()),
            ],
            Self::MySql => vec![
                ("admin_address", "127.0.0.1".to_owned()),
                ("admin_port", port),
                ("gtid_mode", "ON".to_owned()),
                ("enforce_gtid_consistency", "ON".to_owned()),
                // What was received when a server was killed is fetched again.
                ("relay_log_recovery", "1".to_owned()),
                ("skip_replica_start", "1".to_owned()),
                ("plugin_load_add", "semisync_source.so;semisync_replica.so".to_owned()),
                // Tells of sessions that ended without a word, as MariaDB does.
                ("log_error_verbosity", "3".to_owned()),
            ],
        }
    }

    /// The first statements of new data, before there is any account. MariaDB learns that there are accounts at all, in
    /// the mode it executes these in; its administrator was made with the data. MySQL's may come by TCP too, and what
    /// MariaDB's sequence engine has is a view there.
    pub(super) fn first_statements(self) -> String {
        match self {
            Self::MariaDb => "flush privileges;\n".to_owned(),
            Self::MySql => "create user root@'127.0.0.1';\ngrant all on *.* to root@'127.0.0.1' with grant option;\n\
                            grant proxy on ''@'' to root@'127.0.0.1' with grant option;\n"
                .to_owned(),
        }
    }

    /// The last ones: the database `app` is there. MySQL shows of sessions in tables that need a right.
    pub(super) fn last_statements(self) -> String {
        match self {
            Self::MariaDb => String::new(),
            Self::MySql => {
                let row = |last: u32| {
                    format!(
                        "create sql security invoker view app.seq_1_to_{last} as with recursive numbers (seq) as \
                         (select 1 union all select seq + 1 from numbers where seq < {last}) select seq from numbers;\n"
                    )
                };
                let accounts = ["app", "lim", "plain"];
                let see = |account: &str| format!("grant select on performance_schema.* to {account};\n");
                SERIES.iter().map(|last| row(*last)).chain(accounts.map(see)).collect()
            }
        }
    }
}

/// The series that tests ask for.
const SERIES: [u32; 11] = [2, 3, 4, 5, 7, 9, 300, 5000, 10_000, 20_000, 50_000];
