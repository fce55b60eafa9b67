//! `passwd` and `account delete`: what needs the password once more.

use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::client::Mode;
use crate::client::password::PasswordError;
use crate::limits::PASSWORD_CHARS_MIN;
use crate::types::UserName;
use crate::ui::time;

use super::args::Account;
use super::ask::{NewPassword, Takes};
use super::json::Record;
use super::open;
use super::report::{Outcome, Stop};
use super::{Context, ask, failures};

/// `client passwd`.
pub(super) async fn passwd(context: &Context, new: Option<&std::path::Path>) -> Outcome {
    let mut session = open::session(context, Mode::SendOnly).await?;
    let outcome = async {
        let (old, new) = passwords(context, new).await?;
        session.online(context).await?;
        let done = session.client.change_password(&old, &new).await;
        done.map_err(|error| failed(error, &session.me))?;
        let record = Record::PasswordChanged { user: session.me.to_string() };
        let text = || format!("The password of {} is changed.", session.me);
        context.report.data(&record, text).await?;
        Ok(Exit::Done)
    }
    .await;
    session.end().await;
    outcome
}

/// The present password and the new one.
async fn passwords(
    context: &Context,
    new: Option<&std::path::Path>,
) -> Result<(Zeroizing<String>, Zeroizing<String>), Stop> {
    let io = &context.report.io;
    let old_file = match context.globals.password_fd {
        Some(number) => Some(format!("/dev/fd/{number}").into()),
        None => context.globals.password_file.clone(),
    };
    if !io.can_ask() && (old_file.is_none() || new.is_none()) {
        return Err(Stop::new(
            Exit::NotSignedIn,
            "There is no terminal to ask for the passwords.",
            "client passwd --password-file OLD --new-password-file NEW",
        ));
    }
    let old = match &old_file {
        Some(file) => io.password_of(file).await?,
        None => io.ask_password("Present password: ").await?,
    };
    if let Some(file) = new {
        return Ok((old, io.password_of(file).await?));
    }
    let question = format!("New password ({PASSWORD_CHARS_MIN} characters or more): ");
    let new = io.ask_new_password(NewPassword { question, takes: Takes::Judged }).await?;
    Ok((old, new))
}

fn failed(error: PasswordError, user: &UserName) -> Stop {
    match error {
        PasswordError::Wrong => Stop::new(
            Exit::NotSignedIn,
            format!("The present password of {user} is another one. Nothing was changed."),
            "Try again.",
        ),
        PasswordError::TooShort => Stop::new(
            Exit::Usage,
            format!("A password has {PASSWORD_CHARS_MIN} characters or more."),
            "Several words are good: correct horse battery staple",
        ),
        PasswordError::Unknown => Stop::new(
            Exit::Unreachable,
            "The server did not answer: it may be done or not.",
            "Do the same once more, with the same passwords. Until then both open this profile.",
        ),
        PasswordError::LastAdmin(groups) => {
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            Stop::new(
                Exit::Refused,
                format!(
                    "You are the only admin of {}. The account was not deleted.",
                    groups.join(", ")
                ),
                "Hand it over: client group leave NAME --successor WHO   or close it: client group \
                 close NAME",
            )
        }
        PasswordError::Refused(error) => failures::request(&error, None),
        PasswordError::Profile(error) => failures::profile(error, user),
    }
}

/// `client account delete`.
pub(super) async fn run(context: &Context, account: Account) -> Outcome {
    let Account::Delete { yes } = account;
    let mut session = open::session(context, Mode::SendOnly).await?;
    let outcome = async {
        let me = session.me.clone();
        if !yes {
            agreed(&me)?;
        }
        let password = match ask::given_password(&context.globals)? {
            Some(password) => password,
            None if ask::possible() => ask::password(&format!("Password of {me}: "))?,
            None => {
                return Err(Stop::new(
                    Exit::NotSignedIn,
                    "There is no terminal to ask for the password.",
                    "client account delete --yes --password-file FILE",
                ));
            }
        };
        session.online(context).await?;
        let at = session.client.delete_account(&password).await;
        let at = at.map_err(|error| failed(error, &me))?;
        let until = time::moment(at, context.env.unix_ms(), &context.report.zone);
        let text = || {
            format!(
                "The account {me} will be deleted on {until}. Signing in before that keeps it:  \
                 client login {me}\nYour profile is still on this machine:  client logout --forget"
            )
        };
        let record = Record::AccountDeleted { user: me.to_string(), at: time::rfc3339(at) };
        context.report.data(&record, text).await?;
        Ok(Exit::Done)
    }
    .await;
    session.end().await;
    if outcome.is_ok() {
        context.places.lock(&session.profile);
    }
    outcome
}

fn agreed(me: &UserName) -> Result<(), Stop> {
    if !ask::possible() {
        return Err(Stop::new(
            Exit::Usage,
            "Deleting an account needs a yes.",
            "client account delete --yes",
        ));
    }
    ask::tell(&format!(
        "This deletes the account {me} at the server, with what waits for it. The name is never \
         given out again."
    ));
    let typed = ask::line("Type the name to go on: ")?;
    if UserName::parse(&typed).as_ref() == Ok(me) {
        return Ok(());
    }
    Err(Stop::new(Exit::Interrupted, "Nothing was deleted.", ""))
}
