//! Answers to questions as lines: chats, people, status, safety number.
//!
//! Pure, as [`super::screen`].

use std::fmt::Write as _;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::client::{
    ChatView, Contact, ContactView, KeyView, OwnKeysView, StatusView, Trust, WhoView,
};

use super::commands::Scope;
use super::screen::Screen;
use super::text::{columns, excerpt};
use super::theme::Role;
use super::time;

pub(super) mod groups;

pub use groups::{group, groups, link};

/// The chats, newest first, one line each.
pub fn chats(screen: &Screen, chats: &[ChatView], now_unix_ms: u64) -> String {
    if chats.is_empty() {
        return "No chats yet. Start one: /msg WHO TEXT".to_owned();
    }
    let lines: Vec<String> =
        chats.iter().map(|chat| chat_line(screen, chat, now_unix_ms)).collect();
    lines.join("\n")
}

fn chat_line(screen: &Screen, chat: &ChatView, now_unix_ms: u64) -> String {
    let mut notes = Vec::new();
    if chat.unread > 0 {
        notes.push(format!("{} unread", chat.unread));
    }
    if chat.waiting > 0 {
        notes.push(format!("{} waiting to be sent", chat.waiting));
    }
    match chat.trust {
        Trust::Changed => notes.push("KEY CHANGED".to_owned()),
        Trust::Verified => notes.push("verified".to_owned()),
        Trust::Unknown | Trust::Pinned => {}
    }
    match chat.contact {
        Contact::Request => notes.push(format!("request: /accept {0} or /block {0}", chat.chat)),
        Contact::Blocked => notes.push("blocked".to_owned()),
        Contact::Accepted => {}
    }
    let when = match chat.last_unix_ms {
        0 => String::new(),
        at => time::moment(at, now_unix_ms, screen.zone()),
    };
    let name = format!("{:<12}", screen.names.chat(&chat.chat));
    let mut line = format!("{}  {when:<12}", screen.theme.name(&chat.chat, &name));
    if !notes.is_empty() {
        let _ = write!(line, "  {}", screen.theme.paint(Role::Strong, &notes.join(", ")));
    }
    if let Some(text) = chat.last_text.as_deref().filter(|_| screen.theme.rich()) {
        let used =
            columns(&name) + 14 + if notes.is_empty() { 0 } else { 2 } + columns(&notes.join(", "));
        let room = screen.width.unwrap_or(80).saturating_sub(used + 3);
        if room >= 12 {
            let _ = write!(line, "  {}", screen.theme.paint(Role::Dim, &excerpt(text, room)));
        }
    }
    line.trim_end().to_owned()
}

/// "3 unread in 2 chats", when there is anything unread.
pub fn unread(chats: &[ChatView]) -> Option<String> {
    let unread: usize = chats.iter().map(|chat| chat.unread).sum();
    let among = chats.iter().filter(|chat| chat.unread > 0).count();
    let plural = if among == 1 { "chat" } else { "chats" };
    (unread > 0).then(|| format!("{unread} unread in {among} {plural}"))
}

/// Who is there.
pub fn who(screen: &Screen, scope: Scope, view: &WhoView) -> String {
    let shown: Vec<String> = view
        .users
        .iter()
        .filter(|(_, online)| *online || scope == Scope::All)
        .map(|(name, online)| match (scope, online) {
            (Scope::All, true) => format!("{} (online)", screen.called(name)),
            (Scope::All, false) | (Scope::Online, _) => screen.called(name),
        })
        .collect();
    let mut out = match (scope, shown.is_empty()) {
        (Scope::Online, true) => "Nobody is online.".to_owned(),
        (Scope::All, true) => "Nobody has an account.".to_owned(),
        (Scope::Online, false) => format!("Online: {}", shown.join(", ")),
        (Scope::All, false) => format!("Everybody: {}", shown.join(", ")),
    };
    if view.truncated {
        out.push_str(" and more");
    }
    if !view.missing.is_empty() {
        let servers = view.missing.join(", ");
        let _ = write!(out, "\n{}", screen.notice(&format!("not asked, being away: {servers}")));
    }
    out
}

/// The people known here, one line each.
pub fn contacts(screen: &Screen, people: &[ContactView]) -> String {
    if people.is_empty() {
        return "Nobody yet. Who is here: /who all".to_owned();
    }
    let lines: Vec<String> = people
        .iter()
        .map(|person| {
            // Here both names stand: an alias must not hide who it is.
            let label = screen.names.label(&person.user);
            let name = match label == person.user.as_str() {
                true => label.to_owned(),
                false => format!("{label} ({})", person.user),
            };
            let name = format!("{name:<16}");
            let mut notes = vec![match person.online {
                Some(true) => "online",
                Some(false) => "offline",
                None => "-",
            }];
            notes.extend(match person.trust {
                Trust::Changed => Some("KEY CHANGED"),
                Trust::Verified => Some("verified"),
                Trust::Unknown | Trust::Pinned => None,
            });
            notes.extend(match person.contact {
                Contact::Blocked => Some("blocked"),
                Contact::Request => Some("request"),
                Contact::Accepted => None,
            });
            format!("{}  {}", screen.theme.name(&person.user, &name), notes.join(", "))
        })
        .collect();
    lines.join("\n")
}

/// One's own keys by their fingerprints, and how well those of others are known.
pub fn keys(
    screen: &Screen,
    own: &OwnKeysView,
    people: &[ContactView],
    now_unix_ms: u64,
) -> String {
    let made = match own.encryption_made_unix_ms {
        0 => String::new(),
        at => format!(", made {}", time::moment(at, now_unix_ms, screen.zone())),
    };
    let mut out = format!(
        "Your identity key:{}\nYour encryption key{made}:{}\nVersion {} of your keys; devices in \
         it: {}; this device: {:x}",
        in_rows(screen, &own.identity),
        in_rows(screen, &own.encryption_key),
        own.bundle_version,
        own.devices,
        own.device.0,
    );
    for (trust, heading) in [
        (Trust::Verified, "Verified"),
        (Trust::Pinned, "Trusted since the first contact"),
        (Trust::Changed, "CHANGED, not accepted"),
    ] {
        let names: Vec<&str> = people
            .iter()
            .filter(|person| person.trust == trust)
            .map(|person| screen.names.label(&person.user))
            .collect();
        if !names.is_empty() {
            let _ = write!(out, "\n{heading}: {}", names.join(", "));
        }
    }
    screen.wrapped(&out, "  ")
}

/// A fingerprint in rows that fit a screen; behind a space where lines are read aloud.
fn in_rows(screen: &Screen, hex: &str) -> String {
    let full = fingerprint(hex);
    let pairs: Vec<&str> = full.split(':').collect();
    match screen.theme.rich() {
        true => pairs.chunks(16).map(|row| format!("\n  {}", row.join(":"))).collect(),
        false => format!(" {full}"),
    }
}

/// Who one is and where the client stands.
pub fn status(screen: &Screen, view: &StatusView, now_unix_ms: u64) -> String {
    let connection = match (&view.connected, view.offline_since_unix_ms) {
        (Some(server), _) => format!("online at {server}"),
        (None, Some(since)) => {
            format!("offline since {}", time::moment(since, now_unix_ms, screen.zone()))
        }
        (None, None) => "not connected".to_owned(),
    };
    format!(
        "{} at {}: {connection}\n  waiting to be sent: {}   unread: {}\n  device {:x}\n  \
         your key   {}\n  cluster    {}",
        view.user,
        view.balancer,
        view.waiting,
        view.unread,
        view.device.0,
        fingerprint(&view.fingerprint),
        fingerprint(&view.cluster),
    )
}

/// `a1:b2:...:9f` in full, from hexadecimal digits.
pub fn fingerprint(hex: &str) -> String {
    let digits: Vec<char> = hex.chars().collect();
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    pairs.join(":")
}

/// `a1:b2:…:9f`.
pub fn short_fingerprint(hex: &str) -> String {
    let full = fingerprint(hex);
    match (full.get(..5), full.get(full.len().saturating_sub(2)..)) {
        (Some(begin), Some(end)) if full.len() > 8 => format!("{begin}:…:{end}"),
        (Some(_) | None, _) => full,
    }
}

/// The safety number with a person, with a QR code on screens for the eye.
pub fn safety_number_alone(screen: &Screen, view: &KeyView) -> String {
    let user = &view.user;
    let groups: Vec<&str> = view.safety_number.split_whitespace().collect();
    let rows: Vec<String> = groups.chunks(4).map(|row| format!("  {}", row.join(" "))).collect();
    let mut out = format!("Safety number with {user}:\n{}", rows.join("\n"));
    if screen.theme.rich()
        && let Some(picture) = qr(&groups.concat())
    {
        let _ = write!(out, "\n{picture}");
    }
    let standing = match view.trust {
        Trust::Verified => format!("You have verified {user}."),
        Trust::Pinned | Trust::Unknown => format!("{user} is not verified yet."),
        Trust::Changed => format!("This is {user}'s NEW key; it is not accepted yet."),
    };
    let _ = write!(out, "\n{standing}\nCompare by voice or side by side, not in a chat.");
    out
}

/// A text as a code that telephones read.
fn qr(text: &str) -> Option<String> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    // Light on dark terminals: most readers take both, all take this one.
    let mut picture = code.render::<Dense1x2>();
    Some(picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// The same, with the command of the line client that notes the result.
pub fn safety_number(screen: &Screen, view: &KeyView) -> String {
    let number = safety_number_alone(screen, view);
    format!("{number} The same on both screens:\n  /verify {} yes", view.user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DeviceId, ServerId, UserName};
    use crate::ui::names::Names;
    use crate::ui::theme::{Colour, Style, Theme};
    use jiff::tz::TimeZone;

    const NOON: u64 = 1_795_176_062_000;

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn screen(style: Style) -> Screen {
        Screen::new(Theme { style, colour: Colour::Off }, Some(80), TimeZone::UTC, name("alice"))
    }

    fn chat(who: &str, unread: usize) -> ChatView {
        ChatView {
            chat: name(who).into(),
            unread,
            waiting: 0,
            last_unix_ms: NOON,
            trust: Trust::Pinned,
            contact: Contact::Accepted,
            last_text: Some("see you\nat \x1b[31m8".into()),
        }
    }

    #[test]
    fn chats_are_one_line_each_and_fit_the_screen() {
        let list = [
            chat("bob", 4),
            ChatView { trust: Trust::Changed, waiting: 2, ..chat("carol", 0) },
            ChatView { contact: Contact::Request, ..chat("mallory", 1) },
        ];
        let shown = chats(&screen(Style::Rich), &list, NOON);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "bob           12:01         4 unread  see you at 8");
        assert!(lines[1].contains("2 waiting to be sent, KEY CHANGED"), "{}", lines[1]);
        assert!(lines[2].contains("/accept mallory or /block mallory"), "{}", lines[2]);
        assert!(lines.iter().all(|line| columns(line) <= 80));
        assert_eq!(unread(&list), Some("5 unread in 2 chats".into()));
        assert_eq!(unread(&[chat("bob", 0)]), None);
    }

    #[test]
    fn who_says_what_it_does_not_know() {
        let view = WhoView {
            users: vec![(name("alice"), true), (name("bob"), false)],
            truncated: true,
            missing: vec!["s2".into()],
        };
        let screen = screen(Style::Rich);
        assert_eq!(
            who(&screen, Scope::All, &view),
            "Everybody: alice (online), bob and more\nnot asked, being away: s2"
        );
        assert!(who(&screen, Scope::Online, &view).starts_with("Online: alice and more"));
        assert_eq!(who(&screen, Scope::Online, &WhoView::default()), "Nobody is online.");
    }

    #[test]
    fn the_safety_number_is_twelve_groups_with_a_code_for_the_eye_only() {
        let groups: Vec<String> = (10_000..10_012).map(|n: u32| n.to_string()).collect();
        let view = KeyView {
            user: name("bob"),
            safety_number: groups.join(" "),
            fingerprint: String::new(),
            trust: Trust::Pinned,
            pinned_unix_ms: NOON,
        };
        let shown = safety_number(&screen(Style::Rich), &view);
        for group in &groups {
            assert!(shown.contains(group.as_str()));
        }
        assert!(shown.contains('█') && shown.ends_with("/verify bob yes"), "{shown}");
        assert!(shown.lines().all(|line| columns(line) < 80));
        assert!(safety_number(&screen(Style::Plain), &view).is_ascii());
    }

    #[test]
    fn status_says_who_where_and_what_waits() {
        let mut view = StatusView {
            user: name("alice"),
            device: DeviceId(255),
            balancer: "127.0.0.1:9000".into(),
            cluster: "a1b2".into(),
            connected: Some(ServerId::numbered(2)),
            offline_since_unix_ms: None,
            waiting: 1,
            unread: 3,
            fingerprint: "c3d4".into(),
        };
        let screen = screen(Style::Rich);
        let shown = status(&screen, &view, NOON);
        assert!(shown.starts_with("alice at 127.0.0.1:9000: online at s2\n"), "{shown}");
        assert!(shown.contains("waiting to be sent: 1   unread: 3"));
        assert!(shown.contains("a1:b2") && shown.contains("c3:d4") && shown.contains("device ff"));
        view.connected = None;
        view.offline_since_unix_ms = Some(NOON);
        assert!(status(&screen, &view, NOON).contains("offline since 12:01"));
    }

    fn person(who: &str, trust: Trust) -> ContactView {
        ContactView {
            user: name(who),
            alias: None,
            trust,
            contact: Contact::Accepted,
            pinned_unix_ms: NOON,
            online: Some(true),
        }
    }

    #[test]
    fn people_are_one_line_each_with_what_matters() {
        let people = [
            person("bob", Trust::Verified),
            ContactView { online: None, ..person("carol", Trust::Changed) },
            ContactView { contact: Contact::Blocked, ..person("dave", Trust::Pinned) },
        ];
        let shown = contacts(&screen(Style::Plain), &people);
        assert_eq!(
            shown,
            "bob               online, verified\ncarol             -, KEY CHANGED\n\
             dave              online, blocked"
        );
        assert!(contacts(&screen(Style::Plain), &[]).contains("/who all"));
        let mut named = screen(Style::Plain);
        named.names = Names::of([(name("bob"), Some("Robert".into()))]);
        assert!(contacts(&named, &people).starts_with("Robert (bob)      online"));
    }

    #[test]
    fn keys_are_shown_by_their_fingerprints() {
        let own = OwnKeysView {
            identity: "a1b2c3d4".into(),
            encryption_key: "e5f6".into(),
            encryption_made_unix_ms: NOON,
            bundle_version: 3,
            device: DeviceId(255),
            devices: 2,
        };
        let people = [person("bob", Trust::Verified), person("carol", Trust::Pinned)];
        let shown = keys(&screen(Style::Rich), &own, &people, NOON);
        for part in
            ["key:\n  a1:b2:c3:d4", "made 12:01:\n  e5:f6", "Verified: bob", "contact: carol"]
        {
            assert!(shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn fingerprints_are_shown_in_pairs() {
        assert_eq!(short_fingerprint("a1b2c3d4e59f"), "a1:b2:…:9f");
        assert_eq!(fingerprint("a1b2c3"), "a1:b2:c3");
    }
}
