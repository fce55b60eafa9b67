//! Which edges a client is offered, in order of preference.
//!
//! Pure but for chance, which comes in. Deliberately judges nothing about health: only servers that
//! take clients are handed to it.

use std::cmp::Reverse;
use std::fmt;

use crate::net::Env;
use crate::types::ServerId;

/// How the balancer orders the servers that take clients. Between equals chance decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Every order is equally likely.
    #[default]
    Random,
    /// Whose turn is longest ago.
    RoundRobin,
    /// Who has the fewest client connections.
    LeastConnections,
    /// Who had the least to do in the last seconds: processor time and bytes.
    LeastLoad,
    /// The home of the user who asks, which saves each of their messages a hop.
    Home,
}

/// What a strategy sees of a server.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Client connections, as last reported.
    pub connections: u64,
    /// How busy it was in the last seconds.
    pub busy: Busy,
    /// Clients sent there who cannot be in the report yet.
    pub reserved: u64,
    /// When it last stood first; grows by one with each answer, 0 is never.
    pub turn: u64,
}

/// How busy a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// Processor time in thousandths of one core.
    pub cpu_permille: u64,
    /// UDP bytes per second, both directions.
    pub bytes_per_s: u64,
}

/// Bytes per second that weigh as much as a thousandth of a core: 50 MB/s keep one busy.
const BYTES_PER_PERMILLE: u64 = 50_000;
/// Servers whose load differs by less are equally loaded: it is noise.
const LOAD_NOISE_PERMILLE: u64 = 25;
/// What one more client is taken to cost until the next report: a handshake and a login.
const CLIENT_PERMILLE: u64 = 10;

impl Busy {
    /// Both as thousandths of a core.
    fn permille(self) -> u64 {
        self.cpu_permille.saturating_add(self.bytes_per_s / BYTES_PER_PERMILLE)
    }

    /// Halfway from what was known to the latest report, so that one second does not decide.
    #[must_use]
    pub fn smoothed(self, latest: Self) -> Self {
        let middle = |old: u64, new: u64| old.midpoint(new);
        Self {
            cpu_permille: middle(self.cpu_permille, latest.cpu_permille),
            bytes_per_s: middle(self.bytes_per_s, latest.bytes_per_s),
        }
    }
}

impl Candidate {
    fn load(&self) -> u64 {
        let reported = self.busy.permille() / LOAD_NOISE_PERMILLE * LOAD_NOISE_PERMILLE;
        reported.saturating_add(self.reserved.saturating_mul(CLIENT_PERMILLE))
    }
}

impl Strategy {
    /// Every strategy.
    pub const ALL: &'static [Self] =
        &[Self::Random, Self::RoundRobin, Self::LeastConnections, Self::LeastLoad, Self::Home];

    /// The word on the command line and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::LeastLoad => "least-load",
            Self::Home => "home",
        }
    }

    /// The strategy of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|strategy| strategy.name() == name)
    }

    /// Puts the best first. `home`: where the user who asks lives, if somebody said who asks.
    pub fn rank(self, env: &Env, home: Option<&ServerId>, servers: &mut [(ServerId, Candidate)]) {
        shuffle(env, servers);
        // A stable sort: equals stay as chance put them.
        match self {
            Self::Random => {}
            Self::RoundRobin => servers.sort_by_key(|(_, server)| server.turn),
            Self::LeastConnections => servers
                .sort_by_key(|(_, server)| server.connections.saturating_add(server.reserved)),
            Self::LeastLoad => servers.sort_by_key(|(_, server)| server.load()),
            Self::Home => servers.sort_by_key(|(id, _)| Reverse(Some(id) == home)),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Fisher-Yates, drawing from the node's own chance so that a simulation repeats.
fn shuffle<T>(env: &Env, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, env.random_below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn id(number: u16) -> ServerId {
        ServerId::numbered(number)
    }

    fn servers(connections: &[u64]) -> Vec<(ServerId, Candidate)> {
        (1..)
            .zip(connections)
            .map(|(number, &connections)| {
                (id(number), Candidate { connections, ..Candidate::default() })
            })
            .collect()
    }

    /// Who stands first how often in so many answers, nobody having connected meanwhile.
    fn firsts(
        strategy: Strategy,
        home: Option<&ServerId>,
        mut servers: Vec<(ServerId, Candidate)>,
        answers: u64,
    ) -> BTreeMap<ServerId, u64> {
        let env = Env::system();
        let mut first = BTreeMap::new();
        for turn in 1..=answers {
            strategy.rank(&env, home, &mut servers);
            servers[0].1.reserved += 1;
            servers[0].1.turn = turn;
            *first.entry(servers[0].0.clone()).or_default() += 1;
        }
        first
    }

    proptest! {
        #[test]
        fn every_strategy_loses_nobody(
            connections in proptest::collection::vec(0_u64..5, 1..8),
            which in 0..Strategy::ALL.len(),
        ) {
            let mut ranked = servers(&connections);
            Strategy::ALL[which].rank(&Env::system(), Some(&id(1)), &mut ranked);
            let mut ids: Vec<ServerId> = ranked.into_iter().map(|(id, _)| id).collect();
            ids.sort();
            let all: Vec<ServerId> = servers(&connections).into_iter().map(|(id, _)| id).collect();
            prop_assert_eq!(ids, all);
        }

        #[test]
        fn a_burst_fills_up_the_emptiest_and_ends_level(
            connections in proptest::collection::vec(0_u64..20, 2..6),
        ) {
            let first = firsts(Strategy::LeastConnections, None, servers(&connections), 200);
            let after: Vec<u64> = (1..)
                .zip(&connections)
                .map(|(number, before)| before + first.get(&id(number)).copied().unwrap_or(0))
                .collect();
            let (least, most) = (after.iter().min().unwrap(), after.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{after:?}");
        }

        #[test]
        fn in_turn_everybody_is_first_equally_often(count in 1_usize..8, rounds in 1_u64..20) {
            let first =
                firsts(Strategy::RoundRobin, None, servers(&vec![0; count]), rounds * count as u64);
            prop_assert!(first.values().all(|&times| times == rounds), "{first:?}");
        }
    }

    #[test]
    fn random_prefers_nobody() {
        let first = firsts(Strategy::Random, None, servers(&[0, 500, 0]), 3_000);
        // 1,000 expected; 200 off is more than seven standard deviations.
        assert!(first.values().all(|&times| times.abs_diff(1_000) < 200), "{first:?}");
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn equals_are_in_random_order() {
        for strategy in [Strategy::LeastConnections, Strategy::LeastLoad, Strategy::Home] {
            let mut first = BTreeMap::<ServerId, u32>::new();
            for _ in 0..300 {
                let mut servers = servers(&[4, 4, 4]);
                strategy.rank(&Env::system(), None, &mut servers);
                *first.entry(servers[0].0.clone()).or_default() += 1;
            }
            assert!(first.len() == 3 && first.values().all(|&times| times > 50), "{first:?}");
        }
    }

    #[test]
    fn a_server_that_comes_late_has_its_turn_next_and_then_one_in_three() {
        let mut servers = servers(&[0, 0, 0]);
        servers[0].1.turn = 41;
        servers[1].1.turn = 42;
        Strategy::RoundRobin.rank(&Env::system(), None, &mut servers);
        let ids: Vec<&str> = servers.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["s3", "s1", "s2"]);
    }

    #[test]
    fn the_least_loaded_is_first_whether_by_processor_or_by_bytes() {
        let env = Env::system();
        let busy = |cpu_permille, bytes_per_s| Candidate {
            busy: Busy { cpu_permille, bytes_per_s },
            ..Candidate::default()
        };
        let mut servers =
            vec![(id(1), busy(900, 0)), (id(2), busy(10, 40_000_000)), (id(3), busy(300, 0))];
        Strategy::LeastLoad.rank(&env, None, &mut servers);
        let ids: Vec<&str> = servers.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["s3", "s2", "s1"]);
    }

    #[test]
    fn a_burst_does_not_all_land_on_the_least_loaded() {
        let mut servers = servers(&[0, 0, 0]);
        servers[1].1.busy = Busy { cpu_permille: 100, bytes_per_s: 0 };
        servers[2].1.busy = Busy { cpu_permille: 104, bytes_per_s: 900 };
        let first = firsts(Strategy::LeastLoad, None, servers, 100);
        assert_eq!(first[&id(1)], 40);
        assert!(first[&id(2)].abs_diff(first[&id(3)]) <= 1, "{first:?}");
    }

    #[test]
    fn a_user_is_sent_home_and_else_anywhere() {
        let home = firsts(Strategy::Home, Some(&id(2)), servers(&[0, 900, 0]), 50);
        assert_eq!(home[&id(2)], 50);
        // The home is away, or nobody said who asks.
        assert_eq!(firsts(Strategy::Home, Some(&id(9)), servers(&[0, 0, 0]), 100).len(), 3);
        assert_eq!(firsts(Strategy::Home, None, servers(&[0, 0, 0]), 100).len(), 3);
    }

    #[test]
    fn a_name_is_parsed_back_and_an_unknown_one_is_not() {
        for &strategy in Strategy::ALL {
            assert_eq!(Strategy::parse(strategy.name()), Some(strategy));
        }
        assert_eq!(Strategy::parse("fastest"), None);
    }
}
