//! Which edges a client is offered, in order of preference.
//!
//! Pure but for chance, which comes in. Deliberately judges nothing about health: only servers that
//! are ready are handed to it.

use std::fmt;

use crate::net::Env;

/// How the balancer orders the servers that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Every order is equally likely.
    #[default]
    Random,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: &'static [Self] = &[Self::Random];

    /// The word on the command line and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
        }
    }

    /// The strategy of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|strategy| strategy.name() == name)
    }

    /// Puts the best first.
    pub fn rank<T>(self, env: &Env, servers: &mut [T]) {
        match self {
            Self::Random => shuffle(env, servers),
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

    use super::*;

    #[test]
    fn random_loses_nobody_and_prefers_nobody() {
        let env = Env::system();
        let mut first = BTreeMap::<u16, u32>::new();
        for _ in 0..3_000 {
            let mut servers = [1, 2, 3];
            Strategy::Random.rank(&env, &mut servers);
            *first.entry(servers[0]).or_default() += 1;
            servers.sort_unstable();
            assert_eq!(servers, [1, 2, 3]);
        }
        // 1,000 expected; 200 off is more than seven standard deviations.
        assert!(first.values().all(|&times| times.abs_diff(1_000) < 200), "{first:?}");
    }

    #[test]
    fn a_name_is_parsed_back_and_an_unknown_one_is_not() {
        for &strategy in Strategy::ALL {
            assert_eq!(Strategy::parse(strategy.name()), Some(strategy));
        }
        assert_eq!(Strategy::parse("fastest"), None);
    }
}
