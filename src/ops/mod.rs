//! What an operator sees of a running process: figures, health, the service manager, names in logs.
//!
//! An [`Observer`] is one process's own, handed down with [`crate::net::Env`], so that several
//! servers in one process never mix; without one (clients, simulation, tests) every count costs a
//! look at an `Option`. Deliberately knows no room above it: what is to be measured comes in.

pub mod admin;
pub mod health;
pub mod meters;
pub mod names;
pub mod service;

use std::sync::{Arc, Mutex, PoisonError};

pub use admin::Watched;
pub use health::Unready;
pub use meters::Meters;
pub use names::Names;

type Slot = Arc<Mutex<Option<Arc<dyn Watched>>>>;

/// What watches one process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Observer {
    /// Its figures.
    pub meters: Meters,
    /// How its logs name people.
    pub names: Names,
    /// What introduced itself: nothing before it is up. `None`: nobody watches.
    watched: Option<Slot>,
}

impl Observer {
    /// An observer whom nothing has met yet.
    pub fn new(meters: Meters, names: Names) -> Self {
        Self { meters, names, watched: Some(Slot::default()) }
    }

    /// From now on this is what is watched.
    pub fn introduce(&self, part: impl Watched) {
        if let Some(slot) = &self.watched {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(part));
        }
    }

    /// What is watched, once it is there.
    pub fn watched(&self) -> Option<Arc<dyn Watched>> {
        self.watched.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the watched process still answers; one that is not up yet is not asked.
    pub async fn is_alive(&self) -> bool {
        match self.watched() {
            Some(watched) => watched.is_alive().await,
            None => true,
        }
    }
}
