//! Measurements of the product as its users run it: real programs, real disks, real sockets.
//!
//! [`exchange`] measures what one person feels. Deliberately shares no code with what it measures:
//! it starts the programs that lie beside it and holds a watch.

mod cluster;
pub mod exchange;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A program is not where it should be.
    #[error("{} cannot be started", .path.display())]
    Program {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program did not do what it was started for.
    #[error("{what} failed: {said}")]
    Failed {
        /// What it was to do.
        what: String,
        /// What it said on standard error, in one line.
        said: String,
    },
    /// Something took longer than anything that is worth measuring.
    #[error("{0} took longer than {limit} s", limit = PATIENCE.as_secs())]
    TooSlow(&'static str),
    /// A program said something unexpected.
    #[error("{0}")]
    Unexpected(String),
    /// A file of the measurement itself.
    #[error("cannot use {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A socket, a pipe or a signal of the measurement itself.
    #[error("the system refuses")]
    System(#[from] io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// For any one step.
const PATIENCE: Duration = Duration::from_secs(60);
/// Histograms tell apart what differs by a thousandth.
const DIGITS: u8 = 3;

/// One hour: whatever takes longer is counted as that.
const LONGEST_US: u64 = 3_600_000_000;

/// A number of durations.
#[derive(Debug)]
struct Durations(Histogram<u64>);

impl Durations {
    fn new() -> Result<Self, BenchError> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Ok(Self(histogram.map_err(|error| BenchError::Unexpected(error.to_string()))?))
    }

    fn add(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    fn summary(&self) -> Summary {
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1000.0;
        Summary {
            count: self.0.len(),
            p50_ms: ms(self.0.value_at_quantile(0.50)),
            p99_ms: ms(self.0.value_at_quantile(0.99)),
            max_ms: ms(self.0.max()),
        }
    }
}

/// What many durations come down to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// One in a hundred took longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_half_and_what_nearly_all_took() {
        let mut durations = Durations::new().unwrap();
        for ms in 1..=100 {
            durations.add(Duration::from_millis(ms));
        }
        let Summary { count, p50_ms, p99_ms, max_ms } = durations.summary();
        assert_eq!(count, 100);
        for (got, expected) in [(p50_ms, 50.0), (p99_ms, 99.0), (max_ms, 100.0)] {
            assert!((got / expected - 1.0).abs() < 0.002, "{got} instead of {expected}");
        }
    }
}
