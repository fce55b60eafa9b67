//! Whole lives of clients against real servers and a real balancer in the simulated network: what
//! only a session can get wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use fastchat::balancer::fleet::{Member, State, Wish};
use fastchat::balancer::{self, BalancerConfig, Fleet, Strategy};
use fastchat::client::account::{self, AccountError, Cluster, IdentitySource, OtherDevice, Where};
use fastchat::client::{
    Author, Cancelled, Client, Event, Line, LocalId, MessageState, Mode, Profile, ProfileError,
    Refusal, RequestError, SendError, Trust, Unlocked,
};
use fastchat::limits::Limits;
use fastchat::net::env::TestOptions;
use fastchat::net::{Env, QuicKeys};
use fastchat::testkit::{NetConfig, SimNet};
use fastchat::types::{ServerId, UserName};
use fastchat::wire::Code;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "correct horse battery";
const BALANCER: [u8; 4] = [10, 0, 9, 1];
/// Nothing takes this long, in virtual time.
const LONG: Duration = Duration::from_secs(120);

/// Servers, a balancer, and a network between them and everybody.
struct Town {
    net: SimNet,
    servers: raw::Cluster,
    fleet: Fleet,
    dir: tempfile::TempDir,
    hosts: u8,
}

impl Town {
    async fn new(servers: u16, limits: Limits) -> Self {
        let net = SimNet::new(7, NetConfig::default());
        let servers = raw::Cluster::simulated(&net, servers, limits.clone()).await;
        let fleet = Fleet::new(&servers.map);
        let town = Self { net, servers, fleet, dir: tempfile::tempdir().unwrap(), hosts: 0 };
        let env = town.env(BALANCER.into(), 1);
        let config = BalancerConfig {
            listen: SocketAddr::new(BALANCER.into(), 9000),
            credentials: town.servers.balancer.clone().into(),
            quic_keys: QuicKeys::create(&env),
            cluster: town.servers.authority.cluster_id(),
            map: town.servers.map.clone(),
            fleet: town.fleet.clone(),
            admission_key: town.servers.key.clone(),
            strategy: Strategy::Random,
            limits,
            stop_asked: CancellationToken::new(),
        };
        let (ready, is_ready) = oneshot::channel();
        env.spawn(balancer::run(env.clone(), config, ready, CancellationToken::new()));
        is_ready.await.unwrap();
        // The links between them come up.
        tokio::time::sleep(Duration::from_secs(5)).await;
        town
    }

    fn env(&self, ip: IpAddr, seed: u64) -> Env {
        let options = TestOptions { cheap_crypto: true, bug: None };
        self.net.env(ip, seed, CancellationToken::new(), options)
    }

    /// A host of its own for a client.
    fn host(&mut self) -> (Env, IpAddr) {
        self.hosts += 1;
        let ip = IpAddr::from([10, 0, 8, self.hosts]);
        (self.env(ip, 200 + u64::from(self.hosts)), ip)
    }

    fn at(&self) -> Cluster {
        let at = Where { host: IpAddr::from(BALANCER).to_string(), port: 9000 };
        Cluster { at, id: self.servers.authority.cluster_id() }
    }

    fn profile(&self, env: &Env, folder: &str) -> Profile {
        Profile::open(env, &self.dir.path().join(folder)).unwrap()
    }

    async fn sign_up(&mut self, user: &UserName, folder: &str) -> Life {
        let (env, ip) = self.host();
        let profile = self.profile(&env, folder);
        let unlocked = account::sign_up(&env, profile, &self.at(), user, PASSWORD).await.unwrap();
        Life::start(env, ip, unlocked)
    }

    /// Logs in on another host.
    async fn log_in(
        &mut self,
        user: &UserName,
        folder: &str,
        identity: IdentitySource,
        other: OtherDevice,
    ) -> Result<Life, AccountError> {
        let (env, ip) = self.host();
        let profile = self.profile(&env, folder);
        let at = self.at();
        let unlocked = account::log_in(&env, profile, &at, user, PASSWORD, identity, other).await?;
        Ok(Life::start(env, ip, unlocked))
    }

    /// Somebody whose home is that server.
    fn name(&self, server: u16, salt: &str) -> UserName {
        UserName::canonical(&self.servers.name_at(server, salt)).unwrap()
    }
}

/// A running client.
struct Life {
    env: Env,
    ip: IpAddr,
    client: Client,
    events: mpsc::Receiver<Event>,
}

impl Life {
    fn start(env: Env, ip: IpAddr, unlocked: Unlocked) -> Self {
        let (client, events) = Client::start(&env, unlocked, Mode::SendAndReceive);
        Self { env, ip, client, events }
    }

    /// Waits for an event, forgetting those before it.
    async fn told(&mut self, what: impl Fn(&Event) -> bool) -> Event {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the client is gone");
                if what(&event) {
                    return event;
                }
            }
        };
        timeout(LONG, wait).await.expect("that never happened")
    }

    /// Waits until a message stands so.
    async fn stands(&mut self, id: LocalId, state: &MessageState) {
        let wait = async {
            while self.state(id) != *state {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = timeout(LONG, wait).await;
        assert!(found.is_ok(), "{id} is {:?}, not {state:?}", self.state(id));
    }

    fn state(&self, id: LocalId) -> MessageState {
        self.client.message(id).unwrap().unwrap().state.unwrap()
    }

    /// The next lines, as soon as there are so many.
    async fn sees(&mut self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        let wait = async {
            while seen.len() < count {
                let lines = self.client.take_unshown(100).unwrap();
                let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
                self.client.mark_shown(&ids).unwrap();
                seen.extend(lines.iter().map(words));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = timeout(LONG, wait).await;
        seen
    }

    fn writes(&self, to: &UserName, text: &str) -> LocalId {
        self.client.send_text(&to.clone().into(), text).unwrap()
    }

    /// Stops it; the folder is free when this returns.
    async fn stop(self) -> (Env, IpAddr) {
        let Self { env, ip, client, mut events } = self;
        client.stop().await;
        drop(client);
        while events.recv().await.is_some() {}
        (env, ip)
    }
}

fn words(line: &Line) -> String {
    match line {
        Line::Message(message) => message.text.clone(),
        Line::Trouble { trouble, .. } => format!("! {trouble:?}"),
        Line::Membership { by, change, .. } => format!("* {by} {change:?}"),
    }
}

async fn with_key(town: &Town, env: Env, ip: IpAddr, folder: &str) -> Life {
    let profile = town.profile(&env, folder);
    Life::start(env.clone(), ip, profile.unlock(&env, PASSWORD).await.unwrap())
}

fn one_server() -> impl Future<Output = Town> {
    Town::new(1, Limits { bcrypt_cost: 4, inbox_author_entries_max: 4, ..Limits::default() })
}

fn is_online(event: &Event) -> bool {
    matches!(event, Event::Online { .. })
}

fn waits_for(code: Code) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::ChatWaits { code: got, .. } if *got == code)
}

#[tokio::test(start_paused = true)]
async fn texts_go_both_ways_and_both_see_the_same_safety_number() {
    let mut town = Town::new(2, Limits { bcrypt_cost: 4, ..Limits::default() }).await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(2, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    let id = alice.writes(&bobs, "hi");
    assert_eq!(bob.sees(1).await, ["hi"]);
    alice.stands(id, &MessageState::Delivered).await;
    bob.writes(&alices, "hello");
    assert_eq!(alice.sees(1).await, ["hello"]);
    let seen_by_alice = alice.client.key_of(&bobs).await.unwrap();
    let seen_by_bob = bob.client.key_of(&alices).await.unwrap();
    assert_eq!(seen_by_alice.safety_number, seen_by_bob.safety_number);
    assert_eq!(seen_by_alice.trust, Trust::Pinned);
    alice.client.mark_verified(&bobs).unwrap();
    assert_eq!(alice.client.key_of(&bobs).await.unwrap().trust, Trust::Verified);
    let nobody = town.name(1, "nobody");
    let missing = alice.client.look_up(&nobody).await;
    assert!(matches!(missing, Err(RequestError::Refused { code: Code::NoSuchUser, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_person_who_does_not_exist_yet_can_be_written_to_once_they_do() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let early = alice.writes(&bobs, "too early");
    alice.stands(early, &MessageState::Refused(Refusal::Server(Code::NoSuchUser))).await;
    let mut bob = town.sign_up(&bobs, "b").await;
    let id = alice.writes(&bobs, "now");
    assert_eq!(bob.sees(1).await, ["now"]);
    alice.stands(id, &MessageState::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn a_blocked_author_is_refused_and_after_unblocking_is_read_again() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    alice.writes(&bobs, "one");
    assert_eq!(bob.sees(1).await, ["one"]);
    bob.client.block(&alices, true).await.unwrap();
    assert_eq!(
        bob.client.send_text(&alices.clone().into(), "x"),
        Err(SendError::Blocked(alices.clone()))
    );
    let refused = [alice.writes(&bobs, "two"), alice.writes(&bobs, "three")];
    for id in refused {
        alice.stands(id, &MessageState::Refused(Refusal::Server(Code::Blocked))).await;
    }
    bob.client.block(&alices, false).await.unwrap();
    let id = alice.writes(&bobs, "four");
    alice.stands(id, &MessageState::Delivered).await;
    assert_eq!(bob.sees(1).await, ["four"], "no hole");
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_is_told_and_takes_the_rest_when_it_is_read() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let (env, ip) = town.sign_up(&bobs, "b").await.stop().await;
    let texts: Vec<String> = (1..=12).map(|n| format!("text {n}")).collect();
    let ids: Vec<LocalId> = texts.iter().map(|text| alice.writes(&bobs, text)).collect();
    alice.told(waits_for(Code::MailboxFull)).await;
    alice.stands(ids[3], &MessageState::Sent).await;
    // One that waits is taken back; the others go on without a hole.
    assert_eq!(alice.client.cancel(ids[6]), Ok(Cancelled::Yes));
    let mut bob = with_key(&town, env, ip, "b").await;
    let mut expected = texts.clone();
    expected.remove(6);
    assert_eq!(bob.sees(11).await, expected);
    alice.stands(ids[11], &MessageState::Delivered).await;
    assert_eq!(alice.state(ids[6]), MessageState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn texts_wait_for_a_home_that_is_away_and_others_do_not() {
    let mut town = Town::new(2, Limits { bcrypt_cost: 4, ..Limits::default() }).await;
    let (alices, bobs, carols) =
        (town.name(1, "alice"), town.name(2, "bob"), town.name(1, "carol"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    let mut carol = town.sign_up(&carols, "c").await;
    let sent = alice.writes(&bobs, "in time");
    assert_eq!(bob.sees(1).await, ["in time"]);
    alice.stands(sent, &MessageState::Delivered).await;
    town.servers.stop(2).await;
    alice.told(is_online).await;
    // Nothing waits, and nothing is said, however often the log is tried.
    tokio::time::sleep(Duration::from_secs(20)).await;
    while let Ok(event) = alice.events.try_recv() {
        assert!(!matches!(event, Event::ChatWaits { .. }), "nothing waits: {event:?}");
    }
    let waits = alice.writes(&bobs, "for later");
    alice.told(waits_for(Code::HomeDown)).await;
    alice.writes(&carols, "for now");
    assert_eq!(carol.sees(1).await, ["for now"]);
    assert_eq!(alice.state(waits), MessageState::Waiting);
    town.servers.restart(2).await;
    assert_eq!(bob.sees(1).await, ["for later"]);
    alice.stands(waits, &MessageState::Delivered).await;
}

/// Where somebody is connected next; being offline in between fails the test.
async fn next_edge(life: &mut Life) -> ServerId {
    let event = life.told(|event| matches!(event, Event::Online { .. } | Event::Offline { .. }));
    match event.await {
        Event::Online { server } => server,
        other => panic!("{other:?}"),
    }
}

impl Town {
    /// What the operator wants, once the server says it itself.
    async fn wish(&self, server: &ServerId, wish: Wish, state: State) {
        self.fleet.wish(server, wish).unwrap();
        let mut members = self.fleet.subscribe();
        let is_so = |members: &Vec<Member>| {
            members.iter().any(|member| member.entry.id == *server && member.state == state)
        };
        timeout(LONG, members.wait_for(is_so)).await.unwrap().unwrap();
    }

    fn connections(&self, server: &ServerId) -> u64 {
        let members = self.fleet.members();
        members.iter().find(|m| m.entry.id == *server).unwrap().load.connections
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_sent_on_is_never_offline_and_loses_nothing() {
    let mut town = Town::new(3, Limits { bcrypt_cost: 4, ..Limits::default() }).await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(2, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    let mut at = next_edge(&mut alice).await;
    let mut left = Vec::new();
    let mut ids = Vec::new();
    for round in 0..2 {
        // The texts are on their way in both directions while everybody moves.
        for n in 0..30 {
            ids.push(alice.writes(&bobs, &format!("{round} {n}")));
            bob.writes(&alices, &format!("{round} {n}"));
        }
        town.wish(&at, Wish::Drain, State::Drain).await;
        left.push(at);
        at = next_edge(&mut alice).await;
        assert!(!left.contains(&at), "back at {at}, which drains");
    }
    let expected: Vec<String> =
        (0..2).flat_map(|round| (0..30).map(move |n| format!("{round} {n}"))).collect();
    assert_eq!(bob.sees(60).await, expected);
    assert_eq!(alice.sees(60).await, expected);
    for id in ids {
        alice.stands(id, &MessageState::Delivered).await;
    }
    // Nobody is left where nobody should be.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(left.iter().all(|server| town.connections(server) == 0));
    town.wish(&left[0], Wish::Serve, State::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn the_balancer_hears_every_second_how_busy_a_server_is() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    let load = || town.fleet.members()[0].load;
    alice.writes(&bobs, "first");
    assert_eq!(bob.sees(1).await, ["first"]);
    let ids: Vec<LocalId> = (0..3).map(|n| alice.writes(&bobs, &format!("{n}"))).collect();
    alice.stands(ids[2], &MessageState::Delivered).await;
    let told = async {
        let mut most = 0;
        while most < 3 || load().p99_us == 0 || load().busy.bytes_per_s == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            most = load().messages_per_s.max(most);
        }
    };
    timeout(LONG, told).await.expect("no such report");
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!((load().messages_per_s, load().p99_us), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_finds_no_other_server_stays_and_goes_on_writing() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    let at = next_edge(&mut alice).await;
    assert_eq!(next_edge(&mut bob).await, at);
    town.wish(&at, Wish::Drain, State::Drain).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let id = alice.writes(&bobs, "still here");
    assert_eq!(bob.sees(1).await, ["still here"]);
    alice.stands(id, &MessageState::Delivered).await;
    let nothing = alice.events.try_recv();
    assert!(!matches!(nothing, Ok(Event::Offline { .. } | Event::Online { .. })), "{nothing:?}");
    // Who comes anew is refused, until clients are taken again.
    let (env, ip) = bob.stop().await;
    let mut bob = with_key(&town, env, ip, "b").await;
    bob.told(|event| matches!(event, Event::Offline { .. })).await;
    town.wish(&at, Wish::Serve, State::Ready).await;
    bob.told(is_online).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_with_more_to_send_than_it_may_serves_everybody() {
    let mut town = Town::new(1, Limits { bcrypt_cost: 4, ..Limits::default() }).await;
    let alices = town.name(1, "alice");
    let mut alice = town.sign_up(&alices, "a").await;
    let mut ids = Vec::new();
    let mut names = Vec::new();
    for number in 0..6 {
        let user = town.name(1, &format!("reader{number}x"));
        town.sign_up(&user, &format!("r{number}")).await.stop().await;
        names.push(user);
    }
    for user in &names {
        for n in 0..100 {
            ids.push(alice.writes(user, &format!("{n}")));
        }
    }
    for id in ids {
        alice.stands(id, &MessageState::Sent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_device_takes_over_and_everybody_sees_the_changed_key() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    bob.writes(&alices, "zero");
    assert_eq!(alice.sees(1).await, ["zero"]);

    // Somebody else is logged in: ask first. No identity key in the folder: say so.
    let asked = town.log_in(&alices, "a2", IdentitySource::New, OtherDevice::Ask).await;
    assert!(matches!(asked, Err(AccountError::AlreadyLoggedIn { .. })), "{:?}", asked.err());
    let keyless = town.log_in(&alices, "a2", IdentitySource::Profile, OtherDevice::TakeOver).await;
    assert!(matches!(keyless, Err(AccountError::NoIdentityKey)), "{:?}", keyless.err());

    // Alice goes away, Bob writes more than her mailbox takes, and she comes back as another.
    let (env, ip) = alice.stop().await;
    let ids: Vec<LocalId> = (1..=8).map(|n| bob.writes(&alices, &format!("{n}"))).collect();
    bob.told(waits_for(Code::MailboxFull)).await;
    alice = with_key(&town, env.clone(), ip, "a").await;
    town.net.partition(ip, raw::Cluster::simulated_ip(1));
    let takeover = OtherDevice::TakeOver;
    let mut other = town.log_in(&alices, "a2", IdentitySource::New, takeover).await.unwrap();
    town.net.repair_all();
    alice.told(|event| matches!(event, Event::SessionReplaced | Event::SignedOut { .. })).await;

    // What is kept for the old keys cannot be read; nothing more is sent before Bob says so.
    assert_eq!(other.sees(5).await, ["! NoKey"; 5]);
    bob.told(|event| matches!(event, Event::KeyChanged { .. })).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bob.state(ids[7]), MessageState::Pending);
    let refused = bob.client.send_text(&alices.clone().into(), "x");
    assert_eq!(refused, Err(SendError::KeyChanged(alices.clone())));
    bob.client.accept_key(&alices).unwrap();
    assert_eq!(other.sees(4).await, ["5", "6", "7", "8"]);
    bob.stands(ids[7], &MessageState::Delivered).await;

    // The first device is out; its password alone does not bring the account back.
    drop(alice);
    let profile = IdentitySource::Profile;
    let back = town.log_in(&alices, "a", profile, OtherDevice::TakeOver).await;
    assert!(matches!(back, Err(AccountError::NoIdentityKey)), "{:?}", back.err());
    let mut back =
        town.log_in(&alices, "a", IdentitySource::New, OtherDevice::TakeOver).await.unwrap();
    other.told(|event| matches!(event, Event::SessionReplaced)).await;
    back.told(is_online).await;
    assert_eq!(
        back.client.history(&bobs.clone().into(), 9).unwrap().len(),
        1,
        "its history is still there"
    );
    back.writes(&bobs, "me again");
    let seen = bob.sees(3).await;
    assert_eq!(seen, ["! KeyChanged", "! KeyChanged", "me again"]);
}

#[tokio::test(start_paused = true)]
async fn an_old_copy_of_a_profile_is_told_so_and_writes_on_as_another_device() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    alice.writes(&bobs, "one");
    assert_eq!(bob.sees(1).await, ["one"]);
    let folder = town.dir.path().join("a");
    let (env, ip) = alice.stop().await;
    copy(&folder, &town.dir.path().join("copy"));
    alice = with_key(&town, env, ip, "a").await;
    alice.writes(&bobs, "two");
    assert_eq!(bob.sees(1).await, ["two"]);
    let (env, ip) = alice.stop().await;
    std::fs::remove_dir_all(&folder).unwrap();
    copy(&town.dir.path().join("copy"), &folder);

    alice = with_key(&town, env, ip, "a").await;
    let id = alice.writes(&bobs, "three");
    alice.told(|event| *event == Event::RolledBack).await;
    alice.stands(id, &MessageState::Delivered).await;
    assert_eq!(bob.sees(1).await, ["three"]);
    bob.writes(&alices, "four");
    assert_eq!(alice.sees(1).await.last().map(String::as_str), Some("four"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_encryption_key_is_replaced_without_anybody_noticing() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    let mut bob = town.sign_up(&bobs, "b").await;
    alice.writes(&bobs, "one");
    assert_eq!(bob.sees(1).await, ["one"]);
    bob.writes(&alices, "two");
    assert_eq!(alice.sees(1).await, ["two"]);
    let (env, ip) = alice.stop().await;
    town.net.skew(ip, 31 * 24 * 3600 * 1000);
    bob.writes(&alices, "to the old key");
    let key_before = bob.client.key_of(&alices).await.unwrap();
    alice = with_key(&town, env, ip, "a").await;
    alice.told(is_online).await;
    // The new bundle needs a new session.
    alice.told(is_online).await;
    assert_eq!(alice.sees(1).await, ["to the old key"]);
    alice.writes(&bobs, "three");
    assert_eq!(bob.sees(1).await, ["three"]);
    bob.writes(&alices, "four");
    assert_eq!(alice.sees(1).await, ["four"]);
    assert_eq!(bob.client.key_of(&alices).await.unwrap(), key_before);
}

#[tokio::test(start_paused = true)]
async fn a_sign_up_that_came_to_nothing_can_be_repeated_in_every_way() {
    let mut town = one_server().await;
    let (alices, others) = (town.name(1, "alice"), town.name(1, "other"));
    let (env, ip) = town.host();
    let at = town.at();
    let balancer = IpAddr::from(BALANCER);
    town.net.partition(ip, balancer);
    for password in [PASSWORD, PASSWORD] {
        let failed = account::sign_up(&env, town.profile(&env, "a"), &at, &alices, password).await;
        assert!(matches!(failed, Err(AccountError::Unreachable)), "{:?}", failed.err());
    }
    assert!(town.profile(&env, "a").owner().is_none());
    town.net.repair_all();
    // The answer is lost: the server has the account, and the same keys and password get it.
    let server = raw::Cluster::simulated_ip(1);
    let lost =
        async { account::sign_up(&env, town.profile(&env, "a"), &at, &alices, PASSWORD).await };
    let cut = async {
        while account::name_status(&town.servers.env, &at, &alices).await.unwrap()
            != account::NameStatus::Taken
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        town.net.partition(ip, server);
    };
    tokio::select! {
        biased;
        () = cut => {}
        _ = lost => {}
    }
    town.net.repair_all();
    // Another password would open keys that only the first one can.
    let another = "another long password";
    let failed = account::sign_up(&env, town.profile(&env, "a"), &at, &alices, another).await;
    let wrong = matches!(failed, Err(AccountError::Profile(ProfileError::WrongPassword)));
    let done = town.profile(&env, "a").owner().is_some();
    assert!(wrong || done, "{:?}", failed.err());
    let again = account::sign_up(&env, town.profile(&env, "a"), &at, &alices, PASSWORD).await;
    assert!(again.is_ok() || done, "{:?}", again.err());

    // A name that is taken leaves nothing behind; another name and password are free to follow.
    let failed = account::sign_up(&env, town.profile(&env, "b"), &at, &alices, PASSWORD).await;
    assert!(matches!(failed, Err(AccountError::NameTaken)), "{:?}", failed.err());
    let other = account::sign_up(&env, town.profile(&env, "b"), &at, &others, another).await;
    assert_eq!(other.unwrap().owner().user, others);
    let short = account::sign_up(&env, town.profile(&env, "c"), &at, &others, "short").await;
    assert!(matches!(short, Err(AccountError::PasswordTooShort)), "{:?}", short.err());
}

#[tokio::test(start_paused = true)]
async fn a_mistyped_password_at_the_first_login_is_only_that() {
    let mut town = one_server().await;
    let alices = town.name(1, "alice");
    town.sign_up(&alices, "a").await.stop().await;
    let (env, ip) = town.host();
    let at = town.at();
    let typo = "correct horse batter";
    let ask = OtherDevice::Ask;
    let log_in = async |password: &str, identity| {
        let profile = town.profile(&env, "a2");
        account::log_in(&env, profile, &at, &alices, password, identity, ask).await
    };
    let failed = log_in(typo, IdentitySource::New).await;
    assert!(matches!(failed, Err(AccountError::WrongPassword)), "{:?}", failed.err());
    let unlocked = log_in(PASSWORD, IdentitySource::New).await.unwrap();
    let mut alice = Life::start(env.clone(), ip, unlocked);
    alice.told(is_online).await;
    alice.stop().await;
    // Held now: a wrong password is found out here.
    let failed = log_in(typo, IdentitySource::Profile).await;
    let local = matches!(failed, Err(AccountError::Profile(ProfileError::WrongPassword)));
    assert!(local, "{:?}", failed.err());
}

#[tokio::test(start_paused = true)]
async fn the_last_event_comes_even_when_nobody_listened_for_long() {
    let mut town = one_server().await;
    let (alices, bobs) = (town.name(1, "alice"), town.name(1, "bob"));
    let mut alice = town.sign_up(&alices, "a").await;
    alice.told(is_online).await;
    // More events than the queue holds, and none is read.
    for n in 0..5_000 {
        let id = alice.writes(&bobs, &n.to_string());
        alice.client.cancel(id).unwrap();
    }
    let takeover = OtherDevice::TakeOver;
    town.log_in(&alices, "a2", IdentitySource::New, takeover).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    alice.told(|event| matches!(event, Event::SessionReplaced)).await;
    let lines = alice.client.history(&bobs.clone().into(), 1).unwrap();
    assert!(matches!(&lines[0], Line::Message(m) if m.author == Author::Me));
    let offline = alice.client.who(true).await;
    assert_eq!(offline, Err(RequestError::Offline));
}

/// Over loopback, because the simulator writes no key files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_makes_another_device_and_survives_a_lost_database() {
    let limits = Limits { bcrypt_cost: 4, ..Limits::default() };
    let servers = raw::Cluster::start(1, limits.clone()).await;
    let env = servers.env.clone();
    let port = raw::free_port();
    let listen = SocketAddr::from(([127, 0, 0, 1], port));
    let config = BalancerConfig {
        listen,
        credentials: servers.balancer.clone().into(),
        quic_keys: QuicKeys::create(&env),
        cluster: servers.authority.cluster_id(),
        map: servers.map.clone(),
        fleet: Fleet::new(&servers.map),
        admission_key: servers.key.clone(),
        strategy: Strategy::Random,
        limits,
        stop_asked: CancellationToken::new(),
    };
    let (ready, is_ready) = oneshot::channel();
    env.spawn(balancer::run(env.clone(), config, ready, CancellationToken::new()));
    is_ready.await.unwrap();
    let at = Where { host: "127.0.0.1".to_owned(), port };
    let at = Cluster { at, id: servers.authority.cluster_id() };
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    let alices = UserName::canonical("alice").unwrap();
    let open = |folder: &Path| Profile::open(&env, folder).unwrap();
    let ip = listen.ip();

    let sign_up = async || account::sign_up(&env, open(&first), &at, &alices, PASSWORD).await;
    let unlocked = loop {
        match sign_up().await {
            Ok(unlocked) => break unlocked,
            // The balancer has not heard of its server yet.
            Err(AccountError::Unreachable) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let mut alice = Life::start(env.clone(), ip, unlocked);
    alice.told(is_online).await;
    let fingerprint = alice.client.status().unwrap().fingerprint;

    let pem = IdentitySource::Pem(first.join("identity.pem"));
    let takeover = OtherDevice::TakeOver;
    let log_in = async |folder: &Path, password: &str, identity| {
        account::log_in(&env, open(folder), &at, &alices, password, identity, takeover).await
    };
    let typo = log_in(&second, "correct horse batter", pem.clone()).await;
    assert!(matches!(typo, Err(AccountError::BadKeyFile(_))), "{:?}", typo.err());
    let unlocked = log_in(&second, PASSWORD, pem).await.unwrap();
    alice.told(|event| *event == Event::SessionReplaced).await;
    drop(alice);
    let mut alice = Life::start(env.clone(), ip, unlocked);
    alice.told(is_online).await;
    assert_eq!(alice.client.status().unwrap().fingerprint, fingerprint);
    let device = alice.client.status().unwrap().device;
    alice.stop().await;

    for file in ["profile.sqlite", "profile.sqlite-wal", "profile.sqlite-shm"] {
        let _ = std::fs::remove_file(second.join(file));
    }
    let unlocked = log_in(&second, PASSWORD, IdentitySource::Profile).await.unwrap();
    let mut alice = Life::start(env.clone(), ip, unlocked);
    alice.told(is_online).await;
    let status = alice.client.status().unwrap();
    assert_eq!(status.fingerprint, fingerprint);
    assert_ne!(status.device, device);
    assert!(second.join("identity.pem").exists());
}
