//! A bad line: a UDP socket that loses some of the datagrams, both ways.
//!
//! In the process of a client, so that it costs next to nothing: a proxy between the processes
//! would take more of the machine than what is measured. Deliberately only loses; it delays
//! nothing.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::load::lock;
use crate::net::Env;

const MILLION: u32 = 1_000_000;

/// What is lost on all sockets of an [`Env`]. Can be changed at any time.
#[derive(Debug)]
pub(super) struct Loss {
    per_million: AtomicU32,
    chance: Mutex<StdRng>,
}

impl Loss {
    /// Nothing is lost until [`Self::set`] says so.
    pub(super) fn none(seed: u64) -> Arc<Self> {
        let chance = Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Self { per_million: AtomicU32::new(0), chance })
    }

    /// From now on: from 0.0 to 1.0 of the datagrams of each direction.
    pub(super) fn set(&self, share: f64) {
        let per_million = (share.clamp(0.0, 1.0) * f64::from(MILLION)) as u32;
        self.per_million.store(per_million, Ordering::Relaxed);
    }

    /// The same environment, over this line.
    pub(super) fn around(self: &Arc<Self>, env: Env) -> Env {
        let loss = Arc::clone(self);
        env.with_sockets(Arc::new(move |inner| Arc::new(Lossy { inner, loss: Arc::clone(&loss) })))
    }

    fn is_perfect(&self) -> bool {
        self.per_million.load(Ordering::Relaxed) == 0
    }

    fn strikes(&self) -> bool {
        let number = lock(&self.chance).random_range(0..MILLION);
        number < self.per_million.load(Ordering::Relaxed)
    }
}

struct Lossy {
    inner: Arc<dyn AsyncUdpSocket>,
    loss: Arc<Loss>,
}

impl fmt::Debug for Lossy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Lossy {
    /// Sends datagrams of the same length, the last of them possibly shorter.
    fn send_run(&self, transmit: &Transmit<'_>, contents: &[u8], length: usize) -> io::Result<()> {
        self.inner.try_send(&Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn,
            contents,
            segment_size: (contents.len() > length).then_some(length),
            src_ip: transmit.src_ip,
        })
    }
}

impl AsyncUdpSocket for Lossy {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.loss.is_perfect() {
            return self.inner.try_send(transmit);
        }
        let length = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let (mut left, mut run, mut is_first) = (transmit.contents, 0, true);
        // What is kept of `left` so far is its first `run` bytes.
        loop {
            let rest = left.get(run..).unwrap_or_default();
            let datagram = rest.len().min(length);
            if datagram > 0 && !self.loss.strikes() {
                run += datagram;
                continue;
            }
            let (kept, rest) = left.split_at(run);
            if !kept.is_empty() {
                match self.send_run(transmit, kept, length) {
                    Ok(()) => is_first = false,
                    // Said now, everything would come again: so the rest is lost, too.
                    Err(_) if !is_first => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            if datagram == 0 {
                return Ok(());
            }
            (left, run) = (rest.get(datagram..).unwrap_or_default(), 0);
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = &received
            && !self.loss.is_perfect()
        {
            for (buffer, meta) in bufs.iter_mut().zip(meta).take(*count) {
                meta.len = keep(buffer, meta.len, meta.stride, || !self.loss.strikes());
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// Moves the datagrams that are kept together. How many bytes they are.
fn keep(buffer: &mut [u8], length: usize, stride: usize, mut kept: impl FnMut() -> bool) -> usize {
    let (length, mut from, mut to) = (length.min(buffer.len()), 0, 0);
    while from < length {
        let end = length.min(from + stride.max(1));
        if kept() {
            buffer.copy_within(from..end, to);
            to += end - from;
        }
        from = end;
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_datagrams_that_came_together_the_lost_ones_are_cut_out() {
        let mut numbers = 0..;
        let mut buffer = *b"aabbccd-";
        let kept = keep(&mut buffer, 7, 2, || numbers.next() != Some(1));
        assert_eq!(&buffer[..kept], b"aaccd");
        assert_eq!(keep(&mut buffer, 5, 5, || false), 0);
        assert_eq!(keep(&mut buffer, 5, 0, || true), 5);
    }

    #[test]
    fn a_share_is_lost_and_nothing_before_it_was_said() {
        let loss = Loss::none(1);
        assert!(loss.is_perfect());
        loss.set(0.01);
        let lost = (0..100_000).filter(|_| loss.strikes()).count();
        assert!((800..1_200).contains(&lost), "{lost}");
    }

    #[tokio::test]
    async fn what_is_sent_over_a_bad_line_arrives_in_part_and_whole_datagrams() {
        let loss = Loss::none(1);
        let (good, bad) = (Env::system(), loss.around(Env::system()));
        let any = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let server = tokio::net::UdpSocket::bind(any).await.unwrap();
        let socket = bad.bind(any).unwrap();
        drop(good);
        let segments = socket.max_transmit_segments().min(4);
        let contents = (0..segments).flat_map(|i| [i as u8; 100]).collect::<Vec<_>>();
        let transmit = Transmit {
            destination: server.local_addr().unwrap(),
            ecn: None,
            contents: &contents,
            segment_size: (segments > 1).then_some(100),
            src_ip: None,
        };
        loss.set(0.5);
        // A socket of tokio may say once that it is not ready.
        for _ in 0..20 {
            let _ = socket.try_send(&transmit);
        }
        loss.set(0.0);
        let mut poller = Arc::clone(&socket).create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        while socket
            .try_send(&Transmit { contents: b"end", segment_size: None, ..transmit })
            .is_err()
        {}
        let (mut count, mut buffer) = (0, [0; 2_000]);
        loop {
            let length = server.recv(&mut buffer).await.unwrap();
            if &buffer[..length] == b"end" {
                break;
            }
            assert_eq!(length, 100);
            assert!(buffer[..100].iter().all(|byte| *byte == buffer[0]));
            count += 1;
        }
        assert!(count < 19 * segments, "{count}");
    }
}
