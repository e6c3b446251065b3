//! Guides and reference: one page a question.
//!
//! | I want to | page |
//! |---|---|
//! | come from a `PgPool` or a `MySqlPool` | [`from_a_pool`] |
//! | come from RDS Proxy, or go there | [`from_rds_proxy`] |
//! | know how many connections I need | [`connections`] |
//! | deploy: network, permissions, IAM in ten minutes | [`deploy`] |
//! | rotate passwords | [`rotation`] |
//! | serve many tenants | [`tenants`] |
//! | develop locally, and test my error paths | [`local`] |
//! | see what happens: logs, metrics, a table | [`observability`] |
//! | know what works with sqlx's other parts, SeaORM, Diesel | [`ecosystem`] |
//!
//! Reference: [`configuration`], [`errors`], [`behaviour`], [`sharing`], [`mysql`], [`tls`], [`fleet`], [`measured`], [`words`].

#![allow(clippy::doc_markdown, reason = "prose with names of AWS's and of other programs")]

#[doc = include_str!("behaviour.md")]
pub mod behaviour {}
#[doc = include_str!("configuration.md")]
pub mod configuration {}
#[doc = include_str!("connections.md")]
pub mod connections {}
#[doc = include_str!("deploy.md")]
pub mod deploy {}
#[doc = include_str!("ecosystem.md")]
pub mod ecosystem {}
#[doc = include_str!("errors.md")]
pub mod errors {}
#[doc = include_str!("fleet.md")]
pub mod fleet {}
#[doc = include_str!("from_a_pool.md")]
pub mod from_a_pool {}
#[doc = include_str!("from_rds_proxy.md")]
pub mod from_rds_proxy {}
#[doc = include_str!("local.md")]
pub mod local {}
#[doc = include_str!("measured.md")]
pub mod measured {}
#[doc = include_str!("mysql.md")]
pub mod mysql {}
#[doc = include_str!("observability.md")]
pub mod observability {}
#[doc = include_str!("rotation.md")]
pub mod rotation {}
#[doc = include_str!("sharing.md")]
pub mod sharing {}
#[doc = include_str!("tenants.md")]
pub mod tenants {}
#[doc = include_str!("tls.md")]
pub mod tls {}
#[doc = include_str!("words.md")]
pub mod words {}
