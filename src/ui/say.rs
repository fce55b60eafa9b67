//! Sentences: what went wrong, to what, and what to do. One place, so that the line client and the
//! one-shot commands say the same.
//!
//! Pure. No code names: those are for logs and JSON.

use std::fmt;

use crate::client::{ActionError, LocalId, Offline, Refusal, RequestError, SendError, Trouble};
use crate::types::{GroupName, UserName};
use crate::wire::Code;

mod files;
mod groups;

pub use files::{file_error, transfer_failure, transfer_failure_at};
pub use groups::{Place, candidates, group_error, is_only_admin, last_admin, not_there};

/// What happened and what to do about it; the second may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// One sentence.
    pub what: String,
    /// One sentence or command.
    pub remedy: String,
}

impl Told {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }

    /// Both on one line.
    pub fn line(&self) -> String {
        if self.remedy.is_empty() {
            self.what.clone()
        } else {
            format!("{}  {}", self.what, self.remedy)
        }
    }
}

/// A typed answer of the server. `who` is the other person, if one is concerned; `detail` names
/// the server that is away; `retry_after_ms` is 0 when not said.
pub fn code(code: Code, who: Option<&dyn fmt::Display>, detail: &str, retry_after_ms: u64) -> Told {
    let whose = who.map_or_else(|| "your".to_owned(), |who| format!("{who}'s"));
    let person = who.map_or_else(|| "that person".to_owned(), ToString::to_string);
    match code {
        Code::NoSuchUser => Told::new(format!("No user \"{person}\" here."), ""),
        Code::WrongPassword => Told::new("The password is wrong.", ""),
        Code::NameTaken => Told::new("That name is taken.", "Choose another, or log in."),
        Code::AlreadyLoggedIn => Told::new("You are logged in on another device.", ""),
        Code::SessionReplaced => {
            Told::new("This account was signed in elsewhere; this client has stopped.", "")
        }
        Code::ResumeRefused => {
            Told::new("This device is not signed in any more.", "Sign in again: client login")
        }
        Code::Blocked => Told::new(format!("{person} does not take messages from you."), ""),
        Code::MailboxFull => {
            Told::new(format!("{whose} mailbox is full."), "It is tried again by itself.")
        }
        Code::HomeDown => {
            let server = if detail.is_empty() { "that keeps it" } else { detail };
            Told::new(format!("{whose} server ({server}) is away."), "It is tried again by itself.")
        }
        Code::StorageFull => {
            Told::new(format!("The disk of {whose} server is full."), "Its operator must act.")
        }
        Code::SlowDown | Code::Busy | Code::RetryLater | Code::ServerFull => {
            let remedy = match retry_after_ms.div_ceil(1_000) {
                0 => "Try again in a moment.".to_owned(),
                1 => "Try again in a second.".to_owned(),
                seconds => format!("Try again in {seconds} seconds."),
            };
            let what = match code {
                Code::SlowDown => "The server asks you to slow down.",
                Code::ServerFull => "The server takes no more connections.",
                _ => "The server is busy.",
            };
            Told::new(what, remedy)
        }
        Code::Version | Code::Unsupported => {
            Told::new("The server speaks another version.", "Update the client.")
        }
        Code::FrameTooLarge => Told::new("That is larger than the server takes.", ""),
        Code::BadBundle => Told::new("The server does not accept this device's keys.", ""),
        Code::Forbidden | Code::Quota => Told::new("The server does not allow that.", ""),
        Code::LoginTimeout | Code::Timeout => {
            Told::new("The server waited too long for this client.", "Try again.")
        }
        Code::NotAMember => Told::new(
            format!("You are not in {} any more, or it is closed.", who_or_group(who)),
            "Your groups: /groups",
        ),
        Code::NoSuchGroup => Told::new(format!("No group {} here.", who_or_group(who)), ""),
        Code::WrongInvite => Told::new(
            format!("That does not open {}.", who_or_group(who)),
            "Ask an admin of the group for the password or a new link.",
        ),
        // What is left means that client and server disagree about the protocol, or belongs to
        // requests that this client never makes.
        Code::Malformed
        | Code::BadState
        | Code::TicketInvalid
        | Code::WrongHome
        | Code::Gap
        | Code::Reopen
        | Code::StaleEpoch
        | Code::RosterConflict
        | Code::RosterBehind
        | Code::BlobHash
        | Code::NoSuchBlob
        | Code::Internal
        | Code::NotAPeer => Told::new(
            format!("The server refused the request ({code})."),
            "Try again; if it stays, tell the server's operator.",
        ),
    }
}

fn who_or_group(who: Option<&dyn fmt::Display>) -> String {
    who.map_or_else(|| "that group".to_owned(), ToString::to_string)
}

/// Why one's own message to `to` will never be sent.
pub fn refusal(refusal: Refusal, to: &dyn fmt::Display) -> Told {
    match refusal {
        Refusal::Server(answer) => code(answer, Some(to), "", 0),
        Refusal::TooLarge => Told::new("The message is too long.", "Send it in parts."),
        Refusal::KeyChanged => key_changed(to),
    }
}

/// The key of a person changed, and nothing goes to them until somebody decides.
pub fn key_changed(user: &dyn fmt::Display) -> Told {
    Told::new(
        format!(
            "{user}'s key has changed (new device, or someone in between). Nothing is sent to {user} \
             until you decide."
        ),
        format!("Compare numbers with {user}: /verify {user}     Or trust it: /accept-key {user}"),
    )
}

/// Another cluster than the pinned one answers at the known address.
pub fn wrong_cluster() -> Told {
    Told::new(
        "Another cluster answers at that address than the one this profile belongs to. Nothing was \
         sent to it.",
        "Ask whoever runs the servers; a profile never changes its cluster.",
    )
}

/// The profile's data is older than what the server holds.
pub fn rolled_back() -> Told {
    Told::new(
        "This profile's data is older than what the server knows: was it put back from a copy? It \
         goes on as a new device.",
        "Use one copy of a profile only.",
    )
}

/// The profile's database failed.
pub fn local_data(error: &str) -> Told {
    Told::new(
        format!("This profile's data cannot be used any more ({error})."),
        "Free some disk space or put the data back from a copy, then start again.",
    )
}

/// Why a text was not taken.
pub fn send_error(error: &SendError) -> Told {
    match error {
        SendError::Empty => Told::new("There is no text to send.", ""),
        SendError::TooLarge(bytes) => Told::new(
            format!(
                "The message has {bytes} bytes; {} are allowed.",
                crate::limits::TEXT_BYTES_MAX
            ),
            "Send it in parts.",
        ),
        SendError::ToSelf => Told::new("That is your own name.", "Name somebody else."),
        SendError::KeyChanged(user) => key_changed(user),
        SendError::Blocked(user) => {
            Told::new(format!("You have blocked {user}."), format!("First: /unblock {user}"))
        }
        SendError::NoSuchGroup(group) => no_such_group(group),
        SendError::NoSuchMessage(id) => {
            Told::new(format!("There is no message {id} in this chat."), "")
        }
        SendError::Local(why) => local(why),
    }
}

/// Why something could not be done to message `id`.
pub fn action_error(error: &ActionError, id: LocalId) -> Told {
    match error {
        ActionError::NoSuchMessage => {
            Told::new(format!("There is no message {id}."), "Numbers of messages: /ids")
        }
        ActionError::NotYours => {
            Told::new(format!("Message {id} is not yours."), "Only its author can do that.")
        }
        ActionError::NotAText => Told::new(format!("Line {id} is not a message."), ""),
        ActionError::Deleted => Told::new(format!("Message {id} was deleted."), ""),
        ActionError::AlreadySent => {
            Told::new(format!("Message {id} was not refused: there is nothing to repeat."), "")
        }
        ActionError::NotAnEmoji => {
            Told::new("A reaction is one emoji or letter.", format!("For example: /react {id} +"))
        }
        ActionError::CaptionTooLong { got, max } => Told::new(
            format!("The caption has {got} bytes; {max} are allowed."),
            "Send the rest as a message of its own.",
        ),
        ActionError::CopyLost => Told::new(
            format!("The copy of the file of message {id} is gone from this disk."),
            "Send the file again.",
        ),
        ActionError::Send(error) => send_error(error),
        ActionError::Local(why) => local(why),
    }
}

/// A command was about somebody who has no chat, no contact and no key here.
pub fn stranger(user: &UserName, remedy: String) -> Told {
    Told::new(format!("No user \"{user}\", or nobody you know; nothing was changed."), remedy)
}

/// A group that this profile is not in.
pub fn no_such_group(group: &GroupName) -> Told {
    Told::new(format!("No group {group} here."), "Your groups: /groups")
}

/// Why a request could not be done. `who` is the person it was about.
pub fn request_error(error: &RequestError, who: Option<&dyn fmt::Display>) -> Told {
    match error {
        RequestError::Offline => {
            Told::new("There is no connection now.", "Try again when you are back online.")
        }
        RequestError::Timeout => Told::new("The server did not answer in time.", "Try again."),
        RequestError::Refused { code: answer, detail, retry_after_ms } => {
            code(*answer, who, detail, *retry_after_ms)
        }
        RequestError::BadBundle => Told::new(
            format!(
                "The server sent a key for {} that does not verify.",
                who.map_or_else(|| "that person".to_owned(), ToString::to_string)
            ),
            "Nothing was trusted or sent.",
        ),
        RequestError::TooLong { got, max } => Told::new(
            format!("That is too long: {got} bytes, at most {max} are taken."),
            "Make it shorter.",
        ),
        RequestError::Local(why) => local(why),
    }
}

fn local(why: &str) -> Told {
    Told::new(
        format!("Your local data cannot be used: {}.", super::text::excerpt(why, 200)),
        "See that the disk is not full.",
    )
}

/// Why there is no connection, as a clause.
pub fn offline(reason: &Offline) -> String {
    match reason {
        Offline::Unreachable => "no answer; UDP may be blocked".into(),
        Offline::NoServer => "no server is ready".into(),
        Offline::HomeDown(server) => format!("your server {server} is away"),
        Offline::Told(Code::ServerFull | Code::Busy | Code::SlowDown) => {
            "the server asks to wait".into()
        }
        Offline::Told(answer) => {
            let what = code(*answer, None, "", 0).what;
            what.trim_end_matches('.').to_owned()
        }
        Offline::WrongCluster => "another cluster answers there".into(),
    }
}

/// What is wrong at a place in the chat with `chat`, and what to do.
pub fn trouble(trouble: &Trouble, chat: &dyn fmt::Display) -> Told {
    match trouble {
        Trouble::Hole { from, to } => {
            let count = to.0.saturating_sub(from.0).saturating_add(1);
            let what = if count == 1 {
                format!("A message from {chat} is missing here: a server lost it or holds it back.")
            } else {
                format!(
                    "{count} messages from {chat} are missing here: a server lost them or holds \
                     them back."
                )
            };
            Told::new(what, format!("Ask {chat} what was written."))
        }
        Trouble::Expired => Told::new(
            "Older messages expired at the server before this device read them.",
            format!("Ask {chat} to send them again."),
        ),
        Trouble::BadSignature => Told::new(
            format!("Something that claims to be from {chat} is not signed by {chat}: not shown."),
            format!("Make sure of the key: /verify {chat}"),
        ),
        Trouble::BadBinding => Told::new(
            format!("A message by {chat} was made for another place and put here: not shown."),
            format!("Make sure of the key: /verify {chat}"),
        ),
        Trouble::Equivocation => Told::new(
            format!(
                "{chat}'s device signed two messages under one number; the second is not shown."
            ),
            format!("Ask {chat} whether the device is in good hands."),
        ),
        Trouble::UnknownSuite => Told::new(
            format!("A message from {chat} was made by a newer version."),
            "Update the client to read it.",
        ),
        Trouble::NoKey => Told::new(
            format!("A message from {chat} is sealed to a key that this device does not have."),
            format!("Ask {chat} to send it again."),
        ),
        Trouble::KeyChanged => key_changed(chat),
        Trouble::NotAMember => Told::new(
            format!("Something was put into {chat} by who may not write there: not shown."),
            "The group itself is unharmed.",
        ),
        Trouble::Forked => Told::new(
            format!("The server shows another history of {chat} than before."),
            "Nothing is sent there any more. Compare with the others: /members",
        ),
        Trouble::AnotherGroup => Told::new(
            if chat.to_string().starts_with('#') {
                format!("The server shows another group under the name of {chat}.")
            } else {
                format!("{chat} spoke of another group under the name of one that you know.")
            },
            "Nothing is sent there. Ask the others what they see.",
        ),
    }
}

/// Short name of a trouble, for JSON.
pub fn trouble_word(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Hole { .. } => "hole",
        Trouble::Expired => "expired",
        Trouble::BadSignature => "bad_signature",
        Trouble::BadBinding => "bad_binding",
        Trouble::Equivocation => "equivocation",
        Trouble::UnknownSuite => "unknown_suite",
        Trouble::NoKey => "no_key",
        Trouble::KeyChanged => "key_changed",
        Trouble::NotAMember => "not_a_member",
        Trouble::Forked => "forked",
        Trouble::AnotherGroup => "another_group",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::N;

    #[test]
    fn each_code_has_a_sentence() {
        let bob = UserName::parse("bob").unwrap();
        for &answer in Code::ALL {
            for who in [None, Some(&bob as &dyn fmt::Display)] {
                let told = code(answer, who, "s2", 2_500);
                assert!(told.what.ends_with(['.', '?']), "{answer}: {told:?}");
                assert!(!told.what.contains('_') || told.what.contains(answer.name()));
            }
        }
        assert!(code(Code::Busy, None, "", 2_500).remedy.contains("3 seconds"));
        assert!(code(Code::HomeDown, Some(&bob), "s2", 0).what.contains("bob's server (s2)"));
    }

    #[test]
    fn each_trouble_says_what_to_do() {
        let bob = UserName::parse("bob").unwrap();
        for kind in [
            Trouble::Hole { from: N(3), to: N(3) },
            Trouble::Hole { from: N(3), to: N(5) },
            Trouble::Expired,
            Trouble::BadSignature,
            Trouble::BadBinding,
            Trouble::Equivocation,
            Trouble::UnknownSuite,
            Trouble::NoKey,
            Trouble::KeyChanged,
        ] {
            let told = trouble(&kind, &bob);
            assert!(told.what.ends_with('.') && !told.remedy.is_empty(), "{told:?}");
        }
        assert!(trouble(&Trouble::Hole { from: N(3), to: N(5) }, &bob).what.starts_with('3'));
    }
}
