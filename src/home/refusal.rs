//! Why a request is not done: refused by a rule, or struck by a fault of the database.

use rusqlite::ErrorCode;

use super::request::HomeFailure;
use crate::types::{N, NameError};
use crate::wire::{Code, client as wire};

/// SQLite could not grow its shared index for want of space: the disk is full, nothing is broken.
const SQLITE_IOERR_SHMSIZE: i32 = 10 | (19 << 8);

/// A rule said no. Nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) retry_after_ms: u64,
    /// `GAP` only.
    pub(super) expected: N,
    pub(super) detail: &'static str,
    /// `ALREADY_LOGGED_IN` only.
    pub(super) since_ms: u64,
    pub(super) last_seen_ms: u64,
    /// `QUOTA` only.
    pub(super) limit_bytes: u64,
    pub(super) used_bytes: u64,
}

impl Refusal {
    pub(super) fn new(code: Code) -> Self {
        Self {
            code,
            retry_after_ms: 0,
            expected: N(0),
            detail: "",
            since_ms: 0,
            last_seen_ms: 0,
            limit_bytes: 0,
            used_bytes: 0,
        }
    }

    pub(super) fn because(code: Code, detail: &'static str) -> Self {
        Self { detail, ..Self::new(code) }
    }

    pub(super) fn later(code: Code, retry_after_ms: u64) -> Self {
        Self { retry_after_ms, ..Self::new(code) }
    }

    /// The answer to a request by rid.
    pub(super) fn error(&self) -> wire::Error {
        wire::Error {
            code: self.code as u32,
            retry_after_ms: self.retry_after_ms,
            detail: self.detail.to_owned(),
            since_unix_ms: self.since_ms,
            last_seen_unix_ms: self.last_seen_ms,
            limit_bytes: self.limit_bytes,
            used_bytes: self.used_bytes,
            ..wire::Error::default()
        }
    }
}

/// Something is wrong with the database or with us.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    /// What is stored is not what was stored.
    Damaged(String),
}

/// What a fault means for the batch it struck.
pub(super) enum Severity {
    /// The disk is full: nothing of the batch may be acknowledged, the home goes on.
    Full,
    /// Only the one operation is to blame: it is answered `INTERNAL`, the others are done again.
    Operation,
    /// The home must stop.
    Fatal(HomeFailure),
}

impl Fault {
    pub(super) fn severity(self) -> Severity {
        let error = match self {
            Self::Damaged(what) => return Severity::Fatal(HomeFailure::Corrupt(what)),
            Self::Sqlite(error) => error,
        };
        let text = error.to_string();
        match error.sqlite_error() {
            Some(cause) if cause.extended_code == SQLITE_IOERR_SHMSIZE => Severity::Full,
            Some(cause) => match cause.code {
                ErrorCode::DiskFull => Severity::Full,
                ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => {
                    Severity::Operation
                }
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                    Severity::Fatal(HomeFailure::Corrupt(text))
                }
                _ => Severity::Fatal(HomeFailure::Storage(text)),
            },
            // A value that does not convert: a bug of ours that the next restart would not mend.
            None => Severity::Operation,
        }
    }

    /// The same where no single operation can be to blame.
    pub(super) fn fatal(self) -> HomeFailure {
        let text = format!("{self:?}");
        match self.severity() {
            Severity::Fatal(failure) => failure,
            Severity::Full | Severity::Operation => HomeFailure::Storage(text),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A name in the database that is none.
impl From<NameError> for Fault {
    fn from(error: NameError) -> Self {
        Self::Damaged(format!("a stored name: {error}"))
    }
}

/// Why an operation has no result.
#[derive(Debug)]
pub(super) enum No {
    Refused(Refusal),
    Fault(Fault),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for No {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<rusqlite::Error> for No {
    fn from(error: rusqlite::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Code> for No {
    fn from(code: Code) -> Self {
        Self::Refused(Refusal::new(code))
    }
}
