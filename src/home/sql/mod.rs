//! Every SQL statement of the home, each in a small named function: domain values in and out.
//!
//! Deliberately decides nothing. Transactions are the writer's business.

pub(super) mod accounts;
pub(super) mod blobs;
pub(super) mod groups;
pub(super) mod logs;

/// SQLite's integers are signed: ids and numbers are kept bit for bit.
fn int(number: u64) -> i64 {
    number.cast_signed()
}

fn num(stored: i64) -> u64 {
    stored.cast_unsigned()
}

fn index(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The row of a log: that of the account whose inbox it is, or a group's, which is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowId(pub(super) i64);

/// The row of a producer: one device of one author in one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProducerId(pub(super) i64);
