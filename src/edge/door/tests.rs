//! The door with a home behind it.

use super::*;
use crate::blob::{Shape, hash_chunk};
use crate::home::HomeConfig;
use crate::placement::{PlacementMap, ServerEntry};
use crate::types::ClusterId;
use crate::wire::client::{self, ClientFrame, client_frame::Body};

fn forward(body: Body) -> Forward {
    let frame = Some(ClientFrame { rid: 9, optional: false, body: Some(body) });
    Forward { sid: 3, user: "alice".into(), device: 7, session_epoch: 2, frame }
}

/// Id, size and hashes of a blob of one chunk.
fn begin() -> client::BeginBlob {
    let shape = Shape::made(9, vec![hash_chunk(b"some bytes")]).unwrap();
    client::BeginBlob {
        blob_id: shape.id().0.to_vec().into(),
        size: shape.bytes(),
        hashes: shape.hash_bytes().into(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_about_blobs_is_answered_by_rid_past_the_ordered_way() {
    let folder = tempfile::tempdir().unwrap();
    let (env, database) = (Env::system_for_tests(), folder.path().join("s1.db"));
    let (s1, cluster) = (ServerId::numbered(1), ClusterId([7; 32]));
    let entry = ServerEntry {
        id: s1.clone(),
        addr: ([127, 0, 0, 1], 0).into(),
        peer_addr: ([127, 0, 0, 1], 0).into(),
        spki_sha256: String::new(),
    };
    let map = Arc::new(PlacementMap::deal(vec![entry], String::new()));
    crate::home::create(&env, &database, &s1, &cluster, &map.slots_of(&s1)).unwrap();
    let limits = Arc::new(Limits::default());
    let server = s1.clone();
    let config = HomeConfig { database, server, cluster, map, limits: Arc::clone(&limits) };
    let home = HomeHandle::open(&env, config).unwrap();
    let door = HomeDoor::new(&env, s1.clone(), limits, home.clone());
    let (inlet, mut outlet) = door.attach(s1);
    let blob_id = begin().blob_id;
    let get = client::GetBlob { owner: "bob".into(), blob_id: blob_id.clone() };
    for (body, code) in [
        // The writer knows nobody of that name.
        (Body::BeginBlob(begin()), Code::NoSuchUser),
        (Body::CommitBlob(client::CommitBlob { blob_id: blob_id.clone() }), Code::NoSuchUser),
        (Body::DropBlob(client::DropBlob { blob_id }), Code::NoSuchUser),
        (Body::GetBlob(get), Code::NoSuchBlob),
    ] {
        inlet.forward(forward(body)).await.unwrap();
        let output = outlet.next().await.unwrap();
        let Some(server_frame::Body::Error(error)) = output.frame.body else {
            panic!("no error");
        };
        assert_eq!((error.code, output.frame.rid), (code as u32, 9));
        assert_eq!(output.to, [Target { sid: SessionId(3), open_id: 0 }]);
    }
    home.stop().await;
    inlet.forward(forward(Body::BeginBlob(begin()))).await.unwrap();
    // Whichever comes first: that the home is gone, or that this attachment is over.
    if let Some(output) = outlet.next().await {
        let Some(server_frame::Body::Error(error)) = output.frame.body else {
            panic!("no error");
        };
        assert_eq!(error.code, Code::HomeDown as u32);
    }
}
