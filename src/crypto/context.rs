//! Context strings: what a signature, a label or a hash is *for*, in front of what it covers.
//!
//! Deliberately tiny: every layout of the module docs is built with [`Context`] and nothing else.

use crate::types::ClusterId;

/// Builds `fastchat/<scope>/<use>/1`, the cluster id, then the fields.
///
/// No use contains a `/`, so no context is the beginning of another.
pub(crate) struct Context(Vec<u8>);

/// Scope of what does not depend on a suite.
pub(crate) const ANY_SUITE: &str = "1";
/// Scope of suite 1.
pub(crate) const RF1: &str = "rf1";

impl Context {
    pub(crate) fn new(scope: &str, purpose: &str, cluster: &ClusterId) -> Self {
        let mut bytes = format!("fastchat/{scope}/{purpose}/1").into_bytes();
        bytes.extend_from_slice(&cluster.0);
        Self(bytes)
    }

    /// Appends a field whose length is fixed by its meaning.
    pub(crate) fn fixed<const LEN: usize>(mut self, field: &[u8; LEN]) -> Self {
        self.0.extend_from_slice(field);
        self
    }

    /// Appends a number as 8 bytes, big-endian.
    pub(crate) fn number(self, number: u64) -> Self {
        self.fixed(&number.to_be_bytes())
    }

    /// Appends a name after its length in one byte. Names are far below 256 bytes.
    pub(crate) fn name(mut self, name: &str) -> Self {
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        self.0.push(length);
        self.0.extend(name.bytes().take(usize::from(length)));
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
