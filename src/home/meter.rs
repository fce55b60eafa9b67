//! How much is stored and how long it takes: counted at the writer, read by whoever reports.
//!
//! Counters only grow; a rate is the difference of two readings. Deliberately keeps no time of its
//! own and no lock: the writer must not wait for anybody who looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Four buckets per doubling, from 4 us to above a minute.
const BUCKETS: usize = 96;
/// Buckets per doubling, as a power of two.
const FINENESS_BITS: u32 = 2;

/// What the writer counts.
#[derive(Debug)]
pub(super) struct Meter {
    stored: AtomicU64,
    waits: [AtomicU64; BUCKETS],
}

impl Default for Meter {
    fn default() -> Self {
        Self { stored: AtomicU64::new(0), waits: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Meter {
    /// So many messages were stored.
    pub(super) fn stored(&self, messages: u64) {
        self.stored.fetch_add(messages, Ordering::Relaxed);
    }

    /// An append was answered so long after it had come in.
    pub(super) fn answered(&self, after: Duration) {
        if let Some(count) = self.waits.get(bucket(after)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn reading(&self) -> Reading {
        let mut waits = [0; BUCKETS];
        for (read, count) in waits.iter_mut().zip(&self.waits) {
            *read = count.load(Ordering::Relaxed);
        }
        Reading { stored: self.stored.load(Ordering::Relaxed), waits }
    }
}

/// What was counted since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Messages stored.
    pub stored: u64,
    waits: [u64; BUCKETS],
}

impl Reading {
    /// Of the appends answered since `earlier`, 99 of 100 took at most this long, in microseconds,
    /// rounded up by at most a quarter. 0 when there were none.
    pub fn p99_us_since(&self, earlier: &Self) -> u64 {
        let counts = || self.waits.iter().zip(&earlier.waits).map(|(n, o)| n.saturating_sub(*o));
        let rank = (counts().sum::<u64>() * 99).div_ceil(100);
        if rank == 0 {
            return 0;
        }
        let mut seen = 0;
        let found = counts().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, highest_us)
    }
}

fn bucket(wait: Duration) -> usize {
    let us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1 << FINENESS_BITS);
    let doubling = us.ilog2() - FINENESS_BITS;
    let part = (us >> doubling) - (1 << FINENESS_BITS);
    let index = u64::from(doubling << FINENESS_BITS) + part;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The longest wait of a bucket.
fn highest_us(bucket: usize) -> u64 {
    let per_doubling = 1 << FINENESS_BITS;
    let (doubling, part) = (bucket / per_doubling, bucket % per_doubling);
    ((per_doubling + part + 1) as u64).checked_shl(doubling as u32).map_or(u64::MAX, |us| us - 1)
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_wait_is_told_at_most_a_quarter_too_long(us in 4_u64..60_000_000) {
            let found = highest_us(bucket(Duration::from_micros(us)));
            prop_assert!(us <= found && found <= us + us / 4, "{us} {found}");
            let bucket_of = |us| bucket(Duration::from_micros(us));
            prop_assert_eq!(bucket_of(found), bucket_of(us));
        }
    }

    #[test]
    fn the_slowest_of_a_hundred_does_not_count_and_the_second_slowest_does() {
        let meter = Meter::default();
        let start = meter.reading();
        assert_eq!(start.p99_us_since(&start), 0);
        for _ in 0..99 {
            meter.answered(Duration::from_micros(1_000));
        }
        meter.answered(Duration::from_secs(3));
        let fast = meter.reading().p99_us_since(&start);
        assert!((1_000..=1_250).contains(&fast), "{fast}");
        meter.answered(Duration::from_secs(3));
        assert!(meter.reading().p99_us_since(&start) >= 3_000_000);
        // What was before does not count.
        let later = meter.reading();
        meter.answered(Duration::from_micros(1_000));
        assert_eq!(meter.reading().p99_us_since(&later), fast);
        meter.answered(Duration::MAX);
    }
}
