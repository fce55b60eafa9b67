//! The admin address: `/healthz`, `/readyz` and `/metrics` over plain HTTP, for machines.
//!
//! For GET only, a few connections at a time, each short and of few bytes: nothing that arrives
//! here can hold the process up. Without TLS and without a password, so on this machine alone unless the
//! operator wrote another address.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, Sleep, interval, sleep, timeout};

use super::{Meters, Observer, Unready};

/// Connections served at the same time; more wait.
const CONNECTIONS_MAX: usize = 16;
/// Bytes read on one connection: one request with its headers.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// How long one connection may take from its first byte to its last.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(5);
/// How long looking things up may take.
const MEASURE_DEADLINE: Duration = Duration::from_secs(2);
/// Pause after the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often durations are put into their buckets.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// An answer that may take a moment.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a process is asked by whoever watches it.
pub trait Watched: Send + Sync + 'static {
    /// Why it takes no work now; `None` when it does.
    fn unready(&self) -> Option<Unready>;
    /// Whether its heart beats: not answered in time counts as no.
    fn is_alive(&self) -> Soon<'_, bool>;
    /// Sets the figures that are looked up and not counted.
    fn measure<'a>(&'a self, meters: &'a Meters) -> Soon<'a, ()>;
}

/// Reads what `--admin` names: a port alone means this machine alone.
///
/// # Errors
/// A sentence for the command line.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let port = |port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let read = text.parse().map(port).or_else(|_| text.parse());
    read.map_err(|_| "write PORT or IP:PORT, for example 9090".to_owned())
}

/// An admin address that is taken but not answered yet.
#[derive(Debug)]
pub struct Admin(TcpListener);

impl Admin {
    /// Takes the address.
    ///
    /// # Errors
    /// As the operating system.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(addr).await.map(Self)
    }

    /// Where it is; with port 0 the system chose.
    ///
    /// # Errors
    /// As the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers for as long as this future lives.
    pub async fn serve(self, observer: Observer) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let meters = observer.meters.clone();
        let router = Router::new().fallback(answer).with_state(observer);
        let tidy = async {
            let mut ticks = interval(TIDY_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                meters.tidy_up();
            }
        };
        tokio::select! {
            biased;
            _ = axum::serve(Narrow { listener: self.0, places }, router).into_future() => {}
            () = tidy => {}
        }
    }
}

async fn answer(State(observer): State<Observer>, method: Method, uri: Uri) -> Response {
    let plain = "text/plain; charset=utf-8";
    let (status, kind, text) = match uri.path() {
        "/healthz" | "/readyz" | "/metrics" if method != Method::GET => {
            (StatusCode::METHOD_NOT_ALLOWED, plain, "GET only\n".to_owned())
        }
        "/healthz" => (StatusCode::OK, plain, "alive\n".to_owned()),
        "/readyz" => match observer.watched().map_or(Some(Unready::Starting), |it| it.unready()) {
            None => (StatusCode::OK, plain, "ready\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, plain, format!("{}\n", why.word())),
        },
        "/metrics" => {
            if let Some(watched) = observer.watched() {
                // What cannot be measured in time keeps its last value.
                let _ = timeout(MEASURE_DEADLINE, watched.measure(&observer.meters)).await;
            }
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            (StatusCode::OK, kind, observer.meters.render())
        }
        _ => (StatusCode::NOT_FOUND, plain, "/healthz, /readyz, /metrics\n".to_owned()),
    };
    let mut response = (status, [(header::CONTENT_TYPE, kind)], text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// Takes connections one by one, as many as there are places.
struct Narrow {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl axum::serve::Listener for Narrow {
    type Io = Short;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Short, SocketAddr) {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                std::future::pending().await
            };
            match self.listener.accept().await {
                Ok((stream, from)) => return (Short::new(stream, place), from),
                Err(error) => {
                    tracing::debug!(%error, "no admin connection accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends after so many bytes or so much time, whatever the other side does.
struct Short {
    stream: TcpStream,
    left: usize,
    deadline: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Short {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        let deadline = Box::pin(sleep(CONNECTION_DEADLINE));
        Self { stream, left: REQUEST_BYTES_MAX, deadline, _place: place }
    }

    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Short {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let room = out.remaining().min(self.left);
        let mut part = ReadBuf::new(out.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        self.left -= read;
        out.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Short {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
