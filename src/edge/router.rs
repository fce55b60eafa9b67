//! Which home a request goes to, and the bounded, ordered line to each home.
//!
//! The own home and the homes on other servers look the same from here: a [`Port`] with a queue.
//! What carries the queue away is `edge::local` or `peer::link`. Deliberately knows nothing of
//! what the requests mean.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc};

use crate::home::blobs::Blobs;
use crate::limits::{self, LINK_CHUNKS_AT_ONCE};
use crate::placement::PlacementMap;
use crate::types::{LogName, ServerId, SessionId, UserName};
use crate::wire::peer::Forward;

/// What an edge sends towards a home, in order.
#[derive(Debug)]
pub enum ToHome {
    /// A client's request.
    Forward(Forward),
    /// The client's connection is gone; its session and opens at that home end.
    Detach(SessionId),
}

/// Counts the lives of the line to one home. An answer of an earlier life never comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There is no line to that home now.
    #[error("no line to that server")]
    Down,
    /// [`limits::LINK_QUEUE_MAX`] frames wait already.
    #[error("the line to that server is full")]
    Full,
}

/// The near end of the line to one home.
#[derive(Debug)]
pub struct Port {
    line: Mutex<Line>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Line {
    generation: Generation,
    queue: Option<mpsc::Sender<ToHome>>,
    chunks: Option<ChunkWay>,
}

/// How chunks of blobs reach a home: beside the queue, which they must not hold up.
#[derive(Clone)]
pub enum ChunkWay {
    /// It is the home of this server.
    Local(Blobs),
    /// It is on another server.
    Peer(PeerChunks),
}

/// The link's connection, and whose turn it is to open a stream on it.
#[derive(Clone, Debug)]
pub struct PeerChunks {
    /// The connection of the link.
    pub conn: quinn::Connection,
    /// [`limits::LINK_CHUNKS_AT_ONCE`] places, given away in the order in which they are asked for.
    pub places: Arc<Semaphore>,
}

impl std::fmt::Debug for ChunkWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Local(_) => "Local",
            Self::Peer(_) => "Peer",
        })
    }
}

impl ChunkWay {
    /// By streams of this connection.
    pub fn peer(conn: quinn::Connection) -> Self {
        Self::Peer(PeerChunks { conn, places: Arc::new(Semaphore::new(LINK_CHUNKS_AT_ONCE)) })
    }
}

impl Port {
    fn new(changed: Arc<Notify>) -> Self {
        Self { line: Mutex::default(), changed }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a new life of the line: what is queued from now on comes out of the receiver.
    pub fn open(&self) -> (Generation, mpsc::Receiver<ToHome>) {
        let (sender, receiver) = mpsc::channel(limits::LINK_QUEUE_MAX);
        let mut line = self.line();
        line.generation.0 += 1;
        line.queue = Some(sender);
        self.changed.notify_waiters();
        (line.generation, receiver)
    }

    /// In this life of the line chunks go this way. Without this: none.
    pub fn take_chunks(&self, way: ChunkWay) {
        self.line().chunks = Some(way);
    }

    /// Ends this life: from now on senders are told that the home is down. What was queued is
    /// lost with the receiver, so the sessions have to be told afterwards.
    pub fn close(&self) {
        let mut line = self.line();
        line.queue = None;
        line.chunks = None;
    }

    /// The way of chunks to that home, while there is a line.
    pub fn chunks(&self) -> Option<ChunkWay> {
        self.line().chunks.clone()
    }

    /// Queues without waiting, and says in which life of the line.
    ///
    /// # Errors
    /// [`PortError`]: the line is down or full.
    pub fn send(&self, item: ToHome) -> Result<Generation, PortError> {
        let line = self.line();
        let queue = line.queue.as_ref().ok_or(PortError::Down)?;
        match queue.try_send(item) {
            Ok(()) => Ok(line.generation),
            Err(mpsc::error::TrySendError::Full(_)) => Err(PortError::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(PortError::Down),
        }
    }

    /// Queues what may be lost, while less than half of the line is taken.
    ///
    /// # Errors
    /// [`PortError`]: the line is down or half full.
    pub fn offer(&self, item: ToHome) -> Result<(), PortError> {
        let line = self.line();
        let queue = line.queue.as_ref().ok_or(PortError::Down)?;
        if queue.capacity() < queue.max_capacity() / 2 {
            return Err(PortError::Full);
        }
        queue.try_send(item).map_err(|_| PortError::Full)
    }

    /// Queues, waiting for room; returns without doing so when this life of the line ends, for
    /// then the home forgets this edge's sessions anyway.
    pub async fn send_patiently(&self, item: ToHome) {
        let queue = self.line().queue.clone();
        if let Some(queue) = queue {
            let _ = queue.send(item).await;
        }
    }

    /// Items that wait on the line.
    pub fn waiting(&self) -> usize {
        self.line().queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Whether there is a line now.
    pub fn is_up(&self) -> bool {
        self.line().queue.is_some()
    }
}

/// All homes of the cluster, seen from one edge.
#[derive(Debug)]
pub struct Router {
    map: Arc<PlacementMap>,
    ports: BTreeMap<ServerId, Port>,
    changed: Arc<Notify>,
}

impl Router {
    /// Ports to every server of the map, all down.
    pub fn new(map: Arc<PlacementMap>) -> Self {
        let changed = Arc::new(Notify::new());
        let ports = map
            .servers
            .iter()
            .map(|server| (server.id.clone(), Port::new(Arc::clone(&changed))))
            .collect();
        Self { map, ports, changed }
    }

    /// The placement map it routes by.
    pub fn map(&self) -> &PlacementMap {
        &self.map
    }

    /// The home of a user's account and session.
    pub fn home_of_user(&self, user: &UserName) -> Option<&ServerId> {
        self.map.home_of_user(user).map(|server| &server.id)
    }

    /// The home of a log.
    pub fn home_of_log(&self, log: &LogName) -> Option<&ServerId> {
        self.map.home_of_slot(crate::placement::slot_of_log(log)).map(|server| &server.id)
    }

    /// The port to a home; `None` for a server the map does not have.
    pub fn port(&self, home: &ServerId) -> Option<&Port> {
        self.ports.get(home)
    }

    /// Every home, in order of name.
    pub fn homes(&self) -> impl Iterator<Item = &ServerId> {
        self.ports.keys()
    }

    /// Queues for a home without waiting.
    ///
    /// # Errors
    /// [`PortError`]: the line is down or full.
    pub fn send(&self, home: &ServerId, item: ToHome) -> Result<Generation, PortError> {
        self.port(home).ok_or(PortError::Down)?.send(item)
    }

    /// Waits until every home has been reached once at the same time.
    pub async fn all_up(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ports.values().all(Port::is_up) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::ServerEntry;

    fn router() -> Router {
        let entry = |number: u16| ServerEntry {
            id: ServerId::numbered(number),
            addr: ([127, 0, 0, 1], 0).into(),
            peer_addr: ([127, 0, 0, 1], 0).into(),
            spki_sha256: String::new(),
        };
        Router::new(Arc::new(PlacementMap::deal((1..=3).map(entry).collect(), String::new())))
    }

    fn user(name: &str) -> UserName {
        UserName::canonical(name).unwrap()
    }

    #[test]
    fn an_account_and_its_inbox_have_the_same_home() {
        let router = router();
        for name in ["alice", "bob", "carol", "dave"] {
            let log = LogName::inbox(user(name));
            assert_eq!(router.home_of_user(&user(name)), router.home_of_log(&log));
        }
        assert_eq!(router.home_of_user(&user("alice")), Some(&ServerId::numbered(1)));
        assert_eq!(router.home_of_user(&user("bob")), Some(&ServerId::numbered(3)));
    }

    #[test]
    fn a_line_that_ended_takes_nothing_and_a_new_life_has_a_new_number() {
        let router = router();
        let home = ServerId::numbered(2);
        let detach = || ToHome::Detach(SessionId(1));
        assert_eq!(router.send(&home, detach()), Err(PortError::Down));
        let port = router.port(&home).unwrap();
        let (first, mut receiver) = port.open();
        assert_eq!(router.send(&home, detach()), Ok(first));
        assert!(matches!(receiver.try_recv(), Ok(ToHome::Detach(SessionId(1)))));
        port.close();
        assert_eq!(router.send(&home, detach()), Err(PortError::Down));
        let (second, _receiver) = port.open();
        assert!(second > first);
    }

    #[test]
    fn a_full_line_says_so_at_once() {
        let router = router();
        let home = ServerId::numbered(1);
        let (_, _receiver) = router.port(&home).unwrap().open();
        for number in 0..limits::LINK_QUEUE_MAX as u64 {
            assert!(router.send(&home, ToHome::Detach(SessionId(number))).is_ok());
        }
        assert_eq!(router.send(&home, ToHome::Detach(SessionId(0))), Err(PortError::Full));
    }
}
