//! Data to start from, and the programs that make and serve it.

use std::{env, fs::File, path::PathBuf, process::Command};

use tokio::sync::OnceCell;

use super::super::{
    keeper::Account,
    site::{self, APP_PASSWORD, Site, run},
};

/// A data directory with our accounts and database in it. Copying it is much faster than making it.
pub(super) struct Template {
    pub(super) installation: Installation,
    /// Gone when this process ends.
    pub(super) site: Site,
}

impl Template {
    /// The template of this process.
    pub(super) async fn shared() -> &'static Self {
        static TEMPLATE: OnceCell<Template> = OnceCell::const_new();
        TEMPLATE.get_or_init(Self::make).await
    }

    async fn make() -> Self {
        let installation = Installation::find();
        let site = Site::new(installation.account);
        site.write("server.cnf", &settings_file(&site, &[]));
        let file = format!("--defaults-file={}", site.path("server.cnf").display());
        let mut create = installation.command("mariadb-install-db");
        // The administrator needs no password.
        create.args([&file, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        run(create).await;

        site.write("statements.sql", &statements_of_a_new_server());
        let statements = File::open(site.path("statements.sql")).expect("the statements were just written");
        let mut execute = installation.command("mariadbd");
        execute.args([&file, "--bootstrap"]).stdin(statements);
        run(execute).await;
        Self { installation, site }
    }
}

/// The first one makes the server know of accounts at all, in the mode it executes these in.
fn statements_of_a_new_server() -> String {
    let accounts = ["app@'%' require ssl", "lim@'%' require ssl with max_user_connections 3", "plain@'%'"];
    let account = |account: &str| {
        let (name, options) = account.split_once(' ').unwrap_or((account, ""));
        format!("create user {name} identified by '{APP_PASSWORD}' {options};\ngrant all on app.* to {name};\n")
    };
    format!("flush privileges;\ncreate database app character set utf8mb4;\n{}", accounts.map(account).concat())
}

/// What a server's program reads. Whatever works on the same data is told of the same files.
pub(super) fn settings_file<'a>(site: &Site, further: impl IntoIterator<Item = &'a (&'static str, String)>) -> String {
    let ours = [
        ("datadir", site.data().display().to_string()),
        // A server that starts removes what others have left there, and does not ask whether they are still at it.
        ("tmpdir", site.directory().display().to_string()),
        // Relative to the data: the whole path may be longer than a socket's may.
        ("socket", "server.sock".to_owned()),
        ("pid_file", "server.pid".to_owned()),
        ("skip_name_resolve", "1".to_owned()),
        ("performance_schema", "0".to_owned()),
        // Small and quick: this data need not survive the machine. It survives the server, as acknowledged data should:
        // each commit is handed to the system, which is what 2 means.
        ("innodb_flush_log_at_trx_commit", "2".to_owned()),
        ("innodb_flush_method", "nosync".to_owned()),
        // Many servers of one user run into the limits of the other kind.
        ("innodb_use_native_aio", "0".to_owned()),
        ("sync_binlog", "0".to_owned()),
        ("innodb_buffer_pool_size", "16M".to_owned()),
        ("innodb_buffer_pool_dump_at_shutdown", "0".to_owned()),
        ("innodb_buffer_pool_load_at_startup", "0".to_owned()),
        ("innodb_log_file_size", "8M".to_owned()),
        ("innodb_data_file_path", "ibdata1:12M:autoextend".to_owned()),
        ("innodb_temp_data_file_path", "ibtmp1:4M:autoextend".to_owned()),
        ("innodb_autoextend_increment", "4".to_owned()),
        ("aria_log_file_size", "8M".to_owned()),
        ("aria_pagecache_buffer_size", "8M".to_owned()),
        ("key_buffer_size", "1M".to_owned()),
        ("table_open_cache", "200".to_owned()),
    ];
    let line = |(name, value): &(&str, String)| format!("{name} = \"{value}\"\n");
    let (ours, further): (String, String) = (ours.iter().map(line).collect(), further.into_iter().map(line).collect());
    format!("[mysqld]\n{ours}{further}")
}

/// The server programs of this machine and the user they run as.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    places: Vec<PathBuf>,
    pub(super) account: Account,
}

impl Installation {
    fn find() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = env::split_paths(&path).collect();
        places.extend(["/usr/sbin", "/usr/local/mysql/bin", "/opt/homebrew/opt/mariadb/bin"].map(PathBuf::from));
        let installation = Self { places, account: Account::unprivileged(&["mysql", "nobody"]) };
        // The last one is what the second calls, of another package.
        for program in ["mariadbd", "mariadb-install-db", "my_print_defaults"] {
            installation.program(program);
        }
        installation
    }

    /// Where a program is.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        let found = self.places.iter().map(|place| place.join(name)).find(|program| program.is_file());
        found.unwrap_or_else(|| {
            panic!(
                "MariaDB's program {name} not found; install the server programs with: \
                 apt-get install -y --no-install-recommends mariadb-server-core mariadb-client-core"
            )
        })
    }

    fn command(&self, program: &str) -> Command {
        site::command(self.account, self.program(program))
    }
}
