//! `Core`: the profile with everything that may be done to it, shared by the front end's calls
//! and the connection. All of it is synchronous; each change is one transaction.
//!
//! Nothing here talks to anybody: `session` does that, and comes here for every decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::OptionalExtension;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::crypto::bundle::{Bundle, BundleDevice, DeviceState, VerifiedBundle, verify_bundle};
use crate::crypto::device::DeviceKey;
use crate::crypto::identity::EncryptionKey;
use crate::limits;
use crate::net::Env;
use crate::types::{ChatName, ClusterId, DeviceId, LogName, UserName};

use super::api::Event;
use super::contacts::Person;
use super::files::Files;
use super::forget::{Alarm, forget_in_time};
use super::groups::Groups;
use super::judging::UnwrapBudget;
use super::presence::Presence;
use super::profile::{Unlocked, write_device, write_encryption_key};
use super::store::{StoreError, meta, meta_u64, set_meta, set_meta_u64, unseal};

/// The profile and what is kept in memory beside it.
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) profile: Unlocked,
    /// Verified bundles: checking an RSA signature for every message would be waste.
    pub(crate) people: BTreeMap<UserName, Person>,
    /// Unwraps of conversation keys that each author caused this hour.
    pub(crate) unwraps: UnwrapBudget,
    /// Devices for which their user's bundle was asked in this session: one that is not in it then
    /// is not the author's.
    pub(crate) fresh_bundles: BTreeSet<(UserName, DeviceId)>,
    /// Authors who mentioned a newer bundle than is known.
    pub(crate) stale_bundles: BTreeSet<UserName>,
    /// Who comes and goes.
    pub(crate) presence: Presence,
    /// When the next read receipt may go to chats that had one a moment ago.
    pub(crate) reads_told: BTreeMap<ChatName, Instant>,
    pub(crate) alarm: Alarm,
    pub(crate) groups: Groups,
    pub(crate) files: Files,
    /// Version of one's own bundle at the home, by its last Welcome.
    home_version: Option<u64>,
    events: mpsc::Sender<Event>,
}

/// The core as the front end and the session share it.
#[derive(Clone)]
pub(crate) struct SharedCore(Arc<Mutex<Core>>);

impl SharedCore {
    pub(crate) fn new(core: Core) -> Self {
        Self(Arc::new(Mutex::new(core)))
    }

    /// Forgets what is due, now and for as long as somebody holds the core.
    pub(crate) fn keep_forgetting(&self, env: &Env) {
        let alarm = {
            let mut core = self.lock();
            if let Err(error) = core.sweep_spools() {
                tracing::warn!(%error, "sealed copies cannot be swept");
            }
            // Nothing that is due may be shown before the timer first runs.
            if let Err(error) = core.forget_due() {
                tracing::warn!(%error, "what is due cannot be forgotten");
            }
            core.alarm.heard_by()
        };
        env.spawn(forget_in_time(Arc::downgrade(&self.0), alarm));
    }

    /// Holds the core for one short synchronous step.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than a device can resume in its life.
const RESUME_COUNTS_SKIPPED: u64 = 1 << 32;
/// Versions that a restored home is brought up to at once; it takes ten a day.
const VERSIONS_CAUGHT_UP_MAX: u64 = 8;

/// Why one's own bundle gets a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewBundle {
    /// This database was rolled back: another device id, so that no number is used twice.
    NewDevice,
    /// The encryption key is old.
    NewEncryptionKey,
}

impl Core {
    pub(crate) fn new(env: Env, profile: Unlocked, events: mpsc::Sender<Event>) -> Self {
        Self {
            env,
            profile,
            people: BTreeMap::new(),
            unwraps: UnwrapBudget::default(),
            fresh_bundles: BTreeSet::new(),
            stale_bundles: BTreeSet::new(),
            presence: Presence::default(),
            reads_told: BTreeMap::new(),
            alarm: Alarm::new(),
            groups: Groups::default(),
            files: Files::default(),
            home_version: None,
            events,
        }
    }

    /// Tells the front end. An event only ever says what a call can read again, so one that finds
    /// the queue full is dropped: the front end has plenty to wake it.
    pub(crate) fn emit(&self, event: Event) {
        if matches!(event, Event::Lines) {
            // There may be a file among them that is fetched by itself.
            self.files.bell.notify_one();
        }
        if self.events.try_send(event).is_err() {
            tracing::debug!("an event was dropped: the front end is slow or gone");
        }
    }

    /// For the last event of all, which must not be dropped.
    pub(crate) fn events(&self) -> mpsc::Sender<Event> {
        self.events.clone()
    }

    pub(crate) fn user(&self) -> &UserName {
        &self.profile.owner.user
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        self.profile.owner.cluster
    }

    pub(crate) fn own_log(&self) -> LogName {
        LogName::inbox(self.user().clone())
    }

    pub(crate) fn now(&self) -> u64 {
        self.env.unix_ms()
    }

    /// The next count for `Resume`, on disk before it is used: the home takes each only once.
    pub(crate) fn next_resume_count(&mut self) -> Result<u64, StoreError> {
        self.profile.store.commit(|tx| {
            let count = meta_u64(tx, "resume_count")?.saturating_add(1);
            set_meta_u64(tx, "resume_count", count)?;
            Ok(count)
        })
    }

    /// Goes far beyond every count that this device can have used: if one of those is taken then,
    /// this database is an old copy.
    pub(crate) fn skip_resume_counts(&mut self) -> Result<(), StoreError> {
        self.profile.store.commit(|tx| {
            let count = meta_u64(tx, "resume_count")?.saturating_add(RESUME_COUNTS_SKIPPED);
            set_meta_u64(tx, "resume_count", count).map_err(Into::into)
        })
    }

    /// Takes in one's own bundle as the home has it, if it is newer and still ours.
    pub(crate) fn welcomed(&mut self, encoded: &[u8]) -> Result<(), StoreError> {
        self.home_version = None;
        let Ok(bundle) = verify_bundle(encoded, &self.cluster(), self.user()) else {
            return Ok(());
        };
        let own = &self.profile;
        let ours = bundle.identity() == own.bundle.identity()
            && bundle.active_device().is_some_and(|active| {
                active.device == own.device && active.ed25519 == own.device_key.public()
            });
        if !ours {
            return Ok(());
        }
        self.home_version = Some(bundle.version);
        if bundle.version <= self.profile.bundle.version {
            return Ok(());
        }
        let planned = self.next_bundle()?;
        let planned = planned.and_then(|next| check_bundle(&next, &self.cluster(), self.user()));
        if planned.is_some_and(|planned| *planned == *bundle) {
            // The answer to it was lost.
            return self.adopt_next_bundle();
        }
        self.profile.activate(&bundle)
    }

    /// What the home should hear of one's own bundle: that which a restored home forgot, a version
    /// that was planned, or one with a fresh encryption key.
    pub(crate) fn bundle_to_offer(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let own = self.profile.bundle.clone();
        if let Some(home) = self.home_version.filter(|home| *home < own.version) {
            // Peers take nothing below what they saw: the home has to come up to it first.
            return self.sign_as(&own, home + 1).map(Some);
        }
        if let Some(next) = self.next_bundle()? {
            let planned = check_bundle(&next, &self.cluster(), self.user());
            if planned.is_some_and(|next| Some(next.version) == own.version.checked_add(1)) {
                return Ok(Some(next));
            }
            // The home has gone another way since.
            let why = match self.next_device()? {
                Some(_) => NewBundle::NewDevice,
                None => NewBundle::NewEncryptionKey,
            };
            self.plan_bundle(why)?;
        } else if self.encryption_key_is_old()?
            || meta_u64(self.profile.store.db(), "rotate_key")? == 1
        {
            self.plan_bundle(NewBundle::NewEncryptionKey)?;
        }
        self.next_bundle()
    }

    /// A bundle's content under another version.
    fn sign_as(&self, bundle: &VerifiedBundle, version: u64) -> Result<Vec<u8>, StoreError> {
        if version == bundle.version {
            return Ok(bundle.encoded().to_vec());
        }
        let bundle = Bundle { version, ..(**bundle).clone() };
        let signed = bundle.sign(&self.profile.identity()?);
        signed.map(Into::into).map_err(|error| StoreError::Crypto(error.to_string()))
    }

    /// What the home has to be given before the planned bundle, so that that is newer than every
    /// version a peer has seen.
    pub(crate) fn steps_to_planned(
        &self,
        home: &VerifiedBundle,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let Some(next) = self.next_bundle()? else { return Ok(Vec::new()) };
        let Some(next) = check_bundle(&next, &self.cluster(), self.user()) else {
            return Ok(Vec::new());
        };
        (home.version.saturating_add(1)..next.version)
            .map(|version| self.sign_as(&next, version))
            .collect()
    }

    /// The balancer's last answer, for a start without it.
    pub(crate) fn remember_edges(&mut self, edges: &str) -> Result<(), StoreError> {
        self.profile.store.commit(|tx| set_meta(tx, "edges", edges.as_bytes()).map_err(Into::into))
    }

    /// What [`Self::remember_edges`] kept.
    pub(crate) fn remembered_edges(&self) -> Result<Option<String>, StoreError> {
        Ok(super::store::meta_text(self.profile.store.db(), "edges")?)
    }

    /// Plans another version of one's own bundle. Everything it needs is on disk before the home
    /// hears of it; [`Self::adopt_next_bundle`] makes it current once the home has it.
    pub(crate) fn plan_bundle(&mut self, why: NewBundle) -> Result<(), StoreError> {
        let current = self.profile.bundle.clone();
        self.plan_bundle_after(&current, why)
    }

    /// As [`Self::plan_bundle`], to follow the version that the home has.
    pub(crate) fn plan_bundle_after(
        &mut self,
        current: &VerifiedBundle,
        why: NewBundle,
    ) -> Result<(), StoreError> {
        let crypto = |error: &dyn std::fmt::Display| StoreError::Crypto(error.to_string());
        let own = &*self.profile.bundle;
        // The keys are this profile's; devices and version go on from the home's. A restored home
        // may have forgotten some versions, but peers have not.
        let mut bundle: Bundle = own.clone();
        let before = match own.version.checked_sub(current.version) {
            Some(forgotten) if forgotten <= VERSIONS_CAUGHT_UP_MAX => own.version,
            Some(_) | None => current.version,
        };
        bundle.version = before.checked_add(1).ok_or_else(|| crypto(&"no version is left"))?;
        if current.identity() == own.identity() {
            bundle.devices.clone_from(&current.devices);
        }
        let now = self.now();
        let mut device = None;
        let mut encryption = None;
        match why {
            NewBundle::NewDevice => {
                let key = DeviceKey::generate();
                let id = DeviceId(self.env.random_id());
                add_device(&mut bundle, id, key.public());
                device = Some((id, key));
            }
            NewBundle::NewEncryptionKey => {}
        }
        // An old copy of the database may lack the key that the home's bundle names.
        if why == NewBundle::NewEncryptionKey || self.encryption_key_made()?.is_none() {
            let key = generate_encryption_key(&self.env).map_err(|e| crypto(&e))?;
            bundle.enc_spki = key.spki().to_vec().into();
            encryption = Some(key);
        }
        let encoded = bundle.sign(&self.profile.identity()?).map_err(|error| crypto(&error))?;
        let key = &self.profile.key;
        self.profile.store.commit(|tx| {
            set_meta(tx, "next_bundle", &encoded)?;
            tx.execute("DELETE FROM meta WHERE key IN ('next_device','next_seed')", [])?;
            if encryption.is_some() {
                tx.execute("DELETE FROM meta WHERE key = 'rotate_key'", [])?;
            }
            if let Some((id, device_key)) = &device {
                set_meta_u64(tx, "next_device", id.0)?;
                set_meta(tx, "next_seed", &key.seal(device_key.seed().as_slice()))?;
            }
            if let Some(encryption) = &encryption {
                write_encryption_key(tx, key, encryption, now)?;
            }
            Ok(())
        })
    }

    /// The device of the planned bundle, if it is a new one.
    pub(crate) fn next_device(&self) -> Result<Option<DeviceId>, StoreError> {
        let id = meta_u64(self.profile.store.db(), "next_device")?;
        Ok((id != 0).then_some(DeviceId(id)))
    }

    /// A bundle version that waits to be given to the home.
    pub(crate) fn next_bundle(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(meta(self.profile.store.db(), "next_bundle")?)
    }

    /// The home has the planned bundle. With a new device all numbers start again: what was
    /// sealed under the old one and never answered is sealed anew.
    pub(crate) fn adopt_next_bundle(&mut self) -> Result<(), StoreError> {
        let Some(encoded) = self.next_bundle()? else { return Ok(()) };
        let bundle = verify_bundle(&encoded, &self.cluster(), self.user())
            .map_err(|error| StoreError::Crypto(error.to_string()))?;
        let db = self.profile.store.db();
        let next_device = match meta(db, "next_seed")? {
            Some(sealed) => {
                let seed = unseal(&self.profile.key, &sealed)?;
                let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| StoreError::Sealed)?;
                Some((DeviceId(meta_u64(db, "next_device")?), DeviceKey::from_seed(seed)))
            }
            None => None,
        };
        let key = &self.profile.key;
        let now = i64::try_from(self.env.unix_ms()).unwrap_or(i64::MAX);
        self.profile.store.commit(|tx| -> Result<(), StoreError> {
            set_meta(tx, "bundle", &encoded)?;
            // Peers may seal to the earlier keys until they have seen this bundle.
            tx.execute(
                "UPDATE encryption_keys SET retired_unix_ms = ?1
                 WHERE retired_unix_ms IS NULL AND key_id <> ?2",
                rusqlite::params![now, bundle.encryption_key_id().0],
            )?;
            tx.execute(
                "DELETE FROM meta WHERE key IN ('next_bundle','next_device','next_seed')",
                [],
            )?;
            if let Some((id, device_key)) = &next_device {
                write_device(tx, key, *id, device_key)?;
                super::rows::restart_numbers(tx)?;
                // What peers seal for the old device's keys may be lost here: they are told.
                tx.execute(
                    "UPDATE people SET tell = 1 WHERE contact = 1 AND bundle IS NOT NULL",
                    [],
                )?;
            }
            Ok(())
        })?;
        self.people.clear();
        self.profile.bundle = bundle;
        if let Some((id, device_key)) = next_device {
            self.profile.device = id;
            self.profile.device_key = device_key;
            self.emit(Event::RolledBack);
        }
        Ok(())
    }

    /// Whether the current encryption key is due for replacement.
    pub(crate) fn encryption_key_is_old(&self) -> Result<bool, StoreError> {
        let life = u64::try_from(limits::ENCRYPTION_KEY_LIFE.as_millis()).unwrap_or(u64::MAX);
        let made = self.encryption_key_made()?;
        Ok(made.is_none_or(|made| made.saturating_add(life) < self.now()))
    }

    /// The encryption key is to be replaced at the next contact, however young it is.
    pub(crate) fn want_new_key(&mut self) -> Result<(), StoreError> {
        self.profile.store.commit(|tx| set_meta_u64(tx, "rotate_key", 1).map_err(Into::into))
    }

    /// When the encryption key of the present bundle was made; `None` when it is not here.
    pub(crate) fn encryption_key_made(&self) -> Result<Option<u64>, StoreError> {
        let made: Option<i64> = self
            .profile
            .store
            .db()
            .query_row(
                "SELECT made_unix_ms FROM encryption_keys WHERE key_id = ?1",
                [self.profile.bundle.encryption_key_id().0],
                |row| row.get(0),
            )
            .optional()?;
        Ok(made.map(|ms| u64::try_from(ms).unwrap_or(0)))
    }

    /// Destroys private keys that were retired long enough ago. To be called when the own log is
    /// read to its end; what waits for a key in vain does not count.
    pub(crate) fn destroy_old_keys(&mut self) -> Result<(), StoreError> {
        let life = i64::try_from(limits::RETIRED_KEY_LIFE.as_millis()).unwrap_or(i64::MAX);
        let before = i64::try_from(self.now()).unwrap_or(i64::MAX).saturating_sub(life);
        let destroyed = self.profile.store.commit(|tx| {
            tx.execute(
                "DELETE FROM encryption_keys WHERE retired_unix_ms < ?1
                 AND NOT EXISTS (SELECT 1 FROM inbox WHERE waits = 0)",
                [before],
            )
        });
        if destroyed? > 0 {
            // The WAL still holds the deleted pages until it is truncated.
            self.profile.store.db().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    }
}

/// Adds the device that becomes the active one; the earlier ones stay for reading, the oldest of
/// too many go.
pub(crate) fn add_device(bundle: &mut Bundle, device: DeviceId, ed25519: [u8; 32]) {
    for earlier in &mut bundle.devices {
        earlier.state = DeviceState::Retired;
    }
    let excess = (bundle.devices.len() + 1).saturating_sub(limits::BUNDLE_DEVICES_MAX);
    bundle.devices.drain(..excess);
    bundle.devices.push(BundleDevice { device, ed25519, state: DeviceState::Active });
}

/// A new encryption key: RSA-3072, or in the simulator one of the committed ones.
pub(crate) fn generate_encryption_key(
    env: &Env,
) -> Result<EncryptionKey, crate::crypto::identity::KeyError> {
    #[cfg(feature = "testkit")]
    if env.cheap_crypto() {
        return Ok(crate::crypto::testkeys::encryption(env.random_below(16)));
    }
    let _ = env;
    EncryptionKey::generate()
}

/// The bundle of somebody else, as a server or a person's client gave it.
pub(crate) fn check_bundle(
    encoded: &[u8],
    cluster: &ClusterId,
    user: &UserName,
) -> Option<VerifiedBundle> {
    verify_bundle(encoded, cluster, user).ok()
}
