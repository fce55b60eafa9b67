//! What a client talks to: accepts, authenticates, limits, routes, and forgets.
//!
//! Keeps nothing durable: killing an edge loses nothing. Deliberately knows no SQL, no disk and
//! no peer connections; lines to homes are [`router::Port`]s that others carry.

pub mod limits;
pub mod router;
