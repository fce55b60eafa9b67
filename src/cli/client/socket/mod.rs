//! The socket of a profile: a command whose profile another process holds is run by that process,
//! with the streams of the one where it was typed.
//!
//! So scripts and a line client work at the same time, and each command is written once. Who may
//! connect is decided by the modes of folder and socket; nothing here is meant for another user.

pub(super) mod call;
pub(super) mod caller;
pub(super) mod events;
mod frame;
pub(super) mod serve;
#[cfg(test)]
mod tests;
