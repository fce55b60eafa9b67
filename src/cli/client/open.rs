//! Which profile, and how it is unlocked.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::client::profile::Owner;
use crate::client::{Client, Event, KeyView, Mode, Profile, ProfileError, RequestError, Unlocked};
use crate::types::{ChatName, GroupName, UserName};
use crate::ui::say;
use crate::wire::Code;

use super::args::Who;
use super::io::Io;
use super::report::Stop;
use super::socket::serve::Held;
use super::{Context, ask, failures};

/// What is known of a profile without unlocking it.
pub(super) enum Known {
    /// There is an account in it.
    Owned(Owner),
    /// Another process holds it; its process id, 0 when unknown.
    Busy(u32),
    /// Nobody is in it.
    Empty,
}

/// Looks into a profile.
pub(super) fn look(context: &Context, profile: &UserName) -> Known {
    if !context.places.exists(profile) {
        return Known::Empty;
    }
    match Profile::open(&context.env, &context.places.folder(profile)) {
        Ok(open) => open.owner().cloned().map_or(Known::Empty, Known::Owned),
        Err(ProfileError::Locked { pid }) => Known::Busy(pid),
        // It will say what is wrong when it is used.
        Err(_) => Known::Busy(0),
    }
}

/// The profile that a command is about: the named one (here, or in the settings), or the only
/// one.
pub(super) fn chosen(context: &Context) -> Result<UserName, Stop> {
    if let Some(profile) = context.named_profile() {
        return Ok(profile.clone());
    }
    let mut profiles = context.places.profiles();
    if profiles.len() > 1 {
        // Sign-ups that came to nothing do not count.
        profiles.retain(|profile| !matches!(look(context, profile), Known::Empty));
    }
    match profiles.as_slice() {
        [] => Err(Stop::new(
            Exit::NotSignedIn,
            "Nobody has signed in on this machine yet.",
            "Sign up or in: client HOST PORT",
        )),
        [only] => Ok(only.clone()),
        [first, ..] => {
            let names: Vec<&str> = profiles.iter().map(UserName::as_str).collect();
            Err(Stop::new(
                Exit::Usage,
                format!("There are several profiles: {}.", names.join(", ")),
                format!("Name one: client -p {first} ..."),
            ))
        }
    }
}

/// Locks a profile in which somebody is signed in.
pub(super) fn profile(context: &Context, name: &UserName) -> Result<Profile, Stop> {
    if !context.places.exists(name) {
        return Err(failures::not_signed_in(name));
    }
    let profile = Profile::open(&context.env, &context.places.folder(name))
        .map_err(|error| failures::profile(error, name))?;
    if profile.owner().is_none() {
        return Err(failures::not_signed_in(name));
    }
    Ok(profile)
}

/// What is waited for is looked at again this often, should its event get lost.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The client that runs a command: one of its own, or that of the process that holds the profile.
pub(super) struct Session {
    pub(super) profile: UserName,
    pub(super) me: UserName,
    pub(super) client: Client,
    pub(super) events: Receiver<Event>,
    pub(super) whose: Whose,
    arrival: Arrival,
}

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// It was started for this command, and ends with it.
    Ours,
    /// Another process asked us, who hold the profile, to run the command.
    Holders,
}

/// Whether everything that waited at the homes is here: told once for each connection, however
/// often it is asked.
#[derive(Debug, Default)]
struct Arrival {
    is_here: bool,
}

/// Why not everything is here.
#[derive(Debug, PartialEq, Eq)]
enum Missing {
    SignedOut(Code),
    Late(String),
}

impl Arrival {
    fn note(&mut self, event: &Event) {
        match event {
            Event::CaughtUp => self.is_here = true,
            Event::Online { .. } | Event::Offline { .. } => self.is_here = false,
            _ => {}
        }
    }

    async fn wait(
        &mut self,
        events: &mut Receiver<Event>,
        deadline: Instant,
    ) -> Result<(), Missing> {
        let mut why = "there was no answer in time".to_owned();
        while !self.is_here {
            let Ok(Some(event)) = timeout_at(deadline, events.recv()).await else {
                return Err(Missing::Late(why));
            };
            self.note(&event);
            match event {
                Event::SignedOut { code } => return Err(Missing::SignedOut(code)),
                Event::Offline { reason } => why = say::offline(&reason),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Session {
    /// Waits until there is a connection.
    pub(super) async fn online(&mut self, context: &Context) -> Result<(), Stop> {
        let client = self.client.clone();
        let is_online = || client.status().is_ok_and(|status| status.connected.is_some());
        self.until(context, is_online).await
    }

    /// Waits until everything that waits at the homes is here, and with it how a group stands now:
    /// somebody may have brought the owner of the profile in, or made them an admin.
    pub(super) async fn group(&mut self, context: &Context, name: &GroupName) -> Result<(), Stop> {
        let deadline = Instant::now() + context.globals.timeout;
        match self.arrival.wait(&mut self.events, deadline).await {
            Ok(()) => {}
            Err(Missing::SignedOut(code)) => {
                return Err(Stop::told(Exit::NotSignedIn, say::code(code, None, "", 0)));
            }
            Err(Missing::Late(why)) => {
                let status = self.client.status();
                if !status.is_ok_and(|status| status.connected.is_some()) {
                    return Err(self.cut_off(&why));
                }
            }
        }
        known(&self.client, &ChatName::Group(name.clone()))
    }

    fn cut_off(&self, why: &str) -> Stop {
        let server = self.client.status().map(|status| status.balancer);
        let server = server.unwrap_or_else(|_| "the server".to_owned());
        let what = format!("Cannot reach {server} ({why}).");
        Stop::new(Exit::Unreachable, what, "Look why: client doctor")
    }

    /// Waits until something is so; whatever makes it so causes an event.
    pub(super) async fn until(
        &mut self,
        context: &Context,
        is_so: impl Fn() -> bool,
    ) -> Result<(), Stop> {
        let deadline = Instant::now() + context.globals.timeout;
        let mut why = "there was no answer in time".to_owned();
        while !is_so() {
            let soon = deadline.min(Instant::now() + LOOK_AGAIN);
            let event = match timeout_at(soon, self.events.recv()).await {
                Ok(Some(event)) => event,
                Err(_) if Instant::now() < deadline => continue,
                Ok(None) | Err(_) => return Err(self.cut_off(&why)),
            };
            self.arrival.note(&event);
            if let Event::SignedOut { code } = event {
                return Err(Stop::told(Exit::NotSignedIn, say::code(code, None, "", 0)));
            }
            if let Event::Offline { reason } = &event {
                why = say::offline(reason);
            }
        }
        Ok(())
    }

    /// Makes sure that there is such a person, whose key is known then.
    pub(super) async fn look_up(
        &mut self,
        context: &Context,
        who: &UserName,
    ) -> Result<(), RequestError> {
        if self.client.known_key(who)?.is_some() {
            return Ok(());
        }
        self.online(context).await.map_err(|_| RequestError::Offline)?;
        self.client.look_up(who).await.map(drop)
    }

    /// Somebody's key; looked up when it is not known yet.
    pub(super) async fn key_of(
        &mut self,
        context: &Context,
        who: &UserName,
    ) -> Result<KeyView, Stop> {
        let failed = |error| failures::request(&error, Some(who));
        self.look_up(context, who).await.map_err(failed)?;
        self.client.key_of(who).await.map_err(failed)
    }

    /// Ends what was begun for this command.
    pub(super) async fn end(&self) {
        match self.whose {
            Whose::Ours => self.client.stop().await,
            Whose::Holders => {}
        }
    }
}

/// Whom a word means: somebody known by that name, somebody called so, or a user of that name.
pub(super) fn person(client: &Client, who: &Who) -> Result<UserName, Stop> {
    let local = |error| failures::request(&error, None);
    let user = UserName::parse(&who.0);
    if let Ok(user) = &user
        && client.known_key(user).map_err(local)?.is_some()
    {
        return Ok(user.clone());
    }
    match client.by_alias(&who.0).map_err(local)? {
        Some(user) => Ok(user),
        None => user.map_err(|error| {
            Stop::new(
                Exit::Usage,
                format!("You call nobody \"{}\", and it is no user's name: {error}.", who.0),
                "Your people: client contact list",
            )
        }),
    }
}

/// The chat that a word means: a group of this profile by its `#`, else the one with a person.
pub(super) fn chat(client: &Client, who: &Who) -> Result<ChatName, Stop> {
    let chat = any_chat(client, who)?;
    known(client, &chat).map(|()| chat)
}

/// As [`chat`], also of a group that this profile does not know.
pub(super) fn any_chat(client: &Client, who: &Who) -> Result<ChatName, Stop> {
    if !who.0.starts_with('#') {
        return person(client, who).map(ChatName::Person);
    }
    let group = GroupName::parse(&who.0).map_err(|error| {
        Stop::new(Exit::Usage, format!("\"{}\" is no group's name: {error}.", who.0), "")
    })?;
    Ok(ChatName::Group(group))
}

/// There is a chat with anybody, but of a group only where this profile has it.
pub(super) fn known(client: &Client, chat: &ChatName) -> Result<(), Stop> {
    let ChatName::Group(group) = chat else { return Ok(()) };
    let local = |error| failures::request(&error, None);
    // Of one that was forgotten, what was written is still here.
    let is_known = client.group(group).map_err(local)?.is_some()
        || !client.history(chat, 1).map_err(local)?.is_empty();
    if is_known { Ok(()) } else { Err(failures::no_such_group(group)) }
}

/// Unlocks the profile and starts its client, unless it runs here already.
pub(super) async fn session(context: &Context, mode: Mode) -> Result<Session, Stop> {
    if let Some(held) = &context.held {
        let Held { profile, me, client, events } = held.clone();
        same_server(context, &client)?;
        let events = events.subscribe();
        let (whose, arrival) = (Whose::Holders, Arrival::default());
        return Ok(Session { profile, me, client, events, whose, arrival });
    }
    let profile = chosen(context)?;
    let (unlocked, _) = unlocked(context, &profile).await?;
    let me = unlocked.owner().user.clone();
    let (client, events) = Client::start(&context.env, unlocked, mode);
    let (whose, arrival) = (Whose::Ours, Arrival::default());
    Ok(Session { profile, me, client, events, whose, arrival })
}

/// A client that runs stays where it is.
fn same_server(context: &Context, client: &Client) -> Result<(), Stop> {
    let Io::Of(caller) = &context.report.io else { return Ok(()) };
    let Some(wanted) = &caller.facts.server else { return Ok(()) };
    let is = client.status().map_err(|error| failures::request(&error, None))?.balancer;
    if is == *wanted {
        return Ok(());
    }
    Err(Stop::new(
        Exit::Usage,
        format!("The client that holds the profile uses {is}, not {wanted}."),
        "End that client first, or leave --server out.",
    ))
}

/// How a profile was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The unlock file of an earlier sign-in.
    File,
    /// A password.
    Password,
}

/// Unlocks a profile: by the unlock file, a given password, or one asked for. `--server` moves it
/// to another address of its cluster; another cluster it never talks to.
pub(super) async fn unlocked(context: &Context, name: &UserName) -> Result<(Unlocked, By), Stop> {
    let (mut unlocked, by) = unlock(context, name).await?;
    if let Some(at) = &context.globals.server {
        unlocked
            .set_balancer(at)
            .map_err(|error| failures::account(error.into(), name, name, at))?;
    }
    Ok((unlocked, by))
}

async fn unlock(context: &Context, name: &UserName) -> Result<(Unlocked, By), Stop> {
    let locked = profile(context, name)?;
    let locked = match context.places.unlock_key(name) {
        None => locked,
        Some(key) => match locked.unlock_with_key(&context.env, &key) {
            Ok(unlocked) => return Ok((unlocked, By::File)),
            // An unlock file of an earlier profile of that name.
            Err(ProfileError::WrongPassword) => profile(context, name)?,
            Err(error) => return Err(failures::profile(error, name)),
        },
    };
    if let Some(password) = ask::given_password(&context.globals)? {
        return by_password(context, name, locked, &password).await;
    }
    if !ask::possible() {
        return Err(Stop::new(
            Exit::NotSignedIn,
            format!("The profile {name} is locked."),
            format!("Unlock it: client -p {name} login     Or give --password-file FILE"),
        ));
    }
    let mut locked = locked;
    let mut tries = 0;
    loop {
        tries += 1;
        let password = ask::password(&format!("Password of {name}: "))?;
        match locked.unlock(&context.env, &password).await {
            Ok(unlocked) => return Ok((unlocked, By::Password)),
            Err(ProfileError::WrongPassword) if tries < 3 => {
                ask::tell("The password is wrong.");
                locked = profile(context, name)?;
            }
            Err(error) => return Err(failures::profile(error, name)),
        }
    }
}

async fn by_password(
    context: &Context,
    name: &UserName,
    locked: Profile,
    password: &Zeroizing<String>,
) -> Result<(Unlocked, By), Stop> {
    match locked.unlock(&context.env, password).await {
        Ok(unlocked) => Ok((unlocked, By::Password)),
        Err(error) => Err(failures::profile(error, name)),
    }
}

/// Leaves the unlock file, so that commands work without the password.
pub(super) fn stay_unlocked(context: &Context, name: &UserName, unlocked: &Unlocked) {
    if let Err(error) = context.places.unlock(name, &unlocked.unlock_key()) {
        context.report.notice(&format!(
            "No unlock file could be written ({error}): commands will need --password-file."
        ));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::client::Offline;

    fn patience() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_caught_up_once_does_not_wait_for_it_again() {
        let (happens, mut events) = mpsc::channel(8);
        let mut arrival = Arrival::default();
        let began = Instant::now();
        happens.send(Event::CaughtUp).await.unwrap();
        for _ in 0..2 {
            assert_eq!(arrival.wait(&mut events, patience()).await, Ok(()));
        }
        assert_eq!(Instant::now(), began);
        // A new connection has its own arrears.
        happens.send(Event::Offline { reason: Offline::Unreachable }).await.unwrap();
        arrival.note(&events.recv().await.unwrap());
        assert!(matches!(arrival.wait(&mut events, patience()).await, Err(Missing::Late(_))));
    }
}
