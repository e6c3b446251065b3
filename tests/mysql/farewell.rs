//! A server that ends a session tells it so, though nobody has asked (MySQL 8.0.24 and later: 4031), or only hangs up.
//! Whoever comes next does not hear of it; a transaction that was open does.

use lambda_rds::{Error, Outcome};

use crate::support::gate::{Asks, Gate, Refusal};
use crate::support::{Recorder, mysql_server};

const IDLE: Refusal = Refusal {
    number: 4031,
    state: "HY000",
    message: "The client was disconnected by the server because of inactivity. See wait_timeout and interactive_timeout.",
};

#[tokio::test]
async fn a_last_word_that_nobody_waited_for_is_nobodys_error() -> Result<(), Error> {
    let server = mysql_server().await;
    server.open_account("idler").await;
    let gate = Gate::before(server, Asks::CachingSha2 { remembers: true }, "secret").await;
    let seen = Recorder::default();
    let builder = lambda_rds::MySqlProxy::builder().host("localhost").port(gate.port()).database("app").user("idler");
    let builder = builder.password("secret").ca_pem(gate.ca_pem()).max_connections(1).observer(seen.observer());
    let proxy = builder.build()?;
    let mut conn = proxy.get_connection().await?;
    for round in 1..=3 {
        assert_eq!(sqlx::query_scalar::<_, i32>("select 7").fetch_one(&mut conn).await?, 7);
        gate.throw_out(IDLE);
        server.wait_until_sessions("idler", 0).await;
        if round == 2 {
            proxy.upkeep().await;
        }
        assert_eq!(sqlx::query_scalar::<_, i32>("select 8").fetch_one(&mut conn).await?, 8);
        assert_eq!(gate.visitors().len(), 1 + round, "one more login, and no error");
    }
    let mut tx = conn.begin().await?;
    gate.throw_out(IDLE);
    server.wait_until_sessions("idler", 0).await;
    let error = Error::from(sqlx::query("select 9").execute(&mut *tx).await.unwrap_err());
    assert!(matches!(error, Error::ConnectionLost { outcome: Outcome::RolledBack, .. }), "{error:?}");
    assert!(tx.commit().await.is_err());
    assert_eq!(sqlx::query_scalar::<_, i32>("select 10").fetch_one(&mut conn).await?, 10);
    Ok(())
}
