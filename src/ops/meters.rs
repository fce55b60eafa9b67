//! The figures of a process: every name once, with the text that explains it.
//!
//! Counts are taken by handles that were made at the start, so that a count is one atomic addition;
//! what can be looked up (connections, queues) is set when somebody asks. Deliberately without any
//! label that names a person, and without a global recorder.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram, SharedString, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::types::ServerId;

/// Upper ends of the buckets of every duration, in seconds.
const BUCKETS_S: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0];

const CONNECTIONS: &str = "fastchat_connections";
const STREAMS_OPEN: &str = "fastchat_streams_open";
const MESSAGES: &str = "fastchat_messages_total";
const DELIVER: &str = "fastchat_deliver_seconds";
const FORWARD_QUEUE: &str = "fastchat_forward_queue";
const BLOB_BYTES: &str = "fastchat_blob_bytes";
const MAILBOX: &str = "fastchat_mailbox_messages";
const STORE: &str = "fastchat_store_seconds";
const AUTH_FAILURES: &str = "fastchat_auth_failures_total";
const RATE_LIMITED: &str = "fastchat_rate_limited_total";
const LOST_PACKETS: &str = "fastchat_quic_lost_packets_total";
const CERT_EXPIRY: &str = "fastchat_cert_expiry_seconds";
const BUILD_INFO: &str = "fastchat_build_info";
const STRATEGY: &str = "fastchat_balancer_strategy";
const OFFERS: &str = "fastchat_balancer_offers_total";
const SERVER_STATE: &str = "fastchat_server_state";

/// What each is, for `# HELP`.
const COUNTERS: &[(&str, &str)] = &[
    (MESSAGES, "Messages that reached this server's home, by what became of them"),
    (AUTH_FAILURES, "Sign-ups, logins and resumes that were refused, by reason"),
    (RATE_LIMITED, "Requests refused because they came too fast"),
    (LOST_PACKETS, "QUIC packets to clients that had to be sent again"),
    (OFFERS, "How often each server was named first to a client"),
];
const HISTOGRAMS: &[(&str, &str)] = &[
    (DELIVER, "From the acceptance of a message at its home to each later stage"),
    (STORE, "Work of the database, by operation"),
];
const GAUGES: &[(&str, &str)] = &[
    (CONNECTIONS, "Client connections open"),
    (STREAMS_OPEN, "Session streams of clients open"),
    (FORWARD_QUEUE, "Requests waiting on the line to each server's home"),
    (MAILBOX, "Messages stored here that their reader has not taken yet"),
    (BLOB_BYTES, "Bytes of files that people sent, and of begun uploads, kept here"),
    (CERT_EXPIRY, "Time until this process's certificate ends"),
    (BUILD_INFO, "Always 1; the version is in the label"),
    (STRATEGY, "Always 1; the strategy is in the label"),
    (SERVER_STATE, "1 for the state a server is in, 0 for the others"),
];

/// A label whose values are known beforehand.
pub trait Label: Copy + 'static {
    /// Every value, in the order of the discriminants.
    const ALL: &'static [Self];
    /// The word in the label.
    fn word(self) -> &'static str;
    /// Its place in [`Self::ALL`].
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$text:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$text])* $variant,)+
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// What became of a message at its home.
    Fate {
        /// Stored for the first time.
        Stored = "stored",
        /// Stored before; the sender had not heard of it.
        Repeated = "repeated",
        /// Not stored; the sender was told why.
        Refused = "refused",
    }
}

label! {
    /// How far a message has come.
    Stage {
        /// On disk at its home.
        Stored = "stored",
        /// Handed to the line towards its reader.
        Forwarded = "forwarded",
        /// The reader has it on disk.
        Acknowledged = "acknowledged",
    }
}

label! {
    /// What the database was asked for.
    StoreOp {
        /// A batch of requests, from BEGIN to COMMIT.
        Commit = "commit",
        /// A page for a reader who fell behind.
        Page = "page",
        /// Deleting what everybody has read.
        Reap = "reap",
    }
}

label! {
    /// Why nobody was logged in.
    AuthFailure {
        /// Wrong password.
        Password = "password",
        /// No account of that name.
        NoSuchUser = "no_such_user",
        /// The name is somebody's.
        NameTaken = "name_taken",
        /// A resume without a good signature of an active device.
        Device = "device",
        /// The ticket of the balancer is missing, used, old or forged.
        Ticket = "ticket",
        /// Too many tries before.
        TooFast = "too_fast",
        /// Too many passwords wait already.
        Busy = "busy",
        /// Something else.
        Other = "other",
    }
}

/// The figures of one process; [`Meters::default`] counts nothing. Cheap to clone.
#[derive(Clone, Default)]
pub struct Meters(Option<Arc<Inner>>);

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Meters(on)" } else { "Meters(off)" })
    }
}

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    messages: Vec<Counter>,
    deliver: Vec<Histogram>,
    store: Vec<Histogram>,
    auth_failures: Vec<Counter>,
    rate_limited: Counter,
    lost_packets: Counter,
    offers: Mutex<BTreeMap<ServerId, Counter>>,
}

impl Meters {
    /// Figures that are counted, for one process.
    pub fn counting() -> Self {
        let builder = PrometheusBuilder::new().set_buckets(BUCKETS_S).unwrap_or_default();
        let recorder = builder.build_recorder();
        let inner = with_local_recorder(&recorder, || {
            describe();
            metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
            Handles {
                messages: family(
                    |fate: Fate| metrics::counter!(MESSAGES, "kind" => "direct", "result" => fate.word()),
                ),
                deliver: family(
                    |stage: Stage| metrics::histogram!(DELIVER, "stage" => stage.word()),
                ),
                store: family(|op: StoreOp| metrics::histogram!(STORE, "op" => op.word())),
                auth_failures: family(
                    |reason: AuthFailure| metrics::counter!(AUTH_FAILURES, "reason" => reason.word()),
                ),
                rate_limited: metrics::counter!(RATE_LIMITED),
                lost_packets: metrics::counter!(LOST_PACKETS),
            }
        });
        let handle = recorder.handle();
        Self(Some(Arc::new(Inner::new(recorder, handle, inner))))
    }

    /// Whether anybody looks.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// `count` messages came to this end.
    pub fn messages(&self, fate: Fate, count: u64) {
        if let Some(counter) = self.0.as_ref().and_then(|inner| inner.messages.get(fate.index())) {
            counter.increment(count);
        }
    }

    /// A message came to this stage, so long after it was accepted.
    pub fn delivered(&self, stage: Stage, after: Duration) {
        if let Some(family) = self.0.as_ref().and_then(|inner| inner.deliver.get(stage.index())) {
            family.record(after);
        }
    }

    /// The database worked so long.
    pub fn stored(&self, op: StoreOp, took: Duration) {
        if let Some(family) = self.0.as_ref().and_then(|inner| inner.store.get(op.index())) {
            family.record(took);
        }
    }

    /// Somebody was not logged in.
    pub fn auth_failed(&self, reason: AuthFailure) {
        if let Some(counter) =
            self.0.as_ref().and_then(|inner| inner.auth_failures.get(reason.index()))
        {
            counter.increment(1);
        }
    }

    /// Something came too fast.
    pub fn rate_limited(&self) {
        if let Some(inner) = &self.0 {
            inner.rate_limited.increment(1);
        }
    }

    /// So many packets were lost.
    pub fn lost_packets(&self, count: u64) {
        if let Some(inner) = &self.0 {
            inner.lost_packets.increment(count);
        }
    }

    /// The balancer named this server first.
    pub fn offered(&self, server: &ServerId) {
        let Some(inner) = &self.0 else { return };
        let mut offers = inner.offers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = offers.get(server) {
            return counter.increment(1);
        }
        let counter = with_local_recorder(
            &inner.recorder,
            || metrics::counter!(OFFERS, "server" => server.to_string()),
        );
        counter.increment(1);
        offers.insert(server.clone(), counter);
    }

    /// Sets what was looked up.
    pub fn set(&self, gauge: Gauge, value: f64) {
        let Some(inner) = &self.0 else { return };
        let labels: Vec<(&'static str, SharedString)> = match gauge {
            Gauge::Connections
            | Gauge::StreamsOpen
            | Gauge::Mailbox
            | Gauge::BlobBytes
            | Gauge::CertExpiry => Vec::new(),
            Gauge::ForwardQueue(ref peer) => vec![("peer", peer.to_string().into())],
            Gauge::Strategy(name) => vec![("strategy", name.into())],
            Gauge::ServerState(ref server, state) => {
                vec![("server", server.to_string().into()), ("state", state.into())]
            }
        };
        with_local_recorder(&inner.recorder, || metrics::gauge!(gauge.name(), &labels).set(value));
    }

    /// All figures as Prometheus reads them; empty when nothing is counted.
    pub fn render(&self) -> String {
        self.0.as_ref().map(|inner| inner.handle.render()).unwrap_or_default()
    }

    /// Puts durations into their buckets. To be called every few seconds, or what is measured
    /// between two questions piles up.
    pub fn tidy_up(&self) {
        if let Some(inner) = &self.0 {
            inner.handle.run_upkeep();
        }
    }
}

/// What is set when somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Client connections.
    Connections,
    /// Session streams.
    StreamsOpen,
    /// Messages not taken yet.
    Mailbox,
    /// Bytes of blobs and begun uploads.
    BlobBytes,
    /// Seconds until the certificate ends.
    CertExpiry,
    /// Requests waiting on the line to a home.
    ForwardQueue(ServerId),
    /// The balancer's strategy.
    Strategy(&'static str),
    /// Whether a server is in this state.
    ServerState(ServerId, &'static str),
}

impl Gauge {
    fn name(&self) -> &'static str {
        match self {
            Self::Connections => CONNECTIONS,
            Self::StreamsOpen => STREAMS_OPEN,
            Self::Mailbox => MAILBOX,
            Self::BlobBytes => BLOB_BYTES,
            Self::CertExpiry => CERT_EXPIRY,
            Self::ForwardQueue(_) => FORWARD_QUEUE,
            Self::Strategy(_) => STRATEGY,
            Self::ServerState(..) => SERVER_STATE,
        }
    }
}

/// The handles made at the start.
struct Handles {
    messages: Vec<Counter>,
    deliver: Vec<Histogram>,
    store: Vec<Histogram>,
    auth_failures: Vec<Counter>,
    rate_limited: Counter,
    lost_packets: Counter,
}

impl Inner {
    fn new(recorder: PrometheusRecorder, handle: PrometheusHandle, made: Handles) -> Self {
        let Handles { messages, deliver, store, auth_failures, rate_limited, lost_packets } = made;
        let offers = Mutex::default();
        Self {
            recorder,
            handle,
            messages,
            deliver,
            store,
            auth_failures,
            rate_limited,
            lost_packets,
            offers,
        }
    }
}

fn family<L: Label, T>(make: impl Fn(L) -> T) -> Vec<T> {
    L::ALL.iter().map(|value| make(*value)).collect()
}

fn describe() {
    for (name, text) in COUNTERS {
        metrics::describe_counter!(*name, *text);
    }
    for (name, text) in HISTOGRAMS {
        metrics::describe_histogram!(*name, *text);
    }
    for (name, text) in GAUGES {
        metrics::describe_gauge!(*name, *text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_in_one_do_not_mix_and_nothing_is_counted_unasked() {
        let (one, other) = (Meters::counting(), Meters::counting());
        one.messages(Fate::Stored, 3);
        other.messages(Fate::Stored, 5);
        let line = "fastchat_messages_total{kind=\"direct\",result=\"stored\"} ";
        assert!(one.render().contains(&format!("{line}3\n")), "{}", one.render());
        assert!(other.render().contains(&format!("{line}5\n")), "{}", other.render());
        let off = Meters::default();
        off.messages(Fate::Stored, 1);
        off.set(Gauge::Connections, 1.0);
        assert_eq!(off.render(), "");
    }

    #[test]
    fn every_figure_has_its_text_and_its_labels() {
        let meters = Meters::counting();
        meters.delivered(Stage::Stored, Duration::from_millis(3));
        meters.stored(StoreOp::Commit, Duration::from_millis(1));
        meters.auth_failed(AuthFailure::Ticket);
        meters.offered(&ServerId::numbered(2));
        meters.offered(&ServerId::numbered(2));
        meters.set(Gauge::ForwardQueue(ServerId::numbered(3)), 7.0);
        meters.set(Gauge::ServerState(ServerId::numbered(1), "ready"), 1.0);
        let text = meters.render();
        for expected in [
            "# HELP fastchat_deliver_seconds ",
            "fastchat_deliver_seconds_bucket{stage=\"stored\",le=\"0.005\"} 1",
            "fastchat_store_seconds_count{op=\"commit\"} 1",
            "fastchat_auth_failures_total{reason=\"ticket\"} 1",
            "fastchat_auth_failures_total{reason=\"password\"} 0",
            "fastchat_balancer_offers_total{server=\"s2\"} 2",
            "fastchat_forward_queue{peer=\"s3\"} 7",
            "fastchat_server_state{server=\"s1\",state=\"ready\"} 1",
            "fastchat_rate_limited_total 0",
            "fastchat_build_info{version=",
        ] {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
    }
}
