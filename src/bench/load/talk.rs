//! What one person writes to another, or to a group, while the clock runs: envelopes of a
//! conversation that has been going on for a while.
//!
//! Deliberately without the beginnings (look-ups, wrapped keys): a run measures the long middle.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::super::{BenchError, unexpected};
use super::group::Group;
use super::people::Person;
use crate::crypto::{
    Body, ConversationKey, GroupSealRequest, SealRequest, open, open_group, seal, seal_group,
    verify,
};
use crate::types::{KeyEpoch, LogId, N};
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

/// What one author writes to a person or a group, once the key is known to all who read it.
pub(super) struct Talk {
    author: Arc<Person>,
    to: To,
    text: Body,
    /// Header, payload and signature for [`Sealed::Pre`].
    before: Option<(Header, Bytes, Bytes)>,
}

/// Who reads it, and under which key.
enum To {
    Person { recipient: Arc<Person>, key: ConversationKey },
    Group(Arc<Group>),
}

impl Talk {
    /// Texts of `size` bytes to one person.
    pub(super) fn to_person(
        author: &Arc<Person>,
        recipient: &Arc<Person>,
        size: usize,
        sealed: Sealed,
    ) -> Result<Self, BenchError> {
        let (recipient, key) = (Arc::clone(recipient), ConversationKey::generate());
        Self::new(author, To::Person { recipient, key }, size, sealed)
    }

    /// Texts of `size` bytes to a group.
    pub(super) fn to_group(
        author: &Arc<Person>,
        group: &Arc<Group>,
        size: usize,
        sealed: Sealed,
    ) -> Result<Self, BenchError> {
        Self::new(author, To::Group(Arc::clone(group)), size, sealed)
    }

    fn new(author: &Arc<Person>, to: To, size: usize, sealed: Sealed) -> Result<Self, BenchError> {
        let text = Body::Text("x".repeat(size));
        let mut made = Self { author: Arc::clone(author), to, text, before: None };
        if sealed == Sealed::Pre {
            let envelope = made.seal(1, 0)?;
            let envelope = Envelope::decode(envelope).map_err(unexpected)?;
            let header = Header::decode(envelope.header).map_err(unexpected)?;
            made.before = Some((header, envelope.payload, envelope.signature));
        }
        Ok(made)
    }

    /// The log it goes to, in frames.
    pub(super) fn log(&self) -> String {
        match &self.to {
            To::Person { recipient, .. } => recipient.log.to_string(),
            To::Group(group) => group.log.clone(),
        }
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
        let author = &*self.author;
        let sealed = match &self.to {
            To::Person { recipient, key } => seal(&SealRequest {
                cluster: &author.keys.cluster,
                device_key: &author.device_key,
                log: &recipient.log,
                author: &author.user,
                device: author.device,
                n: N(n),
                key,
                wrapped: None,
                author_identity: author.keys.identity(),
                recipient_identity: recipient.keys.identity(),
                author_bundle_version: author.keys.version,
                recipient_bundle_version: recipient.keys.version,
                sent_at_unix_ms: unix_ms,
                body: &self.text,
            }),
            To::Group(group) => seal_group(&GroupSealRequest {
                cluster: &author.keys.cluster,
                device_key: &author.device_key,
                group: &group.id,
                author: &author.user,
                device: author.device,
                n: N(n),
                key: &group.key,
                key_epoch: KeyEpoch(1),
                author_identity: author.keys.identity(),
                author_bundle_version: author.keys.version,
                roster_head: group.head,
                sent_at_unix_ms: unix_ms,
                body: &self.text,
            }),
        };
        sealed.map_err(unexpected)
    }

    /// Whether the author really wrote this, and it says what it should.
    pub(super) fn is_good(&self, envelope: &[u8]) -> bool {
        if self.before.is_some() {
            return true;
        }
        let author = &self.author.keys;
        let Ok(sound) = verify(envelope, &author.cluster, author) else { return false };
        let identity = author.identity();
        let said = match &self.to {
            To::Person { recipient, key } => {
                let recipient = recipient.keys.identity();
                open(&sound, key, &identity, &recipient).map(|opened| opened.body)
            }
            To::Group(group) => {
                if sound.header().log != LogId::Group(group.id) {
                    return false;
                }
                open_group(&sound, &group.key, &identity).map(|opened| opened.body)
            }
        };
        said.is_ok_and(|body| body == self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::people::RsaKeys;
    use super::*;
    use crate::crypto::GroupKey;
    use crate::crypto::parse_header;
    use crate::net::Env;
    use crate::types::{ClusterId, GroupId, GroupName, OpHash, UserName};

    fn person(name: &str, number: usize, rsa: &RsaKeys) -> Arc<Person> {
        let user = UserName::parse(name).unwrap();
        let env = Env::system_for_tests();
        Arc::new(Person::new(&env, rsa, ClusterId([7; 32]), &user, number).unwrap())
    }

    #[tokio::test]
    async fn what_is_sealed_passes_its_recipient_and_an_altered_byte_does_not() {
        let rsa = RsaKeys::generate(&Env::system_for_tests()).await.unwrap();
        let (ann, ben) = (person("ann", 0, &rsa), person("ben", 1, &rsa));
        let talk = Talk::to_person(&ann, &ben, 256, Sealed::Real).unwrap();
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
        let talk = Talk::to_person(&ann, &ben, 256, Sealed::Pre).unwrap();
        let real = Talk::to_person(&ann, &ben, 256, Sealed::Real).unwrap();
        for n in [1, 127, 128, 70_000] {
            let envelope = talk.seal(n, 0).unwrap();
            let header = parse_header(&envelope).unwrap();
            assert_eq!((header.n, header.author), (N(n), ann.user.clone()));
            assert_eq!(envelope.len(), real.seal(n, 0).unwrap().len(), "the same size");
        }
    }

    fn group() -> Arc<Group> {
        let name = GroupName::parse("team").unwrap();
        let (id, head) = (GroupId([3; 32]), OpHash([3; 32]));
        Arc::new(Group { log: name.to_string(), name, id, key: GroupKey::generate(), head, seq: 1 })
    }

    #[tokio::test]
    async fn what_is_sealed_to_a_group_passes_its_readers_and_no_other_groups() {
        let rsa = RsaKeys::generate(&Env::system_for_tests()).await.unwrap();
        let ann = person("ann", 0, &rsa);
        let (ours, other) = (group(), group());
        let talk = Talk::to_group(&ann, &ours, 256, Sealed::Real).unwrap();
        let envelope = talk.seal(3, 1).unwrap();
        let header = parse_header(&envelope).unwrap();
        assert_eq!((header.log, header.key_epoch), (LogId::Group(ours.id), KeyEpoch(1)));
        assert!(talk.is_good(&envelope));
        let elsewhere = Talk::to_group(&ann, &other, 256, Sealed::Real).unwrap();
        assert!(!talk.is_good(&elsewhere.seal(3, 1).unwrap()), "another key");
        let before = Talk::to_group(&ann, &ours, 256, Sealed::Pre).unwrap();
        for n in [1, 127, 128, 70_000] {
            let envelope = before.seal(n, 0).unwrap();
            assert_eq!(parse_header(&envelope).unwrap().n, N(n));
            assert_eq!(envelope.len(), talk.seal(n, 0).unwrap().len(), "the same size");
        }
    }
}
