//! What the owner decided about chats and the account, and the list of people.
//!
//! Only kept here: what a setting means is up to those who ask for it.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::secret::DbKey;
use crate::limits;
use crate::types::{ChatName, UserName, hex};

use super::api::{
    AccountChange, AccountSettings, ChatChange, ChatSettings, Contact, ContactView, Notify,
    OwnKeysView, RequestError,
};
use super::core::Core;
use super::store::{StoreError, bits, meta_u64, set_meta_u64, unbits, unseal};

impl Core {
    /// What is set for a chat.
    pub(crate) fn chat_settings(&self, chat: &ChatName) -> Result<ChatSettings, StoreError> {
        let key = &self.profile.key;
        let row = self
            .profile
            .store
            .db()
            .prepare_cached(
                "SELECT sealed_alias, notify, muted_until_ms, receipts, typing, expire_ms,
                        sealed_draft, closed FROM chats WHERE chat = ?1",
            )?
            .query_row([chat], |row| {
                let sealed: (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(0)?, row.get(6)?);
                let settings = ChatSettings {
                    notify: row.get::<_, Option<i64>>(1)?.map(notify_of),
                    muted_until_unix_ms: row.get::<_, Option<i64>>(2)?.map(unbits),
                    receipts: row.get(3)?,
                    typing: row.get(4)?,
                    expire: row.get::<_, Option<i64>>(5)?.map(unbits).map(Duration::from_millis),
                    closed: row.get(7)?,
                    ..ChatSettings::default()
                };
                Ok((settings, sealed))
            })
            .optional()?;
        let Some((mut settings, (alias, draft))) = row else { return Ok(ChatSettings::default()) };
        settings.alias = alias.map(|sealed| text_of(key, &sealed)).transpose()?;
        settings.draft = draft.map(|sealed| text_of(key, &sealed)).transpose()?;
        Ok(settings)
    }

    /// Changes what is set for a chat.
    pub(crate) fn change_chat(
        &mut self,
        chat: &ChatName,
        change: &ChatChange,
    ) -> Result<(), RequestError> {
        let fits = |text: &Option<String>, max: usize| match text.as_ref().map(String::len) {
            Some(got) if got > max => Err(RequestError::TooLong { got, max }),
            Some(_) | None => Ok(()),
        };
        let key = self.profile.key.clone();
        let seal = |text: &Option<String>| text.as_ref().map(|text| key.seal(text.as_bytes()));
        let mut loses_alias = None;
        if let ChatChange::Alias(alias) = change {
            fits(alias, limits::ALIAS_BYTES_MAX)?;
            let had = alias.as_ref().map(|alias| self.by_alias(alias)).transpose()?.flatten();
            loses_alias = had.filter(|had| had != chat);
        }
        if let ChatChange::Draft(draft) = change {
            fits(draft, limits::TEXT_BYTES_MAX)?;
        }
        let stored = self.profile.store.commit(|tx| {
            if let Some(before) = &loses_alias {
                set(tx, before, "sealed_alias", None::<Vec<u8>>)?;
            }
            match change {
                ChatChange::Alias(alias) => set(tx, chat, "sealed_alias", seal(alias)),
                ChatChange::Notify(notify) => set(tx, chat, "notify", notify.map(notify_number)),
                ChatChange::MutedUntil(until) => set(tx, chat, "muted_until_ms", until.map(bits)),
                ChatChange::Receipts(on) => set(tx, chat, "receipts", on),
                ChatChange::Typing(on) => set(tx, chat, "typing", on),
                ChatChange::Expire(expire) => {
                    set(tx, chat, "expire_ms", expire.map(|life| bits(life_ms(life))))
                }
                ChatChange::Draft(draft) => set(tx, chat, "sealed_draft", seal(draft)),
                ChatChange::Closed(closed) => set(tx, chat, "closed", closed),
            }
        });
        Ok(stored.map_err(StoreError::from)?)
    }

    /// What is set for the account.
    pub(crate) fn account_settings(&self) -> Result<AccountSettings, StoreError> {
        let db = self.profile.store.db();
        Ok(AccountSettings {
            receipts: meta_u64(db, "receipts_off")? == 0,
            typing: meta_u64(db, "typing_off")? == 0,
            invisible: meta_u64(db, "invisible")? == 1,
            notify: notify_of(i64::try_from(meta_u64(db, "notify")?).unwrap_or(0)),
        })
    }

    /// Changes what is set for the account.
    pub(crate) fn change_account(&mut self, change: AccountChange) -> Result<(), StoreError> {
        let (key, value) = match change {
            AccountChange::Receipts(on) => ("receipts_off", u64::from(!on)),
            AccountChange::Typing(on) => ("typing_off", u64::from(!on)),
            AccountChange::Invisible(on) => ("invisible", u64::from(on)),
            AccountChange::Notify(notify) => ("notify", notify_number(notify).unsigned_abs()),
        };
        self.profile.store.commit(|tx| set_meta_u64(tx, key, value).map_err(Into::into))
    }

    /// Whether read receipts go to this person, and theirs are taken.
    pub(crate) fn receipts_on(&self, chat: &ChatName) -> Result<bool, StoreError> {
        let account = self.account_settings()?.receipts;
        Ok(self.chat_settings(chat)?.receipts.unwrap_or(account))
    }

    /// Whether "is typing" goes to this person, and theirs is taken.
    pub(crate) fn typing_on(&self, chat: &ChatName) -> Result<bool, StoreError> {
        let account = self.account_settings()?.typing;
        Ok(self.chat_settings(chat)?.typing.unwrap_or(account))
    }

    /// Everybody who was accepted or blocked, by name.
    pub(crate) fn contacts(&mut self) -> Result<Vec<ContactView>, StoreError> {
        let names: Vec<String> = {
            let mut rows =
                self.profile.store.db().prepare_cached(
                    "SELECT user FROM people WHERE contact IN (1, 2) ORDER BY user",
                )?;
            let found = rows.query_map([], |row| row.get(0))?;
            found.collect::<Result<_, _>>()?
        };
        let mut contacts = Vec::new();
        for name in names {
            let Ok(user) = UserName::canonical(&name) else { continue };
            let alias = self.chat_settings(&user.clone().into())?.alias;
            let online = self.presence.now(&user);
            let Some(person) = self.person(&user)? else { continue };
            let (trust, contact) = (person.trust(), person.contact);
            let pinned_unix_ms = person.pinned_unix_ms;
            contacts.push(ContactView { user, alias, trust, contact, pinned_unix_ms, online });
        }
        Ok(contacts)
    }

    /// Somebody becomes a nobody: their mail is a request again. Key and history stay.
    pub(crate) fn remove_contact(&mut self, user: &UserName) -> Result<(), RequestError> {
        self.change_chat(&user.clone().into(), &ChatChange::Alias(None))?;
        Ok(self.set_contact(user, Contact::Request)?)
    }

    /// The chat that this alias names, whatever its case.
    pub(crate) fn by_alias(&self, word: &str) -> Result<Option<ChatName>, StoreError> {
        let wanted = word.trim().to_lowercase();
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT chat, sealed_alias FROM chats WHERE sealed_alias IS NOT NULL ORDER BY chat",
        )?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (chat, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if text_of(&self.profile.key, &sealed)?.trim().to_lowercase() == wanted {
                return Ok(ChatName::canonical(&chat).ok());
            }
        }
        Ok(None)
    }

    /// One's own keys.
    pub(crate) fn own_keys(&self) -> Result<OwnKeysView, StoreError> {
        let bundle = &self.profile.bundle;
        Ok(OwnKeysView {
            identity: hex(&bundle.identity().0),
            encryption_key: hex(&bundle.encryption_key_id().0),
            encryption_made_unix_ms: self.encryption_key_made()?.unwrap_or(0),
            bundle_version: bundle.version,
            device: self.profile.device,
            devices: bundle.devices.len(),
        })
    }
}

/// A chat is in the list again: something was written in it.
pub(crate) fn reopen(tx: &Transaction<'_>, chat: &ChatName) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("UPDATE chats SET closed = 0 WHERE chat = ?1 AND closed = 1")?
        .execute([chat])
        .map(drop)
}

/// A life within its bounds, in milliseconds.
pub(crate) fn life_ms(life: Duration) -> u64 {
    let life = life.clamp(limits::EXPIRE_MIN, limits::EXPIRE_MAX);
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX)
}

fn set(
    tx: &Transaction<'_>,
    chat: &ChatName,
    column: &str,
    value: impl rusqlite::ToSql,
) -> Result<(), rusqlite::Error> {
    tx.execute(
        &format!(
            "INSERT INTO chats (chat, {column}) VALUES (?1, ?2)
             ON CONFLICT (chat) DO UPDATE SET {column} = ?2"
        ),
        params![chat, value],
    )
    .map(drop)
}

fn notify_number(notify: Notify) -> i64 {
    match notify {
        Notify::All => 0,
        Notify::Mentions => 1,
        Notify::None => 2,
    }
}

fn notify_of(number: i64) -> Notify {
    match number {
        1 => Notify::Mentions,
        2 => Notify::None,
        _ => Notify::All,
    }
}

fn text_of(key: &DbKey, sealed: &[u8]) -> Result<String, StoreError> {
    Ok(String::from_utf8_lossy(&unseal(key, sealed)?).into_owned())
}
