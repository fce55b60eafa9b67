//! `contact`: the people of this profile.

use crate::cli::exit::Exit;
use crate::client::{ChatChange, Client, Mode, RequestError};
use crate::types::UserName;
use crate::ui::text::clean_line;

use super::args::Contact;
use super::json::{ContactLine, Record};
use super::open::{self, Session};
use super::report::{Outcome, Stop};
use super::{Context, failures};

/// Runs one of them.
pub(super) async fn run(context: &Context, contact: &Contact) -> Outcome {
    let mode = match contact {
        Contact::List | Contact::Alias { .. } | Contact::Remove { .. } => Mode::Offline,
        Contact::Add { .. } | Contact::Block { .. } | Contact::Unblock { .. } => Mode::SendOnly,
    };
    let mut session = open::session(context, mode).await?;
    let outcome = done(context, contact, &mut session).await;
    session.end().await;
    outcome
}

async fn done(context: &Context, contact: &Contact, session: &mut Session) -> Outcome {
    let client = session.client.clone();
    let who = match contact {
        Contact::List => return list(context, &client).await,
        Contact::Add { who, alias } => {
            let found = session.look_up(context, who).await;
            found.map_err(|error| failures::request(&error, Some(who)))?;
            client.add_contact(who).map_err(|error| failures::request(&error, Some(who)))?;
            if alias.is_some() {
                named(&client, who, alias.clone())?;
            }
            who
        }
        Contact::Alias { who, alias } => {
            named(&client, who, alias.clone())?;
            who
        }
        Contact::Remove { who } => {
            known(&client, who)?;
            client.remove_contact(who).map_err(|error| failures::request(&error, Some(who)))?;
            context.report.notice(&format!("{who} is no contact any more; key and history stay."));
            return Ok(Exit::Done);
        }
        Contact::Block { who } => {
            blocked(context, session, who, true).await?;
            who
        }
        Contact::Unblock { who } => {
            blocked(context, session, who, false).await?;
            who
        }
    };
    let contacts = client.contacts().map_err(|error| failures::request(&error, None))?;
    for contact in contacts.iter().filter(|contact| contact.user == *who) {
        let line = ContactLine::new(contact);
        let text = line.text();
        context.report.data(&Record::Contact(line), || text).await?;
    }
    Ok(Exit::Done)
}

async fn list(context: &Context, client: &Client) -> Outcome {
    let contacts = client.contacts().map_err(|error| failures::request(&error, None))?;
    if contacts.is_empty() {
        context.report.notice("No contacts yet.");
    }
    for contact in &contacts {
        let line = ContactLine::new(contact);
        let text = line.text();
        context.report.data(&Record::Contact(line), || text).await?;
    }
    Ok(Exit::Done)
}

fn named(client: &Client, who: &UserName, alias: Option<String>) -> Result<(), Stop> {
    known(client, who)?;
    let local = |error: RequestError| failures::request(&error, Some(who));
    if let Some(alias) = &alias {
        if alias.trim().is_empty() || clean_line(alias) != *alias {
            let what = "That cannot be a name: it is empty, or has signs that do not show.";
            return Err(Stop::new(Exit::Usage, what, "client contact alias WHO NAME"));
        }
        let taken = client.by_alias(alias).map_err(local)?.filter(|taken| taken != who);
        if let Some(taken) = taken {
            return Err(Stop::new(
                Exit::Usage,
                format!("You call {taken} \"{alias}\" already."),
                format!("Take it back: client contact alias {taken}"),
            ));
        }
    }
    client.change_chat(&who.clone().into(), &ChatChange::Alias(alias)).map_err(local)
}

/// Nothing is said about strangers that may not even exist.
fn known(client: &Client, who: &UserName) -> Result<(), Stop> {
    let local = |error| failures::request(&error, None);
    let is_contact = client.contacts().map_err(local)?.iter().any(|contact| contact.user == *who);
    if is_contact
        || client.chats().map_err(local)?.iter().any(|chat| chat.chat.person() == Some(who))
    {
        return Ok(());
    }
    Err(Stop::new(
        Exit::NotFound,
        format!("{who} is none of your contacts."),
        format!("client contact add {who}"),
    ))
}

async fn blocked(
    context: &Context,
    session: &mut Session,
    who: &UserName,
    blocked: bool,
) -> Result<(), Stop> {
    session.online(context).await?;
    let done = session.client.block(who, blocked).await;
    done.map_err(|error| failures::request(&error, Some(who)))
}
