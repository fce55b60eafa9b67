//! The test kit: a simulated world in which a whole cluster runs in one thread from a seed.
//!
//! Behind the feature `testkit`, which no release build switches on. Deliberately holds no tests
//! of the product: those are in `tests/`.

pub mod checkers;
mod host;
pub mod hostile;
pub mod impair;
pub mod net;
pub mod sim;

pub use hostile::Hostile;
pub use net::{NetConfig, NetCounters, SimNet};
