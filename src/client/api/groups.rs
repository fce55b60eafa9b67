//! Groups as a front end sees and changes them.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::types::{GroupName, UserName};
use crate::wire::Code;

use super::errors::RequestError;
use super::people::Trust;

pub use crate::roster::Role;

/// How the owner of this profile stands to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its CREATE was not answered yet.
    Making,
    /// Somebody added the owner, or the owner joins; its chain is not here yet.
    Joining,
    /// In it.
    Member,
    /// Put out by an admin.
    Removed,
    /// Went.
    Left,
    /// Nobody can write or change anything any more.
    Closed,
    /// The server showed two histories of it: nothing of it is believed or sent any more.
    Forked,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub user: UserName,
    /// What they may do.
    pub role: Role,
    /// How well the key is known that stands for them in this group.
    pub trust: Trust,
}

/// An invitation that lives. Its secret is known to nobody but those who have the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteView {
    /// First 8 bytes of its public key, in hexadecimal: how it is called here.
    pub id: String,
    /// It is the group's password.
    pub password: bool,
    /// People who may still join by it; `None`: no bound.
    pub uses_left: Option<u32>,
    /// Who made it.
    pub by: UserName,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its name, for ever.
    pub name: GroupName,
    /// Its id, in hexadecimal.
    pub id: String,
    /// What people call it; empty: as its name.
    pub title: String,
    /// What it is about; may be empty.
    pub topic: String,
    /// How the owner stands to it.
    pub standing: Standing,
    /// Who put the owner out, when that is how it is.
    pub removed_by: Option<UserName>,
    /// What the owner may do; `None`: not a member.
    pub role: Option<Role>,
    /// Everybody in it, by name, as far as this device has read.
    pub members: Vec<MemberView>,
    /// Invitations that live, the password among them.
    pub invites: Vec<InviteView>,
    /// The epoch that messages are sealed under now.
    pub key_epoch: u64,
    /// How many changes there were, and the last one's id in hexadecimal: two people who see the
    /// same here see the same group.
    pub changes: u64,
    /// See `changes`.
    pub head: String,
}

/// What changed in a group: one dim line for everybody in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum GroupChange {
    /// The group was made, with these people.
    Created {
        /// Everybody in it but its maker.
        with: Vec<UserName>,
    },
    /// Brought in by an admin.
    Added {
        /// Who.
        user: UserName,
    },
    /// Put out by an admin; the key is a new one.
    Removed {
        /// Who.
        user: UserName,
    },
    /// Came by an invitation or the password.
    Joined,
    /// Went.
    Left,
    /// Renewed the key after somebody left.
    NewKey,
    /// Made an admin.
    AdminGiven {
        /// Who.
        user: UserName,
    },
    /// Is no admin any more.
    AdminTaken {
        /// Who.
        user: UserName,
    },
    /// Another title.
    Title {
        /// Which; may be empty.
        text: String,
    },
    /// Another topic.
    Topic {
        /// Which; may be empty.
        text: String,
    },
    /// Made an invitation.
    Invited {
        /// People who may join by it; 0: no bound.
        uses: u32,
    },
    /// Set the password, or another one.
    PasswordSet,
    /// Took one invitation back, or all of them and the password.
    InvitesWithdrawn,
    /// Closed the group.
    Closed,
}

/// What to do to a group one is in.
#[derive(Clone)]
pub enum GroupCommand {
    /// Bring people in. One who is in it already is only sent the key again.
    Add(Vec<UserName>),
    /// Put somebody out, with a new key for the others; every invitation ends.
    Kick(UserName),
    /// Make members admins.
    Grant(Vec<UserName>),
    /// Make somebody a plain member again.
    Revoke(UserName),
    /// What people call it, at most 128 bytes.
    Title(String),
    /// What it is about, at most 512 bytes.
    Topic(String),
    /// Let people join by a password, or not any more.
    Password(Option<Zeroizing<String>>),
    /// Make an invitation for so many people; 0: no bound. Its link comes back.
    Invite {
        /// How many.
        uses: u32,
    },
    /// Take every invitation and the password back.
    Withdraw,
    /// Go. The only admin names a member who takes over; the last member closes the group.
    Leave {
        /// Who becomes an admin first.
        successor: Option<UserName>,
    },
    /// End the group for everybody.
    Close,
}

impl fmt::Debug for GroupCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add(_) => "Add",
            Self::Kick(_) => "Kick",
            Self::Grant(_) => "Grant",
            Self::Revoke(_) => "Revoke",
            Self::Title(_) => "Title",
            Self::Topic(_) => "Topic",
            Self::Password(_) => "Password",
            Self::Invite { .. } => "Invite",
            Self::Withdraw => "Withdraw",
            Self::Leave { .. } => "Leave",
            Self::Close => "Close",
        })
    }
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDone {
    /// The group after it.
    pub group: GroupView,
    /// The link of an invitation that was made.
    pub link: Option<String>,
    /// People who were in it already, and were sent its key again.
    pub already: Vec<UserName>,
    /// People of an `Add`, `Grant` or creation who could not be had, and why; the others were.
    pub failed: Vec<(UserName, GroupError)>,
}

/// What a group answers to who wants to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinState {
    /// There is such a group, and the owner of this profile is not in it.
    Open,
    /// The owner is in it already.
    AlreadyIn,
}

/// Why a group was not made, changed or joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// No connection, no answer, or an answer that is none of the below.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no group of that name, or the owner of this profile never was in it.
    #[error("no group {0}")]
    NoSuchGroup(GroupName),
    /// The name belongs to a group, now or earlier.
    #[error("the name {0} is taken")]
    NameTaken(GroupName),
    /// Nobody of that name has an account.
    #[error("no user {0}")]
    NoSuchUser(UserName),
    /// The owner of this profile is not in it.
    #[error("you are not in {0}")]
    NotAMember(GroupName),
    /// The owner was in it, and is not any more.
    #[error("you are not in {group} any more")]
    Out {
        /// The group.
        group: GroupName,
        /// Who put them out; `None`: they left.
        by: Option<UserName>,
    },
    /// Only an admin may do that.
    #[error("only an admin of {0} may do that")]
    NotAnAdmin(GroupName),
    /// In it already.
    #[error("{0} is in it already")]
    AlreadyAMember(UserName),
    /// Not in it.
    #[error("{0} is not in it")]
    NoSuchMember(UserName),
    /// The only admin has to name a successor, or close the group.
    #[error("you are the only admin of {0}")]
    LastAdmin(GroupName),
    /// The invitation or password does not count, or not any more.
    #[error("this invitation or password does not open {0}")]
    WrongInvite(GroupName),
    /// A text that is no link to join by, or one of another cluster.
    #[error("not a link to a group of this cluster")]
    BadLink,
    /// Whoever runs the server could guess it; why, in a sentence.
    #[error("too weak a password: {0}")]
    WeakPassword(String),
    /// Members, groups, invitations, bytes: more than there may be.
    #[error("too many or too long: {what}, at most {max}")]
    TooMany {
        /// What.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The identity key of that person changed and was not accepted.
    #[error("the key of {0} has changed")]
    KeyChanged(UserName),
    /// It is so already.
    #[error("that is so already")]
    Nothing,
    /// The group is closed.
    #[error("{0} is closed")]
    Closed(GroupName),
    /// The server showed two histories of the group.
    #[error("the server shows another history of {0}")]
    Forked(GroupName),
    /// Others changed the group again and again at the same time.
    #[error("{0} is changed by others at this moment")]
    Busy(GroupName),
    /// The server refused; the code.
    #[error("the server says {0}")]
    Refused(Code),
}
