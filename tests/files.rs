//! Files from people to people and groups: they arrive whole, and what is interrupted goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod parcels;
mod raw;

use fastchat::client::{MessageState, TransferState};
use parcels::{Town, are_alike};

const MIB: usize = 1024 * 1024;

#[tokio::test(start_paused = true)]
async fn a_file_goes_to_somebody_on_another_server_and_comes_out_the_same() {
    let mut town = Town::new(2).await;
    let alice = town.sign_up(1, "alice").await;
    let bob = town.sign_up(2, "bob").await;
    let folder = town.folder("bob's");
    for (name, bytes) in [("large.bin", 5 * MIB), ("small.bin", 1)] {
        let path = town.file(name, bytes);
        let id = alice.sends(&bob.chat(), &path).await;
        alice.stands(id, &MessageState::Delivered).await;
        assert_eq!(alice.transfer(id).state, TransferState::Done);
        assert_eq!(alice.spools(), 0, "its sealed copy is of no more use");
        let message = bob.sees(1).await.remove(0);
        let file = message.file.unwrap();
        assert_eq!((file.name.as_str(), file.bytes), (name, bytes as u64));
        assert_eq!(file.transfer, TransferState::NotFetched, "nobody asked for it");
        let saved = bob.saves(message.id, &folder).await;
        assert_eq!(saved, folder.join(name));
        are_alike(&path, &saved);
    }
}
