//! Groups as people see them.

use crate::crypto::operation::Change;
use crate::roster::Roster;
use crate::types::{GroupName, KeyId, UserName, hex};

use super::super::api::{GroupView, InviteView, MemberView, Standing, Trust};
use super::super::core::Core;
use super::super::store::StoreError;
use super::Group;

impl Core {
    /// All groups of this profile, by name.
    pub(crate) fn group_views(&mut self) -> Result<Vec<GroupView>, StoreError> {
        let mut views = Vec::new();
        for name in self.group_names("SELECT name FROM groups ORDER BY name")? {
            views.extend(self.group_view(&name)?);
        }
        Ok(views)
    }

    /// One group.
    pub(crate) fn group_view(&mut self, name: &GroupName) -> Result<Option<GroupView>, StoreError> {
        let Some(group) = self.group(name)?.cloned() else { return Ok(None) };
        let Group { name, id, standing, roster, .. } = group;
        let mut view = GroupView {
            name,
            id: hex(&id.0),
            title: String::new(),
            topic: String::new(),
            standing,
            removed_by: None,
            role: None,
            members: Vec::new(),
            invites: Vec::new(),
            key_epoch: 0,
            changes: 0,
            head: String::new(),
        };
        if let Some(roster) = roster {
            self.fill(&mut view, &roster)?;
            if standing == Standing::Removed {
                view.removed_by = self.removed_by(&roster)?;
            }
        }
        Ok(Some(view))
    }

    fn fill(&mut self, view: &mut GroupView, roster: &Roster) -> Result<(), StoreError> {
        roster.title().clone_into(&mut view.title);
        roster.topic().clone_into(&mut view.topic);
        let own = roster.member(self.user());
        let identity = self.profile.bundle.identity();
        view.role = own.filter(|own| own.identity == identity).map(|own| own.role);
        for (user, member) in roster.members() {
            let trust = self.member_trust(user, member.identity)?;
            view.members.push(MemberView { user: user.clone(), role: member.role, trust });
        }
        view.invites = roster
            .invites()
            .iter()
            .map(|(public, invite)| InviteView {
                id: hex(public.get(..8).unwrap_or_default()),
                password: invite.password,
                uses_left: invite.uses_left,
                by: invite.by.clone(),
            })
            .collect();
        view.key_epoch = roster.key_epoch().0;
        view.changes = roster.number();
        view.head = hex(&roster.head().0);
        Ok(())
    }

    /// Whose change it was by which the owner was last put out.
    fn removed_by(&self, roster: &Roster) -> Result<Option<UserName>, StoreError> {
        for number in (1..=roster.number()).rev() {
            let Some((_, encoded)) = self.operation_numbered(&roster.id(), number)? else {
                return Ok(None);
            };
            // What is stored was verified before it was.
            let Ok(verified) = self.verified(&encoded) else { return Ok(None) };
            let operation = verified.operation();
            match &operation.change {
                Change::Remove { user, key: _ } if user == self.user() => {
                    return Ok(Some(operation.author.clone()));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// How well the key is known that stands for a member.
    fn member_trust(&mut self, user: &UserName, identity: KeyId) -> Result<Trust, StoreError> {
        if user == self.user() {
            return Ok(Trust::Verified);
        }
        let Some(person) = self.person(user)? else { return Ok(Trust::Unknown) };
        Ok(match &person.bundle {
            None => Trust::Unknown,
            Some(pinned) if pinned.identity() == identity => person.trust(),
            // In the group another key stands for them than here.
            Some(_) => Trust::Changed,
        })
    }
}
