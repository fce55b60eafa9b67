//! The outgoing link from this edge to one home on another server.
//!
//! One connection, one ordered stream, reconnected with back-off for ever. When it breaks, what
//! was asked on it is lost and the sessions are told; nothing is sent again from here.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{Reader, WRITE_BATCH_BYTES, Writer, frame, framed};
use crate::edge::Edge;
use crate::edge::router::{ChunkWay, ToHome};
use crate::home::Target;
use crate::limits;
use crate::net::endpoint::close;
use crate::net::stream::{ReadError, WriteError};
use crate::net::{self, ConnectError, Credentials, Env, Live, presented};
use crate::placement::ServerEntry;
use crate::types::{ClusterId, SessionId};
use crate::wire::peer::{Deliver, Detach, PeerFrame, PeerHello, PeerHelloOk, peer_frame::Body};
use crate::wire::{Code, PROTOCOL_VERSION};

/// Where a link goes and what it shows there.
#[derive(Clone)]
pub struct LinkConfig {
    /// The endpoint it starts from.
    pub endpoint: quinn::Endpoint,
    /// The server whose home it reaches.
    pub peer: ServerEntry,
    /// The cluster both belong to.
    pub cluster: ClusterId,
    /// This server's certificate; a renewed one is shown at the next connection.
    pub credentials: Live<Credentials>,
}

/// Why a link is down.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the certificate's key is not the one in the placement map")]
    WrongKey,
    #[error("the connection is lost")]
    Lost(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the other server ended the link")]
    Ended,
    #[error("unexpected frame")]
    Unexpected,
    #[error("it speaks version {0}, expected {PROTOCOL_VERSION}")]
    Version(u32),
    #[error("no answer in time")]
    Silent,
}

/// Keeps the link up for as long as the process runs.
pub async fn run(env: Env, edge: Arc<Edge>, config: LinkConfig) {
    let mut pause = limits::LINK_PAUSE_MIN;
    loop {
        // A server that starts a moment later has lost our first packet, and QUIC would take a
        // second to repeat it: so the first attempts are short.
        match timeout(pause * 3, dial(&env, &edge, &config)).await.unwrap_or(Err(LinkError::Silent))
        {
            Ok((conn, writer, reader)) => {
                pause = limits::LINK_PAUSE_MIN;
                tracing::info!(peer = %config.peer.id, "link up");
                let error = carry(&edge, &config, &conn, writer, reader).await;
                tracing::warn!(peer = %config.peer.id, %error, "link down");
                let code = match error {
                    LinkError::Read(ReadError::Frame(_)) | LinkError::Unexpected => Code::Malformed,
                    _ => Code::HomeDown,
                };
                close(&conn, code, "the link ended");
            }
            Err(error) => tracing::debug!(peer = %config.peer.id, %error, "no link"),
        }
        sleep(pause / 2 + env.jitter(pause / 2)).await;
        pause = (pause * 2).min(limits::LINK_PAUSE_MAX);
    }
}

async fn dial(
    env: &Env,
    edge: &Edge,
    config: &LinkConfig,
) -> Result<(quinn::Connection, Writer, Reader), LinkError> {
    let LinkConfig { endpoint, peer, cluster, credentials } = config;
    let name = peer.id.as_str();
    let (target, mine) = (net::Target::Peer, credentials.now());
    let (addr, mine) = (peer.peer_addr, Some(&mine));
    let conn =
        net::connect(endpoint, env, addr, name, target, cluster, mine, edge.limits()).await?;
    if presented(&conn).is_none_or(|cert| cert.spki_sha256 != peer.spki_sha256) {
        close(&conn, Code::NotAPeer, "another key than in the placement map");
        return Err(LinkError::WrongKey);
    }
    let (writer, reader) = greet(edge, config, &conn).await?;
    Ok((conn, writer, reader))
}

async fn greet(
    edge: &Edge,
    config: &LinkConfig,
    conn: &quinn::Connection,
) -> Result<(Writer, Reader), LinkError> {
    let (mut writer, mut reader) = framed(conn.open_bi().await?, edge.limits());
    let hello = PeerHello {
        version: PROTOCOL_VERSION,
        server: edge.id().to_string(),
        map_version: edge.router().map().version,
        cluster_id: config.cluster.0.to_vec().into(),
    };
    writer.send(&frame(Body::Hello(hello))).await?;
    match reader.read().await?.ok_or(LinkError::Ended)?.body {
        Some(Body::HelloOk(PeerHelloOk { version: PROTOCOL_VERSION, .. })) => Ok((writer, reader)),
        Some(Body::HelloOk(PeerHelloOk { version, .. })) => Err(LinkError::Version(version)),
        Some(
            Body::Hello(_)
            | Body::Forward(_)
            | Body::Deliver(_)
            | Body::Detach(_)
            | Body::Drain(_)
            | Body::Ping(_)
            | Body::Pong(_),
        )
        | None => Err(LinkError::Unexpected),
    }
}

/// One life of the line: opened, carried until it breaks, closed, and the sessions told.
async fn carry(
    edge: &Edge,
    config: &LinkConfig,
    conn: &quinn::Connection,
    mut writer: Writer,
    mut reader: Reader,
) -> LinkError {
    let home = &config.peer.id;
    let Some(port) = edge.router().port(home) else { return LinkError::Ended };
    let (generation, queue) = port.open();
    port.take_chunks(ChunkWay::peer(conn.clone()));
    let error = tokio::select! {
        biased;
        error = receive(edge, config, &mut reader) => error,
        error = send(&mut writer, queue) => error,
    };
    port.close();
    edge.home_lost(home, generation);
    error
}

async fn receive(edge: &Edge, config: &LinkConfig, reader: &mut Reader) -> LinkError {
    loop {
        let deliver = match reader.read().await {
            Ok(Some(PeerFrame { body: Some(Body::Deliver(deliver)) })) => deliver,
            Ok(Some(PeerFrame { body: _ })) => return LinkError::Unexpected,
            Ok(None) => return LinkError::Ended,
            Err(error) => return error.into(),
        };
        let Deliver { to, frame: Some(frame) } = deliver else { return LinkError::Unexpected };
        let to: Vec<Target> = to
            .into_iter()
            .map(|to| Target { sid: SessionId(to.sid), open_id: to.open_id })
            .collect();
        edge.deliver(&config.peer.id, &to, &frame);
    }
}

async fn send(writer: &mut Writer, mut queue: mpsc::Receiver<ToHome>) -> LinkError {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(item) = next {
            let body = match item {
                ToHome::Forward(forward) => Body::Forward(forward),
                ToHome::Detach(sid) => Body::Detach(Detach { sid: sid.0 }),
            };
            if let Err(error) = writer.push(&frame(body)) {
                return WriteError::from(error).into();
            }
            next = if writer.buffered_bytes() < WRITE_BATCH_BYTES {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        if let Err(error) = writer.flush().await {
            return error.into();
        }
    }
    LinkError::Ended
}
