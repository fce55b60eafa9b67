//! What an entry of a group's log is worth, by the roster as it was at its place. Decides, and
//! stores nothing.

use rusqlite::params;

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::envelope::{HeaderInfo, Kind, OpenedMessage, VerifiedEnvelope, verify};
use crate::crypto::group_envelope::open_group;
use crate::roster::{Member, Roster};
use crate::types::{GroupId, LogId, Seq};

use super::super::api::Trouble;
use super::super::core::Core;
use super::super::groups::Group;
use super::super::inbox::Entry;
use super::super::judging::{NUMBERS_MAX, Outcome};
use super::super::store::{StoreError, unbits};

/// What one entry comes to.
pub(super) enum Verdict {
    /// Of another member.
    Opened {
        message: OpenedMessage,
        roster: Box<Roster>,
        /// Of the newest operation that its author named.
        number: u64,
    },
    /// One's own, on its way back: it stands as a line already.
    Own {
        /// No number that this device has given.
        foreign: bool,
    },
    /// Takes its numbers, shows nothing.
    Void,
    /// Seen before, or from before the owner was in the group.
    Nothing,
    /// One line. `takes_id`: the envelope itself was genuine.
    Trouble { trouble: Trouble, takes_id: bool },
    /// Keeps its place until the key arrives.
    NoKey { announced: bool },
}

/// Whether an entry can be judged.
pub(super) enum Judged {
    As(Verdict),
    NeedsBundle,
    NeedsRoster,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self::As(verdict)
    }
}

fn trouble(trouble: Trouble) -> Verdict {
    Verdict::Trouble { trouble, takes_id: false }
}

impl Core {
    /// All the checks of an envelope, in the order of docs/PROTOCOL.md: none of what comes before
    /// the key depends on what is inside.
    pub(super) fn judge_in_group(
        &mut self,
        group: &Group,
        header: &HeaderInfo,
        entry: &Entry,
    ) -> Result<Judged, StoreError> {
        if header.log != LogId::Group(group.id) || header.upto.0 > NUMBERS_MAX {
            return Ok(trouble(Trouble::BadBinding).into());
        }
        let seq = Seq(unbits(entry.seq));
        let Some(roster) = self.roster_at(&group.name, seq)? else {
            // No chain yet, or nothing of it was there at this place.
            let none = group.roster.is_none();
            let nothing = Judged::As(Verdict::Nothing);
            return Ok(if none { Judged::NeedsRoster } else { nothing });
        };
        let own = self.profile.bundle.identity();
        if roster.member(self.user()).is_none_or(|member| member.identity != own) {
            return Ok(Verdict::Nothing.into());
        }
        let Some(member) = roster.member(&header.author) else {
            return Ok(trouble(Trouble::NotAMember).into());
        };
        let envelope = match self.verified_author(header, entry, member)? {
            Signed::By(envelope) => envelope,
            Signed::NeedsBundle => return Ok(Judged::NeedsBundle),
            Signed::ByNobody => return Ok(trouble(Trouble::BadSignature).into()),
        };
        if !entry.tried
            && let Some(outcome) = self.seen_before(&entry.log, header, &envelope)?
        {
            return Ok(match outcome {
                Outcome::Trouble { trouble, takes_id } => Verdict::Trouble { trouble, takes_id },
                _ => Verdict::Nothing,
            }
            .into());
        }
        if header.author == *self.user() {
            let foreign = self.is_foreign(group, header)?;
            return Ok(Verdict::Own { foreign }.into());
        }
        match header.kind {
            Kind::Void => Ok(Verdict::Void.into()),
            Kind::Message => {
                if header.key_epoch > roster.key_epoch() {
                    // Its author knows of a key that the home keeps back from us.
                    self.groups.wanted.insert(group.name.clone());
                }
                Ok(self.decrypt_in_group(group.id, roster, &envelope, entry)?.into())
            }
        }
    }

    /// The signature, under a device of exactly the identity that the roster names.
    fn verified_author(
        &mut self,
        header: &HeaderInfo,
        entry: &Entry,
        member: &Member,
    ) -> Result<Signed, StoreError> {
        let candidates: Vec<VerifiedBundle> = if header.author == *self.user() {
            vec![self.profile.bundle.clone()]
        } else {
            let person = self.person(&header.author)?;
            person
                .into_iter()
                .flat_map(|p| [p.bundle.clone(), p.changed.clone()])
                .flatten()
                .collect()
        };
        let bundle = candidates.iter().find(|bundle| {
            bundle.identity() == member.identity && bundle.device(header.device).is_some()
        });
        let Some(bundle) = bundle else {
            let fresh = self.fresh_bundles.contains(&(header.author.clone(), header.device));
            let ours = header.author == *self.user();
            return Ok(if fresh || ours { Signed::ByNobody } else { Signed::NeedsBundle });
        };
        let verified = verify(&entry.envelope, &self.cluster(), bundle);
        Ok(verified.map_or(Signed::ByNobody, |envelope| Signed::By(Box::new(envelope))))
    }

    fn decrypt_in_group(
        &self,
        id: GroupId,
        roster: Roster,
        envelope: &VerifiedEnvelope,
        entry: &Entry,
    ) -> Result<Verdict, StoreError> {
        let header = envelope.header();
        if header.key_epoch != roster.key_epoch() {
            return Ok(trouble(Trouble::NotAMember));
        }
        let Some(key) = self.group_key(&id, header.key_epoch)? else {
            return Ok(Verdict::NoKey { announced: entry.tried });
        };
        let genuine = |trouble| Verdict::Trouble { trouble, takes_id: true };
        let Some(member) = roster.member(&header.author) else {
            return Ok(trouble(Trouble::NotAMember));
        };
        let Ok(opened) = open_group(envelope, &key, &member.identity) else {
            return Ok(genuine(Trouble::BadBinding));
        };
        // Its author may know less of the group than stood in the log before it, never more.
        // A member alone can name anything: it is no proof that the home shows two histories.
        let Some((number, _)) = self.operation_place(&id, &opened.roster_head)? else {
            return Ok(genuine(Trouble::BadBinding));
        };
        // One that waited for its key may come behind later ones of its author.
        let named = if entry.tried { 0 } else { self.highest_named(&entry.log, header)? };
        if number > roster.number() || number < named {
            return Ok(genuine(Trouble::BadBinding));
        }
        let message = OpenedMessage {
            author_bundle_version: opened.author_bundle_version,
            recipient_bundle_version: self.profile.bundle.version,
            sent_at_unix_ms: opened.sent_at_unix_ms,
            body: opened.body,
        };
        Ok(Verdict::Opened { message, roster: Box::new(roster), number })
    }

    /// The number of the newest operation that an author has named in this log so far.
    fn highest_named(&self, log: &str, header: &HeaderInfo) -> Result<u64, StoreError> {
        let number: Option<i64> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT max(number) FROM highs WHERE log = ?1 AND author = ?2")?
            .query_row(params![log, header.author.as_str()], |row| row.get(0))?;
        Ok(number.map_or(0, unbits))
    }
}

/// What looking for an author's signature came to.
enum Signed {
    By(Box<VerifiedEnvelope>),
    ByNobody,
    NeedsBundle,
}
