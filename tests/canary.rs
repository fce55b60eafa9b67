//! Canaries: texts and passwords made of strings that occur nowhere else, looked for afterwards in
//! everything that anybody but the two people could get hold of.
//!
//! Real processes, killed with signal 9 so that write-ahead logs stay as they are. All that clients
//! say passes recording proxies: the cluster listens on every IPv4 address, so the balancer answers
//! "the host where you reached me", which for these clients is `::1`, where the proxies are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use fastchat::client::account::{self, Cluster, Where};
use fastchat::client::{
    Client, Event, FileDraft, GroupCommand, Line, LocalId, MessageState, Mode, Profile, SaveTo,
};
use fastchat::crypto::GroupKey;
use fastchat::crypto::invite::InviteSecret;
use fastchat::crypto::operation::verify_operation;
use fastchat::crypto::secret::StretchCost;
use fastchat::net::Env;
use fastchat::roster::Roster;
use fastchat::testkit::impair::{Impairment, Proxy};
use fastchat::types::{ClusterId, GroupId, GroupName, UserName, hex};
use processes::{Place, Running, said, send};
use rustix::process::Signal;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

const SERVERS: u16 = 2;

/// A string that occurs nowhere else.
fn fresh(word: &str) -> String {
    format!("{word}{:016x}", Env::system().random_u64())
}

/// A cluster, its proxies, and what people need who use it.
struct Scene {
    // Goes first when the test fails: it would start again what the place ends.
    running: Running,
    place: Place,
    proxies: Vec<Proxy>,
    /// Password files: the one place where canaries may lie.
    secrets: tempfile::TempDir,
    ca: String,
}

impl Scene {
    async fn open() -> Self {
        let place = Place::new();
        let (servers, port) = (SERVERS.to_string(), place.port.to_string());
        let mut command = place.command(&[&servers, &port, "--bind", "0.0.0.0"]);
        // The most that an operator could switch on.
        command.env("RUST_LOG", "debug,fastchat=trace");
        let running = place.begin_with(command);
        let join = running.wait_for("Join:");
        let ca = join.split_whitespace().skip_while(|word| *word != "--ca").nth(1).unwrap();
        let mut proxies = Vec::new();
        for port in place.port..=place.port + SERVERS {
            let listen = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            proxies.push(Proxy::start(listen, upstream, Impairment::default()).await.unwrap());
        }
        for folder in ["home", "run"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        let secrets = tempfile::tempdir().unwrap();
        Self { ca: ca.to_owned(), place, running, proxies, secrets }
    }

    fn password_file(&self, name: &str, password: &str) -> String {
        let path = self.secrets.path().join(name);
        fs::write(&path, password).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `client` as that profile, with all that it can log. Runs on a thread: the proxies work here.
    async fn client(&self, profile: &str, words: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        let server = format!("[::1]:{}", self.place.port);
        command.args(["-p", profile, "--server", &server, "--ca", &self.ca, "-vv"]);
        command.args(["--timeout", "60"]).args(words);
        command.current_dir(self.place.folder.path());
        command.env("HOME", self.place.path("home")).env("XDG_RUNTIME_DIR", self.place.path("run"));
        for variable in ["XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let work = move || {
            let mut child = command.spawn().unwrap();
            // A client that needs no input may be gone already.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    /// As [`Self::client`]; it has to succeed. What it printed.
    async fn done(&self, profile: &str, words: &[&str], input: &str) -> (String, Vec<u8>) {
        let output = self.client(profile, words, input).await;
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
        (String::from_utf8(output.stdout).unwrap(), output.stderr)
    }
}

impl Scene {
    /// All of it is under way or at rest somewhere now: the power goes, and this is what is left.
    async fn searched(self, logs: Vec<Vec<u8>>) -> Haystack {
        let Self { place, running, proxies, secrets: _secrets, ca: _ } = self;
        let pids: Vec<u32> = (1..=SERVERS).map(|n| place.pid(&format!("s{n}"))).collect();
        let printed = running.kill().join("\n");
        for pid in pids {
            send(pid, Signal::KILL);
        }
        let mut haystack = Haystack::of_folder(place.folder.path());
        haystack.0.push(("standard output of the cluster".into(), printed.into_bytes()));
        haystack.0.extend(logs.into_iter().map(|log| ("log of a client".into(), log)));

        // Through each proxy something is sent that must be found: so it is with what they
        // recorded.
        let planted = fresh("planted-");
        let sender = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        for proxy in &proxies {
            assert!(proxy.recording().datagrams > 0, "nobody came through {}", proxy.addr());
            sender.send_to(planted.as_bytes(), proxy.addr()).unwrap();
            while !contains(&proxy.recording().to_server, planted.as_bytes()) {
                tokio::task::yield_now().await;
            }
            let recording = proxy.recording();
            assert!(!recording.overflowed);
            haystack.0.push(("to a server".into(), recording.to_server));
            haystack.0.push(("to a client".into(), recording.to_client));
        }
        assert_eq!(haystack.find(&planted).len(), proxies.len());
        haystack
    }
}

/// Everything that is searched, by name.
struct Haystack(Vec<(String, Vec<u8>)>);

impl Haystack {
    fn of_folder(folder: &Path) -> Self {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path: PathBuf = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path.display().to_string(), fs::read(&path).unwrap()));
                }
            }
        }
        Self(found)
    }

    /// Where a string is, in whatever disguise.
    fn find(&self, needle: &str) -> Vec<String> {
        self.find_bytes(needle, needle.as_bytes())
    }

    /// The same for what is no text, under a name that may be printed.
    fn find_bytes(&self, needle: &str, bytes: &[u8]) -> Vec<String> {
        let disguises = disguises(bytes);
        let mut hits = Vec::new();
        for (name, bytes) in &self.0 {
            for (disguise, pattern) in &disguises {
                if contains(bytes, pattern) {
                    hits.push(format!("{needle} ({disguise}) in {name}"));
                }
            }
        }
        hits
    }

    fn bytes_of(&self, part: &str) -> usize {
        self.0.iter().filter(|(name, _)| name.contains(part)).map(|(_, bytes)| bytes.len()).sum()
    }
}

/// The ways in which a program could write a string down.
fn disguises(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let digits: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut found = vec![
        ("as it is", bytes.to_vec()),
        ("hexadecimal", hex(bytes).into_bytes()),
        ("HEXADECIMAL", hex(bytes).to_uppercase().into_bytes()),
        ("a list of numbers", digits.join(", ").into_bytes()),
    ];
    if let Ok(text) = std::str::from_utf8(bytes) {
        found.push(("UTF-16 LE", text.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        found.push(("UTF-16 BE", text.encode_utf16().flat_map(u16::to_be_bytes).collect()));
    }
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for before in 0..3 {
            // As a part of something longer: the characters that also hold bits of the neighbours
            // are left out.
            let shifted = [&vec![0; before][..], bytes].concat();
            let encoded = engine.encode(&shifted);
            let from = (before * 8).div_ceil(6);
            let to = shifted.len() * 8 / 6;
            found.push(("base64", encoded[from..to].into()));
        }
    }
    found
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == pattern[0]) {
        if rest[at..].starts_with(pattern) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[test]
fn the_search_finds_a_planted_string_in_every_disguise() {
    let canary = fresh("canary");
    for (disguise, pattern) in disguises(canary.as_bytes()) {
        let planted = [b"before it ", &pattern[..], b" after it"].concat();
        let haystack = Haystack(vec![("plant".into(), planted)]);
        assert!(!haystack.find(&canary).is_empty(), "{disguise}");
        assert!(haystack.find(&fresh("canary")).is_empty());
    }
    for before in 0..3 {
        let encoded = STANDARD_NO_PAD.encode(format!("{}{canary}behind", "x".repeat(before)));
        let haystack = Haystack(vec![("plant".into(), encoded.into_bytes())]);
        assert!(!haystack.find(&canary).is_empty(), "{before} before it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_and_no_password_is_anywhere_but_with_the_two_people() {
    let scene = Scene::open().await;
    // Names are no secret: they show that the search sees what it should see.
    let (alice, bob, carol) = (fresh("alice-"), fresh("bob-"), fresh("carol-"));
    let passwords = [fresh("password-a-"), fresh("password-b-"), fresh("password-c-")];
    let wrong = fresh("password-wrong-");
    let texts: Vec<String> = (1..=4).map(|n| fresh(&format!("canary-{n}-"))).collect();
    let mut logs = Vec::new();

    let mut password_files = Vec::new();
    for (name, password) in [&alice, &bob, &carol].into_iter().zip(&passwords) {
        let file = scene.password_file(name, password);
        let words = ["register", name, "--password-file", &file];
        logs.push(scene.done(name, &words, "").await.1);
        password_files.push(file);
    }

    // To somebody who reads it, to somebody who answers from the line client, to somebody away.
    let (_, said) = scene.done(&alice, &["send", &bob, &texts[0]], "").await;
    logs.push(said);
    let (read, said) = scene.done(&bob, &["recv", "--wait", "60", "-n", "1"], "").await;
    assert!(read.contains(&texts[0]), "{read}");
    logs.push(said);
    let line = format!("{}\n/quit\n", texts[1]);
    let (_, said) = scene.done(&bob, &["chat", &alice], &line).await;
    logs.push(said);
    let (read, said) = scene.done(&alice, &["recv", "--wait", "60", "-n", "1"], "").await;
    assert!(read.contains(&texts[1]), "{read}");
    logs.push(said);
    let (_, said) = scene.done(&alice, &["send", &carol], &texts[2]).await;
    logs.push(said);
    let long = format!("{} {}", "long ".repeat(2_000), texts[3]);
    let (_, said) = scene.done(&bob, &["send", &carol, "--json"], &long).await;
    logs.push(said);

    // A wrong password, and a second device that signs in with the right one.
    let wrong_file = scene.password_file("wrong", &wrong);
    let key = scene.place.path(&format!("home/.local/share/fastchat/{alice}/identity.pem"));
    let key = key.to_str().unwrap();
    let login = ["login", &alice, "--takeover", "--password-file"];
    let words = [&login[..], &[&wrong_file, "--new-identity"]].concat();
    let refused = scene.client("second", &words, "").await;
    assert_eq!(refused.status.code(), Some(4), "{}", processes::said(&refused));
    logs.push(refused.stderr);
    let words = [&login[..], &[&password_files[0], "--identity", key]].concat();
    logs.push(scene.done("second", &words, "").await.1);

    let haystack = scene.searched(logs).await;
    for canary in texts.iter().chain(&passwords).chain([&wrong]) {
        let hits = haystack.find(canary);
        assert!(hits.is_empty(), "{hits:#?}");
    }

    // The same search in the same bytes sees what is there in the open.
    for name in [&alice, &bob, &carol] {
        let hits = haystack.find(name);
        assert!(hits.iter().any(|hit| hit.contains("/databases/")), "{hits:#?}");
        assert!(hits.iter().any(|hit| hit.contains("profile.sqlite")), "{hits:#?}");
    }
    for part in [".sqlite-wal", "profile.sqlite", "stderr-", "log of a client", "to a client"] {
        assert!(haystack.bytes_of(part) > 0, "nothing of {part} was searched");
    }
    // The long text went through, and so did not go round the proxies.
    assert!(haystack.bytes_of("to a server") > long.len());
    let total: usize = haystack.0.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("0 hits of 8 canaries in {} places, {total} bytes", haystack.0.len());
}

// ---------------------------------------------------------------- groups

/// A client in this process: what groups ask on a terminal only, it is told. Never stopped, so that
/// its files are as a kill would leave them.
struct Member {
    client: Client,
    _events: mpsc::Receiver<Event>,
    database: PathBuf,
}

impl Member {
    async fn signs_up(scene: &Scene, name: &str, password: &str) -> Self {
        let env = Env::system();
        let folder = scene.place.path(&format!("home/.local/share/fastchat/{name}"));
        let at = Where { host: Ipv6Addr::LOCALHOST.to_string(), port: scene.place.port };
        let cluster = Cluster { at, id: ClusterId::parse(&scene.ca).unwrap() };
        let profile = Profile::open(&env, &folder).unwrap();
        let name = UserName::canonical(name).unwrap();
        let unlocked = account::sign_up(&env, profile, &cluster, &name, password).await.unwrap();
        let (client, _events) = Client::start(&env, unlocked, Mode::SendAndReceive);
        Self { client, _events, database: folder.join("profile.sqlite") }
    }

    /// Waits until the text is there to be read.
    async fn reads(&self, group: &GroupName, text: &str) {
        let has_it = |line: &Line| matches!(line, Line::Message(m) if m.text == text);
        let chat = group.clone().into();
        let wait = async {
            while !self.client.history(&chat, 100).unwrap().iter().any(has_it) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it never came");
    }

    async fn sends(&self, group: &GroupName, text: &str) {
        let id = self.client.send_text(&group.clone().into(), text).unwrap();
        self.has_sent(id).await;
    }

    /// Waits until the home has it.
    async fn has_sent(&self, id: LocalId) {
        let is_out = |state: &MessageState| {
            matches!(state, MessageState::Sent | MessageState::Delivered | MessageState::Read)
        };
        let wait = async {
            while !self.client.message(id).unwrap().unwrap().state.is_some_and(|s| is_out(&s)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it was not sent");
    }

    /// The group's key of this moment, as whoever has the secret of an invitation finds it out.
    fn key_by(&self, secret: &InviteSecret, cluster: &ClusterId) -> GroupKey {
        let database = rusqlite::Connection::open(&self.database).unwrap();
        let mut rows =
            database.prepare("SELECT operation FROM roster_ops ORDER BY number").unwrap();
        let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        let mut chain = rows.map(|row| verify_operation(&row.unwrap().into(), cluster).unwrap());
        let mut roster = Roster::create(&chain.next().unwrap()).unwrap();
        chain.for_each(|operation| roster.apply(&operation).unwrap());
        let invite = secret.invite_key(cluster, &roster.id());
        let found = roster.live_invite(&invite.public()).unwrap();
        let key = invite.wrap.unwrap(&found.key).unwrap();
        assert_eq!(key.commit(cluster, &roster.id(), roster.key_epoch()), roster.key_commit());
        key
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_key_secret_or_password_of_a_group_is_anywhere_but_with_its_members() {
    let scene = Scene::open().await;
    let cluster = ClusterId::parse(&scene.ca).unwrap();
    let [alice, bob, carol, dave] = ["alice-", "bob-", "carol-", "dave-"].map(fresh);
    let texts: Vec<String> = (1..=5).map(|n| fresh(&format!("canary-{n}-"))).collect();
    let group_password = fresh("password-of-the-group-");
    // What the group is called is no secret.
    let name = fresh("group-");
    let group = GroupName::canonical(&name).unwrap();
    let mut logs = Vec::new();
    let file = scene.password_file(&carol, &fresh("password-c-"));
    let words = ["register", &carol, "--password-file", &file];
    logs.push(scene.done(&carol, &words, "").await.1);
    let a = Member::signs_up(&scene, &alice, &fresh("password-a-")).await;
    let b = Member::signs_up(&scene, &bob, &fresh("password-b-")).await;
    let d = Member::signs_up(&scene, &dave, &fresh("password-d-")).await;

    // Made with a password; one is in it from the beginning, one comes by the password, one by a
    // link.
    let with = [UserName::canonical(&carol).unwrap()];
    let password = || Some(Zeroizing::new(group_password.clone()));
    let made = a.client.create_group(&group, &with, "", password()).await.unwrap();
    assert_eq!(made.failed, []);
    b.client.join_by_password(&group, password().unwrap()).await.unwrap();
    let invite = GroupCommand::Invite { uses: 1 };
    let link = a.client.change_group(&group, invite).await.unwrap().link.unwrap();
    let secrets = URL_SAFE_NO_PAD.decode(link.rsplit('/').next().unwrap()).unwrap();
    let secret = InviteSecret::from_bytes(&secrets[32..][..InviteSecret::BYTES]).unwrap();
    let first_key = a.key_by(&secret, &cluster);
    d.client.join_by_link(&link).await.unwrap();
    a.sends(&group, &texts[0]).await;
    b.reads(&group, &texts[0]).await;
    d.reads(&group, &texts[0]).await;
    let (_, said) = scene.done(&carol, &["send", &group.to_string(), &texts[1]], "").await;
    logs.push(said);
    // Behind the lines that say who came.
    let mut read = String::new();
    for _ in 0..10 {
        let (more, said) = scene.done(&carol, &["recv", "--wait", "60", "-n", "1"], "").await;
        logs.push(said);
        read.push_str(&more);
        if read.contains(&texts[0]) {
            break;
        }
    }
    assert!(read.contains(&texts[0]), "{read}");
    b.reads(&group, &texts[1]).await;

    // One is put out: another key, another password, another link.
    let kick = GroupCommand::Kick(UserName::canonical(&dave).unwrap());
    a.client.change_group(&group, kick).await.unwrap();
    let invite = GroupCommand::Invite { uses: 0 };
    let link = a.client.change_group(&group, invite).await.unwrap().link.unwrap();
    let secrets = URL_SAFE_NO_PAD.decode(link.rsplit('/').next().unwrap()).unwrap();
    let second_secret = InviteSecret::from_bytes(&secrets[32..][..InviteSecret::BYTES]).unwrap();
    let second_key = a.key_by(&second_secret, &cluster);
    assert_ne!(first_key, second_key);
    b.sends(&group, &texts[2]).await;
    a.reads(&group, &texts[2]).await;
    let long = format!("{} {}", "long ".repeat(2_000), texts[3]);
    let (_, said) = scene.done(&carol, &["send", &group.to_string(), "--json"], &long).await;
    logs.push(said);
    a.reads(&group, &long).await;
    a.sends(&group, &texts[4]).await;

    let haystack = scene.searched(logs).await;
    for canary in texts.iter().chain([&group_password]) {
        let hits = haystack.find(canary);
        assert!(hits.is_empty(), "{hits:#?}");
    }
    let id = GroupId::from_bytes(&secrets[..32]).unwrap();
    let stretched = InviteSecret::of_password(&group_password, &id, StretchCost::Full).unwrap();
    for (what, bytes) in [
        ("the first key of the group", first_key.as_bytes().as_slice()),
        ("its second key", second_key.as_bytes()),
        ("the secret of a link", secret.as_bytes()),
        ("that of another link", second_secret.as_bytes()),
        ("the stretched password", stretched.as_bytes()),
    ] {
        let hits = haystack.find_bytes(what, bytes);
        assert!(hits.is_empty(), "{hits:#?}");
    }

    // The same search in the same bytes sees what is there in the open.
    for seen in [&name, &alice, &bob, &carol, &dave] {
        let hits = haystack.find(seen);
        assert!(hits.iter().any(|hit| hit.contains("/databases/")), "{hits:#?}");
        assert!(hits.iter().any(|hit| hit.contains("profile.sqlite")), "{hits:#?}");
    }
    let hits = haystack.find_bytes("the group's id", &id.0);
    assert!(hits.iter().any(|hit| hit.contains("/databases/")), "{hits:#?}");
    for part in [".sqlite-wal", "profile.sqlite", "stderr-", "to a client"] {
        assert!(haystack.bytes_of(part) > 0, "nothing of {part} was searched");
    }
    assert!(haystack.bytes_of("to a server") > long.len());
}

// ---------------------------------------------------------------- files

/// A picture like no other, in squares, so that its thumbnail is small.
fn squares(path: &Path) {
    let env = Env::system();
    let colours: Vec<[u8; 8]> = (0..40 * 30).map(|_| env.random_u64().to_le_bytes()).collect();
    let picture = image::RgbImage::from_fn(400, 300, |x, y| {
        let [red, green, blue, ..] = colours[(y / 10 * 40 + x / 10) as usize];
        image::Rgb([red, green, blue])
    });
    picture.save(path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_is_anywhere_but_where_it_was_saved() {
    let scene = Scene::open().await;
    let [alice, bob] = ["alice-", "bob-"].map(fresh);
    let a = Member::signs_up(&scene, &alice, &fresh("password-a-")).await;
    let b = Member::signs_up(&scene, &bob, &fresh("password-b-")).await;
    let [name, caption, content] = ["name-", "caption-", "content-"].map(fresh);
    // What people have in the open lies beside the place that is searched.
    let file = scene.secrets.path().join(format!("{name}.txt"));
    let text = format!("{content}\n").repeat(20_000);
    fs::write(&file, &text).unwrap();
    let picture = scene.secrets.path().join(format!("{name}.png"));
    squares(&picture);
    let saved = scene.secrets.path().join("saved");
    fs::create_dir(&saved).unwrap();

    let to = UserName::canonical(&bob).unwrap().into();
    for path in [&file, &picture] {
        let draft = FileDraft { caption: caption.clone(), ..FileDraft::of(path) };
        let id = a.client.send_file(&to, draft).await.unwrap();
        a.has_sent(id).await;
    }
    let from = UserName::canonical(&alice).unwrap().into();
    let all_here = async {
        while b.client.history(&from, 9).unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_here).await.expect("they never came");
    let mut thumbnail = Vec::new();
    for line in b.client.history(&from, 9).unwrap() {
        let Line::Message(message) = line else { panic!("{line:?}") };
        assert_eq!(message.text, caption);
        let shown = message.file.unwrap();
        assert!(shown.name.starts_with(&name), "{}", shown.name);
        b.client.save_file(message.id, &SaveTo::Folder(saved.clone())).await.unwrap();
        thumbnail.extend_from_slice(&shown.thumbnail);
    }
    assert_eq!(fs::read_to_string(saved.join(format!("{name}.txt"))).unwrap(), text);
    assert!(thumbnail.len() > 200, "the picture has one, the text has none");
    let pixels = fs::read(saved.join(format!("{name}.png"))).unwrap();

    let haystack = scene.searched(Vec::new()).await;
    for canary in [&name, &caption, &content] {
        let hits = haystack.find(canary);
        assert!(hits.is_empty(), "{hits:#?}");
    }
    // Out of the middle: every JPEG and every PNG begins alike.
    for (what, bytes) in [("the small picture", &thumbnail), ("the picture", &pixels)] {
        let middle = bytes.len() / 2;
        let hits = haystack.find_bytes(what, &bytes[middle..middle + 32]);
        assert!(hits.is_empty(), "{hits:#?}");
    }
    // The same search in the same bytes sees what is there in the open, and the sealed bytes.
    for name in [&alice, &bob] {
        let hits = haystack.find(name);
        assert!(hits.iter().any(|hit| hit.contains("/databases/")), "{hits:#?}");
    }
    assert!(haystack.bytes_of(".blobs/") > text.len() + pixels.len());
    assert!(haystack.bytes_of("to a server") > text.len() + pixels.len());
    assert!(haystack.bytes_of("to a client") > text.len() + pixels.len());
}
