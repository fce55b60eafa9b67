//! What went wrong in the client, as an exit code, a sentence and what to do.

use std::fmt;

use crate::cli::exit::{Exit, sentence};
use crate::client::account::{AccountError, Where};
use crate::client::{
    FileError, GroupError, ProfileError, Refusal, RequestError, SendError, TransferFailure,
    TransferView,
};
use crate::types::{GroupName, UserName};
use crate::ui::say::{self, Place};
use crate::ui::settings::SettingsError;
use crate::wire::Code;

use super::report::Stop;

/// `HOST:PORT`.
pub(super) fn address(at: &Where) -> String {
    at.to_string()
}

/// The exit code of a typed answer.
pub(super) fn exit_of(code: Code) -> Exit {
    match code {
        Code::NoSuchUser | Code::NoSuchGroup | Code::NoSuchBlob => Exit::NotFound,
        Code::WrongPassword
        | Code::ResumeRefused
        | Code::SessionReplaced
        | Code::AlreadyLoggedIn => Exit::NotSignedIn,
        Code::SlowDown
        | Code::Busy
        | Code::ServerFull
        | Code::HomeDown
        | Code::RetryLater
        | Code::Timeout
        | Code::LoginTimeout => Exit::Unreachable,
        Code::Malformed
        | Code::FrameTooLarge
        | Code::Unsupported
        | Code::Version
        | Code::BadState
        | Code::NameTaken
        | Code::TicketInvalid
        | Code::WrongHome
        | Code::Gap
        | Code::Reopen
        | Code::MailboxFull
        | Code::Blocked
        | Code::NotAMember
        | Code::StaleEpoch
        | Code::RosterConflict
        | Code::Forbidden
        | Code::BadBundle
        | Code::WrongInvite
        | Code::RosterBehind
        | Code::BlobHash
        | Code::Quota
        | Code::StorageFull
        | Code::Internal
        | Code::NotAPeer => Exit::Refused,
    }
}

pub(super) fn unreachable(at: &Where) -> Stop {
    Stop::new(
        Exit::Unreachable,
        format!("Cannot reach {} (no answer; UDP may be blocked).", address(at)),
        "Is the load_balancer running there, and the address right?",
    )
}

pub(super) fn wrong_cluster() -> Stop {
    Stop::told(Exit::KeyRefused, say::wrong_cluster())
}

/// Sign-up and login of `user` at `at` in profile `name`.
pub(super) fn account(error: AccountError, name: &UserName, user: &UserName, at: &Where) -> Stop {
    let place = address(at);
    let client = if name == user { "client".to_owned() } else { format!("client -p {name}") };
    match error {
        AccountError::WrongPassword => {
            Stop::new(Exit::NotSignedIn, format!("The password for {user} is wrong."), "Try again.")
        }
        AccountError::NoSuchUser => Stop::new(
            Exit::NotFound,
            format!("No user \"{user}\" here."),
            format!("Sign up: {client} register {user} --server {place}"),
        ),
        AccountError::NameTaken => Stop::new(
            Exit::Refused,
            format!("The name \"{user}\" is taken."),
            format!("If it is yours: {client} login {user} --server {place}"),
        ),
        AccountError::AlreadyLoggedIn { .. } => Stop::new(
            Exit::NotSignedIn,
            format!("{user} is signed in on another device."),
            "Replace it: the same command with --takeover",
        ),
        AccountError::NoIdentityKey => Stop::new(
            Exit::KeyRefused,
            format!("This machine does not have {user}'s identity key."),
            format!(
                "With the key file: {client} login {user} --identity FILE     Without: --new-identity \
                 (everybody sees that the key changed)"
            ),
        ),
        AccountError::BadKeyFile(why) => Stop::new(
            Exit::LocalData,
            format!("The key file cannot be used: {why}."),
            "It is opened with the account's password.",
        ),
        AccountError::PasswordTooShort => Stop::new(
            Exit::Usage,
            format!("A password has {} characters or more.", crate::limits::PASSWORD_CHARS_MIN),
            "Several words are good: correct horse battery staple",
        ),
        AccountError::Unreachable => unreachable(at),
        AccountError::WrongCluster { got } => Stop::new(
            Exit::KeyRefused,
            format!("Another cluster answers at {place}: {got}. Nothing was sent to it."),
            "Compare the fingerprint with the one you were given.",
        ),
        AccountError::Refused { code, detail, retry_after_ms } => {
            Stop::told(exit_of(code), say::code(code, None, &detail, retry_after_ms))
        }
        AccountError::Profile(error) => profile(error, name),
    }
}

/// The local profile of `name`.
pub(super) fn profile(error: ProfileError, name: &UserName) -> Stop {
    match error {
        ProfileError::Locked { pid } => {
            let who = if pid == 0 { String::new() } else { format!(" (process {pid})") };
            let mut stop = Stop::new(
                Exit::LocalData,
                format!("The profile {name} is in use by another client{who}."),
                "Use that one, or end it first.",
            );
            stop.is_locked = true;
            stop
        }
        ProfileError::Empty => not_signed_in(name),
        ProfileError::NotEmpty(owner) => Stop::new(
            Exit::LocalData,
            format!("The profile {name} belongs to {owner}."),
            "Choose another: client -p NAME",
        ),
        ProfileError::WrongPassword => {
            Stop::new(Exit::NotSignedIn, format!("The password for {name} is wrong."), "Try again.")
        }
        ProfileError::Io { path, source } => Stop::new(
            Exit::LocalData,
            format!("Cannot use {}: {source}.", path.display()),
            "See who owns it, and that the disk is not full.",
        ),
        ProfileError::Damaged { path, why } => Stop::new(
            Exit::LocalData,
            format!("{} is damaged: {why}.", path.display()),
            "Nothing was changed. Put it back from a copy if you have one.",
        ),
    }
}

/// `client.toml`.
pub(super) fn settings(error: &SettingsError) -> Stop {
    let remedy = match error {
        SettingsError::Io { .. } => "See who owns it, or name another: --config FILE",
        SettingsError::Syntax { .. } | SettingsError::Key { .. } => "Mend it: client config edit",
        SettingsError::Asked(_) => "All settings: client config get",
    };
    let exit = match error {
        SettingsError::Io { .. } => Exit::LocalData,
        SettingsError::Syntax { .. } | SettingsError::Key { .. } | SettingsError::Asked(_) => {
            Exit::Usage
        }
    };
    Stop::new(exit, sentence(error), remedy)
}

/// Nobody has an account in this profile.
pub(super) fn not_signed_in(profile: &UserName) -> Stop {
    Stop::new(
        Exit::NotSignedIn,
        format!("There is no account in profile {profile}."),
        format!(
            "Sign up: client register {profile} --server HOST:PORT     Or in: client login {profile} \
             --server HOST:PORT"
        ),
    )
}

/// A request about `who`.
pub(super) fn request(error: &RequestError, who: Option<&dyn fmt::Display>) -> Stop {
    let exit = match error {
        RequestError::Offline | RequestError::Timeout => Exit::Unreachable,
        RequestError::Refused { code, .. } => exit_of(*code),
        RequestError::BadBundle => Exit::KeyRefused,
        RequestError::TooLong { .. } => Exit::Usage,
        RequestError::Local(_) => Exit::LocalData,
    };
    Stop::told(exit, say::request_error(error, who))
}

/// A text that was not taken.
pub(super) fn send(error: &SendError) -> Stop {
    let exit = match error {
        SendError::Empty | SendError::ToSelf => Exit::Usage,
        SendError::TooLarge(_) | SendError::Blocked(_) => Exit::Refused,
        SendError::KeyChanged(_) => Exit::KeyRefused,
        SendError::NoSuchMessage(_) | SendError::NoSuchGroup(_) => Exit::NotFound,
        SendError::Local(_) => Exit::LocalData,
    };
    if let SendError::NoSuchGroup(group) = error {
        return no_such_group(group);
    }
    let mut told = say::send_error(error);
    if exit == Exit::KeyRefused || exit == Exit::Refused {
        told.remedy = in_line_client(&told.remedy);
    }
    Stop::told(exit, told)
}

/// A file for `to` that was not taken, or one that was not stored.
pub(super) fn file(error: &FileError, to: &dyn fmt::Display) -> Stop {
    let exit = match error {
        FileError::Send(error) => return send(error),
        FileError::NotFound(_) | FileError::NoFolder(_) | FileError::NoFile(_) => Exit::NotFound,
        FileError::NotAFile(_)
        | FileError::Empty(_)
        | FileError::TooLarge { .. }
        | FileError::Changed(_)
        | FileError::Picture { .. } => Exit::Usage,
        FileError::CaptionTooLong { .. } => Exit::Refused,
        FileError::Transfer(failure) => exit_of_transfer(*failure),
        FileError::Io { .. } | FileError::Local(_) => Exit::LocalData,
    };
    Stop::told(exit, say::file_error(error, to, Place::Shell))
}

/// A transfer that will not go on.
pub(super) fn transfer(failure: TransferFailure, view: &TransferView) -> Stop {
    let told = say::transfer_failure_at(failure, view, Place::Shell);
    Stop::told(exit_of_transfer(failure), told)
}

fn exit_of_transfer(failure: TransferFailure) -> Exit {
    match failure {
        TransferFailure::Server(code) => exit_of(code),
        TransferFailure::Gone => Exit::NotFound,
        TransferFailure::TooLarge { .. }
        | TransferFailure::Quota { .. }
        | TransferFailure::NotTheFile
        | TransferFailure::Cancelled => Exit::Refused,
        TransferFailure::CopyLost | TransferFailure::DiskFull => Exit::LocalData,
    }
}

/// A group that this profile does not know.
pub(super) fn no_such_group(group: &GroupName) -> Stop {
    let error = GroupError::NoSuchGroup(group.clone());
    Stop::told(Exit::NotFound, say::group_error(&error, Some(group), Place::Shell))
}

/// What to do about a key that changed.
pub(super) fn changed_key_remedy(user: &UserName) -> String {
    format!(
        "Compare numbers with {user}: client key verify {user}     Or trust it: client key accept {user}"
    )
}

/// Slash commands are typed in the line client; a shell needs to be told.
pub(super) fn in_line_client(remedy: &str) -> String {
    if remedy.contains('/') {
        format!("{remedy}     (inside: client chat)")
    } else {
        remedy.to_owned()
    }
}

/// A message to `to` that will never be sent.
pub(super) fn refusal(refusal: Refusal, to: &dyn fmt::Display) -> Stop {
    let exit = match refusal {
        Refusal::Server(code) => exit_of(code),
        Refusal::TooLarge => Exit::Refused,
        Refusal::KeyChanged => Exit::KeyRefused,
    };
    let mut told = say::refusal(refusal, to);
    told.remedy = in_line_client(&told.remedy);
    Stop::told(exit, told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClusterId;

    #[test]
    fn the_documented_exit_codes() {
        let bob = UserName::parse("bob").unwrap();
        let at = Where { host: "::1".into(), port: 9000 };
        let got = ClusterId([0; 32]);
        for (error, exit) in [
            (AccountError::WrongPassword, 4),
            (AccountError::NoSuchUser, 5),
            (AccountError::NameTaken, 8),
            (AccountError::AlreadyLoggedIn { since_unix_ms: 1, last_seen_unix_ms: 2 }, 4),
            (AccountError::NoIdentityKey, 6),
            (AccountError::PasswordTooShort, 2),
            (AccountError::Unreachable, 3),
            (AccountError::WrongCluster { got }, 6),
            (AccountError::Profile(ProfileError::Locked { pid: 7 }), 9),
        ] {
            let stop = account(error, &bob, &bob, &at);
            assert_eq!(stop.failure.exit.number(), exit, "{stop:?}");
            assert!(stop.failure.what.ends_with('.') && !stop.failure.remedy.is_empty());
        }
        assert_eq!(send(&SendError::KeyChanged(bob.clone())).failure.exit, Exit::KeyRefused);
        assert_eq!(refusal(Refusal::Server(Code::Blocked), &bob).failure.exit, Exit::Refused);
        assert!(unreachable(&at).failure.what.contains("[::1]:9000"));
    }
}
