//! Endpoints and streams over real loopback sockets and over the simulated network.

mod real;
mod simulated;

use std::net::SocketAddr;

use super::*;
use crate::limits::Limits;
use crate::types::{ClusterId, ServerId};
use crate::wire::client::{ClientFrame, LookUp, client_frame::Body};

/// What a test needs to listen and to be trusted.
struct Node {
    env: Env,
    limits: Limits,
    keys: QuicKeys,
    credentials: Credentials,
    pin: ClusterId,
}

fn role() -> Role {
    Role::Server(ServerId::numbered(1))
}

impl Node {
    fn new(env: &Env, authority: &Authority, role: &Role) -> Self {
        Self {
            env: env.clone(),
            limits: Limits::default(),
            keys: QuicKeys::create(env),
            credentials: authority.issue(env, role).unwrap(),
            pin: authority.cluster_id(),
        }
    }

    fn listen(&self, addr: SocketAddr, kind: ListenKind) -> quinn::Endpoint {
        listen(&self.env, addr, kind, &self.credentials, &self.keys, &self.limits).unwrap()
    }
}

/// A frame whose user name is as long as asked.
fn look_up(rid: u64, length: usize) -> ClientFrame {
    let user = "a".repeat(length);
    ClientFrame { rid, optional: false, body: Some(Body::LookUp(LookUp { user })) }
}
