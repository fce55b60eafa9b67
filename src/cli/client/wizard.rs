//! The first run on a terminal: which name, which password, sign up or in.
//!
//! Three questions, and the server is shown before anything is sent.

use std::path::PathBuf;

use crate::cli::exit::Exit;
use crate::client::Unlocked;
use crate::client::account::{
    self, AccountError, Cluster, IdentitySource, NameStatus, OtherDevice, Where,
};
use crate::types::UserName;
use crate::ui::time;

use super::report::Stop;
use super::{Context, ask, contact, failures, open, sign};

/// Password attempts before the wizard gives up.
const PASSWORD_TRIES: u32 = 3;

/// Asks until somebody is signed in; says in which profile.
pub(super) async fn run(context: &Context, at: &Where) -> Result<(UserName, Unlocked), Stop> {
    if !ask::possible() {
        return Err(not_a_terminal(context, at));
    }
    let cluster = contact::cluster(&context.env, at, context.globals.ca.as_deref()).await?;
    ask::tell(&format!(
        "Welcome to FastChat {}.  Server: {}",
        env!("CARGO_PKG_VERSION"),
        contact::described(&cluster)
    ));
    loop {
        let user = ask_name()?;
        let name = context.globals.profile.clone().unwrap_or_else(|| user.clone());
        if let open::Known::Owned(owner) = open::look(context, &name) {
            if owner.user == user && owner.cluster == cluster.id {
                let (unlocked, _) = open::unlocked(context, &name).await?;
                return Ok((name, unlocked));
            }
            ask::tell(&format!(
                "  The profile {name} belongs to {} on another cluster; start with -p NAME for a \
                 new one.",
                owner.user
            ));
            return Err(Stop::quiet(Exit::LocalData));
        }
        let status = account::name_status(&context.env, &cluster, &user).await;
        match status.map_err(|error| failures::account(error, &name, &user, at))? {
            NameStatus::Free => {
                if let Some(unlocked) = sign_up(context, &name, &cluster, &user).await? {
                    return Ok((name, unlocked));
                }
            }
            NameStatus::Taken => {
                if ask::yes(&format!("  \"{user}\" is taken. Is it yours? Sign in"))? {
                    let unlocked = sign_in(context, &name, &cluster, &user).await?;
                    return Ok((name, unlocked));
                }
            }
        }
    }
}

fn not_a_terminal(context: &Context, at: &Where) -> Stop {
    let name = context.globals.profile.as_ref().map_or("NAME", UserName::as_str);
    let at = failures::address(at);
    Stop::new(
        Exit::NotSignedIn,
        "Nobody is signed in, and there is no terminal to ask.",
        format!("client register {name} --server {at} --ca FINGERPRINT --password-file FILE"),
    )
}

fn ask_name() -> Result<UserName, Stop> {
    loop {
        let typed = ask::line("User name: ")?;
        match UserName::parse(typed.strip_prefix('@').unwrap_or(&typed)) {
            Ok(name) => return Ok(name),
            Err(error) => ask::tell(&format!("  Not a name: {error}.")),
        }
    }
}

/// `None` when somebody else took the name meanwhile.
async fn sign_up(
    context: &Context,
    name: &UserName,
    cluster: &Cluster,
    user: &UserName,
) -> Result<Option<Unlocked>, Stop> {
    ask::tell(&format!("  \"{user}\" is free."));
    let password = match ask::given_password(&context.globals)? {
        Some(password) => password,
        None => ask::new_account_password()?,
    };
    ask::tell("  Creating your keys. They never leave this machine.");
    let began = tokio::time::Instant::now();
    match sign::sign_up(context, name, cluster, user, &password).await {
        Ok(unlocked) => {
            ask::tell(&format!("  Done ({:.1} s).", began.elapsed().as_secs_f64()));
            Ok(Some(unlocked))
        }
        Err(stop) if stop.failure.exit == Exit::Refused => {
            ask::tell(&format!("  {}", stop.failure.what));
            Ok(None)
        }
        Err(stop) => Err(stop),
    }
}

async fn sign_in(
    context: &Context,
    name: &UserName,
    cluster: &Cluster,
    user: &UserName,
) -> Result<Unlocked, Stop> {
    let given = ask::given_password(&context.globals)?;
    let mut identity = IdentitySource::Profile;
    let mut other = OtherDevice::Ask;
    let mut tries = 0;
    let mut password = match &given {
        Some(password) => password.clone(),
        None => ask::password("  Password: ")?,
    };
    loop {
        let attempt = identity.clone();
        match sign::sign_in(context, name, cluster, user, &password, attempt, other).await {
            Ok(unlocked) => return Ok(unlocked),
            Err(AccountError::WrongPassword) if given.is_none() && tries + 1 < PASSWORD_TRIES => {
                tries += 1;
                password = ask::password("  The password is wrong. Again: ")?;
            }
            Err(AccountError::AlreadyLoggedIn { since_unix_ms, last_seen_unix_ms }) => {
                take_over(context, since_unix_ms, last_seen_unix_ms)?;
                other = OtherDevice::TakeOver;
            }
            Err(AccountError::NoIdentityKey) => identity = ask_identity(user)?,
            Err(AccountError::BadKeyFile(why)) => {
                ask::tell(&format!("  That key file cannot be used: {why}."));
                identity = ask_identity(user)?;
            }
            Err(error) => return Err(failures::account(error, name, user, &cluster.at)),
        }
    }
}

/// Offers to replace the other device.
pub(super) fn take_over(
    context: &Context,
    since_unix_ms: u64,
    last_seen_unix_ms: u64,
) -> Result<(), Stop> {
    let now = context.env.unix_ms();
    let moment = |at| time::moment(at, now, &context.report.zone);
    ask::tell(&format!(
        "  You are signed in on another device since {}, last seen {}.",
        moment(since_unix_ms),
        moment(last_seen_unix_ms)
    ));
    if ask::yes("  Sign that device out and go on here?")? {
        Ok(())
    } else {
        Err(Stop::new(Exit::NotSignedIn, "The other device stays signed in.", ""))
    }
}

fn ask_identity(user: &UserName) -> Result<IdentitySource, Stop> {
    ask::tell(&format!(
        "  This machine does not have {user}'s identity key. With the key file (identity.pem of\n  \
         the old profile) people notice nothing. Without it you get a new key, and everybody\n  \
         you talk to sees that it changed."
    ));
    loop {
        let answer = ask::line("  Path of the key file, or the word new: ")?;
        match answer.as_str() {
            "" => {}
            "new" => return Ok(IdentitySource::New),
            path => return Ok(IdentitySource::Pem(PathBuf::from(path))),
        }
    }
}
