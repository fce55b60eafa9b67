//! Health links: one to each server's peer port, over which it says four times a second that it is
//! there and takes work.
//!
//! A server that is silent for a second is not handed out. The same link tells a server to drain,
//! or to serve again. Deliberately judges nothing else, and neither starts nor stops a process.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::fleet::{Fleet, Load, State, WasReady, Wish};
use super::strategy::Busy;
use crate::limits::{Limits, PEER_FRAME_BYTES_MAX};
use crate::net::pki::BALANCER_NAME;
use crate::net::{Credentials, Env, FrameReader, FrameWriter, Live, Target, connect, presented};
use crate::placement::ServerEntry;
use crate::types::ClusterId;
use crate::wire::PROTOCOL_VERSION;
use crate::wire::peer::{Drain, PeerFrame, PeerHello, PeerHelloOk, Ping, Pong, peer_frame::Body};

/// How often a server is asked.
const PING_INTERVAL: Duration = Duration::from_millis(250);
/// Silence after which it is not handed out.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// The first attempt to connect waits this long; each further one twice as long, up to
/// [`ATTEMPT_MAX`]. Short at first: a packet sent before the server listens is lost, and QUIC
/// repeats it only after a second.
const ATTEMPT_MIN: Duration = Duration::from_millis(150);
/// The longest attempt to connect.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// Pause after a server that is another than the map says: only a restart mends that.
const MISFIT_PAUSE: Duration = Duration::from_secs(5);

/// What every health link of a balancer shares.
pub(super) struct Watch {
    pub(super) env: Env,
    pub(super) endpoint: quinn::Endpoint,
    pub(super) credentials: Live<Credentials>,
    pub(super) cluster: ClusterId,
    pub(super) map_version: u64,
    pub(super) limits: Arc<Limits>,
    pub(super) fleet: Fleet,
}

/// Why a health link ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("no connection")]
    Connect(#[from] crate::net::ConnectError),
    #[error("no connection in time")]
    ConnectTimeout,
    #[error("its certificate is not the one of the placement map")]
    WrongKey,
    #[error("the connection is lost")]
    Lost(#[from] quinn::ConnectionError),
    #[error("cannot write")]
    Write(#[from] crate::net::stream::WriteError),
    #[error("cannot read")]
    Read(#[from] crate::net::stream::ReadError),
    #[error("it ended the stream")]
    Ended,
    #[error("an answer that does not belong here")]
    OutOfPlace,
    #[error("it has placement map {got}, expected {expected}")]
    OtherMap { got: u64, expected: u64 },
    #[error("silent for a second")]
    Silent,
}

impl Watch {
    /// Keeps a health link to one server for as long as the task lives.
    pub(super) async fn run(self: Arc<Self>, server: ServerEntry) {
        let mut patience = ATTEMPT_MIN;
        loop {
            let life = self.fleet.life(&server.id);
            tokio::select! {
                biased;
                () = self.fleet.life_ended(&server.id, life) => patience = ATTEMPT_MIN,
                was_ready = self.try_once(&server, life, patience) => match was_ready {
                    WasReady::Yes => patience = ATTEMPT_MIN,
                    WasReady::No => patience = (patience * 2).min(ATTEMPT_MAX),
                },
            }
        }
    }

    /// One link from start to end, and the pause after it.
    async fn try_once(&self, server: &ServerEntry, life: u64, patience: Duration) -> WasReady {
        let error = self.link(server, life, patience).await;
        let was_ready = self.fleet.silent(&server.id, life);
        report(server, was_ready, &error);
        sleep(match error {
            LinkError::WrongKey | LinkError::OtherMap { .. } => MISFIT_PAUSE,
            _ => patience / 8,
        })
        .await;
        was_ready
    }

    /// One link from start to end.
    async fn link(&self, server: &ServerEntry, life: u64, patience: Duration) -> LinkError {
        match self.opened(server, patience).await {
            Ok(mut link) => {
                let error = self.ask_on(&mut link, server, life).await;
                link.connection.close(quinn::VarInt::from_u32(0), b"");
                error
            }
            Err(error) => error,
        }
    }

    async fn opened(&self, server: &ServerEntry, patience: Duration) -> Result<Link, LinkError> {
        let credentials = self.credentials.now();
        let connection = connect(
            &self.endpoint,
            &self.env,
            server.peer_addr,
            server.id.as_str(),
            Target::Peer,
            &self.cluster,
            Some(&credentials),
            &self.limits,
        );
        let connection =
            timeout(patience, connection).await.map_err(|_| LinkError::ConnectTimeout)??;
        if presented(&connection).is_none_or(|shown| shown.spki_sha256 != server.spki_sha256) {
            return Err(LinkError::WrongKey);
        }
        let (send, recv) = connection.open_bi().await?;
        let deadline = Duration::from_millis(self.limits.frame_deadline_ms);
        let mut link = Link {
            connection,
            writer: FrameWriter::new(send, PEER_FRAME_BYTES_MAX),
            reader: FrameReader::new(recv, PEER_FRAME_BYTES_MAX, deadline),
        };
        let hello = PeerHello {
            version: PROTOCOL_VERSION,
            server: BALANCER_NAME.into(),
            map_version: self.map_version,
            cluster_id: self.cluster.0.to_vec().into(),
        };
        link.writer.send(&PeerFrame { body: Some(Body::Hello(hello)) }).await?;
        Ok(link)
    }

    /// Asks until there is no answer any more.
    async fn ask_on(&self, link: &mut Link, server: &ServerEntry, life: u64) -> LinkError {
        let mut next = interval(PING_INTERVAL);
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut id = 0;
        let mut heard = Instant::now();
        // What an operator said holds for every process of that server, and for every link.
        let mut told = None;
        loop {
            tokio::select! {
                biased;
                frame = link.reader.read() => match frame {
                    Ok(Some(PeerFrame { body: Some(Body::HelloOk(ok)) })) => {
                        if let Err(error) = self.same_map(&ok) {
                            return error;
                        }
                    }
                    Ok(Some(PeerFrame { body: Some(Body::Pong(pong)) })) => {
                        heard = Instant::now();
                        self.fleet.answered(&server.id, life, load(&pong), state(&pong));
                    }
                    Ok(Some(_)) => return LinkError::OutOfPlace,
                    Ok(None) => return LinkError::Ended,
                    Err(error) => return error.into(),
                },
                () = sleep_until(heard + SILENCE_MAX) => return LinkError::Silent,
                wish = self.fleet.wish_other_than(&server.id, told) => {
                    told = Some(wish);
                    let on = wish == Wish::Drain;
                    let drain = PeerFrame { body: Some(Body::Drain(Drain { on })) };
                    if let Err(error) = link.writer.send(&drain).await {
                        return error.into();
                    }
                }
                _ = next.tick() => {
                    id += 1;
                    let ping = PeerFrame { body: Some(Body::Ping(Ping { id })) };
                    // A window that is full is a server that does not read: silence will tell.
                    if link.writer.buffered_bytes() == 0
                        && let Err(error) = link.writer.send(&ping).await
                    {
                        return error.into();
                    }
                }
            }
        }
    }

    /// A server that was started under another map would place names elsewhere.
    fn same_map(&self, ok: &PeerHelloOk) -> Result<(), LinkError> {
        if ok.map_version == self.map_version {
            return Ok(());
        }
        Err(LinkError::OtherMap { got: ok.map_version, expected: self.map_version })
    }
}

/// A process that is there and says nothing is worth a warning; one that ended says so otherwise.
fn report(server: &ServerEntry, was_ready: WasReady, error: &LinkError) {
    let server = &server.id;
    match (error, was_ready) {
        (LinkError::Silent, WasReady::Yes) => {
            tracing::warn!(%server, %error, "not handed out any more");
        }
        (LinkError::WrongKey | LinkError::OtherMap { .. }, _) => {
            tracing::warn!(%server, %error, "not handed out");
        }
        (_, WasReady::Yes) => tracing::info!(%server, %error, "not handed out any more"),
        (_, WasReady::No) => tracing::debug!(%server, %error, "no health link"),
    }
}

/// An open health link.
struct Link {
    connection: quinn::Connection,
    writer: FrameWriter<PeerFrame>,
    reader: FrameReader<PeerFrame>,
}

fn load(pong: &Pong) -> Load {
    Load {
        sessions: pong.sessions,
        connections: pong.connections,
        queue: pong.queue,
        database_bytes: pong.database_bytes,
        messages_per_s: pong.messages_per_s,
        p99_us: pong.p99_us,
        busy: Busy { cpu_permille: pong.cpu_permille.into(), bytes_per_s: pong.bytes_per_s },
        disk_free_bytes: pong.disk_free_bytes,
    }
}

fn state(pong: &Pong) -> State {
    match (pong.draining, pong.full, pong.accepting) {
        (true, _, _) => State::Drain,
        (false, true, _) => State::Full,
        (false, false, true) => State::Ready,
        (false, false, false) => State::Starting,
    }
}
