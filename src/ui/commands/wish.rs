//! What is wished of a group.

use crate::types::UserName;

/// What a command does to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Bring people in.
    Add(Vec<UserName>),
    /// Put somebody out.
    Kick(UserName),
    /// Make members admins.
    Grant(Vec<UserName>),
    /// Make an admin a plain member.
    Revoke(UserName),
    /// A link for so many people; 0: no bound.
    Invite(u32),
    /// No link and no password counts any more.
    Withdraw,
    /// Ask for the password to join by.
    Password,
    /// What the group is called; `None` asks.
    Title(Option<String>),
    /// What the group is about; `None` asks.
    Topic(Option<String>),
    /// Go; who takes over.
    Leave(Option<UserName>),
    /// Who is in it, and what is known of it.
    Members,
    /// End it for everybody.
    Close(Sure),
}

/// Whether somebody has said yes already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sure {
    /// With the command.
    Yes,
    /// Not yet: it is asked.
    Ask,
}
