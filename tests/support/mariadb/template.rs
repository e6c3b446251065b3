//! Data to start from, and the programs that make and serve it.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use tokio::sync::OnceCell;

use super::super::{
    keeper::Account,
    servers::{self, Family, Servers},
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
        site.write("statements.sql", &statements_of_a_new_server(installation.family));
        let file = format!("--defaults-file={}", site.path("server.cnf").display());
        match installation.family {
            Family::MariaDb => {
                let mut create = installation.command("mariadb-install-db");
                // The administrator needs no password.
                let login = "--auth-root-authentication-method=normal";
                create.args([&file, login, "--skip-test-db", "--skip-name-resolve"]);
                run(create).await;
                let statements = File::open(site.path("statements.sql")).expect("the statements were just written");
                let mut execute = installation.command("mariadbd");
                execute.args([&file, "--bootstrap"]).stdin(statements);
                run(execute).await;
            }
            Family::MySql => {
                let mut create = installation.command("mysqld");
                create.args([&file, "--initialize-insecure"]);
                create.arg(format!("--init-file={}", site.path("statements.sql").display()));
                run(create).await;
                // A server's name for itself among those that replicate: each makes its own when it starts.
                fs::remove_file(site.data().join("auto.cnf")).expect("MySQL has named the server");
            }
        }
        Self { installation, site }
    }
}

/// One statement a line.
fn statements_of_a_new_server(family: Family) -> String {
    let accounts = ["app@'%' require ssl", "lim@'%' require ssl with max_user_connections 3", "plain@'%'"];
    let account = |account: &str| {
        let (name, options) = account.split_once(' ').unwrap_or((account, ""));
        format!("create user {name} identified by '{APP_PASSWORD}' {options};\ngrant all on app.* to {name};\n")
    };
    let (first, last) = (family.first_statements(), family.last_statements());
    format!("{first}create database app character set utf8mb4;\n{}{last}", accounts.map(account).concat())
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
        ("innodb_data_file_path", "ibdata1:12M:autoextend".to_owned()),
        ("innodb_autoextend_increment", "4".to_owned()),
        ("key_buffer_size", "1M".to_owned()),
        ("table_open_cache", "200".to_owned()),
    ];
    let line = |(name, value): &(&str, String)| format!("{name} = \"{value}\"\n");
    let of_family = Servers::family().settings_of_data();
    let (ours, further): (String, String) =
        (ours.iter().chain(&of_family).map(line).collect(), further.into_iter().map(line).collect());
    format!("[mysqld]\n{ours}{further}")
}

/// The server programs of this machine and the user they run as.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    places: Vec<PathBuf>,
    pub(super) account: Account,
    pub(super) family: Family,
}

impl Installation {
    fn find() -> Self {
        let places = match Servers::folder() {
            Some(folder) => vec![folder.join("usr/sbin")],
            None => servers::places(&["/usr/sbin", "/usr/local/mysql/bin", "/opt/homebrew/opt/mariadb/bin"]),
        };
        let family = Servers::family();
        let installation = Self { places, account: Account::unprivileged(&["mysql", "nobody"]), family };
        // MariaDB's last one is what its second calls, of another package.
        let programs: &[_] = family.either(&["mariadbd", "mariadb-install-db", "my_print_defaults"], &["mysqld"]);
        for program in programs {
            installation.program(program);
        }
        installation
    }

    /// The server's own program.
    pub(super) fn server(&self) -> PathBuf {
        self.program(self.family.either("mariadbd", "mysqld"))
    }

    /// Where a program is.
    fn program(&self, name: &str) -> PathBuf {
        let found = self.places.iter().map(|place| place.join(name)).find(|program| program.is_file());
        found.unwrap_or_else(|| Servers::missing(name, "mariadb-server-core mariadb-client-core"))
    }

    fn command(&self, program: &str) -> Command {
        site::command(self.account, self.program(program))
    }
}
