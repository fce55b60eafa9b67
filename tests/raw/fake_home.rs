//! A home under the hands of a test: it lets everybody in, and leaves the streams of chunks alone.

use bytes::Bytes;
use fastchat::limits::{Limits, PEER_FRAME_BYTES_MAX};
use fastchat::net::{FrameReader, FrameWriter, ListenKind, QuicKeys, listen};
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{ChunkAnswer, ServerFrame, Welcome};
use fastchat::wire::peer::peer_frame::Body;
use fastchat::wire::peer::{ChunkForward, Deliver, Forward, PeerFrame, PeerHelloOk, Target};
use prost::Message;
use tokio::time::timeout;

use super::chunks::framed;
use super::{Cluster, LONG};

pub struct FakeHome {
    endpoint: quinn::Endpoint,
}

/// One link of an edge to it.
pub struct FakeLink {
    pub conn: quinn::Connection,
}

impl FakeHome {
    /// In the place of a server, which is stopped.
    pub async fn in_place_of(cluster: &mut Cluster, number: u16) -> Self {
        cluster.stop(number).await;
        let (env, index) = (cluster.server_env(number).clone(), usize::from(number) - 1);
        let (addr, shown) = (cluster.server(number).peer_addr, &cluster.credentials[index]);
        let (keys, limits) = (QuicKeys::create(&env), Limits::default());
        let endpoint = loop {
            // The port is free once the stopped server has gone.
            match listen(&env, addr, ListenKind::Peer, shown, &keys, &limits) {
                Ok(endpoint) => break endpoint,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        };
        Self { endpoint }
    }

    /// The next link that an edge brings up. Logins on it succeed, whoever comes.
    pub async fn link(&self) -> FakeLink {
        loop {
            let incoming = timeout(LONG, self.endpoint.accept()).await.unwrap().unwrap();
            let Ok(conn) = incoming.await else { continue };
            let Ok((send, recv)) = conn.accept_bi().await else { continue };
            let mut writer = FrameWriter::<PeerFrame>::new(send, PEER_FRAME_BYTES_MAX);
            let mut reader = FrameReader::<PeerFrame>::new(recv, PEER_FRAME_BYTES_MAX, LONG);
            let Ok(Some(PeerFrame { body: Some(Body::Hello(hello)) })) = reader.read().await else {
                continue;
            };
            let ok = PeerHelloOk {
                version: 1,
                server: "fake".to_owned(),
                map_version: hello.map_version,
            };
            writer.send(&PeerFrame { body: Some(Body::HelloOk(ok)) }).await.unwrap();
            tokio::spawn(async move {
                while let Ok(Some(frame)) = reader.read().await {
                    if let Some(Body::Forward(forward)) = frame.body
                        && let Some(welcome) = welcome(forward)
                        && writer.send(&welcome).await.is_err()
                    {
                        return;
                    }
                }
            });
            return FakeLink { conn };
        }
    }
}

fn welcome(forward: Forward) -> Option<PeerFrame> {
    let frame = forward.frame?;
    if !matches!(frame.body, Some(Ask::SignUp(_) | Ask::Login(_) | Ask::Resume(_))) {
        return None;
    }
    let welcome = Welcome { session_epoch: 1, ..Welcome::default() };
    let frame =
        ServerFrame { rid: frame.rid, optional: false, body: Some(Answer::Welcome(welcome)) };
    let to = vec![Target { sid: forward.sid, open_id: 0 }];
    Some(PeerFrame { body: Some(Body::Deliver(Deliver { to, frame: Some(frame) })) })
}

impl FakeLink {
    /// The next stream of a chunk: what is asked there, and the stream.
    pub async fn chunk(&self) -> (ChunkForward, quinn::SendStream, quinn::RecvStream) {
        let (send, mut recv) = timeout(LONG, self.conn.accept_bi()).await.unwrap().unwrap();
        let mut length = [0; 4];
        recv.read_exact(&mut length).await.unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        recv.read_exact(&mut body).await.unwrap();
        (ChunkForward::decode(&body[..]).unwrap(), send, recv)
    }
}

/// An answer as it travels, with what follows it.
pub fn answer(answer: &ChunkAnswer, follows: &[u8]) -> Bytes {
    let mut bytes = framed(&answer.encode_to_vec());
    bytes.extend_from_slice(follows);
    bytes.into()
}
