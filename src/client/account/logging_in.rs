//! An account that is there already: this profile is opened, or becomes a new device of it.

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::secret::Stretched;
use crate::net::Env;
use crate::types::{DeviceId, UserName};
use crate::wire::client::{Login, client_frame};

use super::super::connection::EdgeAddr;
use super::super::core::{Core, NewBundle, check_bundle};
use super::super::profile::{Owner, Profile, ProfileError, Stage, Unlocked, stretch_password};
use super::line::Line;
use super::making::{find_identity, make_keys, write_pem};
use super::{AccountError, Cluster, IdentitySource, OtherDevice};

/// Logs in: unlocks the profile, or, in an empty profile, becomes a new device of the account.
///
/// A profile that holds the account is only unlocked, without asking anybody; a wrong password is
/// found out here. Only where the home no longer takes this device (see
/// [`crate::client::Event::SignedOut`]) does the password travel, as its auth key.
///
/// # Errors
/// All of [`AccountError`].
pub async fn log_in(
    env: &Env,
    profile: Profile,
    cluster: &Cluster,
    user: &UserName,
    password: &str,
    identity: IdentitySource,
    other: OtherDevice,
) -> Result<Unlocked, AccountError> {
    if let Some(owner) = profile.owner() {
        if owner.user != *user || owner.cluster != cluster.id {
            return Err(ProfileError::NotEmpty(owner.user.clone()).into());
        }
        let stretched = stretch_password(env, password, cluster.id, user).await?;
        let mut unlocked = profile.unlock_stretched(&stretched)?;
        unlocked.set_balancer(&cluster.at)?;
        if !unlocked.is_signed_out()? {
            return Ok(unlocked);
        }
        return rejoin(env, unlocked, cluster, &stretched, identity, other).await;
    }
    let stretched = stretch_password(env, password, cluster.id, user).await?;
    let mut line = Line::open(env, cluster, user).await?;
    let known = line.look_up(user).await?;
    let mut unlocked = if can_go_on(&profile, &known, &stretched, &identity) {
        let unlocked = profile.unlock_stretched(&stretched)?;
        write_pem(env, &unlocked, password).await?;
        let request = login(user, &stretched, &line.edge, unlocked.device, other);
        let welcome = line.wire.welcome(request).await?;
        if !welcome.device_known {
            line.put(unlocked.bundle.encoded().clone()).await?;
        }
        unlocked
    } else {
        join(env, profile, &mut line, &known, &stretched, password, identity, other).await?
    };
    line.close().await;
    env.disk_pause().await;
    let bundle = unlocked.bundle.clone();
    env.in_place(|| unlocked.activate(&bundle))?;
    Ok(unlocked)
}

/// Whether an earlier login got so far that its keys are the account's, or can still become it.
fn can_go_on(
    profile: &Profile,
    known: &VerifiedBundle,
    stretched: &Stretched,
    identity: &IdentitySource,
) -> bool {
    let begun = profile.begun().is_some_and(|(owner, stage)| {
        stage == Stage::Joining && owner.user == known.user && owner.cluster == known.cluster
    });
    let planned = if begun { profile.planned_bundle() } else { None };
    let Some(planned) = planned.filter(|_| profile.opens_with(stretched)) else { return false };
    let same_person = planned.identity() == known.identity();
    let may_follow = known.version.checked_add(1) == Some(planned.version)
        && (same_person || matches!(identity, IdentitySource::New));
    *planned == **known || may_follow
}

/// Makes an empty profile a new device of the account. Nothing of what is there is given up before
/// the home has taken the password.
#[expect(clippy::too_many_arguments, reason = "the second half of one function")]
async fn join(
    env: &Env,
    mut profile: Profile,
    line: &mut Line,
    known: &VerifiedBundle,
    stretched: &Stretched,
    password: &str,
    source: IdentitySource,
    other: OtherDevice,
) -> Result<Unlocked, AccountError> {
    let (user, at) = (&known.user, line.dialer.balancer().clone());
    let in_folder = matches!(source, IdentitySource::Profile);
    let (identity, earlier) = find_identity(env, &profile, known, password, source).await?;
    let mut keys = make_keys(env, known.cluster, user, Some((known, identity))).await?;
    keys.earlier = earlier;
    // Making keys takes long on a busy machine, and a server waits for a login only so long.
    let cluster = Cluster { at: at.clone(), id: known.cluster };
    let fresh = Line::open(env, &cluster, user).await?;
    std::mem::replace(line, fresh).close().await;
    let request = login(user, stretched, &line.edge, keys.device, other);
    line.wire.welcome(request).await?;
    if !in_folder {
        profile.set_pem_aside(env.unix_ms())?;
    }
    profile.clear()?;
    let owner = Owner { user: user.clone(), cluster: known.cluster, balancer: at };
    let unlocked = profile.fill(&owner, Stage::Joining, &keys, stretched, env.unix_ms())?;
    write_pem(env, &unlocked, password).await?;
    line.put(unlocked.bundle.encoded().clone()).await?;
    Ok(unlocked)
}

/// The home takes this profile's device no longer: the profile becomes a new device of the
/// account, and keeps its history.
async fn rejoin(
    env: &Env,
    unlocked: Unlocked,
    cluster: &Cluster,
    stretched: &Stretched,
    identity: IdentitySource,
    other: OtherDevice,
) -> Result<Unlocked, AccountError> {
    let user = unlocked.owner().user.clone();
    let mut line = Line::open(env, cluster, &user).await?;
    let known = line.look_up(&user).await?;
    if known.identity() != unlocked.bundle.identity() {
        // Somebody has given the account another identity since: this profile's key is as good
        // as none, and taking the account back is said in so many words.
        match identity {
            IdentitySource::New => {}
            IdentitySource::Profile | IdentitySource::Pem(_) | IdentitySource::Exported { .. } => {
                return Err(AccountError::NoIdentityKey);
            }
        }
    }
    let (events, _) = tokio::sync::mpsc::channel(1);
    let mut core = Core::new(env.clone(), unlocked, events);
    let planned = core.next_bundle()?;
    let taken = planned.and_then(|next| check_bundle(&next, &cluster.id, &user));
    let taken = taken.is_some_and(|next| *next == *known);
    if !taken {
        core.plan_bundle_after(&known, NewBundle::NewDevice)?;
    }
    let next = core.next_device()?.unwrap_or(core.profile.device);
    line.wire.welcome(login(&user, stretched, &line.edge, next, other)).await?;
    core.profile.settle_password(stretched)?;
    if !taken {
        for step in core.steps_to_planned(&known)? {
            line.put(step.into()).await?;
        }
        line.put(core.next_bundle()?.unwrap_or_default().into()).await?;
    }
    line.close().await;
    core.adopt_next_bundle()?;
    core.profile.set_signed_out(false)?;
    Ok(core.profile)
}

fn login(
    user: &UserName,
    stretched: &Stretched,
    edge: &EdgeAddr,
    device: DeviceId,
    other: OtherDevice,
) -> client_frame::Body {
    client_frame::Body::Login(Login {
        user: user.to_string(),
        auth_key: stretched.auth_key.to_string(),
        ticket: edge.ticket.clone(),
        device: device.0,
        takeover: other == OtherDevice::TakeOver,
        // This connection ends at once; the one that stays says who may see it.
        invisible: true,
    })
}
