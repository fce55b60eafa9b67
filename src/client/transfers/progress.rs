//! How far one transfer is, and how fast: written by the transfer, read by whoever shows it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Sealed bytes of one transfer.
#[derive(Debug)]
pub(crate) struct Progress {
    done: AtomicU64,
    /// Of those, the ones that travelled now.
    travelled: AtomicU64,
    /// When how many had travelled; the oldest is as old as the rate looks back.
    samples: Mutex<VecDeque<(Instant, u64)>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let (done, travelled) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { done, travelled, samples: Mutex::default() }
    }

    /// What is there already needs no time: it counts as done, and not for the rate.
    pub(super) fn found(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    /// A chunk has arrived at the other side.
    pub(super) fn moved(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        let travelled = self.travelled.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Many chunks come in one moment; so many samples tell nothing more.
        if samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= SAMPLE_INTERVAL) {
            samples.push_back((now, travelled));
        }
        forget_old(&mut samples, now);
    }

    /// The rate is taken from here on.
    pub(super) fn begin(&self) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.clear();
        samples.push_back((Instant::now(), self.travelled()));
    }

    /// Bytes that are there.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes that travelled since this process took the transfer up.
    pub(super) fn travelled(&self) -> u64 {
        self.travelled.load(Ordering::Relaxed)
    }

    /// Bytes a second, over the last [`WINDOW`].
    pub(super) fn rate(&self) -> u64 {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        forget_old(&mut samples, now);
        let Some(&(since, before)) = samples.front() else { return 0 };
        let ms = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let bytes = self.travelled().saturating_sub(before);
        bytes.saturating_mul(1_000).checked_div(ms).unwrap_or(0)
    }
}

/// Keeps one sample that is older than the window: without it a slow transfer would have no rate.
fn forget_old(samples: &mut VecDeque<(Instant, u64)>, now: Instant) {
    while samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
        samples.pop_front();
    }
}

/// What a rate is taken over.
const WINDOW: Duration = Duration::from_secs(3);
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_seconds_and_resumed_bytes_do_not_count() {
        let progress = Progress::new();
        progress.found(1_000_000);
        progress.begin();
        assert_eq!((progress.done(), progress.rate()), (1_000_000, 0));
        for _ in 0..10 {
            advance(Duration::from_secs(1)).await;
            progress.moved(500);
        }
        assert_eq!((progress.done(), progress.travelled()), (1_005_000, 5_000));
        assert_eq!(progress.rate(), 500);
        advance(Duration::from_secs(60)).await;
        assert!(progress.rate() < 20, "nothing has come for a minute: {}", progress.rate());
    }
}
