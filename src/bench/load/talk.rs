//! What one person writes to another while the clock runs: envelopes of one direction of a
//! conversation that has been going on for a while.
//!
//! Deliberately without the beginnings (look-ups, wrapped keys): a run measures the long middle.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::super::{BenchError, unexpected};
use super::people::Person;
use crate::crypto::{Body, ConversationKey, SealRequest, open, seal, verify};
use crate::types::N;
use crate::wire::client::{Envelope, Header};

/// How much of the cryptography happens while the clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// All: each message is encrypted and signed by its author, verified and opened by its
    /// recipient.
    Real,
    /// None: one message of each conversation is sealed beforehand, and every message is that one
    /// under its own number. Servers see no difference, and recipients look at the header alone.
    Pre,
}

/// One direction of a conversation that has been going on for a while: its key is known at both
/// ends.
pub(super) struct Conversation {
    author: Arc<Person>,
    recipient: Arc<Person>,
    key: ConversationKey,
    text: Body,
    /// Payload and signature for [`Sealed::Pre`].
    before: Option<(Header, Bytes, Bytes)>,
}

impl Conversation {
    pub(super) fn new(
        author: &Arc<Person>,
        recipient: &Arc<Person>,
        size: usize,
        sealed: Sealed,
    ) -> Result<Self, BenchError> {
        let (author, recipient) = (Arc::clone(author), Arc::clone(recipient));
        let (key, text) = (ConversationKey::generate(), Body::Text("x".repeat(size)));
        let mut made = Self { author, recipient, key, text, before: None };
        if sealed == Sealed::Pre {
            let envelope = made.seal(1, 0)?;
            let envelope = Envelope::decode(envelope).map_err(unexpected)?;
            let header = Header::decode(envelope.header).map_err(unexpected)?;
            made.before = Some((header, envelope.payload, envelope.signature));
        }
        Ok(made)
    }

    /// The envelope of the message with this number.
    pub(super) fn seal(&self, n: u64, unix_ms: u64) -> Result<Bytes, BenchError> {
        if let Some((header, payload, signature)) = &self.before {
            let header = Header { n, ..header.clone() };
            let envelope = Envelope {
                header: header.encode_to_vec().into(),
                payload: payload.clone(),
                signature: signature.clone(),
            };
            return Ok(envelope.encode_to_vec().into());
        }
        let (author, recipient) = (&*self.author, &*self.recipient);
        seal(&SealRequest {
            cluster: &author.keys.cluster,
            device_key: &author.device_key,
            log: &recipient.log,
            author: &author.user,
            device: author.device,
            n: N(n),
            key: &self.key,
            wrapped: None,
            author_identity: author.keys.identity(),
            recipient_identity: recipient.keys.identity(),
            author_bundle_version: author.keys.version,
            recipient_bundle_version: recipient.keys.version,
            sent_at_unix_ms: unix_ms,
            body: &self.text,
        })
        .map_err(unexpected)
    }

    /// Whether the author really wrote this, and it says what it should.
    pub(super) fn is_good(&self, envelope: &[u8]) -> bool {
        if self.before.is_some() {
            return true;
        }
        let (author, recipient) = (&self.author.keys, &self.recipient.keys);
        verify(envelope, &author.cluster, author)
            .and_then(|sound| open(&sound, &self.key, &author.identity(), &recipient.identity()))
            .is_ok_and(|opened| opened.body == self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::people::RsaKeys;
    use super::*;
    use crate::crypto::parse_header;
    use crate::net::Env;
    use crate::types::{ClusterId, UserName};

    fn person(name: &str, number: usize, rsa: &RsaKeys) -> Arc<Person> {
        let user = UserName::parse(name).unwrap();
        let env = Env::system_for_tests();
        Arc::new(Person::new(&env, rsa, ClusterId([7; 32]), &user, number).unwrap())
    }

    #[tokio::test]
    async fn what_is_sealed_passes_its_recipient_and_an_altered_byte_does_not() {
        let rsa = RsaKeys::generate(&Env::system_for_tests()).await.unwrap();
        let (ann, ben) = (person("ann", 0, &rsa), person("ben", 1, &rsa));
        let talk = Conversation::new(&ann, &ben, 256, Sealed::Real).unwrap();
        let envelope = talk.seal(3, 1).unwrap();
        assert_eq!(parse_header(&envelope).unwrap().n, N(3));
        assert!(talk.is_good(&envelope));
        let mut altered = envelope.to_vec();
        *altered.last_mut().unwrap() ^= 1;
        assert!(!talk.is_good(&altered));
    }

    #[tokio::test]
    async fn servers_take_what_was_sealed_beforehand_under_any_number() {
        let rsa = RsaKeys::generate(&Env::system_for_tests()).await.unwrap();
        let (ann, ben) = (person("ann", 0, &rsa), person("ben", 1, &rsa));
        let talk = Conversation::new(&ann, &ben, 256, Sealed::Pre).unwrap();
        let real = Conversation::new(&ann, &ben, 256, Sealed::Real).unwrap();
        for n in [1, 127, 128, 70_000] {
            let envelope = talk.seal(n, 0).unwrap();
            let header = parse_header(&envelope).unwrap();
            assert_eq!((header.n, header.author), (N(n), ann.user.clone()));
            assert_eq!(envelope.len(), real.seal(n, 0).unwrap().len(), "the same size");
        }
    }
}
