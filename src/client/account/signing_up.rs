//! A new account: its keys first, on this disk, and then its name at the home.

use crate::crypto::secret::Stretched;
use crate::limits;
use crate::net::Env;
use crate::types::UserName;
use crate::wire::client::{SignUp, client_frame};

use super::super::profile::{Owner, Profile, ProfileError, Stage, Unlocked, stretch_password};
use super::line::Line;
use super::making::{make_keys, write_pem};
use super::{AccountError, Cluster, NameStatus, name_status};

/// Creates the account and fills an empty profile with its keys.
///
/// Can be repeated after any failure or kill: the keys are on disk before the name is asked for.
///
/// # Errors
/// [`AccountError::NameTaken`], [`AccountError::PasswordTooShort`], network and profile errors.
pub async fn sign_up(
    env: &Env,
    mut profile: Profile,
    cluster: &Cluster,
    user: &UserName,
    password: &str,
) -> Result<Unlocked, AccountError> {
    if password.chars().count() < limits::PASSWORD_CHARS_MIN {
        return Err(AccountError::PasswordTooShort);
    }
    if let Some(owner) = profile.owner() {
        return Err(ProfileError::NotEmpty(owner.user.clone()).into());
    }
    let stretched = stretch_password(env, password, cluster.id, user).await?;
    let mut same = profile.begun().is_some_and(|(o, stage)| {
        stage == Stage::SigningUp && o.user == *user && o.cluster == cluster.id
    });
    if same && !profile.opens_with(&stretched) {
        // Another password than in the earlier try. If that one got through, only its password
        // opens what is here.
        if name_status(env, cluster, user).await? == NameStatus::Taken {
            return Err(ProfileError::WrongPassword.into());
        }
        same = false;
    }
    let unlocked = if same {
        // An earlier try got this far: its answer may only have been lost, so the keys stay.
        let unlocked = profile.unlock_stretched(&stretched)?;
        write_pem(env, &unlocked, password).await?;
        unlocked
    } else {
        let owner = Owner { user: user.clone(), cluster: cluster.id, balancer: cluster.at.clone() };
        let keys = make_keys(env, cluster.id, user, None).await?;
        profile.set_pem_aside(env.unix_ms())?;
        profile.clear()?;
        let unlocked = profile.fill(&owner, Stage::SigningUp, &keys, &stretched, env.unix_ms())?;
        write_pem(env, &unlocked, password).await?;
        unlocked
    };
    finish_sign_up(env, unlocked, cluster, &stretched).await
}

async fn finish_sign_up(
    env: &Env,
    mut unlocked: Unlocked,
    cluster: &Cluster,
    stretched: &Stretched,
) -> Result<Unlocked, AccountError> {
    let user = unlocked.owner().user.clone();
    let mut line = Line::open(env, cluster, &user).await?;
    let bundle = unlocked.bundle.clone();
    let request = client_frame::Body::SignUp(SignUp {
        user: user.to_string(),
        auth_key: stretched.auth_key.to_string(),
        ticket: line.edge.ticket.clone(),
        bundle: bundle.encoded().clone(),
        device: unlocked.device.0,
        // This connection ends at once; the one that stays says who may see it.
        invisible: true,
    });
    let answer = line.wire.welcome(request).await.map_err(AccountError::from);
    line.close().await;
    if let Err(error) = answer {
        if matches!(error, AccountError::NameTaken) {
            // By others: with these keys it would have been an OK.
            unlocked.forget()?;
        }
        return Err(error);
    }
    env.disk_pause().await;
    env.in_place(|| unlocked.activate(&bundle))?;
    Ok(unlocked)
}
