//! What it costs to know what a statement does to its session: new, and known from before.
//!
//! `cargo bench --features _internals,mysql --bench classify`. Neither way allocates, by design: a class borrows from its text, and
//! the memory of known texts is used again.
#![allow(missing_docs, clippy::print_stdout, reason = "a program for a person at a terminal")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use lambda_rds::internals::postgres::{Shape, text};
use lambda_rds::internals::{mysql, postgres};

/// About 200 bytes each.
const POSTGRES: Statements = &[
    (
        "select",
        "SELECT o.id, o.created_at, o.status, c.name, c.email FROM orders o JOIN customers c ON c.id = o.customer_id \
         WHERE o.tenant_id = $1 AND o.status = $2 ORDER BY o.created_at DESC LIMIT $3 OFFSET $4",
    ),
    (
        "insert",
        "insert into audit_events (tenant_id, actor_id, kind, subject, payload, created_at) \
         values ($1, $2, $3, $4, $5, now()) on conflict (tenant_id, subject) do update set payload = excluded.payload \
         returning id",
    ),
    (
        "update",
        "UPDATE \"accounts\" SET \"balance\" = \"balance\" - $1, \"updated_at\" = CURRENT_TIMESTAMP, \"version\" = \
         \"version\" + 1 WHERE \"accounts\".\"id\" = $2 AND \"accounts\".\"version\" = $3 RETURNING \"balance\"",
    ),
    (
        "with",
        "with due as (select id from jobs where state = 'ready' and run_at <= now() order by run_at for update skip \
         locked limit 10) update jobs set state = 'running' from due where jobs.id = due.id returning jobs.*",
    ),
    (
        "literals",
        "select coalesce(sum(amount), 0)::bigint from payments where currency = 'EUR' and kind in ('card', 'transfer', \
         'voucher') and note not like '%a rather long pattern; with a semicolon in it%' -- monthly",
    ),
];

/// The same, as one writes them for MySQL.
const MYSQL: Statements = &[
    (
        "select",
        "SELECT o.id, o.created_at, o.status, c.name, c.email FROM orders o JOIN customers c ON c.id = o.customer_id \
         WHERE o.tenant_id = ? AND o.status = ? ORDER BY o.created_at DESC LIMIT ? OFFSET ?",
    ),
    (
        "insert",
        "insert into audit_events (tenant_id, actor_id, kind, subject, payload, created_at) \
         values (?, ?, ?, ?, ?, now()) on duplicate key update payload = values(payload), kind = values(kind), \
         created_at = now()",
    ),
    (
        "update",
        "UPDATE `accounts` SET `balance` = `balance` - ?, `updated_at` = CURRENT_TIMESTAMP, `version` = `version` + 1 \
         WHERE `accounts`.`id` = ? AND `accounts`.`version` = ? AND `accounts`.`closed` IS NULL LIMIT 1",
    ),
    (
        "literals",
        "select coalesce(sum(amount), 0) from payments where currency = 'EUR' and kind in ('card', 'transfer', \
         'voucher') and note not like '%a rather long pattern; with a semicolon in it%' -- monthly",
    ),
    (
        "escapes",
        "insert into notes (tenant_id, author, body) values (7, 'O\\'Brien', 'what\\'s read in three ways; since nothing \
         says how the server reads a backslash in a string, of all things that it could say')",
    ),
];

/// A name, and a text.
type Statements = &'static [(&'static str, &'static str)];
type Classify = fn(&str) -> bool;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(2));
    let known: [(&str, Statements, Classify); 4] = [
        ("postgres: new", POSTGRES, postgres::is_plain),
        ("postgres: known", POSTGRES, postgres::is_plain_again),
        ("mysql: new", MYSQL, mysql::is_plain),
        ("mysql: known", MYSQL, mysql::is_plain_again),
    ];
    for (title, statements, classify) in known {
        let mut group = criterion.benchmark_group(title);
        for (name, sql) in statements {
            let id = BenchmarkId::new(*name, sql.len());
            group.bench_with_input(id, sql, |b, sql| b.iter(|| classify(black_box(sql))));
        }
        group.finish();
    }
    criterion.final_summary();
    hostile("postgres", postgres::SHAPES, postgres::weigh);
    hostile("mysql", mysql::SHAPES, mysql::weigh);
}

/// What the slowest of the texts cost that are made to be slow. Nothing is sent meanwhile, and no timeout fires.
fn hostile(engine: &str, shapes: &[Shape], weigh: fn(&str)) {
    const MEGABYTE: usize = 1 << 20;
    const SHOWN: usize = 5;
    let cost = |shape: &Shape| {
        let text = text(*shape, MEGABYTE);
        let once = || {
            let begun = Instant::now();
            weigh(black_box(&text));
            begun.elapsed()
        };
        (0..SHOWN).map(|_| once()).min().unwrap_or_default()
    };
    let mut costs: Vec<_> = shapes.iter().map(|shape| (cost(shape), shape)).collect();
    costs.sort_unstable_by(|one, other| other.cmp(one));
    println!("{engine}: a megabyte of the slowest of {} hostile shapes", costs.len());
    for (cost, shape) in costs.iter().take(SHOWN) {
        println!("{:>9.1} ms  {shape:?}", cost.as_secs_f64() * 1e3);
    }
}
