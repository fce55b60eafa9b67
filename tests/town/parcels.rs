//! Files in a town: what people send, what they see of it, and what lies on their disks.

use std::fs;
use std::path::{Path, PathBuf};

use fastchat::client::{
    FileDraft, FileError, Line, LocalId, MessageView, SaveTo, TransferState, TransferView,
};
use fastchat::types::UserName;
use tokio::time::{sleep, timeout};

use super::{LONG, Life, Town};
use std::time::Duration;

impl Town {
    /// A file to be sent: bytes that differ with its name.
    pub fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let folder = self.folder("outgoing");
        let seed = name.bytes().fold(7u64, |all, byte| all.wrapping_mul(31) + u64::from(byte));
        let mut state = seed | 1;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        });
        let path = folder.join(name);
        fs::write(&path, noise.take(bytes).collect::<Vec<u8>>()).unwrap();
        path
    }

    /// A folder of its own.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Sealed copies in somebody's profile.
    pub fn spools(&self, of: &Life) -> usize {
        names_in(&self.dir.path().join(of.name.as_str()).join("blobs")).len()
    }
}

impl Life {
    pub async fn sends(&self, to: &UserName, path: &Path, caption: &str) -> LocalId {
        let draft = FileDraft { caption: caption.to_owned(), ..FileDraft::of(path) };
        self.client.send_file(&to.clone().into(), draft).await.unwrap()
    }

    pub fn transfer(&self, id: LocalId) -> TransferView {
        self.client.transfer(id).unwrap().expect("no transfer")
    }

    pub async fn transfer_is(&self, id: LocalId, state: TransferState) {
        let wait = async {
            while self.transfer(id).state != state {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let found = timeout(LONG, wait).await;
        assert!(found.is_ok(), "{:?}, not {state:?}", self.transfer(id));
    }

    /// The next message with a file; what came before it is seen.
    pub async fn sees_a_file(&self) -> MessageView {
        let wait = async {
            loop {
                for line in self.client.take_unshown(1).unwrap() {
                    self.client.mark_shown(&[line.id()]).unwrap();
                    if let Line::Message(message) = line
                        && message.file.is_some()
                    {
                        return message;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, wait).await.expect("no file came")
    }

    /// Stores a file, if that ends within this time.
    pub async fn saves_within(
        &self,
        time: Duration,
        id: LocalId,
        folder: &Path,
    ) -> Option<Result<PathBuf, FileError>> {
        let to = SaveTo::Folder(folder.to_owned());
        timeout(time, self.client.save_file(id, &to)).await.ok()
    }
}

/// What is in a folder, in order; nothing where there is none.
pub fn names_in(folder: &Path) -> Vec<String> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> =
        found.map(name).map(|name| name.to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}
