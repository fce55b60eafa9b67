//! What the disks of homes and members say of groups.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::books::{Opened, number};
use super::{Books, Chain, Place, Stay, Step};
use crate::client::{GroupView, Standing};
use crate::types::{GroupName, ServerId, UserName};

type Found = Result<Vec<String>, rusqlite::Error>;

/// Bytes of one append among a producer's latest: n, upto, seq, and a hash.
const RECORD_BYTES: usize = 32;

impl Books {
    /// Takes down the chain of a group, as a home would have it.
    pub fn note_chain(&mut self, group: &GroupName, chain: Chain) {
        self.groups.insert(group.clone(), chain);
    }

    /// Takes down where a number stands, as a home would have it.
    pub fn note_place(&mut self, place: Place, seq: u64) {
        self.places.insert(place, seq);
    }

    /// Reads the chains and the places of what was appended; holds them against what they were.
    pub(super) fn audit_groups(&mut self, db: &Connection, server: &ServerId) -> Found {
        let mut wrong = Vec::new();
        let mut rows = db.prepare("SELECT log, name, key_epoch, closed FROM groups")?;
        let groups = rows.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
        })?;
        for row in groups.collect::<Result<Vec<(i64, String, i64, bool)>, _>>()? {
            let (log, name, key_epoch, closed) = row;
            let Ok(group) = GroupName::canonical(&name) else {
                wrong.push(format!("{server} has a group {name:?}"));
                continue;
            };
            let home = self.homes.entry(group.clone()).or_insert_with(|| server.clone());
            if home != server {
                wrong.push(format!("I7: {group} is at {home} and at {server}"));
            }
            let chain = read_chain(db, log)?;
            let before = self.groups.entry(group.clone()).or_default();
            if !chain.steps.starts_with(&before.steps) {
                wrong.push(format!("I4: the chain of {group} is not what it was"));
            }
            if (key_epoch, closed) != (chain.key_epoch(), chain.is_closed()) {
                wrong.push(format!(
                    "{group} has epoch {key_epoch}, closed {closed}; its chain {}, {}",
                    chain.key_epoch(),
                    chain.is_closed()
                ));
            }
            if read_stays(db, log)? != chain.stays() {
                wrong.push(format!("I5: the members of {group} are not those of its chain"));
            }
            let (rows, room): (i64, i64) = db.query_row(
                "SELECT (SELECT count(*) FROM entries e WHERE e.log = l.id AND seq >= first_seq),
                   head_seq + 1 - first_seq FROM logs l WHERE l.id = ?1",
                [log],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            if rows != room {
                wrong.push(format!("{rows} rows for {room} entries of {group}"));
            }
            *before = chain;
            self.note_places(db, log, &group)?;
        }
        Ok(wrong)
    }

    /// Where every number stands that is still among its producer's latest.
    fn note_places(
        &mut self,
        db: &Connection,
        log: i64,
        group: &GroupName,
    ) -> Result<(), rusqlite::Error> {
        let mut rows = db.prepare(
            "SELECT author, device, recent FROM producers WHERE log = ?1
             AND id NOT IN (SELECT operations FROM groups)",
        )?;
        let mut rows = rows.query([log])?;
        while let Some(row) = rows.next()? {
            let author: String = row.get(0)?;
            let Ok(author) = UserName::canonical(&author) else { continue };
            let device = number(row.get(1)?);
            let recent: Vec<u8> = row.get(2)?;
            for record in recent.as_chunks::<RECORD_BYTES>().0 {
                let [n, upto, seq, _] = *record.as_chunks::<8>().0 else { continue };
                let [n, upto, seq] = [n, upto, seq].map(u64::from_le_bytes);
                for n in n..=upto {
                    self.note_place(Place::of(group, &author, device, n), seq);
                }
            }
        }
        Ok(())
    }

    /// What no member may have: a cursor beyond the end of their time in a group (I8).
    ///
    /// # Errors
    /// SQLite's, when the profile cannot be read.
    pub fn audit_member(&self, user: &UserName, profile: &Path) -> Found {
        let db = Connection::open_with_flags(profile, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut wrong = Vec::new();
        for (group, chain) in &self.groups {
            let stays = chain.stays();
            let last = stays.get(user).and_then(|stays| stays.last()).and_then(|last| last.until);
            let Some(until) = last else { continue };
            let sql = "SELECT cursor FROM groups WHERE name = ?1";
            let cursor: Option<i64> =
                db.query_row(sql, [group.as_str()], |row| row.get(0)).optional()?;
            if let Some(cursor) = cursor.map(number).filter(|cursor| *cursor > until) {
                wrong.push(format!("I8: {user} has {cursor} of {group} and was in it to {until}"));
            }
        }
        Ok(wrong)
    }

    /// What somebody's device shows of the groups that is not what their homes have.
    pub fn audit_rosters(&self, user: &UserName, views: &[GroupView]) -> Vec<String> {
        let views: BTreeMap<&GroupName, &GroupView> =
            views.iter().map(|view| (&view.name, view)).collect();
        let mut wrong = Vec::new();
        for (group, chain) in &self.groups {
            let members = chain.members();
            let view = views.get(group);
            let standing = view.map(|view| view.standing);
            if !members.contains(user) {
                if matches!(standing, Some(Standing::Member | Standing::Forked)) {
                    wrong.push(format!("{user} is {standing:?} of {group}, and not in it"));
                }
                continue;
            }
            let expected = if chain.is_closed() { Standing::Closed } else { Standing::Member };
            let Some(view) = view.filter(|view| view.standing == expected) else {
                wrong.push(format!("{user} is {standing:?} of {group}, and {expected:?}"));
                continue;
            };
            let shown: Vec<&UserName> = view.members.iter().map(|member| &member.user).collect();
            if !members.iter().eq(shown.iter().copied()) {
                wrong.push(format!("{user} sees {shown:?} in {group}, there are {members:?}"));
            }
            let (changes, head) = (chain.steps.len() as u64, chain.head());
            if (view.changes, &view.head) != (changes, &head) {
                wrong.push(format!(
                    "{user} knows {} changes of {group} up to {}; there are {changes} up to {head}",
                    view.changes, view.head
                ));
            }
        }
        wrong
    }

    /// Whether there was a time in which somebody could not write into a group.
    pub fn was_out_of(&self, group: &GroupName, user: &UserName) -> bool {
        self.groups.get(group).is_none_or(|chain| {
            let stays = chain.stays();
            let ended = |stays: &Vec<Stay>| stays.iter().any(|stay| stay.until.is_some());
            chain.is_closed() || stays.get(user).is_none_or(ended)
        })
    }

    /// No home believes a member to have on disk what their disk does not have.
    pub(super) fn audit_group_cursors(db: &Connection, opened: &mut Opened<'_>) -> Found {
        let mut rows = db.prepare(
            "SELECT g.name, c.user, l.epoch, max(c.seq),
               (SELECT max(since_seq) FROM members m WHERE m.log = c.log AND m.user = c.user)
             FROM cursors c JOIN groups g ON g.log = c.log JOIN logs l ON l.id = c.log
             GROUP BY g.name, c.user",
        )?;
        let mut rows = rows.query([])?;
        let mut wrong = Vec::new();
        while let Some(row) = rows.next()? {
            let (group, user): (String, String) = (row.get(0)?, row.get(1)?);
            let (epoch, told, since): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let Some(profile) = opened.of(&user)? else { continue };
            let stored: Option<i64> = profile
                .query_row(
                    "SELECT cursor FROM groups WHERE name = ?1 AND epoch = ?2",
                    rusqlite::params![group, epoch],
                    |row| row.get(0),
                )
                .optional()?;
            // What came before they did counts as read.
            let stored = stored.unwrap_or(0).max(since - 1);
            if told > stored {
                wrong.push(format!("{user} told {told} of #{group} with {stored} on disk"));
            }
        }
        Ok(wrong)
    }
}

fn read_chain(db: &Connection, log: i64) -> Result<Chain, rusqlite::Error> {
    let mut rows =
        db.prepare("SELECT seq, hash, operation FROM roster_ops WHERE log = ?1 ORDER BY number")?;
    let mut rows = rows.query([log])?;
    let mut chain = Chain::default();
    while let Some(row) = rows.next()? {
        let (seq, hash, operation): (i64, Vec<u8>, Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let step = Step::decode(number(seq), hash, &operation);
        chain.steps.push(step.ok_or(rusqlite::Error::InvalidQuery)?);
    }
    Ok(chain)
}

fn read_stays(db: &Connection, log: i64) -> Result<BTreeMap<UserName, Vec<Stay>>, rusqlite::Error> {
    let mut rows = db.prepare(
        "SELECT user, since_seq, until_seq FROM members WHERE log = ?1 ORDER BY user, since_seq",
    )?;
    let mut rows = rows.query([log])?;
    let mut stays: BTreeMap<UserName, Vec<Stay>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let user: String = row.get(0)?;
        let user = UserName::canonical(&user).map_err(|_| rusqlite::Error::InvalidQuery)?;
        let (since, until): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
        let stay = Stay { since: number(since), until: until.map(number) };
        stays.entry(user).or_default().push(stay);
    }
    Ok(stays)
}
