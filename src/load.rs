//! How busy this server is: bytes, processor time, messages and waits, measured every second.
//!
//! Whoever asks gets the last full second at no cost. Deliberately judges nothing: what a load
//! means is the balancer's business.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::home::{HomeHandle, Reading};
use crate::net::Env;

/// How often is measured.
const INTERVAL: Duration = Duration::from_secs(1);
/// Over how many measurements the waits are taken.
const WAITS_MEASUREMENTS: usize = 10;

/// What was measured in the last full second. Everything is 0 in the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// UDP payload, both directions, clients and servers.
    pub bytes_per_s: u64,
    /// Processor time in thousandths of one core. 0 in the simulator.
    pub cpu_permille: u32,
    /// Messages stored.
    pub messages_per_s: u64,
    /// 99 of 100 appends of the last ten seconds were answered within this.
    pub p99_us: u64,
    /// Bytes free on the disk of the database. 0 when unknown, and in the simulator.
    pub disk_free_bytes: u64,
}

/// Measures one server.
pub struct LoadMeter {
    env: Env,
    home: HomeHandle,
    database: PathBuf,
    latest: Mutex<Load>,
}

/// Where all counters stood.
struct Mark {
    at: Instant,
    cpu: Duration,
    bytes: u64,
    stored: u64,
}

impl LoadMeter {
    /// A meter that has measured nothing yet.
    pub fn new(env: &Env, home: HomeHandle, database: &Path) -> Arc<Self> {
        let (env, database) = (env.clone(), database.to_owned());
        Arc::new(Self { env, home, database, latest: Mutex::default() })
    }

    /// The last full second.
    pub fn latest(&self) -> Load {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures for as long as the task lives.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut readings = VecDeque::from([self.home.reading()]);
        let mut last = self.mark(&readings);
        loop {
            ticks.tick().await;
            if readings.len() > WAITS_MEASUREMENTS {
                readings.pop_front();
            }
            readings.push_back(self.home.reading());
            let now = self.mark(&readings);
            let load = self.between(&last, &now, &readings);
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = load;
            last = now;
        }
    }

    fn mark(&self, readings: &VecDeque<Reading>) -> Mark {
        Mark {
            at: Instant::now(),
            cpu: self.env.cpu_time(),
            bytes: self.env.udp_bytes(),
            stored: readings.back().map_or(0, |reading| reading.stored),
        }
    }

    fn between(&self, last: &Mark, now: &Mark, readings: &VecDeque<Reading>) -> Load {
        let time = now.at.duration_since(last.at);
        let cpu = now.cpu.saturating_sub(last.cpu);
        let p99_us = match (readings.front(), readings.back()) {
            (Some(first), Some(latest)) => latest.p99_us_since(first),
            (None, _) | (_, None) => 0,
        };
        let cpu_permille = per_time(cpu.as_micros(), Duration::from_millis(1), time);
        Load {
            bytes_per_s: per_second(now.bytes - last.bytes, time),
            cpu_permille: u32::try_from(cpu_permille).unwrap_or(u32::MAX),
            messages_per_s: per_second(now.stored - last.stored, time),
            p99_us,
            disk_free_bytes: self.env.disk_free_bytes(&self.database),
        }
    }
}

fn per_second(count: u64, time: Duration) -> u64 {
    per_time(count.into(), Duration::from_secs(1), time)
}

/// How many there are in `unit` if there are `count` in `time`, rounded.
fn per_time(count: u128, unit: Duration, time: Duration) -> u64 {
    let time = time.as_micros().max(1);
    u64::try_from((count * unit.as_micros() + time / 2) / time).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_one_second_would_bring() {
        assert_eq!(per_second(3_000, Duration::from_millis(1_500)), 2_000);
        assert_eq!(per_second(7, Duration::ZERO), 7_000_000);
        assert!(Env::system().cpu_time() > Duration::ZERO);
        assert!(Env::system().disk_free_bytes(Path::new("/")) > 0);
        // 250 ms of processor time in a second are a quarter of a core.
        let busy = Duration::from_millis(250).as_micros();
        assert_eq!(per_time(busy, Duration::from_millis(1), Duration::from_secs(1)), 250);
    }
}
