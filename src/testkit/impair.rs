//! A UDP proxy between clients and one server: it remembers every byte, and may lose or delay.
//!
//! For tests over real sockets, where it stands for whoever sits on the wire. It understands
//! nothing of what passes. The simulator has a network of its own and does not use this.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Bytes remembered; a proxy that saw more says so instead of forgetting in silence.
const RECORDED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Client addresses that are told apart; datagrams from further ones are lost.
const CLIENTS_MAX: usize = 1_024;
/// Datagrams on their way at once; further ones are lost, as on any line.
const DELAYED_MAX: usize = 16 * 1024;
/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// What the line does to datagrams, the same in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairment {
    /// How many are lost: from 0.0 to 1.0.
    pub loss: f64,
    /// How long each takes.
    pub delay: Duration,
    /// Decides which are lost.
    pub seed: u64,
}

/// What passed a proxy.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Everything clients sent, datagram after datagram, lost ones included.
    pub to_server: Vec<u8>,
    /// Everything the server sent.
    pub to_client: Vec<u8>,
    /// Datagrams, both ways.
    pub datagrams: u64,
    /// There was more than can be remembered: nothing may be concluded from an absence.
    pub overflowed: bool,
}

/// A running proxy. Dropped, the line is cut.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    line: Arc<Line>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on `listen` and forwards to `upstream` and back.
    ///
    /// # Errors
    /// As the operating system, when the socket cannot be opened.
    pub async fn start(
        listen: SocketAddr,
        upstream: SocketAddr,
        impairment: Impairment,
    ) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(listen).await?);
        let addr = socket.local_addr()?;
        let chance = Mutex::new(StdRng::seed_from_u64(impairment.seed));
        let line = Arc::new(Line { impairment, chance, recording: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&line).forward(socket, upstream));
        Ok(Self { addr, line, _tasks: tasks })
    }

    /// Where clients send.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A copy of what passed so far.
    pub fn recording(&self) -> Recording {
        self.line.recording().clone()
    }
}

#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

#[derive(Debug)]
struct Line {
    impairment: Impairment,
    chance: Mutex<StdRng>,
    recording: Mutex<Recording>,
}

impl Line {
    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, direction: Direction, bytes: &[u8]) {
        let mut recording = self.recording();
        recording.datagrams += 1;
        let kept = recording.to_server.len() + recording.to_client.len();
        if kept + bytes.len() > RECORDED_BYTES_MAX {
            recording.overflowed = true;
            return;
        }
        match direction {
            Direction::ToServer => recording.to_server.extend_from_slice(bytes),
            Direction::ToClient => recording.to_client.extend_from_slice(bytes),
        }
    }

    fn is_lost(&self) -> bool {
        let loss = self.impairment.loss.clamp(0.0, 1.0);
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_bool(loss)
    }

    /// From the clients to the server; each client gets a socket of its own towards the server.
    async fn forward(self: Arc<Self>, clients: Arc<UdpSocket>, upstream: SocketAddr) {
        let mut sockets: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
        let mut answers = JoinSet::new();
        let mut under_way = JoinSet::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error here is about an earlier datagram; the next one may pass.
            let Ok((length, client)) = clients.recv_from(&mut buffer).await else { continue };
            let Some(bytes) = buffer.get(..length) else { continue };
            self.record(Direction::ToServer, bytes);
            let socket = match sockets.get(&client) {
                Some(socket) => Arc::clone(socket),
                None if sockets.len() >= CLIENTS_MAX => continue,
                None => {
                    let Ok(socket) = towards(upstream).await else { continue };
                    sockets.insert(client, Arc::clone(&socket));
                    let back = Arc::clone(&self);
                    answers.spawn(back.answer(Arc::clone(&socket), Arc::clone(&clients), client));
                    socket
                }
            };
            self.pass(&mut under_way, socket, upstream, bytes).await;
        }
    }

    /// From the server back to one client.
    async fn answer(
        self: Arc<Self>,
        server: Arc<UdpSocket>,
        clients: Arc<UdpSocket>,
        client: SocketAddr,
    ) {
        let mut under_way = JoinSet::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // "Refused": the server is away at the moment.
            let Ok(length) = server.recv(&mut buffer).await else { continue };
            let Some(bytes) = buffer.get(..length) else { continue };
            self.record(Direction::ToClient, bytes);
            self.pass(&mut under_way, Arc::clone(&clients), client, bytes).await;
        }
    }

    async fn pass(
        &self,
        under_way: &mut JoinSet<()>,
        socket: Arc<UdpSocket>,
        to: SocketAddr,
        bytes: &[u8],
    ) {
        while under_way.try_join_next().is_some() {}
        if self.is_lost() || under_way.len() >= DELAYED_MAX {
            return;
        }
        // What cannot be sent is lost, as on any line.
        if self.impairment.delay.is_zero() {
            let _ = socket.send_to(bytes, to).await;
            return;
        }
        let (delay, bytes) = (self.impairment.delay, bytes.to_vec());
        under_way.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = socket.send_to(&bytes, to).await;
        });
    }
}

async fn towards(upstream: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let any: IpAddr = if upstream.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    // Only the server may answer here.
    socket.connect(upstream).await?;
    Ok(Arc::new(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 100];
        let (length, from) =
            timeout(PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        (buffer[..length].to_vec(), from)
    }

    #[tokio::test]
    async fn datagrams_pass_both_ways_and_every_byte_is_remembered() {
        let server = UdpSocket::bind(LOOPBACK).await.unwrap();
        let upstream = server.local_addr().unwrap();
        let proxy = Proxy::start(LOOPBACK, upstream, Impairment::default()).await.unwrap();
        let clients =
            [UdpSocket::bind(LOOPBACK).await.unwrap(), UdpSocket::bind(LOOPBACK).await.unwrap()];
        for (client, word) in clients.iter().zip([b"one", b"two"]) {
            client.send_to(word, proxy.addr()).await.unwrap();
            let (asked, from) = receive(&server).await;
            assert_eq!(asked, word);
            server.send_to(&[&asked[..], b"!"].concat(), from).await.unwrap();
            assert_eq!(receive(client).await, ([&word[..], b"!"].concat(), proxy.addr()));
        }
        let recording = proxy.recording();
        assert_eq!(recording.to_server, b"onetwo");
        assert_eq!(recording.to_client, b"one!two!");
        assert_eq!((recording.datagrams, recording.overflowed), (4, false));
    }

    #[tokio::test]
    async fn a_bad_line_delays_and_loses() {
        let server = UdpSocket::bind(LOOPBACK).await.unwrap();
        let upstream = server.local_addr().unwrap();
        let delay = Duration::from_millis(30);
        let bad = Impairment { loss: 0.5, delay, seed: 1 };
        let proxy = Proxy::start(LOOPBACK, upstream, bad).await.unwrap();
        let client = UdpSocket::bind(LOOPBACK).await.unwrap();
        let sent = Instant::now();
        for _ in 0..200 {
            client.send_to(b"x", proxy.addr()).await.unwrap();
        }
        receive(&server).await;
        assert!(sent.elapsed() >= delay);
        let mut passed = 1;
        while timeout(Duration::from_millis(300), server.recv(&mut [0; 9])).await.is_ok() {
            passed += 1;
        }
        assert!((20..180).contains(&passed), "{passed} of 200");
    }
}
