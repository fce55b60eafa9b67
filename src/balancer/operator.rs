//! The operator's side of the balancer's port: ask, and wait until it is gone.
//!
//! Deliberately knows nothing of screens and exit codes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

use crate::limits::{FRAME_BYTES_MAX, Limits};
use crate::net::pki::BALANCER_NAME;
use crate::net::{
    ConnectError, Credentials, Env, FrameReader, FrameWriter, Target, client_endpoint, connect,
};
use crate::wire::PROTOCOL_VERSION;
use crate::wire::balancer::balancer_reply::Body as Reply;
use crate::wire::balancer::balancer_request::Body as Request;
use crate::wire::balancer::{BalancerReply, BalancerRequest};

/// Why a balancer cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// No socket.
    #[error("cannot open a UDP socket")]
    Socket(#[from] io::Error),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// A connection to a balancer under the operator's certificate. Dropped, it is closed.
#[derive(Debug)]
pub struct OperatorLink {
    connection: quinn::Connection,
    deadline: Duration,
}

impl OperatorLink {
    /// Connects to the balancer of the cluster that issued `operator`.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn open(
        env: &Env,
        addr: SocketAddr,
        operator: &Credentials,
    ) -> Result<Self, OperatorError> {
        let limits = Limits::default();
        let from: SocketAddr = match addr {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = client_endpoint(env, from)?;
        let (pin, target) = (operator.cluster_id(), Target::Balancer);
        let connection =
            connect(&endpoint, env, addr, BALANCER_NAME, target, &pin, Some(operator), &limits)
                .await?;
        Ok(Self { connection, deadline: Duration::from_millis(limits.frame_deadline_ms) })
    }

    /// Asks one thing. `None`: no answer, or one of a newer version.
    pub async fn ask(&self, request: Request) -> Option<Reply> {
        let (send, recv) = self.connection.open_bi().await.ok()?;
        let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
        let request = BalancerRequest { version: PROTOCOL_VERSION, body: Some(request) };
        writer.send(&request).await.ok()?;
        writer.finish();
        let mut reader = FrameReader::<BalancerReply>::new(recv, FRAME_BYTES_MAX, self.deadline);
        timeout(self.deadline, reader.read()).await.ok()?.ok()??.body
    }

    /// Returns once the balancer has closed the connection, as it does when all has stopped.
    pub async fn closed(&self) {
        let _ = self.connection.closed().await;
    }
}
