//! What is measured, by its names; where it goes is another matter.

use super::counts::Counts;
use crate::status::Status;
use crate::usage::{Distribution, Usage};

/// Which servers a report is of, as RDS Proxy calls them in its dimension `TargetRole`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Writer => "READ_WRITE",
            Self::Reader => "READ_ONLY",
        }
    }
}

/// Where numbers go.
pub(super) trait Sink {
    /// As it is at this moment.
    fn gauge(&mut self, name: &'static str, value: usize);
    /// So many since the last time, more than none.
    fn counted(&mut self, name: &'static str, count: u64);
    /// Lengths of time, of which there is at least one.
    fn distribution(&mut self, name: &'static str, of: &Distribution);
    /// From 0 to 100.
    fn percent(&mut self, name: &'static str, value: f64);
}

/// On connections to the writer.
pub(super) fn of_writer(sink: &mut impl Sink, status: &Status, counts: &Counts, usage: &Usage) {
    connections(sink, status.connections, status);
    sink.gauge("DatabaseConnectionsCurrentlyBorrowed", status.most_leased.max(status.leased));
    sink.gauge("DatabaseConnectionsCurrentlySessionPinned", counts.most_pinned.max(status.pinned));
    let requests = counts.succeeded.saturating_add(counts.failed);
    count(sink, "DatabaseConnectionRequests", requests);
    count(sink, "DatabaseConnectionRequestsWithTLS", if status.encrypted { requests } else { 0 });
    count(sink, "DatabaseConnectionsSetupSucceeded", counts.succeeded);
    count(sink, "DatabaseConnectionsSetupFailed", counts.failed);
    lengths(sink, "LambdaRdsSetupLatency", &counts.setup.read());
    used(sink, usage, status.encrypted);
    for (name, number) in [
        ("LambdaRdsPins", counts.pins.values().sum()),
        ("LambdaRdsFailovers", counts.failovers),
        ("LambdaRdsSuspicions", counts.suspicions),
        ("LambdaRdsRefused", counts.refused),
        ("LambdaRdsGivenBack", counts.given_back),
        ("LambdaRdsThaws", counts.thaws),
        ("LambdaRdsRecovered", counts.recovered),
        ("LambdaRdsCredentialsFetched", counts.fetched),
    ] {
        count(sink, name, number);
    }
}

/// On connections to readers.
pub(super) fn of_readers(sink: &mut impl Sink, status: &Status, usage: &Usage) {
    connections(sink, status.reader_connections, status);
    used(sink, usage, status.encrypted);
}

/// Whether readers were used at all.
pub(super) fn has_readers(status: &Status, usage: &Usage) -> bool {
    status.reader_connections > 0 || usage.response_latency.count() > 0
}

fn connections(sink: &mut impl Sink, connections: usize, status: &Status) {
    sink.gauge("DatabaseConnections", connections);
    sink.gauge("DatabaseConnectionsWithTLS", if status.encrypted { connections } else { 0 });
    sink.gauge("MaxDatabaseConnectionsAllowed", status.max_connections);
}

fn used(sink: &mut impl Sink, usage: &Usage, encrypted: bool) {
    let served = usage.borrow_latency.count();
    let borrows = served.saturating_add(usage.borrows_failed);
    count(sink, "DatabaseConnectionsBorrowRequests", borrows);
    count(sink, "DatabaseConnectionsBorrowRequestsAborted", usage.borrows_failed);
    lengths(sink, "DatabaseConnectionsBorrowLatency", &usage.borrow_latency);
    if borrows > 0 {
        sink.percent("AvailabilityPercentage", served as f64 * 100.0 / borrows as f64);
    }
    let queries = usage.response_latency.count();
    count(sink, "QueryRequests", queries);
    count(sink, if encrypted { "QueryRequestsTLS" } else { "QueryRequestsNoTLS" }, queries);
    lengths(sink, "QueryDatabaseResponseLatency", &usage.response_latency);
    count(sink, "LambdaRdsReplays", usage.replays);
    count(sink, "LambdaRdsReruns", usage.reruns);
}

/// None is left out.
fn count(sink: &mut impl Sink, name: &'static str, count: u64) {
    if count > 0 {
        sink.counted(name, count);
    }
}

/// Without a value it is left out.
fn lengths(sink: &mut impl Sink, name: &'static str, of: &Distribution) {
    if of.count() > 0 {
        sink.distribution(name, of);
    }
}
