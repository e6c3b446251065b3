//! What a session has set is replayed wherever it goes on: whole, to nobody else, and with no more than was meant.

use std::slice::Iter;
use std::time::Duration;

use futures_core::future::BoxFuture;
use lambda_rds::{Connection, Error};
use sqlx::{AssertSqlSafe, Database, Row};

use super::stage::*;

/// Texts, one after the other. `(` begins a transaction or a savepoint, `) commit` and `) rollback` end it, `) drop`
/// leaves it to the guard.
pub(super) type Script = &'static [&'static str];

async fn run(conn: &mut Connection<Db>, sql: &str) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn wait(conn: &mut Connection<Db>) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select {WAIT}"))).fetch_one(conn).await?)
}

async fn drop_after<F: Future>(polls: usize, future: F) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if futures_util::poll!(&mut future).is_ready() {
            return;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
}

/// What the server shows of a session's settings.
fn shown(rows: &[<Db as Database>::Row]) -> Vec<String> {
    rows.iter().map(|row| row.get_unchecked(0)).collect()
}

/// A session that shares its connection with a neighbour, and a bare connection that is the measure.
struct Pair {
    witness: &'static str,
    neighbour: Connection<Db>,
    clean: Vec<String>,
    bare: <Db as Database>::Connection,
}

impl Pair {
    /// The session to be tried, and what it is tried against.
    async fn on(server: &Server, user: &str, witness: &'static str) -> Result<(Connection<Db>, Self), Error> {
        let url = server.url_for(user, APP_PASSWORD, "app");
        let proxy = proxy_to(server).url(&url).max_connections(1).build()?;
        let mut neighbour = proxy.get_connection().await?;
        let clean = shown(&sqlx::query(witness).fetch_all(&mut neighbour).await?);
        let url = format!("{url}?{}", TLS_MODES[2]);
        let bare = <<Db as Database>::Connection as sqlx::Connection>::connect(&url).await?;
        Ok((proxy.get_connection().await?, Self { witness, neighbour, clean, bare }))
    }

    /// Runs the script, up to the end of the guard that it is in, here and there.
    fn play<'a>(
        &'a mut self,
        conn: &'a mut Connection<Db>,
        script: &'a mut Iter<'static, &'static str>,
        depth: usize,
    ) -> BoxFuture<'a, &'static str> {
        Box::pin(async move {
            while let Some(sql) = script.next() {
                match *sql {
                    "(" => {
                        let mut guard = conn.begin().await.expect("begun");
                        let begin = if depth == 0 { "begin" } else { &format!("savepoint s{depth}") };
                        self.plainly(begin).await;
                        let end = self.play(&mut guard, script, depth + 1).await;
                        let kept = match end {
                            ") commit" => guard.commit().await.is_ok(),
                            ") rollback" => guard.rollback().await.is_err(),
                            _ => {
                                drop(guard);
                                false
                            }
                        };
                        self.plainly(&match (depth, kept) {
                            (0, true) => "commit".to_owned(),
                            (0, false) => "rollback".to_owned(),
                            (_, true) => format!("release savepoint s{depth}"),
                            (_, false) => format!("rollback to s{depth}; release savepoint s{depth}"),
                        })
                        .await;
                    }
                    end if end.starts_with(')') => return end,
                    sql => {
                        let here = run(conn, sql).await.err().and_then(|error| error.sqlstate().map(String::from));
                        let there = sqlx::query(sql).execute(&mut self.bare).await.err();
                        let code = there.and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
                        assert_eq!(here, code, "{sql}");
                    }
                }
                assert_eq!(conn.pin_reason(), None, "{sql}");
                if depth == 0 {
                    let seen = sqlx::query(self.witness).fetch_all(&mut self.neighbour).await.expect("an answer");
                    assert_eq!(shown(&seen), self.clean, "after {sql}, next door");
                }
                let here = sqlx::query(self.witness).fetch_all(&mut *conn).await.map(|rows| shown(&rows)).ok();
                // The driver takes what it has prepared for the same under any settings.
                let there = sqlx::query(self.witness).persistent(false);
                let there = there.fetch_all(&mut self.bare).await.map(|rows| shown(&rows)).ok();
                assert_eq!(here, there, "after {sql}");
            }
            ""
        })
    }

    async fn plainly(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.bare).await.expect("agreed");
    }
}

/// Each of these on a session with a neighbour on the same connection, and on a bare connection: the server must show
/// the same after every word, and none of them pins.
pub(super) async fn agree(server: &Server, user: &str, witness: &'static str, scripts: &[Script]) -> Result<(), Error> {
    for script in scripts {
        let (mut conn, mut pair) = Pair::on(server, user, witness).await?;
        pair.play(&mut conn, &mut script.iter(), 0).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_set_that_was_dropped_half_way_leaks_to_nobody() -> Result<(), Error> {
    let proxy = proxy_to(server().await).max_connections(1).build()?;
    let mut other = proxy.get_connection().await?;
    let plain = wait(&mut other).await?;
    for polls in 0..8 {
        let mut conn = proxy.get_connection().await?;
        drop_after(polls, run(&mut conn, &set_wait(3))).await;
        assert_eq!(wait(&mut other).await?, plain, "dropped after {polls} polls");
    }
    Ok(())
}

/// A replay that was cut short is on the server, and the connection's account does not know.
#[tokio::test]
async fn a_replay_that_was_cut_short_leaks_to_nobody_and_loses_nothing() -> Result<(), Error> {
    let server = server().await;
    for polls in 1..8 {
        let proxy = proxy_to(server).max_connections(1).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, &set_wait(3)).await?;
        let own = wait(&mut one).await?;
        let plain = wait(&mut other).await?;
        assert_ne!(own, plain);
        // `one`'s setting is on its way when the statement is dropped.
        drop_after(polls, run(&mut one, "select 1")).await;
        assert_eq!(wait(&mut other).await?, plain, "leaked, {polls} polls");
        assert_eq!(wait(&mut one).await?, own);
        // The same with what takes it back.
        drop_after(polls, run(&mut other, "select 1")).await;
        assert_eq!(wait(&mut one).await?, own, "lost, {polls} polls");
    }
    Ok(())
}

/// Two sessions, two open connections, as after any `join!`, and a row.
async fn two_connections(server: &Server) -> Result<(Connection<Db>, Connection<Db>), Error> {
    server.execute(TABLE).await;
    server.execute("insert into ledger values (0)").await;
    let proxy = proxy_to(server).max_connections(2).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let (a, b) = tokio::try_join!(one.begin(), other.begin())?;
    tokio::try_join!(a.commit(), b.commit())?;
    Ok((one, other))
}

/// The abandoned transaction keeps its locks on the connection that went home, and the session goes on upon the other.
#[tokio::test]
async fn a_session_is_not_blocked_by_the_transaction_it_has_dropped() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let (mut one, _other) = two_connections(&server).await?;
    {
        let mut tx = one.begin().await?;
        run(&mut tx, "update ledger set n = 1").await?;
    }
    run(&mut one, &set_wait(2)).await?;
    run(&mut one, "update ledger set n = 2").await
}

/// As above, with a statement that was dropped and not its transaction.
#[tokio::test]
async fn a_session_is_not_blocked_by_the_statement_it_has_dropped() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let (mut one, _other) = two_connections(&server).await?;
    let long = sqlx::query(LOCKS_LONG).execute(&mut one);
    assert!(tokio::time::timeout(Duration::from_millis(50), long).await.is_err());
    run(&mut one, &set_wait(2)).await?;
    run(&mut one, "update ledger set n = 2").await
}
