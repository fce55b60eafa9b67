//! `Env`: the only door to time of day, chance, UDP, task spawning and the cost of cryptography.
//!
//! In life it is the operating system. In the simulator it is a seeded world in which a whole
//! cluster runs in one thread: the same seed gives the same packets at the same virtual times.
//! Durations are always tokio's (`tokio::time`), which the simulator pauses and advances.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{AsyncUdpSocket, Runtime};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::counted::Counted;
use crate::ops::admin::Watched;
use crate::ops::{Meters, Names, Observer};
use crate::types::{BlobId, UserName};
use crate::wire::client::{ChunkAnswer, ServerFrame};

/// Where a node runs: the operating system, or the simulator.
pub trait World: Send + Sync + 'static {
    /// What quinn drives its endpoints with.
    fn runtime(&self) -> Arc<dyn Runtime>;
    /// Opens a UDP socket. Port 0 picks a free one.
    ///
    /// # Errors
    /// As the operating system: the port is taken, or the address is not ours.
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;
    /// Milliseconds since 1970, for people's screens and for tickets; no rule of delivery reads it.
    fn unix_ms(&self) -> u64;
    /// How long the next write to disk takes. Zero in life, where the disk itself takes its time;
    /// the simulator puts the moments at which a crash can strike here.
    fn disk_pause(&self) -> Duration;
    /// Whether store work runs inside async tasks (the simulator) instead of on threads.
    fn is_simulated(&self) -> bool;
    /// Processor time of this process so far. Zero in the simulator: nothing may depend on it.
    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }
    /// Bytes free on the disk of `path`. 0 when unknown, and in the simulator.
    fn disk_free_bytes(&self, _path: &Path) -> u64 {
        0
    }
}

/// A node's view of the world. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    inner: Arc<Inner>,
    observer: Arc<Observer>,
    around: Option<Around>,
}

/// Puts something between a socket and whoever uses it.
pub type Around = Arc<dyn Fn(Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> + Send + Sync>;

struct Inner {
    world: Arc<dyn World>,
    rng: Mutex<StdRng>,
    /// UDP payload of all sockets, both directions.
    udp_bytes: Arc<AtomicU64>,
    /// Ends every task of this node at its next await: how the simulator kills a process.
    killed: CancellationToken,
    #[cfg(feature = "testkit")]
    test: TestOptions,
    #[cfg(feature = "testkit")]
    way_out: std::sync::OnceLock<Arc<dyn WayOut>>,
}

/// What stands between a server and its clients in tests: how an honest server becomes a hostile
/// one. Does not exist in release builds.
#[cfg(feature = "testkit")]
pub trait WayOut: Send + Sync {
    /// What a client gets in place of `frame`; `to` is who is logged in there.
    fn rewrite(&self, to: Option<&UserName>, frame: ServerFrame) -> Vec<ServerFrame>;

    /// What is answered in place of `said` where somebody puts or gets a chunk.
    fn rewrite_chunk(&self, asked: &AskedChunk<'_>, said: ChunkSaid) -> ChunkSaid {
        let _ = asked;
        said
    }
}

/// Who asks a home for which chunk.
#[derive(Clone, Copy, Debug)]
pub struct AskedChunk<'a> {
    /// Who asks.
    pub by: &'a UserName,
    /// Of which blob.
    pub blob: &'a BlobId,
    /// Which.
    pub index: u32,
    /// It is to be stored; else it is to be sent back.
    pub is_put: bool,
}

/// What a home answers on a chunk's stream: the frame in front, and the bytes that follow it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChunkSaid {
    /// The frame.
    pub head: ChunkAnswer,
    /// The bytes; an honest home announces as many.
    pub follows: Bytes,
}

impl From<ChunkAnswer> for ChunkSaid {
    fn from(head: ChunkAnswer) -> Self {
        Self { head, follows: Bytes::new() }
    }
}

/// What tests may change. Does not exist in release builds.
#[cfg(feature = "testkit")]
#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    /// Cheap password costs and the committed RSA keys of `testkit::keys`.
    pub cheap_crypto: bool,
    /// A bug planted to see whether the checkers catch it.
    pub bug: Option<Bug>,
}

/// Bugs that the simulator plants in one node, to prove that its checkers can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The home answers `Appended` before its COMMIT.
    AckBeforeCommit,
    /// The home stores the entry and the producer's number in two transactions.
    DedupInAnotherTransaction,
    /// The home stores an append whose `n` leaves a gap.
    NoGapCheck,
    /// The client sends its cursor before its own COMMIT.
    ClientAckBeforeCommit,
    /// The home pushes a group's entries on to who was removed.
    RemovedStillReads,
    /// The home stores messages that are sealed under an earlier key of the group.
    StaleEpochAccepted,
    /// The home takes an operation that does not follow the group's newest one.
    OperationWithoutCas,
    /// The client sends the message of a file before the home has committed the file.
    FileSentBeforeCommit,
}

impl Env {
    /// The operating system.
    pub fn system() -> Self {
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        Self::in_world(Arc::new(System), StdRng::from_seed(seed))
    }

    fn in_world(world: Arc<dyn World>, rng: StdRng) -> Self {
        Self {
            inner: Arc::new(Inner {
                world,
                rng: Mutex::new(rng),
                udp_bytes: Arc::default(),
                killed: CancellationToken::new(),
                #[cfg(feature = "testkit")]
                test: TestOptions::default(),
                #[cfg(feature = "testkit")]
                way_out: std::sync::OnceLock::new(),
            }),
            observer: Arc::default(),
            around: None,
        }
    }

    /// The same world, watched: what happens in it is counted and logged as `observer` says.
    #[must_use]
    pub fn watched_by(self, observer: Observer) -> Self {
        Self { observer: Arc::new(observer), ..self }
    }

    /// The same world, with something around every socket that is opened from now on: how a
    /// measurement makes a line bad.
    #[must_use]
    pub fn with_sockets(self, around: Around) -> Self {
        Self { around: Some(around), ..self }
    }

    /// Where this node counts.
    pub fn meters(&self) -> &Meters {
        &self.observer.meters
    }

    /// Introduces a part of this node to whoever watches it.
    pub fn introduce(&self, part: impl Watched) {
        self.observer.introduce(part);
    }

    /// How this node's logs name people.
    pub fn names(&self) -> &Names {
        &self.observer.names
    }

    /// A node of a simulated world: `killed` ends all its tasks, `seed` fixes its chance.
    #[cfg(feature = "testkit")]
    pub fn simulated(
        world: Arc<dyn World>,
        seed: u64,
        killed: CancellationToken,
        test: TestOptions,
    ) -> Self {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        let way_out = std::sync::OnceLock::new();
        let inner = Inner { world, rng, udp_bytes: Arc::default(), killed, test, way_out };
        Self { inner: Arc::new(inner), observer: Arc::default(), around: None }
    }

    /// The operating system with cheap keys and passwords, for tests over real sockets.
    #[cfg(feature = "testkit")]
    pub fn system_for_tests() -> Self {
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        Self {
            inner: Arc::new(Inner {
                world: Arc::new(System),
                rng: Mutex::new(StdRng::from_seed(seed)),
                udp_bytes: Arc::default(),
                killed: CancellationToken::new(),
                test: TestOptions { cheap_crypto: true, bug: None },
                way_out: std::sync::OnceLock::new(),
            }),
            observer: Arc::default(),
            around: None,
        }
    }

    /// The operating system with cheap keys and passwords and a clock that is `ahead` milliseconds,
    /// for tests of what happens months from now.
    #[cfg(feature = "testkit")]
    pub fn system_ahead(ahead_ms: Arc<std::sync::atomic::AtomicU64>) -> Self {
        let test = TestOptions { cheap_crypto: true, bug: None };
        let (world, seed) = (Arc::new(Ahead(ahead_ms)), rand::rng().next_u64());
        Self::simulated(world, seed, CancellationToken::new(), test)
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        self.inner.world.unix_ms()
    }

    /// What quinn drives its endpoints with.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        self.inner.world.runtime()
    }

    /// Opens a UDP socket; port 0 picks a free one.
    ///
    /// # Errors
    /// As the operating system.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = self.inner.world.bind(addr)?;
        let socket = match &self.around {
            Some(put) => put(socket),
            None => socket,
        };
        Ok(Counted::new(socket, Arc::clone(&self.inner.udp_bytes)))
    }

    /// UDP payload that went through this node's sockets, both directions.
    pub fn udp_bytes(&self) -> u64 {
        self.inner.udp_bytes.load(Ordering::Relaxed)
    }

    /// Processor time of this process so far. Zero in the simulator.
    pub fn cpu_time(&self) -> Duration {
        self.inner.world.cpu_time()
    }

    /// Bytes free on the disk of `path`. 0 when unknown, and in the simulator.
    pub fn disk_free_bytes(&self, path: &Path) -> u64 {
        self.inner.world.disk_free_bytes(path)
    }

    /// Fills `out` with random bytes: unpredictable in life, seeded in the simulator.
    ///
    /// For ids, nonces and jitter. Keys come from the system generator inside `crypto`.
    pub fn fill(&self, out: &mut [u8]) {
        self.rng(|rng| rng.fill_bytes(out));
    }

    /// A random number.
    pub fn random_u64(&self) -> u64 {
        self.rng(|rng| rng.next_u64())
    }

    /// A random number other than 0, for ids in which 0 means "none".
    pub fn random_id(&self) -> u64 {
        self.random_u64().max(1)
    }

    /// A random number below `bound`; 0 when `bound` is 0.
    pub fn random_below(&self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.rng(|rng| rng.random_range(0..bound)) }
    }

    /// A random duration up to `max`: full jitter.
    pub fn jitter(&self, max: Duration) -> Duration {
        max.mul_f64(self.rng(|rng| rng.random_range(0.0..1.0)))
    }

    fn rng<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.inner.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Spawns a task of this node. It ends early when the simulator kills the node.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let killed = self.inner.killed.clone();
        tokio::spawn(async move {
            // The kill is looked at first: not one more step is taken after it.
            tokio::select! {
                biased;
                () = killed.cancelled() => None,
                done = task => Some(done),
            }
        })
    }

    /// Runs work that takes a core for milliseconds without holding up other tasks.
    ///
    /// In the simulator it runs at once, in line, so that nothing depends on threads.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if self.inner.world.is_simulated() {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// Runs short work that may wait for the disk, on this task.
    ///
    /// On a multi-threaded runtime the other tasks of this worker move elsewhere meanwhile.
    pub fn in_place<T>(&self, work: impl FnOnce() -> T) -> T {
        use tokio::runtime::{Handle, RuntimeFlavor};
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
            Ok(_) | Err(_) => work(),
        }
    }

    /// Waits as long as the simulated disk takes; returns at once in life.
    pub async fn disk_pause(&self) {
        let pause = self.inner.world.disk_pause();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether store work runs inside async tasks instead of on threads of its own.
    pub fn is_simulated(&self) -> bool {
        self.inner.world.is_simulated()
    }

    /// SQLite's `synchronous`: FULL, always. In the simulator a crash is modelled above SQLite, so
    /// nothing is gained by waiting for a real disk.
    pub fn sqlite_synchronous(&self) -> &'static str {
        if self.inner.world.is_simulated() { "OFF" } else { "FULL" }
    }

    /// Whether tests asked for cheap keys and passwords. Always false in release builds.
    pub fn cheap_crypto(&self) -> bool {
        #[cfg(feature = "testkit")]
        return self.inner.test.cheap_crypto;
        #[cfg(not(feature = "testkit"))]
        false
    }

    /// Has everything that this node's server says to its clients rewritten. Once per node.
    #[cfg(feature = "testkit")]
    pub fn set_way_out(&self, way_out: Arc<dyn WayOut>) {
        let _ = self.inner.way_out.set(way_out);
    }

    /// What goes out in place of `frame`: itself, always, in release builds.
    #[cfg(feature = "testkit")]
    pub fn on_the_way_out(
        &self,
        to: impl FnOnce() -> Option<UserName>,
        frame: ServerFrame,
    ) -> impl Iterator<Item = ServerFrame> {
        match self.inner.way_out.get() {
            Some(way_out) => way_out.rewrite(to().as_ref(), frame),
            None => vec![frame],
        }
        .into_iter()
    }

    /// What goes out in place of `frame`: itself, always, in release builds.
    #[cfg(not(feature = "testkit"))]
    #[inline]
    pub fn on_the_way_out(
        &self,
        _: impl FnOnce() -> Option<UserName>,
        frame: ServerFrame,
    ) -> impl Iterator<Item = ServerFrame> {
        std::iter::once(frame)
    }

    /// What goes out on a chunk's stream in place of `said`: itself, always, in release builds.
    #[cfg_attr(not(feature = "testkit"), expect(unused_variables, reason = "no liars in life"))]
    pub fn on_chunk_out(&self, asked: &AskedChunk<'_>, said: ChunkSaid) -> ChunkSaid {
        #[cfg(feature = "testkit")]
        if let Some(way_out) = self.inner.way_out.get() {
            return way_out.rewrite_chunk(asked, said);
        }
        said
    }

    /// Whether this bug is planted in this node. Always false in release builds.
    #[cfg_attr(not(feature = "testkit"), expect(unused_variables, reason = "no bugs in life"))]
    pub fn has_bug(&self, bug: Bug) -> bool {
        #[cfg(feature = "testkit")]
        return self.inner.test.bug == Some(bug);
        #[cfg(not(feature = "testkit"))]
        false
    }
}

/// The operating system.
struct System;

impl World for System {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(quinn::TokioRuntime)
    }

    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        // Measured: with the default buffers 1,000 clients lose tens of thousands of packets. The
        // kernel may grant less; that is not an error.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
        socket.bind(&addr.into())?;
        self.runtime().wrap_udp_socket(socket.into())
    }

    fn unix_ms(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn disk_pause(&self) -> Duration {
        Duration::ZERO
    }

    fn is_simulated(&self) -> bool {
        false
    }

    fn cpu_time(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn disk_free_bytes(&self, path: &Path) -> u64 {
        let free = rustix::fs::statvfs(path);
        free.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// The operating system, later.
#[cfg(feature = "testkit")]
struct Ahead(Arc<std::sync::atomic::AtomicU64>);

#[cfg(feature = "testkit")]
impl World for Ahead {
    fn runtime(&self) -> Arc<dyn Runtime> {
        System.runtime()
    }

    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        System.bind(addr)
    }

    fn unix_ms(&self) -> u64 {
        System.unix_ms() + self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn disk_pause(&self) -> Duration {
        Duration::ZERO
    }

    fn is_simulated(&self) -> bool {
        false
    }
}

const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;
