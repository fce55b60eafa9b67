//! The reference relay: what the machine gives a server that does nothing but pass messages on.
//!
//! A bare QUIC server that speaks just enough of the client protocol for the sessions of
//! [`super::load`]. No login, no limits, no duplicate removal, no check of anything; in memory, or
//! with one SQLite thread that commits for all who wait. Deliberately not a server anybody could
//! use: it is the ceiling that a real one is held against.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use rusqlite::Connection;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::load::lock;
use super::{BenchError, unexpected};
use crate::limits::{FRAME_BYTES_MAX, Limits, WRITER_BATCH_MAX, WRITER_QUEUE_MAX};
use crate::net::endpoint::{ListenKind, listen, raise_after_login};
use crate::net::{Authority, Env, FrameReader, FrameWriter, QuicKeys, Role};
use crate::types::ServerId;
use crate::wire::client::{
    Append, Appended, Changed, ClientFrame, Entry, Envelope, Header, HelloOk, Open, Opened,
    ServerFrame, Welcome, client_frame, server_frame,
};

/// Frames that may wait for one client.
const WAITING_MAX: usize = 4 * 1024;
/// Frames written at once.
const FRAMES_AT_ONCE: usize = 64;
/// Messages need time to arrive.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// A log has one life.
const EPOCH: u64 = 1;

/// Where the relay keeps messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Nowhere.
    Memory,
    /// In this SQLite file, `synchronous=FULL`, before anybody is told.
    Sqlite(PathBuf),
}

/// Serves until standard input ends. Says "port, cluster" on standard output when it is ready.
///
/// # Errors
/// [`BenchError`] when the port, the certificate or the file cannot be made.
pub async fn serve(env: &Env, store: &Store) -> Result<(), BenchError> {
    // As a server that a load of thousands is expected at.
    let limits = Limits { handshakes_max: 1 << 20, ..Limits::default() };
    let authority = Authority::create(env).map_err(unexpected)?;
    let role = Role::Server(ServerId::numbered(1));
    let credentials = authority.issue(env, &role).map_err(unexpected)?;
    let (keys, any) = (QuicKeys::create(env), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let endpoint = listen(env, any, ListenKind::Client, &credentials, &keys, &limits);
    let endpoint = endpoint.map_err(unexpected)?;
    let logs = Arc::new(Logs::default());
    let writer = match store {
        Store::Memory => None,
        Store::Sqlite(path) => Some(start_writer(path)?),
    };
    let port = endpoint.local_addr()?.port();
    writeln!(std::io::stdout(), "{port} {}", authority.cluster_id())?;
    let accepting = async {
        while let Some(incoming) = endpoint.accept().await {
            let (logs, writer) = (Arc::clone(&logs), writer.clone());
            env.spawn(async move {
                if let Ok(conn) = incoming.await {
                    // A client that leaves is no news.
                    let _ = session(conn, &logs, writer).await;
                }
            });
        }
    };
    // Whoever started it is gone when this ends.
    let over = env.blocking(|| {
        let _ = std::io::stdin().read(&mut [0]);
    });
    tokio::select! {
        biased;
        () = accepting => {}
        () = over => {}
    }
    endpoint.close(0u32.into(), b"bye");
    Ok(())
}

/// The open logs by their names.
#[derive(Default)]
struct Logs(Mutex<HashMap<String, Log>>);

struct Log {
    number: i64,
    seq: i64,
    readers: Arc<Vec<Reader>>,
    /// Held from taking a place until everybody was sent it: several authors keep one order.
    turn: Arc<AsyncMutex<()>>,
}

/// Somebody who gets what comes into a log.
#[derive(Clone)]
struct Reader {
    open_id: u32,
    frames: mpsc::Sender<ServerFrame>,
}

/// A message on its way.
struct Job {
    append: Append,
    n: u64,
    author: mpsc::Sender<ServerFrame>,
}

/// A message with its place.
struct Placed {
    job: Job,
    number: i64,
    seq: i64,
    readers: Arc<Vec<Reader>>,
}

impl Logs {
    /// Begins a log. It keeps its number if there was one of that name.
    fn begin(&self, log: &str) {
        let mut logs = lock(&self.0);
        let number = logs.get(log).map_or(logs.len() as i64, |log| log.number);
        let (readers, turn) = (Arc::default(), Arc::default());
        logs.insert(log.to_owned(), Log { number, seq: 0, readers, turn });
    }

    fn turn(&self, log: &str) -> Option<Arc<AsyncMutex<()>>> {
        lock(&self.0).get(log).map(|log| Arc::clone(&log.turn))
    }

    fn read(&self, open: &Open, frames: &mpsc::Sender<ServerFrame>) {
        let mut logs = lock(&self.0);
        let Some(log) = logs.get_mut(&open.log) else { return };
        let readers = Arc::make_mut(&mut log.readers);
        readers.retain(|reader| !reader.frames.same_channel(frames));
        readers.push(Reader { open_id: open.open_id, frames: frames.clone() });
    }

    fn place(&self, job: Job) -> Option<Placed> {
        let mut logs = lock(&self.0);
        let log = logs.get_mut(&job.append.log)?;
        log.seq += 1;
        let (number, seq, readers) = (log.number, log.seq, Arc::clone(&log.readers));
        drop(logs);
        Some(Placed { job, number, seq, readers })
    }
}

fn frame(rid: u64, body: server_frame::Body) -> ServerFrame {
    ServerFrame { rid, optional: false, body: Some(body) }
}

impl Placed {
    /// What its author is told, and then everybody who reads.
    fn frames(&self) -> impl Iterator<Item = (&mpsc::Sender<ServerFrame>, ServerFrame)> {
        let Append { log, open_id, envelope, .. } = &self.job.append;
        let (n, seq) = (self.job.n, self.seq.cast_unsigned());
        let hash = Bytes::from_static(&[0; 8]);
        let appended = Appended { log: log.clone(), open_id: *open_id, n, seq, hash };
        let answer = (&self.job.author, frame(0, server_frame::Body::Appended(appended)));
        let entry = move |reader: &Reader| Entry {
            log: log.clone(),
            open_id: reader.open_id,
            seq,
            envelope: envelope.clone(),
            ..Entry::default()
        };
        let entries = self.readers.iter().map(move |reader| {
            (&reader.frames, frame(0, server_frame::Body::Entry(entry(reader))))
        });
        std::iter::once(answer).chain(entries)
    }
}

async fn session(
    conn: quinn::Connection,
    logs: &Logs,
    writer: Option<mpsc::Sender<Placed>>,
) -> Result<(), BenchError> {
    let (send, recv) = conn.accept_bi().await.map_err(unexpected)?;
    raise_after_login(&conn);
    let mut reader = FrameReader::<ClientFrame>::new(recv, FRAME_BYTES_MAX, FRAME_DEADLINE);
    let (frames, waiting) = mpsc::channel(WAITING_MAX);
    let mut half = Half { logs, writer, frames, own_log: String::new() };
    let reading = async {
        while let Some(request) = reader.read().await.map_err(unexpected)? {
            half.take(request).await?;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        done = answer(FrameWriter::new(send, FRAME_BYTES_MAX), waiting) => done,
        done = reading => done,
    }
}

async fn answer(
    mut writer: FrameWriter<ServerFrame>,
    mut waiting: mpsc::Receiver<ServerFrame>,
) -> Result<(), BenchError> {
    let mut batch = Vec::with_capacity(FRAMES_AT_ONCE);
    while waiting.recv_many(&mut batch, FRAMES_AT_ONCE).await > 0 {
        for frame in batch.drain(..) {
            writer.push(&frame).map_err(unexpected)?;
        }
        writer.flush().await.map_err(unexpected)?;
    }
    Ok(())
}

/// The reading half of a session.
struct Half<'a> {
    logs: &'a Logs,
    writer: Option<mpsc::Sender<Placed>>,
    frames: mpsc::Sender<ServerFrame>,
    own_log: String,
}

impl Half<'_> {
    async fn take(&mut self, request: ClientFrame) -> Result<(), BenchError> {
        let answer = match request.body {
            Some(client_frame::Body::Append(append)) => return self.append(append).await,
            Some(client_frame::Body::Open(open)) => {
                let own = open.log == self.own_log;
                if own {
                    self.logs.begin(&open.log);
                }
                if own || open.log.starts_with('#') {
                    self.logs.read(&open, &self.frames);
                }
                let Open { log, open_id, .. } = open;
                let opened =
                    Opened { log, open_id, epoch: EPOCH, first_seq: 1, ..Opened::default() };
                server_frame::Body::Opened(opened)
            }
            Some(client_frame::Body::Hello(_)) => server_frame::Body::HelloOk(HelloOk::default()),
            Some(client_frame::Body::SignUp(sign_up)) => {
                self.own_log = format!("@{}", sign_up.user);
                server_frame::Body::Welcome(Welcome::default())
            }
            Some(client_frame::Body::Change(change)) => {
                self.logs.begin(&format!("#{}", change.group));
                server_frame::Body::Changed(Changed::default())
            }
            // Cursors: nothing is kept for anybody.
            Some(_) | None => return Ok(()),
        };
        self.frames.send(frame(request.rid, answer)).await.map_err(unexpected)
    }

    async fn append(&self, append: Append) -> Result<(), BenchError> {
        let envelope = Envelope::decode(append.envelope.clone()).map_err(unexpected)?;
        let n = Header::decode(envelope.header).map_err(unexpected)?.n;
        let nobody = || unexpected("nobody reads that log");
        let turn = self.logs.turn(&append.log).ok_or_else(nobody)?;
        let _turn = turn.lock().await;
        let job = Job { append, n, author: self.frames.clone() };
        let placed = self.logs.place(job).ok_or_else(nobody)?;
        if let Some(writer) = &self.writer {
            return writer.send(placed).await.map_err(unexpected);
        }
        for (to, frame) in placed.frames() {
            // Whoever is gone needs no answer.
            let _ = to.send(frame).await;
        }
        Ok(())
    }
}

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE entries (log INTEGER NOT NULL, seq INTEGER NOT NULL, envelope BLOB NOT NULL);
    CREATE UNIQUE INDEX entries_in_order ON entries (log, seq);
";

/// Starts the thread that stores; it ends with the last sender.
fn start_writer(path: &Path) -> Result<mpsc::Sender<Placed>, BenchError> {
    let mut database = Connection::open(path).map_err(unexpected)?;
    database.execute_batch(SCHEMA).map_err(unexpected)?;
    let (sender, mut waiting) = mpsc::channel(WRITER_QUEUE_MAX);
    let work = move || {
        let mut batch = Vec::with_capacity(WRITER_BATCH_MAX);
        while waiting.blocking_recv_many(&mut batch, WRITER_BATCH_MAX) > 0 {
            if let Err(error) = store(&mut database, &batch) {
                tracing::error!(%error, "the relay cannot store");
                return;
            }
            for placed in batch.drain(..) {
                for (to, frame) in placed.frames() {
                    // Whoever is gone needs no answer.
                    let _ = to.blocking_send(frame);
                }
            }
        }
    };
    thread::Builder::new().name("writer".to_owned()).spawn(work)?;
    Ok(sender)
}

/// One transaction for all that waited.
fn store(database: &mut Connection, batch: &[Placed]) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    {
        let mut insert = transaction
            .prepare_cached("INSERT INTO entries (log, seq, envelope) VALUES (?, ?, ?)")?;
        for placed in batch {
            let envelope = placed.job.append.envelope.as_ref();
            insert.execute((placed.number, placed.seq, envelope))?;
        }
    }
    transaction.commit()
}
