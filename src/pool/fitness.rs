//! The rules of time: when a connection may be lent as it is, when it must be asked first, when it has served its term.

use std::time::Duration;

use crate::clock::Moment;

/// Below this a connection at rest is lent without even a look: under load a look costs more than a whole lease, and
/// what breaks within a millisecond breaks as well while a statement is on its way.
const LOOK_AFTER: Duration = Duration::from_millis(1);

/// For so long a login has proven its connection, whatever `validate_after` says: one that was made for whoever waits is not asked at
/// once whether it is there. A server that lets in and answers nothing would be logged in to without a pause.
const PROVEN_BY_LOGIN: Duration = Duration::from_millis(100);

/// `max_lifetime` is shortened by up to this share, so that connections opened together do not end together.
const LIFETIME_JITTER: f64 = 0.1;

/// The spans that decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) validate_after: Duration,
    pub(crate) validate_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_lifetime: Duration,
}

/// What is known of a connection's past.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) opened: Moment,
    /// Its own, jittered lifetime.
    pub(crate) lifetime: Duration,
    pub(crate) used: Moment,
    /// Something was going on when it came home.
    pub(crate) dirty: bool,
}

/// What must happen before a connection at rest is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fitness {
    /// Nothing.
    Fresh,
    /// A look at the socket, which costs no round trip.
    Look,
    /// A round trip, bounded.
    Doubtful,
    /// It has been idle for too long: the server or something in between has forgotten it.
    Idle,
    /// It is too old.
    Old,
}

impl Policy {
    pub(crate) fn judge(&self, past: Past, now: Moment) -> Fitness {
        let idle = now.since(past.used);
        if past.dirty {
            // What goes on on it must end, also where it was lent long ago, or is too old to be lent once more.
            Fitness::Doubtful
        } else if idle >= self.idle_timeout {
            Fitness::Idle
        } else if now.since(past.opened) >= past.lifetime {
            Fitness::Old
        } else if idle >= self.validated_after(past) || now.frozen_since(past.used).is_some() {
            Fitness::Doubtful
        } else if idle >= LOOK_AFTER {
            Fitness::Look
        } else {
            Fitness::Fresh
        }
    }

    fn validated_after(&self, past: Past) -> Duration {
        let was_never_lent = past.used == past.opened;
        if was_never_lent { self.validate_after.max(PROVEN_BY_LOGIN) } else { self.validate_after }
    }

    /// A lifetime for a new connection.
    pub(crate) fn lifetime(&self, rng: &mut fastrand::Rng) -> Duration {
        self.max_lifetime.mul_f64(1.0 - LIFETIME_JITTER * rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, VirtualClock};

    const POLICY: Policy = Policy {
        validate_after: Duration::from_secs(1),
        validate_timeout: Duration::from_millis(250),
        idle_timeout: Duration::from_secs(300),
        max_lifetime: Duration::from_secs(1800),
    };

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_judged_by_the_time_since_its_last_use() {
        for (idle_ms, frozen_ms, dirty, fitness) in [
            (0, 0, false, Fitness::Fresh),
            (1, 0, false, Fitness::Look),
            (999, 0, false, Fitness::Look),
            (1000, 0, false, Fitness::Doubtful),
            (0, 0, true, Fitness::Doubtful),
            (1, 200, false, Fitness::Doubtful), // a short freeze: the monotonic clock alone would say fresh
            (1, 400_000, false, Fitness::Idle), // a long one
            (300_000, 0, false, Fitness::Idle),
            // Of a session that has had it for all this time.
            (300_000, 0, true, Fitness::Doubtful),
        ] {
            let virtual_clock = VirtualClock::new();
            let clock = Clock::Virtual(virtual_clock.clone());
            let then = clock.now();
            tokio::time::advance(Duration::from_millis(idle_ms)).await;
            virtual_clock.freeze(Duration::from_millis(frozen_ms));
            let past = Past { opened: then, lifetime: POLICY.max_lifetime, used: then, dirty };
            assert_eq!(POLICY.judge(past, clock.now()), fitness, "{idle_ms} ms idle, {frozen_ms} ms frozen");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_just_logged_in_is_not_asked_again_whether_it_is_there() {
        let policy = Policy { validate_after: Duration::ZERO, ..POLICY };
        for (lent_ms, idle_ms, fitness) in [
            (None, 0, Fitness::Fresh),
            (None, 99, Fitness::Look),
            (None, 100, Fitness::Doubtful),
            (Some(1), 0, Fitness::Doubtful),
        ] {
            let clock = Clock::Virtual(VirtualClock::new());
            let opened = clock.now();
            if let Some(lent) = lent_ms {
                tokio::time::advance(Duration::from_millis(lent)).await;
            }
            let used = clock.now();
            tokio::time::advance(Duration::from_millis(idle_ms)).await;
            let past = Past { opened, lifetime: POLICY.max_lifetime, used, dirty: false };
            assert_eq!(policy.judge(past, clock.now()), fitness, "{lent_ms:?} ms lent, {idle_ms} ms idle");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_used_connection_ends_with_its_lifetime() {
        let clock = Clock::Virtual(VirtualClock::new());
        let opened = clock.now();
        tokio::time::advance(Duration::from_secs(1700)).await;
        let past = Past { opened, lifetime: Duration::from_secs(1650), used: clock.now(), dirty: false };
        assert_eq!(POLICY.judge(past, clock.now()), Fitness::Old);
        let dirty = Past { dirty: true, ..past };
        assert_eq!(POLICY.judge(dirty, clock.now()), Fitness::Doubtful, "its statement is ended first");
        let lifetime = POLICY.lifetime(&mut fastrand::Rng::with_seed(1));
        assert!(lifetime < POLICY.max_lifetime && lifetime >= POLICY.max_lifetime.mul_f64(0.9));
    }
}
