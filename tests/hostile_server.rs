//! A server that answers anything at all: wrong numbers, wrong kinds, other people's bundles, what
//! nobody asked for. A client shows no text that nobody wrote, does not panic, does not stop, does
//! not spin, and is at once as good as new when the server is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastchat::client::account::{self, IdentitySource, OtherDevice, Where};
use fastchat::client::{Client, Event, FileDraft, GroupCommand, Line, Mode, Profile, RequestError};
use fastchat::crypto::operation::Change;
use fastchat::crypto::testpeople::{Person, operation_hash};
use fastchat::crypto::{
    Body, Bundle, BundleDevice, DeviceKey, DeviceState, GroupKey, GroupSealRequest, parse_header,
    seal_group, seal_void, testkeys,
};
use fastchat::limits::{FRAME_BYTES_MAX, Limits};
use fastchat::net::endpoint::ListenKind;
use fastchat::net::env::TestOptions;
use fastchat::net::{Authority, Env, FrameReader, FrameWriter, QuicKeys, Role, listen};
use fastchat::testkit::{NetConfig, SimNet};
use fastchat::types::{
    ClusterId, DeviceId, GroupId, GroupName, KeyEpoch, LogId, N, OpHash, ServerId, UserName,
};
use fastchat::wire::balancer::{BalancerReply, BalancerRequest, Edge, Edges, balancer_reply};
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{
    Account, Appended, BlobInfo, BlobOffer, Changed, ClientFrame, Closed, Delivered, Done, Entry,
    Error, HelloOk, JoinOffer, Open, Opened, Presence, Refused, Roster, RosterEntry, ServerFrame,
    Welcome, WhoList,
};
use fastchat::wire::{Code, PROTOCOL_VERSION};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

const BALANCER: [u8; 4] = [10, 0, 9, 1];
const EDGE: [u8; 4] = [10, 0, 9, 2];
const PASSWORD: &str = "correct horse battery";

/// What the server does, and what it has learned of the client.
struct Liar {
    cluster: ClusterId,
    calm: AtomicBool,
    frames: AtomicU64,
    state: Mutex<(StdRng, Memory)>,
}

#[derive(Default)]
struct Memory {
    own_bundle: Bytes,
    logs: Vec<(String, u32)>,
    rids: Vec<u64>,
    hashes: Vec<Bytes>,
    /// The operations of the one group there is, as the client handed them in.
    chain: Vec<Bytes>,
    /// What strangers signed for it.
    forged: Vec<Bytes>,
}

impl Memory {
    fn group(&self) -> Option<GroupId> {
        let create = self.chain.first()?;
        operation_hash(create).map(|hash| GroupId(hash.0))
    }

    fn roster(&self, after: u64) -> Roster {
        let group_id = self.group().map(|id| Bytes::copy_from_slice(&id.0)).unwrap_or_default();
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let entries = (1..).zip(&self.chain).skip(skip).map(|(number, operation)| RosterEntry {
            number,
            seq: number,
            operation: operation.clone(),
        });
        Roster { group_id, entries: entries.collect(), more: false }
    }
}

fn number(rng: &mut StdRng) -> u64 {
    let edge = [0, 1, 2, 3, 4, 64, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX];
    edge[rng.random_range(0..edge.len())]
}

fn code(rng: &mut StdRng) -> u32 {
    loop {
        let code = match rng.random_range(0..20u32) {
            0 => rng.next_u32(),
            _ => rng.random_range(0x10..0x92),
        };
        // These end a session for good, rightly.
        if code != Code::SessionReplaced as u32 {
            return code;
        }
    }
}

fn bytes(rng: &mut StdRng) -> Bytes {
    let mut bytes = vec![0; rng.random_range(0..80)];
    rng.fill_bytes(&mut bytes);
    bytes.into()
}

impl Liar {
    fn bundle(&self, rng: &mut StdRng, memory: &Memory, user: &str) -> Bytes {
        match rng.random_range(0..5) {
            0 => memory.own_bundle.clone(),
            1 => bytes(rng),
            _ => {
                let (version, keys) = (number(rng).max(1), rng.random_range(0..3));
                self.bundle_of(user, version, keys)
            }
        }
    }

    /// A bundle that verifies; nobody ever made it.
    fn bundle_of(&self, user: &str, version: u64, keys: usize) -> Bytes {
        let Ok(user) = UserName::canonical(user) else { return Bytes::new() };
        let identity = testkeys::identity(keys);
        let device = |device: u64| BundleDevice {
            device: DeviceId(device),
            ed25519: DeviceKey::from_seed(&[7; 32]).public(),
            state: DeviceState::Retired,
        };
        let bundle = Bundle {
            cluster: self.cluster,
            user,
            version,
            identity_spki: Bytes::copy_from_slice(identity.spki()),
            enc_spki: Bytes::copy_from_slice(testkeys::encryption(keys).spki()),
            devices: vec![device(1), device(2)],
            suites: vec![1],
        };
        bundle.sign(&identity).unwrap()
    }

    fn envelope(&self, rng: &mut StdRng, memory: &Memory, log: &str) -> Bytes {
        if rng.random_range(0..4) == 0 {
            return bytes(rng);
        }
        let group = memory.group().filter(|_| log.starts_with('#')).map(LogId::Group);
        let log =
            group.or(LogId::canonical(log).ok()).unwrap_or_else(|| LogId::canonical("@x").unwrap());
        if let LogId::Group(group) = &log
            && rng.random_range(0..2) == 0
        {
            return self.words(rng, memory, group);
        }
        let author = UserName::canonical(["bob", "carol", "me"][rng.random_range(0..3)]).unwrap();
        let key = DeviceKey::from_seed(&[rng.random_range(6..8); 32]);
        let (a, b) = (number(rng).max(1), number(rng).max(1));
        let device = DeviceId(rng.random_range(1..4));
        let (n, upto) = (N(a.min(b)), N(a.max(b)));
        seal_void(&self.cluster, &key, &log, &author, device, n, upto).unwrap()
    }

    /// A message to the group that nobody in it wrote.
    fn words(&self, rng: &mut StdRng, memory: &Memory, group: &GroupId) -> Bytes {
        let name = ["bob", "known", "me"][rng.random_range(0..3)];
        let author = Person::new(&self.cluster, name, rng.random_range(0..3));
        let head = memory.chain.last().and_then(operation_hash).unwrap_or(OpHash([0; 32]));
        seal_group(&GroupSealRequest {
            cluster: &self.cluster,
            device_key: &author.device_key,
            group,
            author: &author.user,
            device: author.device,
            n: N(number(rng).max(1)),
            key: &GroupKey::generate(),
            key_epoch: KeyEpoch(number(rng).max(1)),
            author_identity: author.identity(),
            author_bundle_version: number(rng),
            roster_head: head,
            sent_at_unix_ms: number(rng),
            body: &Body::Text("forged".to_owned()),
        })
        .unwrap()
    }

    /// An operation: of the group, of strangers, or none at all.
    fn operation(&self, rng: &mut StdRng, memory: &mut Memory) -> Bytes {
        if memory.forged.is_empty()
            && let Some(group) = memory.group()
        {
            memory.forged = self.forge(group, &memory.chain);
        }
        let all = memory.chain.iter().chain(&memory.forged);
        match rng.random_range(0..4) {
            0 => bytes(rng),
            _ => all
                .clone()
                .nth(rng.random_range(0..all.count().max(1)))
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// What people sign who are not in the group, and what the owner never signed.
    fn forge(&self, group: GroupId, chain: &[Bytes]) -> Vec<Bytes> {
        let prev = chain.last().and_then(operation_hash).unwrap_or(OpHash([0; 32]));
        let stranger = Person::new(&self.cluster, "bob", 1);
        let as_owner = Person::new(&self.cluster, "me", 2);
        let mut forged = vec![stranger.create("team", &[&as_owner], &GroupKey::generate())];
        for person in [&stranger, &as_owner] {
            for change in [
                Change::Add(stranger.member()),
                Change::Leave,
                Change::Close,
                Change::Topic("forged".to_owned()),
                Change::Grant { user: stranger.user.clone(), admin: true },
            ] {
                forged.push(person.sign(group, prev, change));
            }
        }
        forged.iter().map(|operation| operation.encoded().clone()).collect()
    }

    /// Something; often about what the client asked last.
    fn anything(&self) -> ServerFrame {
        let mut state = self.state.lock().unwrap();
        let (rng, memory) = &mut *state;
        let (log, open_id) = match memory.logs.len() {
            0 => ("@bob".to_owned(), 1),
            some => memory.logs[some - 1 - rng.random_range(0..some.min(3))].clone(),
        };
        let rid = match memory.rids.len() {
            0 => number(rng),
            some => memory.rids[some - 1 - rng.random_range(0..some.min(3))],
        };
        let user = ["bob", "carol", "me", "x y"][rng.random_range(0..4)];
        let (seq, n, epoch) = (number(rng), number(rng), number(rng));
        let body = match rng.random_range(0..18) {
            0 => Answer::HelloOk(HelloOk { version: 9, server: "s9".to_owned(), map_version: n }),
            1 => Answer::Error(Error {
                code: code(rng),
                retry_after_ms: number(rng),
                ..Error::default()
            }),
            2 => Answer::Account(Account {
                user: user.to_owned(),
                bundle: self.bundle(rng, memory, user),
            }),
            3 => Answer::Welcome(Welcome { session_epoch: n, ..Welcome::default() }),
            4 => Answer::Done(Done::default()),
            5 => Answer::WhoList(WhoList {
                users: vec![Presence { user: user.to_owned(), online: true }; 3],
                truncated: true,
                missing: vec!["?".to_owned()],
            }),
            6 | 7 => {
                let (first_seq, head_seq) = (number(rng), number(rng));
                let (last_n, delivered_n) = (number(rng), number(rng));
                Answer::Opened(Opened {
                    log,
                    open_id,
                    epoch,
                    first_seq,
                    head_seq,
                    last_n,
                    delivered_n,
                    online: number(rng) == 1,
                })
            }
            8 => {
                let hash = match memory.hashes.last() {
                    Some(hash) if rng.random_range(0..2) == 0 => hash.clone(),
                    _ => bytes(rng),
                };
                Answer::Appended(Appended { log, open_id, n, seq, hash })
            }
            9 | 10 => Answer::Refused(Refused {
                log,
                open_id,
                n,
                code: code(rng),
                retry_after_ms: if rng.random_range(0..4) == 0 { number(rng) } else { 0 },
                expected: number(rng),
                detail: "no".to_owned(),
            }),
            11 => {
                let envelope = self.envelope(rng, memory, &log);
                Answer::Entry(Entry { log, open_id, seq, envelope, ..Entry::default() })
            }
            14 | 15 => {
                // Both, one, or none.
                let operation = self.operation(rng, memory);
                let envelope = match rng.random_range(0..4) {
                    0 => self.envelope(rng, memory, &log),
                    _ => Bytes::new(),
                };
                let entry = Entry { log, open_id, seq, envelope, operation, number: n };
                Answer::Entry(entry)
            }
            16 => {
                let mut roster = memory.roster(rng.random_range(0..3));
                for _ in 0..rng.random_range(0..3) {
                    let operation = self.operation(rng, memory);
                    let (number, seq) = (number(rng), number(rng));
                    roster.entries.push(RosterEntry { number, seq, operation });
                }
                if rng.random_range(0..3) == 0 {
                    roster.group_id = bytes(rng);
                }
                roster.more = rng.random_range(0..2) == 0;
                Answer::Roster(roster)
            }
            17 => match rng.random_range(0..2) {
                0 => Answer::Changed(Changed { number: n, seq }),
                _ => Answer::JoinOffer(JoinOffer {
                    group_id: bytes(rng),
                    nonce: bytes(rng),
                    member: rng.random_range(0..2) == 0,
                }),
            },
            12 => Answer::Delivered(Delivered { log, open_id, delivered_n: n }),
            _ => Answer::Closed(Closed { log, open_id, code: code(rng), detail: String::new() }),
        };
        let error = matches!(&body, Answer::Error(_));
        let by_rid = matches!(rng.random_range(0..3), 0 | 1);
        // An error without a number ends the connection: seldom, or nothing else is tried.
        let rid = if by_rid || (error && rng.random_range(0..20) != 0) { rid } else { 0 };
        ServerFrame { rid, optional: false, body: Some(body) }
    }

    /// What an honest server would say that knows nobody.
    fn honest(&self, frame: &ClientFrame) -> Option<ServerFrame> {
        let no = Code::NoSuchUser as u32;
        let body = match frame.body.clone()? {
            Ask::Hello(_) => {
                let version = PROTOCOL_VERSION;
                Answer::HelloOk(HelloOk { version, server: "s1".to_owned(), map_version: 1 })
            }
            Ask::SignUp(sign_up) => {
                self.state.lock().unwrap().1.own_bundle = sign_up.bundle.clone();
                Answer::Welcome(Welcome { bundle: sign_up.bundle, ..Welcome::default() })
            }
            Ask::Login(_) | Ask::Resume(_) => {
                let mut state = self.state.lock().unwrap();
                let (rng, memory) = &mut *state;
                let bundle = if self.calm.load(Ordering::Relaxed) {
                    memory.own_bundle.clone()
                } else {
                    self.bundle(rng, memory, "me")
                };
                Answer::Welcome(Welcome { bundle, device_known: true, ..Welcome::default() })
            }
            Ask::LookUp(look_up) if look_up.user == "known" => {
                let bundle = self.bundle_of("known", 1, 1);
                Answer::Account(Account { user: look_up.user, bundle })
            }
            Ask::Change(change) => {
                let chain = &mut self.state.lock().unwrap().1.chain;
                if !chain.contains(&change.operation) {
                    chain.push(change.operation);
                }
                let number = chain.len() as u64;
                Answer::Changed(Changed { number, seq: number })
            }
            Ask::GetRoster(ask) => Answer::Roster(self.state.lock().unwrap().1.roster(ask.after)),
            Ask::Open(open) if open.log == "#team" => {
                let head_seq = self.state.lock().unwrap().1.chain.len() as u64;
                let Open { log, open_id, .. } = open;
                let (epoch, first_seq) = (1, 1);
                let opened =
                    Opened { log, open_id, epoch, first_seq, head_seq, ..Opened::default() };
                Answer::Opened(opened)
            }
            Ask::LookUp(_) => Answer::Error(Error { code: no, ..Error::default() }),
            Ask::BeginBlob(_) | Ask::CommitBlob(_) | Ask::GetBlob(_) => {
                Answer::Error(Error { code: Code::NoSuchBlob as u32, ..Error::default() })
            }
            Ask::DropBlob(_) => Answer::Done(Done::default()),
            Ask::JoinAsk(_) | Ask::JoinProof(_) => {
                Answer::Error(Error { code: Code::NoSuchGroup as u32, ..Error::default() })
            }
            Ask::Open(open) => Answer::Refused(Refused {
                log: open.log,
                open_id: open.open_id,
                code: no,
                ..Refused::default()
            }),
            Ask::Append(_) | Ask::Cursor(_) | Ask::Typing(_) => return None,
            Ask::Logout(_)
            | Ask::PutBundle(_)
            | Ask::Who(_)
            | Ask::Block(_)
            | Ask::ChangePassword(_)
            | Ask::DeleteAccount(_)
            | Ask::SetPresence(_) => Answer::Done(Done::default()),
        };
        Some(ServerFrame { rid: frame.rid, optional: false, body: Some(body) })
    }

    fn remember(&self, frame: &ClientFrame) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap();
        let memory = &mut state.1;
        match &frame.body {
            Some(Ask::Open(open)) => memory.logs.push((open.log.clone(), open.open_id)),
            Some(Ask::Append(append)) => {
                use sha2::{Digest, Sha256};
                let hash = Sha256::digest(&append.envelope);
                memory.hashes.push(Bytes::copy_from_slice(&hash[..8]));
            }
            Some(_) | None => {}
        }
        if frame.rid != 0 {
            memory.rids.push(frame.rid);
        }
    }

    /// One connection: a proper beginning, then whatever comes.
    async fn talk(self: Arc<Self>, conn: quinn::Connection) -> Option<()> {
        let (send, recv) = conn.accept_bi().await.ok()?;
        let patience = Duration::from_secs(10);
        let mut reader = FrameReader::<ClientFrame>::new(recv, FRAME_BYTES_MAX, patience);
        let mut writer = FrameWriter::<ServerFrame>::new(send, FRAME_BYTES_MAX);
        loop {
            let calm = self.calm.load(Ordering::Relaxed);
            // Now and then it speaks without being asked.
            let frame = tokio::select! {
                biased;
                frame = reader.read() => match frame {
                    Ok(Some(frame)) => frame,
                    Ok(None) | Err(_) => return None,
                },
                () = tokio::time::sleep(Duration::from_millis(7)), if !calm => {
                    writer.send(&self.anything()).await.ok()?;
                    continue;
                }
            };
            self.remember(&frame);
            let proper = matches!(
                &frame.body,
                Some(Ask::Hello(_) | Ask::SignUp(_) | Ask::Login(_) | Ask::Resume(_))
            );
            let answer = if calm || proper { self.honest(&frame) } else { self.plausible(&frame) };
            if let Some(answer) = answer {
                writer.send(&answer).await.ok()?;
            }
            if !calm && !matches!(&frame.body, Some(Ask::Hello(_) | Ask::SignUp(_))) {
                writer.send(&self.anything()).await.ok()?;
            }
        }
    }

    /// Mostly what an honest server would say, so that the client goes on to what comes after it.
    fn plausible(&self, frame: &ClientFrame) -> Option<ServerFrame> {
        let mut state = self.state.lock().unwrap();
        let (rng, memory) = &mut *state;
        if rng.random_range(0..4) == 0 {
            return None;
        }
        let body = match frame.body.clone()? {
            Ask::LookUp(look_up) => {
                let bundle = self.bundle_of(&look_up.user, 1, 1);
                Answer::Account(Account { user: look_up.user, bundle })
            }
            Ask::Open(open) => {
                let last_n = if rng.random_range(0..20) == 0 { number(rng) } else { 0 };
                Answer::Opened(Opened {
                    log: open.log,
                    open_id: open.open_id,
                    epoch: rng.random_range(1..3),
                    first_seq: 1,
                    head_seq: 5,
                    last_n,
                    delivered_n: 0,
                    online: false,
                })
            }
            Ask::Append(append) => {
                let n = parse_header(&append.envelope).map_or(0, |header| header.n.0);
                let (log, open_id) = (append.log, append.open_id);
                let hash = memory.hashes.last().cloned().unwrap_or_default();
                match rng.random_range(0..4) {
                    0 => Answer::Refused(Refused {
                        log,
                        open_id,
                        n,
                        code: Code::ALL[rng.random_range(0..Code::ALL.len())] as u32,
                        expected: number(rng),
                        ..Refused::default()
                    }),
                    _ => Answer::Appended(Appended { log, open_id, n, seq: n, hash }),
                }
            }
            Ask::GetRoster(ask) => Answer::Roster(memory.roster(ask.after)),
            Ask::Change(_) => Answer::Changed(Changed { number: number(rng), seq: number(rng) }),
            Ask::JoinAsk(_) => {
                let group_id = memory.roster(0).group_id;
                let nonce = Bytes::from_static(&[5; 32]);
                Answer::JoinOffer(JoinOffer { group_id, nonce, member: false })
            }
            Ask::JoinProof(_) | Ask::CommitBlob(_) | Ask::DropBlob(_) => {
                Answer::Done(Done::default())
            }
            Ask::BeginBlob(_) | Ask::GetBlob(_) => match rng.random_range(0..5) {
                0 => Answer::Done(Done::default()),
                1 => {
                    let hashes = vec![7; rng.random_range(0..100)].into();
                    Answer::BlobInfo(BlobInfo { size: number(rng), hashes })
                }
                committed => {
                    let have = vec![rng.random(); rng.random_range(0..100)].into();
                    Answer::BlobOffer(BlobOffer { have, committed: committed == 2 })
                }
            },
            Ask::Hello(_)
            | Ask::SignUp(_)
            | Ask::Login(_)
            | Ask::Resume(_)
            | Ask::Cursor(_)
            | Ask::Typing(_) => return None,
            Ask::Logout(_)
            | Ask::PutBundle(_)
            | Ask::Who(_)
            | Ask::Block(_)
            | Ask::ChangePassword(_)
            | Ask::DeleteAccount(_)
            | Ask::SetPresence(_) => Answer::Done(Done::default()),
        };
        Some(ServerFrame { rid: frame.rid, optional: false, body: Some(body) })
    }
}

async fn balance(conn: quinn::Connection) -> Option<()> {
    let (send, recv) = conn.accept_bi().await.ok()?;
    let patience = Duration::from_secs(10);
    let mut reader = FrameReader::<BalancerRequest>::new(recv, FRAME_BYTES_MAX, patience);
    let mut writer = FrameWriter::<BalancerReply>::new(send, FRAME_BYTES_MAX);
    reader.read().await.ok()?;
    let edge = Edge {
        server: "s1".to_owned(),
        host: IpAddr::from(EDGE).to_string(),
        port: 9001,
        ..Edge::default()
    };
    let edges = Edges { edges: vec![edge], ..Edges::default() };
    let reply = BalancerReply { body: Some(balancer_reply::Body::Edges(edges)) };
    writer.send(&reply).await.ok()?;
    conn.closed().await;
    Some(())
}

fn serve<F, T>(
    env: &Env,
    endpoint: quinn::Endpoint,
    talk: impl Fn(quinn::Connection) -> F + Send + 'static,
) where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let inner = env.clone();
    env.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if let Ok(conn) = incoming.await {
                inner.spawn(talk(conn));
            }
        }
    });
}

/// A liar with its own balancer, and the client's host.
fn lair(seed: u64) -> (Arc<Liar>, Env, account::Cluster) {
    let net = SimNet::new(seed, NetConfig::default());
    let options = TestOptions { cheap_crypto: true, bug: None };
    let host = |ip: IpAddr| net.env(ip, seed, CancellationToken::new(), options.clone());
    let (there, here) = (host(BALANCER.into()), host([10, 0, 8, 1].into()));
    let edge_env = host(EDGE.into());
    let authority = Authority::create(&there).unwrap();
    let limits = Limits::default();
    let listen_as = |env: &Env, role: Role, ip: [u8; 4], port, kind| {
        let credentials = authority.issue(env, &role).unwrap();
        let addr = SocketAddr::new(ip.into(), port);
        listen(env, addr, kind, &credentials, &QuicKeys::create(env), &limits).unwrap()
    };
    let balancer = listen_as(&there, Role::Balancer, BALANCER, 9000, ListenKind::Balancer);
    let server = Role::Server(ServerId::numbered(1));
    let edge = listen_as(&edge_env, server, EDGE, 9001, ListenKind::Client);
    let liar = Arc::new(Liar {
        cluster: authority.cluster_id(),
        calm: AtomicBool::new(true),
        frames: AtomicU64::new(0),
        state: Mutex::new((StdRng::seed_from_u64(seed), Memory::default())),
    });
    serve(&there, balancer, balance);
    let talks = Arc::clone(&liar);
    serve(&edge_env, edge, move |conn| Arc::clone(&talks).talk(conn));

    let at = Where { host: IpAddr::from(BALANCER).to_string(), port: 9000 };
    let cluster = account::Cluster { at, id: authority.cluster_id() };
    (liar, here, cluster)
}

/// One life with a liar. Returns how many frames the client sent while it was lied to.
async fn life(seed: u64) -> u64 {
    let (liar, here, cluster) = lair(seed);
    let dir = tempfile::tempdir().unwrap();
    let me = UserName::canonical("me").unwrap();
    let profile = Profile::open(&here, dir.path()).unwrap();
    let unlocked = account::sign_up(&here, profile, &cluster, &me, PASSWORD).await.unwrap();
    let (client, mut events) = Client::start(&here, unlocked, Mode::SendAndReceive);
    let team = GroupName::canonical("team").unwrap();
    let known = [UserName::canonical("known").unwrap()];
    let mut made = Err(RequestError::Offline.into());
    for _ in 0..100 {
        made = client.create_group(&team, &known, "", None).await;
        if made.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(made.expect("no group was made").failed, []);
    liar.calm.store(false, Ordering::Relaxed);
    let mut frames = 0;
    let file = dir.path().join("a file");
    std::fs::write(&file, vec![1; 1_000]).unwrap();
    for round in 0..8 {
        for user in ["bob", "carol"] {
            let user = UserName::canonical(user).unwrap();
            // Refused when the liar has shown another key.
            let _ = client.send_text(&user.clone().into(), &format!("text {round}"));
            let _ = client.accept_key(&user);
            let _ = client.send_file(&user.into(), FileDraft::of(&file)).await;
        }
        let _ = client.send_text(&team.clone().into(), &format!("text {round}"));
        let _ = client.retry();
        let topic = GroupCommand::Topic(format!("topic {round}"));
        let another = GroupName::canonical("another").unwrap();
        let password = || "horse battery staple correct".to_owned().into();
        let asked = async {
            tokio::join!(
                client.change_group(&team, topic),
                client.may_join(&another),
                client.join_by_password(&another, password()),
            )
        };
        // Whatever comes of it.
        let _ = tokio::time::timeout(Duration::from_secs(2), asked).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        frames = liar.frames.load(Ordering::Relaxed);
    }
    liar.calm.store(true, Ordering::Relaxed);
    let nobody = UserName::canonical("nobody").unwrap();
    let mut answer = Err(RequestError::Offline);
    for _ in 0..200 {
        answer = client.look_up(&nobody).await.map(drop);
        if matches!(answer, Err(RequestError::Refused { code: Code::NoSuchUser, .. })) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    while let Ok(event) = events.try_recv() {
        let ended = matches!(
            event,
            Event::LocalData { .. } | Event::SignedOut { .. } | Event::SessionReplaced
        );
        assert!(!ended, "seed {seed}: {event:?}");
    }
    let recovered = matches!(answer, Err(RequestError::Refused { code: Code::NoSuchUser, .. }));
    assert!(recovered, "seed {seed}: the client does not come back: {answer:?}");
    let me = UserName::canonical("me").unwrap();
    for line in client.take_unshown(10_000).unwrap() {
        let own = matches!(&line, Line::Membership { by, .. } if *by == me);
        assert!(own || matches!(line, Line::Trouble { .. }), "seed {seed}: {line:?}");
    }
    let members = client.group(&team).unwrap().map(|group| group.members).unwrap_or_default();
    let invited = |user: &UserName| *user == me || known.contains(user);
    assert!(members.iter().all(|member| invited(&member.user)), "seed {seed}: {members:?}");
    frames
}

#[test]
fn a_client_survives_whatever_a_server_says() {
    let seeds = std::env::var("FASTCHAT_LIARS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    for seed in 0..seeds {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let frames = runtime.block_on(life(seed));
        // 16 seconds: a client that is led in circles sends hundreds a second.
        println!("seed {seed}: {frames} frames");
        assert!(frames < 20_000, "seed {seed}: {frames} frames");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_login_takes_no_keys_from_the_server() {
    let (liar, here, cluster) = lair(1);
    let known = UserName::canonical("known").unwrap();
    let fake = liar.bundle_of("known", 2, 2);
    let fingerprint = testkeys::identity(2).key_id().to_string();
    liar.state.lock().unwrap().1.own_bundle = fake;
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let profile = Profile::open(&here, dir.path()).unwrap();
        let (new, ask) = (IdentitySource::New, OtherDevice::Ask);
        let log_in = account::log_in(&here, profile, &cluster, &known, PASSWORD, new, ask);
        let unlocked = log_in.await.unwrap();
        let (client, _events) = Client::start(&here, unlocked, Mode::SendAndReceive);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_ne!(client.status().unwrap().fingerprint, fingerprint);
        client.stop().await;
        drop(client);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
