//! The peer port: other servers' edges come to this home, and the balancer comes to look.
//!
//! Who calls is known by the key of their certificate, which must stand in the placement map. A
//! peer that sends nonsense loses its connection, for no honest server does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Reader, WRITE_BATCH_BYTES, Writer, chunks, frame, framed};
use crate::edge::Edge;
use crate::edge::door::{DoorError, HomeDoor, Inlet, Outlet};
use crate::home::Output;
use crate::load::{Load, LoadMeter};
use crate::net::endpoint::close;
use crate::net::{AcceptGate, Env, presented};
use crate::types::{ClusterId, ServerId, SessionId};
use crate::wire::peer::{Deliver, Drain, Forward, Target};
use crate::wire::peer::{PeerHello, PeerHelloOk, Pong, peer_frame::Body};
use crate::wire::{Code, PROTOCOL_VERSION};

/// The name in the balancer's certificate.
const BALANCER: &str = "balancer";
/// Targets in one `Deliver`; each takes at most 18 bytes beside a frame of the client protocol.
const TARGETS_PER_FRAME_MAX: usize = 512;

/// The peer port of one server.
pub struct PeerPort {
    /// Its edge: name, placement map, limits, and how many clients there are.
    pub edge: Arc<Edge>,
    /// The door to its home.
    pub door: Arc<HomeDoor>,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// How busy it is.
    pub load: Arc<LoadMeter>,
}

/// Who a certificate belongs to.
enum Who {
    Server(ServerId),
    Balancer,
}

/// Why a peer's connection is closed.
pub(super) type Fault = (Code, &'static str);

pub(super) const LOST: Fault = (Code::HomeDown, "the link ended");
pub(super) const UNEXPECTED: Fault = (Code::Malformed, "unexpected frame");

impl PeerPort {
    /// Serves peers on this endpoint until `stop`, or until the endpoint is closed.
    pub async fn serve(
        self: Arc<Self>,
        env: Env,
        endpoint: quinn::Endpoint,
        stop: CancellationToken,
    ) {
        let mut gate = AcceptGate::new(self.edge.limits());
        loop {
            let incoming = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            let Some(handshake) = gate.admit(incoming) else { continue };
            let port = Arc::clone(&self);
            env.spawn(async move {
                if let Some(conn) = handshake.finish().await {
                    let (code, reason) = port.connection(&conn).await;
                    close(&conn, code, reason);
                }
            });
        }
    }

    async fn connection(&self, conn: &quinn::Connection) -> Fault {
        match self.who(conn) {
            Some(Who::Server(peer)) => self.server(conn, peer).await,
            Some(Who::Balancer) => self.balancer(conn).await,
            None => (Code::NotAPeer, "no server of this cluster has that key"),
        }
    }

    fn who(&self, conn: &quinn::Connection) -> Option<Who> {
        let map = self.edge.router().map();
        let cert = presented(conn)?;
        if cert.name == BALANCER {
            return (cert.spki_sha256 == map.balancer_spki_sha256).then_some(Who::Balancer);
        }
        let entry = map.server(&ServerId::parse(&cert.name).ok()?)?;
        (cert.spki_sha256 == entry.spki_sha256).then(|| Who::Server(entry.id.clone()))
    }

    /// One edge's link: greeting, then requests in and outputs out until either side ends it.
    async fn server(&self, conn: &quinn::Connection, peer: ServerId) -> Fault {
        let deadline = Duration::from_millis(self.edge.limits().handshake_deadline_ms);
        let greeted = timeout(deadline, self.greet(conn, &peer)).await;
        let (mut writer, mut reader, hello_ok) = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(fault)) => return fault,
            Err(_) => return (Code::Timeout, "no greeting in time"),
        };
        // Attached before the greeting is answered: what follows it finds the home ready.
        let (inlet, mut outlet) = self.door.attach(peer);
        if writer.send(&frame(Body::HelloOk(hello_ok))).await.is_err() {
            return LOST;
        }
        tokio::select! {
            biased;
            fault = send(&mut writer, &mut outlet) => fault,
            fault = receive(&mut reader, &inlet) => fault,
            fault = chunks::serve(conn, &self.edge, self.door.blobs()) => fault,
        }
    }

    async fn greet(
        &self,
        conn: &quinn::Connection,
        peer: &ServerId,
    ) -> Result<(Writer, Reader, PeerHelloOk), Fault> {
        let stream = conn.accept_bi().await.map_err(|_| LOST)?;
        let (writer, mut reader) = framed(stream, self.edge.limits());
        let hello = match reader.read().await {
            Ok(Some(hello)) => hello,
            Ok(None) => return Err(LOST),
            Err(error) => return Err((error.code().unwrap_or(Code::HomeDown), "no greeting")),
        };
        let Some(Body::Hello(hello)) = hello.body else { return Err(UNEXPECTED) };
        if hello.server != peer.as_str() {
            return Err((Code::NotAPeer, "the greeting is not the certificate's"));
        }
        Ok((writer, reader, self.hello_ok(&hello)?))
    }

    fn hello_ok(&self, hello: &PeerHello) -> Result<PeerHelloOk, Fault> {
        if hello.version != PROTOCOL_VERSION {
            return Err((Code::Version, "another version"));
        }
        if hello.cluster_id.as_ref() != self.cluster.0 {
            return Err((Code::NotAPeer, "another cluster"));
        }
        let map_version = self.edge.router().map().version;
        let server = self.edge.id().to_string();
        Ok(PeerHelloOk { version: PROTOCOL_VERSION, server, map_version })
    }

    /// The balancer may look, and send the clients on; on one stream after the other.
    async fn balancer(&self, conn: &quinn::Connection) -> Fault {
        loop {
            let Ok(stream) = conn.accept_bi().await else { return LOST };
            let (mut writer, mut reader) = framed(stream, self.edge.limits());
            loop {
                let asked = match reader.read().await {
                    Ok(Some(asked)) => asked,
                    Ok(None) => break,
                    Err(error) => return (error.code().unwrap_or(Code::HomeDown), "lost"),
                };
                let answer = match asked.body {
                    Some(Body::Hello(hello)) => match self.hello_ok(&hello) {
                        Ok(ok) => Body::HelloOk(ok),
                        Err(fault) => return fault,
                    },
                    Some(Body::Ping(ping)) => Body::Pong(self.pong(ping.id)),
                    Some(Body::Drain(drain)) => {
                        self.drain(&drain);
                        // The next pong says so.
                        continue;
                    }
                    Some(
                        Body::HelloOk(_)
                        | Body::Forward(_)
                        | Body::Deliver(_)
                        | Body::Detach(_)
                        | Body::Pong(_),
                    )
                    | None => return UNEXPECTED,
                };
                if writer.send(&frame(answer)).await.is_err() {
                    return LOST;
                }
            }
        }
    }

    fn drain(&self, drain: &Drain) {
        tracing::info!(server = %self.edge.id(), on = drain.on, "told to drain");
        if drain.on {
            self.edge.drain();
        } else {
            self.edge.undrain();
        }
    }

    fn pong(&self, id: u64) -> Pong {
        let stats = self.door.stats();
        let (has_room, draining) = (self.edge.has_room(), self.edge.is_draining());
        let Load { bytes_per_s, cpu_permille, messages_per_s, p99_us, disk_free_bytes } =
            self.load.latest();
        Pong {
            id,
            sessions: stats.sessions,
            connections: self.edge.connections(),
            database_bytes: stats.database_bytes,
            queue: stats.queue,
            accepting: has_room && !draining,
            draining,
            full: !has_room,
            bytes_per_s,
            cpu_permille,
            messages_per_s,
            p99_us,
            disk_free_bytes,
        }
    }
}

async fn receive(reader: &mut Reader, inlet: &Inlet) -> Fault {
    loop {
        let asked = match reader.read().await {
            Ok(Some(asked)) => asked,
            Ok(None) => return LOST,
            Err(error) => return (error.code().unwrap_or(Code::HomeDown), "unreadable frame"),
        };
        let done = match asked.body {
            Some(Body::Forward(forward)) => enter(inlet, forward).await,
            Some(Body::Detach(detach)) => inlet.detach(SessionId(detach.sid)).await,
            Some(
                Body::Hello(_)
                | Body::HelloOk(_)
                | Body::Deliver(_)
                | Body::Ping(_)
                | Body::Drain(_)
                | Body::Pong(_),
            )
            | None => return UNEXPECTED,
        };
        match done {
            Ok(()) => {}
            Err(DoorError::Malformed(what)) => return (Code::Malformed, what),
            Err(DoorError::HomeGone(_)) => return LOST,
        }
    }
}

async fn enter(inlet: &Inlet, forward: Forward) -> Result<(), DoorError> {
    inlet.forward(forward).await
}

async fn send(writer: &mut Writer, outlet: &mut Outlet) -> Fault {
    while let Some(first) = outlet.next().await {
        let mut next = Some(first);
        while let Some(output) = next {
            if push(writer, output).is_err() {
                tracing::error!("an output does not fit into a frame");
                return (Code::Internal, "an output does not fit into a frame");
            }
            next =
                if writer.buffered_bytes() < WRITE_BATCH_BYTES { outlet.try_next() } else { None };
        }
        if writer.flush().await.is_err() {
            return LOST;
        }
    }
    LOST
}

fn push(writer: &mut Writer, output: Output) -> Result<(), crate::wire::frame::FrameError> {
    let Output { to, frame: body } = output;
    for targets in to.chunks(TARGETS_PER_FRAME_MAX) {
        let to = targets.iter().map(|to| Target { sid: to.sid.0, open_id: to.open_id }).collect();
        writer.push(&frame(Body::Deliver(Deliver { to, frame: Some(body.clone()) })))?;
    }
    Ok(())
}
