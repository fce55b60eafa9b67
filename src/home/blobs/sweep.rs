//! Rows and files brought back together: once before the start, and after rows went.
//!
//! Removes nothing whose name this program does not give, and no row: that of a file which is lost
//! goes when its time has come, so that a folder that was only forgotten can be put back.

use std::collections::BTreeSet;
use std::io;

use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::folder::Found;
use super::rows::BlobRows;
use super::{BlobFault, Blobs};
use crate::home::writer::Item;
use crate::types::{BlobId, UserName};

impl Blobs {
    /// Removes the files without a row, and gives each of the others the name that its row wants.
    /// Nothing is served meanwhile.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(in crate::home) fn tidy(&self, rows: BlobRows) -> io::Result<()> {
        let folder = &self.inner.folder;
        let (mut files, mut strange) = (BTreeSet::new(), 0_usize);
        folder.each(|found| match found {
            Found::Part(user, id) => drop(files.insert((user, id, Named::Part))),
            Found::Whole(user, id) => drop(files.insert((user, id, Named::Whole))),
            Found::Strange(_) => strange += 1,
        })?;
        let (mut removed, mut lost) = (0_usize, rows);
        for (user, id, named) in files {
            let key = (user, id);
            let Some(is_committed) = lost.get(&key).copied() else {
                removed += usize::from(folder.remove(&key.0, &key.1));
                continue;
            };
            let (user, id) = &key;
            let renamed = match (is_committed, named) {
                (true, Named::Part) => folder.publish(user, id),
                (false, Named::Whole) => folder.withdraw(user, id),
                (true, Named::Whole) | (false, Named::Part) => Ok(()),
            };
            renamed.map_err(|fault: BlobFault| io::Error::other(fault))?;
            lost.insert(key, false);
        }
        let lost = lost.values().filter(|is_missing| **is_missing).count();
        if removed > 0 {
            info!(removed, "files of uploads and blobs that nobody has any more were removed");
        }
        if lost > 0 || strange > 0 {
            let folder = folder.path().display();
            warn!(%folder, lost, strange, "blobs are missing, or other files lie among them");
        }
        Ok(())
    }

    /// Removes the files of blobs whose rows are gone, unless they were begun again since.
    pub(in crate::home) async fn sweep(
        self,
        gone: Vec<(UserName, BlobId)>,
        home: mpsc::WeakSender<Item>,
    ) {
        for (user, id) in gone {
            let _turn = self.turn(&id).await;
            let (answer, answered) = oneshot::channel();
            let Some(queue) = home.upgrade() else { return };
            if queue.send(Item::HasBlob(user.clone(), id, answer)).await.is_err() {
                return;
            }
            drop(queue);
            if let Ok(false) = answered.await {
                self.remove(&user, &id).await;
            }
            self.inner.env.disk_pause().await;
        }
        if let Some(queue) = home.upgrade() {
            let _ = queue.send(Item::Swept).await;
        }
    }
}

/// What a file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Part,
    Whole,
}
