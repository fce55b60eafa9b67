//! A connection that nobody has logged in on: enough to look somebody up and to ask to be let in.

use std::time::Duration;

use bytes::Bytes;

use crate::crypto::bundle::{VerifiedBundle, verify_bundle};
use crate::net::Env;
use crate::types::UserName;
use crate::wire::client::{LookUp, PutBundle, client_frame, server_frame};

use super::super::connection::{Dialer, EdgeAddr, Unread, Wire};
use super::{AccountError, Cluster};

/// A connection before login.
pub(super) struct Line {
    pub(super) dialer: Dialer,
    pub(super) edge: EdgeAddr,
    pub(super) wire: Wire,
}

impl Line {
    pub(super) async fn open(
        env: &Env,
        cluster: &Cluster,
        user: &UserName,
    ) -> Result<Self, AccountError> {
        let mut dialer = Dialer::new(env, cluster.id, &cluster.at);
        let edges = dialer.ask(user, PATIENCE).await?;
        let mut failure = AccountError::Unreachable;
        for edge in edges {
            match dialer.dial(&edge, PATIENCE).await {
                Ok(wire) => return Ok(Self { dialer, edge, wire }),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    pub(super) async fn look_up(
        &mut self,
        user: &UserName,
    ) -> Result<VerifiedBundle, AccountError> {
        let request = client_frame::Body::LookUp(LookUp { user: user.to_string() });
        match self.wire.request(request).await? {
            server_frame::Body::Account(account) => {
                verify_bundle(&account.bundle, &self.dialer.cluster(), user)
                    .map_err(|_| AccountError::Unreachable)
            }
            _ => Err(AccountError::Unreachable),
        }
    }

    pub(super) async fn put(&mut self, bundle: Bytes) -> Result<(), AccountError> {
        let request = client_frame::Body::PutBundle(PutBundle { bundle });
        match self.wire.request(request).await? {
            server_frame::Body::Done(_) => Ok(()),
            _ => Err(AccountError::Unreachable),
        }
    }

    pub(super) async fn close(self) {
        self.wire.close(Unread::Nothing).await;
        self.dialer.close().await;
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
