//! A server that answers this crate's own texts with rows without end: whatever reads them, others on the thread have their
//! turn. What comes in the place of an answer that was dropped the driver reads by itself (`.github/upstream/standstill.md`).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use lambda_rds::{Connection, Error, PgProxy, Postgres, ProxyBuilder, Tls};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::time::{sleep, timeout};

use crate::support::http::lock;

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

/// How long this thread has had a processor.
fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a length of time")
}

/// The longest time for which nothing else had its turn on the thread that does this work, as a timer of 2 ms beside it
/// sees that. The thread's own time is counted: how busy the machine is otherwise makes no difference.
fn longest_pause<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) -> Duration {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let longest = Arc::new(Mutex::new(Duration::ZERO));
        let seen = Arc::clone(&longest);
        runtime.block_on(async move {
            let ticks = tokio::spawn(async move {
                loop {
                    let before = own_time();
                    sleep(Duration::from_millis(2)).await;
                    let mut longest = lock(&seen);
                    *longest = longest.max(own_time() - before);
                }
            });
            sleep(Duration::from_millis(5)).await;
            let _ = timeout(Duration::from_secs(20), work()).await;
            sleep(Duration::from_millis(5)).await;
            ticks.abort();
        });
        let longest = *lock(&longest);
        let _ = tell.send(longest);
    });
    told.recv_timeout(Duration::from_secs(40)).unwrap_or(Duration::from_secs(40))
}

#[derive(Debug, Clone)]
enum Say {
    /// Columns (name, type) and one row of texts.
    Row(Vec<(&'static str, i32, &'static str)>),
    Value(i32, String),
    Done,
    /// Empty rows until this time is over; then it hangs up.
    Flood(Duration),
    Never,
}

const BOOL: i32 = 16;
const INT8: i32 = 20;
const TEXT: i32 = 25;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn described(columns: &[(&str, i32)]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (name, oid) in columns {
        body.extend(name.as_bytes());
        body.push(0);
        body.extend([0; 6]);
        body.extend(oid.to_be_bytes());
        body.extend((-1_i16).to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        body.extend([0; 2]);
    }
    message(b'T', &body)
}

fn row(values: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    message(b'D', &body)
}

const READY: [u8; 6] = [b'Z', 0, 0, 0, 5, b'I'];

type Script = dyn Fn(&str) -> Option<Say> + Send + Sync;

/// A PostgreSQL that is none: it lets everybody in and answers each text as `script` says, or as a lone writer would.
struct Fake {
    port: u16,
    texts: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Fake {
    fn start(script: impl Fn(&str) -> Option<Say> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let fake = Self { port: listener.local_addr().unwrap().port(), texts: Arc::default(), over: Arc::default() };
        let (texts, over) = (Arc::clone(&fake.texts), Arc::clone(&fake.over));
        let script: Arc<Script> = Arc::new(script);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                let (script, texts) = (Arc::clone(&script), Arc::clone(&texts));
                std::thread::spawn(move || serve(socket, &*script, &texts));
            }
        });
        fake
    }

    fn builder(&self) -> ProxyBuilder<Postgres> {
        PgProxy::builder().host("127.0.0.1").port(self.port).tls(Tls::Disable).database("app")
    }
}

fn usual(text: &str) -> Say {
    let has = |part: &str| text.contains(part);
    if has("false_multi_az") {
        return Say::Row(vec![
            ("is_reader", BOOL, "f"),
            ("sessions", INT8, "1"),
            ("aurora", BOOL, "f"),
            ("false_aurora", BOOL, "f"),
            ("multi_az", BOOL, "f"),
            ("false_multi_az", BOOL, "f"),
        ]);
    }
    if has("is_reader") {
        return Say::Row(vec![("is_reader", BOOL, "f"), ("sessions", INT8, "1")]);
    }
    if has("pg_stat_get_backend_idset") {
        return Say::Row(vec![
            ("sessions", INT8, "1"),
            ("slots", INT8, "90"),
            ("of_role", INT8, "-1"),
            ("of_database", INT8, "-1"),
            ("in_database", INT8, "1"),
            ("as_role", INT8, "1"),
            ("ours", INT8, "1"),
            ("reserved", INT8, "0"),
        ]);
    }
    if has("pg_cancel_backend") {
        return Say::Value(BOOL, "t".to_owned());
    }
    if has("pg_stat_get_activity") {
        return Say::Value(TEXT, "1@1".to_owned());
    }
    if let Some(number) = text.strip_prefix("SELECT ").and_then(|rest| rest.strip_suffix("::pg_catalog.int8")) {
        return Say::Value(INT8, number.to_owned());
    }
    Say::Done
}

fn flood(socket: &mut TcpStream, span: Duration) -> std::io::Result<()> {
    let many = row(&[]).repeat(40_000);
    socket.write_all(&described(&[]))?;
    let begun = Instant::now();
    socket.set_write_timeout(Some(span))?;
    while begun.elapsed() < span {
        socket.write_all(&many)?;
    }
    socket.shutdown(Shutdown::Both)
}

/// By which a login asks whether the session is its own, and what it has set it to.
const LOGIN: &str = "lambda_rds.login";

fn mark(startup: &[u8]) -> String {
    let startup = String::from_utf8_lossy(startup);
    let after = startup.split_once(&format!("{LOGIN}=")).map_or("", |(_, after)| after);
    after.chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn serve(
    mut socket: TcpStream,
    script: &(dyn Fn(&str) -> Option<Say> + Send + Sync),
    texts: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = [0; 4];
    socket.read_exact(&mut head)?;
    let mut startup = vec![0; usize::try_from(u32::from_be_bytes(head)).unwrap() - 4];
    socket.read_exact(&mut startup)?;
    let hello = [
        message(b'R', &[0; 4]),
        message(b'S', b"server_version\x0015.0\0"),
        message(b'S', b"standard_conforming_strings\x00on\0"),
        message(b'K', &[0, 0, 0, 1, 0, 0, 0, 1]),
        READY.to_vec(),
    ];
    socket.write_all(&hello.concat())?;
    loop {
        let mut head = [0; 5];
        socket.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        socket.read_exact(&mut body)?;
        if head[0] != b'Q' {
            if head[0] == b'X' {
                return Ok(());
            }
            continue;
        }
        let text = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
        lock(texts).push(text.clone());
        let usual = |text: &str| if text.contains(LOGIN) { Say::Value(TEXT, mark(&startup)) } else { usual(text) };
        let done = [message(b'C', b"SELECT 1\0"), READY.to_vec()].concat();
        match script(&text).unwrap_or_else(|| usual(&text)) {
            Say::Row(columns) => {
                let names: Vec<_> = columns.iter().map(|(name, oid, _)| (*name, *oid)).collect();
                let values: Vec<_> = columns.iter().map(|(.., value)| *value).collect();
                socket.write_all(&[described(&names), row(&values), done].concat())?;
            }
            Say::Value(oid, value) => {
                socket.write_all(&[described(&[("a", oid)]), row(&[value.as_str()]), done].concat())?;
            }
            Say::Done => socket.write_all(&done)?,
            Say::Flood(span) => return flood(&mut socket, span),
            Say::Never => {}
        }
    }
}

/// What an application does: settings, a transaction, statements that are dropped, one session after the other.
async fn a_day(builder: ProxyBuilder<Postgres>) {
    let builder = builder.max_connections(1).borrow_timeout(Duration::from_secs(1)).validate_after(Duration::ZERO);
    let proxy = builder.failover_timeout(Duration::from_millis(200)).build().unwrap();
    for _ in 0..2 {
        if let Ok(mut conn) = proxy.get_connection().await {
            let _ = run(&mut conn, "set app.tenant = 'a'").await;
            let _ = run(&mut conn, "set application_name = 'mine'").await;
            if let Ok(tx) = conn.begin().await {
                let _ = tx.commit().await;
            }
            if let Ok(tx) = conn.begin().await {
                let _ = tx.rollback().await;
            }
            drop(conn.begin().await);
            let _ = timeout(Duration::from_millis(20), run(&mut conn, "select slow")).await;
            let _ = run(&mut conn, "select 1").await;
            let _ = run(&mut conn, "create temp table t (n int)").await;
        }
        proxy.upkeep().await;
        if let Ok(mut conn) = proxy.get_connection().await {
            let _ = run(&mut conn, "select 1").await;
        }
        proxy.upkeep().await;
    }
    let _ = timeout(Duration::from_secs(2), proxy.close()).await;
}

/// The longest pause, and whether the flood was met.
fn floods(when: &'static str, span: Duration) -> (Duration, bool) {
    let fake = Fake::start(move |text| {
        if text.contains(when) {
            return Some(Say::Flood(span));
        }
        (text == "select slow").then_some(Say::Never)
    });
    let builder = fake.builder().user("app").password("x");
    let builder = if when.contains("init") { builder.init_query("select 'init'") } else { builder };
    let pause = longest_pause(move || a_day(builder));
    let met = lock(&fake.texts).iter().any(|text| text.contains(when));
    (pause, met)
}

#[test]
fn rows_without_end_in_answer_to_the_crates_own_texts_leave_others_their_turn() {
    let span = Duration::from_millis(500);
    for when in [
        "current_setting",
        "pg_cancel_backend",
        "pg_stat_get_backend_idset",
        "false_multi_az",
        "pg_stat_get_activity",
        "SET ",
        "set app.tenant",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "DISCARD",
        "'init'",
        "select 1",
    ] {
        let (pause, met) = floods(when, span);
        assert!(met, "nothing asks {when}");
        // As long as the flood is what it was before anybody looked.
        assert!(pause < span / 2, "{when}: nothing else had its turn for {pause:?}");
    }
}

/// A server that asks for the password in clear and refuses it with a message of this length.
fn refuses_at_length(message: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming().take(40) {
            let Ok(mut socket) = socket else { continue };
            let refusal = message_of("28P01", message);
            std::thread::spawn(move || {
                let mut told = vec![0; 4096];
                let _ = socket.read(&mut told).and_then(|_| socket.write_all(b"R\0\0\0\x08\0\0\0\x03"));
                let _ = socket.read(&mut told).and_then(|_| socket.write_all(&refusal));
            });
        }
    });
    port
}

fn message_of(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

/// What a server says at a login is looked through once, and not written out.
#[test]
fn a_refusal_of_any_length_takes_as_long_as_the_driver_takes_to_read_it() {
    for text in ["x", "\u{1f9d1}", "\""] {
        let text: &'static str = text.repeat((4 << 20) / text.len()).leak();
        let port = refuses_at_length(text);
        let bare = longest_pause(move || async move {
            let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("app");
            let options = options.password("a-password-of-20-char").ssl_mode(PgSslMode::Disable);
            assert!(options.connect().await.is_err());
        });
        let ours = longest_pause(move || async move {
            let proxy = PgProxy::builder().host("127.0.0.1").port(port).tls(Tls::Disable).user("app").database("app");
            let proxy = proxy.password("a-password-of-20-char").build().unwrap();
            let refused = proxy.get_connection().await.map(drop).unwrap_err();
            assert!(matches!(refused, Error::Authentication { .. }), "{:.100}", refused.to_string());
        });
        // It is shown in an event and an error besides, each time from its beginning.
        assert!(ours < bare * 16, "{text:.1}: {ours:?}, and the driver alone {bare:?}");
    }
}
