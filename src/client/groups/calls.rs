//! What a front end asks of groups.

use zeroize::Zeroizing;

use super::super::Client;
use super::super::api::{GroupCommand, GroupDone, GroupError, GroupView, JoinState, RequestError};
use crate::types::{GroupName, UserName};

impl Client {
    /// All groups this profile knows, by name; also those the owner is not in any more.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn groups(&self) -> Result<Vec<GroupView>, RequestError> {
        Err(RequestError::Offline)
    }

    /// One group that this profile knows.
    ///
    /// # Errors
    /// [`RequestError::Local`].
    pub fn group(&self, _name: &GroupName) -> Result<Option<GroupView>, RequestError> {
        Err(RequestError::Offline)
    }

    /// Makes a group with these people, perhaps with a password to join by. People who cannot be
    /// had are left out and named in the answer.
    ///
    /// # Errors
    /// [`GroupError`]; no group was made then.
    pub async fn create_group(
        &self,
        _name: &GroupName,
        _with: &[UserName],
        _title: &str,
        _password: Option<Zeroizing<String>>,
    ) -> Result<GroupDone, GroupError> {
        Err(RequestError::Offline.into())
    }

    /// Changes a group. On a conflict with somebody else's change the group is read again and the
    /// change tried again, or refused with the reason it has by then.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn change_group(
        &self,
        _name: &GroupName,
        _command: GroupCommand,
    ) -> Result<GroupDone, GroupError> {
        Err(RequestError::Offline.into())
    }

    /// Whether there is such a group to join.
    ///
    /// # Errors
    /// [`GroupError::NoSuchGroup`], or that it could not be asked.
    pub async fn may_join(&self, _name: &GroupName) -> Result<JoinState, GroupError> {
        Err(RequestError::Offline.into())
    }

    /// Joins a group by its password.
    ///
    /// # Errors
    /// [`GroupError::NoSuchGroup`], [`GroupError::WrongInvite`], [`GroupError::TooMany`], ...
    pub async fn join_by_password(
        &self,
        _name: &GroupName,
        _password: Zeroizing<String>,
    ) -> Result<GroupView, GroupError> {
        Err(RequestError::Offline.into())
    }

    /// Joins a group by a link `fastchat://join/...`.
    ///
    /// # Errors
    /// As [`Self::join_by_password`], and [`GroupError::BadLink`].
    pub async fn join_by_link(&self, _link: &str) -> Result<GroupView, GroupError> {
        Err(RequestError::Offline.into())
    }

    /// Which group a link leads to, without asking anybody.
    ///
    /// # Errors
    /// [`GroupError::BadLink`].
    pub fn read_link(&self, _link: &str) -> Result<GroupName, GroupError> {
        Err(GroupError::BadLink)
    }

    /// Forgets a group that the owner is not in any more; its history stays.
    ///
    /// # Errors
    /// [`GroupError::NoSuchGroup`]; [`GroupError::Nothing`] while the owner is in it.
    pub fn forget_group(&self, name: &GroupName) -> Result<(), GroupError> {
        Err(GroupError::NoSuchGroup(name.clone()))
    }
}
