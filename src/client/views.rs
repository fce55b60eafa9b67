//! What people read: lines, chats, status. And the numbers under which states are stored.

use rusqlite::{Row, Transaction, params};

use crate::crypto::envelope::{HeaderInfo, OpenedMessage};
use crate::crypto::secret::DbKey;
use crate::types::{ChatName, DeviceId, N, Seq, UserName, hex};
use crate::wire::Code;

use super::api::{
    ChatView, Contact, Form, Line, LocalId, MessageState, MessageView, ReactionView, Refusal,
    ReplyView, StatusView, Trouble, Trust, WireId,
};
use super::contacts::contact_of;
use super::core::Core;
use super::forget::start_life;
use super::groups::{KIND_MEMBERSHIP, Membership};
use super::search::{author_of, named};
use super::store::{StoreError, bits, unbits, unseal};

/// Below all others: from it a line only moves on.
pub(crate) const STATE_UPLOADING: i64 = -2;
pub(crate) const STATE_WAITING: i64 = 0;
pub(crate) const STATE_PENDING: i64 = 1;
pub(crate) const STATE_SENT: i64 = 2;
pub(crate) const STATE_DELIVERED: i64 = 3;
pub(crate) const STATE_REFUSED: i64 = 4;
pub(crate) const STATE_CANCELLED: i64 = 5;
pub(crate) const STATE_READ: i64 = 6;

pub(crate) const KIND_OWN: i64 = 0;
pub(crate) const KIND_PEER: i64 = 1;
pub(crate) const KIND_TROUBLE: i64 = 2;

/// The number under which a state is stored; it only grows, but for the ends.
pub(crate) fn state_number(state: &MessageState) -> i64 {
    match state {
        MessageState::Uploading => STATE_UPLOADING,
        MessageState::Waiting => STATE_WAITING,
        MessageState::Pending => STATE_PENDING,
        MessageState::Sent => STATE_SENT,
        MessageState::Delivered => STATE_DELIVERED,
        MessageState::Read => STATE_READ,
        MessageState::Refused(_) => STATE_REFUSED,
        MessageState::Cancelled => STATE_CANCELLED,
    }
}

/// The number under which a reason is stored: a wire code, or one above them.
pub(crate) fn refusal_number(refusal: Refusal) -> i64 {
    match refusal {
        Refusal::Server(code) => i64::from(code as u32),
        Refusal::TooLarge => 1_000,
        Refusal::KeyChanged => 1_001,
    }
}

fn refusal_of(number: i64) -> Refusal {
    match number {
        1_000 => Refusal::TooLarge,
        1_001 => Refusal::KeyChanged,
        number => Refusal::Server(
            u32::try_from(number).ok().and_then(Code::from_number).unwrap_or(Code::Internal),
        ),
    }
}

fn state_of(number: i64, reason: i64) -> Option<MessageState> {
    Some(match number {
        STATE_UPLOADING => MessageState::Uploading,
        STATE_WAITING => MessageState::Waiting,
        STATE_PENDING => MessageState::Pending,
        STATE_SENT => MessageState::Sent,
        STATE_DELIVERED => MessageState::Delivered,
        STATE_READ => MessageState::Read,
        STATE_REFUSED => MessageState::Refused(refusal_of(reason)),
        STATE_CANCELLED => MessageState::Cancelled,
        _ => return None,
    })
}

fn trouble_number(trouble: &Trouble) -> (i64, u64, u64) {
    match trouble {
        Trouble::Hole { from, to } => (1, from.0, to.0),
        Trouble::Expired => (2, 0, 0),
        Trouble::BadSignature => (3, 0, 0),
        Trouble::BadBinding => (4, 0, 0),
        Trouble::Equivocation => (5, 0, 0),
        Trouble::UnknownSuite => (6, 0, 0),
        Trouble::NoKey => (7, 0, 0),
        Trouble::KeyChanged => (8, 0, 0),
        Trouble::NotAMember => (9, 0, 0),
        Trouble::Forked => (10, 0, 0),
        Trouble::AnotherGroup => (11, 0, 0),
    }
}

fn trouble_of(number: i64, from: i64, to: i64) -> Trouble {
    match number {
        1 => Trouble::Hole { from: N(unbits(from)), to: N(unbits(to)) },
        2 => Trouble::Expired,
        4 => Trouble::BadBinding,
        5 => Trouble::Equivocation,
        6 => Trouble::UnknownSuite,
        7 => Trouble::NoKey,
        8 => Trouble::KeyChanged,
        9 => Trouble::NotAMember,
        10 => Trouble::Forked,
        11 => Trouble::AnotherGroup,
        _ => Trouble::BadSignature,
    }
}

/// Adds a line that says what went wrong at this place.
pub(crate) fn insert_trouble(
    tx: &Transaction<'_>,
    chat: &ChatName,
    trouble: &Trouble,
    now: u64,
) -> Result<(), StoreError> {
    let (number, from, to) = trouble_number(trouble);
    tx.prepare_cached(
        "INSERT INTO lines (chat, kind, sealed_text, trouble, hole_from, hole_to, at_unix_ms,
         sent_at_unix_ms, state, shown) VALUES (?1, 2, x'', ?2, ?3, ?4, ?5, ?5, -1, 0)",
    )?
    .execute(params![chat, number, bits(from), bits(to), bits(now)])?;
    Ok(())
}

/// How the person stands to the identity key that a message came under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Pinned,
    NotAccepted,
}

/// A message of somebody else, as it becomes a line.
pub(crate) struct PeerLine<'a> {
    pub(crate) chat: &'a ChatName,
    /// In a group: whose it is, and its place in the log.
    pub(crate) group: Option<(&'a UserName, Seq)>,
    pub(crate) header: Option<&'a HeaderInfo>,
    pub(crate) text: &'a str,
    pub(crate) message: &'a OpenedMessage,
    pub(crate) now: u64,
    pub(crate) author_key: Key,
}

impl PeerLine<'_> {
    pub(crate) fn insert(&self, tx: &Transaction<'_>, key: &DbKey) -> Result<(), StoreError> {
        tx.prepare_cached(
            "INSERT INTO lines (chat, kind, sealed_text, at_unix_ms, sent_at_unix_ms, device, n,
             state, shown, unaccepted_key, author, seq)
             VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, -1, 0, ?7, ?8, ?9)",
        )?
        .execute(params![
            self.chat,
            key.seal(self.text.as_bytes()),
            bits(self.now),
            bits(self.message.sent_at_unix_ms),
            bits(self.header.map_or(0, |header| header.device.0)),
            bits(self.header.map_or(0, |header| header.n.0)),
            self.author_key == Key::NotAccepted,
            self.group.map(|(author, _)| author.as_str()),
            bits(self.group.map_or(0, |(_, seq)| seq.0)),
        ])?;
        Ok(())
    }
}

pub(super) const LINE_COLUMNS: &str = "id, chat, kind, sealed_text, trouble, hole_from, hole_to,
    at_unix_ms, sent_at_unix_ms, device, n, state, reason, shown, unaccepted_key, form, reply_by,
    reply_to, edited, gone, expires_unix_ms, author, reply_author, change";

impl Core {
    /// Lines never shown, oldest first; with `note`, notes that they are being shown.
    pub(crate) fn unshown(&mut self, max: usize, note: Note) -> Result<Vec<Line>, StoreError> {
        let lines = self.lines(
            &format!(
                "SELECT {LINE_COLUMNS} FROM lines WHERE shown < 2 AND gone < 2 ORDER BY id LIMIT ?1"
            ),
            params![i64::try_from(max).unwrap_or(i64::MAX)],
        )?;
        if note == Note::BeingShown && !lines.is_empty() {
            self.set_shown(&lines.iter().map(Line::id).collect::<Vec<_>>(), BEING_SHOWN)?;
        }
        Ok(lines)
    }

    /// As [`Self::unshown`], of one chat; notes that they are being shown.
    pub(crate) fn unshown_of(
        &mut self,
        chat: &ChatName,
        max: usize,
    ) -> Result<Vec<Line>, StoreError> {
        let lines = self.lines(
            &format!(
                "SELECT {LINE_COLUMNS} FROM lines
                 WHERE shown < 2 AND gone < 2 AND chat = ?1 ORDER BY id LIMIT ?2"
            ),
            params![chat, i64::try_from(max).unwrap_or(i64::MAX)],
        )?;
        if !lines.is_empty() {
            self.set_shown(&lines.iter().map(Line::id).collect::<Vec<_>>(), BEING_SHOWN)?;
        }
        Ok(lines)
    }

    /// The number of the newest line.
    pub(crate) fn last_line(&self) -> Result<Option<LocalId>, StoreError> {
        let db = self.profile.store.db();
        let id: Option<i64> = db.query_row("SELECT max(id) FROM lines", [], |row| row.get(0))?;
        Ok(id.map(LocalId))
    }

    /// Lines that are not one's own after the line `id`, oldest first.
    pub(crate) fn lines_after(&self, id: LocalId, max: usize) -> Result<Vec<Line>, StoreError> {
        self.lines(
            &format!(
                "SELECT {LINE_COLUMNS} FROM lines WHERE id > ?1 AND kind <> 0 ORDER BY id LIMIT ?2"
            ),
            params![id.0, i64::try_from(max).unwrap_or(i64::MAX)],
        )
    }

    /// Notes that lines are on the screen.
    pub(crate) fn shown(&mut self, ids: &[LocalId]) -> Result<(), StoreError> {
        self.set_shown(ids, SHOWN)
    }

    fn set_shown(&mut self, ids: &[LocalId], shown: i64) -> Result<(), StoreError> {
        let now = self.now();
        self.profile.store.commit(|tx| {
            let mut update =
                tx.prepare_cached("UPDATE lines SET shown = max(shown, ?2) WHERE id = ?1")?;
            for id in ids {
                update.execute(params![id.0, shown])?;
                // An own text began to age when it was sent.
                if shown == SHOWN && is_peers(tx, *id)? {
                    start_life(tx, id.0, now)?;
                }
            }
            Ok::<_, StoreError>(())
        })?;
        self.ring();
        Ok(())
    }

    /// Whether a chat has exactly one text of the other person.
    pub(crate) fn is_first_text(&self, chat: &ChatName) -> Result<bool, StoreError> {
        let lines: i64 = self.profile.store.db().query_row(
            "SELECT count(*) FROM (SELECT 1 FROM lines WHERE chat = ?1 AND kind = 1 LIMIT 2)",
            [chat],
            |row| row.get(0),
        )?;
        Ok(lines == 1)
    }

    /// One own or other line; `None` also when its time has run out.
    pub(crate) fn line(&self, id: LocalId) -> Result<Option<Line>, StoreError> {
        let lines = self.lines(
            &format!("SELECT {LINE_COLUMNS} FROM lines WHERE id = ?1 AND gone < 2"),
            params![id.0],
        )?;
        Ok(lines.into_iter().next())
    }

    pub(super) fn lines(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Line>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(sql)?;
        let mut rows = rows.query(params)?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            let mut line = read_line(&self.profile.key, row)?;
            if let Line::Message(message) = &mut line {
                self.complete(message)?;
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// Adds what stands in other rows: what is answered, and the reactions.
    fn complete(&self, message: &mut MessageView) -> Result<(), StoreError> {
        if let Some(reply) = &mut message.reply_to
            && let Some(id) = reply.id
        {
            reply.excerpt = self.excerpt(id)?;
        }
        message.file = self.file_view(message.id)?;
        let mut rows =
            self.profile.store.db().prepare_cached(
                "SELECT by, sealed_emoji FROM reactions WHERE line = ?1 ORDER BY by",
            )?;
        let mut rows = rows.query([message.id.0])?;
        while let Some(row) = rows.next()? {
            let emoji = unseal(&self.profile.key, &row.get::<_, Vec<u8>>(1)?)?;
            message.reactions.push(ReactionView {
                author: named(row.get(0)?)?,
                emoji: String::from_utf8_lossy(&emoji).into_owned(),
            });
        }
        Ok(())
    }

    /// All chats, newest first.
    pub(crate) fn chats(&mut self) -> Result<Vec<ChatView>, StoreError> {
        let rows: Vec<(String, i64, i64, i64, i64)> = {
            let mut rows = self.profile.store.db().prepare_cached(
                "SELECT l.chat, sum(l.shown < 2 AND l.kind <> 3), sum(l.kind = 0 AND l.state IN (-2, 0, 1)),
                        max(l.at_unix_ms), max(l.id)
                 FROM lines l WHERE l.gone < 2 GROUP BY l.chat
                 HAVING sum(l.shown < 2) > 0 OR l.chat NOT IN
                   (SELECT chat FROM chats WHERE closed = 1)
                 ORDER BY max(l.id) DESC",
            )?;
            let found = rows.query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })?;
            found.collect::<Result<_, _>>()?
        };
        let mut chats = Vec::new();
        for (name, unread, waiting, last, id) in rows {
            let Ok(chat) = ChatName::canonical(&name) else { continue };
            let person = match chat.person() {
                Some(user) => self.person(user)?,
                None => None,
            };
            // Nobody of that name: a slip of the keyboard is no chat.
            if person.is_some_and(|person| person.trust() == Trust::Unknown)
                && waiting == 0
                && unread == 0
            {
                continue;
            }
            let (trust, contact) = match person {
                Some(person) => (person.trust(), person.contact),
                None if chat.group().is_some() => (Trust::Unknown, Contact::Accepted),
                None => (Trust::Unknown, contact_of(0)),
            };
            let last_text = match self.line(LocalId(id))? {
                Some(Line::Message(MessageView { text, file: Some(file), .. }))
                    if text.is_empty() =>
                {
                    Some(file.name)
                }
                Some(Line::Message(message)) => Some(message.text),
                Some(Line::Trouble { .. } | Line::Membership { .. }) | None => None,
            };
            chats.push(ChatView {
                chat,
                unread: usize::try_from(unread).unwrap_or(0),
                waiting: usize::try_from(waiting).unwrap_or(0),
                last_unix_ms: unbits(last),
                trust,
                contact,
                last_text,
            });
        }
        Ok(chats)
    }

    /// Where the profile stands; the session adds what it knows of the connection.
    pub(crate) fn status(&self) -> Result<StatusView, StoreError> {
        let owner = &self.profile.owner;
        let unread = self.profile.store.db().query_row(
            "SELECT count(*) FROM lines WHERE shown < 2 AND gone < 2 AND kind <> 3",
            [],
            |row| row.get::<_, i64>(0),
        )?;
        Ok(StatusView {
            user: owner.user.clone(),
            device: self.profile.device,
            balancer: format!("{}:{}", owner.balancer.host, owner.balancer.port),
            cluster: owner.cluster.to_string(),
            connected: None,
            offline_since_unix_ms: None,
            waiting: self.waiting_count()?,
            unread: usize::try_from(unread).unwrap_or(0),
            fingerprint: hex(&self.profile.bundle.identity().0),
        })
    }
}

const BEING_SHOWN: i64 = 1;
const SHOWN: i64 = 2;

fn is_peers(tx: &Transaction<'_>, id: LocalId) -> Result<bool, rusqlite::Error> {
    tx.prepare_cached("SELECT 1 FROM lines WHERE id = ?1 AND kind = 1")?.exists([id.0])
}

/// Whether taking lines notes that they are being shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// They will be shown now.
    BeingShown,
    /// Only a look.
    Nothing,
}

fn read_line(key: &DbKey, row: &Row<'_>) -> Result<Line, StoreError> {
    let id = LocalId(row.get(0)?);
    let chat: String = row.get(1)?;
    let chat = ChatName::canonical(&chat).map_err(|_| StoreError::Sealed)?;
    let kind: i64 = row.get(2)?;
    let at_unix_ms = unbits(row.get(7)?);
    let again = row.get::<_, i64>(13)? == 1;
    if kind == KIND_TROUBLE {
        let trouble = trouble_of(row.get(4)?, row.get(5)?, row.get(6)?);
        return Ok(Line::Trouble { id, chat, trouble, at_unix_ms, again });
    }
    if kind == KIND_MEMBERSHIP {
        let Membership { group, by, change } = Membership::read(&row.get::<_, String>(23)?)?;
        return Ok(Line::Membership { id, chat, group, by, change, at_unix_ms, again });
    }
    let sealed: Vec<u8> = row.get(3)?;
    let gone = row.get::<_, i64>(19)? != 0;
    let text = match gone {
        true => String::new(),
        false => String::from_utf8_lossy(&unseal(key, &sealed)?).into_owned(),
    };
    let reply_to: Option<i64> = row.get(17)?;
    let n = N(unbits(row.get(10)?));
    let reply_by: Option<i64> = row.get(16)?;
    let reply_by = reply_by.map(|by| author_of(by, &chat, row.get(22)?)).transpose()?;
    Ok(Line::Message(MessageView {
        id,
        author: author_of(kind, &chat, row.get(21)?)?,
        chat,
        text,
        at_unix_ms,
        sent_at_unix_ms: unbits(row.get(8)?),
        state: state_of(row.get(11)?, row.get(12)?),
        wire_id: (n.0 > 0).then_some(WireId { device: DeviceId(unbits(row.get(9)?)), n }),
        again,
        unaccepted_key: row.get(14)?,
        form: if row.get::<_, i64>(15)? == 1 { Form::Emote } else { Form::Text },
        reply_to: reply_by.map(|author| ReplyView {
            id: reply_to.map(LocalId),
            author,
            excerpt: String::new(),
        }),
        edited: row.get(18)?,
        deleted: gone,
        reactions: Vec::new(),
        file: None,
        expires_unix_ms: row.get::<_, Option<i64>>(20)?.map(unbits),
    }))
}
