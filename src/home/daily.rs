//! What a group, and a person who makes groups, may do in a day (UTC).
//!
//! Chains and groups are never deleted: without these bounds anybody could make the database grow
//! for ever. Counted from rows that are there anyway, so a restart forgets nothing.

use rusqlite::Connection;

use super::cache::Log;
use super::reap::{DAY_MS, day_of};
use super::refusal::{No, Refusal};
use super::sql;
use crate::crypto::operation::Change;
use crate::types::UserName;
use crate::wire::Code;

/// Whether a group takes one more operation today; `newest` is the number of its last.
pub(super) fn check_changes(
    conn: &Connection,
    log: &mut Log,
    change: &Change,
    newest: u64,
    now_ms: u64,
    changes_max: u64,
) -> Result<(), No> {
    let most = if defends(change) { changes_max.saturating_mul(2) } else { changes_max };
    if log.changes_of(conn, day_of(now_ms), newest)? < most {
        return Ok(());
    }
    Err(tomorrow(now_ms).into())
}

/// Whether somebody may make one more group here today.
pub(super) fn check_groups_made(
    conn: &Connection,
    maker: &UserName,
    now_ms: u64,
    groups_max: u32,
) -> Result<(), No> {
    if sql::groups::made_since(conn, maker, day_of(now_ms))? < u64::from(groups_max) {
        return Ok(());
    }
    Err(tomorrow(now_ms).into())
}

/// What puts an attacker out of a group, or ends it, is not refused because of the attack. None of
/// them can be repeated for ever: each needs a member who goes.
fn defends(change: &Change) -> bool {
    matches!(change, Change::Remove { .. } | Change::Leave | Change::Rekey(_) | Change::Close)
}

fn tomorrow(now_ms: u64) -> Refusal {
    Refusal::later(Code::SlowDown, DAY_MS - now_ms % DAY_MS)
}
