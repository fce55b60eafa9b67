//! Measurements of the product as its users run it: real programs, real disks, real sockets.
//!
//! [`exchange`] measures what one person feels: it starts the programs that lie beside it and holds
//! a watch. [`run`] measures how much load a cluster carries, with the sessions of [`load`], and
//! [`ceilings`] what the machine would give a server that does nothing but pass on and store.
//! [`files`] measures files, with the client itself in processes of their own.
//! Deliberately judges nothing: the figures, and whether a message was lost, are the result.

pub mod ceilings;
mod cluster;
pub mod exchange;
pub mod fanout;
pub mod files;
pub mod load;
mod process;
pub mod relay;
pub mod report;
pub mod run;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::net::ConnectError;
use crate::wire::Code;

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
    /// Nobody answers, or somebody else than expected.
    #[error("no connection to {addr}")]
    Connect {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: Arc<ConnectError>,
    },
    /// A typed answer that ends the measurement.
    #[error("the cluster refuses: {code} {detail}", code = .code.name())]
    Refused {
        /// The code.
        code: Code,
        /// When to try again; zero: not said.
        after: Duration,
        /// The server's own words.
        detail: String,
    },
    /// A name that resolves to nothing.
    #[error("{0} is unknown")]
    NoSuchHost(String),
    /// A file of people cannot be used.
    #[error("{} is of no use: {what}", .path.display())]
    People {
        /// Which.
        path: PathBuf,
        /// Why not.
        what: String,
    },
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
#[derive(Clone, Debug)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        Self::new()
    }
}

impl Durations {
    /// None yet.
    pub fn new() -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants, and good ones")]
        Self(Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("bounds of a histogram"))
    }

    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts all of another.
    fn add_all(&mut self, other: &Self) {
        // Fails only between histograms of different bounds, of which there are none.
        let _ = self.0.add(&other.0);
    }

    /// In microseconds.
    pub(super) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// What they come down to.
    pub fn summary(&self) -> Summary {
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1000.0;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        Summary {
            count: self.0.len(),
            p50_ms: at(0.50),
            p90_ms: at(0.90),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(self.0.max()),
        }
    }
}

/// Something that does not happen, in its own words.
fn unexpected(error: impl Display) -> BenchError {
    BenchError::Unexpected(error.to_string())
}

/// What many durations come down to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// One in ten took longer.
    pub p90_ms: f64,
    /// One in a hundred took longer.
    pub p99_ms: f64,
    /// One in a thousand took longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_half_and_what_nearly_all_took() {
        let mut durations = Durations::new();
        for ms in 1..=100 {
            durations.add(Duration::from_millis(ms));
        }
        let summary = durations.summary();
        assert_eq!(summary.count, 100);
        for (got, expected) in [
            (summary.p50_ms, 50.0),
            (summary.p90_ms, 90.0),
            (summary.p99_ms, 99.0),
            (summary.p999_ms, 100.0),
            (summary.max_ms, 100.0),
        ] {
            assert!((got / expected - 1.0).abs() < 0.002, "{got} instead of {expected}");
        }
    }
}
