//! The admin address over a real socket: right answers, and no way to hold it up.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ops::Names;
use crate::ops::meters::Gauge;

#[derive(Default)]
struct Stub {
    draining: AtomicBool,
}

impl Watched for Stub {
    fn unready(&self) -> Option<Unready> {
        self.draining.load(Ordering::Relaxed).then_some(Unready::Draining)
    }

    fn is_alive(&self) -> Soon<'_, bool> {
        Box::pin(async { true })
    }

    fn measure<'a>(&'a self, meters: &'a Meters) -> Soon<'a, ()> {
        Box::pin(async { meters.set(Gauge::Connections, 42.0) })
    }
}

async fn start() -> (SocketAddr, Observer) {
    let admin = Admin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = admin.local_addr().unwrap();
    let observer = Observer::new(Meters::counting(), Names::default());
    tokio::spawn(admin.serve(observer.clone()));
    (addr, observer)
}

/// Sends bytes and reads until the other side ends the connection.
async fn exchange(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // A server that refuses closes while we still write.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn get(addr: SocketAddr, path: &str) -> String {
    exchange(addr, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn health_readiness_and_figures_are_answered() {
    let (addr, observer) = start().await;
    assert!(get(addr, "/healthz").await.starts_with("HTTP/1.1 200 "));
    let answer = get(addr, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nstarting\n"));
    observer.introduce(Stub::default());
    assert!(get(addr, "/readyz").await.ends_with("\r\n\r\nready\n"));
    observer.introduce(Stub { draining: true.into() });
    let answer = get(addr, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\ndraining\n"));
    assert!(get(addr, "/healthz").await.starts_with("HTTP/1.1 200 "), "draining is alive");
    assert!(get(addr, "/metrics").await.contains("\nfastchat_connections 42\n"));
    assert!(get(addr, "/else").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn anything_but_get_is_refused() {
    let (addr, _stub) = start().await;
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let answer = exchange(addr, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
    }
}

#[tokio::test]
async fn endless_headers_end_the_connection_and_nobody_else_notices() {
    let (addr, _stub) = start().await;
    let mut request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n".to_vec();
    request.extend(b"x-much: y\r\n".repeat(REQUEST_BYTES_MAX));
    let answer = exchange(addr, &request).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(get(addr, "/healthz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_gives_its_place_back() {
    let (addr, _stub) = start().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(addr).await.unwrap());
    }
    // All places are taken: this one waits until the deadline of the others.
    assert!(get(addr, "/healthz").await.starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_port_alone_means_this_machine_alone() {
    let of = |text: &str| parse_address(text).map(|addr| addr.to_string());
    assert_eq!(of("9090"), Ok("127.0.0.1:9090".into()));
    assert_eq!(of("0.0.0.0:9090"), Ok("0.0.0.0:9090".into()));
    assert_eq!(of("[::1]:9090"), Ok("[::1]:9090".into()));
    for bad in ["", "localhost", "70000", "1.2.3.4", ":9090"] {
        assert!(of(bad).is_err(), "{bad}");
    }
}
