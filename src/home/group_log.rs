//! A group's log in the cache: one log, many cursors.
//!
//! What stands beyond the slowest cursor counts, as in an inbox what stands beyond the one. Nothing
//! here is done per entry and member.

use rusqlite::Connection;

use super::cache::Log;
use super::members::{Group, Stay};
use super::refusal::Fault;
use super::sql;
use crate::types::{DeviceId, GroupId, GroupName, Seq, UserName};

impl Log {
    pub(super) fn load_group(conn: &Connection, name: &GroupName) -> Result<Option<Self>, Fault> {
        let Some(row) = sql::groups::group(conn, name)? else { return Ok(None) };
        let id = GroupId::from_bytes(&row.id)
            .ok_or_else(|| Fault::Damaged("the id of a group".to_owned()))?;
        let mut log = Self::new(&row.log);
        let mut group = Group::new(id, row.operations, row.key_epoch);
        group.closed = row.closed;
        group.day = sql::groups::last_day(conn, log.id)?;
        for stay in sql::groups::stays(conn, log.id)? {
            let user = UserName::canonical(&stay.user)?;
            group.begin_stay(&user, Stay { since: stay.since, until: stay.until });
        }
        for (user, device, seq) in sql::groups::cursors(conn, log.id)? {
            group.restore_cursor(&UserName::canonical(&user)?, device, seq.min(log.head));
        }
        log.cursor = log.cursor.max(group.lowest().unwrap_or(log.head));
        log.group = Some(group);
        log.load_unread(conn)?;
        Ok(Some(log))
    }

    /// Takes note of the day on which the next entry comes.
    pub(super) fn begin_day(&mut self, conn: &Connection, day: u64) -> Result<(), Fault> {
        let Some(group) = self.group.as_mut().filter(|group| group.day < day) else {
            return Ok(());
        };
        sql::groups::put_day(conn, self.id, day, self.head)?;
        group.day = day;
        group.before_day = None;
        Ok(())
    }

    /// Operations that came on `day`, of which `newest` is the number of the last. A clock that was
    /// set back goes on with the day it had begun.
    pub(super) fn changes_of(
        &mut self,
        conn: &Connection,
        day: u64,
        newest: u64,
    ) -> Result<u64, Fault> {
        let Some(group) = self.group.as_mut().filter(|group| group.day >= day) else {
            return Ok(0);
        };
        let before = match group.before_day {
            Some(before) => before,
            None => {
                let upto = sql::groups::before_day(conn, self.id, group.day, self.head)?;
                sql::groups::number_upto(conn, self.id, upto)?
            }
        };
        group.before_day = Some(before);
        Ok(newest.saturating_sub(before))
    }

    /// Moves one member's cursor forwards, and with it perhaps the slowest one.
    pub(super) fn member_passes(&mut self, user: &UserName, upto: Seq) {
        let upto = upto.min(self.head);
        if self.group.as_mut().is_some_and(|group| group.pass(user, upto)) {
            self.follow_slowest();
        }
    }

    /// Takes note that somebody came in by the entry at the head.
    pub(super) fn begin_stay(&mut self, conn: &Connection, user: &UserName) -> Result<(), Fault> {
        let since = self.head;
        sql::groups::begin_stay(conn, self.id, user, since)?;
        if let Some(group) = &mut self.group {
            group.begin_stay(user, Stay { since, until: None });
        }
        Ok(())
    }

    /// Takes note that the entry at the head ended somebody's stay.
    pub(super) fn end_stay(&mut self, conn: &Connection, user: &UserName) -> Result<(), Fault> {
        let until = self.head;
        sql::groups::end_stay(conn, self.id, user, until)?;
        sql::logs::drop_cursors(conn, self.id, user)?;
        if let Some(group) = &mut self.group {
            group.end_stay(user, until);
        }
        self.follow_slowest();
        Ok(())
    }

    fn follow_slowest(&mut self) {
        if let Some(group) = &self.group {
            self.pass(group.lowest().unwrap_or(self.head));
        }
    }

    /// Gives a member's part to another device, which starts where the member's stay began.
    pub(super) fn start_member(
        &mut self,
        conn: &Connection,
        user: &UserName,
        device: DeviceId,
    ) -> Result<(), Fault> {
        sql::logs::drop_cursors(conn, self.id, user)?;
        let Some(group) = &mut self.group else { return Ok(()) };
        group.start_device(user, device);
        let before_first = Seq(self.first.0.saturating_sub(1));
        let cursor = group.lowest().unwrap_or(self.head).max(before_first);
        if cursor < self.cursor {
            self.cursor = cursor;
            self.load_unread(conn)?;
        }
        Ok(())
    }

    /// What came before `oldest_day` counts as read by everybody.
    pub(super) fn expire(&mut self, conn: &Connection, oldest_day: u64) -> Result<(), Fault> {
        if self.group.is_some() {
            let upto = sql::groups::before_day(conn, self.id, oldest_day, self.head)?;
            self.pass(upto);
        }
        Ok(())
    }
}
