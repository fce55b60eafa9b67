//! A hostile server: a real one, whose words are rewritten on their way to its clients.
//!
//! Sits at the two places where answers leave: `Env::on_the_way_out` for an edge's frames, and
//! `Env::on_chunk_out` for a home's chunks. Entries whose position an attack leaves alone are
//! numbered anew, so that left out, repeated and made up ones look as a server could make them
//! look.
//! Deliberately knows no attack: those are in `tests/hostile_server_suite.rs` and beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::net::Env;
use crate::net::env::{AskedChunk, ChunkSaid, WayOut};
use crate::types::UserName;
use crate::wire::client::{Entry, ServerFrame, server_frame::Body};

type RewriteChunk = Box<dyn FnMut(&AskedChunk<'_>, ChunkSaid) -> ChunkSaid + Send>;
type Rewrite = Box<dyn FnMut(ServerFrame) -> Vec<ServerFrame> + Send>;

/// The positions that a reader was given in one log.
struct Given {
    last: u64,
    /// The highest genuine position so far.
    genuine: u64,
    /// The first one given for each genuine position: read again, it has to be the same.
    first_for: BTreeMap<u64, u64>,
}

impl Given {
    /// Who begins to read at `seq` was given everything before it.
    fn before(seq: u64) -> Self {
        let before = seq.saturating_sub(1);
        Self { last: before, genuine: before, first_for: BTreeMap::new() }
    }

    /// The position for a genuine one. What the home itself leaves out, as what came while somebody
    /// was in no group, stays left out.
    fn place(&mut self, genuine: u64) -> u64 {
        let step = genuine.saturating_sub(self.genuine).max(1);
        self.genuine = self.genuine.max(genuine);
        *self.first_for.entry(genuine).or_insert(self.last + step)
    }
}

/// The will behind a hostile server: honest until told otherwise.
#[derive(Default)]
pub struct Hostile {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    attacks: BTreeMap<UserName, Rewrite>,
    chunk_attacks: BTreeMap<UserName, RewriteChunk>,
    /// Entries the server had for each person, by log, before any attack.
    had: BTreeMap<(UserName, String), Vec<Entry>>,
    given: BTreeMap<(UserName, String), Given>,
}

impl Hostile {
    /// Takes over the server that runs in `env`.
    pub fn over(env: &Env) -> Arc<Self> {
        let hostile = Arc::new(Self::default());
        env.set_way_out(hostile.clone());
        hostile
    }

    /// From now on: what goes to `victim` is what `rewrite` makes of it.
    pub fn rewrite_frames(
        &self,
        victim: &UserName,
        rewrite: impl FnMut(ServerFrame) -> Vec<ServerFrame> + Send + 'static,
    ) {
        self.inner().attacks.insert(victim.clone(), Box::new(rewrite));
    }

    /// The same for the envelopes in the victim's own log alone.
    pub fn rewrite_entries(
        &self,
        victim: &UserName,
        mut rewrite: impl FnMut(Bytes) -> Vec<Bytes> + Send + 'static,
    ) {
        self.rewrite_log(victim, &format!("@{victim}"), move |entry| {
            let with = |envelope| Entry { envelope, ..entry.clone() };
            rewrite(entry.envelope.clone()).into_iter().map(with).collect()
        });
    }

    /// The same for the entries that the victim is given of one log: "@bob", "#team".
    pub fn rewrite_log(
        &self,
        victim: &UserName,
        log: &str,
        mut rewrite: impl FnMut(Entry) -> Vec<Entry> + Send + 'static,
    ) {
        let log = log.to_owned();
        self.rewrite_frames(victim, move |frame| match frame.body {
            Some(Body::Entry(entry)) if entry.log == log => {
                rewrite(entry).into_iter().map(framed).collect()
            }
            _ => vec![frame],
        });
    }

    /// From now on: what the victim is answered about chunks is what `rewrite` makes of it.
    pub fn rewrite_chunks(
        &self,
        victim: &UserName,
        rewrite: impl FnMut(&AskedChunk<'_>, ChunkSaid) -> ChunkSaid + Send + 'static,
    ) {
        self.inner().chunk_attacks.insert(victim.clone(), Box::new(rewrite));
    }

    /// From now on `victim` gets what the real server says; positions go on as they were given.
    pub fn relent(&self, victim: &UserName) {
        let mut inner = self.inner();
        inner.attacks.remove(victim);
        inner.chunk_attacks.remove(victim);
    }

    /// The envelopes the server had for somebody's own log so far, in order.
    pub fn had(&self, user: &UserName) -> Vec<Bytes> {
        let entries = self.had_in(user, &format!("@{user}"));
        entries.into_iter().map(|entry| entry.envelope).collect()
    }

    /// The entries of one log the server had for somebody so far, in order.
    pub fn had_in(&self, user: &UserName, log: &str) -> Vec<Entry> {
        self.inner().had.get(&(user.clone(), log.to_owned())).cloned().unwrap_or_default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WayOut for Hostile {
    fn rewrite(&self, to: Option<&UserName>, frame: ServerFrame) -> Vec<ServerFrame> {
        let Some(to) = to else { return vec![frame] };
        let mut inner = self.inner();
        let Inner { attacks, had, given, .. } = &mut *inner;
        let mut genuine = 0;
        if let Some(Body::Entry(entry)) = &frame.body {
            let place = (to.clone(), entry.log.clone());
            had.entry(place.clone()).or_default().push(entry.clone());
            genuine = entry.seq;
            let given = given.entry(place).or_insert_with(|| Given::before(genuine));
            given.last = given.place(genuine) - 1;
        }
        let mut frames = match attacks.get_mut(to) {
            Some(rewrite) => rewrite(frame),
            None => vec![frame],
        };
        for frame in &mut frames {
            if let Some(Body::Entry(entry)) = &mut frame.body
                && entry.seq == genuine
            {
                let place = (to.clone(), entry.log.clone());
                let given = given.entry(place).or_insert_with(|| Given::before(genuine));
                given.last += 1;
                entry.seq = given.last;
            }
        }
        frames
    }

    fn rewrite_chunk(&self, asked: &AskedChunk<'_>, said: ChunkSaid) -> ChunkSaid {
        match self.inner().chunk_attacks.get_mut(asked.by) {
            Some(rewrite) => rewrite(asked, said),
            None => said,
        }
    }
}

fn framed(entry: Entry) -> ServerFrame {
    ServerFrame { rid: 0, optional: false, body: Some(Body::Entry(entry)) }
}
