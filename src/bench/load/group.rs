//! The groups of a run: made over the wire before the clock runs, closed after it.
//!
//! Deliberately as small as a group can be: its first member names all the others in CREATE, and
//! nobody comes or goes afterwards.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::{BenchError, PATIENCE, unexpected};
use super::dial::{Line, PAUSE_MIN, WAITS};
use super::people::Person;
use crate::crypto::GroupKey;
use crate::crypto::operation::{Change, NewMember, Operation};
use crate::net::Env;
use crate::types::{GroupId, GroupName, OpHash};
use crate::wire::client::{self as wire, client_frame, server_frame};

/// A group as its members know it.
pub(super) struct Group {
    /// Its log in frames.
    pub(super) log: String,
    pub(super) name: GroupName,
    pub(super) id: GroupId,
    pub(super) key: GroupKey,
    /// CREATE, the only operation.
    pub(super) head: OpHash,
    /// Its place in the log.
    pub(super) seq: u64,
}

impl Group {
    /// Makes a group of these people; the first of them does it.
    pub(super) async fn make(
        env: &Env,
        line: &mut Line,
        name: GroupName,
        members: &[Arc<Person>],
    ) -> Result<Self, BenchError> {
        let founder = members.first().ok_or_else(|| unexpected("a group of nobody"))?;
        let key = GroupKey::generate();
        let mut nonce = [0; 16];
        env.fill(&mut nonce);
        let member = |person: &Arc<Person>| NewMember {
            user: person.user.clone(),
            identity: person.keys.identity(),
        };
        let mut named: Vec<NewMember> = members.iter().map(member).collect();
        named.sort_by(|one, other| one.user.cmp(&other.user));
        let change = Change::Create {
            name: name.clone(),
            nonce,
            members: named,
            key_commit: key.first_commit(&founder.keys.cluster),
            title: String::new(),
        };
        let (body, head) = sign(env, founder, &name, None, change)?;
        let seq = hand_in(line, body).await?;
        let (log, id) = (name.to_string(), GroupId(head.0));
        Ok(Self { log, name, id, key, head, seq })
    }

    /// What its first member ends it with.
    pub(super) fn close(
        &self,
        env: &Env,
        founder: &Person,
    ) -> Result<client_frame::Body, BenchError> {
        let before = Some((self.id, self.head));
        sign(env, founder, &self.name, before, Change::Close).map(|(body, _)| body)
    }
}

fn sign(
    env: &Env,
    author: &Person,
    name: &GroupName,
    before: Option<(GroupId, OpHash)>,
    change: Change,
) -> Result<(client_frame::Body, OpHash), BenchError> {
    let operation = Operation {
        group: before.map(|(group, _)| group),
        prev: before.map(|(_, prev)| prev),
        author: author.user.clone(),
        device: author.device,
        at_unix_ms: env.unix_ms(),
        change,
    };
    let signed = operation
        .sign(&author.keys.cluster, &author.keys, &author.device_key, None)
        .map_err(unexpected)?;
    let (group, operation) = (name.as_str().to_owned(), signed.encoded);
    Ok((client_frame::Body::Change(wire::Change { group, operation }), signed.hash))
}

/// The place that an operation got in the log. A home that has no time is asked again.
async fn hand_in(line: &mut Line, body: client_frame::Body) -> Result<u64, BenchError> {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let pause = match line.request(body.clone()).await {
            Ok(server_frame::Body::Changed(changed)) => return Ok(changed.seq),
            Ok(other) => return Err(unexpected(format!("{other:?} to an operation"))),
            Err(BenchError::Refused { code, after, .. })
                if WAITS.contains(&code) && Instant::now() < give_up_at =>
            {
                after.max(PAUSE_MIN)
            }
            Err(error) => return Err(error),
        };
        sleep(pause).await;
    }
}

/// How long the end of a group may take. Nobody measures it.
pub(super) const CLOSING: Duration = Duration::from_secs(5);
