//! What there is to say about groups, and the exit codes that go with it.

use crate::cli::client::args::Who;
use crate::cli::client::report::Stop;
use crate::cli::client::{failures, open};
use crate::cli::exit::Exit;
use crate::client::{Client, GroupDone, GroupError};
use crate::types::{GroupName, UserName};
use crate::ui::say::{self, Place};

pub(super) fn people(client: &Client, who: &[Who]) -> Result<Vec<UserName>, Stop> {
    let mut people = Vec::new();
    for who in who {
        let user = open::person(client, who)?;
        if !people.contains(&user) {
            people.push(user);
        }
    }
    Ok(people)
}

pub(super) fn names(people: &[UserName]) -> String {
    people.iter().map(UserName::as_str).collect::<Vec<_>>().join(", ")
}

/// Who is in the group now and was not before; nothing when that is nobody.
pub(super) fn added(group: &GroupName, done: &GroupDone, people: &[UserName]) -> String {
    match names(&had(done, people)).as_str() {
        "" => String::new(),
        new => format!("In {group} now: {new}."),
    }
}

pub(super) fn promoted(group: &GroupName, done: &GroupDone, people: &[UserName]) -> String {
    match names(&had(done, people)).as_str() {
        "" => String::new(),
        new => format!("Admins of {group} now: {new}."),
    }
}

/// Those of the people named for whom something was changed.
pub(super) fn had(done: &GroupDone, people: &[UserName]) -> Vec<UserName> {
    let failed = |user: &UserName| done.failed.iter().any(|(who, _)| who == user);
    let is_had = |user: &&UserName| !done.already.contains(user) && !failed(user);
    people.iter().filter(is_had).cloned().collect()
}

pub(super) fn no_terminal(command: String) -> Stop {
    Stop::new(Exit::NotSignedIn, "There is no terminal to ask for the password.", command)
}

pub(super) fn forgotten(error: &GroupError, group: &GroupName) -> Stop {
    match error {
        GroupError::Nothing => Stop::new(
            Exit::Refused,
            format!("You are in {group}; nothing was forgotten."),
            format!("Leave it first: client group leave {}", group.as_str()),
        ),
        other => failed(other, Some(group)),
    }
}

/// Why something about a group was not done.
pub(in crate::cli::client) fn failed(error: &GroupError, group: Option<&GroupName>) -> Stop {
    let mut told = say::group_error(error, group, Place::Shell);
    if let GroupError::KeyChanged(user) = error {
        told.remedy = failures::changed_key_remedy(user);
    }
    Stop::told(exit_of(error), told)
}

/// The exit code of that.
pub(in crate::cli::client) fn exit_of(error: &GroupError) -> Exit {
    match error {
        GroupError::Request(error) => failures::request(error, None).failure.exit,
        GroupError::NoSuchGroup(_) | GroupError::NoSuchUser(_) | GroupError::NoSuchMember(_) => {
            Exit::NotFound
        }
        GroupError::NameTaken(_)
        | GroupError::NotAMember(_)
        | GroupError::Out { .. }
        | GroupError::NotAnAdmin(_)
        | GroupError::AlreadyAMember(_)
        | GroupError::LastAdmin(_)
        | GroupError::WrongInvite(_)
        | GroupError::TooMany { .. }
        | GroupError::Closed(_) => Exit::Refused,
        GroupError::BadLink | GroupError::WeakPassword(_) => Exit::Usage,
        GroupError::KeyChanged(_) | GroupError::Forked(_) => Exit::KeyRefused,
        GroupError::Busy(_) => Exit::Unreachable,
        GroupError::Nothing => Exit::Done,
        GroupError::Refused(code) => failures::exit_of(*code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::RequestError;

    #[test]
    fn the_documented_exit_codes() {
        let team = GroupName::parse("team").unwrap();
        let bob = UserName::parse("bob").unwrap();
        for (error, exit) in [
            (GroupError::Request(RequestError::Offline), 3),
            (GroupError::NoSuchGroup(team.clone()), 5),
            (GroupError::NoSuchUser(bob.clone()), 5),
            (GroupError::KeyChanged(bob.clone()), 6),
            (GroupError::NotAnAdmin(team.clone()), 8),
            (GroupError::NotAMember(team.clone()), 8),
            (GroupError::Out { group: team.clone(), by: Some(bob.clone()) }, 8),
            (GroupError::WrongInvite(team.clone()), 8),
            (GroupError::TooMany { what: "members", max: 256 }, 8),
            (GroupError::LastAdmin(team.clone()), 8),
            (GroupError::BadLink, 2),
        ] {
            let stop = failed(&error, Some(&team));
            assert_eq!(stop.failure.exit.number(), exit, "{stop:?}");
            assert!(!stop.failure.remedy.is_empty(), "{stop:?}");
        }
        let changed = failed(&GroupError::KeyChanged(bob), Some(&team));
        assert!(changed.failure.remedy.contains("client key verify bob"));
    }
}
