//! What a user has typed and a server has said is no line of the log, or of a report, of its own.

use std::time::Duration;

use lambda_rds::{Connection, Error, Postgres as Pg};

use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::proxy_to;

/// A log in the text format of `tracing-subscriber`.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let format = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        tracing::subscriber::set_default(format.finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Lambda takes each line for a record of its own, and one that begins so for metrics.
fn is_forged(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("{\"_aws\""))
}

/// What a user typed stands in the server's message.
#[tokio::test]
async fn what_a_user_typed_is_no_line_of_the_log() {
    let server = Postgres::start(PostgresOptions::default()).await;
    let log = Log::default();
    let _guard = log.listen();
    let proxy = proxy_to(&server).build().unwrap();
    let mut conn: Connection<Pg> = proxy.get_connection().await.unwrap();
    let typed = "x\n{\"_aws\":{\"CloudWatchMetrics\":[]}}\nlast";
    let error = Error::from(sqlx::query("select ($1::text)::int").bind(typed).execute(&mut conn).await.unwrap_err());
    let report = proxy.report(&error).to_string();
    let _ = lambda_runtime::Diagnostic::from(error);
    assert!(log.text().contains("_aws") && report.contains("_aws"), "it is quoted: {} {report}", log.text());
    assert_eq!((is_forged(&log.text()), is_forged(&report)), (false, false), "in the log, in the report");
}

/// The same by the events: whoever answers in the place of a server, before anything is proven.
#[tokio::test]
async fn what_a_server_says_at_a_login_is_no_line_of_the_log() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let log = Log::default();
    let _guard = log.listen();
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (mut client, _) = door.accept().await.unwrap();
            let mut bytes = [0; 1024];
            let _ = client.read(&mut bytes).await;
            let fields = b"SFATAL\0VFATAL\0C28P01\0Mx\n{\"_aws\":{}}\nlast\0\0";
            let mut message = vec![b'E'];
            message.extend_from_slice(&u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
            message.extend_from_slice(fields);
            let _ = client.write_all(&message).await;
        }
    });
    let url = format!("postgres://app:x@127.0.0.1:{port}/app?sslmode=disable");
    let proxy = lambda_rds::PgProxy::builder().url(url).borrow_timeout(Duration::from_secs(2)).build().unwrap();
    let error = proxy.get_connection().await.unwrap_err();
    let report = proxy.report(&error).to_string();
    server.abort();
    assert!(log.text().contains("_aws") && report.contains("_aws"), "it is quoted: {} {report}", log.text());
    assert_eq!((is_forged(&log.text()), is_forged(&report)), (false, false), "in the log, in the report");
}
