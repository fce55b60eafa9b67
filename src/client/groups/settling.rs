//! What becomes of a group that is not settled: one whose making was refused, one that somebody
//! wrongly said we are in.

use bytes::Bytes;
use rusqlite::params;

use crate::types::{ChatName, GroupName, UserName};
use crate::wire::Code;

use super::super::api::{Event, Standing, Trouble};
use super::super::core::Core;
use super::super::store::StoreError;
use super::super::views::insert_trouble;
use super::Group;
use super::rows::{delete_group, set_standing};
use super::telling::tell_all;

/// How asking for a group's roster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// All that the home shows us is here.
    Whole,
    /// The home says that we are not in it, or that there is none.
    Refused,
    /// No answer that says anything.
    Later,
}

impl Core {
    /// Groups to begin a session with: those that are being made, with their CREATE, and those
    /// whose chain is to be fetched.
    pub(crate) fn unsettled_groups(&self) -> Result<Vec<(GroupName, Option<Bytes>)>, StoreError> {
        let mut rows =
            self.profile.store.db().prepare_cached(
                "SELECT name, making FROM groups WHERE standing <= 1 ORDER BY name",
            )?;
        let found = rows.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
        })?;
        let mut groups = Vec::new();
        for row in found {
            let (name, making) = row?;
            if let Ok(name) = GroupName::canonical(&name) {
                groups.push((name, making.map(Bytes::from)));
            }
        }
        Ok(groups)
    }

    /// The home does not take a change. If it was the CREATE and the answer is final, there is no
    /// such group of ours.
    pub(crate) fn making_refused(
        &mut self,
        name: &GroupName,
        code: Code,
    ) -> Result<(), StoreError> {
        let group = self.group(name)?.filter(|group| group.standing == Standing::Making);
        let Some(group) = group.cloned() else { return Ok(()) };
        if is_final(code) { self.drop_group(&group) } else { Ok(()) }
    }

    /// Asking for the roster of a group came to an end.
    pub(crate) fn roster_fetched(
        &mut self,
        name: &GroupName,
        fetched: Fetched,
    ) -> Result<(), StoreError> {
        let Some(group) = self.group(name)?.cloned() else { return Ok(()) };
        if fetched == Fetched::Later {
            // It is asked again; also a goodbye is not forgotten.
            self.groups.wanted.insert(name.clone());
            return Ok(());
        }
        self.profile.store.commit(|tx| {
            tx.execute(
                "UPDATE groups SET goodbye = NULL WHERE name = ?1 AND goodbye IS NOT NULL",
                [name.as_str()],
            )
        })?;
        match group.standing {
            Standing::Joining => self.give_up_joining(&group),
            Standing::Making
            | Standing::Member
            | Standing::Removed
            | Standing::Left
            | Standing::Closed
            | Standing::Forked => Ok(()),
        }
    }

    /// Nobody confirms that we are in this group: it is as it was before somebody said so.
    pub(crate) fn give_up_joining(&mut self, group: &Group) -> Result<(), StoreError> {
        if group.roster.as_ref().is_none_or(|_| group.from.0 == 0) {
            return self.drop_group(group);
        }
        self.profile.store.commit(|tx| {
            set_standing(tx, &group.name, Standing::Removed)?;
            tx.execute("UPDATE groups SET inviter = NULL WHERE name = ?1", [group.name.as_str()])
        })?;
        self.group_changed(&group.name);
        self.emit(Event::Group { group: group.name.clone() });
        Ok(())
    }

    /// Forgets a group; what stands in its chat stays.
    pub(crate) fn drop_group(&mut self, group: &Group) -> Result<(), StoreError> {
        let now = self.now();
        self.profile.store.commit(|tx| {
            tell_all(tx, &group.name, now)?;
            Ok::<_, StoreError>(delete_group(tx, &group.name, &group.id)?)
        })?;
        self.group_changed(&group.name);
        self.emit(Event::Group { group: group.name.clone() });
        Ok(())
    }

    /// Whether the home means the group that we know under this name. If not, the person is told,
    /// and nothing that is known here is replaced.
    pub(crate) fn is_this_group(
        &mut self,
        name: &GroupName,
        id: &[u8],
    ) -> Result<bool, StoreError> {
        let Some(group) = self.group(name)?.cloned() else { return Ok(false) };
        if group.id.0.as_slice() == id {
            return Ok(group.standing != Standing::Forked);
        }
        if group.standing == Standing::Forked {
            return Ok(false);
        }
        if group.roster.is_some() {
            self.fork(name, &Trouble::AnotherGroup)?;
            return Ok(false);
        }
        let inviter: Option<String> = self.profile.store.db().query_row(
            "SELECT inviter FROM groups WHERE name = ?1",
            params![name.as_str()],
            |row| row.get(0),
        )?;
        let now = self.now();
        if let Some(inviter) = inviter.and_then(|name| UserName::canonical(&name).ok()) {
            self.profile.store.commit(|tx| {
                insert_trouble(tx, &ChatName::from(inviter), &Trouble::AnotherGroup, now)
            })?;
            self.emit(Event::Lines);
        }
        self.drop_group(&group)?;
        Ok(false)
    }
}

/// Whether asking again would come to the same.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::NameTaken
            | Code::Quota
            | Code::Forbidden
            | Code::NotAMember
            | Code::RosterConflict
            | Code::BadBundle
            | Code::Malformed
            | Code::FrameTooLarge
            | Code::Unsupported
    )
}
