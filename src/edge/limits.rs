//! How fast and how many: request rates, rates per address, connections per address.
//!
//! Everything is counted in `tokio::time`, which the simulator pauses and advances. Deliberately
//! knows nothing of frames; the callers turn a refusal into its typed answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// So many events per time, and so many at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Time in which one event's worth grows back.
    interval: Duration,
    /// Time's worth of events that may come at once, less one.
    tolerance: Duration,
}

impl Rate {
    /// `count` events per `period`, of which `burst` may come at once. Both at least 1.
    pub fn new(count: u32, period: Duration, burst: u32) -> Self {
        let interval = period / count.max(1);
        Self { interval, tolerance: interval * (burst.max(1) - 1) }
    }

    /// `count` events per minute, all of which may come at once.
    pub fn per_minute(count: u32) -> Self {
        Self::new(count, Duration::from_secs(60), count)
    }
}

/// One counter of a [`Rate`]: the time at which all that was used has grown back.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    full_at: Instant,
}

impl Meter {
    /// A counter of which nothing is used.
    pub fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Counts one event.
    ///
    /// # Errors
    /// The time after which it would be let through; nothing is counted then.
    pub fn check(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now);
        let ahead = full_at.saturating_duration_since(now);
        if ahead > rate.tolerance {
            return Err(ahead.saturating_sub(rate.tolerance));
        }
        self.full_at = full_at + rate.interval;
        Ok(())
    }
}

/// What stands for one household or machine: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// The key of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(IpAddr::V4(v4)),
            IpAddr::V6(v6) => {
                Self(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))))
            }
        }
    }
}

/// A [`Meter`] for each of at most [`limits::ADDRESSES_TRACKED_MAX`] addresses.
#[derive(Debug)]
pub struct PerAddress {
    rate: Rate,
    meters: BTreeMap<AddressKey, Meter>,
    swept_at: Option<Instant>,
}

impl PerAddress {
    /// Counts nothing yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, meters: BTreeMap::new(), swept_at: None }
    }

    /// Changes the rate; what was counted stays counted.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Counts one event of an address.
    ///
    /// # Errors
    /// The time after which to try again: the address is too fast, or there is no room to count it.
    pub fn check(&mut self, address: AddressKey, now: Instant) -> Result<(), Duration> {
        if !self.meters.contains_key(&address) && self.meters.len() >= limits::ADDRESSES_TRACKED_MAX
        {
            self.sweep(now)?;
        }
        self.meters.entry(address).or_insert_with(|| Meter::new(now)).check(self.rate, now)
    }

    /// Forgets addresses that have nothing used. At most once a second: it looks at all of them.
    fn sweep(&mut self, now: Instant) -> Result<(), Duration> {
        const PAUSE: Duration = Duration::from_secs(1);
        if self.swept_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            return Err(PAUSE);
        }
        self.swept_at = Some(now);
        self.meters.retain(|_, meter| meter.full_at > now);
        if self.meters.len() < limits::ADDRESSES_TRACKED_MAX { Ok(()) } else { Err(PAUSE) }
    }
}

/// Counts open connections, in all and per address.
#[derive(Debug, Default)]
pub struct Connections {
    total: u32,
    per_address: BTreeMap<AddressKey, u32>,
}

/// No room for another connection: of this server, or of this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Connections {
    /// Takes a place.
    ///
    /// # Errors
    /// [`Full`] when either limit is reached.
    pub fn enter(&mut self, address: AddressKey, limits: &limits::Limits) -> Result<(), Full> {
        let here = self.per_address.get(&address).copied().unwrap_or(0);
        if self.total >= limits.connections_max || here >= limits.connections_per_ip_max {
            return Err(Full);
        }
        self.total += 1;
        self.per_address.insert(address, here + 1);
        Ok(())
    }

    /// Gives a place back.
    pub fn leave(&mut self, address: AddressKey) {
        let Some(here) = self.per_address.get_mut(&address) else { return };
        self.total = self.total.saturating_sub(1);
        *here -= 1;
        if *here == 0 {
            self.per_address.remove(&address);
        }
    }

    /// Connections now open.
    pub fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> AddressKey {
        AddressKey::of(IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn a_burst_passes_and_the_next_waits_for_its_share() {
        let now = Instant::now();
        let rate = Rate::new(50, Duration::from_secs(1), 200);
        let mut meter = Meter::new(now);
        for _ in 0..200 {
            assert_eq!(meter.check(rate, now), Ok(()));
        }
        assert_eq!(meter.check(rate, now), Err(Duration::from_millis(20)));
        let later = now + Duration::from_millis(20);
        assert_eq!(meter.check(rate, later), Ok(()));
        assert_eq!(meter.check(rate, later), Err(Duration::from_millis(20)));
    }

    #[test]
    fn each_address_has_its_own_share() {
        let now = Instant::now();
        let mut rates = PerAddress::new(Rate::per_minute(2));
        assert_eq!(rates.check(key(1), now), Ok(()));
        assert_eq!(rates.check(key(1), now), Ok(()));
        assert_eq!(rates.check(key(1), now), Err(Duration::from_secs(30)));
        assert_eq!(rates.check(key(2), now), Ok(()));
    }

    #[test]
    fn more_addresses_than_can_be_counted_wait_until_others_are_forgotten() {
        let now = Instant::now();
        let mut rates = PerAddress::new(Rate::per_minute(1));
        for number in 0..u32::try_from(limits::ADDRESSES_TRACKED_MAX).unwrap() {
            let address = AddressKey::of(IpAddr::from(number.to_be_bytes()));
            assert_eq!(rates.check(address, now), Ok(()));
        }
        let one_more = AddressKey::of(IpAddr::from([255, 0, 0, 1]));
        assert!(rates.check(one_more, now).is_err());
        assert_eq!(rates.check(one_more, now + Duration::from_secs(61)), Ok(()));
        assert_eq!(rates.meters.len(), 1);
    }

    #[test]
    fn a_whole_ipv6_subnet_is_one_address() {
        let of = |text: &str| AddressKey::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:127.0.0.1"), key(1));
    }

    #[test]
    fn a_place_is_free_again_after_its_connection_left() {
        let limits = limits::Limits {
            connections_max: 3,
            connections_per_ip_max: 2,
            ..limits::Limits::default()
        };
        let mut connections = Connections::default();
        assert_eq!(connections.enter(key(1), &limits), Ok(()));
        assert_eq!(connections.enter(key(1), &limits), Ok(()));
        assert_eq!(connections.enter(key(1), &limits), Err(Full));
        assert_eq!(connections.enter(key(2), &limits), Ok(()));
        assert_eq!(connections.enter(key(3), &limits), Err(Full));
        connections.leave(key(1));
        assert_eq!(connections.enter(key(3), &limits), Ok(()));
        assert_eq!(connections.total(), 3);
    }
}
