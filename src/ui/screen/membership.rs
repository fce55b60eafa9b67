//! Changes of a group: one dim line each. Titles and topics are texts of others, so they are
//! cleaned here.

use crate::client::GroupChange;
use crate::types::{ChatName, GroupName, UserName};
use crate::ui::text::excerpt;
use crate::ui::theme::Role;

use super::Screen;

/// Columns of a title or topic in such a line.
const TEXT_COLUMNS: usize = 60;

/// A change and where it stands.
pub(super) struct Changed<'a> {
    pub(super) chat: &'a ChatName,
    pub(super) group: &'a GroupName,
    pub(super) by: &'a UserName,
    pub(super) change: &'a GroupChange,
    pub(super) at_unix_ms: u64,
    pub(super) again: bool,
}

impl Screen {
    pub(super) fn membership(&self, changed: &Changed<'_>) -> String {
        let again = if changed.again { " (again)" } else { "" };
        let text = match changed.chat {
            ChatName::Group(_) => self.change(changed.by, changed.change),
            ChatName::Person(_) => self.told_by(changed),
        };
        let line = match (changed.chat, self.theme.rich()) {
            (ChatName::Group(group), true) => {
                let name = self.column(&group.to_string());
                format!("[{}] {name}{text}{again}", self.clock(changed.at_unix_ms))
            }
            (ChatName::Person(_), true) => {
                format!("[{}] {text}{again}", self.clock(changed.at_unix_ms))
            }
            (ChatName::Group(group), false) => format!("{group}: {text}{again}"),
            (ChatName::Person(_), false) => format!("{text}{again}"),
        };
        self.theme.paint(Role::Dim, &self.wrapped(&line, "        "))
    }

    /// In the chat with an admin: what was done to oneself.
    fn told_by(&self, changed: &Changed<'_>) -> String {
        let text = self.change(changed.by, changed.change);
        let group = changed.group;
        match changed.change {
            GroupChange::Added { .. } => format!("{text} to {group}: /to {group}"),
            GroupChange::Removed { .. } => format!("{text} from {group}"),
            GroupChange::Created { .. }
            | GroupChange::Joined
            | GroupChange::Left
            | GroupChange::NewKey
            | GroupChange::AdminGiven { .. }
            | GroupChange::AdminTaken { .. }
            | GroupChange::Title { .. }
            | GroupChange::Topic { .. }
            | GroupChange::Invited { .. }
            | GroupChange::PasswordSet
            | GroupChange::InvitesWithdrawn
            | GroupChange::Closed => format!("{group}: {text}"),
        }
    }

    /// What happened in a group, as a clause.
    pub fn change(&self, by: &UserName, change: &GroupChange) -> String {
        let who = self.one(by);
        match change {
            GroupChange::Created { with } if with.is_empty() => format!("{who} made the group"),
            GroupChange::Created { with } => {
                format!("{who} made the group, with {}", self.several(with))
            }
            GroupChange::Added { user } => self.done_to(by, "added", user),
            GroupChange::Removed { user } => self.done_to(by, "removed", user),
            GroupChange::Joined => format!("{who} joined by an invitation"),
            GroupChange::Left => format!("{who} left"),
            GroupChange::NewKey => format!("{who} renewed the key"),
            GroupChange::AdminGiven { user } => format!("{who} made {} an admin", self.one(user)),
            GroupChange::AdminTaken { user } if user == by => {
                format!("{who} gave up being an admin")
            }
            GroupChange::AdminTaken { user } if *user == self.me => {
                format!("{who} took the admin's rights from you")
            }
            GroupChange::AdminTaken { user } => {
                format!("{who} took the admin's rights from {}", self.one(user))
            }
            GroupChange::Title { text } => match excerpt(text, TEXT_COLUMNS).as_str() {
                "" => format!("{who} took the title away"),
                text => format!("{who} changed the title to \"{text}\""),
            },
            GroupChange::Topic { text } => match excerpt(text, TEXT_COLUMNS).as_str() {
                "" => format!("{who} took the topic away"),
                text => format!("{who} changed the topic to \"{text}\""),
            },
            GroupChange::Invited { uses: 0 } => format!("{who} made an invitation"),
            GroupChange::Invited { uses: 1 } => format!("{who} made an invitation for one person"),
            GroupChange::Invited { uses } => {
                format!("{who} made an invitation for {uses} people")
            }
            GroupChange::PasswordSet => format!("{who} set a password to join by"),
            GroupChange::InvitesWithdrawn => format!("{who} took all invitations back"),
            GroupChange::Closed => format!("{who} closed the group"),
        }
    }

    /// "bob was added by alice", "you added bob", "alice added you".
    fn done_to(&self, by: &UserName, did: &str, user: &UserName) -> String {
        match (*by == self.me, *user == self.me) {
            (false, false) => format!("{} was {did} by {}", self.one(user), self.one(by)),
            (true, _) | (_, true) => format!("{} {did} {}", self.one(by), self.one(user)),
        }
    }

    fn one(&self, user: &UserName) -> String {
        if *user == self.me { "you".to_owned() } else { self.names.label(user).to_owned() }
    }

    /// Names behind one another.
    pub fn several(&self, people: &[UserName]) -> String {
        let names: Vec<String> = people.iter().map(|user| self.one(user)).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Line, LocalId};
    use crate::ui::screen::samples::{NOON, name};
    use crate::ui::theme::{Colour, Style, Theme};
    use jiff::tz::TimeZone;

    fn screen(style: Style, width: usize) -> Screen {
        let theme = Theme { style, colour: Colour::Off };
        Screen::new(theme, Some(width), TimeZone::UTC, name("alice"))
    }

    fn line(chat: &str, by: &str, change: GroupChange) -> Line {
        Line::Membership {
            id: LocalId(1),
            chat: ChatName::parse(chat).unwrap(),
            group: GroupName::parse("team").unwrap(),
            by: name(by),
            change,
            at_unix_ms: NOON,
            again: false,
        }
    }

    #[test]
    fn a_change_is_one_line_that_says_who_did_what_to_whom() {
        let user = |who: &str| GroupChange::Added { user: name(who) };
        for (by, change, said) in [
            ("carol", user("bob"), "bob was added by carol"),
            ("alice", user("bob"), "you added bob"),
            ("bob", user("alice"), "bob added you"),
            ("bob", GroupChange::Removed { user: name("carol") }, "carol was removed by bob"),
            ("carol", GroupChange::Joined, "carol joined by an invitation"),
            ("dave", GroupChange::Left, "dave left"),
            ("alice", GroupChange::NewKey, "you renewed the key"),
            ("bob", GroupChange::AdminGiven { user: name("alice") }, "bob made you an admin"),
            ("bob", GroupChange::AdminTaken { user: name("bob") }, "bob gave up being an admin"),
            (
                "bob",
                GroupChange::Created { with: vec![name("alice"), name("carol")] },
                "bob made the group, with you, carol",
            ),
            ("bob", GroupChange::Invited { uses: 3 }, "bob made an invitation for 3 people"),
            ("bob", GroupChange::Closed, "bob closed the group"),
        ] {
            let shown = screen(Style::Rich, 80).line(&line("#team", by, change.clone()));
            assert_eq!(shown, format!("[12:01] #team      {said}"));
            let shown = screen(Style::Plain, 80).line(&line("#team", by, change));
            assert_eq!(shown, format!("#team: {said}"));
        }
    }

    #[test]
    fn in_the_chat_with_an_admin_it_says_what_was_done_to_oneself_and_where_to_go() {
        let added = line("bob", "bob", GroupChange::Added { user: name("alice") });
        let shown = screen(Style::Rich, 80).line(&added);
        assert_eq!(shown, "[12:01] bob added you to #team: /to #team");
        let removed = line("bob", "bob", GroupChange::Removed { user: name("alice") });
        assert_eq!(screen(Style::Plain, 80).line(&removed), "bob removed you from #team");
    }

    #[test]
    fn a_title_cannot_reach_the_terminal_as_codes_or_fill_the_screen() {
        let text = format!("x\x1b[2J\u{202e}\n{}", "long ".repeat(40));
        for change in [GroupChange::Title { text: text.clone() }, GroupChange::Topic { text }] {
            let shown = screen(Style::Rich, 40).line(&line("#team", "bob", change));
            assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'));
            assert!(shown.lines().count() <= 4, "{shown}");
            assert!(shown.lines().all(|line| crate::ui::text::columns(line) <= 40), "{shown}");
        }
    }
}
