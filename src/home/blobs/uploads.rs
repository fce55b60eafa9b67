//! Uploads that were begun in this life: what they must look like, and which chunks are there.
//!
//! Bounded: the one that was not used for longest is forgotten, and comes back when it is begun
//! again. No file is held open, for a system has fewer descriptors than a server has uploads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::{Have, Shape};
use crate::limits::UPLOADS_OPEN_MAX;
use crate::types::{BlobId, UserName};

/// One upload that chunks may come for.
pub(super) struct Upload {
    pub(super) shape: Shape,
    have: Mutex<Have>,
}

impl Upload {
    pub(super) fn new(shape: Shape, have: Have) -> Self {
        Self { shape, have: Mutex::new(have) }
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.lock().contains(index)
    }

    pub(super) fn insert(&self, index: u32) {
        self.lock().insert(index);
    }

    pub(super) fn have(&self) -> Have {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Have> {
        self.have.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that are known.
#[derive(Default)]
pub(super) struct Uploads {
    inner: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// With the time of the last use, counted in uses.
    uploads: BTreeMap<(UserName, BlobId), (u64, Arc<Upload>)>,
    uses: u64,
}

impl Uploads {
    pub(super) fn get(&self, user: &UserName, id: &BlobId) -> Option<Arc<Upload>> {
        let mut known = self.lock();
        known.uses += 1;
        let now = known.uses;
        let (used, upload) = known.uploads.get_mut(&(user.clone(), *id))?;
        *used = now;
        Some(Arc::clone(upload))
    }

    pub(super) fn insert(&self, user: &UserName, id: &BlobId, upload: Upload) {
        let mut known = self.lock();
        known.uses += 1;
        let now = known.uses;
        known.uploads.insert((user.clone(), *id), (now, Arc::new(upload)));
        if known.uploads.len() > UPLOADS_OPEN_MAX {
            let oldest = known.uploads.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                known.uploads.remove(&key);
            }
        }
    }

    pub(super) fn remove(&self, user: &UserName, id: &BlobId) {
        self.lock().uploads.remove(&(user.clone(), *id));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
