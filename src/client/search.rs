//! Going back in a chat: its end, a day, or a word.

use std::borrow::Cow;

use rusqlite::params;

use crate::limits;
use crate::types::{ChatName, UserName};

use super::api::{Author, Line, LocalId};
use super::core::Core;
use super::store::{StoreError, bits, unseal};
use super::views::LINE_COLUMNS;

/// How far a look for a text has come.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Lines below this one are still to be looked at; `None`: all.
    below: Option<i64>,
    looked_at: usize,
    found: Vec<LocalId>,
}

/// Whether a look for a text goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Searched {
    More,
    All,
}

impl Core {
    /// The last `max` lines of a chat, oldest first.
    pub(crate) fn history(&self, chat: &ChatName, max: usize) -> Result<Vec<Line>, StoreError> {
        let mut lines = self.lines(
            &format!(
                "SELECT {LINE_COLUMNS} FROM lines WHERE chat = ?1 AND gone < 2
                 ORDER BY id DESC LIMIT ?2"
            ),
            params![chat, i64::try_from(max).unwrap_or(i64::MAX)],
        )?;
        lines.reverse();
        Ok(lines)
    }

    /// The first `max` lines of a chat that came at this time or later.
    pub(crate) fn since(
        &self,
        chat: &ChatName,
        from_unix_ms: u64,
        max: usize,
    ) -> Result<Vec<Line>, StoreError> {
        let from = i64::try_from(from_unix_ms).unwrap_or(i64::MAX);
        self.lines(
            &format!(
                "SELECT {LINE_COLUMNS} FROM lines WHERE chat = ?1 AND gone < 2
                 AND at_unix_ms >= ?2 ORDER BY id LIMIT ?3"
            ),
            params![chat, from, i64::try_from(max).unwrap_or(i64::MAX)],
        )
    }

    /// The newest own message of a chat that stands.
    pub(crate) fn last_own(&self, chat: &ChatName) -> Result<Option<LocalId>, StoreError> {
        let id: Option<i64> = self.profile.store.db().query_row(
            "SELECT max(id) FROM lines
             WHERE chat = ?1 AND kind = 0 AND gone = 0 AND state NOT IN (4, 5)",
            [chat],
            |row| row.get(0),
        )?;
        Ok(id.map(LocalId))
    }

    /// Looks for a text or the name of a file, whatever its case, through the next lines back: all
    /// are sealed, so each has to be opened. Called again until it says [`Searched::All`], so that
    /// nobody who waits for the core waits long.
    pub(crate) fn search_on(
        &self,
        wanted: &str,
        chat: Option<&ChatName>,
        max: usize,
        search: &mut Search,
    ) -> Result<Searched, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT l.id, l.sealed_text, f.line IS NOT NULL
             FROM lines l LEFT JOIN files f ON f.line = l.id
             WHERE l.id < ?1 AND l.kind < 2 AND l.gone = 0 AND (?2 IS NULL OR l.chat = ?2)
             ORDER BY l.id DESC LIMIT ?3",
        )?;
        let below = search.below.unwrap_or(i64::MAX);
        let mut rows = rows.query(params![below, chat, bits(SEARCHED_AT_ONCE)])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            if search.found.len() >= max || search.looked_at >= limits::SEARCHED_LINES_MAX {
                return Ok(Searched::All);
            }
            let (id, sealed): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let text = unseal(&self.profile.key, &sealed)?;
            let has = |text: &str| text.to_lowercase().contains(wanted);
            let named = if row.get(2)? { self.file_name(LocalId(id))? } else { None };
            if has(&String::from_utf8_lossy(&text)) || named.is_some_and(|name| has(&name)) {
                search.found.push(LocalId(id));
            }
            search.below = Some(id);
            search.looked_at += 1;
            seen += 1;
        }
        Ok(if seen == SEARCHED_AT_ONCE { Searched::More } else { Searched::All })
    }

    /// What a look for a text came to, oldest first.
    pub(crate) fn found(&self, search: &Search) -> Result<Vec<Line>, StoreError> {
        let mut lines = Vec::new();
        for id in search.found.iter().rev() {
            lines.extend(self.line(*id)?);
        }
        Ok(lines)
    }

    /// The beginning of a message's text, or the name of a file without words; empty when that is
    /// gone.
    pub(super) fn excerpt(&self, id: LocalId) -> Result<String, StoreError> {
        let sealed: Option<Vec<u8>> = {
            let mut rows = self
                .profile
                .store
                .db()
                .prepare_cached("SELECT sealed_text FROM lines WHERE id = ?1 AND gone = 0")?;
            let mut rows = rows.query([id.0])?;
            rows.next()?.map(|row| row.get(0)).transpose()?
        };
        let Some(sealed) = sealed else { return Ok(String::new()) };
        let text = unseal(&self.profile.key, &sealed)?;
        let named = if text.is_empty() { self.file_name(id)? } else { None };
        let text = named.map_or_else(|| String::from_utf8_lossy(&text), Cow::Owned);
        Ok(text.chars().take(limits::EXCERPT_CHARS_MAX).collect())
    }
}

/// Whose a stored "by" is in a chat; `name` is stored beside it in groups.
pub(super) fn author_of(
    by: i64,
    chat: &ChatName,
    name: Option<String>,
) -> Result<Author, StoreError> {
    match (by, chat) {
        (0, _) => Ok(Author::Me),
        (_, ChatName::Person(user)) => Ok(Author::Them(user.clone())),
        (_, ChatName::Group(_)) => named(name.ok_or(StoreError::Sealed)?),
    }
}

/// A stored name of an author; '' is the owner.
pub(super) fn named(name: String) -> Result<Author, StoreError> {
    if name.is_empty() {
        return Ok(Author::Me);
    }
    UserName::canonical(&name).map(Author::Them).map_err(|_| StoreError::Sealed)
}

const SEARCHED_AT_ONCE: u64 = 500;
