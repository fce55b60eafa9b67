//! FastChat: a self-hosted chat system whose servers cannot read what people write.
//!
//! # The map of this house, in reading order
//! [`limits`] every bound · [`types`] names and numbers, parsed once · [`placement`] which server
//! owns which name · [`wire`] bytes and messages · [`crypto`] what nobody but the two people can
//! read · [`blob`] the shape of a file's sealed bytes · [`roster`] who is in a group, as a value ·
//! [`ops`] figures and health for operators · [`net`] QUIC, certificates, and the one door to
//! time, chance and UDP · [`admission`] tickets from the balancer, checked by the servers ·
//! [`home`] the durable state of a server, one transaction at a time · [`load`] how busy a server
//! is · [`edge`] what a client talks to · [`peer`] the ordered link between two servers ·
//! [`server`] one edge and one home in a process · [`balancer`] starts servers and answers "which
//! one?" · [`client`] commands in, events out · [`ui`] the line client · [`bench`] figures ·
//! [`cli`] arguments and exit codes.
//!
//! A module may use only what stands before it in that list (`tests/tidy.rs` holds the exact
//! table); server rooms cannot name `seal` or `open`.
#![forbid(unsafe_code)]

pub mod admission;
pub mod balancer;
pub mod bench;
pub mod blob;
pub mod cli;
pub mod client;
pub mod crypto;
pub mod edge;
pub mod home;
pub mod limits;
pub mod load;
pub mod net;
pub mod ops;
pub mod peer;
pub mod placement;
pub mod roster;
pub mod server;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod types;
pub mod ui;
pub mod wire;
