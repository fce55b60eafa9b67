//! What the other side of a conversation said, put into the chat: a text becomes a line, anything
//! else changes a line that is there. What is not there stays not there: an author's numbers come
//! in order, so what a note is about came before it, or never.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::envelope::{Body, FileBody, HeaderInfo, MessageRef, OpenedMessage, Rich};
use crate::crypto::secret::DbKey;
use crate::roster::Roster;
use crate::types::{ChatName, ClusterId, GroupName, Seq, UserName};

use super::actions::{Changed, is_one_character, write_reaction};
use super::api::{Author, Event, LocalId, MessageState, Trouble};
use super::files::insert_arrived;
use super::forget::{Gone, forget_line, start_life};
use super::group_log::{group_reads_moved, hear_group_read};
use super::groups::Herald;
use super::reads::apply_read;
use super::settings::{life_ms, reopen};
use super::store::{StoreError, bits};
use super::taking::{Audience, show_trouble};
use super::views::{Key, PeerLine};

/// A message that was opened, and how its author stands here.
pub(super) struct Heard<'a> {
    pub(super) key: &'a DbKey,
    pub(super) cluster: ClusterId,
    pub(super) own: &'a UserName,
    /// Who wrote it.
    pub(super) author: &'a UserName,
    pub(super) chat: &'a ChatName,
    pub(super) header: Option<&'a HeaderInfo>,
    pub(super) message: &'a OpenedMessage,
    pub(super) author_key: Key,
    pub(super) audience: Audience,
    /// Whether read receipts are on.
    pub(super) receipts: bool,
    pub(super) now: u64,
    /// A file up to this size is fetched by itself.
    pub(super) fetch_max_bytes: u64,
    /// In a group: who is in it, and where in its log this stands.
    pub(super) group: Option<(&'a Roster, Seq)>,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Effect {
    /// Lines added.
    pub(crate) lines: usize,
    /// To be told once it is on disk.
    pub(crate) events: Vec<Event>,
    /// Groups that are not what they were: their rosters are to be fetched.
    pub(crate) rosters: Vec<GroupName>,
}

impl Effect {
    pub(crate) fn lines(lines: usize) -> Self {
        Self { lines, ..Self::default() }
    }
}

/// What becomes a line.
#[derive(Clone, Copy, Default)]
struct Said<'a> {
    /// A text, or the caption of a file.
    text: &'a str,
    reply_to: Option<&'a MessageRef>,
    emote: bool,
    expire: Option<Duration>,
    file: Option<&'a FileBody>,
}

impl Said<'_> {
    /// More than its text has to be noted.
    fn is_rich(&self) -> bool {
        self.reply_to.is_some() || self.emote || self.expire.is_some()
    }
}

/// A line that a note is about.
struct Subject {
    line: i64,
    /// Whose line it is.
    author: UserName,
}

impl Heard<'_> {
    /// Puts it into the chat.
    pub(super) fn take(&self, tx: &Transaction<'_>) -> Result<Effect, StoreError> {
        match &self.message.body {
            Body::Text(text) => self.text(tx, &Said { text, ..Said::default() }),
            Body::Rich(Rich { text, reply_to, emote, expire }) => {
                let reply_to = reply_to.as_ref();
                self.text(tx, &Said { text, reply_to, emote: *emote, expire: *expire, file: None })
            }
            Body::File(file) => {
                let (text, reply_to) = (file.caption.as_str(), file.reply_to.as_ref());
                let (expire, file) = (file.expire, Some(file.as_ref()));
                self.text(tx, &Said { text, reply_to, emote: false, expire, file })
            }
            Body::Bundle(_) => Ok(Effect::default()),
            Body::Welcome(_) | Body::Goodbye { .. } => {
                if self.audience == Audience::Nobody || self.author_key == Key::NotAccepted {
                    return Ok(Effect::default());
                }
                self.about_a_group(tx)
            }
            Body::Unknown(_) => {
                let trouble = &Trouble::UnknownSuite;
                show_trouble(tx, self.chat, self.audience, trouble, self.now).map(Effect::lines)
            }
            Body::Reaction { .. }
            | Body::Edit { .. }
            | Body::Delete { .. }
            | Body::Read { .. }
            | Body::ReadGroup { .. } => {
                // Whoever signs with a key that nobody accepted may be anybody.
                if self.author_key == Key::NotAccepted {
                    return Ok(Effect::default());
                }
                Ok(Effect { events: self.note(tx)?, ..Effect::default() })
            }
        }
    }

    fn about_a_group(&self, tx: &Transaction<'_>) -> Result<Effect, StoreError> {
        let Self { key: at_rest, cluster, own, author, now, .. } = *self;
        let herald = Herald { at_rest, cluster, own, author, now };
        match &self.message.body {
            Body::Welcome(welcome) => herald.welcome(tx, welcome),
            Body::Goodbye { group, id } => herald.goodbye(tx, group, id),
            _ => Ok(Effect::default()),
        }
    }

    fn text(&self, tx: &Transaction<'_>, said: &Said<'_>) -> Result<Effect, StoreError> {
        if self.audience == Audience::Nobody {
            return Ok(Effect::default());
        }
        let (key, chat) = (self.key, self.chat);
        let line = PeerLine {
            chat,
            group: self.group.map(|(_, seq)| (self.author, seq)),
            header: self.header,
            text: said.text,
            message: self.message,
            now: self.now,
            author_key: self.author_key,
        };
        line.insert(tx, key)?;
        reopen(tx, chat)?;
        let line = tx.last_insert_rowid();
        if let Some(file) = said.file {
            insert_arrived(tx, key, line, self.author, file, self.fetch_max_bytes)?;
        }
        if said.is_rich() {
            let reply = said.reply_to;
            let by = reply.and_then(|to| self.side(to));
            let reply_author = by.filter(|by| *by == 1 && self.group.is_some()).and(reply);
            let subject = reply.map(|to| self.subject(tx, to)).transpose()?.flatten();
            tx.prepare_cached(
                "UPDATE lines SET form = ?2, reply_by = ?3, reply_to = ?4, expire_ms = ?5,
                 reply_author = ?6 WHERE id = ?1",
            )?
            .execute(params![
                line,
                said.emote,
                by,
                subject.map(|subject| subject.line),
                bits(said.expire.map_or(0, life_ms)),
                reply_author.map(|to| to.author.as_str()),
            ])?;
        }
        Ok(Effect::lines(1))
    }

    fn note(&self, tx: &Transaction<'_>) -> Result<Vec<Event>, StoreError> {
        let chat = self.chat.clone();
        // Of somebody who is blocked, nothing is shown; what they want forgotten is forgotten.
        let heard = self.audience == Audience::Person;
        Ok(match &self.message.body {
            Body::Reaction { to, emoji } if heard => {
                let emoji = emoji.as_deref();
                if emoji.is_some_and(|emoji| !is_one_character(emoji)) {
                    return Ok(Vec::new());
                }
                let Some(Subject { line, author: _ }) = self.subject(tx, to)? else {
                    return Ok(Vec::new());
                };
                let by = Author::Them(self.author.clone());
                if write_reaction(tx, self.key, line, &by, emoji)? == Changed::Nothing {
                    return Ok(Vec::new());
                }
                let emoji = emoji.map(str::to_owned);
                vec![Event::Reacted { id: LocalId(line), chat, by, emoji }]
            }
            Body::Edit { to, text } if heard => {
                let Some(line) = self.their_own(tx, to)? else { return Ok(Vec::new()) };
                tx.prepare_cached("UPDATE lines SET sealed_text = ?2, edited = 1 WHERE id = ?1")?
                    .execute(params![line, self.key.seal(text.as_bytes())])?;
                vec![Event::Edited { id: LocalId(line), chat }]
            }
            Body::Delete { to } => {
                let Some(line) = self.their_own(tx, to)? else { return Ok(Vec::new()) };
                forget_line(tx, line, Gone::Deleted)?;
                vec![Event::Deleted { id: LocalId(line), chat }]
            }
            Body::Read { device, n } if heard && self.receipts => {
                let mut events = Vec::new();
                for id in apply_read(tx, self.chat, *device, *n)? {
                    start_life(tx, id.0, self.now)?;
                    let chat = self.chat.clone();
                    events.push(Event::State { id, chat, state: MessageState::Read });
                }
                events
            }
            Body::ReadGroup { seq } if heard && self.receipts => {
                let Some((roster, at)) = self.group else { return Ok(Vec::new()) };
                // Nobody has read what is not written yet.
                hear_group_read(tx, self.chat, self.author, (*seq).min(at))?;
                group_reads_moved(tx, self.chat, self.own, roster, self.now)?
            }
            Body::Reaction { .. }
            | Body::Edit { .. }
            | Body::Read { .. }
            | Body::ReadGroup { .. }
            | Body::Welcome(_)
            | Body::Goodbye { .. }
            | Body::Text(_)
            | Body::Rich(_)
            | Body::File(_)
            | Body::Bundle(_)
            | Body::Unknown(_) => Vec::new(),
        })
    }

    /// Whose message is named: 0 own, 1 somebody else's, else nobody's of this conversation.
    fn side(&self, to: &MessageRef) -> Option<i64> {
        if to.author == *self.own {
            Some(0)
        } else if to.author == *self.author || self.group.is_some() {
            Some(1)
        } else {
            None
        }
    }

    /// The named line, if it is here and has its text.
    fn subject(
        &self,
        tx: &Transaction<'_>,
        to: &MessageRef,
    ) -> Result<Option<Subject>, StoreError> {
        let Some(kind) = self.side(to) else { return Ok(None) };
        let n = i64::try_from(to.n.0).unwrap_or(i64::MAX);
        // Members choose their devices' ids: one's own may be another's as well.
        let named = (kind == 1 && self.group.is_some()).then_some(to.author.as_str());
        let line: Option<i64> = tx
            .prepare_cached(
                "SELECT id FROM lines WHERE chat = ?1 AND kind = ?2 AND device = ?3 AND n = ?4
                 AND n <> 0 AND gone = 0 AND author IS ?5",
            )?
            .query_row(params![self.chat, kind, bits(to.device.0), n, named], |row| row.get(0))
            .optional()?;
        Ok(line.map(|line| Subject { line, author: to.author.clone() }))
    }

    /// The named line, if its author is the one who speaks.
    fn their_own(&self, tx: &Transaction<'_>, to: &MessageRef) -> Result<Option<i64>, StoreError> {
        let subject = self.subject(tx, to)?;
        Ok(subject.filter(|subject| subject.author == *self.author).map(|subject| subject.line))
    }
}
