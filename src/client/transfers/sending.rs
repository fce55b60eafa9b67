//! A file becomes a message: read once, sealed, on this disk; then it can go.

use std::path::Path;

use bytes::Bytes;

use crate::crypto::blob::BlobKey;
use crate::crypto::envelope::FileBody;
use crate::types::ChatName;

use super::super::Client;
use super::super::api::{FileDraft, FileError, LocalId, PictureChoice};
use super::super::file_names;
use super::super::pictures::{self, Content, Prepared, Treatment};
use super::spool::{SealedCopy, Source, Spools};

impl Client {
    /// Takes a file: when this returns, a sealed copy of it and its message are on this disk, and
    /// go out at the next contact: first the bytes, then the message. Reads the file to its end.
    ///
    /// # Errors
    /// [`FileError`]; nothing was stored then.
    pub async fn send_file(&self, to: &ChatName, draft: FileDraft) -> Result<LocalId, FileError> {
        let (env, spools) = {
            let mut core = self.core.lock();
            core.may_send_file(to, &draft)?;
            (core.env.clone(), Spools::new(core.spool_folder()))
        };
        let number = env.random_u64();
        let key = BlobKey::generate();
        let (path, choice, folder, seal_key) =
            (draft.path.clone(), draft.picture, spools.clone(), key.clone());
        let sealed = env.blocking(move || seal(&path, choice, &folder, &seal_key, number));
        let (prepared, copy) = sealed.await?;
        let blob = copy.shape.id();
        let body = FileBody {
            blob,
            bytes: copy.plain_bytes,
            key,
            name: prepared.name,
            media_type: prepared.media_type.to_owned(),
            dimensions: prepared.dimensions,
            thumbnail: prepared.thumbnail.map_or_else(Bytes::new, Bytes::from),
            caption: String::new(),
            reply_to: None,
            expire: None,
        };
        env.disk_pause().await;
        let queued = env.in_place(|| self.core.lock().queue_file(to, &draft, &body, &copy.shape));
        if queued.is_err() {
            env.blocking(move || spools.remove(&blob)).await;
        }
        queued
    }
}

/// Makes ready and seals, without a second look at the file in between.
fn seal(
    path: &Path,
    choice: PictureChoice,
    spools: &Spools,
    key: &BlobKey,
    number: u64,
) -> Result<(Prepared, SealedCopy), FileError> {
    let mut source = Source::open(path)?;
    // A picture may become small enough.
    if choice != PictureChoice::Fit {
        source.measure()?;
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let treatment = match choice {
        PictureChoice::Clean => Treatment::Clean,
        PictureChoice::Original => Treatment::Original,
        PictureChoice::Fit => Treatment::Fit,
    };
    let mut prepared = pictures::prepare(&mut source.file, &name, treatment)
        .map_err(|cause| FileError::Picture { path: path.to_owned(), cause })?;
    prepared.name = file_names::safe(&prepared.name);
    let copy = match &prepared.content {
        Content::Untouched => spools.seal(source, key, number)?,
        Content::Bytes(bytes) => {
            let copy = spools.seal_bytes(path, bytes, key, number)?;
            if !source.is_unchanged() {
                spools.remove(&copy.shape.id());
                return Err(FileError::Changed(path.to_owned()));
            }
            copy
        }
    };
    // The cleaned bytes are on the disk: nothing holds on to them while they travel.
    prepared.content = Content::Untouched;
    Ok((prepared, copy))
}
