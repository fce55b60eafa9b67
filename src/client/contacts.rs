//! People: pinned keys, changed keys, requests and blocks.
//!
//! Trust on first use: the first identity key seen of somebody is pinned. Another one is kept
//! beside it, never instead of it, until the person decides.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::safety::safety_number;
use crate::types::{UserName, hex};

use super::api::{Contact, Event, KeyView, Trouble, Trust};
use super::core::{Core, check_bundle};
use super::store::{StoreError, bits};
use super::views::insert_trouble;

/// What this profile knows of a person.
#[derive(Clone)]
pub(crate) struct Person {
    /// Newest bundle of the pinned identity.
    pub(crate) bundle: Option<VerifiedBundle>,
    /// Newest bundle of another identity, not accepted yet.
    pub(crate) changed: Option<VerifiedBundle>,
    pub(crate) pinned_unix_ms: u64,
    pub(crate) verified: bool,
    pub(crate) contact: Contact,
    /// They know an older bundle of ours: the next thing sealed for them is the newest one.
    pub(crate) tell: bool,
}

/// What a bundle was to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// First contact: pinned.
    Pinned,
    /// A newer version of the pinned identity's bundle.
    Newer,
    /// Known already, or older than what is known: nothing changed.
    Nothing,
    /// Another identity.
    Changed,
    /// A newer version of the identity that is not accepted yet.
    ChangedNewer,
}

fn contact_number(contact: Contact) -> i64 {
    match contact {
        Contact::Request => 0,
        Contact::Accepted => 1,
        Contact::Blocked => 2,
    }
}

pub(crate) fn contact_of(number: i64) -> Contact {
    match number {
        1 => Contact::Accepted,
        2 => Contact::Blocked,
        _ => Contact::Request,
    }
}

impl Person {
    pub(crate) fn trust(&self) -> Trust {
        match (&self.bundle, &self.changed, self.verified) {
            (_, Some(_), _) => Trust::Changed,
            (None, None, _) => Trust::Unknown,
            (Some(_), None, true) => Trust::Verified,
            (Some(_), None, false) => Trust::Pinned,
        }
    }
}

impl Core {
    /// What is known of `user`; `None` for a stranger.
    pub(crate) fn person(&mut self, user: &UserName) -> Result<Option<&Person>, StoreError> {
        if !self.people.contains_key(user) {
            let Some(person) = self.load_person(user)? else { return Ok(None) };
            // The cache only saves signature checks: when it is large, begin again.
            if self.people.len() >= PEOPLE_CACHED_MAX {
                self.people.clear();
            }
            self.people.insert(user.clone(), person);
        }
        Ok(self.people.get(user))
    }

    fn load_person(&self, user: &UserName) -> Result<Option<Person>, StoreError> {
        let cluster = self.cluster();
        let row = self
            .profile
            .store
            .db()
            .prepare_cached(
                "SELECT bundle, changed_bundle, pinned_unix_ms, verified, contact, tell
                 FROM people WHERE user = ?1",
            )?
            .query_row([user.as_str()], |row| {
                let bundle: Option<Vec<u8>> = row.get(0)?;
                let changed: Option<Vec<u8>> = row.get(1)?;
                Ok(Person {
                    bundle: bundle.and_then(|bytes| check_bundle(&bytes, &cluster, user)),
                    changed: changed.and_then(|bytes| check_bundle(&bytes, &cluster, user)),
                    pinned_unix_ms: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
                    verified: row.get(3)?,
                    contact: contact_of(row.get(4)?),
                    tell: row.get(5)?,
                })
            })
            .optional()?;
        Ok(row)
    }

    /// Takes in a bundle, from the server or from the person's own client.
    pub(crate) fn learn(
        &mut self,
        user: &UserName,
        bundle: &VerifiedBundle,
        if_new: Contact,
    ) -> Result<Learned, StoreError> {
        let now = self.now();
        let person = self.person(user)?.cloned();
        let pinned = person.as_ref().and_then(|p| p.bundle.as_ref());
        let learned = match pinned {
            None => Learned::Pinned,
            Some(known) if known.identity() == bundle.identity() => {
                if bundle.version > known.version { Learned::Newer } else { Learned::Nothing }
            }
            // Another identity.
            Some(_) => match person.as_ref().and_then(|p| p.changed.as_ref()) {
                // The change is known: nothing to say again.
                Some(known) if known.identity() == bundle.identity() => {
                    if bundle.version > known.version {
                        Learned::ChangedNewer
                    } else {
                        Learned::Nothing
                    }
                }
                Some(_) | None => Learned::Changed,
            },
        };
        let encoded = bundle.encoded().as_ref();
        self.profile.store.commit(|tx| match learned {
            Learned::Nothing => Ok(()),
            Learned::Pinned => tx
                .execute(
                    "INSERT INTO people (user, bundle, pinned_unix_ms, contact)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (user) DO UPDATE SET bundle = ?2, pinned_unix_ms = ?3",
                    params![user.as_str(), encoded, bits(now), contact_number(if_new)],
                )
                .map(drop)
                .map_err(StoreError::from),
            Learned::Newer => Ok(set(tx, user, "bundle = ?2", encoded)?),
            Learned::ChangedNewer => Ok(set(tx, user, "changed_bundle = ?2", encoded)?),
            Learned::Changed => {
                set(tx, user, "changed_bundle = ?2, verified = 0", encoded)?;
                insert_trouble(tx, &user.clone().into(), &Trouble::KeyChanged, now)
            }
        })?;
        self.people.remove(user);
        if learned == Learned::Changed {
            self.emit(Event::KeyChanged { user: user.clone() });
            self.emit(Event::Lines);
        }
        Ok(learned)
    }

    /// Notes how the person stands to somebody.
    pub(crate) fn set_contact(
        &mut self,
        user: &UserName,
        contact: Contact,
    ) -> Result<(), StoreError> {
        self.profile.store.commit(|tx| write_contact(tx, user, contact))?;
        self.people.remove(user);
        Ok(())
    }

    /// The changed key becomes the pinned one. What was sealed to the one before and is unanswered
    /// is sealed again only after this: the person's own decision.
    pub(crate) fn accept_changed_key(&mut self, user: &UserName) -> Result<(), StoreError> {
        let now = i64::try_from(self.now()).unwrap_or(i64::MAX);
        self.profile.store.commit(|tx| {
            tx.execute(
                "UPDATE people SET bundle = changed_bundle, changed_bundle = NULL, verified = 0,
                 pinned_unix_ms = ?2 WHERE user = ?1 AND changed_bundle IS NOT NULL",
                params![user.as_str(), now],
            )
        })?;
        self.people.remove(user);
        Ok(())
    }

    /// The person compared the numbers of the key now pinned.
    pub(crate) fn set_verified(&mut self, user: &UserName) -> Result<(), StoreError> {
        self.accept_changed_key(user)?;
        self.profile.store.commit(|tx| {
            tx.execute("UPDATE people SET verified = 1 WHERE user = ?1", [user.as_str()])
        })?;
        self.people.remove(user);
        Ok(())
    }

    /// They know an older bundle of ours (or, `tell` false, have been told).
    pub(crate) fn set_tell(&mut self, user: &UserName, tell: bool) -> Result<(), StoreError> {
        self.profile.store.commit(|tx| write_tell(tx, user, tell))?;
        self.people.remove(user);
        Ok(())
    }

    /// Safety number and trust of somebody whose key is known.
    pub(crate) fn key_view(&mut self, user: &UserName) -> Result<Option<KeyView>, StoreError> {
        let Some(person) = self.person(user)?.cloned() else { return Ok(None) };
        let Some(bundle) = person.changed.as_ref().or(person.bundle.as_ref()) else {
            return Ok(None);
        };
        let own = &self.profile.bundle;
        let number =
            safety_number((self.user(), &own.identity_spki), (user, &bundle.identity_spki));
        Ok(Some(KeyView {
            user: user.clone(),
            safety_number: number.to_string(),
            fingerprint: hex(&bundle.identity().0),
            trust: person.trust(),
            pinned_unix_ms: person.pinned_unix_ms,
        }))
    }
}

/// Changes one column of a known person.
fn set(
    tx: &Transaction<'_>,
    user: &UserName,
    assignment: &str,
    value: &[u8],
) -> Result<(), rusqlite::Error> {
    tx.execute(
        &format!("UPDATE people SET {assignment} WHERE user = ?1"),
        params![user.as_str(), value],
    )
    .map(drop)
}

/// Notes how somebody stands to us, also of one whose key is not known yet.
pub(crate) fn write_contact(
    tx: &Transaction<'_>,
    user: &UserName,
    contact: Contact,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "INSERT INTO people (user, contact) VALUES (?1, ?2)
         ON CONFLICT (user) DO UPDATE SET contact = ?2",
    )?
    .execute(params![user.as_str(), contact_number(contact)])
    .map(drop)
}

/// Notes whether somebody has to be told of our newest bundle.
pub(crate) fn write_tell(
    tx: &Transaction<'_>,
    user: &UserName,
    tell: bool,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("UPDATE people SET tell = ?2 WHERE user = ?1")?
        .execute(params![user.as_str(), tell])
        .map(drop)
}

const PEOPLE_CACHED_MAX: usize = 1_000;
