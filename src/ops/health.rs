//! Whether a process takes work, and in one word why not.
//!
//! Deliberately judges only what it is given; who asks whom is the business of `server` and
//! `balancer`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::limits::DISK_FREE_BYTES_MIN;

/// Why a process takes no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It is not up yet.
    Starting,
    /// It stops, or hands its clients to others.
    Draining,
    /// Its disk is nearly full.
    Disk,
    /// It has as many clients as it may have.
    Full,
    /// The thread that writes its database does not answer.
    Stuck,
    /// No server takes work (the balancer).
    Servers,
}

impl Unready {
    /// The word in the answer of `/readyz`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::Disk => "disk",
            Self::Full => "full",
            Self::Stuck => "stuck",
            Self::Servers => "servers",
        }
    }
}

/// How far a process has come. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<AtomicU8>);

impl Stage {
    const RUNNING: u8 = 1;
    const STOPPING: u8 = 2;

    /// It is up.
    pub fn running(&self) {
        self.0.store(Self::RUNNING, Ordering::Release);
    }

    /// It stops.
    pub fn stopping(&self) {
        self.0.store(Self::STOPPING, Ordering::Release);
    }

    /// Why it takes no work, if it does not.
    pub fn unready(&self) -> Option<Unready> {
        match self.0.load(Ordering::Acquire) {
            0 => Some(Unready::Starting),
            Self::RUNNING => None,
            _ => Some(Unready::Draining),
        }
    }
}

/// Room on the disk of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Bytes of the whole disk.
    pub total_bytes: u64,
}

impl Room {
    /// Looks; `None` when the system does not say.
    pub fn at(folder: &Path) -> Option<Self> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let found = rustix::fs::statvfs(folder).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(Self { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) })
    }

    /// Whether the end is near: less than a twentieth, on large disks less than
    /// [`DISK_FREE_BYTES_MIN`].
    pub fn is_nearly_full(self) -> bool {
        self.free_bytes < (self.total_bytes / 20).min(DISK_FREE_BYTES_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_nearly_full_below_a_twentieth_and_below_a_quarter_of_a_gibibyte() {
        let room = |free_bytes, total_bytes| Room { free_bytes, total_bytes };
        assert!(room(99, 2_000).is_nearly_full());
        assert!(!room(100, 2_000).is_nearly_full());
        let large = 1 << 40;
        assert!(room(DISK_FREE_BYTES_MIN - 1, large).is_nearly_full());
        assert!(!room(DISK_FREE_BYTES_MIN, large).is_nearly_full());
    }

    #[test]
    fn a_process_takes_work_between_its_start_and_its_stop() {
        let stage = Stage::default();
        assert_eq!(stage.unready(), Some(Unready::Starting));
        stage.running();
        assert_eq!(stage.unready(), None);
        stage.clone().stopping();
        assert_eq!(stage.unready(), Some(Unready::Draining));
    }
}
