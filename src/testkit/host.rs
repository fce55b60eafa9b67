//! A host of the simulated network: its sockets, its clock, its disk, and what quinn runs on.
//!
//! Deliberately decides nothing about datagrams: where and when they arrive is [`super::net`]'s.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use super::net::{Datagram, Fate, Shared, State};
use crate::net::env::World;

/// The time of day at which every simulation begins: 2027-01-15.
const UNIX_MS_AT_START: u64 = 1_800_000_000_000;
/// Datagrams that wait at a socket; more are dropped, as a full socket buffer would.
const INBOX_DATAGRAMS_MAX: usize = 4096;

/// What has arrived at a socket.
pub(super) struct Inbox {
    pub(super) killed: CancellationToken,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    datagrams: VecDeque<Datagram>,
    reader: Option<Waker>,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, datagram: Datagram) -> Fate {
        let mut waiting = self.waiting();
        if waiting.datagrams.len() >= INBOX_DATAGRAMS_MAX {
            return Fate::Lost;
        }
        waiting.datagrams.push_back(datagram);
        if let Some(reader) = waiting.reader.take() {
            reader.wake();
        }
        Fate::Arrived
    }
}

struct SimSocket {
    net: Arc<Shared>,
    addr: SocketAddr,
    inbox: Arc<Inbox>,
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimSocket({})", self.addr)
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut state = self.net.state();
        // After a kill the address may belong to the next process already.
        if state.sockets.get(&self.addr).is_some_and(|inbox| Arc::ptr_eq(inbox, &self.inbox)) {
            state.sockets.remove(&self.addr);
        }
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // A task that has not noticed the kill yet must not speak from the grave.
        if self.inbox.killed.is_cancelled() {
            return Ok(());
        }
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for segment in transmit.contents.chunks(size) {
            let bytes = Bytes::copy_from_slice(segment);
            self.net.send(Datagram { from: self.addr, to: transmit.destination, bytes });
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.inbox.waiting();
        if waiting.datagrams.is_empty() || self.inbox.killed.is_cancelled() {
            waiting.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(datagram) = waiting.datagrams.pop_front() else { break };
            // quinn's buffers take the largest datagram there is; another one would be truncated.
            let length = datagram.bytes.len().min(buf.len());
            if let (Some(to), Some(from)) = (buf.get_mut(..length), datagram.bytes.get(..length)) {
                to.copy_from_slice(from);
            }
            *meta = RecvMeta::default();
            meta.addr = datagram.from;
            meta.len = length;
            meta.stride = length;
            meta.dst_ip = Some(self.addr.ip());
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A process on a simulated host.
pub(super) struct Host {
    pub(super) net: Arc<Shared>,
    pub(super) ip: IpAddr,
    pub(super) killed: CancellationToken,
    pub(super) disk: Mutex<StdRng>,
}

impl World for Host {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(SimRuntime { killed: self.killed.clone() })
    }

    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if !addr.ip().is_unspecified() && addr.ip() != self.ip {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let mut state = self.net.state();
        let is_free = |state: &State, addr| {
            state.sockets.get(&addr).is_none_or(|inbox| inbox.killed.is_cancelled())
        };
        let mut addr = SocketAddr::new(self.ip, addr.port());
        if addr.port() == 0 {
            addr.set_port(state.free_port(self.ip));
            while !is_free(&state, addr) {
                addr.set_port(state.free_port(self.ip));
            }
        } else if !is_free(&state, addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let inbox = Arc::new(Inbox { killed: self.killed.clone(), waiting: Mutex::default() });
        state.sockets.insert(addr, inbox.clone());
        drop(state);
        Ok(Arc::new(SimSocket { net: self.net.clone(), addr, inbox }))
    }

    fn unix_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.net.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let skew = self.net.state().skew.get(&self.ip).copied().unwrap_or(0);
        UNIX_MS_AT_START.saturating_add(elapsed).saturating_add_signed(skew)
    }

    fn disk_pause(&self) -> Duration {
        let pause = self.net.state().disk.clone();
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).random_range(pause)
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

/// tokio's runtime, except that a kill ends quinn's own tasks too.
#[derive(Debug)]
struct SimRuntime {
    killed: CancellationToken,
}

impl Runtime for SimRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let killed = self.killed.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = killed.cancelled() => {}
                () = future => {}
            }
        });
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> std::time::Instant {
        TokioRuntime.now()
    }
}
