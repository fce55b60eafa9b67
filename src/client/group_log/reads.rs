//! Who has read how far in a group, by their own word, and what that means for one's own messages.

use rusqlite::{Transaction, params};

use crate::roster::Roster;
use crate::types::{ChatName, GroupName, Seq, UserName};

use super::super::api::{Event, LocalId, MessageState};
use super::super::core::Core;
use super::super::forget::start_life;
use super::super::store::{StoreError, bits};
use super::super::views::STATE_READ;

/// Somebody says that all of the log up to `seq` was shown to them.
pub(in crate::client) fn hear_group_read(
    tx: &Transaction<'_>,
    chat: &ChatName,
    user: &UserName,
    seq: Seq,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "INSERT INTO group_reads (chat, user, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT (chat, user) DO UPDATE SET seq = max(seq, ?3)",
    )?
    .execute(params![chat, user.as_str(), bits(seq.0)])
    .map(drop)
}

/// Own messages that every other present member has read now. Whoever came in later was never shown
/// them, and is not waited for.
pub(in crate::client) fn group_reads_moved(
    tx: &Transaction<'_>,
    chat: &ChatName,
    own: &UserName,
    roster: &Roster,
    now: u64,
) -> Result<Vec<Event>, StoreError> {
    let mut upto = None;
    for (user, member) in roster.members() {
        if user == own {
            continue;
        }
        let read: i64 = tx
            .prepare_cached(
                "SELECT max(coalesce((SELECT seq FROM group_reads WHERE chat = ?1 AND user = ?2), 0),
                   coalesce((SELECT seq - 1 FROM roster_ops WHERE grp = ?3 AND number = ?4), 0))",
            )?
            .query_row(
                params![chat, user.as_str(), roster.id().0, bits(member.since)],
                |row| row.get(0),
            )?;
        upto = Some(upto.map_or(read, |least: i64| least.min(read)));
    }
    let Some(upto) = upto else { return Ok(Vec::new()) };
    let mut moved: Vec<i64> = tx
        .prepare_cached(
            "UPDATE lines SET state = ?3
             WHERE chat = ?1 AND kind = 0 AND state < 4 AND seq > 0 AND seq <= ?2 RETURNING id",
        )?
        .query_map(params![chat, upto, STATE_READ], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    moved.sort_unstable();
    let mut events = Vec::new();
    for line in moved {
        start_life(tx, line, now)?;
        let (id, chat, state) = (LocalId(line), chat.clone(), MessageState::Read);
        events.push(Event::State { id, chat, state });
    }
    Ok(events)
}

/// The log has begun another life: places in the one before say nothing.
pub(super) fn forget_places(tx: &Transaction<'_>, chat: &ChatName) -> Result<(), rusqlite::Error> {
    tx.execute("DELETE FROM group_reads WHERE chat = ?1", [chat])?;
    tx.execute("DELETE FROM read_marks WHERE chat = ?1", [chat])?;
    tx.execute("UPDATE lines SET seq = 0 WHERE chat = ?1 AND seq > 0", [chat]).map(drop)
}

impl Core {
    /// Somebody left or was put out: perhaps they were the last who had not read.
    pub(super) fn members_moved(&mut self, name: &GroupName) -> Result<(), StoreError> {
        let Some(roster) = self.group(name)?.and_then(|group| group.roster.clone()) else {
            return Ok(());
        };
        let (now, chat) = (self.now(), ChatName::Group(name.clone()));
        let own = self.profile.owner.user.clone();
        let events =
            self.profile.store.commit(|tx| group_reads_moved(tx, &chat, &own, &roster, now))?;
        if !events.is_empty() {
            self.ring();
        }
        events.into_iter().for_each(|event| self.emit(event));
        Ok(())
    }

    /// Everybody who said that an own message of a group was shown to them, by name.
    pub(crate) fn read_by(&self, id: LocalId) -> Result<Vec<UserName>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT r.user FROM lines l JOIN group_reads r ON r.chat = l.chat AND r.seq >= l.seq
             WHERE l.id = ?1 AND l.kind = 0 AND l.seq > 0 ORDER BY r.user",
        )?;
        let users = rows.query_map([id.0], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for user in users {
            found.extend(UserName::canonical(&user?).ok());
        }
        Ok(found)
    }

    /// The place of a line in its group's log; 0 when it has none.
    #[cfg(test)]
    pub(crate) fn line_seq(&self, id: LocalId) -> Result<Seq, StoreError> {
        let seq: i64 = self.profile.store.db().query_row(
            "SELECT seq FROM lines WHERE id = ?1",
            [id.0],
            |row| row.get(0),
        )?;
        Ok(Seq(u64::try_from(seq).unwrap_or(0)))
    }
}
