//! A proxy's numbers.

use std::fmt;

use crate::occupancy::Occupancy;
use crate::usage::Usage;

/// A proxy's numbers at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Open physical connections.
    pub connections: usize,
    /// The most there may be.
    pub max_connections: usize,
    /// Of those open, the ones at rest.
    pub idle: usize,
    /// Of those open, the ones on loan to a session.
    pub leased: usize,
    /// Of those on loan, the ones that a session is pinned to.
    pub pinned: usize,
    /// Callers that wait for a connection.
    pub waiting: usize,
    /// Open physical connections to readers; the numbers above are of those to the writer.
    pub reader_connections: usize,
    /// How often the writer has changed, as far as this proxy has noticed.
    pub epoch: u64,
    /// `host:port` of the proven writer, or else of the last login.
    pub writer: Option<String>,
    /// The most that were on loan at a time since the last upkeep.
    pub most_leased: usize,
    /// What the server said when a connection of this proxy last asked how full it is.
    pub occupancy: Option<Occupancy>,
    /// Whether connections are encrypted.
    pub encrypted: bool,
    /// What was done on connections to the writer since the proxy was made.
    pub usage: Usage,
    /// The same on connections to readers.
    pub reader_usage: Usage,
}

/// A small table, for a log or a terminal.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, max_connections, idle, leased, pinned, waiting, .. } = self;
        let pins = if *pinned > 0 { format!(", {pinned} of them pinned") } else { String::new() };
        writeln!(f, "connections  {connections} of {max_connections}: {idle} idle, {leased} on loan{pins}")?;
        if self.reader_connections > 0 {
            writeln!(f, "to readers   {}", self.reader_connections)?;
        }
        writeln!(f, "waiting      {waiting}")?;
        writeln!(f, "writer       {} (epoch {})", self.writer.as_deref().unwrap_or("not known yet"), self.epoch)?;
        match self.occupancy {
            Some(occupancy) => writeln!(f, "server       {occupancy}")?,
            None => writeln!(f, "server       was not asked how full it is")?,
        }
        writeln!(f, "statements   {}, {} run again", self.usage.response_latency, self.usage.reruns)?;
        write!(f, "borrowed     {}, {} in vain", self.usage.borrow_latency, self.usage.borrows_failed)
    }
}

#[cfg(test)]
impl Status {
    /// Of a proxy at rest that has two connections of four.
    pub(crate) fn sample() -> Self {
        Self {
            connections: 2,
            max_connections: 4,
            idle: 1,
            leased: 1,
            pinned: 0,
            waiting: 0,
            reader_connections: 0,
            epoch: 0,
            writer: Some("db.example:5432".to_owned()),
            most_leased: 2,
            occupancy: Some(Occupancy { sessions: 17, limit: 97, ours: Some(3) }),
            encrypted: true,
            usage: Usage::default(),
            reader_usage: Usage::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_small_table() {
        let mut status = Status::sample();
        assert_eq!(
            status.to_string(),
            "connections  2 of 4: 1 idle, 1 on loan\n\
             waiting      0\n\
             writer       db.example:5432 (epoch 0)\n\
             server       17 of 97 sessions, 3 of them of lambda-rds\n\
             statements   none, 0 run again\n\
             borrowed     none, 0 in vain"
        );
        (status.pinned, status.reader_connections, status.occupancy, status.writer) = (1, 2, None, None);
        let text = status.to_string();
        for part in ["on loan, 1 of them pinned", "to readers   2", "was not asked", "not known yet"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
