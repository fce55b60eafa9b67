//! What `load_balancer` prints to the terminal it was started in.
//!
//! Sentences only; deliberately decides nothing. A terminal that is gone is no error.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::load_balancer::Servers;
use crate::balancer::Strategy;
use crate::balancer::children::{ChildEvent, Ended};
use crate::balancer::cluster::reachable;
use crate::placement::ServerEntry;
use crate::types::{ClusterId, ServerId};

/// Servers in one line of the screen.
const SERVERS_PER_LINE: usize = 5;
/// A server that is not back by then is reported as dead before it is back.
const PATIENCE: Duration = Duration::from_secs(2);

/// Standard output.
#[derive(Debug, Default)]
pub(super) struct Screen {
    dead: BTreeMap<ServerId, Death>,
}

/// A server that died and is not ready again.
#[derive(Debug)]
struct Death {
    ended: Ended,
    since: Instant,
    told: Told,
}

/// Whether the screen shows it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

impl Screen {
    /// The first line: what is being started.
    pub(super) fn starting(
        listen: SocketAddr,
        strategy: Strategy,
        servers: usize,
        data: &Path,
        whose: Servers,
    ) {
        let plural = if servers == 1 { "server" } else { "servers" };
        if whose == Servers::Others {
            let balancer = format!("FastChat balancer on {listen} ({strategy})");
            line(&format!("{balancer}, watching {servers} {plural} that others start"));
            return;
        }
        let folder = data.display().to_string();
        let folder = folder.trim_end_matches('/');
        line(&format!(
            "FastChat balancer on {listen} ({strategy}), {servers} {plural}, databases in {folder}/"
        ));
    }

    /// The lines that say that all is ready, and how to join.
    pub(super) fn ready(
        listen: SocketAddr,
        servers: &[ServerEntry],
        took: Duration,
        cluster: &ClusterId,
        whose: Servers,
    ) {
        line(&ready_lines(servers, took));
        line(&join_line(listen, cluster, whose));
    }

    /// All has been stopped.
    pub(super) fn stopped(took: Duration) {
        line(&format!("Stopped in order ({}).", seconds(took)));
    }

    /// A child died or is back.
    pub(super) fn child(&mut self, event: ChildEvent) {
        if let Some(text) = self.tell(event) {
            line(&text);
        }
    }

    /// When [`Self::overdue`] has something to say.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        let untold = self.dead.values().filter(|death| death.told == Told::No);
        untold.map(|death| death.since + PATIENCE).min()
    }

    /// Reports those who are not back in good time.
    pub(super) fn overdue(&mut self) {
        let now = Instant::now();
        for (id, death) in &mut self.dead {
            if death.told == Told::No && death.since + PATIENCE <= now {
                death.told = Told::Yes;
                line(&format!("  {id} died ({}); being restarted", death.ended));
            }
        }
    }

    fn tell(&mut self, event: ChildEvent) -> Option<String> {
        match event {
            ChildEvent::Died { id, ended, .. } => {
                let first = Death { ended, since: Instant::now(), told: Told::No };
                self.dead.entry(id).or_insert(first).ended = ended;
                None
            }
            ChildEvent::Back { id, after } => {
                let after = seconds(after);
                self.dead.remove(&id).map(|death| match death.told {
                    Told::No => {
                        format!("  {id} died ({}); restarted, ready after {after}", death.ended)
                    }
                    Told::Yes => format!("  {id} is ready again, after {after}"),
                })
            }
        }
    }
}

fn line(text: &str) {
    // Nobody reads it: the cluster goes on all the same.
    let _ = writeln!(io::stdout().lock(), "{text}");
}

fn ready_lines(servers: &[ServerEntry], took: Duration) -> String {
    let one_machine = servers.windows(2).all(|two| match two {
        [one, other] => one.addr.ip() == other.addr.ip(),
        _ => true,
    });
    let server = |entry: &ServerEntry| {
        let at =
            if one_machine { format!(":{}", entry.addr.port()) } else { entry.addr.to_string() };
        format!("{} {at} ready", entry.id)
    };
    let rows: Vec<String> = servers
        .chunks(SERVERS_PER_LINE)
        .map(|row| format!("  {}", row.iter().map(server).collect::<Vec<_>>().join("   ")))
        .collect();
    format!("{}      ({})", rows.join("\n"), seconds(took))
}

fn join_line(listen: SocketAddr, cluster: &ClusterId, whose: Servers) -> String {
    // On one machine people stand in the source folder; on several they have the programs.
    let (client, end) = match whose {
        Servers::Ours => {
            ("cargo run --release --bin client --", "Ctrl-C stops everything in order")
        }
        Servers::Others => ("client", "Ctrl-C stops the balancer alone"),
    };
    let (host, port) = (reachable(listen.ip()), listen.port());
    format!("  Join:  {client} {host} {port} --ca {cluster}      {end}")
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::children::Before;

    fn died(ended: Ended) -> ChildEvent {
        ChildEvent::Died { id: ServerId::numbered(2), ended, before: Before::Later }
    }

    fn back(ms: u64) -> ChildEvent {
        ChildEvent::Back { id: ServerId::numbered(2), after: Duration::from_millis(ms) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_restart_is_one_line_and_a_slow_one_is_two() {
        let mut screen = Screen::default();
        assert_eq!(screen.tell(died(Ended::Signal(9))), None);
        let text = screen.tell(back(420)).unwrap();
        assert_eq!(text, "  s2 died (signal 9); restarted, ready after 0.4 s");
        assert_eq!(screen.next_overdue(), None);

        screen.tell(died(Ended::Code(9)));
        tokio::time::sleep_until(screen.next_overdue().unwrap()).await;
        screen.overdue();
        assert_eq!(screen.next_overdue(), None);
        assert_eq!(screen.tell(died(Ended::Code(9))), None);
        assert_eq!(screen.next_overdue(), None);
        assert_eq!(screen.tell(back(7_000)).unwrap(), "  s2 is ready again, after 7.0 s");
    }

    #[test]
    fn the_join_line_names_an_address_that_works_here() {
        let cluster = ClusterId([0xab; 32]);
        let line = join_line("0.0.0.0:9000".parse().unwrap(), &cluster, Servers::Ours);
        assert!(line.contains(&format!("-- 127.0.0.1 9000 --ca {cluster} ")), "{line}");
        let line = join_line("10.0.0.1:9000".parse().unwrap(), &cluster, Servers::Others);
        assert!(
            line.starts_with(&format!("  Join:  client 10.0.0.1 9000 --ca {cluster} ")),
            "{line}"
        );
    }
}
