//! Waiting for what somebody else does, and not for ever.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::{coop, yield_now};
use tokio::time::sleep;

/// Nothing that a test waits for takes so long, however loaded the machine is.
const LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked.
const PACE: Duration = Duration::from_millis(5);

/// Waits until a condition holds.
///
/// # Panics
/// With the condition's text when it does not hold after a minute: a test that waits for ever says nothing.
pub async fn until(condition: &str, holds: impl AsyncFnMut() -> bool) {
    until_paced(PACE, condition, holds).await;
}

/// As [`until`], at another pace.
pub async fn until_paced(pace: Duration, condition: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not after {LIMIT:?}: {condition}");
        sleep(pace).await;
    }
}

/// Gives a future so many polls, and then drops it. What it came to, if it was done by then.
pub async fn polled<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    polled_after(|_| (), polls, future).await
}

/// As [`polled`], each time in a turn of the task whose share of the runtime is used up by then.
pub async fn polled_late_in_turns<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    yield_now().await;
    let uses_it_up =
        |context: &mut Context<'_>| while pin!(coop::consume_budget()).as_mut().poll(context).is_ready() {};
    polled_after(uses_it_up, polls, future).await
}

async fn polled_after<F: Future>(before: impl Fn(&mut Context<'_>), polls: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        before(context);
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
