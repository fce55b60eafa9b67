//! The removal of what every reader has passed, and in groups of what is too old.
//!
//! Runs between batches, in transactions of its own; acknowledging never deletes.

use std::collections::BTreeSet;

use rusqlite::Connection;
use tokio::time::Instant;
use tracing::warn;

use super::cache::Flush;
use super::refusal::{Fault, Severity};
use super::request::HomeFailure;
use super::sql;
use super::state::Home;
use crate::limits::GROUP_ENTRY_LIFE;
use crate::ops::meters::StoreOp;
use crate::types::{GroupName, LogName, Seq, UserName};

/// Passed entries that are worth a transaction: deleting one by one costs ten times as much.
pub(super) const REAP_ENTRIES_MIN: u64 = 1_000;
/// Entries deleted in one transaction.
const REAP_ENTRIES_MAX: u64 = 10_000;
/// Entries of groups are as old as their day.
pub(super) const DAY_MS: u64 = 24 * 3600 * 1000;

/// The day, counted from 1970, in UTC.
pub(super) fn day_of(unix_ms: u64) -> u64 {
    unix_ms / DAY_MS
}

/// The first day whose entries are still kept.
fn oldest_day(unix_ms: u64) -> u64 {
    day_of(unix_ms).saturating_sub(GROUP_ENTRY_LIFE.as_secs() * 1000 / DAY_MS)
}

/// Logs that keep entries which every reader has passed.
pub(super) fn logs_to_reap(conn: &Connection) -> Result<BTreeSet<LogName>, Fault> {
    let mut logs = BTreeSet::new();
    for owner in sql::logs::logs_to_reap(conn)? {
        logs.insert(LogName::Inbox(UserName::canonical(&owner)?));
    }
    for group in sql::groups::groups_to_reap(conn)? {
        logs.insert(LogName::Group(GroupName::canonical(&group)?));
    }
    Ok(logs)
}

impl Home {
    /// Once a day: finds the groups with entries that are too old.
    pub(super) fn look_for_old(&mut self) -> Result<(), HomeFailure> {
        let now_ms = self.env.unix_ms();
        if day_of(now_ms) <= self.looked_day {
            return Ok(());
        }
        self.looked_day = day_of(now_ms);
        let old = sql::groups::with_days_before(self.conn(), oldest_day(now_ms));
        for name in old.map_err(|error| Fault::from(error).fatal())? {
            let name = GroupName::canonical(&name).map_err(|error| Fault::from(error).fatal())?;
            self.reapable.insert(LogName::Group(name));
            self.passed = REAP_ENTRIES_MIN;
        }
        Ok(())
    }

    /// When that has to be looked at again.
    pub(super) fn next_old_ms(&self) -> u64 {
        (self.looked_day + 1) * DAY_MS
    }

    /// Deletes passed entries once there are enough of them for a transaction of their own.
    pub(super) fn reap_if_due(&mut self) -> Result<(), HomeFailure> {
        if self.passed < REAP_ENTRIES_MIN {
            return Ok(());
        }
        self.reap()
    }

    /// Deletes passed entries, as many as fit one transaction.
    pub(super) fn reap(&mut self) -> Result<(), HomeFailure> {
        self.passed = 0;
        let began = Instant::now();
        let Err(fault) = self.try_reap() else {
            self.env.meters().stored(StoreOp::Reap, began.elapsed());
            return Ok(());
        };
        self.rollback()?;
        match fault.severity() {
            Severity::Full => {
                warn!("the disk is full: passed entries stay for now");
                Ok(())
            }
            Severity::Operation => Err(HomeFailure::Storage("deleting entries".to_owned())),
            Severity::Fatal(failure) => Err(failure),
        }
    }

    fn try_reap(&mut self) -> Result<(), Fault> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut budget = REAP_ENTRIES_MAX;
        let mut done = Vec::new();
        let oldest_day = oldest_day(self.env.unix_ms());
        for name in &self.reapable {
            let conn = &self.database.conn;
            let Some(log) = self.logs.get(conn, name)? else { continue };
            let before = log.cursor;
            log.expire(conn, oldest_day)?;
            if log.cursor > before {
                self.moved.insert(name.clone());
            }
            let count = log.passed().min(budget);
            if count > 0 {
                let upto = Seq(log.first.0 + count - 1);
                sql::logs::delete_entries(conn, log.id, log.first, upto)?;
                log.reaped(upto);
                budget -= count;
            }
            if log.passed() == 0 {
                if log.group.is_some() {
                    sql::groups::drop_days(conn, log.id, oldest_day)?;
                }
                done.push(name.clone());
            }
            self.logs.touch(name);
            if budget == 0 {
                self.passed = REAP_ENTRIES_MIN;
                break;
            }
        }
        self.logs.flush(&self.database.conn, Flush::All)?;
        self.execute("COMMIT")?;
        for name in done {
            self.reapable.remove(&name);
        }
        Ok(())
    }
}
