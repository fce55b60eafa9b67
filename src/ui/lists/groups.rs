//! Groups as lines: all of them, one with its members, and a link to join by.
//!
//! Titles and topics are texts of others, so they are cleaned here.

use std::fmt::Write as _;

use crate::client::{
    ChatView, GroupView, InviteView, MemberView, Role as GroupRole, Standing, Trust,
};
use crate::types::{ChatName, GroupName, UserName};
use crate::ui::screen::Screen;
use crate::ui::text::{columns, excerpt};
use crate::ui::theme::Role;

use super::qr;

/// Columns of a title in a line.
const TITLE_COLUMNS: usize = 40;
/// Hexadecimal digits of the last change that are shown: enough to compare by voice.
const HEAD_DIGITS: usize = 16;

/// The groups, one line each; what is unread is in `chats`.
pub fn groups(screen: &Screen, groups: &[GroupView], chats: &[ChatView]) -> String {
    if groups.is_empty() {
        return "No groups yet. Make one: /create NAME   Join one: /join NAME".to_owned();
    }
    let lines: Vec<String> = groups
        .iter()
        .map(|group| {
            let chat = ChatName::Group(group.name.clone());
            let name = format!("{:<12}", group.name.to_string());
            let mut notes = vec![standing(group)];
            if group.standing == Standing::Member {
                notes.push(count(group.members.len(), "member"));
            }
            let unread = chats.iter().find(|known| known.chat == chat).map_or(0, |c| c.unread);
            if unread > 0 {
                notes.push(format!("{unread} unread"));
            }
            let title = excerpt(&group.title, TITLE_COLUMNS);
            let title = if title.is_empty() { String::new() } else { format!("  {title}") };
            let line = format!("{}  {}{title}", screen.theme.name(&chat, &name), notes.join(", "));
            screen.wrapped(&line, "  ")
        })
        .collect();
    lines.join("\n")
}

/// How the owner of the profile stands to a group, in words.
fn standing(group: &GroupView) -> String {
    match (group.standing, group.role) {
        (Standing::Member, Some(GroupRole::Admin)) => "admin",
        (Standing::Member, Some(GroupRole::Member) | None) => "member",
        (Standing::Making, _) => "being made",
        (Standing::Joining, _) => "being joined",
        (Standing::Removed, _) => "you were removed",
        (Standing::Left, _) => "you left",
        (Standing::Closed, _) => "closed",
        (Standing::Forked, _) => "TWO HISTORIES: nothing is sent",
    }
    .to_owned()
}

/// One group: what it is, who is in it, how people come.
pub fn group(screen: &Screen, view: &GroupView, me: &UserName) -> String {
    if view.changes == 0 {
        // Nothing of it is here yet: whatever was counted would be wrong.
        return screen.notice(&format!("{} is {}", view.name, standing(view)));
    }
    let mut out = format!(
        "{}{}{}, {}",
        screen.theme.name(&ChatName::Group(view.name.clone()), &view.name.to_string()),
        if screen.theme.rich() { "  " } else { ": " },
        count(view.members.len(), "member"),
        match view.standing {
            Standing::Member => format!("you are {}", article(&standing(view))),
            Standing::Making
            | Standing::Joining
            | Standing::Removed
            | Standing::Left
            | Standing::Closed
            | Standing::Forked => standing(view),
        }
    );
    for (word, text) in [("title", &view.title), ("topic", &view.topic)] {
        let text = excerpt(text, 4 * TITLE_COLUMNS);
        if !text.is_empty() {
            let _ = write!(out, "\n  {word}: {text}");
        }
    }
    for member in &view.members {
        let _ = write!(out, "\n  {}", member_line(screen, member, me));
    }
    if view.standing == Standing::Member {
        let _ = write!(out, "\n  to join: {}", invites(&view.invites));
    }
    let head = view.head.get(..HEAD_DIGITS).unwrap_or(&view.head);
    let _ = write!(
        out,
        "\n  {}, the last is {head}: the same for everybody in it",
        count(usize::try_from(view.changes).unwrap_or(usize::MAX), "change"),
    );
    screen.wrapped(&out, "    ")
}

fn member_line(screen: &Screen, member: &MemberView, me: &UserName) -> String {
    let label = screen.names.label(&member.user);
    let name = match label == member.user.as_str() {
        true => label.to_owned(),
        false => format!("{label} ({})", member.user),
    };
    let mut notes = Vec::new();
    if member.role == GroupRole::Admin {
        notes.push("admin");
    }
    if member.user == *me {
        notes.push("you");
    } else {
        notes.push(match member.trust {
            Trust::Unknown => "key not seen yet",
            Trust::Pinned => "not verified",
            Trust::Verified => "verified",
            Trust::Changed => "KEY CHANGED",
        });
    }
    let name = format!("{name:<14}");
    let notes = notes.join(", ");
    let notes = match member.trust {
        Trust::Changed => screen.theme.paint(Role::Alarm, &notes),
        Trust::Unknown | Trust::Pinned | Trust::Verified => notes,
    };
    format!("{}  {notes}", screen.theme.name(&member.user, &name))
}

/// How people may come without an admin.
fn invites(invites: &[InviteView]) -> String {
    let mut ways = Vec::new();
    for invite in invites {
        let uses = match invite.uses_left {
            None => String::new(),
            Some(uses) => format!(" for {uses} more"),
        };
        let what = if invite.password { "the password" } else { "a link" };
        ways.push(format!("{what}{uses} (by {})", invite.by));
    }
    if ways.is_empty() { "only who is added by an admin".to_owned() } else { ways.join(", ") }
}

/// A link to join by, with a code for the eye where there is room for one. `uses`: 0: no bound.
pub fn link(screen: &Screen, group: &GroupName, link: &str, uses: u32) -> String {
    let whom = match uses {
        0 => "Whoever has this link can join".to_owned(),
        1 => "One person can join by this link".to_owned(),
        uses => format!("{uses} people can join by this link"),
    };
    let mut out = format!("{whom} {group}, until it is taken back: /invite {group} off\n{link}");
    let room = screen.width.filter(|_| screen.theme.rich()).unwrap_or(0);
    let picture = qr(link).filter(|picture| picture.lines().all(|line| columns(line) < room));
    if let Some(picture) = picture {
        let _ = write!(out, "\n{picture}");
    }
    out
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn article(word: &str) -> String {
    if word.starts_with('a') { format!("an {word}") } else { format!("a {word}") }
}

#[cfg(test)]
pub(in crate::ui) mod tests {
    use super::*;
    use crate::client::Contact;
    use crate::ui::theme::{Colour, Style, Theme};
    use jiff::tz::TimeZone;

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn screen(style: Style, width: usize) -> Screen {
        let theme = Theme { style, colour: Colour::Off };
        Screen::new(theme, Some(width), TimeZone::UTC, name("alice"))
    }

    /// #team with alice and carol as admins and bob.
    pub(in crate::ui) fn team() -> GroupView {
        let member = |user: &str, role, trust| MemberView { user: name(user), role, trust };
        GroupView {
            name: GroupName::parse("team").unwrap(),
            id: "ab".repeat(32),
            title: "The \x1b[2JTeam".into(),
            topic: "release\non friday".into(),
            standing: Standing::Member,
            removed_by: None,
            role: Some(GroupRole::Admin),
            members: vec![
                member("alice", GroupRole::Admin, Trust::Pinned),
                member("bob", GroupRole::Member, Trust::Verified),
                member("carol", GroupRole::Admin, Trust::Changed),
            ],
            invites: vec![InviteView {
                id: "00".repeat(8),
                password: true,
                uses_left: None,
                by: name("alice"),
            }],
            key_epoch: 3,
            changes: 9,
            head: "0123456789abcdef0123".into(),
        }
    }

    #[test]
    fn a_group_is_shown_with_roles_in_words_keys_and_ways_to_come() {
        assert_eq!(
            group(&screen(Style::Rich, 80), &team(), &name("alice")),
            "#team  3 members, you are an admin\n  title: The Team\n  topic: release on friday\n  \
             alice           admin, you\n  bob             verified\n  \
             carol           admin, KEY CHANGED\n  to join: the password (by alice)\n  \
             9 changes, the last is 0123456789abcdef: the same for everybody in it"
        );
        let narrow = group(&screen(Style::Rich, 40), &team(), &name("alice"));
        assert!(narrow.lines().all(|line| columns(line) <= 40), "{narrow}");
        let plain = group(&screen(Style::Plain, 80), &team(), &name("alice"));
        assert!(plain.is_ascii() && plain.starts_with("#team: 3 members"), "{plain}");
    }

    #[test]
    fn of_a_group_that_is_still_being_joined_nothing_else_is_said() {
        let (standing, role) = (Standing::Joining, None);
        let (members, invites, head) = (vec![], vec![], String::new());
        let joining = GroupView { standing, role, members, invites, head, changes: 0, ..team() };
        let shown = group(&screen(Style::Rich, 80), &joining, &name("alice"));
        assert_eq!(shown, "#team is being joined");
        // Who comes in again still has what was there before.
        let again = GroupView { standing, role, ..team() };
        let shown = group(&screen(Style::Rich, 80), &again, &name("alice"));
        assert!(shown.starts_with("#team  3 members, being joined\n"), "{shown}");
    }

    #[test]
    fn groups_are_one_line_each_with_role_members_and_what_is_unread() {
        let left = GroupView {
            name: GroupName::parse("old").unwrap(),
            standing: Standing::Left,
            role: None,
            title: String::new(),
            ..team()
        };
        let chat = ChatView {
            chat: ChatName::parse("#team").unwrap(),
            unread: 4,
            waiting: 0,
            last_unix_ms: 0,
            trust: Trust::Unknown,
            contact: Contact::Accepted,
            last_text: None,
        };
        assert_eq!(
            groups(&screen(Style::Rich, 80), &[team(), left], &[chat]),
            "#team         admin, 3 members, 4 unread  The Team\n#old          you left"
        );
        assert!(groups(&screen(Style::Rich, 80), &[], &[]).contains("/create NAME"));
    }

    #[test]
    fn a_link_stays_whole_and_has_a_code_only_where_it_fits() {
        let address = format!("fastchat://join/{}", "x".repeat(90));
        let team = team().name;
        let wide = link(&screen(Style::Rich, 80), &team, &address, 1);
        assert!(wide.contains(&format!("\n{address}\n")) && wide.contains('█'), "{wide}");
        for screen in [screen(Style::Rich, 40), screen(Style::Plain, 80)] {
            let shown = link(&screen, &team, &address, 0);
            assert!(shown.ends_with(&address) && shown.is_ascii(), "{shown}");
        }
    }
}
