//! One database for many tenants: row-level security by a setting of the transaction. Neither RDS Proxy's pinning nor a leak
//! from one tenant to the next: the setting ends with the transaction.
//!
//! ```sql
//! create table notes (tenant text not null, note text not null);
//! alter table notes enable row level security;
//! create policy own on notes using (tenant = nullif(current_setting('app.tenant', true), ''));
//! ```
//!
//! The function's user must not own the table, nor be a superuser: policies do not hold for them. Who may not even share an
//! execution environment with another tenant is for Lambda's tenant isolation mode.

use lambda_rds::{Error, Postgres, get_connection, lambda};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Deserialize;

#[derive(Deserialize)]
struct Note {
    tenant: String,
    note: String,
}

/// Adds a note, and answers with all of the tenant's.
async fn handler(event: LambdaEvent<Note>) -> Result<Vec<String>, Error> {
    let Note { tenant, note } = event.payload;
    let mut conn = get_connection::<Postgres>().await?;
    let mut tx = conn.begin().await?;
    sqlx::query("select set_config('app.tenant', $1, true)").bind(&tenant).execute(&mut *tx).await?;
    sqlx::query("insert into notes values ($1, $2)").bind(&tenant).bind(note).execute(&mut *tx).await?;
    let notes = sqlx::query_scalar("select note from notes").fetch_all(&mut *tx).await?;
    tx.commit().await?;
    Ok(notes)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    lambda_rds::init::<Postgres>().await?;
    lambda::run(service_fn(handler)).await
}
