//! What only the operating system's sockets can show.

use super::*;

fn localhost() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A server in a runtime of its own, so that it can die without a word.
struct Process {
    runtime: tokio::runtime::Runtime,
    addr: SocketAddr,
}

impl Process {
    fn start(node: &Node, addr: SocketAddr) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let endpoint = node.listen(addr, ListenKind::Client);
        let addr = endpoint.local_addr().unwrap();
        let gate = AcceptGate::new(&node.limits);
        node.env.spawn(echo(node.env.clone(), endpoint, gate));
        Self { runtime, addr }
    }

    /// Its tasks end and its socket closes; nothing is sent.
    fn kill(self) {
        std::thread::spawn(move || drop(self.runtime)).join().unwrap();
    }
}

#[tokio::test]
async fn a_server_killed_and_restarted_on_its_port_is_noticed_within_two_seconds() {
    let env = Env::system_for_tests();
    let authority = Authority::create(&env).unwrap();
    let node = Node::new(&env, &authority, &s1());
    let first = Process::start(&node, localhost());
    let endpoint = client_endpoint(&env, localhost()).unwrap();
    let pin = authority.cluster_id();
    let dial =
        |addr| connect(&endpoint, &env, addr, "s1", Target::Client, &pin, None, &node.limits);
    let conn = dial(first.addr).await.unwrap();
    talk(&conn).await;

    let addr = first.addr;
    first.kill();
    assert_eq!(conn.close_reason(), None);
    let second = Process::start(&node, addr);
    let mut send = conn.open_bi().await.unwrap().0;
    send.write_all(b"hello?").await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(2), conn.closed()).await;
    assert_eq!(closed, Ok(quinn::ConnectionError::Reset));
    talk(&dial(addr).await.unwrap()).await;
    second.kill();
}

#[tokio::test]
async fn a_taken_port_is_told_apart_from_other_failures() {
    let env = Env::system_for_tests();
    let authority = Authority::create(&env).unwrap();
    let node = Node::new(&env, &authority, &s1());
    let first = node.listen(localhost(), ListenKind::Client);
    let addr = first.local_addr().unwrap();
    let kind = ListenKind::Client;
    let again = listen(&env, addr, kind, &node.credentials, &node.keys, &node.limits);
    assert!(matches!(again, Err(ListenError::PortTaken(port)) if port == addr), "{again:?}");
    let foreign = (Ipv4Addr::new(203, 0, 113, 1), 0).into();
    let elsewhere = listen(&env, foreign, kind, &node.credentials, &node.keys, &node.limits);
    assert!(matches!(elsewhere, Err(ListenError::Bind { .. })), "{elsewhere:?}");
}
