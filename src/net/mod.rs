//! QUIC endpoints, certificates, framed streams, and [`Env`], the only door to time, chance and UDP.
//!
//! Deliberately knows nothing of users, logs or what a frame means.

pub mod env;

pub use env::Env;
