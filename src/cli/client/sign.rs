//! `register`, `login`, `logout`: one attempt each, for scripts as well as for people.

use crate::cli::exit::Exit;
use crate::client::account::{self, AccountError, Cluster, IdentitySource, OtherDevice};
use crate::client::{Client, Mode, Profile, Unlocked};
use crate::types::UserName;

use super::args::Login;
use super::json::Record;
use super::report::{Outcome, Stop};
use super::{Context, ask, contact, failures, open, wizard};

/// `client register [USER]`.
pub(super) async fn register(context: &Context, user: Option<UserName>) -> Outcome {
    let user = user.or_else(|| context.globals.profile.clone()).ok_or_else(|| {
        Stop::new(Exit::Usage, "Which name?", "client register NAME --server HOST:PORT")
    })?;
    let name = context.globals.profile.clone().unwrap_or_else(|| user.clone());
    if let open::Known::Owned(owner) = open::look(context, &name) {
        return Err(Stop::new(
            Exit::LocalData,
            format!("The profile {name} belongs to {} already.", owner.user),
            format!("Sign in: client -p {name} login     Or choose another: -p NAME"),
        ));
    }
    let at = server(context, &format!("client register {user}"))?;
    let password = ask::given_password(&context.globals)?;
    if password.is_none() && !ask::possible() {
        return Err(no_password(&format!("client register {user}")));
    }
    let cluster = contact::cluster(&context.env, &at, context.globals.ca.as_deref()).await?;
    let password = match password {
        Some(password) => password,
        None => ask::new_account_password()?,
    };
    let unlocked = sign_up(context, &name, &cluster, &user, &password).await?;
    welcome(context, &name, &unlocked, NewAccount::Yes).await
}

fn server(context: &Context, command: &str) -> Result<crate::client::account::Where, Stop> {
    context.server_for_newcomers().cloned().ok_or_else(|| {
        Stop::new(Exit::Usage, "Which server?", format!("{command} --server HOST:PORT"))
    })
}

fn no_password(command: &str) -> Stop {
    Stop::new(
        Exit::NotSignedIn,
        "There is no terminal to ask for the password.",
        format!("{command} --password-file FILE"),
    )
}

/// Creates the account in profile `name`.
pub(super) async fn sign_up(
    context: &Context,
    name: &UserName,
    cluster: &Cluster,
    user: &UserName,
    password: &str,
) -> Result<Unlocked, Stop> {
    let is_new = !context.places.exists(name);
    let profile = Profile::open(&context.env, &context.places.folder(name))
        .map_err(|error| failures::profile(error, name))?;
    let outcome = account::sign_up(&context.env, profile, cluster, user, password).await;
    if is_new && outcome.is_err() {
        context.places.sweep(name);
    }
    outcome.map_err(|error| failures::account(error, name, user, &cluster.at))
}

/// Signs in in profile `name`: one attempt.
pub(super) async fn sign_in(
    context: &Context,
    name: &UserName,
    cluster: &Cluster,
    user: &UserName,
    password: &str,
    identity: IdentitySource,
    other: OtherDevice,
) -> Result<Unlocked, AccountError> {
    let is_new = !context.places.exists(name);
    let profile = Profile::open(&context.env, &context.places.folder(name))?;
    let outcome =
        account::log_in(&context.env, profile, cluster, user, password, identity, other).await;
    if is_new && outcome.is_err() {
        context.places.sweep(name);
    }
    outcome
}

/// `client login [USER]`.
pub(super) async fn login(context: &Context, login: Login) -> Outcome {
    let identity = match (&login.identity, login.new_identity) {
        (Some(path), _) => IdentitySource::Pem(path.clone()),
        (None, true) => IdentitySource::New,
        (None, false) => IdentitySource::Profile,
    };
    login_with(context, login, identity).await
}

/// As [`login`], with an identity key from wherever.
pub(super) async fn login_with(
    context: &Context,
    login: Login,
    identity: IdentitySource,
) -> Outcome {
    let name = match (&context.globals.profile, &login.user) {
        (Some(profile), _) => profile.clone(),
        (None, Some(user)) => user.clone(),
        (None, None) => open::chosen(context)?,
    };
    let known = match open::look(context, &name) {
        open::Known::Owned(owner) => Some(owner),
        open::Known::Empty => None,
        open::Known::Busy(pid) => {
            let error = crate::client::ProfileError::Locked { pid };
            return Err(failures::profile(error, &name));
        }
    };
    let user = login.user.clone().or_else(|| known.as_ref().map(|owner| owner.user.clone()));
    let user = user.unwrap_or_else(|| name.clone());
    let command = format!("client login {user}");
    let password = ask::given_password(&context.globals)?;
    if password.is_none() && !ask::possible() {
        return Err(no_password(&command));
    }
    let cluster = match known {
        Some(owner) if owner.user != user => {
            let error = crate::client::ProfileError::NotEmpty(owner.user);
            return Err(failures::profile(error, &name));
        }
        // A profile never talks to another cluster than its own, whatever --ca says.
        Some(owner) => Cluster {
            at: context.globals.server.clone().unwrap_or(owner.balancer),
            id: owner.cluster,
        },
        None => {
            let at = server(context, &command)?;
            contact::cluster(&context.env, &at, context.globals.ca.as_deref()).await?
        }
    };
    let password = match password {
        Some(password) => password,
        None => ask::password(&format!("Password of {user}: "))?,
    };
    let other = if login.takeover { OtherDevice::TakeOver } else { OtherDevice::Ask };
    let first = identity.clone();
    let mut attempt = sign_in(context, &name, &cluster, &user, &password, first, other).await;
    if let Err(AccountError::AlreadyLoggedIn { since_unix_ms, last_seen_unix_ms }) = &attempt
        && ask::possible()
    {
        wizard::take_over(context, *since_unix_ms, *last_seen_unix_ms)?;
        let other = OtherDevice::TakeOver;
        attempt = sign_in(context, &name, &cluster, &user, &password, identity, other).await;
    }
    let unlocked = attempt.map_err(|error| failures::account(error, &name, &user, &cluster.at))?;
    welcome(context, &name, &unlocked, NewAccount::No).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NewAccount {
    Yes,
    No,
}

async fn welcome(
    context: &Context,
    name: &UserName,
    unlocked: &Unlocked,
    new: NewAccount,
) -> Outcome {
    open::stay_unlocked(context, name, unlocked);
    let owner = unlocked.owner();
    let server = failures::address(&owner.balancer);
    let record = Record::SignedIn {
        user: owner.user.to_string(),
        profile: name.to_string(),
        server: server.clone(),
        cluster: owner.cluster.to_string(),
        new_account: new == NewAccount::Yes,
    };
    let text = || match new {
        NewAccount::Yes => format!("Welcome, {}. Your account is ready at {server}.", owner.user),
        NewAccount::No => format!("Signed in as {} at {server}.", owner.user),
    };
    context.report.data(&record, text).await?;
    Ok(Exit::Done)
}

/// Whether `logout` deletes the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    Keep,
    Ask,
    Sure,
}

/// `client logout [--forget]`.
pub(super) async fn logout(context: &Context, deletion: Deletion) -> Outcome {
    let name = open::chosen(context)?;
    if deletion == Deletion::Ask {
        let question = format!(
            "Delete the profile {name} with its keys and history? Without its key file nobody can \
             be {name} again without a new key."
        );
        if !ask::possible() {
            return Err(Stop::new(
                Exit::Usage,
                "Deleting a profile needs a yes.",
                "client logout --forget --yes",
            ));
        }
        if !ask::yes(&question)? {
            return Err(Stop::new(Exit::Interrupted, "Nothing was deleted.", ""));
        }
    }
    end_session(context, &name).await?;
    context.places.lock(&name);
    if deletion != Deletion::Keep {
        context.places.forget(&name).map_err(|error| {
            Stop::new(Exit::LocalData, format!("Cannot delete the profile {name}: {error}."), "")
        })?;
    }
    let forgotten = deletion != Deletion::Keep;
    context
        .report
        .data(&Record::SignedOut { profile: name.to_string(), forgotten }, || {
            let what = if forgotten { "signed out; the profile is deleted" } else { "signed out" };
            format!("{name} is {what}.")
        })
        .await?;
    Ok(Exit::Done)
}

/// Ends the session at the server, when the profile is unlocked and the server answers. Neither is
/// a condition for signing out here.
async fn end_session(context: &Context, name: &UserName) -> Result<(), Stop> {
    let locked = open::profile(context, name)?;
    let Some(key) = context.places.unlock_key(name) else { return Ok(()) };
    let Ok(unlocked) = locked.unlock_with_key(&context.env, &key) else { return Ok(()) };
    let (client, mut events) = Client::start(&context.env, unlocked, Mode::SendOnly);
    let online = async {
        while let Some(event) = events.recv().await {
            if matches!(event, crate::client::Event::Online { .. }) {
                return client.log_out().await.is_ok();
            }
        }
        false
    };
    let done = tokio::time::timeout(context.globals.timeout, online).await;
    client.stop().await;
    if done != Ok(true) {
        context.report.notice("The server could not be told; this machine is signed out.");
    }
    Ok(())
}
