//! `key`: one's own keys, and decisions about those of others.

use crate::cli::exit::Exit;
use crate::client::account::{IdentitySource, Passphrase};
use crate::client::keys::{Decided, Decision};
use crate::client::{Client, KeyView, Mode, Trust};
use crate::limits::PASSWORD_CHARS_MIN;
use crate::types::UserName;
use crate::ui::{lists, time};

use super::args::{Key, Login};
use super::ask::{NewPassword, Takes};
use super::json::{KeyLine, Record};
use super::open::{self, Session};
use super::report::{Form, Outcome, Stop};
use super::subcommands::{Accept, Import, Verify};
use super::{Context, ask, failures, sign};

/// Runs one of those that need a client.
pub(super) async fn run(context: &Context, key: &Key) -> Outcome {
    let mode = match key {
        Key::Show | Key::Export { .. } | Key::Accept(_) => Mode::Offline,
        Key::Verify(_) | Key::Rotate => Mode::SendOnly,
        Key::Import(_) => return Err(Stop::quiet(Exit::Internal)),
    };
    let mut session = open::session(context, mode).await?;
    let outcome = match key {
        Key::Show => show(context, &session.client).await,
        Key::Verify(verify) => verified(context, &mut session, verify).await,
        Key::Accept(accept) => accepted(context, &session.client, accept).await,
        Key::Rotate => rotate(context, &mut session).await,
        Key::Export { file, passphrase_file } => {
            let passphrase = match passphrase_file {
                Some(file) => context.report.io.password_of(file).await,
                None => new_passphrase(context).await,
            };
            match passphrase {
                Ok(passphrase) => export(context, &session.client, file, &passphrase).await,
                Err(stop) => Err(stop),
            }
        }
        Key::Import(_) => Err(Stop::quiet(Exit::Internal)),
    };
    session.end().await;
    outcome
}

async fn show(context: &Context, client: &Client) -> Outcome {
    let view = client.own_keys().map_err(|error| failures::request(&error, None))?;
    let made = view.encryption_made_unix_ms;
    let record = Record::OwnKeys {
        identity: view.identity.clone(),
        encryption_key: view.encryption_key.clone(),
        made_at: (made > 0).then(|| time::rfc3339(made)),
        device: format!("{:016x}", view.device.0),
        bundle_version: view.bundle_version.to_string(),
    };
    let text = || {
        let made = match made {
            0 => String::new(),
            made => {
                let made = time::moment(made, context.env.unix_ms(), &context.report.zone);
                format!("   (made {made})")
            }
        };
        format!(
            "identity    {}\nencryption  {}{made}\ndevice      {:016x}, key bundle {}",
            lists::fingerprint(&view.identity),
            lists::fingerprint(&view.encryption_key),
            view.device.0,
            view.bundle_version
        )
    };
    context.report.data(&record, text).await?;
    Ok(Exit::Done)
}

async fn verified(context: &Context, session: &mut Session, verify: &Verify) -> Outcome {
    let who = &verify.who;
    let mut view = session.key_of(context, who).await?;
    if let Some(number) = &verify.matches {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        if digits(number) != digits(&view.safety_number) {
            return Err(Stop::new(
                Exit::KeyRefused,
                format!("That is not the safety number with {who}: somebody may be in between."),
                format!("See it: client key verify {who}     Compare it again, by voice."),
            ));
        }
        decide(&session.client, who, &view, Decision::Verify)?;
        view.trust = Trust::Verified;
    }
    let screen = context.report.screen(&session.me);
    let record = Record::Key(KeyLine::new(&view));
    context.report.data(&record, || lists::safety_number_alone(&screen, &view)).await?;
    if verify.matches.is_some() || view.trust == Trust::Verified {
        return Ok(Exit::Done);
    }
    if context.report.form == Form::Text && context.report.io.can_ask() {
        let answer = context.report.io.ask_line("Is it the same on their screen? [y/N] ").await?;
        if matches!(answer.to_lowercase().as_str(), "y" | "yes") {
            decide(&session.client, who, &view, Decision::Verify)?;
            context.report.notice(&format!("{who} is verified."));
        }
    } else {
        context.report.notice(&format!(
            "Is it the same on their screen? Then: client key verify {who} --matches NUMBER"
        ));
    }
    Ok(Exit::Done)
}

/// Only for the key that was seen: another one may have come since.
fn decide(client: &Client, who: &UserName, view: &KeyView, decision: Decision) -> Result<(), Stop> {
    let decided = client.decide(who, &view.fingerprint, decision);
    match decided.map_err(|error| failures::request(&error, Some(who)))? {
        Decided::Yes => Ok(()),
        Decided::AnotherKey => Err(another_key(who)),
    }
}

fn another_key(who: &UserName) -> Stop {
    Stop::new(
        Exit::KeyRefused,
        format!("{who}'s key is not the one you named. Nothing was accepted."),
        format!("See it: client key accept {who}"),
    )
}

async fn accepted(context: &Context, client: &Client, accept: &Accept) -> Outcome {
    let who = &accept.who;
    let known = client.known_key(who).map_err(|error| failures::request(&error, Some(who)))?;
    let Some(mut view) = known else {
        return Err(Stop::new(
            Exit::NotFound,
            format!("No key of {who} is known here."),
            format!("client contact add {who}"),
        ));
    };
    if accept.fingerprint.as_ref().is_some_and(|typed| hex_digits(typed) != view.fingerprint) {
        return Err(another_key(who));
    }
    let has_changed = view.trust == Trust::Changed;
    if has_changed {
        if accept.fingerprint.is_none() {
            agreed(context, who, &view).await?;
        }
        decide(client, who, &view, Decision::Accept)?;
        view.trust = Trust::Pinned;
    }
    let text = || {
        let fingerprint = lists::fingerprint(&view.fingerprint);
        match has_changed {
            true => format!("{who}'s key {fingerprint} is accepted."),
            false => format!("{who}'s key has not changed: {fingerprint}"),
        }
    };
    context.report.data(&Record::Key(KeyLine::new(&view)), text).await?;
    Ok(Exit::Done)
}

/// A fingerprint as it is compared.
fn hex_digits(typed: &str) -> String {
    typed.chars().filter(|c| *c != ':').collect::<String>().to_lowercase()
}

/// Shows the new key and asks; where nobody can be asked, says what to type.
async fn agreed(context: &Context, who: &UserName, view: &KeyView) -> Result<(), Stop> {
    let fingerprint = lists::fingerprint(&view.fingerprint);
    if !context.report.io.can_ask() {
        return Err(Stop::new(
            Exit::KeyRefused,
            format!("{who}'s key has changed to {fingerprint}. Nothing was accepted."),
            format!("If it is theirs: client key accept {who} --fingerprint {}", view.fingerprint),
        ));
    }
    context.report.io.err(&format!(
        "{who}'s key has changed (a new phone, or somebody in between) to\n  {fingerprint}\nTheir \
         own:  client key show     Or compare numbers:  client key verify {who}"
    ));
    let answer = context.report.io.ask_line("Go on with this key? [y/N] ").await?;
    if matches!(answer.to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Stop::new(Exit::KeyRefused, "Nothing was accepted.", ""))
}

async fn rotate(context: &Context, session: &mut Session) -> Outcome {
    let local = |error| failures::request(&error, None);
    let before = session.client.own_keys().map_err(local)?.encryption_key;
    session.client.rotate_key().map_err(local)?;
    let client = session.client.clone();
    let is_new = || client.own_keys().is_ok_and(|view| view.encryption_key != before);
    if session.until(context, is_new).await.is_err() {
        return Err(Stop::new(
            Exit::Unreachable,
            "The new key is not in use yet: the server has not taken it in time.",
            "It is at the next contact. See: client key show",
        ));
    }
    show(context, &session.client).await
}

async fn new_passphrase(context: &Context) -> Result<zeroize::Zeroizing<String>, Stop> {
    let io = &context.report.io;
    if !io.can_ask() {
        return Err(Stop::new(
            Exit::NotSignedIn,
            "There is no terminal to ask for the passphrase.",
            "client key export FILE --passphrase-file FILE",
        ));
    }
    let question = "Passphrase of the new file: ".to_owned();
    io.ask_new_password(NewPassword { question, takes: Takes::Long }).await
}

async fn export(
    context: &Context,
    client: &Client,
    file: &std::path::Path,
    passphrase: &str,
) -> Outcome {
    if passphrase.chars().count() < PASSWORD_CHARS_MIN {
        return Err(Stop::new(
            Exit::Usage,
            format!("A passphrase has {PASSWORD_CHARS_MIN} characters or more."),
            "Several words are good: correct horse battery staple",
        ));
    }
    let done = client.export_keys(&context.report.io.path(file), passphrase).await;
    done.map_err(|error| {
        Stop::new(
            Exit::LocalData,
            format!("Cannot write the keys to {}: {error}.", file.display()),
            "A file that is there is never replaced.",
        )
    })?;
    let path = file.display().to_string();
    let text =
        || format!("Your keys are in {path}. On another machine: client key import FILE USER");
    context.report.data(&Record::File { path: &path }, text).await?;
    Ok(Exit::Done)
}

/// `client key import FILE USER`: signs in as a new device with the keys of the file.
pub(super) async fn import(context: &Context, import: Import) -> Outcome {
    if !import.file.exists() {
        return Err(Stop::new(
            Exit::NotFound,
            format!("There is no file {}.", import.file.display()),
            "Where they are: client key export FILE",
        ));
    }
    let passphrase = match &import.passphrase_file {
        Some(file) => ask::password_of(file)?,
        None if ask::possible() => ask::password("Passphrase of the file: ")?,
        None => {
            return Err(Stop::new(
                Exit::NotSignedIn,
                "There is no terminal to ask for the passphrase.",
                "client key import FILE USER --passphrase-file FILE",
            ));
        }
    };
    let source = IdentitySource::Exported { path: import.file, passphrase: Passphrase(passphrase) };
    let login = Login {
        user: Some(import.user),
        takeover: import.takeover,
        identity: None,
        new_identity: false,
    };
    sign::login_with(context, login, source).await
}
