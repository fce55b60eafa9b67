//! How far a file is, and the numbers under which that is stored.

use super::super::api::{TransferFailure, TransferState};
use crate::wire::Code;

pub(super) const NOT_FETCHED: i64 = 0;
pub(super) const GOES_ON: i64 = 1;
const PAUSED: i64 = 2;
pub(super) const DONE: i64 = 3;
const FAILED: i64 = 4;
/// Its line was forgotten; the row stays until the sealed copy is gone, too.
pub(super) const FORGOTTEN: i64 = 5;

/// Reasons that are no wire code.
const TOO_LARGE: i64 = 1_000;
const QUOTA: i64 = 1_001;
const GONE: i64 = 1_002;
const NOT_THE_FILE: i64 = 1_003;
const COPY_LOST: i64 = 1_004;
const DISK_FULL: i64 = 1_005;
pub(super) const CANCELLED: i64 = 1_006;

/// How far a file is, as its row says: across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Somebody else's, and nobody asked for it.
    NotFetched,
    /// To be moved, now or at the next contact.
    GoesOn,
    /// To be moved once it is resumed.
    Paused,
    /// All of it is at the home (up), or all of the sealed copy is here (down).
    Done,
    /// It will not go on.
    Failed(TransferFailure),
}

impl FileState {
    /// State, reason and its two numbers, as they are stored.
    pub(super) fn numbers(self) -> (i64, i64, u64, u64) {
        let failure = match self {
            Self::NotFetched => return (NOT_FETCHED, 0, 0, 0),
            Self::GoesOn => return (GOES_ON, 0, 0, 0),
            Self::Paused => return (PAUSED, 0, 0, 0),
            Self::Done => return (DONE, 0, 0, 0),
            Self::Failed(failure) => failure,
        };
        let (reason, limit, used) = match failure {
            TransferFailure::Server(code) => (i64::from(code as u32), 0, 0),
            TransferFailure::TooLarge { limit_bytes } => (TOO_LARGE, limit_bytes, 0),
            TransferFailure::Quota { limit_bytes, used_bytes } => (QUOTA, limit_bytes, used_bytes),
            TransferFailure::Gone => (GONE, 0, 0),
            TransferFailure::NotTheFile => (NOT_THE_FILE, 0, 0),
            TransferFailure::CopyLost => (COPY_LOST, 0, 0),
            TransferFailure::DiskFull => (DISK_FULL, 0, 0),
            TransferFailure::Cancelled => (CANCELLED, 0, 0),
        };
        (FAILED, reason, limit, used)
    }

    pub(super) fn of(state: i64, reason: i64, limit_bytes: u64, used_bytes: u64) -> Self {
        match state {
            NOT_FETCHED => return Self::NotFetched,
            GOES_ON => return Self::GoesOn,
            PAUSED => return Self::Paused,
            DONE => return Self::Done,
            _ => {}
        }
        Self::Failed(match reason {
            TOO_LARGE => TransferFailure::TooLarge { limit_bytes },
            QUOTA => TransferFailure::Quota { limit_bytes, used_bytes },
            GONE => TransferFailure::Gone,
            NOT_THE_FILE => TransferFailure::NotTheFile,
            COPY_LOST => TransferFailure::CopyLost,
            DISK_FULL => TransferFailure::DiskFull,
            CANCELLED => TransferFailure::Cancelled,
            code => TransferFailure::Server(
                u32::try_from(code).ok().and_then(Code::from_number).unwrap_or(Code::Internal),
            ),
        })
    }

    /// As people are told when nothing more is known.
    pub(crate) fn shown(self) -> TransferState {
        match self {
            Self::NotFetched => TransferState::NotFetched,
            Self::GoesOn => TransferState::Waiting(None),
            Self::Paused => TransferState::Paused,
            Self::Done => TransferState::Done,
            Self::Failed(failure) => TransferState::Failed(failure),
        }
    }
}
