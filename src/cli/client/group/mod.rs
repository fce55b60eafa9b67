//! `group`: groups made, joined, changed, shown and left.
//!
//! Nothing is asked where there is no terminal: the command to run is named instead. A command
//! returns when what it leads to for others (keys for who was brought in) is sent, or says that it
//! is kept.

mod args;
mod words;

use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::client::{Client, GroupCommand, GroupDone, GroupError, GroupView, JoinState, Mode};
use crate::types::{GroupName, UserName};
use crate::ui::say::{self, Place};
use crate::ui::{commands, lists};

pub(super) use self::args::Group;
pub(super) use self::words::{exit_of, failed};

use self::args::{Create, JoinPassword, Named, Password};
use self::words::{added, forgotten, names, no_terminal, people, promoted};
use super::args::Who;
use super::ask::{NewPassword, Takes};
use super::json::{GroupDoneLine, GroupLine, Record};
use super::open::{self, Session};
use super::report::{Form, Outcome, Stop};
use super::{Context, failures};

/// Runs one of them.
pub(super) async fn run(context: &Context, group: &Group) -> Outcome {
    let mode = match group {
        Group::List | Group::Show { .. } | Group::Forget { .. } => Mode::Offline,
        // Who was brought in by somebody else learns of it by what waits.
        Group::Create(_)
        | Group::Add(_)
        | Group::Remove { .. }
        | Group::Promote(_)
        | Group::Demote { .. }
        | Group::Rename { .. }
        | Group::Topic { .. }
        | Group::Password(_)
        | Group::Invite { .. }
        | Group::Join { .. }
        | Group::Leave { .. }
        | Group::Close { .. } => Mode::SendAndReceive,
    };
    let mut session = open::session(context, mode).await?;
    let outcome = tokio::select! {
        biased;
        outcome = done(context, group, &mut session) => outcome,
        () = context.report.io.interrupted() => Err(Stop::quiet(Exit::Interrupted)),
    };
    session.end().await;
    outcome
}

async fn done(context: &Context, group: &Group, session: &mut Session) -> Outcome {
    let client = session.client.clone();
    match group {
        Group::List => list(context, session).await,
        Group::Show { group } => show(context, session, group).await,
        Group::Forget { group } => {
            client.forget_group(group).map_err(|error| forgotten(&error, group))?;
            let record = Record::GroupForgotten { group: group.to_string() };
            let text = || format!("{group} is off the list; its history stays.");
            context.report.data(&record, text).await?;
            Ok(Exit::Done)
        }
        Group::Create(options) => create(context, session, options).await,
        Group::Join { what, password } => join(context, session, what, password).await,
        Group::Add(Named { group, who }) => {
            let people = people(&client, who)?;
            let add = GroupCommand::Add(people.clone());
            let said = |done: &GroupDone| added(group, done, &people);
            change(context, session, group, add, "added", said).await
        }
        Group::Remove { group, who } => remove(context, session, group, who).await,
        Group::Promote(Named { group, who }) => {
            let people = people(&client, who)?;
            let said = |done: &GroupDone| promoted(group, done, &people);
            change(context, session, group, GroupCommand::Grant(people.clone()), "promoted", said)
                .await
        }
        Group::Demote { group, who } => {
            let user = open::person(&client, who)?;
            let text = format!("{user} is no admin of {group} now.");
            let revoke = GroupCommand::Revoke(user);
            change(context, session, group, revoke, "demoted", |_| text.clone()).await
        }
        Group::Rename { group, title } => {
            let said = |_: &GroupDone| format!("The title of {group} is changed.");
            let title = GroupCommand::Title(title.join(" "));
            change(context, session, group, title, "renamed", said).await
        }
        Group::Topic { group, text } => {
            let said = |_: &GroupDone| format!("The topic of {group} is changed.");
            let topic = GroupCommand::Topic(text.join(" "));
            change(context, session, group, topic, "topic", said).await
        }
        Group::Password(options) => password(context, session, options).await,
        Group::Invite { group, off: true, .. } => {
            let said = |_: &GroupDone| format!("No link and no password opens {group} now.");
            change(context, session, group, GroupCommand::Withdraw, "withdrawn", said).await
        }
        Group::Invite { group, uses, off: false } => {
            let invite = GroupCommand::Invite { uses: uses.unwrap_or(0) };
            // Alone on its line: made to be copied, and to be taken by a program.
            let said = |done: &GroupDone| done.link.clone().unwrap_or_default();
            change(context, session, group, invite, "invited", said).await
        }
        Group::Leave { group, successor } => leave(context, session, group, successor).await,
        Group::Close { group, yes } => close(context, session, group, *yes).await,
    }
}

// --- what this machine knows ---

async fn list(context: &Context, session: &Session) -> Outcome {
    let local = |error| failures::request(&error, None);
    let groups = session.client.groups().map_err(local)?;
    match context.report.form {
        Form::Json => {
            for group in &groups {
                let record = Record::Group(GroupLine::new(group));
                context.report.data(&record, String::new).await?;
            }
        }
        Form::Text if groups.is_empty() => {
            context.report.notice("No groups yet.  Make one: client group create NAME");
        }
        Form::Text => {
            let chats = session.client.chats().map_err(local)?;
            let screen = context.report.screen(&session.me);
            let text = lists::groups(&screen, &groups, &chats);
            context.report.data(&Record::Notice { text: "" }, || text).await?;
        }
    }
    Ok(Exit::Done)
}

async fn show(context: &Context, session: &Session, name: &GroupName) -> Outcome {
    let view = view(&session.client, name)?;
    let screen = context.report.screen(&session.me);
    let record = Record::Group(GroupLine::new(&view));
    context.report.data(&record, || lists::group(&screen, &view, &session.me)).await?;
    Ok(Exit::Done)
}

fn view(client: &Client, name: &GroupName) -> Result<GroupView, Stop> {
    let found = client.group(name).map_err(|error| failures::request(&error, None))?;
    found.ok_or_else(|| failed(&GroupError::NoSuchGroup(name.clone()), Some(name)))
}

// --- changes ---

async fn change(
    context: &Context,
    session: &mut Session,
    group: &GroupName,
    command: GroupCommand,
    did: &'static str,
    said: impl Fn(&GroupDone) -> String,
) -> Outcome {
    session.group(context, group).await?;
    let told = match &command {
        GroupCommand::Add(people) => people.clone(),
        GroupCommand::Kick(user) => vec![user.clone()],
        GroupCommand::Grant(_)
        | GroupCommand::Revoke(_)
        | GroupCommand::Title(_)
        | GroupCommand::Topic(_)
        | GroupCommand::Password(_)
        | GroupCommand::Invite { .. }
        | GroupCommand::Withdraw
        | GroupCommand::Leave { .. }
        | GroupCommand::Close => Vec::new(),
    };
    let done = session.client.change_group(group, command).await;
    let done = match done {
        // A script may say twice what is to be so.
        Err(GroupError::Nothing) => {
            context.report.notice("That is so already; nothing was changed.");
            return Ok(Exit::Done);
        }
        done => done.map_err(|error| failed(&error, Some(group)))?,
    };
    finish(context, session, &done, did, &told, said(&done)).await
}

/// Prints what was done, and waits until `told`, whom it concerns, have their keys or know it.
async fn finish(
    context: &Context,
    session: &mut Session,
    done: &GroupDone,
    did: &'static str,
    told: &[UserName],
    text: String,
) -> Outcome {
    let record = Record::GroupDone(GroupDoneLine::new(done, did));
    let is_new = !text.is_empty();
    if context.report.form == Form::Json || is_new {
        context.report.data(&record, || text).await?;
    }
    let name = &done.group.name;
    for user in &done.already {
        context.report.notice(&format!("{user} is in {name} already, and was sent its key again."));
    }
    for (user, error) in &done.failed {
        if *error == GroupError::Nothing {
            // A script may say twice what is to be so.
            context.report.notice(&format!("{user}: that is so already."));
            continue;
        }
        let why = say::group_error(error, Some(name), Place::Shell);
        context.report.notice(&format!("Not {user}: {}", why.line()));
    }
    let client = session.client.clone();
    let has_theirs = |user: &UserName| client.is_all_sent(&user.clone().into()).unwrap_or(true);
    if session.until(context, || told.iter().all(has_theirs)).await.is_err() {
        context.report.notice(
            "What others are to be told of it is kept, and goes first at the next contact: client \
             retry",
        );
    }
    let mut failed = done.failed.iter().filter(|(_, error)| *error != GroupError::Nothing);
    Ok(match failed.next() {
        None => Exit::Done,
        // Nothing at all was done.
        Some((_, error)) if !is_new && done.already.is_empty() => exit_of(error),
        Some(_) => Exit::Partly,
    })
}

async fn create(context: &Context, session: &mut Session, options: &Create) -> Outcome {
    let people = people(&session.client, &options.who)?;
    let password = match options.password.path() {
        Some(path) => Some(context.report.io.password_of(&path).await?),
        None => None,
    };
    session.online(context).await?;
    let name = &options.name;
    let done = session.client.create_group(name, &people, &options.title, password).await;
    let done = done.map_err(|error| failed(&error, Some(name)))?;
    let others = say::candidates(&done.group, &session.me);
    let text = match others.as_slice() {
        [] => format!("{name} is made, with nobody else yet."),
        others => format!("{name} is made, with {}.", names(others)),
    };
    finish(context, session, &done, "created", &people, text).await
}

async fn join(
    context: &Context,
    session: &mut Session,
    what: &str,
    password: &JoinPassword,
) -> Outcome {
    let client = session.client.clone();
    let (name, joined) = if what.starts_with(commands::LINK_BEGINS) {
        let name = client.read_link(what).map_err(|error| failed(&error, None))?;
        session.online(context).await?;
        let joined = client.join_by_link(what).await;
        (name, joined)
    } else {
        let name = GroupName::parse(what).map_err(|error| {
            Stop::new(Exit::Usage, format!("\"{what}\" is no group's name: {error}."), "")
        })?;
        let given = match password.path() {
            Some(path) => Some(context.report.io.password_of(&path).await?),
            None if context.report.io.can_ask() => None,
            None => {
                return Err(no_terminal(format!(
                    "client group join {} --join-password-file FILE",
                    name.as_str()
                )));
            }
        };
        session.online(context).await?;
        match client.may_join(&name).await.map_err(|error| failed(&error, Some(&name)))? {
            JoinState::Open => {}
            JoinState::AlreadyIn => {
                context.report.notice(&format!("You are in {name} already."));
                return Ok(Exit::Done);
            }
        }
        let given = match given {
            Some(given) => given,
            None => context.report.io.ask_password(&format!("Password of {name}: ")).await?,
        };
        let joined = client.join_by_password(&name, given).await;
        (name, joined)
    };
    let group = joined.map_err(|error| failed(&error, Some(&name)))?;
    let done = GroupDone { group, link: None, already: Vec::new(), failed: Vec::new() };
    let others = done.group.members.len().saturating_sub(1);
    let text = format!("You are in {name}, with {others} others.");
    finish(context, session, &done, "joined", &[], text).await
}

async fn remove(context: &Context, session: &mut Session, group: &GroupName, who: &Who) -> Outcome {
    let user = open::person(&session.client, who)?;
    session.group(context, group).await?;
    let invited = !view(&session.client, group)?.invites.is_empty();
    let text = format!("{user} is out of {group}; what is written from now on has a new key.");
    let kick = GroupCommand::Kick(user);
    let outcome = change(context, session, group, kick, "removed", |_| text.clone()).await?;
    if invited {
        let name = group.as_str();
        context.report.notice(&format!(
            "Invitations ended; set a new password: client group password {name} or make a new \
             link: client group invite {name}"
        ));
    }
    Ok(outcome)
}

async fn password(context: &Context, session: &mut Session, options: &Password) -> Outcome {
    let group = &options.group;
    let new = match (options.off, options.path()) {
        (true, _) => None,
        (false, Some(path)) => Some(context.report.io.password_of(&path).await?),
        (false, None) if context.report.io.can_ask() => typed(context, group).await?,
        (false, None) => {
            return Err(no_terminal(format!(
                "client group password {} --file FILE     None: --off",
                group.as_str()
            )));
        }
    };
    let text = match &new {
        Some(_) => {
            format!("Whoever knows the password can join: client group join {}", group.as_str())
        }
        None => format!("{group} has no password to join by now."),
    };
    let command = GroupCommand::Password(new);
    change(context, session, group, command, "password", |_| text.clone()).await
}

/// A new password, typed twice alike; nothing: none.
async fn typed(context: &Context, group: &GroupName) -> Result<Option<Zeroizing<String>>, Stop> {
    let question = format!("Password to join {group} by (Enter: none): ");
    let new = NewPassword { question, takes: Takes::AnyOrNone };
    let typed = context.report.io.ask_new_password(new).await?;
    Ok((!typed.is_empty()).then_some(typed))
}

async fn leave(
    context: &Context,
    session: &mut Session,
    group: &GroupName,
    successor: &Option<Who>,
) -> Outcome {
    let successor = successor.as_ref().map(|who| open::person(&session.client, who)).transpose()?;
    session.group(context, group).await?;
    let view = view(&session.client, group)?;
    if successor.is_none() && say::is_only_admin(&view, &session.me) {
        let candidates = say::candidates(&view, &session.me);
        let told = say::last_admin(group, &candidates, Place::Shell);
        return Err(Stop::told(Exit::Refused, told));
    }
    let text = match view.members.len() {
        1 => format!("{group} is closed: you were the last one in it."),
        _ => format!("You are out of {group}; what was written stays here."),
    };
    let command = GroupCommand::Leave { successor };
    change(context, session, group, command, "left", |_| text.clone()).await
}

async fn close(context: &Context, session: &mut Session, group: &GroupName, yes: bool) -> Outcome {
    if !yes {
        if !context.report.io.can_ask() {
            return Err(Stop::new(
                Exit::NotSignedIn,
                format!("Closing {group} needs a yes, and there is no terminal to ask."),
                format!("client group close {} --yes", group.as_str()),
            ));
        }
        let question =
            format!("Close {group}? Nobody can write there any more; it cannot be undone. [y/N] ");
        let answer = context.report.io.ask_line(&question).await?;
        if !matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Err(Stop::new(Exit::Interrupted, "Nothing was closed.", ""));
        }
    }
    let said =
        |_: &GroupDone| format!("{group} is closed for everybody; what was written stays here.");
    change(context, session, group, GroupCommand::Close, "closed", said).await
}
