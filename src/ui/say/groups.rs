//! Sentences about groups: why something was not done, and what to do about it.

use crate::client::{GroupError, GroupView, MemberView, Role, Standing};
use crate::types::{GroupName, UserName};

use super::{Told, code, key_changed, request_error};

/// Successors that are named at most.
const CANDIDATES_MAX: usize = 5;

/// Where commands are typed: decides how a remedy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the line client.
    Line,
    /// In a shell.
    Shell,
}

impl Place {
    fn say(self, line: String, shell: String) -> String {
        match self {
            Self::Line => line,
            Self::Shell => shell,
        }
    }

    fn come_in(self, group: &GroupName) -> String {
        self.say(
            format!("Ask an admin to add you, or join: /join {}", group.as_str()),
            format!("Ask an admin to add you, or join: client group join {}", group.as_str()),
        )
    }

    /// How to see who is in a group.
    fn members(self, group: &GroupName) -> String {
        self.say(
            format!("Who is in it: /members {group}"),
            format!("Who is in it: client group show {}", group.as_str()),
        )
    }
}

/// Who could take a group over from its only admin.
pub fn candidates(group: &GroupView, me: &UserName) -> Vec<UserName> {
    let others = group.members.iter().filter(|member| member.user != *me);
    others.map(|member| member.user.clone()).collect()
}

/// Why nothing can be written to a group any more, if it is known here.
pub fn not_there(group: &GroupView) -> GroupError {
    let name = group.name.clone();
    match group.standing {
        Standing::Closed => GroupError::Closed(name),
        Standing::Forked => GroupError::Forked(name),
        Standing::Left => GroupError::Out { group: name, by: None },
        Standing::Removed if group.removed_by.is_some() => {
            GroupError::Out { group: name, by: group.removed_by.clone() }
        }
        Standing::Removed | Standing::Making | Standing::Joining | Standing::Member => {
            GroupError::NotAMember(name)
        }
    }
}

/// Whether `me` is the only admin of a group that has other members.
pub fn is_only_admin(group: &GroupView, me: &UserName) -> bool {
    let is_admin = |member: &&MemberView| member.role == Role::Admin;
    let mut admins = group.members.iter().filter(is_admin);
    admins.all(|admin| admin.user == *me)
        && group.role == Some(Role::Admin)
        && group.members.len() > 1
}

/// The only admin cannot just go. `candidates` could take over.
pub fn last_admin(group: &GroupName, candidates: &[UserName], place: Place) -> Told {
    let who = match candidates.first() {
        Some(first) => first.to_string(),
        None => "WHO".to_owned(),
    };
    let others = match candidates.get(1..).unwrap_or_default() {
        [] => String::new(),
        others => {
            let names: Vec<&str> =
                others.iter().take(CANDIDATES_MAX - 1).map(UserName::as_str).collect();
            let more = if others.len() >= CANDIDATES_MAX { ", ..." } else { "" };
            format!(" (or {}{more})", names.join(", "))
        }
    };
    // In a shell, a # would begin a comment.
    let bare = group.as_str();
    let remedy = place.say(
        format!("Hand it over: /leave {who}{others}   or close it: /delgrp"),
        format!(
            "Hand it over: client group leave {bare} --successor {who}{others}   or close it: \
             client group close {bare}"
        ),
    );
    Told::new(format!("You are the only admin of {group}."), remedy)
}

/// Why a group was not made, changed or joined. `group` is the one that it was about.
pub fn group_error(error: &GroupError, group: Option<&GroupName>, place: Place) -> Told {
    let it = group.map_or_else(|| "the group".to_owned(), ToString::to_string);
    let members = || group.map_or_else(String::new, |group| place.members(group));
    match error {
        GroupError::Request(error) => match group {
            Some(group) => request_error(error, Some(group)),
            None => request_error(error, None),
        },
        GroupError::NoSuchGroup(group) => Told::new(
            format!("No group {group} here."),
            place.say("Your groups: /groups".into(), "Your groups: client group list".into()),
        ),
        GroupError::NameTaken(group) => Told::new(
            format!("The name {group} belongs to a group, now or earlier."),
            place.say(
                format!("Choose another, or join that one: /join {}", group.as_str()),
                format!("Choose another, or join that one: client group join {}", group.as_str()),
            ),
        ),
        GroupError::NoSuchUser(user) => Told::new(
            format!("No user \"{user}\" here."),
            place.say("Who is here: /who all".into(), "Look how it is written.".into()),
        ),
        GroupError::NotAMember(group) => {
            Told::new(format!("You are not in {group}, or not any more."), place.come_in(group))
        }
        GroupError::Out { group, by } => {
            let why = match by {
                Some(user) => format!("{user} removed you"),
                None => "you left".to_owned(),
            };
            Told::new(format!("You are not in {group} any more: {why}."), place.come_in(group))
        }
        GroupError::NotAnAdmin(group) => Told::new(
            format!("Only an admin of {group} may do that, and you are none."),
            place.say(
                format!("Ask one of them; /members {group} marks them."),
                format!("Ask one of them; client group show {} marks them.", group.as_str()),
            ),
        ),
        GroupError::AlreadyAMember(user) => {
            Told::new(format!("{user} is in {it} already."), members())
        }
        GroupError::NoSuchMember(user) => Told::new(format!("{user} is not in {it}."), members()),
        GroupError::LastAdmin(group) => last_admin(group, &[], place),
        GroupError::WrongInvite(group) => Told::new(
            format!("That does not open {group}: it is wrong, used up, or was taken back."),
            "Ask an admin of the group for the password or a new link.",
        ),
        GroupError::BadLink => Told::new(
            "That is no link to a group of this cluster.",
            "A link begins with fastchat://join/ and must be copied whole.",
        ),
        GroupError::WeakPassword(why) => Told::new(
            format!("That password is too easy to guess: {}.", why.trim_end_matches('.')),
            "Several words are good: correct horse battery staple",
        ),
        GroupError::TooMany { what, max } => {
            Told::new(format!("Too much for {it}: {what}, at most {max}."), "Nothing was changed.")
        }
        GroupError::KeyChanged(user) => key_changed(user),
        GroupError::Nothing => Told::new("That is so already; nothing was changed.", members()),
        GroupError::Closed(group) => Told::new(
            format!("{group} is closed: nobody can write or change anything there."),
            place.say(
                "Make another: /create NAME".into(),
                "Make another: client group create NAME".into(),
            ),
        ),
        GroupError::Forked(group) => Told::new(
            format!("The server shows another history of {group} than before: nothing is sent."),
            place.say(
                format!("Compare with the others what /members {group} says at its end."),
                format!("Compare with the others: client group show {}", group.as_str()),
            ),
        ),
        GroupError::Busy(group) => Told::new(
            format!("{group} is being changed by others at this moment; nothing was changed."),
            "Try again.",
        ),
        GroupError::Refused(answer) => code(*answer, group.map(|g| g as _), "", 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::RequestError;
    use crate::wire::Code;

    fn user(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn team() -> GroupName {
        GroupName::parse("team").unwrap()
    }

    #[test]
    fn each_refusal_says_what_happened_and_what_to_do() {
        for error in [
            GroupError::Request(RequestError::Offline),
            GroupError::NoSuchGroup(team()),
            GroupError::NameTaken(team()),
            GroupError::NoSuchUser(user("bob")),
            GroupError::NotAMember(team()),
            GroupError::Out { group: team(), by: Some(user("bob")) },
            GroupError::Out { group: team(), by: None },
            GroupError::NotAnAdmin(team()),
            GroupError::AlreadyAMember(user("bob")),
            GroupError::NoSuchMember(user("bob")),
            GroupError::LastAdmin(team()),
            GroupError::WrongInvite(team()),
            GroupError::BadLink,
            GroupError::WeakPassword("it is a word.".into()),
            GroupError::TooMany { what: "members", max: 256 },
            GroupError::KeyChanged(user("bob")),
            GroupError::Nothing,
            GroupError::Closed(team()),
            GroupError::Forked(team()),
            GroupError::Busy(team()),
            GroupError::Refused(Code::Internal),
        ] {
            for place in [Place::Line, Place::Shell] {
                let told = group_error(&error, Some(&team()), place);
                assert!(told.what.ends_with('.') && !told.remedy.is_empty(), "{told:?}");
                assert!(!told.what.contains(".."), "{told:?}");
                assert!(!told.what.contains('_') || error == GroupError::Refused(Code::Internal));
                assert!(place == Place::Line || !told.remedy.contains('#'), "{told:?}");
                let slash = told.remedy.contains(" /") && place == Place::Shell;
                assert!(!slash || error == GroupError::KeyChanged(user("bob")), "{told:?}");
            }
        }
    }

    #[test]
    fn the_only_admin_is_told_who_could_take_over() {
        let said = |names: &[&str]| {
            let names: Vec<UserName> = names.iter().map(|name| user(name)).collect();
            last_admin(&team(), &names, Place::Line)
        };
        assert_eq!(said(&["bob"]).what, "You are the only admin of #team.");
        assert_eq!(said(&["bob"]).remedy, "Hand it over: /leave bob   or close it: /delgrp");
        assert_eq!(
            said(&["bob", "carol"]).remedy,
            "Hand it over: /leave bob (or carol)   or close it: /delgrp"
        );
        let many = said(&["a", "b", "c", "d", "e", "f"]).remedy;
        assert!(many.contains("/leave a (or b, c, d, e, ...)"), "{many}");
    }
}
