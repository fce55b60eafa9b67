//! Counts the packets that a client's connection lost, while it lives and when it ends.
//!
//! Deliberately only looks: what is lost is sent again by QUIC.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::ops::Meters;

/// How often a connection is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The losses of one connection. The rest is counted when it is dropped.
pub(super) struct Losses<'a> {
    conn: &'a quinn::Connection,
    meters: &'a Meters,
    counted: AtomicU64,
}

impl<'a> Losses<'a> {
    pub(super) fn new(conn: &'a quinn::Connection, meters: &'a Meters) -> Self {
        Self { conn, meters, counted: AtomicU64::new(0) }
    }

    /// Counts for as long as it is polled; does nothing when nobody looks at figures.
    pub(super) async fn watch(&self) {
        while self.meters.is_on() {
            sleep(LOOK_INTERVAL).await;
            self.count();
        }
        std::future::pending::<()>().await;
    }

    fn count(&self) {
        let lost = self.conn.stats().path.lost_packets;
        self.meters.lost_packets(lost.saturating_sub(self.counted.swap(lost, Ordering::Relaxed)));
    }
}

impl Drop for Losses<'_> {
    fn drop(&mut self) {
        if self.meters.is_on() {
            self.count();
        }
    }
}
