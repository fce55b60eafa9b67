//! Who may read a group's log: everybody's stays in the group, and how far those present have read.
//!
//! Belongs to the cached log; deliberately knows neither connections nor SQL.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::sql::ProducerId;
use crate::limits::TYPING_PER_GROUP_PER_S;
use crate::roster::Roster;
use crate::types::{DeviceId, GroupId, KeyEpoch, Seq, UserName};

/// One time in the group: the operations that began and ended it are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    pub(super) since: Seq,
    pub(super) until: Option<Seq>,
}

/// What a reader may be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Entries up to this one.
    Upto(Seq),
    /// Nothing more by this Open: that stay is over. What came since then is another stay's.
    Again,
    /// Nothing more: no member any more.
    Over,
}

/// One person's part in the group, now or earlier.
#[derive(Debug, Default)]
struct Part {
    /// In order; only the last may go on.
    stays: Vec<Stay>,
    device: Option<DeviceId>,
    /// Of a member who is present: never below the entry before their stay began.
    cursor: Seq,
}

impl Part {
    fn is_present(&self) -> bool {
        self.stays.last().is_some_and(|stay| stay.until.is_none())
    }
}

/// What a cached log knows of its group.
pub(super) struct Group {
    pub(super) id: GroupId,
    /// The producer of its operations.
    pub(super) operations: ProducerId,
    pub(super) key_epoch: KeyEpoch,
    pub(super) closed: bool,
    /// Once it was needed.
    pub(super) roster: Option<Roster>,
    /// The last day on which something came.
    pub(super) day: u64,
    /// Number of the newest operation before that day, once it was needed.
    pub(super) before_day: Option<u64>,
    parts: BTreeMap<UserName, Part>,
    /// The cursors of those present, and how many stand there.
    cursors: BTreeMap<Seq, usize>,
    /// Members whose cursor has to be written back.
    dirty: BTreeSet<UserName>,
    /// When a notice that somebody is writing may pass again.
    typing_from: Option<Instant>,
}

impl Group {
    pub(super) fn new(id: GroupId, operations: ProducerId, key_epoch: KeyEpoch) -> Self {
        Self {
            id,
            operations,
            key_epoch,
            closed: false,
            roster: None,
            day: 0,
            before_day: None,
            parts: BTreeMap::new(),
            cursors: BTreeMap::new(),
            dirty: BTreeSet::new(),
            typing_from: None,
        }
    }

    /// Adds a stay; the cursor begins before the operation that began it.
    pub(super) fn begin_stay(&mut self, user: &UserName, stay: Stay) {
        let part = self.parts.entry(user.clone()).or_default();
        part.stays.push(stay);
        part.cursor = Seq(stay.since.0.saturating_sub(1));
        if stay.until.is_none() {
            *self.cursors.entry(part.cursor).or_default() += 1;
        }
    }

    pub(super) fn end_stay(&mut self, user: &UserName, until: Seq) {
        let Some(part) = self.parts.get_mut(user) else { return };
        let Some(stay) = part.stays.last_mut().filter(|stay| stay.until.is_none()) else { return };
        stay.until = Some(until);
        part.device = None;
        let cursor = part.cursor;
        self.forget_cursor(cursor);
        self.dirty.remove(user);
    }

    fn forget_cursor(&mut self, cursor: Seq) {
        if let Some(count) = self.cursors.get_mut(&cursor) {
            *count -= 1;
            if *count == 0 {
                self.cursors.remove(&cursor);
            }
        }
    }

    fn put_cursor(&mut self, user: &UserName, cursor: Seq) {
        let Some(part) = self.parts.get_mut(user).filter(|part| part.is_present()) else { return };
        let before = std::mem::replace(&mut part.cursor, cursor);
        self.forget_cursor(before);
        *self.cursors.entry(cursor).or_default() += 1;
    }

    /// Takes what was stored of a member's cursor.
    pub(super) fn restore_cursor(&mut self, user: &UserName, device: DeviceId, cursor: Seq) {
        let Some(part) = self.parts.get_mut(user).filter(|part| part.is_present()) else { return };
        part.device = Some(device);
        let cursor = cursor.max(part.cursor);
        self.put_cursor(user, cursor);
    }

    /// Moves a present member's cursor forwards. Says whether it moved.
    pub(super) fn pass(&mut self, user: &UserName, upto: Seq) -> bool {
        let moves =
            self.parts.get(user).is_some_and(|part| part.is_present() && part.cursor < upto);
        if moves {
            self.put_cursor(user, upto);
            self.dirty.insert(user.clone());
        }
        moves
    }

    /// Gives a present member's cursor to another device: it begins again.
    pub(super) fn start_device(&mut self, user: &UserName, device: DeviceId) {
        let Some(part) = self.parts.get_mut(user) else { return };
        part.device = Some(device);
        let since = part.stays.last().map_or(Seq(0), |stay| stay.since);
        self.put_cursor(user, Seq(since.0.saturating_sub(1)));
        self.dirty.insert(user.clone());
    }

    pub(super) fn device(&self, user: &UserName) -> Option<DeviceId> {
        self.parts.get(user)?.device
    }

    pub(super) fn is_present(&self, user: &UserName) -> bool {
        self.parts.get(user).is_some_and(Part::is_present)
    }

    /// The last entry that somebody may see: the newest for a member, none for who never was one.
    pub(super) fn sees_upto(&self, user: &UserName, head: Seq) -> Option<Seq> {
        let last = self.parts.get(user)?.stays.last()?;
        Some(last.until.unwrap_or(head))
    }

    /// The lowest cursor of those present; `None` when nobody is.
    pub(super) fn lowest(&self) -> Option<Seq> {
        self.cursors.first_key_value().map(|(cursor, _)| *cursor)
    }

    /// Where a reader who has everything up to `held` goes on: what they have, and in which stay.
    pub(super) fn place(&self, user: &UserName, held: Seq) -> Option<(Seq, Stay)> {
        let stays = &self.parts.get(user)?.stays;
        let next = stays.iter().find(|stay| stay.until.is_none_or(|until| until > held));
        let stay = *next.or(stays.last())?;
        let before = Seq(stay.since.0.saturating_sub(1));
        let pushed = stay.until.map_or(held, |until| held.min(until)).max(before);
        Some((pushed, stay))
    }

    /// What somebody who was sent everything up to `pushed` may be sent next.
    pub(super) fn sight(&self, user: &UserName, pushed: Seq, head: Seq) -> Sight {
        let Some(part) = self.parts.get(user) else { return Sight::Over };
        let stay = part.stays.iter().find(|stay| {
            stay.since.0 <= pushed.0.saturating_add(1)
                && stay.until.is_none_or(|until| until > pushed)
        });
        match stay {
            Some(stay) => Sight::Upto(stay.until.unwrap_or(head)),
            None if part.is_present() => Sight::Again,
            None => Sight::Over,
        }
    }

    /// Cursors that changed since the last time.
    pub(super) fn take_dirty(&mut self) -> Vec<(UserName, DeviceId, Seq)> {
        let dirty = std::mem::take(&mut self.dirty);
        let row = |user: UserName| {
            let part = self.parts.get(&user)?;
            Some((part.device?, part.cursor)).map(|(device, cursor)| (user, device, cursor))
        };
        dirty.into_iter().filter_map(row).collect()
    }

    /// An estimate of what it takes in memory.
    pub(super) fn weight(&self) -> usize {
        const PART_BYTES: usize = 256;
        const ROSTER_PART_BYTES: usize = 256;
        let roster = self.roster.as_ref().map_or(0, |roster| roster.members().len());
        self.parts.len() * PART_BYTES + roster * ROSTER_PART_BYTES
    }

    /// Whether one more notice that somebody is writing may pass.
    pub(super) fn may_type(&mut self, now: Instant) -> bool {
        let free = self.typing_from.is_none_or(|from| from <= now);
        if free {
            let pause = std::time::Duration::from_secs(1) / TYPING_PER_GROUP_PER_S;
            self.typing_from = Some(now + pause);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(stays: &[(&str, u64, Option<u64>)]) -> Group {
        let mut group = Group::new(GroupId([1; 32]), ProducerId(1), KeyEpoch(1));
        for (user, since, until) in stays {
            let stay = Stay { since: Seq(*since), until: until.map(Seq) };
            group.begin_stay(&name(user), stay);
        }
        group
    }

    fn name(user: &str) -> UserName {
        UserName::canonical(user).unwrap()
    }

    #[test]
    fn a_reader_goes_through_its_stays_one_after_the_other() {
        let group = group(&[("bob", 3, Some(7)), ("bob", 12, None)]);
        let (bob, head) = (name("bob"), Seq(20));
        let place =
            |held| group.place(&bob, Seq(held)).map(|(pushed, stay)| (pushed.0, stay.since.0));
        assert_eq!(place(0), Some((2, 3)));
        assert_eq!(place(5), Some((5, 3)));
        assert_eq!(place(7), Some((11, 12)));
        assert_eq!(place(15), Some((15, 12)));
        assert_eq!(group.sight(&bob, Seq(2), head), Sight::Upto(Seq(7)));
        assert_eq!(group.sight(&bob, Seq(7), head), Sight::Again);
        assert_eq!(group.sight(&bob, Seq(11), head), Sight::Upto(head));
        assert_eq!(group.sight(&name("carol"), Seq(0), head), Sight::Over);
    }

    #[test]
    fn who_left_sees_nothing_after_the_end_and_holds_nobody_up() {
        let mut group = group(&[("alice", 1, None), ("bob", 1, None)]);
        let (alice, bob) = (name("alice"), name("bob"));
        assert!(group.pass(&alice, Seq(9)));
        assert_eq!(group.lowest(), Some(Seq(0)));
        group.end_stay(&bob, Seq(9));
        assert_eq!(group.lowest(), Some(Seq(9)));
        assert_eq!(group.sight(&bob, Seq(4), Seq(30)), Sight::Upto(Seq(9)));
        assert_eq!(group.sight(&bob, Seq(9), Seq(30)), Sight::Over);
        assert_eq!(group.place(&bob, Seq(30)).map(|(pushed, _)| pushed), Some(Seq(9)));
        assert!(!group.pass(&bob, Seq(12)));
        assert_eq!(group.sees_upto(&bob, Seq(30)), Some(Seq(9)));
        assert_eq!(group.sees_upto(&alice, Seq(30)), Some(Seq(30)));
    }

    #[test]
    fn a_cursor_never_goes_back_but_for_another_device() {
        let mut group = group(&[("alice", 4, None)]);
        let alice = name("alice");
        assert_eq!(group.lowest(), Some(Seq(3)));
        assert!(!group.pass(&alice, Seq(3)));
        assert!(group.pass(&alice, Seq(8)));
        assert!(!group.pass(&alice, Seq(6)));
        group.start_device(&alice, DeviceId(2));
        assert_eq!((group.lowest(), group.device(&alice)), (Some(Seq(3)), Some(DeviceId(2))));
        assert_eq!(group.take_dirty(), [(alice, DeviceId(2), Seq(3))]);
    }
}
