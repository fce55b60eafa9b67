//! An in-memory network that loses, delays, repeats and reorders datagrams, from a seed.
//!
//! It carries real QUIC: each host is a `World` whose sockets quinn drives under tokio's paused
//! clock. Deliberately models no bandwidth and no congestion. Must be used inside a
//! `current_thread` runtime with paused time; the same seed then gives the same trace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::host::{Host, Inbox};
use crate::net::env::{Env, TestOptions};

/// Largest UDP payload that is carried: Ethernet. Longer ones vanish, as a path MTU would have it.
const PAYLOAD_BYTES_MAX: usize = 1472;
/// First of the ports that are picked for those who ask for any.
const FREE_PORTS_FROM: u16 = 49_152;
/// Events kept for [`SimNet::trace_tail`]; the hash covers all.
const TAIL_EVENTS_MAX: usize = 64 * 1024;
/// The delay of a reordered datagram is up to this many times the longest ordinary one.
const REORDER_FACTOR: u32 = 4;

/// How the network misbehaves. Probabilities are from 0 to 1, per datagram.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// From sending to arrival. Timers have a resolution of a millisecond.
    pub delay: RangeInclusive<Duration>,
    /// Probability that it never arrives.
    pub loss: f64,
    /// Probability that it arrives twice.
    pub duplicate: f64,
    /// Probability that later ones may overtake it.
    pub reorder: f64,
}

impl Default for NetConfig {
    fn default() -> Self {
        let delay = Duration::from_millis(1)..=Duration::from_millis(5);
        Self { delay, loss: 0.0, duplicate: 0.0, reorder: 0.0 }
    }
}

/// What became of the datagrams so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Handed to the network.
    pub datagrams: u64,
    /// Handed to a socket.
    pub delivered: u64,
    /// Lost by chance, partition, a full or missing socket, or their size.
    pub dropped: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Held back so that later ones could overtake.
    pub reordered: u64,
}

/// The network. Cheap to clone; ends with the runtime it was made in.
#[derive(Clone)]
pub struct SimNet {
    shared: Arc<Shared>,
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl SimNet {
    /// A network whose chance comes from `seed`. Must be called inside a tokio runtime.
    pub fn new(seed: u64, config: NetConfig) -> Self {
        let shared = Arc::new(Shared {
            born: Instant::now(),
            changed: Notify::new(),
            state: Mutex::new(State::new(seed, config)),
        });
        tokio::spawn(deliver(shared.clone()));
        Self { shared }
    }

    /// The view of a process on the host `ip`: its chance comes from `seed`, and `killed` ends its
    /// tasks and its sockets. A host can be started again with a new token.
    pub fn env(&self, ip: IpAddr, seed: u64, killed: CancellationToken, test: TestOptions) -> Env {
        let world = Host {
            net: self.shared.clone(),
            ip,
            killed: killed.clone(),
            disk: Mutex::new(StdRng::seed_from_u64(seed.rotate_left(32))),
        };
        Env::simulated(Arc::new(world), seed, killed, test)
    }

    /// From now on: changes how the network misbehaves.
    pub fn configure(&self, config: NetConfig) {
        self.shared.state().config = config;
    }

    /// Loses everything between two hosts, in both directions, what is under way included.
    pub fn partition(&self, a: IpAddr, b: IpAddr) {
        self.shared.state().cut.insert(pair(a, b));
    }

    /// Ends a partition.
    pub fn repair(&self, a: IpAddr, b: IpAddr) {
        self.shared.state().cut.remove(&pair(a, b));
    }

    /// Keeps everything that two hosts send each other until [`release`](Self::release).
    pub fn hold(&self, a: IpAddr, b: IpAddr) {
        self.shared.state().held.entry(pair(a, b)).or_default();
    }

    /// Sends what was held on its way, in order.
    pub fn release(&self, a: IpAddr, b: IpAddr) {
        let held = self.shared.state().held.remove(&pair(a, b)).unwrap_or_default();
        for datagram in held {
            self.shared.dispatch(datagram);
        }
    }

    /// Ends all partitions and holds.
    pub fn repair_all(&self) {
        let held = {
            let mut state = self.shared.state();
            state.cut.clear();
            std::mem::take(&mut state.held)
        };
        for datagram in held.into_values().flatten() {
            self.shared.dispatch(datagram);
        }
    }

    /// Sets a host's clock wrong by this many milliseconds.
    pub fn skew(&self, ip: IpAddr, ms: i64) {
        self.shared.state().skew.insert(ip, ms);
    }

    /// From now on: how long each process waits for its disk. The slower, the more a crash finds
    /// undone.
    pub fn disks(&self, pause: RangeInclusive<Duration>) {
        self.shared.state().disk = pause;
    }

    /// Virtual time since the network was made.
    pub fn elapsed(&self) -> Duration {
        self.shared.born.elapsed()
    }

    /// Puts an event of the test itself into the trace.
    pub fn note(&self, text: &str) {
        let at = self.elapsed();
        self.shared.state().trace(at, Event::Note(text.to_owned()));
    }

    /// A hash over every event so far: virtual time, endpoints and length of each datagram, its
    /// fate, and the notes.
    pub fn trace_hash(&self) -> u64 {
        let digest: [u8; 32] = self.shared.state().hash.clone().finalize().into();
        digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// The last events as text, oldest first: to find where two runs part.
    pub fn trace_tail(&self) -> Vec<String> {
        let state = self.shared.state();
        state.tail.iter().map(|(at, event)| format!("{:>12.6} {event}", at.as_secs_f64())).collect()
    }

    /// What became of the datagrams so far.
    pub fn counters(&self) -> NetCounters {
        self.shared.state().counters
    }
}

fn pair(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    (a.min(b), a.max(b))
}

pub(super) struct Shared {
    pub(super) born: Instant,
    /// A datagram was put under way.
    changed: Notify,
    state: Mutex<State>,
}

pub(super) struct State {
    rng: StdRng,
    config: NetConfig,
    pub(super) sockets: BTreeMap<SocketAddr, Arc<Inbox>>,
    pub(super) disk: RangeInclusive<Duration>,
    under_way: BinaryHeap<Reverse<Flight>>,
    flights: u64,
    /// When the last datagram in order between two sockets arrives.
    last_due: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    cut: BTreeSet<(IpAddr, IpAddr)>,
    held: BTreeMap<(IpAddr, IpAddr), Vec<Datagram>>,
    pub(super) skew: BTreeMap<IpAddr, i64>,
    next_port: BTreeMap<IpAddr, u16>,
    counters: NetCounters,
    hash: Sha256,
    tail: VecDeque<(Duration, Event)>,
}

#[derive(Clone)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Bytes,
}

/// A datagram under way; ordered by arrival, then by departure.
struct Flight {
    due: Instant,
    number: u64,
    datagram: Datagram,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Flight {}
impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Sent,
    Lost,
    Held,
    Arrived,
    NobodyThere,
}

enum Event {
    Datagram { from: SocketAddr, to: SocketAddr, length: usize, fate: Fate },
    Note(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram { from, to, length, fate } => {
                write!(f, "{from} -> {to} {length} {fate:?}")
            }
            Self::Note(text) => write!(f, "note {text}"),
        }
    }
}

impl State {
    fn new(seed: u64, config: NetConfig) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            config,
            sockets: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            flights: 0,
            last_due: BTreeMap::new(),
            cut: BTreeSet::new(),
            held: BTreeMap::new(),
            disk: Duration::from_micros(100)..=Duration::from_millis(5),
            skew: BTreeMap::new(),
            next_port: BTreeMap::new(),
            counters: NetCounters::default(),
            hash: Sha256::new(),
            tail: VecDeque::new(),
        }
    }

    fn trace(&mut self, at: Duration, event: Event) {
        self.hash.update(at.as_nanos().to_be_bytes());
        self.hash.update(event.to_string());
        self.hash.update([0]);
        if self.tail.len() == TAIL_EVENTS_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back((at, event));
    }

    fn trace_datagram(&mut self, at: Duration, datagram: &Datagram, fate: Fate) {
        let (from, to, length) = (datagram.from, datagram.to, datagram.bytes.len());
        self.trace(at, Event::Datagram { from, to, length, fate });
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability.clamp(0.0, 1.0))
    }

    /// Decides when a datagram arrives.
    fn launch(&mut self, now: Instant, datagram: Datagram) {
        let (least, most) = (*self.config.delay.start(), *self.config.delay.end());
        let delay = least + most.saturating_sub(least).mul_f64(self.rng.random_range(0.0..1.0));
        let due = if self.chance(self.config.reorder) {
            self.counters.reordered += 1;
            let factor = self.rng.random_range(0.0..f64::from(REORDER_FACTOR));
            now + delay + most.mul_f64(factor)
        } else {
            let last = self.last_due.entry((datagram.from, datagram.to)).or_insert(now);
            *last = (*last).max(now + delay);
            *last
        };
        self.flights += 1;
        self.under_way.push(Reverse(Flight { due, number: self.flights, datagram }));
    }

    pub(super) fn free_port(&mut self, ip: IpAddr) -> u16 {
        let next = self.next_port.entry(ip).or_insert(FREE_PORTS_FROM);
        let port = *next;
        *next = next.checked_add(1).unwrap_or(FREE_PORTS_FROM);
        port
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host sends a datagram.
    pub(super) fn send(&self, datagram: Datagram) {
        self.state().counters.datagrams += 1;
        self.dispatch(datagram);
    }

    fn dispatch(&self, datagram: Datagram) {
        let now = Instant::now();
        let at = now.duration_since(self.born);
        let mut state = self.state();
        let hosts = pair(datagram.from.ip(), datagram.to.ip());
        let loss = state.config.loss;
        if state.cut.contains(&hosts)
            || datagram.bytes.len() > PAYLOAD_BYTES_MAX
            || state.chance(loss)
        {
            state.counters.dropped += 1;
            return state.trace_datagram(at, &datagram, Fate::Lost);
        }
        if state.held.contains_key(&hosts) {
            state.trace_datagram(at, &datagram, Fate::Held);
            return state.held.entry(hosts).or_default().push(datagram);
        }
        state.trace_datagram(at, &datagram, Fate::Sent);
        let duplicate = state.config.duplicate;
        if state.chance(duplicate) {
            state.counters.duplicated += 1;
            state.launch(now, datagram.clone());
        }
        state.launch(now, datagram);
        drop(state);
        self.changed.notify_one();
    }

    /// Delivers what is due; says when the next one is.
    fn deliver_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        loop {
            match state.under_way.peek() {
                None => return None,
                Some(Reverse(flight)) if flight.due > now => return Some(flight.due),
                Some(_) => {}
            }
            let Reverse(Flight { datagram, .. }) = state.under_way.pop()?;
            let fate = state.arrive(&datagram);
            match fate {
                Fate::Arrived => state.counters.delivered += 1,
                Fate::Sent | Fate::Lost | Fate::Held | Fate::NobodyThere => {
                    state.counters.dropped += 1;
                }
            }
            state.trace_datagram(now.duration_since(self.born), &datagram, fate);
        }
    }
}

impl State {
    fn arrive(&self, datagram: &Datagram) -> Fate {
        if self.cut.contains(&pair(datagram.from.ip(), datagram.to.ip())) {
            return Fate::Lost;
        }
        match self.sockets.get(&datagram.to) {
            Some(inbox) if !inbox.killed.is_cancelled() => inbox.put(datagram.clone()),
            Some(_) | None => Fate::NobodyThere,
        }
    }
}

/// The one task that moves datagrams, so that their order depends on nothing else.
async fn deliver(net: Arc<Shared>) {
    loop {
        match net.deliver_due() {
            None => net.changed.notified().await,
            Some(due) => {
                tokio::select! {
                    biased;
                    () = net.changed.notified() => {}
                    () = sleep_until(due) => {}
                }
            }
        }
    }
}
