//! Migrations by sqlx's migrator, in a handler's future.

use std::borrow::Cow;

use lambda_rds::{Error, Outcome, PinCause};
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::stage::*;

fn migrations(second: &'static str) -> Migrator {
    let of = |version, sql: &'static str| {
        Migration::new(version, Cow::Borrowed("of a test"), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![of(1, "create table migrated (n int)"), of(2, second)])
}

#[tokio::test]
async fn migrations_are_applied_once_in_a_task_and_the_session_goes_on() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(OWN_SCHEMA).await;
    let proxy = proxy_to(&server).build()?;
    for _ in 0..2 {
        let proxy = proxy.clone();
        // A task asks for `Send`, as a handler does.
        let task = tokio::spawn(async move {
            let mut conn = proxy.get_connection().await?;
            conn.migrate(&migrations("insert into migrated values (7)")).await?;
            assert_eq!(conn.pin_reason().map(|reason| reason.cause()), Some(PinCause::HandedOut));
            sqlx::query_scalar::<_, i32>("select n from migrated").fetch_all(&mut conn).await.map_err(Error::from)
        });
        assert_eq!(task.await.expect("no panic")?, [7]);
    }
    Ok(())
}

#[tokio::test]
async fn a_migration_that_fails_says_what_the_database_says() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(OWN_SCHEMA).await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    let error = conn.migrate(&migrations("insert into nowhere values (7)")).await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert_ne!(error.outcome(), Outcome::Completed);
    drop(conn);
    let mut next = proxy.get_connection().await?;
    assert_eq!(sqlx::query_scalar::<_, String>(ECHO).bind("y").fetch_one(&mut next).await?, "y");
    Ok(())
}
