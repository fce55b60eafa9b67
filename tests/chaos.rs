//! Real server processes killed with signal 9 again and again, and twenty people who notice nothing
//! but a pause: what was written is shown, once, in order; in a group, to everybody in it.
//!
//! Servers and balancer are processes with real disks and real ports; each client is a thread with
//! a runtime of its own, so that dropping the runtime ends it as a kill would. Only keys and the
//! stretching of passwords are cheap. What the simulator does with time, loss and partitions is not
//! repeated here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc as plain;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastchat::client::account::{self, AccountError, Cluster, Where};
use fastchat::client::{
    Author, Client, Event, Line, LocalId, MessageState, Mode, Profile, Standing, Unlocked,
};
use fastchat::net::{CaCert, Env};
use fastchat::testkit::checkers::{Books, Diary, Tap, groups};
use fastchat::types::{ChatName, GroupName, UserName};
use fastchat::wire::Code;
use processes::{Place, Running, send};
use rustix::process::Signal;
use tokio::sync::mpsc;

/// Rates are for strangers; twenty people behind one address are not what is tried here.
const LIMITS: &str = "
sign_ups_per_ip_per_min = 1000
asks_per_ip_per_min = 100000
handshakes_per_ip_per_s = 1000
look_ups_per_ip_per_min = 100000
new_peers_per_hour = 1000
bcrypt_cost = 4
";
const PASSWORD: &str = "correct horse battery";
/// Texts that are on their way at once: what a kill can hit.
const UNDER_WAY_MAX: usize = 120;
/// Longest silence before the run has failed: longer than every pause of client and restart.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// All of it, on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(600);

/// People in the group, the first ones of all.
const MEMBERS: usize = 16;
/// One text of so many goes to the group.
const GROUP_EVERY: usize = 10;

/// What a person is told to do.
enum Order {
    Write(ChatName, String),
    /// Make the group with these people.
    MakeGroup(GroupName, Vec<UserName>),
    /// The machine fails at once.
    Crash,
    /// The machine fails when the next lines are on the screen and not yet noted as shown.
    CrashWhileShowing,
    /// Close the program in order and open it again.
    Reopen,
    /// Close the program in order once everything is sent. The run is over.
    End,
}

/// What the person at the screen noticed.
enum News {
    Ready,
    Saw(UserName, String),
    /// The person is in the group now.
    InGroup,
    /// One life of the client is over and the next begins.
    Reopened,
    /// The person went home.
    Over,
}

/// A person: a thread in which one client lives after the other.
struct Person {
    name: UserName,
    profile: PathBuf,
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

/// How the life of a client ended.
#[derive(PartialEq, Eq)]
enum End {
    Crashed,
    Reopened,
    Over,
}

struct Living {
    name: UserName,
    folder: PathBuf,
    cluster: Cluster,
    diary: Arc<Mutex<Diary>>,
    orders: mpsc::UnboundedReceiver<Order>,
    news: plain::Sender<News>,
    unlock: Option<Vec<u8>>,
    /// A line may come a second time only after a crash while it was being shown.
    may_come_again: bool,
    crash_while_showing: bool,
    is_over: bool,
    is_in_group: bool,
    taken: Vec<(LocalId, String)>,
}

impl Living {
    fn live(mut self) {
        loop {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let end = runtime.block_on(self.one_life());
            drop(runtime);
            match end {
                End::Crashed => self.may_come_again = true,
                End::Reopened => {}
                End::Over => return self.tell(News::Over),
            }
            self.tell(News::Reopened);
        }
    }

    fn tell(&self, news: News) {
        // A world that has failed does not listen any more.
        let _ = self.news.send(news);
    }

    async fn begin(&mut self, env: &Env) -> Unlocked {
        if let Some(key) = &self.unlock {
            let profile = Profile::open(env, &self.folder).unwrap();
            return profile.unlock_with_key(env, key).unwrap();
        }
        let (cluster, name) = (&self.cluster, &self.name);
        let deadline = Instant::now() + SILENCE_MAX;
        let unlocked = loop {
            let profile = Profile::open(env, &self.folder).unwrap();
            match account::sign_up(env, profile, cluster, name, PASSWORD).await {
                Ok(unlocked) => break unlocked,
                // On a busy machine links between servers come and go: a person tries again.
                Err(
                    AccountError::Refused { code: Code::HomeDown | Code::SlowDown, .. }
                    | AccountError::Unreachable,
                ) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => panic!("{name}: {error}"),
            }
        };
        self.unlock = Some(unlocked.unlock_key().to_vec());
        self.tell(News::Ready);
        unlocked
    }

    async fn one_life(&mut self) -> End {
        let env = Env::system_for_tests();
        let unlocked = self.begin(&env).await;
        let (client, mut events) = Client::start(&env, unlocked, Mode::SendAndReceive);
        // What an earlier life left unshown.
        if self.show(&client) == Screen::Dead {
            return End::Crashed;
        }
        loop {
            if self.is_over && client.status().unwrap().waiting == 0 {
                client.stop().await;
                self.note_outcomes(&client);
                return End::Over;
            }
            tokio::select! {
                biased;
                order = self.orders.recv(), if !self.is_over => match order {
                    Some(Order::Write(to, text)) => self.write(&client, &to, &text),
                    Some(Order::MakeGroup(name, with)) => {
                        let done = client.create_group(&name, &with, "", None).await.unwrap();
                        assert!(done.failed.is_empty(), "{done:?}");
                    }
                    Some(Order::Crash) => return End::Crashed,
                    Some(Order::CrashWhileShowing) => self.crash_while_showing = true,
                    Some(Order::Reopen) => {
                        client.stop().await;
                        return End::Reopened;
                    }
                    Some(Order::End) | None => self.is_over = true,
                },
                event = events.recv() => match event {
                    Some(Event::Lines) => if self.show(&client) == Screen::Dead {
                        return End::Crashed;
                    },
                    Some(Event::State { id, state: MessageState::Sent, .. }) => {
                        self.note_sent(&client, id);
                    }
                    Some(Event::Group { group }) if !self.is_in_group => {
                        let view = client.group(&group).unwrap();
                        self.is_in_group =
                            view.is_some_and(|view| view.standing == Standing::Member);
                        if self.is_in_group {
                            self.tell(News::InGroup);
                        }
                    }
                    Some(Event::LocalData { .. } | Event::SessionReplaced | Event::RolledBack
                        | Event::SignedOut { .. } | Event::KeyChanged { .. }) | None => {
                        panic!("{}: {event:?}", self.name)
                    }
                    Some(_) => {}
                },
            }
        }
    }

    fn write(&mut self, client: &Client, to: &ChatName, text: &str) {
        // First on paper: it can be on the other screen before this thread goes on.
        self.diary.lock().unwrap().wrote(&self.name, to, text);
        let id = client.send_text(to, text).unwrap();
        self.taken.push((id, text.to_owned()));
    }

    fn show(&mut self, client: &Client) -> Screen {
        loop {
            let lines = client.take_unshown(16).unwrap();
            if lines.is_empty() {
                return Screen::On;
            }
            for line in &lines {
                self.diary.lock().unwrap().saw(&self.name, line);
                if let Line::Message(message) = line
                    && message.author != Author::Me
                {
                    assert!(self.may_come_again || !message.again, "again: {message:?}");
                    self.tell(News::Saw(self.name.clone(), message.text.clone()));
                }
            }
            if std::mem::take(&mut self.crash_while_showing) {
                return Screen::Dead;
            }
            let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
            client.mark_shown(&ids).unwrap();
        }
    }

    fn note_sent(&self, client: &Client, id: LocalId) {
        let Some(message) = client.message(id).unwrap() else { return };
        let mut diary = self.diary.lock().unwrap();
        diary.told_sent(&message.text);
        if let Some(id) = &message.wire_id {
            diary.told_stored(&self.name, &message.chat, id, &message.text);
        }
    }

    fn note_outcomes(&self, client: &Client) {
        for (id, text) in &self.taken {
            let state = client.message(*id).unwrap().and_then(|message| message.state);
            let arrived = matches!(state, Some(MessageState::Sent | MessageState::Delivered));
            assert!(arrived, "{text:?} ended as {state:?}");
            self.note_sent(client, *id);
        }
    }
}

#[derive(PartialEq, Eq)]
enum Screen {
    On,
    Dead,
}

/// A cluster of processes and the people who use it.
struct World {
    // Goes first when the test fails: it would start again what the place ends.
    running: Option<Running>,
    place: Place,
    servers: u16,
    people: Vec<Person>,
    diary: Arc<Mutex<Diary>>,
    news: plain::Receiver<News>,
    /// Who has seen what.
    saw: BTreeSet<(UserName, String)>,
    /// Screens on which a text is still to stand.
    expected: BTreeMap<String, usize>,
    /// Texts that stand wherever they have to.
    shown: BTreeSet<String>,
    written: usize,
    group: Option<GroupName>,
    to_group: usize,
    began: Instant,
    /// The process of each server that was killed last.
    killed: BTreeMap<u16, u32>,
    kills: usize,
    reopened: usize,
}

impl World {
    fn new(servers: u16, clients: usize) -> Self {
        let place = Place::new();
        fs::write(place.path("limits.toml"), LIMITS).unwrap();
        let running = start(&place, servers);
        let cluster = Cluster {
            at: Where { host: "127.0.0.1".into(), port: place.port },
            id: CaCert::load(&place.path("certs/ca.pem")).unwrap().cluster_id(),
        };
        let diary = Arc::<Mutex<Diary>>::default();
        let (sender, news) = plain::channel();
        let person = |index: usize| {
            let name = UserName::parse(&format!("user{index}")).unwrap();
            let folder = place.path(name.as_str());
            let (orders, incoming) = mpsc::unbounded_channel();
            let living = Living {
                name: name.clone(),
                folder: folder.clone(),
                cluster: cluster.clone(),
                diary: Arc::clone(&diary),
                orders: incoming,
                news: sender.clone(),
                unlock: None,
                may_come_again: false,
                crash_while_showing: false,
                is_over: false,
                is_in_group: false,
                taken: Vec::new(),
            };
            let thread = std::thread::spawn(move || living.live());
            Person { name, profile: folder.join("profile.sqlite"), orders, thread }
        };
        // One after the other: that all of them come at once is not what is tried here, and on a
        // busy machine the last ones would get no answer in time.
        let signed_up = |person| match news.recv_timeout(SILENCE_MAX) {
            Ok(News::Ready) => person,
            _ => panic!("nobody could sign up"),
        };
        let people: Vec<Person> = (0..clients).map(|index| signed_up(person(index))).collect();
        Self {
            place,
            running: Some(running),
            servers,
            people,
            diary,
            news,
            saw: BTreeSet::new(),
            expected: BTreeMap::new(),
            shown: BTreeSet::new(),
            written: 0,
            group: None,
            to_group: 0,
            began: Instant::now(),
            killed: BTreeMap::new(),
            kills: 0,
            reopened: 0,
        }
    }

    fn next(&mut self) -> News {
        assert!(self.began.elapsed() < RUN_MAX, "too slow: {}", self.state());
        match self.news.recv_timeout(SILENCE_MAX) {
            Ok(news) => news,
            Err(_) => panic!("nothing happens any more: {}", self.state()),
        }
    }

    fn state(&self) -> String {
        let missing: Vec<String> =
            self.diary.lock().unwrap().missing().iter().map(|text| (*text).to_owned()).collect();
        format!("{} written, {} shown, missing {missing:?}", self.written, self.shown.len())
    }

    /// Has texts written, never more than [`UNDER_WAY_MAX`] ahead of the screens, until `shown` of
    /// `total` are shown.
    fn go_on_until(&mut self, shown: usize, total: usize) {
        while self.shown.len() < shown {
            while self.written < total && self.written < self.shown.len() + UNDER_WAY_MAX {
                self.write_one();
            }
            match self.next() {
                News::Saw(reader, text) => self.saw(reader, text),
                News::Reopened => self.reopened += 1,
                News::Ready | News::InGroup | News::Over => {}
            }
        }
    }

    fn saw(&mut self, reader: UserName, text: String) {
        if !self.saw.insert((reader, text.clone())) {
            return;
        }
        let left = self.expected.get_mut(&text).unwrap();
        *left -= 1;
        if *left == 0 {
            self.shown.insert(text);
        }
    }

    /// The first person makes a group with the next ones.
    fn make_group(&mut self) {
        let group = GroupName::parse("team").unwrap();
        let names = self.people.iter().take(MEMBERS).skip(1).map(|person| person.name.clone());
        let with: Vec<UserName> = names.collect();
        self.people[0].orders.send(Order::MakeGroup(group.clone(), with)).unwrap();
        let mut waiting = MEMBERS;
        while waiting > 0 {
            waiting -= usize::from(matches!(self.next(), News::InGroup));
        }
        self.group = Some(group);
    }

    /// Everybody writes in turn, to each of the others in turn, or to the group.
    fn write_one(&mut self) {
        let count = self.people.len();
        if let Some(group) = self.group.clone()
            && self.written.is_multiple_of(GROUP_EVERY)
        {
            let from = &self.people[self.to_group % MEMBERS];
            self.written += 1;
            self.to_group += 1;
            let text = format!("{}>{group} #{}", from.name, self.written);
            self.expected.insert(text.clone(), MEMBERS - 1);
            from.orders.send(Order::Write(ChatName::Group(group), text)).unwrap();
            return;
        }
        let (from, round) = (self.written % count, self.written / count);
        let to = (from + 1 + round % (count - 1)) % count;
        self.written += 1;
        let (from, to) = (&self.people[from], &self.people[to].name);
        let text = format!("{}>{to} #{}", from.name, self.written);
        self.expected.insert(text.clone(), 1);
        from.orders.send(Order::Write(to.clone().into(), text)).unwrap();
    }

    /// Kills this server, if it has come back since the last time.
    fn kill(&mut self, number: u16) {
        let Some(pid) = self.place.try_pid(&format!("s{number}")) else { return };
        if self.killed.insert(number, pid) != Some(pid) {
            send(pid, Signal::KILL);
            self.kills += 1;
        }
    }

    fn disturb(&self, index: usize, order: Order) {
        let person = &self.people[index % self.people.len()];
        person.orders.send(order).unwrap();
    }

    /// Everybody goes home, the cluster stops, and the books are opened.
    fn judge(mut self) {
        for person in &self.people {
            person.orders.send(Order::End).unwrap();
        }
        let mut left = self.people.len();
        while left > 0 {
            left -= usize::from(matches!(self.next(), News::Over));
        }
        let mut profiles = BTreeMap::new();
        for person in self.people.drain(..) {
            if let Err(why) = person.thread.join() {
                std::panic::resume_unwind(why);
            }
            profiles.insert(person.name, person.profile);
        }
        self.running.take().unwrap().stop();
        let diary = self.diary.lock().unwrap();
        let mut violations = diary.violations();
        let (mut databases, mut books) = (Vec::new(), Books::default());
        for server in &self.place.map().servers {
            let database = self.place.path(&format!("databases/{}.sqlite", server.id));
            violations.extend(books.audit(&server.id, &database, &diary).unwrap());
            violations.extend(Books::audit_cursors(&database, &profiles).unwrap());
            databases.push(database);
        }
        let databases: Vec<_> = databases.iter().map(PathBuf::as_path).collect();
        violations.extend(Books::audit_slots(&databases).unwrap());
        violations.extend(groups::violations(&diary, &books, &Tap::default()));
        assert!(violations.is_empty(), "{violations:#?}");
        let (written, sent, shown) = diary.counts();
        let screens = self.written + self.to_group * (MEMBERS - 2);
        assert_eq!((written, sent, shown), (self.written, self.written, screens));
        println!(
            "{} servers killed with signal 9, {} clients ended and reopened; \
             {written} messages written, {sent} sent, {} of them to the group; on screens {shown} \
             times; in {:.1} s",
            self.kills,
            self.reopened,
            self.to_group,
            self.began.elapsed().as_secs_f64(),
        );
    }
}

fn start(place: &Place, servers: u16) -> Running {
    let (servers, port) = (servers.to_string(), place.port.to_string());
    let running = place.begin_with(place.command(&[&servers, &port, "--limits", "limits.toml"]));
    running.wait_for("Join:");
    running
}

#[test]
fn twenty_people_lose_nothing_while_servers_and_clients_are_killed() {
    const TOTAL: usize = 2_000;
    const PER_KILL: usize = 125;
    let mut world = World::new(3, 20);
    world.make_group();
    for round in 1..=TOTAL / PER_KILL {
        world.go_on_until(round * PER_KILL, TOTAL);
        let order = match round % 3 {
            0 => Order::Crash,
            1 => Order::CrashWhileShowing,
            _ => Order::Reopen,
        };
        world.disturb(round * 7, order);
        let servers = world.servers;
        let victim = u16::try_from(round).unwrap() % servers;
        world.kill(1 + victim);
        if round % 5 == 0 {
            world.kill(1 + (victim + 1) % servers);
        }
    }
    assert!(world.kills >= 12, "only {} kills", world.kills);
    world.judge();
}

#[test]
fn chat_goes_on_without_the_balancer_and_the_next_one_adopts_the_servers() {
    const TOTAL: usize = 600;
    let mut world = World::new(2, 6);
    world.go_on_until(100, TOTAL);
    let servers = [world.place.pid("s1"), world.place.pid("s2")];
    world.running.take().unwrap().kill();
    // Nobody needs it: not those who are connected, and not those who come back.
    for index in 0..3 {
        let order = if index == 0 { Order::Reopen } else { Order::Crash };
        world.disturb(index, order);
    }
    world.go_on_until(300, TOTAL);
    assert_eq!(world.reopened, 3);
    world.running = Some(start(&world.place, world.servers));
    assert_eq!([world.place.pid("s1"), world.place.pid("s2")], servers);
    world.go_on_until(400, TOTAL);
    // What it adopted, it restarts like its own.
    world.kill(1);
    world.go_on_until(TOTAL, TOTAL);
    world.judge();
}
