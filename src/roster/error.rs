//! Why an operation does not apply.

use crate::types::UserName;

/// Why an operation does not apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// It is of another group.
    #[error("an operation of another group")]
    AnotherGroup,
    /// It does not follow the newest operation: something else came first.
    #[error("another change of the group came first")]
    Conflict,
    /// The group was closed.
    #[error("the group is closed")]
    Closed,
    /// Its author is no member.
    #[error("{0} is not a member")]
    NotAMember(UserName),
    /// Its author is a member under another identity, or shows an older bundle than before.
    #[error("{0} is a member under another key")]
    AnotherIdentity(UserName),
    /// Only an admin may do that.
    #[error("only an admin may do that")]
    NotAnAdmin,
    /// Who is to be added, or wants to join, is a member.
    #[error("{0} is a member already")]
    AlreadyAMember(UserName),
    /// Who is meant is no member.
    #[error("{0} is not a member")]
    NoSuchMember(UserName),
    /// A REMOVE of its author, who would know the key that is to shut them out.
    #[error("who goes says so with a LEAVE")]
    Oneself,
    /// It would leave a group that nobody can change.
    #[error("the group would have no admin")]
    LastAdmin,
    /// Nobody is left to be in the group: it is closed instead.
    #[error("the last member closes the group instead")]
    LastMember,
    /// The invitation does not live, or is used up.
    #[error("this invitation does not count any more")]
    NoSuchInvite,
    /// An invitation of this key lives already.
    #[error("this invitation is there already")]
    InviteTwice,
    /// A new key that leaves somebody out, or is for somebody who is no member.
    #[error("the new key is not for exactly the members and invitations that remain")]
    WrongKeys,
    /// Nobody left since the key was made.
    #[error("the key is not due")]
    NotDue,
    /// Members, invitations: one more than there may be.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// It changes nothing.
    #[error("that is so already")]
    Nothing,
    /// A CREATE within a chain, or something else as its first operation.
    #[error("a CREATE comes first, and only first")]
    Create,
}
