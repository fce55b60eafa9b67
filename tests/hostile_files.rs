//! Files under a real server that lies about them, and from a person who works for it: one test per
//! kind of lie. The file never appears, neither stored nor called done, and nothing of it is left
//! behind; the words that came with it are shown, and the genuine file comes once the server is
//! honest. `docs/ATTACKS.md` is the list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;
mod town;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastchat::blob::{Shape, hash_chunk};
use fastchat::client::pictures::thumbnail;
use fastchat::client::{
    FileError, LocalId, MessageState, MessageView, Refusal, TransferFailure, TransferState,
};
use fastchat::crypto::Body;
use fastchat::crypto::blob::BlobKey;
use fastchat::crypto::envelope::FileBody;
use fastchat::limits::{CHUNK_PLAIN_BYTES, FILE_BYTES_MAX};
use fastchat::net::env::{AskedChunk, ChunkSaid};
use fastchat::types::BlobId;
use fastchat::ui::say;
use fastchat::wire::Code;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{BlobInfo, BlobOffer, ChunkAnswer, Done, Error};
use raw::chunks::Blob;
use tokio::time::sleep;
use town::eve::Eve;
use town::parcels::names_in;
use town::scene::{Scene, answers, scene};

/// Two whole chunks and a part of one.
const BYTES: usize = 2 * CHUNK_PLAIN_BYTES + 1_000;
const CAPTION: &str = "look at this";
/// In which a client that is led in circles asks many times: virtual.
const A_WHILE: Duration = Duration::from_secs(60);
/// How often a client may ask for one thing in that time: with pauses between.
const ASKED_MAX: usize = 60;

type InfoLie = Box<dyn Fn(&mut BlobInfo) + Send>;
type ChunkLiar = Box<dyn FnOnce(&Parcel) -> ChunkLie>;
type ChunkLie = Box<dyn Fn(&AskedChunk<'_>, ChunkSaid) -> ChunkSaid + Send>;

/// What came of a lie.
#[derive(Debug, PartialEq)]
enum Outcome {
    Failed(TransferFailure),
    /// It is tried again, with pauses.
    Waits,
}
use Outcome::{Failed, Waits};

const NOT_THE_FILE: Outcome = Failed(TransferFailure::NotTheFile);
const GONE: Outcome = Failed(TransferFailure::Gone);

/// A file that Alice sent to Bob, and its sealed chunks.
struct Parcel {
    source: PathBuf,
    message: MessageView,
    chunks: Vec<Bytes>,
}

struct Post {
    scene: Scene,
    sent: usize,
}

impl Post {
    async fn new() -> Self {
        Self { scene: scene().await, sent: 0 }
    }

    async fn parcel(&mut self) -> Parcel {
        let Scene { town, alice, bob } = &self.scene;
        self.sent += 1;
        let source = town.file(&format!("map {}.bin", self.sent), BYTES);
        let id = alice.sends(&bob.name, &source, CAPTION).await;
        alice.transfer_is(id, TransferState::Done).await;
        let message = bob.sees_a_file().await;
        assert_eq!(message.text, CAPTION, "the words are shown at once");
        assert_eq!(message.file.as_ref().unwrap().transfer, TransferState::NotFetched);
        // Her own file comes back to her through the server's hands.
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let notes = Arc::clone(&seen);
        town.hostile.rewrite_chunks(&alice.name, move |asked, said| {
            notes.lock().unwrap().insert(asked.index, said.follows.clone());
            said
        });
        let own = alice.saves_within(A_WHILE, id, &town.folder("alice's")).await;
        own.unwrap().unwrap();
        town.hostile.relent(&alice.name);
        let chunks = seen.lock().unwrap().values().cloned().collect::<Vec<_>>();
        assert_eq!(chunks.len(), 3);
        Parcel { source, message, chunks }
    }

    fn folder(&self) -> PathBuf {
        self.scene.town.folder("bob's")
    }

    /// Bob wants a file while the server lies about it; then it is honest, and he gets the file.
    async fn under(&self, parcel: &Parcel, lie: &str) -> Outcome {
        let outcome = self.lied_to(parcel, lie).await;
        self.scene.town.hostile.relent(&self.scene.bob.name);
        self.comes(parcel).await;
        outcome
    }

    async fn lied_to(&self, parcel: &Parcel, lie: &str) -> Outcome {
        let (bob, id) = (&self.scene.bob, parcel.message.id);
        let before = names_in(&self.folder());
        let outcome = match bob.saves_within(A_WHILE, id, &self.folder()).await {
            Some(Ok(path)) => panic!("{lie}: {path:?} was stored"),
            Some(Err(FileError::Transfer(failure))) => {
                let state = bob.transfer(id).state;
                assert_eq!(state, TransferState::Failed(failure), "{lie}");
                // Said without a stumble.
                say::transfer_failure(failure, &bob.transfer(id));
                Failed(failure)
            }
            Some(Err(error)) => panic!("{lie}: {error}"),
            None => {
                let state = bob.transfer(id).state;
                let goes_on = matches!(state, TransferState::Waiting(_) | TransferState::Running);
                assert!(goes_on, "{lie}: {state:?}");
                Waits
            }
        };
        assert_eq!(names_in(&self.folder()), before, "{lie}");
        if outcome == NOT_THE_FILE {
            assert_eq!(self.scene.town.spools(bob), before.len(), "{lie}: a copy is left");
        }
        let shown = bob.client.message(id).unwrap().unwrap();
        assert_eq!(shown.text, CAPTION, "{lie}");
        outcome
    }

    /// The genuine file, and nothing else, is stored.
    async fn comes(&self, parcel: &Parcel) {
        let (bob, folder) = (&self.scene.bob, self.folder());
        let saved = bob.saves_within(10 * A_WHILE, parcel.message.id, &folder).await;
        let saved = saved.expect("it never comes").unwrap();
        assert!(fs::read(&saved).unwrap() == fs::read(&parcel.source).unwrap());
        let state = self.scene.bob.transfer(parcel.message.id).state;
        assert_eq!(state, TransferState::Done);
        let parts = names_in(&self.folder());
        assert!(parts.iter().all(|name| !name.ends_with(".part")), "{parts:?}");
    }

    /// As [`Self::under`], for what is answered about chunks.
    async fn under_chunks(&mut self, lie: &str, tell: impl FnOnce(&Parcel) -> ChunkLie) -> Outcome {
        let parcel = self.parcel().await;
        let tell = tell(&parcel);
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let (hostile, bob) = (&self.scene.town.hostile, &self.scene.bob.name);
        hostile.rewrite_chunks(bob, move |asked, said| {
            *count.lock().unwrap() += 1;
            tell(asked, said)
        });
        let outcome = self.under(&parcel, lie).await;
        let asked = *asked.lock().unwrap();
        assert!((1..ASKED_MAX).contains(&asked), "{lie}: asked {asked} times");
        outcome
    }

    /// As [`Self::under`], for what is answered on the session's stream.
    async fn under_frames(
        &mut self,
        lie: &str,
        tell: impl FnOnce(&Parcel) -> Box<dyn Fn(&mut Answer) + Send>,
    ) -> Outcome {
        let parcel = self.parcel().await;
        let tell = tell(&parcel);
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let (hostile, bob) = (&self.scene.town.hostile, &self.scene.bob.name);
        hostile.rewrite_frames(
            bob,
            answers(move |answer| {
                if matches!(answer, Answer::BlobInfo(_)) {
                    *count.lock().unwrap() += 1;
                    tell(answer);
                }
            }),
        );
        let outcome = self.under(&parcel, lie).await;
        let asked = *asked.lock().unwrap();
        assert!((1..ASKED_MAX).contains(&asked), "{lie}: asked {asked} times");
        outcome
    }
}

/// These bytes, announced as they are.
fn whole(follows: Bytes) -> ChunkSaid {
    let length = u32::try_from(follows.len()).unwrap();
    ChunkSaid { head: ChunkAnswer { length, ..ChunkAnswer::default() }, follows }
}

fn refused(code: u32) -> ChunkSaid {
    ChunkAnswer { code, ..ChunkAnswer::default() }.into()
}

fn error(code: Code, limit_bytes: u64, used_bytes: u64) -> Answer {
    Answer::Error(Error { code: code as u32, limit_bytes, used_bytes, ..Error::default() })
}

// ---------------------------------------------------------------- what the home gives

#[tokio::test(start_paused = true)]
async fn without_an_attack_a_file_comes_and_its_words_with_it() {
    let mut post = Post::new().await;
    let parcel = post.parcel().await;
    post.comes(&parcel).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_the_chunk_are_not_stored() {
    let mut post = Post::new().await;
    let foreign = post.parcel().await.chunks;
    let lies: Vec<(&str, ChunkLiar)> = vec![
        (
            "reordered",
            Box::new(|parcel| {
                let chunks = parcel.chunks.clone();
                Box::new(move |asked, _| whole(chunks[[1, 0, 2][asked.index as usize]].clone()))
            }),
        ),
        (
            "another one in its place",
            Box::new(|parcel| {
                let chunks = parcel.chunks.clone();
                Box::new(move |_, _| whole(chunks[0].clone()))
            }),
        ),
        (
            "the short one first",
            Box::new(|parcel| {
                let chunks = parcel.chunks.clone();
                Box::new(move |asked, _| whole(chunks[[2, 1, 0][asked.index as usize]].clone()))
            }),
        ),
        (
            "of another file",
            Box::new(move |_| {
                Box::new(move |asked, _| whole(foreign[asked.index as usize].clone()))
            }),
        ),
        (
            "one byte changed",
            Box::new(|_| {
                Box::new(|asked, said| {
                    let mut bytes = said.follows.to_vec();
                    if asked.index == 1 {
                        bytes[70_000] ^= 1;
                    }
                    whole(bytes.into())
                })
            }),
        ),
        (
            "too short",
            Box::new(|_| Box::new(|_, said| whole(said.follows.slice(..said.follows.len() - 1)))),
        ),
        (
            "too long",
            Box::new(|_| {
                Box::new(|_, said| whole([said.follows, Bytes::from_static(b"x")].concat().into()))
            }),
        ),
        (
            "nothing, and called a chunk",
            Box::new(|_| {
                Box::new(|_, _| ChunkAnswer { stored: true, ..ChunkAnswer::default() }.into())
            }),
        ),
        (
            "four gigabytes announced",
            Box::new(|_| {
                Box::new(|_, said| {
                    let head = ChunkAnswer { length: u32::MAX, ..ChunkAnswer::default() };
                    ChunkSaid { head, follows: said.follows.repeat(20).into() }
                })
            }),
        ),
    ];
    for (lie, tell) in lies {
        assert_eq!(post.under_chunks(lie, tell).await, NOT_THE_FILE, "{lie}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_or_never_ends_is_asked_for_again_with_pauses() {
    let mut post = Post::new().await;
    let lies: [(&str, ChunkLie); 5] = [
        (
            "less than announced",
            Box::new(|_, said| {
                let follows = said.follows.slice(..said.follows.len() / 2);
                ChunkSaid { head: said.head, follows }
            }),
        ),
        (
            "endless",
            Box::new(|_, said| ChunkSaid {
                head: said.head,
                follows: said.follows.repeat(20).into(),
            }),
        ),
        ("an empty frame", Box::new(|_, _| ChunkSaid::default())),
        ("a code that nobody knows", Box::new(|_, _| refused(60_000))),
        (
            "slower, for ever",
            Box::new(|_, _| {
                let (code, retry_after_ms) = (Code::SlowDown as u32, u64::MAX);
                ChunkAnswer { code, retry_after_ms, ..ChunkAnswer::default() }.into()
            }),
        ),
    ];
    for (lie, tell) in lies {
        assert_eq!(post.under_chunks(lie, |_| tell).await, Waits, "{lie}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_will_not_give_a_chunk_is_told_of() {
    let mut post = Post::new().await;
    for code in [Code::NoSuchBlob, Code::BlobHash, Code::Quota] {
        let lie = format!("{code:?}");
        let outcome = post.under_chunks(&lie, |_| Box::new(move |_, _| refused(code as u32)));
        let expected = match code {
            Code::NoSuchBlob => GONE,
            code => Failed(TransferFailure::Server(code)),
        };
        assert_eq!(outcome.await, expected, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hashes_and_sizes_that_are_not_the_files_are_not_believed() {
    let mut post = Post::new().await;
    let foreign = post.parcel().await;
    let hashes = |chunks: &[Bytes]| chunks.iter().map(|c| hash_chunk(c)).collect::<Vec<_>>();
    let foreign_hashes = Bytes::from(hashes(&foreign.chunks).concat());
    let size = foreign.chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
    let lies: Vec<(&str, InfoLie)> = vec![
        (
            "another hash",
            Box::new(|info| {
                let mut hashes = info.hashes.to_vec();
                hashes[40] ^= 1;
                info.hashes = hashes.into();
            }),
        ),
        (
            "hashes in another order",
            Box::new(|info| {
                let mut hashes = info.hashes.to_vec();
                hashes.rotate_left(32);
                info.hashes = hashes.into();
            }),
        ),
        ("another file's", Box::new(move |info| info.hashes = foreign_hashes.clone())),
        ("too few", Box::new(|info| info.hashes = info.hashes.slice(32..))),
        (
            "too few, and a size that fits",
            Box::new(|info| {
                info.hashes = info.hashes.slice(..64);
                info.size = 2 * 262_500;
            }),
        ),
        ("too many", Box::new(|info| info.hashes = info.hashes.repeat(40).into())),
        ("a part of one", Box::new(|info| info.hashes = info.hashes.slice(..95))),
        ("none", Box::new(|info| info.hashes = Bytes::new())),
        ("nothing", Box::new(|info| *info = BlobInfo::default())),
        ("a larger size", Box::new(move |info| info.size = size + 1)),
        ("a smaller size", Box::new(move |info| info.size = size - 1)),
        ("no size", Box::new(|info| info.size = 0)),
        ("every size", Box::new(|info| info.size = u64::MAX)),
    ];
    for (lie, tell) in lies {
        let outcome = post.under_frames(lie, |_| {
            Box::new(move |answer| {
                if let Answer::BlobInfo(info) = answer {
                    tell(info);
                }
            })
        });
        assert_eq!(outcome.await, NOT_THE_FILE, "{lie}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_does_not_say_what_the_file_is_is_told_of_or_asked_again() {
    let mut post = Post::new().await;
    let failed = |failure| Failed(failure);
    let most = u64::MAX;
    let lies = [
        ("gone", error(Code::NoSuchBlob, 0, 0), GONE),
        (
            "more used than there is",
            error(Code::Quota, 1, most),
            failed(TransferFailure::Quota { limit_bytes: 1, used_bytes: most }),
        ),
        (
            "the largest is too large",
            error(Code::Quota, most, 0),
            failed(TransferFailure::TooLarge { limit_bytes: most }),
        ),
        (
            "nothing is too large",
            error(Code::Quota, 0, 0),
            failed(TransferFailure::TooLarge { limit_bytes: 0 }),
        ),
        ("done", Answer::Done(Done::default()), Waits),
        ("an offer", Answer::BlobOffer(BlobOffer::default()), Waits),
    ];
    for (lie, said, expected) in lies {
        let outcome = post.under_frames(lie, |_| Box::new(move |answer| *answer = said.clone()));
        assert_eq!(outcome.await, expected, "{lie}");
    }
}

// ---------------------------------------------------------------- what the home takes

/// What Alice sends while her home lies to her; how often her client began, put and ended it.
struct Upload {
    id: LocalId,
    source: PathBuf,
    counts: Arc<Mutex<[usize; 3]>>,
}

impl Post {
    async fn uploads(
        &mut self,
        frames: impl Fn(&mut Answer) + Send + 'static,
        chunks: impl Fn(&AskedChunk<'_>, ChunkSaid) -> ChunkSaid + Send + 'static,
    ) -> Upload {
        let Scene { town, alice, bob } = &self.scene;
        self.sent += 1;
        let source = town.file(&format!("up {}.bin", self.sent), BYTES);
        let counts = Arc::new(Mutex::new([0; 3]));
        let (count, put) = (Arc::clone(&counts), Arc::clone(&counts));
        town.hostile.rewrite_frames(
            &alice.name,
            answers(move |answer| {
                if matches!(answer, Answer::BlobOffer(_)) {
                    count.lock().unwrap()[0] += 1;
                }
                if matches!(answer, Answer::Done(_)) {
                    count.lock().unwrap()[2] += 1;
                }
                frames(answer);
            }),
        );
        town.hostile.rewrite_chunks(&alice.name, move |asked, said| {
            put.lock().unwrap()[1] += 1;
            chunks(asked, said)
        });
        let id = alice.sends(&bob.name, &source, CAPTION).await;
        Upload { id, source, counts }
    }

    /// The home is honest again: the file goes out, and Bob has it.
    async fn goes_out(&self, upload: Upload) {
        let Scene { town, alice, bob } = &self.scene;
        town.hostile.relent(&alice.name);
        alice.client.resume_transfer(upload.id).unwrap();
        alice.transfer_is(upload.id, TransferState::Done).await;
        let message = bob.sees_a_file().await;
        assert_eq!(message.text, CAPTION);
        self.comes(&Parcel { source: upload.source, message, chunks: Vec::new() }).await;
    }

    async fn text_still_comes(&self, text: &str) {
        self.scene.alice.writes(&self.scene.bob.name, text);
        let seen = self.scene.bob.reads_until(text).await;
        assert_eq!(seen, [text], "nothing of the file was sent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_the_home_did_not_keep_is_gone_for_its_reader_and_its_words_are_not() {
    let mut post = Post::new().await;
    let committed = |answer: &mut Answer| {
        if let Answer::BlobOffer(offer) = answer {
            *offer = BlobOffer { committed: true, have: Bytes::from_static(&[0xff; 64]) };
        }
    };
    let upload = post.uploads(committed, |_, said| said).await;
    let (alice, bob) = (&post.scene.alice, &post.scene.bob);
    // The server's word: nobody else can know.
    alice.transfer_is(upload.id, TransferState::Done).await;
    let message = bob.sees_a_file().await;
    assert_eq!(message.text, CAPTION);
    let parcel = Parcel { source: upload.source, message, chunks: Vec::new() };
    assert_eq!(post.lied_to(&parcel, "kept nothing").await, GONE);
    assert_eq!(names_in(&post.folder()), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn chunks_that_the_home_only_claims_to_have_are_brought_when_it_is_honest() {
    let mut post = Post::new().await;
    // All of them, and many that do not exist.
    let all = |answer: &mut Answer| {
        if let Answer::BlobOffer(offer) = answer {
            offer.have = Bytes::from_static(&[0xff; 64]);
        }
    };
    let upload = post.uploads(all, |_, said| said).await;
    post.text_still_comes("meanwhile").await;
    sleep(A_WHILE).await;
    let alice = &post.scene.alice;
    assert_eq!(alice.state(upload.id), MessageState::Uploading);
    let [begun, put, _] = *upload.counts.lock().unwrap();
    assert!((2..ASKED_MAX).contains(&begun), "begun {begun} times");
    assert_eq!(put, 0);
    post.goes_out(upload).await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_always_lacks_chunks_does_not_get_them_all_the_time() {
    let mut post = Post::new().await;
    let never = |answer: &mut Answer| match answer {
        Answer::BlobOffer(offer) => *offer = BlobOffer::default(),
        Answer::Done(_) => *answer = error(Code::BlobHash, 0, 0),
        _ => {}
    };
    let stored = |_: &AskedChunk<'_>, _| ChunkAnswer { stored: true, ..ChunkAnswer::default() };
    let upload = post.uploads(never, move |asked, said| stored(asked, said).into()).await;
    post.text_still_comes("meanwhile").await;
    sleep(A_WHILE).await;
    assert_eq!(post.scene.alice.state(upload.id), MessageState::Uploading);
    let [begun, put, _] = *upload.counts.lock().unwrap();
    assert!((2..ASKED_MAX).contains(&begun), "begun {begun} times");
    assert!(put < 3 * ASKED_MAX, "put {put} chunks");
    post.goes_out(upload).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_not_believed_unless_it_says_so() {
    let mut post = Post::new().await;
    let offer = |answer: &mut Answer| {
        if matches!(answer, Answer::Done(_)) {
            *answer = Answer::BlobOffer(BlobOffer::default());
        } else if let Answer::BlobOffer(offer) = answer {
            offer.committed = false;
        }
    };
    let upload = post.uploads(offer, |_, said| said).await;
    post.text_still_comes("meanwhile").await;
    sleep(A_WHILE).await;
    assert_eq!(post.scene.alice.state(upload.id), MessageState::Uploading);
    post.goes_out(upload).await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_refuses_every_chunk_is_told_of_or_asked_again() {
    let mut post = Post::new().await;
    for code in [Code::BlobHash, Code::NoSuchBlob] {
        let none = |answer: &mut Answer| {
            if let Answer::BlobOffer(offer) = answer {
                *offer = BlobOffer::default();
            }
        };
        let upload = post.uploads(none, move |_, _| refused(code as u32)).await;
        post.text_still_comes(&format!("meanwhile {code:?}")).await;
        sleep(A_WHILE).await;
        let alice = &post.scene.alice;
        if code == Code::BlobHash {
            let failed = TransferFailure::Server(code);
            assert_eq!(alice.transfer(upload.id).state, TransferState::Failed(failed));
            let refused = MessageState::Refused(Refusal::Server(code));
            assert_eq!(alice.state(upload.id), refused);
        } else {
            assert_eq!(alice.state(upload.id), MessageState::Uploading);
        }
        let [begun, put, _] = *upload.counts.lock().unwrap();
        assert!(begun < ASKED_MAX && put < 3 * ASKED_MAX, "{code:?}: {begun}, {put}");
        post.goes_out(upload).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_with_numbers_that_cannot_be_is_told_as_it_is() {
    let mut post = Post::new().await;
    let most = u64::MAX;
    for (limit_bytes, used_bytes) in [(0, 0), (most, 0), (0, most), (most, most), (7, 3)] {
        let quota = move |answer: &mut Answer| {
            if matches!(answer, Answer::BlobOffer(_)) {
                *answer = error(Code::Quota, limit_bytes, used_bytes);
            }
        };
        let upload = post.uploads(quota, |_, said| said).await;
        let failure = match used_bytes {
            0 => TransferFailure::TooLarge { limit_bytes },
            used_bytes => TransferFailure::Quota { limit_bytes, used_bytes },
        };
        let alice = &post.scene.alice;
        alice.transfer_is(upload.id, TransferState::Failed(failure)).await;
        assert_eq!(alice.state(upload.id), MessageState::Refused(Refusal::Server(Code::Quota)));
        assert!(!say::transfer_failure(failure, &alice.transfer(upload.id)).what.is_empty());
        post.goes_out(upload).await;
    }
}

// ---------------------------------------------------------------- what a person who lies signs

/// Eve's file: what she sealed, and what an honest message would say of it.
struct Made {
    plain: Vec<u8>,
    body: FileBody,
}

impl Post {
    /// Brings these chunks to Eve's home.
    async fn keeps(eve: &mut Eve, chunks: Vec<Bytes>) -> BlobId {
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let hashes = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
        let shape = Shape::made(bytes, hashes).unwrap();
        let blob = Blob { id: shape.id(), shape, chunks };
        assert!(matches!(eve.ask(blob.begin()).await, Answer::BlobOffer(_)));
        for index in 0..blob.chunks.len() {
            let conn = eve.raw.conn.clone();
            assert_eq!(blob.put(&conn, index).await, None);
        }
        assert!(matches!(eve.ask(Ask::clone(&blob.commit())).await, Answer::Done(_)));
        blob.id
    }

    async fn made(eve: &mut Eve, bytes: usize) -> Made {
        let plain: Vec<u8> = (0..bytes).map(|at| (at % 241) as u8).collect();
        let key = BlobKey::generate();
        let seal = |chunk: &[u8]| Bytes::from(key.seal_chunk(chunk));
        let blob = Self::keeps(eve, plain.chunks(CHUNK_PLAIN_BYTES).map(seal).collect()).await;
        let body = FileBody {
            blob,
            bytes: bytes as u64,
            key,
            name: "eves.bin".to_owned(),
            media_type: String::new(),
            dimensions: None,
            thumbnail: Bytes::new(),
            caption: CAPTION.to_owned(),
            reply_to: None,
            expire: None,
        };
        Made { plain, body }
    }

    /// Eve says that; what Bob sees.
    async fn told(&self, eve: &mut Eve, body: FileBody) -> MessageView {
        eve.tells(&self.scene.bob.name, &Body::File(Box::new(body))).await;
        let message = self.scene.bob.sees_a_file().await;
        assert_eq!(message.text, CAPTION);
        message
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_leads_nowhere_but_into_the_folder_that_was_chosen() {
    let post = Post::new().await;
    let mut eve = Eve::comes(&post.scene.town).await;
    let made = Post::made(&mut eve, 100).await;
    let long = format!("{}.jpeg", "\u{e4}".repeat(125));
    let names = [
        ("../../x", "x"),
        ("/etc/passwd", "passwd"),
        ("a\\b", "b"),
        ("..", "file"),
        ("CON", "_CON"),
        ("photo\u{202e}gpj.exe", "photogpj.exe"),
        ("two\nlines\u{1b}[31m\0.txt", "twolines[31m.txt"),
        (".bashrc", "bashrc"),
        (&long, &long),
    ];
    let outside = names_in(post.folder().parent().unwrap());
    for (name, harmless) in names {
        let body = FileBody { name: name.to_owned(), ..made.body.clone() };
        let message = post.told(&mut eve, body).await;
        assert_eq!(message.file.unwrap().name, harmless, "{name:?}");
        let saved = post.scene.bob.saves_within(A_WHILE, message.id, &post.folder()).await;
        assert_eq!(saved.unwrap().unwrap(), post.folder().join(harmless), "{name:?}");
        assert!(fs::read(post.folder().join(harmless)).unwrap() == made.plain);
    }
    assert_eq!(names_in(&post.folder()).len(), names.len());
    assert_eq!(names_in(post.folder().parent().unwrap()), outside);
}

/// The head of a JPEG of 60,000 by 60,000 pixels.
const HUGE_JPEG: [u8; 21] = [
    0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, 0xea, 0x60, 0xea, 0x60, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1,
];

#[tokio::test(start_paused = true)]
async fn a_preview_that_is_none_is_not_drawn_and_the_file_comes() {
    let post = Post::new().await;
    let mut eve = Eve::comes(&post.scene.town).await;
    let made = Post::made(&mut eve, 100).await;
    let none: [&[u8]; 4] = [b"not a picture", b"\x89PNG\r\n\x1a\n", &HUGE_JPEG, &[0xff; 12 * 1024]];
    for (preview, dimensions) in
        none.into_iter().zip([(1, 1), (60_000, 60_000), (1, u32::MAX), (u32::MAX, 1)])
    {
        let body = FileBody {
            thumbnail: Bytes::copy_from_slice(preview),
            dimensions: Some(dimensions),
            media_type: "image/jpeg\u{1b}[2J".to_owned(),
            ..made.body.clone()
        };
        let message = post.told(&mut eve, body).await;
        let file = message.file.unwrap();
        assert_eq!((file.thumbnail.as_slice(), file.dimensions), (preview, Some(dimensions)));
        assert!(thumbnail::open(&file.thumbnail).is_err());
        let saved = post.scene.bob.saves_within(A_WHILE, message.id, &post.folder()).await;
        assert!(fs::read(saved.unwrap().unwrap()).unwrap() == made.plain);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_what_its_message_says_is_not_stored() {
    let post = Post::new().await;
    let mut eve = Eve::comes(&post.scene.town).await;
    let made = Post::made(&mut eve, BYTES).await;
    let size = made.body.bytes;
    let said = [
        ("larger", FileBody { bytes: size + 20, ..made.body.clone() }),
        // Padded, it is as long as the other.
        ("larger by a byte", FileBody { bytes: size + 1, ..made.body.clone() }),
        ("smaller by a byte", FileBody { bytes: size - 1, ..made.body.clone() }),
        ("one byte", FileBody { bytes: 1, ..made.body.clone() }),
        ("the largest", FileBody { bytes: FILE_BYTES_MAX, ..made.body.clone() }),
        ("another key", FileBody { key: BlobKey::generate(), ..made.body.clone() }),
    ];
    for (lie, body) in said {
        let message = post.told(&mut eve, body).await;
        let parcel = Parcel { source: PathBuf::new(), message, chunks: Vec::new() };
        assert_eq!(post.lied_to(&parcel, lie).await, NOT_THE_FILE, "{lie}");
    }
    let message = post.told(&mut eve, made.body.clone()).await;
    let saved = post.scene.bob.saves_within(A_WHILE, message.id, &post.folder()).await;
    assert!(fs::read(saved.unwrap().unwrap()).unwrap() == made.plain);
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_is_named_and_not_there_is_gone() {
    let post = Post::new().await;
    let mut eve = Eve::comes(&post.scene.town).await;
    let made = Post::made(&mut eve, 100).await;
    let body = FileBody { blob: BlobId([7; 32]), ..made.body };
    let message = post.told(&mut eve, body).await;
    let parcel = Parcel { source: PathBuf::new(), message, chunks: Vec::new() };
    assert_eq!(post.lied_to(&parcel, "made up").await, GONE);
}

#[tokio::test(start_paused = true)]
async fn a_lie_about_a_file_that_is_here_takes_it_from_nobody() {
    let mut post = Post::new().await;
    let mut eve = Eve::comes(&post.scene.town).await;
    let parcel = post.parcel().await;
    post.comes(&parcel).await;
    // The same sealed bytes, under a message that says something else of them.
    let blob = Post::keeps(&mut eve, parcel.chunks.clone()).await;
    let made = Post::made(&mut eve, 1).await;
    for bytes in [BYTES as u64, BYTES as u64 + 100] {
        let body = FileBody { blob, bytes, ..made.body.clone() };
        let message = post.told(&mut eve, body).await;
        let saved = post.scene.bob.saves_within(A_WHILE, message.id, &post.folder()).await;
        let not = FileError::Transfer(TransferFailure::NotTheFile);
        assert_eq!(saved.unwrap().unwrap_err().to_string(), not.to_string());
    }
    // Nobody has it any more but this disk.
    let gone = |answer: &mut Answer| {
        if matches!(answer, Answer::BlobInfo(_)) {
            *answer = error(Code::NoSuchBlob, 0, 0);
        }
    };
    post.scene.town.hostile.rewrite_frames(&post.scene.bob.name, answers(gone));
    let refuse = |_: &AskedChunk<'_>, _| refused(Code::NoSuchBlob as u32);
    post.scene.town.hostile.rewrite_chunks(&post.scene.bob.name, refuse);
    post.comes(&parcel).await;
}
