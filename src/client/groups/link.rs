//! Links to join by: `fastchat://join/NAME/SECRETS`, where SECRETS is the base64url of group id,
//! secret and the first bytes of the cluster's id.
//!
//! Whoever has the link may join: it is shown once, to who made it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::crypto::invite::InviteSecret;
use crate::types::{ClusterId, GroupId, GroupName};

use super::super::api::GroupError;

const SCHEME: &str = "fastchat://join/";
/// Enough to tell a person who holds a link of another cluster.
const CLUSTER_BYTES: usize = 8;

/// What a link says.
#[derive(Debug)]
pub(super) struct InviteLink {
    pub(super) name: GroupName,
    pub(super) id: GroupId,
    pub(super) secret: InviteSecret,
}

impl InviteLink {
    pub(super) fn write(&self, cluster: &ClusterId) -> String {
        let mut bytes = Zeroizing::new(self.id.0.to_vec());
        bytes.extend_from_slice(self.secret.as_bytes());
        bytes.extend(cluster.0.iter().take(CLUSTER_BYTES));
        format!("{SCHEME}{}/{}", self.name.as_str(), URL_SAFE_NO_PAD.encode(&*bytes))
    }

    /// Reads a link of this cluster, as a person pasted it.
    pub(super) fn read(link: &str, cluster: &ClusterId) -> Result<Self, GroupError> {
        Self::parse(link.trim(), cluster).ok_or(GroupError::BadLink)
    }

    fn parse(link: &str, cluster: &ClusterId) -> Option<Self> {
        let (name, secrets) = link.strip_prefix(SCHEME)?.split_once('/')?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(secrets).ok()?);
        let (id, rest) = bytes.split_at_checked(32)?;
        let (secret, of) = rest.split_at_checked(InviteSecret::BYTES)?;
        (of == cluster.0.get(..CLUSTER_BYTES)?).then_some(())?;
        Some(Self {
            name: GroupName::canonical(name).ok()?,
            id: GroupId::from_bytes(id)?,
            secret: InviteSecret::from_bytes(secret)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([3; 32]);

    fn link() -> InviteLink {
        InviteLink {
            name: GroupName::parse("team").unwrap(),
            id: GroupId([7; 32]),
            secret: InviteSecret::generate(),
        }
    }

    #[test]
    fn a_link_says_what_was_put_into_it() {
        let link = link();
        let text = link.write(&CLUSTER);
        assert!(text.starts_with("fastchat://join/team/"), "{text}");
        let read = InviteLink::read(&format!(" {text}\n"), &CLUSTER).unwrap();
        assert_eq!((read.name, read.id), (link.name.clone(), link.id));
        assert_eq!(read.secret.as_bytes(), link.secret.as_bytes());
    }

    #[test]
    fn a_link_of_another_cluster_or_a_damaged_one_is_none() {
        let text = link().write(&CLUSTER);
        let bad = |text: &str, cluster| {
            matches!(InviteLink::read(text, cluster), Err(GroupError::BadLink))
        };
        assert!(bad(&text, &ClusterId([4; 32])));
        for text in [
            text.replace("team", "Team"),
            text.replace("fastchat", "http"),
            text[..text.len() - 2].to_owned(),
            format!("{text}AA"),
            String::new(),
        ] {
            assert!(bad(&text, &CLUSTER), "{text}");
        }
    }
}
