//! What `/doctor` looks at: connection, data, keys of others, and what the terminal can do.
//!
//! Pure: facts in, findings out. It tries nothing and asks no server.

use crate::client::{ContactView, Offline, RequestError, StatusView, Trust};

use super::notify::Popup;
use super::say;
use super::screen::Screen;
use super::theme::{Colour, Role, Theme};

/// Screens narrower than this are hard to read.
const COLUMNS_MIN: usize = 40;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Ok,
    /// Something is missing that one can do without.
    Warn,
    /// Something does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub health: Health,
    /// What was looked at, what was found, and what to do.
    pub text: String,
}

/// What is known when the question comes.
pub struct Facts {
    /// Where the client stands.
    pub status: Result<StatusView, RequestError>,
    /// The people known here.
    pub contacts: Result<Vec<ContactView>, RequestError>,
    /// Why there is no connection, if there is none.
    pub offline: Offline,
    /// Columns of the screen.
    pub columns: Option<usize>,
    /// Whether lines can be edited.
    pub editing: bool,
    /// How lines look.
    pub theme: Theme,
    /// How the terminal shows notifications.
    pub popup: Popup,
    /// Whether settings can be kept.
    pub settings_file: bool,
    /// Whether long texts can be written in an editor.
    pub writer: bool,
}

fn finding(health: Health, text: impl Into<String>) -> Finding {
    Finding { health, text: text.into() }
}

/// Looks at everything, most important first.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    match &facts.status {
        Ok(status) => found.extend(of_status(status, &facts.offline)),
        Err(error) => {
            found.push(finding(Health::Fail, say::request_error(error, None).line()));
        }
    }
    found.push(of_keys(facts));
    found.push(of_terminal(facts));
    found.push(match facts.popup {
        Popup::None => finding(
            Health::Ok,
            "notifications: by the bell; this terminal is not known to show others",
        ),
        Popup::Osc9 | Popup::Osc777 => finding(Health::Ok, "notifications: shown by the terminal"),
    });
    if !facts.settings_file {
        found.push(finding(Health::Warn, "settings: there is no folder for them; set HOME"));
    }
    if !facts.writer {
        found.push(finding(Health::Warn, "/editor: there is no private folder; use /multi"));
    }
    found
}

fn of_status(status: &StatusView, offline: &Offline) -> Vec<Finding> {
    let mut found = vec![finding(Health::Ok, "data: the profile can be read")];
    found.push(match &status.connected {
        Some(server) => finding(Health::Ok, format!("connection: to {server}")),
        None => finding(
            Health::Fail,
            format!(
                "connection: none to {} ({}); is the address right, and UDP let through?",
                status.balancer,
                say::offline(offline)
            ),
        ),
    });
    if status.waiting > 0 {
        found.push(finding(
            Health::Warn,
            format!("waiting to be sent: {}; try now: /retry", status.waiting),
        ));
    }
    found
}

fn of_keys(facts: &Facts) -> Finding {
    let changed: Vec<&str> = facts
        .contacts
        .as_deref()
        .unwrap_or_default()
        .iter()
        .filter(|person| person.trust == Trust::Changed)
        .map(|person| person.user.as_str())
        .collect();
    if changed.is_empty() {
        finding(Health::Ok, "keys: nobody's key has changed")
    } else {
        let names = changed.join(", ");
        finding(Health::Warn, format!("keys: changed, not accepted: {names}; /verify each"))
    }
}

fn of_terminal(facts: &Facts) -> Finding {
    let colour = if facts.theme.colour == Colour::On { "colour" } else { "no colour" };
    if !facts.theme.rich() {
        return finding(Health::Ok, "terminal: plain, to be read aloud");
    }
    match (facts.editing, facts.columns) {
        (false, _) => finding(Health::Warn, format!("terminal: lines are not edited, {colour}")),
        (true, Some(columns)) if columns < COLUMNS_MIN => finding(
            Health::Warn,
            format!("terminal: {columns} columns, {colour}; {COLUMNS_MIN} or more read better"),
        ),
        (true, Some(columns)) => {
            finding(Health::Ok, format!("terminal: {columns} columns, {colour}"))
        }
        (true, None) => finding(Health::Warn, format!("terminal: of unknown width, {colour}")),
    }
}

/// A finding as a line.
pub fn line(screen: &Screen, finding: &Finding) -> String {
    let (word, role) = match finding.health {
        Health::Ok => ("ok  ", Role::Dim),
        Health::Warn => ("warn", Role::Strong),
        Health::Fail => ("FAIL", Role::Alarm),
    };
    screen.theme.paint(role, &screen.wrapped(&format!("{word}  {}", finding.text), "      "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Contact;
    use crate::types::{DeviceId, ServerId, UserName};
    use crate::ui::theme::Style;

    fn facts() -> Facts {
        let status = StatusView {
            user: UserName::parse("alice").unwrap(),
            device: DeviceId(1),
            balancer: "127.0.0.1:9000".into(),
            cluster: "a1".into(),
            connected: Some(ServerId::numbered(2)),
            offline_since_unix_ms: None,
            waiting: 0,
            unread: 0,
            fingerprint: "c3".into(),
        };
        Facts {
            status: Ok(status),
            contacts: Ok(Vec::new()),
            offline: Offline::Unreachable,
            columns: Some(80),
            editing: true,
            theme: Theme { style: Style::Rich, colour: Colour::On },
            popup: Popup::Osc9,
            settings_file: true,
            writer: true,
        }
    }

    fn bad(facts: &Facts) -> Vec<(Health, String)> {
        examine(facts)
            .into_iter()
            .filter(|finding| finding.health != Health::Ok)
            .map(|finding| (finding.health, finding.text))
            .collect()
    }

    #[test]
    fn nothing_is_wrong_with_a_client_that_is_well() {
        assert_eq!(bad(&facts()), []);
        assert!(examine(&facts()).len() >= 5);
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let mut ill = facts();
        if let Ok(status) = &mut ill.status {
            status.connected = None;
            status.waiting = 2;
        }
        ill.contacts = Ok(vec![ContactView {
            user: UserName::parse("bob").unwrap(),
            alias: None,
            trust: Trust::Changed,
            contact: Contact::Accepted,
            pinned_unix_ms: 0,
            online: None,
        }]);
        ill.columns = Some(30);
        let found = bad(&ill);
        assert_eq!(found[0].0, Health::Fail);
        assert!(found[0].1.contains("127.0.0.1:9000") && found[0].1.contains("UDP"));
        for part in ["/retry", "changed, not accepted: bob", "30 columns"] {
            assert!(found.iter().any(|(_, text)| text.contains(part)), "{found:?}");
        }
        ill.status = Err(RequestError::Local("disk full".into()));
        assert!(bad(&ill)[0].1.contains("disk full"));
    }
}
