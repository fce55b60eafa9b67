//! The reference relay of files: the same bytes over two hops of bare QUIC, and nothing else.
//!
//! Eight streams at once, a chunk each, with the transport settings that clients and servers have;
//! an end that has them asks, as clients do. No disk, no hash, no encryption besides QUIC's, no
//! login. Deliberately no server anybody could use: it is the ceiling a real one is held against.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::{BenchError, unexpected};
use super::part::{Answer, Order, obey};
use crate::limits::{CHUNK_BYTES_MAX, CHUNKS_AT_ONCE, Limits};
use crate::net::endpoint::{
    ListenKind, Target, client_endpoint, connect, listen, raise_after_login,
};
use crate::net::{Authority, Env, QuicKeys, Role};
use crate::types::{ClusterId, ServerId};

/// Which end of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where the bytes come from.
    Up,
    /// Where they go.
    Down,
}

impl End {
    fn letter(self) -> u8 {
        match self {
            Self::Up => b'u',
            Self::Down => b'd',
        }
    }
}

type Streams = (SendStream, RecvStream);

/// The relay itself. Says "port, cluster" when it is ready.
///
/// # Errors
/// [`BenchError`] when the port or the certificate cannot be made.
pub async fn relay(env: &Env) -> Result<(), BenchError> {
    let authority = Authority::create(env).map_err(unexpected)?;
    let role = Role::Server(ServerId::numbered(1));
    let credentials = authority.issue(env, &role).map_err(unexpected)?;
    let (keys, any) = (QuicKeys::create(env), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let limits = Limits::default();
    let endpoint = listen(env, any, ListenKind::Client, &credentials, &keys, &limits);
    let endpoint = endpoint.map_err(unexpected)?;
    let ready = format!("{} {}", endpoint.local_addr()?.port(), authority.cluster_id());
    let (ups, waiting) = mpsc::channel(CHUNKS_AT_ONCE);
    let waiting = Arc::new(Mutex::new(waiting));
    let accepting = endpoint.clone();
    let task_env = env.clone();
    env.spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            let (ups, waiting) = (ups.clone(), Arc::clone(&waiting));
            task_env.spawn(async move {
                if let Ok(conn) = incoming.await {
                    // An end that leaves is no news.
                    let _ = serve(conn, ups, waiting).await;
                }
            });
        }
    });
    obey(env, &ready, |_| async { Ok(Answer::Done { ms: 0.0 }) }).await?;
    endpoint.close(0u32.into(), b"bye");
    Ok(())
}

async fn serve(
    conn: Connection,
    ups: mpsc::Sender<Streams>,
    waiting: Arc<Mutex<mpsc::Receiver<Streams>>>,
) -> Result<(), BenchError> {
    let (_hello, mut recv) = conn.accept_bi().await.map_err(unexpected)?;
    let mut letter = [0];
    recv.read_exact(&mut letter).await.map_err(unexpected)?;
    raise_after_login(&conn);
    let mut under_way = JoinSet::new();
    loop {
        let streams = conn.accept_bi().await.map_err(unexpected)?;
        if letter == [End::Up.letter()] {
            ups.send(streams).await.map_err(unexpected)?;
            continue;
        }
        while under_way.try_join_next().is_some() {}
        let from = waiting.lock().await.recv().await.ok_or_else(|| unexpected("no relay"))?;
        under_way.spawn(pass_on(from, streams));
    }
}

/// A chunk from one end to the other, as it comes; then both know.
async fn pass_on((mut done, mut from): Streams, (mut to, _ask): Streams) -> Result<(), BenchError> {
    while let Some(chunk) = from.read_chunk(CHUNK_BYTES_MAX, true).await.map_err(unexpected)? {
        to.write_chunk(chunk.bytes).await.map_err(unexpected)?;
    }
    to.finish().map_err(unexpected)?;
    done.finish().map_err(unexpected)
}

/// One of the ends.
///
/// # Errors
/// [`BenchError`] when the relay is not there.
pub async fn end(env: &Env, end: End, port: u16, cluster: ClusterId) -> Result<(), BenchError> {
    let (any, at) = ((Ipv4Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, port).into());
    let (endpoint, limits) = (client_endpoint(env, any)?, Limits::default());
    let conn = connect(&endpoint, env, at, "s1", Target::Client, &cluster, None, &limits).await;
    let conn = conn.map_err(unexpected)?;
    let (mut hello, _recv) = conn.open_bi().await.map_err(unexpected)?;
    hello.write_all(&[end.letter()]).await.map_err(unexpected)?;
    // What one cannot know of a random file: it does not compress.
    let mut chunk = vec![0; CHUNK_BYTES_MAX];
    env.fill(&mut chunk);
    let chunk = Bytes::from(chunk);
    let pass = |order: Order| {
        let (conn, chunk) = (conn.clone(), chunk.clone());
        async move {
            let Order::Pass { bytes } = order else {
                return Err(unexpected("an end only passes"));
            };
            let (started, left) = (Instant::now(), Arc::new(AtomicU64::new(bytes)));
            let mut workers = JoinSet::new();
            for _ in 0..CHUNKS_AT_ONCE {
                workers.spawn(work(end, conn.clone(), Arc::clone(&left), chunk.clone()));
            }
            let mut got = 0;
            while let Some(done) = workers.join_next().await {
                got += done.map_err(unexpected)??;
            }
            let expected = if end == End::Down { bytes } else { 0 };
            if got != expected {
                return Err(unexpected(format!("{got} bytes instead of {expected}")));
            }
            Ok(Answer::Done { ms: started.elapsed().as_secs_f64() * 1_000.0 })
        }
    };
    obey(env, "ready", pass).await?;
    conn.close(0u32.into(), b"bye");
    endpoint.wait_idle().await;
    Ok(())
}

/// Chunk after chunk, until all bytes are given out. How many came back.
async fn work(
    end: End,
    conn: Connection,
    left: Arc<AtomicU64>,
    chunk: Bytes,
) -> Result<u64, BenchError> {
    let mut got = 0;
    loop {
        let take = |left: u64| Some(left.saturating_sub(CHUNK_BYTES_MAX as u64));
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let length = before.unwrap_or_default().min(CHUNK_BYTES_MAX as u64) as usize;
        if length == 0 {
            return Ok(got);
        }
        let (mut send, mut recv) = conn.open_bi().await.map_err(unexpected)?;
        match end {
            End::Up => send.write_chunk(chunk.slice(..length)).await.map_err(unexpected)?,
            End::Down => send.write_all(b"?").await.map_err(unexpected)?,
        }
        send.finish().map_err(unexpected)?;
        while let Some(piece) = recv.read_chunk(CHUNK_BYTES_MAX, true).await.map_err(unexpected)? {
            got += piece.bytes.len() as u64;
        }
    }
}
