//! What is said about messages and is no message: reactions, changes, deletions, and what was read;
//! also what is said about groups to one who was brought in or put out.
//!
//! A note waits like a text, takes a number of its own when it is sealed, and is kept until it is
//! delivered, so that it can be sealed again. It is no line of a chat: nobody sees it fail.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::envelope::{Body, FileBody, MessageRef, Rich};
use crate::crypto::secret::DbKey;
use crate::types::{ChatName, DeviceId, N, Seq, UserName};

use super::files::body_of_line;
use super::groups::{NOTE_GOODBYE, NOTE_WELCOME, welcome_body};
use super::store::{StoreError, bits, unbits, unseal};
use super::views::{KIND_OWN, STATE_CANCELLED, STATE_REFUSED, STATE_UPLOADING, STATE_WAITING};

const NOTE_REACTION: i64 = 4;
const NOTE_EDIT: i64 = 5;
const NOTE_DELETE: i64 = 6;
const NOTE_READ: i64 = 7;

/// Something about a line of one's own profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// One's own reaction; `None` takes it back.
    Reaction(Option<&'a str>),
    /// The text of an own message is this now.
    Edit(&'a str),
    /// An own message is to be forgotten.
    Delete,
}

/// Whether a note can be sealed.
pub(super) enum Fate {
    /// As this.
    Body(Body),
    /// Its message has no number yet.
    NotYet,
    /// What it was about is gone.
    Void,
}

/// Who speaks in a conversation, and the key of the profile.
pub(super) struct Between<'a> {
    pub(super) key: &'a DbKey,
    pub(super) own: &'a UserName,
    pub(super) chat: &'a ChatName,
    /// The other person of it; `None`: it is of a group.
    pub(super) peer: Option<&'a UserName>,
}

/// Takes a note about a line, in place of one of its kind that still waits.
pub(super) fn queue_note(
    tx: &Transaction<'_>,
    key: &DbKey,
    chat: &ChatName,
    line: i64,
    said: Said<'_>,
) -> Result<(), StoreError> {
    let (kind, sealed) = match said {
        Said::Reaction(emoji) => (NOTE_REACTION, key.seal(emoji.unwrap_or_default().as_bytes())),
        Said::Edit(text) => (NOTE_EDIT, key.seal(text.as_bytes())),
        Said::Delete => (NOTE_DELETE, Vec::new()),
    };
    tx.prepare_cached("DELETE FROM notes WHERE line = ?1 AND kind = ?2 AND waits = 1")?
        .execute(params![line, kind])?;
    tx.prepare_cached("INSERT INTO notes (chat, kind, line, sealed) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![chat, kind, line, sealed])?;
    Ok(())
}

/// Takes a note of what was read, as one that is sealed at once. Returns its id. In a group device
/// 0, and the `seq` for the number.
pub(super) fn insert_read(
    tx: &Transaction<'_>,
    chat: &ChatName,
    device: DeviceId,
    n: N,
) -> Result<i64, StoreError> {
    tx.prepare_cached(
        "INSERT INTO notes (chat, kind, device, n, sealed, waits) VALUES (?1, ?2, ?3, ?4, x'', 0)",
    )?
    .execute(params![chat, NOTE_READ, bits(device.0), bits(n.0)])?;
    Ok(tx.last_insert_rowid())
}

/// Notes that have no number yet, oldest first.
pub(super) fn waiting_notes(tx: &Transaction<'_>, chat: &ChatName) -> Result<Vec<i64>, StoreError> {
    let mut rows =
        tx.prepare_cached("SELECT id FROM notes WHERE chat = ?1 AND waits = 1 ORDER BY id")?;
    let found = rows.query_map([chat], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// What a note says now.
pub(super) fn note_fate(
    tx: &Transaction<'_>,
    between: &Between<'_>,
    note: i64,
) -> Result<Fate, StoreError> {
    type Row = (i64, Option<i64>, i64, i64, Vec<u8>);
    let row: Option<Row> = tx
        .prepare_cached("SELECT kind, line, device, n, sealed FROM notes WHERE id = ?1")?
        .query_row([note], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((kind, line, device, n, sealed)) = row else { return Ok(Fate::Void) };
    if kind == NOTE_READ && between.peer.is_none() {
        return Ok(Fate::Body(Body::ReadGroup { seq: Seq(unbits(n)) }));
    }
    if kind == NOTE_READ {
        return Ok(Fate::Body(Body::Read { device: DeviceId(unbits(device)), n: N(unbits(n)) }));
    }
    if matches!(kind, NOTE_WELCOME | NOTE_GOODBYE) {
        let body = welcome_body(tx, between.key, kind, n, &sealed)?;
        return Ok(body.map_or(Fate::NotYet, Fate::Body));
    }
    let to = match line.map(|line| find_ref(tx, between, line)).transpose()? {
        Some(Named::Ref(to)) => to,
        Some(Named::NotYet) => return Ok(Fate::NotYet),
        Some(Named::Never) | None => return Ok(Fate::Void),
    };
    if kind == NOTE_DELETE {
        return Ok(Fate::Body(Body::Delete { to }));
    }
    // Emptied when its message was forgotten.
    if sealed.is_empty() {
        return Ok(Fate::Void);
    }
    let text = String::from_utf8_lossy(&unseal(between.key, &sealed)?).into_owned();
    Ok(Fate::Body(match kind {
        NOTE_REACTION => Body::Reaction { to, emoji: (!text.is_empty()).then_some(text) },
        _ => Body::Edit { to, text },
    }))
}

/// A note has its number.
pub(super) fn note_sealed(tx: &Transaction<'_>, note: i64) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("UPDATE notes SET waits = 0 WHERE id = ?1")?.execute([note]).map(drop)
}

/// A note is delivered, or will never be.
pub(super) fn drop_note(tx: &Transaction<'_>, note: i64) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("DELETE FROM notes WHERE id = ?1")?.execute([note]).map(drop)
}

/// What waits for a person and will never be taken.
pub(super) fn drop_waiting_notes(
    tx: &Transaction<'_>,
    chat: &ChatName,
) -> Result<(), rusqlite::Error> {
    tx.execute("DELETE FROM notes WHERE chat = ?1 AND waits = 1", [chat])?;
    tx.execute("UPDATE read_marks SET told_n = seen_n WHERE chat = ?1", [chat]).map(drop)
}

/// All numbers start again: what is not known to be stored waits again. To be called while the
/// outbox still knows what is.
pub(super) fn restart_notes(tx: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    tx.execute_batch(
        "DELETE FROM notes WHERE id IN (SELECT note FROM outgoing WHERE answered = 1)
           OR waits = 0 AND id NOT IN (SELECT note FROM outgoing WHERE note IS NOT NULL);
         UPDATE notes SET waits = 1;
         -- The text that waits again is the changed one.
         DELETE FROM notes WHERE kind = 5 AND line IN (SELECT id FROM lines WHERE state = 0);",
    )
}

/// The text of a line is gone: what was to be said about it is, too, but for the deletion.
pub(super) fn forget_notes(tx: &Transaction<'_>, line: i64) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("DELETE FROM notes WHERE line = ?1 AND waits = 1 AND kind <> 6")?
        .execute([line])?;
    tx.prepare_cached("UPDATE notes SET sealed = x'' WHERE line = ?1")?.execute([line]).map(drop)
}

/// How a line is called on the wire.
enum Named {
    Ref(MessageRef),
    /// It is an own message that waits for its number.
    NotYet,
    /// It never got one.
    Never,
}

fn find_ref(tx: &Transaction<'_>, between: &Between<'_>, line: i64) -> Result<Named, StoreError> {
    type Row = (i64, i64, i64, i64, Option<String>);
    let row: Option<Row> = tx
        .prepare_cached("SELECT kind, device, n, state, author FROM lines WHERE id = ?1")?
        .query_row([line], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((kind, device, n, state, author)) = row else { return Ok(Named::Never) };
    let (device, n) = (DeviceId(unbits(device)), N(unbits(n)));
    let own = kind == KIND_OWN;
    if own && matches!(state, STATE_UPLOADING | STATE_WAITING) {
        return Ok(Named::NotYet);
    }
    if n.0 == 0 || device.0 == 0 || own && matches!(state, STATE_REFUSED | STATE_CANCELLED) {
        return Ok(Named::Never);
    }
    let author = match (own, between.peer, author) {
        (true, ..) => between.own.clone(),
        (false, Some(peer), _) => peer.clone(),
        (false, None, author) => {
            UserName::canonical(&author.unwrap_or_default()).map_err(|_| StoreError::Sealed)?
        }
    };
    Ok(Named::Ref(MessageRef { author, device, n }))
}

/// An own message as it is sealed, and when it was written; `None` when its text is gone. `kept` is
/// the text under its number, when the line was changed since.
pub(super) fn line_body(
    tx: &Transaction<'_>,
    between: &Between<'_>,
    line: i64,
    kept: Option<Vec<u8>>,
) -> Result<Option<(Body, u64)>, StoreError> {
    type Row = (Vec<u8>, i64, bool, Option<i64>, i64, bool);
    let (sealed, at, emote, reply_to, expire_ms, gone): Row = tx
        .prepare_cached(
            "SELECT sealed_text, at_unix_ms, form, reply_to, expire_ms, gone FROM lines
             WHERE id = ?1",
        )?
        .query_row([line], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })?;
    if gone {
        return Ok(None);
    }
    let text = unseal(between.key, kept.as_ref().unwrap_or(&sealed))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let reply_to = match reply_to.map(|line| find_ref(tx, between, line)).transpose()? {
        Some(Named::Ref(to)) => Some(to),
        Some(Named::NotYet | Named::Never) | None => None,
    };
    let expire = (expire_ms > 0).then(|| std::time::Duration::from_millis(unbits(expire_ms)));
    if let Some(file) = body_of_line(tx, between.key, line)? {
        let body = Body::File(Box::new(FileBody { caption: text, reply_to, expire, ..file }));
        return Ok(Some((body, unbits(at))));
    }
    let body = if reply_to.is_none() && !emote && expire.is_none() {
        Body::Text(text)
    } else {
        Body::Rich(Rich { text, reply_to, emote, expire })
    };
    Ok(Some((body, unbits(at))))
}
