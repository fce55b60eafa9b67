//! QUIC endpoints, certificates, framed streams, and [`Env`], the only door to time, chance and
//! UDP.
//!
//! Deliberately knows nothing of users, logs or what a frame means.

pub mod accept;
pub mod chunk;
mod counted;
pub mod endpoint;
pub mod env;
pub mod files;
pub mod keys;
pub mod live;
pub mod pki;
pub mod several;
pub mod stream;
pub mod tls;

#[cfg(test)]
mod tests;

pub use accept::AcceptGate;
pub use endpoint::{
    ConnectError, ListenError, ListenKind, Target, client_endpoint, connect, discover_cluster,
    listen,
};
pub use env::Env;
pub use keys::QuicKeys;
pub use live::Live;
pub use pki::{Authority, CaCert, Credentials, Role};
pub use several::Several;
pub use stream::{FrameReader, FrameWriter};
pub use tls::{PresentedCert, presented, presented_expiry_unix_ms};
