//! `load_balancer status`, `drain`, `undrain` and `stop`: questions to a running balancer, asked
//! with the operator's certificate.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::exit::{Exit, Failure, sentence};
use super::refusals::{name_the_cluster, of_folders};
use super::server::unreadable;
use crate::balancer::cluster::{self, reachable};
use crate::balancer::fleet::{State, Wish};
use crate::balancer::folders::{ClusterFile, folder_of};
use crate::balancer::operator::{OperatorError, OperatorLink};
use crate::limits::STOP_DEADLINE;
use crate::net::pki::OPERATOR_NAME;
use crate::net::{ConnectError, Credentials, Env};
use crate::types::ServerId;
use crate::wire::balancer::balancer_reply::Body as Reply;
use crate::wire::balancer::balancer_request::Body as Request;
use crate::wire::balancer::{Drain, Refusal, ServerStatus, Status, StatusReply, Stop};

/// Which balancer, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Whom {
    /// The balancer. Default: the one that the placement map in --data belongs to
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
}

/// Where the cluster's own files are.
pub(super) struct Folders<'a> {
    pub(super) data: &'a Path,
    pub(super) certs: &'a Path,
    /// The balancer's `cluster.toml`, which then says all.
    pub(super) cluster: Option<&'a Path>,
}

impl Folders<'_> {
    /// The folder of the certificates.
    pub(super) fn certs(&self) -> &Path {
        self.cluster.map_or(self.certs, folder_of)
    }

    /// What has to follow a command so that it is about the same cluster.
    fn with_cluster(&self) -> String {
        self.cluster.map_or_else(String::new, |file| format!(" --cluster {}", file.display()))
    }
}

/// Prints one line per server.
///
/// # Errors
/// [`Failure`] when the balancer cannot be reached or refuses.
pub(super) async fn status(
    whom: &Whom,
    folders: &Folders<'_>,
    form: Form,
) -> Result<Exit, Failure> {
    let (reply, _) = ask(whom, folders, Request::Status(Status {})).await?;
    let Reply::Status(status) = reply else { return Err(unexpected(reply)) };
    match form {
        Form::Table => print(&table(&status)),
        Form::Json => print(&json_lines(&status)),
    }
    Ok(Exit::Done)
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Columns.
    Table,
    /// One object per line.
    Json,
}

/// Tells a server to send its clients on, or to take clients again.
///
/// # Errors
/// [`Failure`] when the balancer cannot be reached, refuses, or knows no such server.
pub(super) async fn drain(
    whom: &Whom,
    folders: &Folders<'_>,
    server: &ServerId,
    wish: Wish,
) -> Result<Exit, Failure> {
    let drain = Drain { server: server.to_string(), on: wish == Wish::Drain };
    let (reply, link) = ask(whom, folders, Request::Drain(drain)).await?;
    let Reply::Drained(_) = reply else { return Err(unexpected(reply)) };
    if wish == Wish::Serve {
        print(&format!("{server} takes clients again."));
        return Ok(Exit::Done);
    }
    let which = folders.with_cluster();
    print(&format!(
        "{server} takes no new clients and sends the present ones on.\n\
         How many are left:  load_balancer status{which}      \
         Back:  load_balancer undrain {server}{which}"
    ));
    if let Some(Reply::Status(status)) = link.ask(Request::Status(Status {})).await
        && is_last(&status, server)
    {
        print("Warning: no other server takes new clients now.");
    }
    Ok(Exit::Done)
}

/// Whether nobody but `server` takes new clients.
fn is_last(status: &StatusReply, server: &ServerId) -> bool {
    let ready = State::Ready.name();
    !status.servers.iter().any(|other| other.state == ready && other.server != server.as_str())
}

/// Stops the cluster; returns when it has stopped.
///
/// # Errors
/// [`Failure`] when the balancer cannot be reached, refuses, or takes too long.
pub(super) async fn stop(whom: &Whom, folders: &Folders<'_>) -> Result<Exit, Failure> {
    let (reply, link) = ask(whom, folders, Request::Stop(Stop {})).await?;
    let Reply::Stopping(_) = reply else { return Err(unexpected(reply)) };
    // The balancer closes this connection when its servers have stopped.
    if timeout(STOP_DEADLINE + Duration::from_secs(2), link.closed()).await.is_err() {
        return Err(Failure::new(
            Exit::Unreachable,
            "The cluster was told to stop, but has not stopped in time.",
            format!("See what it does:  load_balancer status{}", folders.with_cluster()),
        ));
    }
    print("Stopped.");
    Ok(Exit::Done)
}

/// Prints to standard output.
pub(super) fn print(text: &str) {
    use std::io::Write as _;
    // A reader that went away (`| head`) has what it wanted.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

async fn ask(
    whom: &Whom,
    folders: &Folders<'_>,
    request: Request,
) -> Result<(Reply, OperatorLink), Failure> {
    let addr = address(whom, folders).await?;
    let operator = Credentials::load(folders.certs(), OPERATOR_NAME).map_err(|error| {
        let remedy =
            "Run this where the cluster was started, or give --cluster FILE or --certs DIR.";
        Failure { remedy: remedy.into(), ..unreadable(&error) }
    })?;
    let link = OperatorLink::open(&Env::system(), addr, &operator)
        .await
        .map_err(|error| cannot_connect(addr, &error))?;
    let reply = link.ask(request).await.ok_or_else(|| {
        Failure::new(
            Exit::Unreachable,
            format!("The balancer at {addr} did not answer."),
            "Try again in a moment.",
        )
    })?;
    match reply {
        Reply::Refusal(refusal) => Err(refused(&refusal)),
        Reply::Edges(_) | Reply::Status(_) | Reply::Stopping(_) | Reply::Drained(_) => {
            Ok((reply, link))
        }
    }
}

/// The address that was given, or the one the cluster's own files lead to.
async fn address(whom: &Whom, folders: &Folders<'_>) -> Result<SocketAddr, Failure> {
    let Some(given) = &whom.server else {
        let Some(file) = folders.cluster else { return address_from_map(folders.data) };
        let listen = ClusterFile::read(file).map_err(|error| of_folders(&error))?.listen;
        return Ok(SocketAddr::new(reachable(listen.ip()), listen.port()));
    };
    let mut found = tokio::net::lookup_host(given).await.map_err(|error| {
        let what = format!("{given:?} is no address: {error}.");
        Failure::new(Exit::Usage, what, "Write it as HOST:PORT, for example 127.0.0.1:9000.")
    })?;
    found.next().ok_or_else(|| {
        Failure::new(Exit::Unreachable, format!("{given} has no address."), "Check the name.")
    })
}

fn address_from_map(data: &Path) -> Result<SocketAddr, Failure> {
    let none = || {
        Failure::new(Exit::Usage, format!("No cluster in {}.", data.display()), name_the_cluster())
    };
    let map = cluster::read_map(data).map_err(|error| unreadable(&error))?.ok_or_else(none)?;
    let first = map.servers.first().ok_or_else(none)?;
    Ok(SocketAddr::new(reachable(first.addr.ip()), first.addr.port().saturating_sub(1)))
}

fn cannot_connect(addr: SocketAddr, error: &OperatorError) -> Failure {
    let error = match error {
        OperatorError::Connect(error) => error,
        OperatorError::Socket(_) => return Failure::new(Exit::Unreachable, sentence(error), ""),
    };
    match error {
        ConnectError::WrongCluster { got } => Failure::new(
            Exit::KeyRefused,
            format!("{addr} belongs to another cluster ({got})."),
            "Give the --certs DIR of that cluster, or another --server.",
        ),
        ConnectError::WrongName { .. } | ConnectError::BadCertificate | ConnectError::Protocol => {
            Failure::new(
                Exit::Unreachable,
                format!("{addr} is not a balancer: {error}."),
                "Give the balancer's own port with --server HOST:PORT.",
            )
        }
        ConnectError::Unreachable(_) => Failure::new(
            Exit::Unreachable,
            format!("Cannot reach a balancer at {addr} (no answer in 5 s)."),
            "Is it running? UDP may be blocked.",
        ),
        ConnectError::Expired
        | ConnectError::Refused
        | ConnectError::Failed(_)
        | ConnectError::Local(_) => Failure::new(
            Exit::Unreachable,
            format!("Cannot reach a balancer at {addr}: {error}."),
            "Try again in a moment.",
        ),
    }
}

fn refused(refusal: &Refusal) -> Failure {
    Failure::new(Exit::Refused, format!("The balancer refused: {}.", refusal.detail), "")
}

fn unexpected(_: Reply) -> Failure {
    let what = "The balancer answered something else than was asked.";
    Failure::new(Exit::Internal, what, "Use the version of the program that runs there.")
}

const HEADS: [&str; 9] =
    ["SERVER", "STATE", "UP", "USERS", "CONN", "MSG/S", "P99", "QUEUE", "DISK"];

fn table(status: &StatusReply) -> String {
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(status.servers.iter().map(row));
    let mut widths = [0; HEADS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

fn row(server: &ServerStatus) -> [String; HEADS.len()] {
    let (name, state) = (server.server.clone(), server.state.clone());
    let disk = size(server.database_bytes);
    // What it said before it went away holds no more, but for what is on its disk.
    if !matches!(server.state.as_str(), "ready" | "drain" | "full") {
        let [up, users, conn, messages, wait, queue] = ["-"; 6].map(str::to_owned);
        return [name, state, up, users, conn, messages, wait, queue, disk];
    }
    [
        name,
        state,
        up(server.up_ms),
        count(server.sessions),
        count(server.connections),
        count(server.messages_per_s),
        wait(server.p99_us),
        count(server.queue),
        disk,
    ]
}

/// In three digits where that is enough: 999, 1.2k, 34k, 5.6M.
fn count(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..10_000 => format!("{}.{}k", number / 1_000, number / 100 % 10),
        10_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}.{}M", number / 1_000_000, number / 100_000 % 10),
    }
}

/// A time in microseconds; 0 is none.
fn wait(us: u64) -> String {
    match us {
        0 => "-".into(),
        1..100_000 => format!("{}.{} ms", us / 1_000, us / 100 % 10),
        100_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

fn up(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

fn json_lines(status: &StatusReply) -> String {
    let server = |server: &ServerStatus| {
        json!({
            "v": 1, "type": "server", "server": server.server, "state": server.state,
            "up_ms": server.up_ms, "users": server.sessions, "connections": server.connections,
            "queue": server.queue, "database_bytes": server.database_bytes, "pid": server.pid,
            "port": server.port, "restarts": server.restarts,
            "messages_per_s": server.messages_per_s, "p99_us": server.p99_us,
            "bytes_per_s": server.bytes_per_s, "cpu_permille": server.cpu_permille,
            "offered_first": server.offered_first,
        })
        .to_string()
    };
    let cluster = json!({
        "v": 1, "type": "cluster", "strategy": status.strategy, "map_version": status.map_version,
        "up_ms": status.up_ms,
    });
    let mut lines = vec![cluster.to_string()];
    lines.extend(status.servers.iter().map(server));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_per_server_in_columns() {
        let ready = ServerStatus {
            server: "s1".into(),
            state: "ready".into(),
            up_ms: 7_380_000,
            sessions: 412,
            connections: 388,
            messages_per_s: 1_234,
            p99_us: 1_910,
            database_bytes: 48_200_000,
            ..ServerStatus::default()
        };
        let drain = ServerStatus {
            server: "s2".into(),
            state: "drain".into(),
            up_ms: 61_000,
            connections: 12,
            ..ServerStatus::default()
        };
        let down = ServerStatus {
            server: "s3".into(),
            state: "down".into(),
            connections: 40,
            ..ServerStatus::default()
        };
        let status = StatusReply { servers: vec![ready, drain, down], ..StatusReply::default() };
        let expected = "\
            SERVER  STATE  UP     USERS  CONN  MSG/S  P99     QUEUE  DISK\n\
            s1      ready  2h03m  412    388   1.2k   1.9 ms  0      48 MB\n\
            s2      drain  1m01s  0      12    0      -       0      0 B\n\
            s3      down   -      -      -     -      -       -      0 B";
        assert_eq!(table(&status), expected);
    }

    #[test]
    fn the_last_server_that_takes_clients_is_known() {
        let server = |id: &str, state: State| ServerStatus {
            server: id.into(),
            state: state.name().into(),
            ..ServerStatus::default()
        };
        let of = |other| StatusReply {
            servers: vec![server("s1", State::Ready), server("s2", other)],
            ..StatusReply::default()
        };
        let s1 = ServerId::numbered(1);
        assert!(!is_last(&of(State::Ready), &s1));
        for closed in [State::Drain, State::Full, State::Down, State::Starting] {
            assert!(is_last(&of(closed), &s1), "{closed:?}");
        }
    }

    #[test]
    fn numbers_are_short_and_have_their_units() {
        assert_eq!([999, 1_234, 34_567, 5_600_000].map(count), ["999", "1.2k", "34k", "5.6M"]);
        assert_eq!([0, 80, 99_900, 250_000].map(wait), ["-", "0.0 ms", "99.9 ms", "250 ms"]);
        assert_eq!(wait(3_100_000), "3.1 s");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let status = StatusReply {
            servers: vec![ServerStatus { server: "s1".into(), ..ServerStatus::default() }],
            ..StatusReply::default()
        };
        let types: Vec<String> = json_lines(&status)
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].to_string()
            })
            .collect();
        assert_eq!(types, ["\"cluster\"", "\"server\""]);
    }
}
