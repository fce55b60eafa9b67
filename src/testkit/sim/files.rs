//! Files in a run: who sends some, who fetches and stores them.
//!
//! Takes numbers of its own, and none from what else happens. Few and small: the texts are what the
//! network is for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::SetupError;
use super::world::{Person, World, database, diary};
use crate::client::{FileDraft, LocalId, PictureChoice, SaveTo, TransferPolicy, TransferState};
use crate::limits::CHUNK_PLAIN_BYTES;
use crate::placement::slot_of_user;
use crate::testkit::checkers::{SentFile, digest, files};
use crate::types::{ChatName, LogName, UserName};

/// Of a hundred steps, in so many somebody sends a file.
const PERCENT: u32 = 30;
/// Larger ones wait until somebody asks for them.
const AUTO_FETCH_BYTES: u64 = 100_000;

/// Taken by whose client, as which message, with which caption, for which chat.
type Taken = (usize, LocalId, String, ChatName);

/// The files of a run.
pub(super) struct Files {
    rng: StdRng,
    count: usize,
    /// What clients took since somebody looked: by whom.
    taken: Arc<Mutex<Vec<Taken>>>,
    /// What clients should have taken and did not.
    refused: Arc<Mutex<Vec<String>>>,
}

impl Files {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0xf11e5);
        Self { rng, count: 0, taken: Arc::default(), refused: Arc::default() }
    }

    fn pick(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count.max(1))
    }

    /// Mostly what fits in a few packets; now and then some chunks, or exactly full ones.
    fn content(&mut self) -> Vec<u8> {
        let chunk = CHUNK_PLAIN_BYTES;
        let bytes = match self.pick(10) {
            0..=4 => 1 + self.pick(3_000),
            5..=7 => 1 + self.pick(chunk),
            8 => chunk * (1 + self.pick(2)) + self.pick(3) - 1,
            _ => chunk + self.pick(2 * chunk),
        };
        let mut content = vec![0; bytes];
        self.rng.fill(&mut content[..]);
        content
    }
}

/// What every client carries on by itself.
pub(super) const fn policy() -> TransferPolicy {
    TransferPolicy { auto_fetch_bytes: AUTO_FETCH_BYTES, resumes: true }
}

/// Where a person stores files.
pub(super) fn saved(person: &Path) -> PathBuf {
    person.join("saved")
}

impl World {
    /// Perhaps somebody sends a file.
    pub(super) fn step_files(&mut self) -> Result<(), SetupError> {
        if !self.files.rng.random_ratio(PERCENT, 100) {
            return Ok(());
        }
        let from = self.files.pick(self.people.len());
        let groups = if self.has_groups { self.groups.names.len() } else { 0 };
        let to = self.files.pick(self.people.len() + groups);
        let content = self.files.content();
        let Some(Person { name, running: Some(life), .. }) = self.people.get(from) else {
            return Ok(());
        };
        let chat = match (self.people.get(to), to.checked_sub(self.people.len())) {
            (Some(person), _) if person.name == *name => return Ok(()),
            (Some(person), _) => ChatName::Person(person.name.clone()),
            (None, group) => match self.groups.names.get(group.unwrap_or(0)) {
                Some(group) => ChatName::Group(group.clone()),
                None => return Ok(()),
            },
        };
        // Where its bytes go.
        self.last_log = Some(LogName::inbox(name.clone()));
        self.texts += 1;
        self.files.count += 1;
        let caption = format!("{name}>{chat} #{} with a file", self.texts);
        let file =
            SentFile { name: format!("file-{}.bin", self.files.count), digest: digest(&content) };
        let folder = self.folder.join("outgoing");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(&file.name);
        std::fs::write(&path, content)?;
        let draft = FileDraft {
            caption: caption.clone(),
            picture: PictureChoice::Original,
            ..FileDraft::of(path)
        };
        let (client, name, net) = (life.client.clone(), name.clone(), self.net.clone());
        let (book, taken) = (Arc::clone(&self.diary), Arc::clone(&self.files.taken));
        let refused = Arc::clone(&self.files.refused);
        life.env.spawn(async move {
            // Whoever is killed before this is over has not sent it.
            match client.send_file(&chat, draft).await {
                Ok(id) => {
                    let mut diary = diary(&book);
                    diary.wrote(&name, &chat, &caption);
                    diary.sent_file(&caption, file);
                    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                    taken.push((from, id, caption, chat));
                }
                // Of a group one may be out.
                Err(error) => {
                    let error = format!("{caption:?} was not taken: {error}");
                    net.note(&error);
                    if chat.person().is_some() {
                        refused.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                    }
                }
            }
        });
        Ok(())
    }

    /// From now on they are asked about like texts.
    pub(super) fn note_taken_files(&mut self) {
        let mut taken = self.files.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, id, caption, chat) in taken.drain(..) {
            if let Some(person) = self.people.get_mut(from) {
                person.taken.push((id, caption, chat));
            }
        }
        let mut refused = self.files.refused.lock().unwrap_or_else(PoisonError::into_inner);
        self.violations.append(&mut refused);
    }

    /// Files on screens whose bytes are not here yet.
    pub(super) fn files_missing(&self) -> Result<Vec<String>, SetupError> {
        let mut missing = Vec::new();
        for person in &self.people {
            let Some(life) = &person.running else { continue };
            let shown = diary(&self.diary).files_of(&person.name);
            for (id, caption, _) in shown {
                let state = life.client.transfer(id)?.map(|view| view.state);
                if state == Some(TransferState::Done) {
                    continue;
                }
                if state == Some(TransferState::NotFetched) {
                    life.client.resume_transfer(id)?;
                }
                let name = &person.name;
                missing.push(format!("F5: {name} does not get the file of {caption:?}: {state:?}"));
            }
        }
        Ok(missing)
    }

    /// Everybody stores what they were shown and have not stored; then all files are looked at. How
    /// many there are in the folders of readers.
    pub(super) async fn judge_files(&mut self) -> Result<usize, SetupError> {
        let mut count = 0;
        for person in &self.people {
            let folder = saved(&person.folder);
            let shown = diary(&self.diary).files_of(&person.name);
            let to = SaveTo::Folder(folder.clone());
            for (id, caption, file) in &shown {
                let is_there = file.as_ref().is_some_and(|file| folder.join(&file.name).exists());
                if let Some(life) = &person.running
                    && !is_there
                    && let Err(error) = life.client.save_file(*id, &to).await
                {
                    self.violations.push(format!("F4: {caption:?} cannot be stored: {error}"));
                }
            }
            let shown: Vec<_> =
                shown.into_iter().map(|(_, caption, file)| (caption, file)).collect();
            count += shown.len();
            self.violations.extend(files::audit_saved(&person.name, &folder, &shown)?);
        }
        for server in &self.map.servers {
            let path = database(&self.folder, &server.id);
            self.violations.extend(files::audit_home(&path, &path.with_extension("blobs"))?);
        }
        Ok(count)
    }

    /// The folder with the blobs of a person.
    pub(super) fn blobs_of(&self, user: &UserName) -> PathBuf {
        let home = self.map.home_of_slot(slot_of_user(user));
        let database = home.map(|home| database(&self.folder, &home.id)).unwrap_or_default();
        database.with_extension("blobs").join(user.as_str())
    }
}
