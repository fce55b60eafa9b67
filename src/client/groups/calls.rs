//! What a front end asks of groups.

use zeroize::Zeroizing;

use super::super::Client;
use super::super::api::{
    GroupCommand, GroupDone, GroupError, GroupView, JoinState, RequestError, Standing,
};
use super::link::InviteLink;
use crate::types::{GroupName, UserName};

impl Client {
    /// All groups this profile knows, by name; also those the owner is not in any more.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn groups(&self) -> Result<Vec<GroupView>, RequestError> {
        Ok(self.core.lock().group_views()?)
    }

    /// One group that this profile knows.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn group(&self, name: &GroupName) -> Result<Option<GroupView>, RequestError> {
        Ok(self.core.lock().group_view(name)?)
    }

    /// Makes a group with these people, perhaps with a password to join by. People who cannot be
    /// had are left out and named in the answer.
    ///
    /// # Errors
    /// [`GroupError`]; no group was made then. But after [`RequestError::Offline`] and
    /// [`RequestError::Timeout`] it may have been: as long as that is open it stands in the list as
    /// [`Standing::Making`], and asking again goes on with it.
    pub async fn create_group(
        &self,
        name: &GroupName,
        with: &[UserName],
        title: &str,
        password: Option<Zeroizing<String>>,
    ) -> Result<GroupDone, GroupError> {
        self.make_group(name, with, title, password).await
    }

    /// Changes a group. On a conflict with somebody else's change the group is read again and the
    /// change tried again, or refused with the reason it has by then.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn change_group(
        &self,
        name: &GroupName,
        command: GroupCommand,
    ) -> Result<GroupDone, GroupError> {
        self.carry_out(name, command).await
    }

    /// Whether there is such a group to join.
    ///
    /// # Errors
    /// [`GroupError::NoSuchGroup`], or that it could not be asked.
    pub async fn may_join(&self, name: &GroupName) -> Result<JoinState, GroupError> {
        self.join_state(name).await
    }

    /// Joins a group by its password.
    ///
    /// # Errors
    /// [`GroupError::NoSuchGroup`], [`GroupError::WrongInvite`], [`GroupError::TooMany`], ...
    pub async fn join_by_password(
        &self,
        name: &GroupName,
        password: Zeroizing<String>,
    ) -> Result<GroupView, GroupError> {
        self.join(name, None, async |id| self.stretched(password, id).await).await
    }

    /// Joins a group by a link `fastchat://join/...`.
    ///
    /// # Errors
    /// As [`Self::join_by_password`], and [`GroupError::BadLink`].
    pub async fn join_by_link(&self, link: &str) -> Result<GroupView, GroupError> {
        let InviteLink { name, id, secret } = self.parse_link(link)?;
        self.join(&name, Some(id), async |_| Ok(secret)).await
    }

    /// Which group a link leads to, without asking anybody.
    ///
    /// # Errors
    /// [`GroupError::BadLink`].
    pub fn read_link(&self, link: &str) -> Result<GroupName, GroupError> {
        Ok(self.parse_link(link)?.name)
    }

    fn parse_link(&self, link: &str) -> Result<InviteLink, GroupError> {
        let cluster = self.core.lock().cluster();
        InviteLink::read(link, &cluster)
    }

    /// Forgets a group that the owner is not in any more; its history stays.
    ///
    /// # Errors
    /// [`GroupError::NoSuchGroup`]; [`GroupError::Nothing`] while the owner is in it.
    pub fn forget_group(&self, name: &GroupName) -> Result<(), GroupError> {
        let mut core = self.core.lock();
        let Some(group) = core.group(name)?.cloned() else {
            return Err(GroupError::NoSuchGroup(name.clone()));
        };
        match group.standing {
            Standing::Making | Standing::Joining | Standing::Member => Err(GroupError::Nothing),
            Standing::Removed | Standing::Left | Standing::Closed | Standing::Forked => {
                Ok(core.drop_group(&group)?)
            }
        }
    }
}
