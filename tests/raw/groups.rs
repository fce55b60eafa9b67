//! Groups by raw frames: operations signed by hand, messages that only a reader could tell from
//! real ones.

use bytes::Bytes;
use fastchat::crypto::invite::{InviteClaim, InviteKey, InviteSecret};
use fastchat::crypto::operation::{Change, KeyFor, NewKey, NewMember, Operation, SignedOperation};
use fastchat::crypto::{testkeys, verify_bundle};
use fastchat::placement::slot_of_group;
use fastchat::types::{GroupId, GroupName, KeyId, OpHash, ServerId, UserName};
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{
    Append, Changed, Envelope, GetRoster, Header, JoinProof, Kind, Opened, Roster,
};
use prost::Message;

use super::{Cluster, Person, Raw};

/// A group as somebody who knows its chain sees it.
#[derive(Clone)]
pub struct Team {
    pub name: GroupName,
    pub id: GroupId,
    pub head: OpHash,
    /// Names and fingerprints, in order of name.
    pub members: Vec<NewMember>,
    pub key_epoch: u64,
}

impl Cluster {
    /// A group whose home is this server; another for each `salt`.
    pub fn group_at(&self, number: u16, salt: &str) -> GroupName {
        let at = |name: &GroupName| {
            let home = self.map.home_of_slot(slot_of_group(name)).unwrap();
            home.id == ServerId::numbered(number)
        };
        (0..).map(|n| GroupName::canonical(&format!("{salt}{n}")).unwrap()).find(at).unwrap()
    }
}

impl Person {
    /// How this person stands in a roster. `number` as in `Cluster::person`.
    pub fn as_member(&self, number: usize) -> NewMember {
        let identity = KeyId::of_spki(testkeys::identity(number).spki());
        NewMember { user: self.name.clone(), identity }
    }

    /// A CREATE of this person's.
    pub fn create(&self, name: &GroupName, members: Vec<NewMember>) -> (Team, SignedOperation) {
        let mut members = members;
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let change = Change::Create {
            name: name.clone(),
            nonce: [self.device.0 as u8; 16],
            members: members.clone(),
            key_commit: [0; 32],
            title: String::new(),
        };
        let operation = self.sign_operation(None, change, None);
        let (id, head) = (GroupId(operation.hash.0), operation.hash);
        (Team { name: name.clone(), id, head, members, key_epoch: 1 }, operation)
    }

    pub fn sign_operation(
        &self,
        team: Option<&Team>,
        change: Change,
        invite: Option<&InviteKey>,
    ) -> SignedOperation {
        let bundle = verify_bundle(&self.bundle, &self.cluster, &self.name).unwrap();
        let operation = Operation {
            group: team.map(|team| team.id),
            prev: team.map(|team| team.head),
            author: self.name.clone(),
            device: self.device,
            at_unix_ms: 7,
            change,
        };
        operation.sign(&self.cluster, &bundle, &self.device_key, invite).unwrap()
    }

    /// A message to a group.
    pub fn group_message(&self, team: &Team, open: &Opened, n: u64) -> Ask {
        let header = Header {
            suite: 1,
            kind: Kind::Message as i32,
            log: format!("#{}", team.id),
            author: self.name.to_string(),
            device: self.device.0,
            n,
            key_id: Bytes::from_static(&[1; 16]),
            key_epoch: team.key_epoch,
            ..Header::default()
        };
        let envelope = Envelope {
            header: header.encode_to_vec().into(),
            payload: Bytes::from_static(b"junk"),
            signature: Bytes::from_static(&[0; 64]),
        };
        let (open_id, epoch) = (open.open_id, open.epoch);
        let envelope = envelope.encode_to_vec().into();
        Ask::Append(Append { log: team.log(), open_id, epoch, envelope })
    }

    /// Proves an invitation over a nonce.
    pub fn join_proof(&self, team: &Team, key: &InviteKey, nonce: &[u8]) -> Ask {
        let nonce: [u8; 32] = nonce.try_into().unwrap();
        let claim = InviteClaim {
            cluster: &self.cluster,
            group: &team.id,
            nonce: &nonce,
            user: &self.name,
            device: self.device,
        };
        Ask::JoinProof(JoinProof {
            group: team.name.as_str().to_owned(),
            invite: Bytes::copy_from_slice(&key.public()),
            signature: Bytes::copy_from_slice(&key.prove(&claim)),
        })
    }
}

impl Team {
    pub fn log(&self) -> String {
        self.name.to_string()
    }

    pub fn change(&self, operation: &SignedOperation) -> Ask {
        Ask::Change(fastchat::wire::client::Change {
            group: self.name.as_str().to_owned(),
            operation: operation.encoded.clone(),
        })
    }

    pub fn get_roster(&self, after: u64) -> Ask {
        Ask::GetRoster(GetRoster { group: self.name.as_str().to_owned(), after })
    }

    /// The change that removes somebody; its keys are noise.
    pub fn removal(&self, user: &UserName) -> Change {
        let stay = self.members.iter().filter(|member| member.user != *user);
        let key = |member: &NewMember| KeyFor {
            user: member.user.clone(),
            wrapped_to: KeyId([3; 32]),
            wrapped_key: Bytes::from_static(&[4; 384]),
        };
        let key = NewKey { key_commit: [1; 32], keys: stay.map(key).collect(), invited: vec![] };
        Change::Remove { user: user.clone(), key }
    }

    pub fn invite_key(&self, cluster: &Cluster, seed: u8) -> InviteKey {
        let secret = InviteSecret::from_bytes(&[seed; InviteSecret::BYTES]).unwrap();
        secret.invite_key(&cluster.authority.cluster_id(), &self.id)
    }
}

impl Raw {
    /// Hands in an operation that must be taken. Skips pushes.
    pub async fn change(&mut self, team: &mut Team, operation: &SignedOperation) -> Changed {
        match self.ask_past(team.change(operation)).await {
            Answer::Changed(changed) => {
                team.head = operation.hash;
                changed
            }
            other => panic!("not taken: {other:?}"),
        }
    }

    /// One page of a chain. Skips pushes.
    pub async fn roster(&mut self, team: &Team, after: u64) -> Roster {
        match self.ask_past(team.get_roster(after)).await {
            Answer::Roster(roster) => roster,
            other => panic!("no roster: {other:?}"),
        }
    }

    /// Sends a request and returns its answer, past whatever is pushed before it.
    pub async fn ask_past(&mut self, body: Ask) -> Answer {
        self.rid += 1;
        let rid = self.rid;
        self.send(rid, body).await;
        loop {
            let frame = self.next_frame().await;
            if frame.rid == rid {
                return frame.body.unwrap();
            }
        }
    }

    /// The next frame that is not an `Entry` or `Delivered`.
    pub async fn next_answer(&mut self) -> Answer {
        loop {
            match self.next().await {
                Answer::Entry(_) | Answer::Delivered(_) => {}
                answer => return answer,
            }
        }
    }
}
