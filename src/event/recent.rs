//! The last events, for a report.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Event, Observer};
use crate::clock::{Clock, Moment};

/// As many are kept: a failover with its search and its connects is some ten.
const KEPT: usize = 32;

/// Keeps the last events. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Recent {
    clock: Clock,
    events: Arc<Mutex<VecDeque<(Moment, Event)>>>,
}

impl Recent {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, events: Arc::default() }
    }

    /// Each with how long ago it was, the eldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let now = self.clock.now();
        let ago = |at: &Moment| now.since(*at).as_secs_f64();
        self.events().iter().map(|(at, event)| format!("{:9.3} s ago  {event:?}", ago(at))).collect()
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<(Moment, Event)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recent {
    fn observe(&self, event: &Event) {
        // Numbers, not news; and as often as there are invocations.
        if matches!(event, Event::UpkeepDone { .. } | Event::Validated { .. }) {
            return;
        }
        let at = self.clock.now();
        let mut events = self.events();
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back((at, event.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::VirtualClock;

    #[tokio::test(start_paused = true)]
    async fn the_last_events_are_kept_with_their_age() {
        let recent = Recent::new(Clock::Virtual(VirtualClock::new()));
        for n in 0..100 {
            recent.observe(&Event::Recovered { elapsed: Duration::from_secs(n) });
            recent.observe(&Event::Validated { idle: Duration::ZERO, elapsed: Duration::ZERO });
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let lines = recent.lines();
        assert_eq!(lines.len(), KEPT);
        assert!(lines[0].contains("68s"), "{}", lines[0]);
        assert!(lines[KEPT - 1].contains(" s ago  Recovered { elapsed: 99s }"), "{}", lines[KEPT - 1]);
    }
}
