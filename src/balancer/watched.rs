//! What a balancer tells whoever watches it: whether it has a server to offer, and its figures.
//!
//! Deliberately changes nothing.

use crate::net::{Credentials, Env, Live};
use crate::ops::admin::{self, Soon};
use crate::ops::health::Stage;
use crate::ops::meters::Gauge;
use crate::ops::{Meters, Unready};

use super::fleet::{Fleet, Member, State};
use super::strategy::Strategy;

/// A running balancer as its operator sees it.
pub struct Watched {
    /// For the time of day.
    pub env: Env,
    /// The servers.
    pub fleet: Fleet,
    /// How they are chosen.
    pub strategy: Strategy,
    /// Its certificate.
    pub credentials: Live<Credentials>,
    /// How far it has come.
    pub stage: Stage,
}

impl admin::Watched for Watched {
    fn unready(&self) -> Option<Unready> {
        let is_ready = |member: &Member| member.state == State::Ready;
        let nobody = || (!self.fleet.members().iter().any(is_ready)).then_some(Unready::Servers);
        self.stage.unready().or_else(nobody)
    }

    /// Whoever gets this answer knows that tasks run here.
    fn is_alive(&self) -> Soon<'_, bool> {
        Box::pin(async { true })
    }

    fn measure<'a>(&'a self, meters: &'a Meters) -> Soon<'a, ()> {
        Box::pin(async {
            let left_ms = i128::from(self.credentials.now().expires_unix_ms())
                - i128::from(self.env.unix_ms());
            meters.set(Gauge::CertExpiry, (left_ms / 1000) as f64);
            meters.set(Gauge::Strategy(self.strategy.name()), 1.0);
            for member in self.fleet.members() {
                for &state in State::ALL {
                    let value = f64::from(u8::from(member.state == state));
                    let gauge = Gauge::ServerState(member.entry.id.clone(), state.name());
                    meters.set(gauge, value);
                }
            }
        })
    }
}
