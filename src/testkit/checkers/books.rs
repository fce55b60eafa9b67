//! What stands on the disks of the homes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{Chain, Diary};
use crate::types::{GroupName, ServerId, UserName};

/// What must never go back on a home's disk (I4), who owns which slot (I7), and what the disks say
/// of groups.
#[derive(Debug, Default)]
pub struct Books {
    highest: BTreeMap<(ServerId, String), i64>,
    /// Each group's home, and its operations when last looked.
    pub(super) homes: BTreeMap<GroupName, ServerId>,
    pub(super) groups: BTreeMap<GroupName, Chain>,
    /// Where each number of a group's log stands. Entries go in time; these stay.
    pub(super) places: BTreeMap<Place, u64>,
}

/// A number of a group's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    group: GroupName,
    author: UserName,
    device: u64,
    n: u64,
}

impl Place {
    /// The number `n` that a device of `author` gave in `group`.
    pub fn of(group: &GroupName, author: &UserName, device: u64, n: u64) -> Self {
        Self { group: group.clone(), author: author.clone(), device, n }
    }
}

impl Books {
    /// Reads a home's database and holds it against every earlier reading of it, and against what
    /// people were told.
    ///
    /// # Errors
    /// SQLite's, when the database cannot be read.
    pub fn audit(
        &mut self,
        server: &ServerId,
        database: &Path,
        diary: &Diary,
    ) -> Result<Vec<String>, rusqlite::Error> {
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut now: Vec<(String, i64)> = Vec::new();
        for (what, sql) in [
            ("head", "SELECT id || ' of epoch ' || epoch, head_seq FROM logs"),
            ("first", "SELECT id || ' of epoch ' || epoch, first_seq FROM logs"),
            ("last n", "SELECT log || ' ' || author || ' ' || device, last_n FROM producers"),
            ("cursor", "SELECT log || ' ' || user || ' ' || device, seq FROM cursors"),
            ("session epoch", "SELECT name, session_epoch FROM accounts"),
            ("bundle", "SELECT name, bundle_version FROM accounts"),
            ("resume", "SELECT account || ' ' || device, resume_count FROM devices"),
            ("group's epoch", "SELECT name, key_epoch FROM groups"),
            ("group's end", "SELECT name, closed FROM groups"),
            ("stay", "SELECT log || ' ' || user, max(since_seq) FROM members GROUP BY log, user"),
        ] {
            let mut rows = db.prepare(sql)?;
            let found = rows.query_map([], |row| {
                Ok((format!("{what} {}", row.get::<_, String>(0)?), row.get(1)?))
            })?;
            now.extend(found.collect::<Result<Vec<_>, _>>()?);
        }
        let mut wrong = Vec::new();
        for (key, value) in now {
            let before = self.highest.entry((server.clone(), key.clone())).or_insert(value);
            if value < *before {
                wrong.push(format!("I4: {key} on {server} went back from {before} to {value}"));
            }
            *before = (*before).max(value);
        }
        let gaps: i64 = db.query_row(
            "SELECT count(*) FROM (SELECT seq, lag(seq) OVER (PARTITION BY log ORDER BY seq) AS p
             FROM entries) WHERE p IS NOT NULL AND seq <> p + 1",
            [],
            |row| row.get(0),
        )?;
        if gaps > 0 {
            wrong.push(format!("I4: {gaps} gaps in the logs of {server}"));
        }
        for (what, sql) in [
            (
                "I5: a number stored twice",
                "SELECT producer || ' ' || n FROM entries GROUP BY producer, n HAVING count(*) > 1",
            ),
            (
                "I3: a number left out",
                "SELECT producer || ' ' || n FROM (SELECT producer, n, kind,
                   lag(n) OVER w AS before, lag(kind) OVER w AS kind_before FROM entries
                   WINDOW w AS (PARTITION BY producer ORDER BY seq))
                 WHERE before IS NOT NULL AND kind = 1 AND kind_before = 1 AND n <> before + 1",
            ),
        ] {
            let mut rows = db.prepare(sql)?;
            for row in rows.query_map([], |row| row.get::<_, String>(0))? {
                wrong.push(format!("{what} on {server}: producer and n {}", row?));
            }
        }
        wrong.extend(self.audit_groups(&db, server)?);
        wrong.extend(Self::audit_sent(&db, server, diary)?);
        Ok(wrong)
    }

    /// I6: nobody was told "sent" of what is not on the disk.
    fn audit_sent(
        db: &Connection,
        server: &ServerId,
        diary: &Diary,
    ) -> Result<Vec<String>, rusqlite::Error> {
        let mut rows = db.prepare(
            "SELECT a.name, p.author, p.device, p.last_n FROM accounts a
             LEFT JOIN producers p ON p.log = a.id
             UNION ALL SELECT '#' || g.name, p.author, p.device, p.last_n FROM groups g
             LEFT JOIN producers p ON p.log = g.log",
        )?;
        let mut chats = BTreeSet::new();
        let mut last: BTreeMap<(String, String, i64), i64> = BTreeMap::new();
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let chat: String = row.get(0)?;
            chats.insert(chat.clone());
            if let Some(author) = row.get::<_, Option<String>>(1)? {
                last.insert((chat, author, row.get(2)?), row.get(3)?);
            }
        }
        let told = diary.stored.iter().filter(|(to, ..)| chats.contains(&to.to_string()));
        Ok(told
            .filter(|(to, from, device, n)| {
                let device = i64::from_be_bytes(device.to_be_bytes());
                let key = (to.to_string(), from.to_string(), device);
                last.get(&key).is_none_or(|&last| last < i64::try_from(*n).unwrap_or(i64::MAX))
            })
            .map(|(to, from, _, n)| {
                format!("I6: {from} was told that {n} to {to} is sent; {server} does not have it")
            })
            .collect())
    }

    /// No home believes a reader to have on disk what the reader's disk does not have.
    ///
    /// # Errors
    /// SQLite's, when a database cannot be read.
    pub fn audit_cursors(
        database: &Path,
        profiles: &BTreeMap<UserName, PathBuf>,
    ) -> Result<Vec<String>, rusqlite::Error> {
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut opened = Opened { profiles, connections: BTreeMap::new() };
        let mut rows = db.prepare(
            "SELECT a.name, l.epoch, max(c.seq) FROM cursors c JOIN logs l ON l.id = c.log
             JOIN accounts a ON a.id = l.id GROUP BY a.name",
        )?;
        let mut rows = rows.query([])?;
        let mut wrong = Vec::new();
        while let Some(row) = rows.next()? {
            let (name, epoch, told): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let Some(profile) = opened.of(&name)? else { continue };
            let number = |key: &str| -> Result<i64, rusqlite::Error> {
                let sql = "SELECT coalesce(max(value), zeroblob(8)) FROM meta WHERE key = ?1";
                let bytes: Vec<u8> = profile.query_row(sql, [key], |row| row.get(0))?;
                Ok(bytes.try_into().map_or(0, i64::from_be_bytes))
            };
            let stored = number("inbox_cursor")?;
            if number("inbox_epoch")? == epoch && told > stored {
                wrong.push(format!("{name} told its cursor {told} with {stored} on disk"));
            }
        }
        wrong.extend(Self::audit_group_cursors(&db, &mut opened)?);
        Ok(wrong)
    }

    /// I7: no slot is owned by two databases.
    ///
    /// # Errors
    /// SQLite's, when a database cannot be read.
    pub fn audit_slots(databases: &[&Path]) -> Result<Vec<String>, rusqlite::Error> {
        let mut owner: BTreeMap<i64, usize> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (index, database) in databases.iter().enumerate() {
            let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let mut rows = db.prepare("SELECT slot FROM slots")?;
            for slot in rows.query_map([], |row| row.get::<_, i64>(0))? {
                let slot = slot?;
                if let Some(other) = owner.insert(slot, index) {
                    wrong
                        .push(format!("I7: slot {slot} is owned by databases {other} and {index}"));
                }
            }
        }
        Ok(wrong)
    }
}

/// Profiles, each opened once: reading the schema is what takes time.
pub(super) struct Opened<'a> {
    profiles: &'a BTreeMap<UserName, PathBuf>,
    connections: BTreeMap<UserName, Connection>,
}

impl Opened<'_> {
    /// `None`: nobody of that name is known.
    pub(super) fn of(&mut self, name: &str) -> Result<Option<&Connection>, rusqlite::Error> {
        let Ok(name) = UserName::canonical(name) else { return Ok(None) };
        if let Some(path) = self.profiles.get(&name)
            && !self.connections.contains_key(&name)
        {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
            self.connections.insert(name.clone(), Connection::open_with_flags(path, flags)?);
        }
        Ok(self.connections.get(&name))
    }
}

/// A number as SQLite keeps it: the signed integer of the same bits.
pub(super) fn number(stored: i64) -> u64 {
    u64::from_be_bytes(stored.to_be_bytes())
}
