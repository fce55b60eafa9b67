//! Becoming somebody: first contact with a cluster, sign-up, login.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::crypto::bundle::{Bundle, VerifiedBundle, verify_bundle};
use crate::crypto::device::DeviceKey;
use crate::crypto::identity::{EncryptionKey, IdentityKey, KeyError};
use crate::crypto::secret::Stretched;
use crate::limits;
use crate::net::Env;
use crate::types::{ClusterId, DeviceId, UserName};
use crate::wire::Code;
use crate::wire::client::{Login, LookUp, PutBundle, SignUp, client_frame, server_frame};

use super::connection::{self, DialError, Dialer, EdgeAddr, Wire};
use super::core::{Core, NewBundle, add_device, check_bundle, generate_encryption_key};
use super::keys::read_keys;
use super::password::Pem;
use super::profile::{
    IDENTITY_PEM, NewKeys, Owner, Profile, ProfileError, Stage, Unlocked, stretch_password,
};
use super::store::StoreError;

/// Where the balancer is, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// Host name or address.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

impl Where {
    /// Reads `HOST:PORT`, `[v6]:PORT`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::of(host, port)
    }

    /// Judges host and port written as two words.
    pub fn of(host: &str, port: &str) -> Option<Self> {
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let good = !bare.is_empty()
            && bare.len() <= 253
            && bare
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_'))
            && (bare == host || bare.contains(':'));
        good.then(|| Self { host: bare.to_owned(), port })
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The cluster to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its balancer.
    pub at: Where,
    /// Its CA.
    pub id: ClusterId,
}

/// Whether a name can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStatus {
    /// Nobody has it.
    Free,
    /// It belongs to somebody.
    Taken,
}

/// Which identity key a device new to the account uses.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// The one in the profile folder; [`AccountError::NoIdentityKey`] when there is none.
    Profile,
    /// A PEM file, opened with the account's password.
    Pem(PathBuf),
    /// A file that [`super::Client::export_keys`] made, opened with a passphrase of its own. What was
    /// sealed to the encryption key in it can be read as well.
    Exported {
        /// The file.
        path: PathBuf,
        /// Its passphrase.
        passphrase: Passphrase,
    },
    /// A new one: everybody who knows the user sees that the key changed.
    New,
}

/// A passphrase, which `Debug` does not show.
#[derive(Clone)]
pub struct Passphrase(pub Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// What to do when another device is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherDevice {
    /// Answer [`AccountError::AlreadyLoggedIn`].
    Ask,
    /// Replace it.
    TakeOver,
}

/// Why sign-up or login did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The password does not fit (answered by the server, or by the locked profile).
    #[error("wrong password")]
    WrongPassword,
    /// No account of that name.
    #[error("no such user")]
    NoSuchUser,
    /// The name belongs to somebody.
    #[error("the name is taken")]
    NameTaken,
    /// Another device is logged in.
    #[error("logged in on another device")]
    AlreadyLoggedIn {
        /// Since when.
        since_unix_ms: u64,
        /// When it was last heard of.
        last_seen_unix_ms: u64,
    },
    /// This device has no identity key of the account.
    #[error("this device has no identity key of the account")]
    NoIdentityKey,
    /// The PEM file cannot be used.
    #[error("the key file cannot be used: {0}")]
    BadKeyFile(String),
    /// The password is shorter than allowed.
    #[error("the password is too short")]
    PasswordTooShort,
    /// Neither the balancer nor a server answers.
    #[error("no answer")]
    Unreachable,
    /// Another cluster than the pinned one answers.
    #[error("another cluster answers there: {got}")]
    WrongCluster {
        /// The one that answered.
        got: ClusterId,
    },
    /// Any other typed answer.
    #[error("the server says {code}")]
    Refused {
        /// The code.
        code: Code,
        /// The server that is away, for `HOME_DOWN`.
        detail: String,
        /// When to try again; 0: not said.
        retry_after_ms: u64,
    },
    /// The local profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl From<DialError> for AccountError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Unreachable => Self::Unreachable,
            DialError::WrongCluster { got } => Self::WrongCluster { got },
            DialError::Refused(no) => match no.code {
                Code::WrongPassword => Self::WrongPassword,
                Code::NoSuchUser => Self::NoSuchUser,
                Code::NameTaken => Self::NameTaken,
                Code::AlreadyLoggedIn => Self::AlreadyLoggedIn {
                    since_unix_ms: no.since_unix_ms,
                    last_seen_unix_ms: no.last_seen_unix_ms,
                },
                code => {
                    Self::Refused { code, detail: no.detail, retry_after_ms: no.retry_after_ms }
                }
            },
        }
    }
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        Self::Profile(ProfileError::Damaged {
            path: PathBuf::from("profile.sqlite"),
            why: error.to_string(),
        })
    }
}

/// Learns which cluster answers at `at`, without talking to it: to be shown to the person, or
/// compared with what they were told, before anything is sent.
///
/// # Errors
/// [`AccountError::Unreachable`].
pub async fn discover(env: &Env, at: &Where) -> Result<ClusterId, AccountError> {
    Ok(connection::discover(env, at).await?)
}

/// Whether `user` is free.
///
/// # Errors
/// Network errors, `SLOW_DOWN`.
pub async fn name_status(
    env: &Env,
    cluster: &Cluster,
    user: &UserName,
) -> Result<NameStatus, AccountError> {
    let mut line = Line::open(env, cluster, user).await?;
    let found = line.look_up(user).await;
    line.close().await;
    match found {
        Ok(_) => Ok(NameStatus::Taken),
        Err(AccountError::NoSuchUser) => Ok(NameStatus::Free),
        Err(error) => Err(error),
    }
}

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

/// Logs in: unlocks the profile, or, in an empty profile, becomes a new device of the account.
///
/// A profile that holds the account is only unlocked, without asking anybody; a wrong password is
/// found out here. Only where the home no longer takes this device (see
/// [`super::Event::SignedOut`]) does the password travel, as its auth key.
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

/// A connection before login.
struct Line {
    dialer: Dialer,
    edge: EdgeAddr,
    wire: Wire,
}

impl Line {
    async fn open(env: &Env, cluster: &Cluster, user: &UserName) -> Result<Self, AccountError> {
        let mut dialer = Dialer::new(env, cluster.id, &cluster.at);
        let edges = dialer.ask(user, PATIENCE).await?;
        let mut failure = AccountError::Unreachable;
        for edge in edges {
            match dialer.dial(&edge, PATIENCE).await {
                Ok(wire) => return Ok(Self { dialer, edge, wire }),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    async fn look_up(&mut self, user: &UserName) -> Result<VerifiedBundle, AccountError> {
        let request = client_frame::Body::LookUp(LookUp { user: user.to_string() });
        match self.wire.request(request).await? {
            server_frame::Body::Account(account) => {
                verify_bundle(&account.bundle, &self.dialer.cluster(), user)
                    .map_err(|_| AccountError::Unreachable)
            }
            _ => Err(AccountError::Unreachable),
        }
    }

    async fn put(&mut self, bundle: Bytes) -> Result<(), AccountError> {
        let request = client_frame::Body::PutBundle(PutBundle { bundle });
        match self.wire.request(request).await? {
            server_frame::Body::Done(_) => Ok(()),
            _ => Err(AccountError::Unreachable),
        }
    }

    async fn close(self) {
        self.wire.close(connection::Unread::Nothing).await;
        self.dialer.close().await;
    }
}

/// The identity key of the account that this device will use.
async fn find_identity(
    env: &Env,
    profile: &Profile,
    known: &VerifiedBundle,
    password: &str,
    source: IdentitySource,
) -> Result<(IdentityKey, Option<EncryptionKey>), AccountError> {
    let own = || Zeroizing::new(password.to_owned());
    let (path, passphrase) = match source {
        IdentitySource::New => return Ok((generate_identity(env).await?, None)),
        IdentitySource::Profile => (profile.folder().join(IDENTITY_PEM), own()),
        IdentitySource::Pem(path) => (path, own()),
        IdentitySource::Exported { path, passphrase } => (path, passphrase.0),
    };
    if !path.exists() {
        return Err(AccountError::NoIdentityKey);
    }
    let (key, earlier) = env.blocking(move || read_keys(&path, &passphrase)).await?;
    // A key file of an earlier identity is as good as none.
    if key.key_id() == known.identity() {
        Ok((key, earlier))
    } else {
        Err(AccountError::NoIdentityKey)
    }
}

/// Keys for a new account, or for a new device of the account `known`.
async fn make_keys(
    env: &Env,
    cluster: ClusterId,
    user: &UserName,
    known: Option<(&VerifiedBundle, IdentityKey)>,
) -> Result<NewKeys, AccountError> {
    let generating = env.clone();
    let encryption = env.blocking(move || generate_encryption_key(&generating));
    // A new account needs two RSA keys: most of a sign-up's time, so they are made side by side.
    let identity = async {
        match known {
            None => generate_identity(env).await.map(|identity| (None, identity)),
            Some((known, identity)) => Ok((Some(known), identity)),
        }
    };
    let (encryption, identity) = tokio::join!(encryption, identity);
    let encryption: EncryptionKey = encryption.map_err(|error| key_error(&error))?;
    let device = DeviceId(env.random_id());
    let device_key = DeviceKey::generate();
    let (mut bundle, identity) = match identity? {
        (None, identity) => {
            let bundle = Bundle {
                cluster,
                user: user.clone(),
                version: 1,
                identity_spki: identity.spki().to_vec().into(),
                enc_spki: encryption.spki().to_vec().into(),
                devices: Vec::new(),
                suites: vec![1],
            };
            (bundle, identity)
        }
        (Some(known), identity) => {
            let mut bundle: Bundle = (**known).clone();
            // A bundle of the last version there is does not follow, and is refused.
            bundle.version = bundle.version.saturating_add(1);
            if identity.key_id() != known.identity() {
                // Devices of another identity say nothing under this one.
                bundle.devices.clear();
                bundle.identity_spki = identity.spki().to_vec().into();
            }
            bundle.enc_spki = encryption.spki().to_vec().into();
            (bundle, identity)
        }
    };
    add_device(&mut bundle, device, device_key.public());
    let bundle =
        bundle.sign(&identity).map_err(|error| AccountError::BadKeyFile(error.to_string()))?;
    Ok(NewKeys { identity, encryption, earlier: None, device, device_key, bundle })
}

/// Writes the key files.
async fn write_pem(env: &Env, unlocked: &Unlocked, password: &str) -> Result<(), AccountError> {
    let Some([identity, encryption]) = seal_pem(env, unlocked.rsa_keys()?, password).await? else {
        return Ok(());
    };
    Ok(env.in_place(|| unlocked.write_pem(&identity, &encryption))?)
}

/// The key files' texts: two scrypt runs, side by side. `None` in the simulator, where nobody reads
/// them: scrypt is slow on purpose.
pub(crate) async fn seal_pem(
    env: &Env,
    (identity, encryption): (IdentityKey, EncryptionKey),
    password: &str,
) -> Result<Option<Pem>, AccountError> {
    if env.is_simulated() {
        return Ok(None);
    }
    let [one, two] = [0, 1].map(|_| Zeroizing::new(password.to_owned()));
    let (identity, encryption) = tokio::join!(
        env.blocking(move || identity.to_pem(&one)),
        env.blocking(move || encryption.to_pem(&two)),
    );
    let identity = identity.map_err(|error| key_error(&error))?;
    Ok(Some([identity, encryption.map_err(|error| key_error(&error))?]))
}

async fn generate_identity(env: &Env) -> Result<IdentityKey, AccountError> {
    #[cfg(feature = "testkit")]
    if env.cheap_crypto() {
        return Ok(crate::crypto::testkeys::identity(env.random_below(16)));
    }
    env.blocking(IdentityKey::generate).await.map_err(|error| key_error(&error))
}

fn key_error(error: &KeyError) -> AccountError {
    AccountError::BadKeyFile(error.to_string())
}

const PATIENCE: Duration = Duration::from_secs(5);
