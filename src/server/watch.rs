//! What a server tells whoever watches it: whether it takes work, whether it is alive, its figures.
//!
//! Deliberately changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::edge::Edge;
use crate::home::HomeHandle;
use crate::net::{Credentials, Env, Live};
use crate::ops::admin::{Soon, Watched};
use crate::ops::health::{Room, Stage};
use crate::ops::meters::Gauge;
use crate::ops::{Meters, Unready};

/// A writer that does not answer within this is stuck.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(5);

/// A running server as its operator sees it.
pub(super) struct Watch {
    pub(super) env: Env,
    pub(super) edge: Arc<Edge>,
    pub(super) home: HomeHandle,
    pub(super) stage: Stage,
    pub(super) database: PathBuf,
    pub(super) credentials: Live<Credentials>,
}

impl Watched for Watch {
    fn unready(&self) -> Option<Unready> {
        let full = || (!self.edge.has_room()).then_some(Unready::Full);
        let folder = self.database.parent();
        let disk = || {
            let nearly_full = folder.and_then(Room::at).is_some_and(Room::is_nearly_full);
            nearly_full.then_some(Unready::Disk)
        };
        let draining = || self.edge.is_draining().then_some(Unready::Draining);
        self.stage.unready().or_else(draining).or_else(disk).or_else(full)
    }

    fn is_alive(&self) -> Soon<'_, bool> {
        Box::pin(async {
            matches!(timeout(HEARTBEAT_DEADLINE, self.home.unread()).await, Ok(Ok(_)))
        })
    }

    fn measure<'a>(&'a self, meters: &'a Meters) -> Soon<'a, ()> {
        Box::pin(async {
            meters.set(Gauge::Connections, self.edge.connections() as f64);
            meters.set(Gauge::StreamsOpen, self.edge.streams_open() as f64);
            let left_ms = i128::from(self.credentials.now().expires_unix_ms())
                - i128::from(self.env.unix_ms());
            meters.set(Gauge::CertExpiry, (left_ms / 1000) as f64);
            for home in self.edge.router().homes() {
                let waiting = self.edge.router().port(home).map_or(0, |port| port.waiting());
                meters.set(Gauge::ForwardQueue(home.clone()), waiting as f64);
            }
            meters.set(Gauge::BlobBytes, self.home.stats().blob_bytes as f64);
            if let Ok(unread) = self.home.unread().await {
                meters.set(Gauge::Mailbox, unread as f64);
            }
        })
    }
}
