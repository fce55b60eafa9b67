//! Real servers in this process, and a client that speaks raw frames to them over loopback QUIC.
//!
//! No client library: what a hostile or foreign client can send is what these tests send.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests; not every test uses all of it"
)]

pub mod chunks;
pub mod fake_home;
pub mod groups;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use fastchat::admission::AdmissionKey;
use fastchat::crypto::testkeys;
use fastchat::crypto::{Bundle, BundleDevice, DeviceKey, DeviceState, ResumeClaim, seal_void};
use fastchat::home;
use fastchat::limits::{Limits, OPERATION_FRAME_BYTES_MAX};
use fastchat::net::env::TestOptions;
use fastchat::net::{
    self, Authority, ConnectError, Credentials, Env, FrameReader, FrameWriter, Live, QuicKeys,
    Role, Target, client_endpoint,
};
use fastchat::placement::{PlacementMap, ServerEntry};
use fastchat::server::{self, ServerConfig, ServerError, Stop};
use fastchat::testkit::SimNet;
use fastchat::types::{DeviceId, LogId, N, ServerId, UserName};
use fastchat::wire::Code;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{
    Append, ClientFrame, Cursor, Envelope, Error, Header, Hello, Kind, Login, Open, Opened, Resume,
    ServerFrame, SignUp, Welcome,
};
use prost::Message;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing on loopback takes this long; a test that waits longer has failed.
pub const LONG: Duration = Duration::from_secs(20);

/// A UDP port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub struct Cluster {
    /// Where the clients and the tests are.
    pub env: Env,
    client_ip: IpAddr,
    server_envs: Vec<Env>,
    pub authority: Authority,
    pub map: PlacementMap,
    pub limits: Limits,
    /// The limits of every server, now.
    pub live_limits: Live<Limits>,
    pub key: AdmissionKey,
    pub balancer: Credentials,
    pub credentials: Vec<Credentials>,
    /// What each server shows now.
    pub live: Vec<Live<Credentials>>,
    quic_keys: Vec<QuicKeys>,
    dir: tempfile::TempDir,
    running: Vec<Option<Running>>,
}

struct Running {
    stop: Stop,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Cluster {
    /// Starts that many servers with one limit file.
    pub async fn start(servers: u16, limits: Limits) -> Self {
        // A port that was free a moment ago may go to another test: then with other ports.
        loop {
            let env = Env::system_for_tests();
            if let Some(cluster) = Self::try_start(env, servers, limits.clone()).await {
                return cluster;
            }
        }
    }

    /// As [`Self::start`], in this world.
    pub async fn start_in(env: &Env, servers: u16) -> Self {
        loop {
            if let Some(cluster) = Self::try_start(env.clone(), servers, Limits::default()).await {
                return cluster;
            }
        }
    }

    async fn try_start(env: Env, servers: u16, limits: Limits) -> Option<Self> {
        let ip = IpAddr::from([127, 0, 0, 1]);
        // Held until all are known, so that no port comes twice.
        let mut held = Vec::new();
        let mut free = || {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
            let addr = socket.local_addr().unwrap();
            held.push(socket);
            addr
        };
        let addrs: Vec<_> = (0..servers).map(|_| (free(), free())).collect();
        drop(held);
        let server_envs = addrs.iter().map(|_| env.clone()).collect();
        Self::run(env, ip, server_envs, &addrs, limits).await
    }

    /// Starts that many servers, each a host of a simulated network.
    pub async fn simulated(net: &SimNet, servers: u16, limits: Limits) -> Self {
        Self::simulated_from(net, servers, limits, 0).await
    }

    /// The same; another `seed` makes it another cluster, at the same addresses.
    pub async fn simulated_from(net: &SimNet, servers: u16, limits: Limits, seed: u64) -> Self {
        let options = TestOptions { cheap_crypto: true, ..TestOptions::default() };
        let host = |number: u16| {
            let ip = Self::simulated_ip(number);
            let (killed, seed) = (CancellationToken::new(), seed + u64::from(number));
            net.env(ip, seed, killed, options.clone())
        };
        let at = |number, port| SocketAddr::new(Self::simulated_ip(number), port);
        let addrs: Vec<_> = (1..=servers).map(|n| (at(n, 9000), at(n, 9100))).collect();
        let envs = (1..=servers).map(host).collect();
        let started = Self::run(host(0), Self::simulated_ip(0), envs, &addrs, limits).await;
        started.expect("a server did not start")
    }

    /// The address of a simulated server; 0 is where the clients are.
    pub fn simulated_ip(number: u16) -> IpAddr {
        IpAddr::from([10, 0, 0, u8::try_from(number).unwrap() + 1])
    }

    async fn run(
        env: Env,
        client_ip: IpAddr,
        server_envs: Vec<Env>,
        addrs: &[(SocketAddr, SocketAddr)],
        limits: Limits,
    ) -> Option<Self> {
        let authority = Authority::create(&env).unwrap();
        let balancer = authority.issue(&env, &Role::Balancer).unwrap();
        let (mut entries, mut credentials) = (Vec::new(), Vec::new());
        for (number, (addr, peer_addr)) in (1..).zip(addrs.iter().copied()) {
            let id = ServerId::numbered(number);
            let issued = authority.issue(&env, &Role::Server(id.clone())).unwrap();
            let spki_sha256 = issued.spki_sha256();
            entries.push(ServerEntry { id, addr, peer_addr, spki_sha256 });
            credentials.push(issued);
        }
        let map = PlacementMap::deal(entries, balancer.spki_sha256());
        let dir = tempfile::tempdir().unwrap();
        for entry in &map.servers {
            let path = dir.path().join(entry.id.as_str());
            let slots = map.slots_of(&entry.id);
            home::create(&env, &path, &entry.id, &authority.cluster_id(), &slots).unwrap();
        }
        let mut cluster = Self {
            client_ip,
            authority,
            map,
            live_limits: limits.clone().into(),
            limits,
            key: AdmissionKey::from_bytes(&[3; 32]).unwrap(),
            balancer,
            live: credentials.iter().cloned().map(Live::from).collect(),
            credentials,
            quic_keys: server_envs.iter().map(QuicKeys::create).collect(),
            dir,
            running: server_envs.iter().map(|_| None).collect(),
            env,
            server_envs,
        };
        let mut ready = Vec::new();
        for (number, _) in (1..).zip(addrs) {
            ready.push(cluster.spawn(number));
        }
        for ready in ready {
            ready.await.ok()?;
        }
        Some(cluster)
    }

    fn spawn(&mut self, number: u16) -> oneshot::Receiver<()> {
        let index = usize::from(number) - 1;
        let entry = &self.map.servers[index];
        let config = ServerConfig {
            id: entry.id.clone(),
            listen: entry.addr,
            peer_listen: entry.peer_addr,
            database: self.dir.path().join(entry.id.as_str()),
            credentials: self.live[index].clone(),
            cluster: self.authority.cluster_id(),
            map: self.map.clone(),
            limits: self.live_limits.clone(),
            admission_key: self.key.clone(),
            quic_keys: self.quic_keys[index].clone(),
        };
        let env = self.server_envs[index].clone();
        let (ready, is_ready) = oneshot::channel();
        let stop = Stop::default();
        let task = tokio::spawn(server::run_until(env, config, ready, stop.clone()));
        self.running[index] = Some(Running { stop, task });
        is_ready
    }

    /// Where a server runs: to take it over.
    pub fn server_env(&self, number: u16) -> &Env {
        &self.server_envs[usize::from(number) - 1]
    }

    /// Stops one server in order.
    pub async fn stop(&mut self, number: u16) {
        let running = self.running[usize::from(number) - 1].take().unwrap();
        running.stop.at_once.cancel();
        timeout(LONG, running.task).await.unwrap().unwrap().unwrap();
    }

    /// Asks one server to send its clients on and stop; what is returned ends with it.
    pub fn begin_stop(&mut self, number: u16) -> (Stop, JoinHandle<Result<(), ServerError>>) {
        let running = self.running[usize::from(number) - 1].take().unwrap();
        running.stop.gently.cancel();
        (running.stop, running.task)
    }

    /// Starts a stopped server again, as soon as its ports are free.
    pub async fn restart(&mut self, number: u16) {
        let started = async {
            while self.spawn(number).await.is_err() {
                // In the simulator, time passes only while somebody waits for it.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, started).await.expect("the server did not start again");
    }

    pub fn server(&self, number: u16) -> &ServerEntry {
        &self.map.servers[usize::from(number) - 1]
    }

    /// A ticket for one sign-up or login at a server.
    pub fn ticket(&self, number: u16) -> Bytes {
        self.key.issue(&self.env, &ServerId::numbered(number))
    }

    /// Connects to a server's client port, without any stream.
    pub async fn connect(&self, number: u16) -> quinn::Connection {
        self.try_connect(number, Target::Client).await.unwrap()
    }

    pub async fn try_connect(
        &self,
        number: u16,
        target: Target,
    ) -> Result<quinn::Connection, ConnectError> {
        let entry = self.server(number);
        let endpoint = client_endpoint(&self.env, SocketAddr::new(self.client_ip, 0)).unwrap();
        let cluster = self.authority.cluster_id();
        let (env, name) = (&self.env, entry.id.as_str());
        net::connect(&endpoint, env, entry.addr, name, target, &cluster, None, &Limits::default())
            .await
    }

    /// Connects and opens the session stream.
    pub async fn raw(&self, number: u16) -> Raw {
        Raw::over(self.connect(number).await).await
    }

    /// Connects and says hello.
    pub async fn greeted(&self, number: u16) -> Raw {
        let mut raw = self.raw(number).await;
        raw.greet().await;
        raw
    }

    /// Signs somebody up at a server; the connection is logged in.
    pub async fn sign_up(&self, number: u16, person: &mut Person) -> Raw {
        let mut raw = self.greeted(number).await;
        let answer = raw.ask(person.sign_up(self.ticket(number))).await;
        person.welcome(&answer);
        raw
    }

    /// Resumes somebody's session at a server.
    pub async fn resume(&self, number: u16, person: &mut Person) -> Raw {
        let mut raw = self.greeted(number).await;
        let resume = person.resume(self, number);
        let answer = raw.ask(Ask::Resume(resume)).await;
        person.welcome(&answer);
        raw
    }

    /// A name whose home is this server; another for each `salt`.
    pub fn name_at(&self, number: u16, salt: &str) -> String {
        let at = |name: &String| {
            let user = UserName::canonical(name).unwrap();
            self.map.home_of_user(&user).unwrap().id == ServerId::numbered(number)
        };
        (0..).map(|count| format!("{salt}{count}")).find(at).unwrap()
    }

    pub fn person(&self, name: &str, number: usize) -> Person {
        Person::new(self, name, number)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for running in self.running.iter().flatten() {
            running.stop.at_once.cancel();
        }
    }
}

/// An account and its one device.
pub struct Person {
    pub name: UserName,
    pub device: DeviceId,
    pub device_key: DeviceKey,
    pub auth_key: String,
    pub bundle: Bytes,
    pub count: u64,
    cluster: fastchat::types::ClusterId,
}

impl Person {
    /// `number` picks the keys and the device.
    fn new(cluster: &Cluster, name: &str, number: usize) -> Self {
        let name = UserName::canonical(name).unwrap();
        let device = DeviceId(number as u64 + 1);
        let device_key = DeviceKey::from_seed(&[u8::try_from(number).unwrap(); 32]);
        let identity = testkeys::identity(number);
        let bundle = Bundle {
            cluster: cluster.authority.cluster_id(),
            user: name.clone(),
            version: 1,
            identity_spki: Bytes::copy_from_slice(identity.spki()),
            enc_spki: Bytes::copy_from_slice(testkeys::encryption(number).spki()),
            devices: vec![BundleDevice {
                device,
                ed25519: device_key.public(),
                state: DeviceState::Active,
            }],
            suites: vec![1],
        };
        Self {
            name,
            device,
            device_key,
            auth_key: "A".repeat(44),
            bundle: bundle.sign(&identity).unwrap(),
            count: 0,
            cluster: cluster.authority.cluster_id(),
        }
    }

    pub fn log(&self) -> String {
        format!("@{}", self.name)
    }

    pub fn sign_up(&self, ticket: Bytes) -> Ask {
        Ask::SignUp(SignUp {
            user: self.name.to_string(),
            auth_key: self.auth_key.clone(),
            ticket,
            bundle: self.bundle.clone(),
            device: self.device.0,
            invisible: false,
        })
    }

    pub fn login(&self, ticket: Bytes) -> Login {
        Login {
            user: self.name.to_string(),
            auth_key: self.auth_key.clone(),
            ticket,
            device: self.device.0,
            takeover: false,
            invisible: false,
        }
    }

    /// A fresh claim for a server.
    pub fn resume(&mut self, cluster: &Cluster, number: u16) -> Resume {
        self.count += 1;
        let server = &cluster.server(number).id;
        let claim = ResumeClaim {
            cluster: &self.cluster,
            server,
            user: &self.name,
            device: self.device,
            count: self.count,
        };
        let signature = self.device_key.sign_resume(&claim);
        Resume {
            user: self.name.to_string(),
            device: self.device.0,
            count: self.count,
            signature: Bytes::copy_from_slice(&signature),
            invisible: false,
        }
    }

    fn welcome(&self, answer: &Answer) -> Welcome {
        match answer {
            Answer::Welcome(welcome) => welcome.clone(),
            other => panic!("{} was not let in: {other:?}", self.name),
        }
    }

    /// A message that only its reader could tell from a real one.
    pub fn junk(&self, to: &str, open: &Opened, n: u64) -> Ask {
        let header = Header {
            suite: 1,
            kind: Kind::Message as i32,
            log: to.to_owned(),
            author: self.name.to_string(),
            device: self.device.0,
            n,
            key_id: Bytes::from_static(&[1; 16]),
            ..Header::default()
        };
        let envelope = Envelope {
            header: header.encode_to_vec().into(),
            payload: Bytes::from_static(b"junk"),
            signature: Bytes::from_static(&[0; 64]),
        };
        let (open_id, epoch) = (open.open_id, open.epoch);
        let envelope = envelope.encode_to_vec().into();
        Ask::Append(Append { log: to.to_owned(), open_id, epoch, envelope })
    }

    /// The smallest message there is: a void of one number.
    pub fn append(&self, to: &str, open: &Opened, n: u64) -> Ask {
        let log = LogId::canonical(to).unwrap();
        let (key, device) = (&self.device_key, self.device);
        let envelope = seal_void(&self.cluster, key, &log, &self.name, device, N(n), N(n)).unwrap();
        let (open_id, epoch) = (open.open_id, open.epoch);
        Ask::Append(Append { log: to.to_owned(), open_id, epoch, envelope })
    }
}

/// A connection with one session stream, frame by frame.
pub struct Raw {
    pub conn: quinn::Connection,
    pub writer: FrameWriter<ClientFrame>,
    pub reader: FrameReader<ServerFrame>,
    rid: u64,
}

impl Raw {
    pub async fn over(conn: quinn::Connection) -> Self {
        let stream = conn.open_bi().await.expect("no stream");
        Self::on(conn, stream)
    }

    pub fn on(conn: quinn::Connection, stream: (quinn::SendStream, quinn::RecvStream)) -> Self {
        let (send, recv) = stream;
        let limit = OPERATION_FRAME_BYTES_MAX;
        let reader = FrameReader::new(recv, limit, LONG);
        Self { conn, writer: FrameWriter::new(send, 2 * limit), reader, rid: 0 }
    }

    /// Whether the server answers a hello, or closes the connection instead.
    pub async fn is_greeted(&mut self) -> bool {
        let hello = Hello { version_min: 1, version_max: 1, agent: "raw".to_owned() };
        let frame = ClientFrame { rid: 1, optional: false, body: Some(Ask::Hello(hello)) };
        self.writer.send(&frame).await.is_ok() && matches!(self.reader.read().await, Ok(Some(_)))
    }

    pub async fn greet(&mut self) {
        let hello = Hello { version_min: 1, version_max: 1, agent: "raw".to_owned() };
        let answer = self.ask(Ask::Hello(hello)).await;
        assert!(matches!(answer, Answer::HelloOk(_)), "{answer:?}");
    }

    pub async fn send(&mut self, rid: u64, body: Ask) {
        let frame = ClientFrame { rid, optional: false, body: Some(body) };
        self.writer.send(&frame).await.unwrap();
    }

    /// Sends a request and returns the next frame, which must be its answer.
    pub async fn ask(&mut self, body: Ask) -> Answer {
        self.rid += 1;
        let rid = self.rid;
        self.send(rid, body).await;
        let frame = self.next_frame().await;
        assert_eq!(frame.rid, rid, "{frame:?}");
        frame.body.unwrap()
    }

    /// Sends a request that must be refused with an `Error`.
    pub async fn ask_error(&mut self, body: Ask) -> (Code, Error) {
        error(self.ask(body).await)
    }

    pub async fn next_frame(&mut self) -> ServerFrame {
        let read = timeout(LONG, self.reader.read()).await.expect("no frame came");
        read.unwrap().expect("the stream ended")
    }

    pub async fn next(&mut self) -> Answer {
        self.next_frame().await.body.unwrap()
    }

    pub async fn open(&mut self, log: &str, open_id: u32, cursor: u64) -> Answer {
        self.send(
            0,
            Ask::Open(Open { log: log.to_owned(), open_id, epoch: 0, cursor, write_only: false }),
        )
        .await;
        self.next().await
    }

    pub async fn opened(&mut self, log: &str, open_id: u32, cursor: u64) -> Opened {
        match self.open(log, open_id, cursor).await {
            Answer::Opened(opened) => opened,
            other => panic!("{log} did not open: {other:?}"),
        }
    }

    pub async fn cursor(&mut self, opened: &Opened, upto: u64) {
        let Opened { log, open_id, epoch, .. } = opened.clone();
        self.send(0, Ask::Cursor(Cursor { log, open_id, epoch, upto })).await;
    }

    /// Waits until the server closed the connection, and says with which code.
    pub async fn close_code(&self) -> Option<Code> {
        close_code(&self.conn).await
    }

    /// Waits until the server ended the stream and nothing more comes.
    pub async fn stream_ends(&mut self) {
        let read = timeout(LONG, self.reader.read()).await.expect("the stream did not end");
        assert!(matches!(read, Ok(None) | Err(_)), "{read:?}");
    }
}

pub async fn close_code(conn: &quinn::Connection) -> Option<Code> {
    let why = timeout(LONG, conn.closed()).await.expect("the connection stays");
    net::endpoint::close_code(&why)
}

pub fn error(answer: Answer) -> (Code, Error) {
    match answer {
        Answer::Error(error) => (Code::from_number(error.code).unwrap(), error),
        other => panic!("expected an error, got {other:?}"),
    }
}
