//! Judges connection attempts before the first byte of TLS is computed for them.
//!
//! Address validation only under load: it costs a round trip. How many finished connections there
//! may be is not judged here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::limits::Limits;

/// Addresses counted in one second. Beyond it, unknown ones must first prove that they exist.
const ADDRESSES_MAX: usize = 16 * 1024;

/// What becomes of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The handshake begins.
    Accept,
    /// The client must prove that it receives what is sent to its address.
    Retry,
    /// It is told that there is no room.
    Refuse,
    /// It gets no answer.
    Ignore,
}

/// Whether a client has proved that it receives what is sent to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// It has.
    Validated,
    /// Anybody may have written that address on the packet.
    Claimed,
}

/// The doorkeeper of one listening endpoint.
#[derive(Debug)]
pub struct AcceptGate {
    retry_above: usize,
    refuse_above: usize,
    per_ip_per_s: u32,
    deadline: Duration,
    in_flight: Arc<AtomicUsize>,
    second: Instant,
    seen: BTreeMap<IpAddr, u32>,
}

impl AcceptGate {
    /// Takes its numbers from `limits`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            retry_above: limits.handshakes_before_retry as usize,
            refuse_above: limits.handshakes_max as usize,
            per_ip_per_s: limits.handshakes_per_ip_per_s,
            deadline: Duration::from_millis(limits.handshake_deadline_ms),
            in_flight: Arc::default(),
            second: Instant::now(),
            seen: BTreeMap::new(),
        }
    }

    /// Takes other numbers, for the attempts from now on.
    pub fn set_limits(&mut self, limits: &Limits) {
        self.retry_above = limits.handshakes_before_retry as usize;
        self.refuse_above = limits.handshakes_max as usize;
        self.per_ip_per_s = limits.handshakes_per_ip_per_s;
        self.deadline = Duration::from_millis(limits.handshake_deadline_ms);
    }

    /// Judges one attempt from `ip`.
    pub fn judge(&mut self, ip: IpAddr, address: Address) -> Verdict {
        let now = Instant::now();
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.seen.clear();
        }
        let crowded = self.seen.len() >= ADDRESSES_MAX && !self.seen.contains_key(&ip);
        if !crowded {
            let count = self.seen.entry(ip).or_default();
            *count = count.saturating_add(1);
            if *count > self.per_ip_per_s {
                return Verdict::Ignore;
            }
        }
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        match address {
            _ if in_flight >= self.refuse_above => Verdict::Refuse,
            Address::Claimed if crowded || in_flight >= self.retry_above => Verdict::Retry,
            Address::Claimed | Address::Validated => Verdict::Accept,
        }
    }

    /// Judges `incoming` and does what the verdict says; the handshake, if there is to be one,
    /// must be finished in a task of its own.
    pub fn admit(&mut self, incoming: quinn::Incoming) -> Option<Handshake> {
        let address =
            if incoming.remote_address_validated() { Address::Validated } else { Address::Claimed };
        match self.judge(incoming.remote_address().ip(), address) {
            Verdict::Accept => {
                let slot = Slot::take(&self.in_flight);
                let connecting = incoming.accept().ok()?;
                Some(Handshake { connecting, deadline: self.deadline, _slot: slot })
            }
            Verdict::Retry => {
                // Fails only for validated addresses, which are never asked to retry.
                let _ = incoming.retry();
                None
            }
            Verdict::Refuse => {
                incoming.refuse();
                None
            }
            Verdict::Ignore => {
                incoming.ignore();
                None
            }
        }
    }
}

/// A handshake in progress; it counts as one until it is finished or dropped.
#[derive(Debug)]
pub struct Handshake {
    connecting: quinn::Connecting,
    deadline: Duration,
    _slot: Slot,
}

impl Handshake {
    /// Waits for the handshake, at most `handshake_deadline_ms`.
    pub async fn finish(self) -> Option<quinn::Connection> {
        timeout(self.deadline, self.connecting).await.ok()?.ok()
    }
}

#[derive(Debug)]
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn gate() -> AcceptGate {
        AcceptGate::new(&Limits::default())
    }

    fn fill(gate: &AcceptGate, count: usize) -> Vec<Slot> {
        (0..count).map(|_| Slot::take(&gate.in_flight)).collect()
    }

    #[tokio::test]
    async fn above_128_handshakes_only_a_proven_address_gets_in() {
        let mut gate = gate();
        let mut slots = fill(&gate, 127);
        assert_eq!(gate.judge(ip(1), Address::Claimed), Verdict::Accept);
        slots.push(Slot::take(&gate.in_flight));
        assert_eq!(gate.judge(ip(1), Address::Claimed), Verdict::Retry);
        assert_eq!(gate.judge(ip(1), Address::Validated), Verdict::Accept);
        drop(slots);
        assert_eq!(gate.judge(ip(1), Address::Claimed), Verdict::Accept);
    }

    #[tokio::test]
    async fn above_1024_handshakes_nobody_gets_in() {
        let mut gate = gate();
        let _slots = fill(&gate, 1_024);
        assert_eq!(gate.judge(ip(1), Address::Claimed), Verdict::Refuse);
        assert_eq!(gate.judge(ip(1), Address::Validated), Verdict::Refuse);
    }

    #[tokio::test(start_paused = true)]
    async fn the_31st_attempt_of_an_address_within_a_second_is_ignored() {
        let mut gate = gate();
        for _ in 0..30 {
            assert_eq!(gate.judge(ip(1), Address::Claimed), Verdict::Accept);
        }
        assert_eq!(gate.judge(ip(1), Address::Claimed), Verdict::Ignore);
        assert_eq!(gate.judge(ip(2), Address::Claimed), Verdict::Accept);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(gate.judge(ip(1), Address::Claimed), Verdict::Accept);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_made_up_addresses_is_not_remembered_without_bound() {
        let mut gate = gate();
        for number in 0..ADDRESSES_MAX as u32 {
            assert_eq!(gate.judge(ip(number), Address::Claimed), Verdict::Accept);
        }
        assert_eq!(gate.judge(ip(u32::MAX), Address::Claimed), Verdict::Retry);
        assert_eq!(gate.judge(ip(u32::MAX), Address::Validated), Verdict::Accept);
        assert_eq!(gate.seen.len(), ADDRESSES_MAX);
    }
}
