//! Changing a group: the operation is made on the newest roster that is here, handed in, and made
//! again when somebody else was first.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::crypto::invite::InviteSecret;
use crate::crypto::operation::{Change, Invitation, NewMember};
use crate::limits;
use crate::roster::Roster;
use crate::types::{GroupId, GroupName, UserName};
use crate::wire::Code;

use super::super::Client;
use super::super::api::{GroupCommand, GroupDone, GroupError, RequestError, Standing};
use super::super::core::Core;
use super::super::profile::stretch_cost;
use super::super::session::{GroupRequest, Request};
use super::link::InviteLink;
use super::making::too_many_groups;
use super::welcome::queue_welcome;

/// People and why they could not be had.
type Failed = Vec<(UserName, GroupError)>;

impl Client {
    pub(super) async fn make_group(
        &self,
        name: &GroupName,
        with: &[UserName],
        title: &str,
        password: Option<Zeroizing<String>>,
    ) -> Result<GroupDone, GroupError> {
        check_text("bytes of a title", title, limits::TITLE_BYTES_MAX)?;
        if let Some(password) = &password {
            check_password(password, &[name.as_str(), title])?;
        }
        self.check_free(name).await?;
        let mut failed = Failed::new();
        let standing = self.core.lock().group(name)?.map(|group| group.standing);
        match standing {
            Some(Standing::Making) => self.make_again(name).await?,
            Some(_) => return Err(GroupError::NameTaken(name.clone())),
            None => {
                let members = self.members_of(with, &mut failed).await?;
                let create = self.disk(|core| core.plan_group(name, &members, title)).await?;
                self.hand_in(name, create).await?;
            }
        }
        // One who was not had the first time, or all of them when an earlier try went on.
        let missing: Vec<UserName> = {
            let mut core = self.core.lock();
            let (_, roster) = core.own_group(name)?;
            let had = |user: &&UserName| {
                roster.member(user).is_some() || failed.iter().any(|(who, _)| who == *user)
            };
            with.iter().filter(|user| !had(user)).cloned().collect()
        };
        for user in missing {
            if let Err(error) = self.add(name, &user).await {
                failed.push((user, error));
            }
        }
        if password.is_some() {
            self.set_password(name, password).await?;
        }
        self.done(name, None, Vec::new(), failed)
    }

    /// Asks first whether the name is free: then nothing is left behind when it is not, or when
    /// nobody answers.
    async fn check_free(&self, name: &GroupName) -> Result<(), GroupError> {
        let known = self.core.lock().group(name)?.map(|group| group.id);
        match self.offer(name).await {
            Err(GroupError::NoSuchGroup(_)) => Ok(()),
            Ok(offer) if known.is_some_and(|id| offer.group_id == id.0.as_slice()) => Ok(()),
            Ok(_) => Err(GroupError::NameTaken(name.clone())),
            Err(error) => Err(error),
        }
    }

    /// Hands the CREATE of an earlier try in again.
    async fn make_again(&self, name: &GroupName) -> Result<(), GroupError> {
        let unsettled = self.core.lock().unsettled_groups()?;
        let making = unsettled.into_iter().find(|(group, _)| group == name);
        match making.and_then(|(_, making)| making) {
            Some(create) => self.hand_in(name, create).await,
            None => Ok(()),
        }
    }

    pub(super) async fn carry_out(
        &self,
        name: &GroupName,
        command: GroupCommand,
    ) -> Result<GroupDone, GroupError> {
        let mut failed = Failed::new();
        let mut already = Vec::new();
        let mut link = None;
        // Whoever is not in it any more need not be connected to hear so.
        self.core.lock().own_group(name)?;
        match command {
            GroupCommand::Add(users) => already = self.add_all(name, users, &mut failed).await?,
            GroupCommand::Kick(user) => self.kick(name, &user).await?,
            GroupCommand::Grant(users) => {
                for user in users {
                    if let Err(error) = self.grant(name, &user, true).await {
                        failed.push((user, of_a_person(error)?));
                    }
                }
            }
            GroupCommand::Revoke(user) => self.grant(name, &user, false).await?,
            GroupCommand::Title(text) => {
                check_text("bytes of a title", &text, limits::TITLE_BYTES_MAX)?;
                self.submit(name, |_, _| Ok(Change::Title(text.clone()))).await?;
            }
            GroupCommand::Topic(text) => {
                check_text("bytes of a topic", &text, limits::TOPIC_BYTES_MAX)?;
                self.submit(name, |_, _| Ok(Change::Topic(text.clone()))).await?;
            }
            GroupCommand::Password(password) => self.set_password(name, password).await?,
            GroupCommand::Invite { uses } => link = Some(self.invite(name, uses).await?),
            GroupCommand::Withdraw => {
                self.submit(name, |_, roster| match roster.invites().is_empty() {
                    true => Err(GroupError::Nothing),
                    false => Ok(Change::Withdraw(None)),
                })
                .await?;
            }
            GroupCommand::Leave { successor } => self.leave(name, successor).await?,
            GroupCommand::Close => self.submit(name, |_, _| Ok(Change::Close)).await?,
        }
        self.done(name, link, already, failed)
    }

    fn done(
        &self,
        name: &GroupName,
        link: Option<String>,
        already: Vec<UserName>,
        failed: Failed,
    ) -> Result<GroupDone, GroupError> {
        let group = self.core.lock().group_view(name)?;
        let group = group.ok_or_else(|| GroupError::NoSuchGroup(name.clone()))?;
        Ok(GroupDone { group, link, already, failed })
    }

    /// Makes a change and hands it in, until it is first or is refused.
    pub(super) async fn submit(
        &self,
        name: &GroupName,
        change: impl Fn(&mut Core, &Roster) -> Result<Change, GroupError>,
    ) -> Result<(), GroupError> {
        let mut pause = CONFLICT_PAUSE;
        for _ in 0..TRIES {
            let operation = self
                .disk(|core| {
                    let (_, roster) = core.own_group(name)?;
                    let change = change(core, &roster)?;
                    Ok(core.sign_after(&roster, change, None)?.encoded)
                })
                .await?;
            match self.ask_change(name, operation).await {
                Err(RequestError::Refused { code: Code::RosterConflict, .. }) => {
                    let env = self.core.lock().env.clone();
                    sleep(env.jitter(pause)).await;
                    pause *= 2;
                    self.fetch(name).await?;
                }
                Err(error) => return Err(self.why_not(name, error)),
                Ok(()) => return self.still_one(name),
            }
        }
        Err(GroupError::Busy(name.clone()))
    }

    /// Hands an operation in that is not made anew.
    pub(super) async fn hand_in(
        &self,
        name: &GroupName,
        operation: Bytes,
    ) -> Result<(), GroupError> {
        let answer = self.ask_change(name, operation).await;
        answer.map_err(|error| self.why_not(name, error))?;
        self.still_one(name)
    }

    async fn ask_change(&self, name: &GroupName, operation: Bytes) -> Result<(), RequestError> {
        let group = name.clone();
        self.ask(|reply| Request::Group(GroupRequest::Change { group, operation, reply })).await
    }

    pub(super) async fn fetch(&self, name: &GroupName) -> Result<(), GroupError> {
        let group = name.clone();
        let fetched = self.ask(|reply| Request::Group(GroupRequest::Fetch { group, reply })).await;
        fetched.map_err(|error| self.why_not(name, error))
    }

    fn still_one(&self, name: &GroupName) -> Result<(), GroupError> {
        let standing = self.core.lock().group(name)?.map(|group| group.standing);
        match standing {
            Some(Standing::Forked) => Err(GroupError::Forked(name.clone())),
            _ => Ok(()),
        }
    }

    /// What an answer of the server means for a group.
    pub(super) fn why_not(&self, name: &GroupName, error: RequestError) -> GroupError {
        let RequestError::Refused { code, .. } = &error else { return error.into() };
        let name = name.clone();
        match code {
            Code::NoSuchGroup => GroupError::NoSuchGroup(name),
            Code::NameTaken => GroupError::NameTaken(name),
            Code::NotAMember => GroupError::NotAMember(name),
            Code::Forbidden => GroupError::NotAnAdmin(name),
            Code::WrongInvite => GroupError::WrongInvite(name),
            Code::RosterConflict => GroupError::Busy(name),
            Code::Quota => too_many_groups(),
            Code::Malformed | Code::FrameTooLarge | Code::Unsupported | Code::BadBundle => {
                GroupError::Refused(*code)
            }
            _ => error.into(),
        }
    }

    /// One change of the profile, without holding up others.
    pub(super) async fn disk<T>(
        &self,
        change: impl FnOnce(&mut Core) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        let env = self.core.lock().env.clone();
        env.disk_pause().await;
        env.in_place(|| change(&mut self.core.lock()))
    }

    /// Looks people up, so that what is known of them is what the server knows.
    async fn look_up_all(&self, users: Vec<UserName>) -> Result<(), RequestError> {
        self.ask(|reply| Request::Group(GroupRequest::LookUp { users, reply })).await
    }

    /// These people as a group takes them in; who cannot be had is named in `failed`.
    async fn members_of(
        &self,
        users: &[UserName],
        failed: &mut Failed,
    ) -> Result<Vec<NewMember>, GroupError> {
        let own = self.core.lock().user().clone();
        let mut users: Vec<UserName> = users.iter().filter(|user| **user != own).cloned().collect();
        users.sort();
        users.dedup();
        let mut members = Vec::new();
        for user in users {
            match self.as_member(&user).await {
                Ok(member) => members.push(member),
                Err(error) => failed.push((user, of_a_person(error)?)),
            }
        }
        Ok(members)
    }

    async fn as_member(&self, user: &UserName) -> Result<NewMember, GroupError> {
        match self.look_up(user).await {
            Ok(_) => {}
            Err(RequestError::Refused { code: Code::NoSuchUser, .. }) => {
                return Err(GroupError::NoSuchUser(user.clone()));
            }
            Err(error) => return Err(error.into()),
        }
        self.core.lock().as_member(user)
    }

    /// Brings people in. Returns those who were in it already.
    async fn add_all(
        &self,
        name: &GroupName,
        users: Vec<UserName>,
        failed: &mut Failed,
    ) -> Result<Vec<UserName>, GroupError> {
        let mut already = Vec::new();
        for user in users {
            match self.add(name, &user).await {
                Ok(()) => {}
                Err(GroupError::AlreadyAMember(user)) => {
                    self.welcome_again(name, &user)?;
                    already.push(user);
                }
                Err(error) => failed.push((user, of_a_person(error)?)),
            }
        }
        Ok(already)
    }

    async fn add(&self, name: &GroupName, user: &UserName) -> Result<(), GroupError> {
        let member = self.as_member(user).await?;
        self.submit(name, |_, roster| match roster.member(user) {
            // In the group they are somebody else: to be put out first.
            Some(present) if present.identity != member.identity => {
                Err(GroupError::KeyChanged(user.clone()))
            }
            _ => Ok(Change::Add(member.clone())),
        })
        .await
    }

    /// The key once more, for one whose device lost it or never had it.
    fn welcome_again(&self, name: &GroupName, user: &UserName) -> Result<(), GroupError> {
        {
            let mut core = self.core.lock();
            if user == core.user() {
                return Ok(());
            }
            let (group, roster) = core.own_group(name)?;
            let at_rest = core.profile.key.clone();
            core.profile.store.commit(|tx| {
                queue_welcome(tx, &at_rest, user, (name, &group.id), roster.key_epoch())
            })?;
        }
        self.poke(Request::Look);
        Ok(())
    }

    async fn kick(&self, name: &GroupName, user: &UserName) -> Result<(), GroupError> {
        {
            let mut core = self.core.lock();
            let (_, roster) = core.own_group(name)?;
            if roster.member(user).is_none() || user == core.user() {
                return Err(GroupError::NoSuchMember(user.clone()));
            }
            if !roster.is_admin(core.user()) {
                return Err(GroupError::NotAnAdmin(name.clone()));
            }
        }
        for _ in 0..TRIES {
            // A key wrapped to an encryption key that they have destroyed is lost on them.
            let others = self.core.lock().others_in(name)?;
            let asked: BTreeSet<UserName> = others.iter().cloned().collect();
            self.look_up_all(others).await?;
            let done = self
                .submit(name, |core, roster| {
                    let key = core.plan_key(roster, Some(user), &asked)?;
                    Ok(Change::Remove { user: user.clone(), key })
                })
                .await;
            let others = self.core.lock().others_in(name)?;
            match done {
                // Somebody came in meanwhile.
                Err(GroupError::Busy(_)) if !others.iter().all(|user| asked.contains(user)) => {}
                done => return done,
            }
        }
        Err(GroupError::Busy(name.clone()))
    }

    async fn grant(
        &self,
        name: &GroupName,
        user: &UserName,
        admin: bool,
    ) -> Result<(), GroupError> {
        self.submit(name, |_, _| Ok(Change::Grant { user: user.clone(), admin })).await
    }

    async fn set_password(
        &self,
        name: &GroupName,
        password: Option<Zeroizing<String>>,
    ) -> Result<(), GroupError> {
        let Some(password) = password else {
            return self
                .submit(name, |_, roster| match roster.password() {
                    Some(invite) => Ok(Change::Withdraw(Some(invite.key.invite))),
                    None => Err(GroupError::Nothing),
                })
                .await;
        };
        let (id, title) = {
            let mut core = self.core.lock();
            let (group, roster) = core.own_group(name)?;
            (group.id, roster.title().to_owned())
        };
        check_password(&password, &[name.as_str(), &title])?;
        let secret = self.stretched(password, id).await?;
        self.offer_invite(name, &secret, true, 0).await
    }

    /// A group's password as the secret of an invitation.
    pub(super) async fn stretched(
        &self,
        password: Zeroizing<String>,
        id: GroupId,
    ) -> Result<InviteSecret, GroupError> {
        let env = self.core.lock().env.clone();
        let cost = stretch_cost(&env);
        env.blocking(move || InviteSecret::of_password(&password, &id, cost))
            .await
            .map_err(|error| GroupError::Request(RequestError::Local(error.to_string())))
    }

    async fn invite(&self, name: &GroupName, uses: u32) -> Result<String, GroupError> {
        let (id, cluster) = {
            let mut core = self.core.lock();
            (core.own_group(name)?.0.id, core.cluster())
        };
        let secret = InviteSecret::generate();
        self.offer_invite(name, &secret, false, uses).await?;
        Ok(InviteLink { name: name.clone(), id, secret }.write(&cluster))
    }

    async fn offer_invite(
        &self,
        name: &GroupName,
        secret: &InviteSecret,
        password: bool,
        uses: u32,
    ) -> Result<(), GroupError> {
        self.submit(name, |core, roster| {
            let invite = secret.invite_key(&core.cluster(), &roster.id());
            let key = invite.wrap.wrap(invite.public(), &core.present_key(roster)?);
            Ok(Change::Invite(Invitation { key, password, uses }))
        })
        .await
    }

    /// Goes; the only admin after handing over, the last member by closing the group.
    async fn leave(&self, name: &GroupName, successor: Option<UserName>) -> Result<(), GroupError> {
        let (alone, last_admin) = {
            let mut core = self.core.lock();
            let (_, roster) = core.own_group(name)?;
            (roster.members().len() == 1, roster.is_last_admin(core.user()))
        };
        if alone {
            return self.submit(name, |_, _| Ok(Change::Close)).await;
        }
        if last_admin {
            let successor = successor.ok_or_else(|| GroupError::LastAdmin(name.clone()))?;
            match self.grant(name, &successor, true).await {
                // Somebody made them one meanwhile.
                Ok(()) | Err(GroupError::Nothing) => {}
                Err(error) => return Err(error),
            }
        }
        self.submit(name, |_, _| Ok(Change::Leave)).await
    }
}

/// An error that is about one person of several; any other ends the whole command.
fn of_a_person(error: GroupError) -> Result<GroupError, GroupError> {
    match error {
        GroupError::NoSuchUser(_)
        | GroupError::NoSuchMember(_)
        | GroupError::AlreadyAMember(_)
        | GroupError::KeyChanged(_)
        | GroupError::Nothing
        | GroupError::TooMany { .. }
        | GroupError::Request(
            RequestError::BadBundle | RequestError::Refused { code: Code::HomeDown, .. },
        ) => Ok(error),
        error => Err(error),
    }
}

fn check_text(what: &'static str, text: &str, max: usize) -> Result<(), GroupError> {
    if text.len() > max { Err(GroupError::TooMany { what, max }) } else { Ok(()) }
}

/// Whoever runs the server can try passwords as fast as they like: only one that is hard to guess
/// is taken.
fn check_password(password: &str, near: &[&str]) -> Result<(), GroupError> {
    let guess = zxcvbn::zxcvbn(password, near);
    if guess.score() >= zxcvbn::Score::Three {
        return Ok(());
    }
    let feedback = guess.feedback();
    let why = feedback.and_then(|feedback| {
        let warning = feedback.warning().map(|warning| warning.to_string());
        warning.or_else(|| feedback.suggestions().first().map(ToString::to_string))
    });
    Err(GroupError::WeakPassword(why.unwrap_or_else(|| "it is too easy to guess".to_owned())))
}

const TRIES: usize = 8;
/// Before the first try after a conflict, at most; doubles.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);
