//! What there is to say when something about a group was done, or was not.

use crate::client::{GroupDone, GroupError, GroupView};
use crate::types::{GroupName, UserName};
use crate::ui::say::{self, Place};
use crate::ui::screen::Screen;

use super::super::{Answer, Effect};
use super::Then;

pub(super) fn not_done(screen: &Screen, error: &GroupError, group: Option<&GroupName>) -> Answer {
    let text = screen.told(&say::group_error(error, group, Place::Line));
    Answer { text, effect: Effect::Group(Then::Failed) }
}

pub(super) fn came_in(
    screen: &Screen,
    joined: Result<GroupView, GroupError>,
    name: Option<GroupName>,
) -> Answer {
    match joined {
        Ok(view) => {
            let text = format!(
                "you are in {}, with {} others; what was written before is not shown",
                view.name,
                view.members.len().saturating_sub(1)
            );
            Answer { text: screen.notice(&text), effect: Effect::Group(Then::Open(view.name)) }
        }
        Err(error) => not_done(screen, &error, name.as_ref()),
    }
}

pub(super) fn made(screen: &Screen, done: &GroupDone) -> String {
    let name = &done.group.name;
    let others: Vec<UserName> = say::candidates(&done.group, screen.me());
    let with = match others.as_slice() {
        [] => ", with nobody else yet: /add WHO".to_owned(),
        others => format!(", with {}", screen.several(others)),
    };
    screen.notice(&format!("{name} is made{with}; what you type goes to {name}"))
}

/// Who of those named is in the group now and was not before.
pub(super) fn added(screen: &Screen, done: &GroupDone, people: &[UserName]) -> String {
    let failed = |user: &UserName| done.failed.iter().any(|(who, _)| who == user);
    let new: Vec<UserName> = people
        .iter()
        .filter(|user| !done.already.contains(user) && !failed(user))
        .cloned()
        .collect();
    match new.as_slice() {
        [] => String::new(),
        [one] => {
            screen.notice(&format!("{} is in {} now", screen.names.label(one), done.group.name))
        }
        several => {
            screen.notice(&format!("{} are in {} now", screen.several(several), done.group.name))
        }
    }
}

/// `text`, and below it who was in already and who could not be had.
pub(super) fn with_rest(screen: &Screen, done: &GroupDone, text: String) -> String {
    let name = &done.group.name;
    let mut lines = vec![text];
    if !done.already.is_empty() {
        let who = screen.several(&done.already);
        lines.push(screen.notice(&format!("in {name} already, and sent its key again: {who}")));
    }
    for (user, error) in &done.failed {
        if *error == GroupError::Nothing {
            lines.push(screen.notice(&format!("{}: that is so already", screen.names.label(user))));
            continue;
        }
        let mut told = say::group_error(error, Some(name), Place::Line);
        told.what = format!("Not {user}: {}", told.what);
        lines.push(screen.told(&told));
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}
