//! Who is there, who came or went, who is typing: told to those who may know, and never durable.
//!
//! News of presence are told late and once: who comes back within the pause never went. They go
//! out between batches, so many at a time, and only where there is room. A server that is slow
//! loses them; its clients learn more at the next Open.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::live::{EdgeNumber, Place};
use super::refusal::{Fault, No};
use super::request::{HomeFailure, Output, Target, Visibility};
use super::sql::accounts as rows;
use super::state::{Asker, Home};
use crate::limits::PRESENCE_PUSHES_MAX;
use crate::types::{GroupName, LogName, UserName};
use crate::wire::client::{self as wire, server_frame::Body};

impl Home {
    /// Shows or hides the caller's session, for as long as it lasts.
    pub(super) fn set_presence(
        &mut self,
        asker: Asker<'_>,
        visibility: Visibility,
    ) -> Result<Body, No> {
        let user = self.session(asker)?;
        rows::set_visibility(self.conn(), user, visibility)?;
        self.live.show(user, visibility);
        Ok(Body::Done(wire::Done::default()))
    }

    /// Hands on that the caller is writing, if the recipient is there and wants to hear of it.
    pub(super) fn typing(&mut self, asker: Asker<'_>, to: &UserName) -> Result<(), No> {
        let from = Self::user(asker)?;
        self.own(to)?;
        let Some(place) = self.live.session(to).map(|session| session.place) else { return Ok(()) };
        let log = self.logs.get(&self.database.conn, &LogName::inbox(to.clone()))?;
        if log.is_none_or(|log| log.blocked.contains(from)) || !self.edges.has_room(place.edge) {
            return Ok(());
        }
        let body = Body::Typing(wire::Typing { user: from.to_string(), group: String::new() });
        self.out.push((place, Output::one(Target { sid: place.sid, open_id: 0 }, 0, body)));
        Ok(())
    }

    /// Hands on that the caller is writing in a group, to whoever has it open; so many times a
    /// second, whoever writes.
    pub(super) fn typing_in(&mut self, asker: Asker<'_>, group: &GroupName) -> Result<(), No> {
        let from = Self::user(asker)?;
        let name = LogName::Group(group.clone());
        self.own_log(&name)?;
        let log = self.logs.get(&self.database.conn, &name)?;
        let Some(members) = log.and_then(|log| log.group.as_mut()) else { return Ok(()) };
        if !members.is_present(from) || !members.may_type(Instant::now()) {
            return Ok(());
        }
        let mut by_edge: BTreeMap<EdgeNumber, Vec<Target>> = BTreeMap::new();
        for (place, open) in self.live.opens(&name) {
            let reads = open.reader.is_some() && members.is_present(&open.author);
            if reads && open.author != *from && self.edges.has_room(place.edge) {
                by_edge.entry(place.edge).or_default().push(Target { sid: place.sid, open_id: 0 });
            }
        }
        let typing = wire::Typing { user: from.to_string(), group: name.to_string() };
        for (edge, to) in by_edge {
            let Some(first) = to.first().map(|to| to.sid) else { continue };
            let body = Some(Body::Typing(typing.clone()));
            let frame = wire::ServerFrame { rid: 0, optional: false, body };
            self.out.push((Place { edge, sid: first }, Output { to, frame }));
        }
        Ok(())
    }

    /// Tells a bounded number of connections who came or went since they were last told.
    pub(super) fn tell_presence(&mut self) -> Result<(), HomeFailure> {
        let mut left = PRESENCE_PUSHES_MAX;
        while left > 0
            && let Some(owner) = self.live.changed.pop_first()
        {
            let news = self.presence_news(&owner).map_err(Fault::fatal)?;
            if news.len() > left {
                self.live.changed.insert(owner.clone());
            }
            // Looking costs something as well.
            let told = left.min(news.len());
            left -= told.max(1);
            for (place, online) in news.into_iter().take(told) {
                self.push_presence(&owner, place, online);
            }
        }
        Ok(())
    }

    /// Who has to be told what of `owner`: never the blocked, nor `owner` themselves.
    fn presence_news(&mut self, owner: &UserName) -> Result<Vec<(Place, bool)>, Fault> {
        let online = self.live.is_online(owner);
        // Not by way of the cache of logs: a crowd that goes must not push out what is in use.
        let blocked = if online { rows::blocked_by(self.conn(), owner)? } else { Vec::new() };
        let log = LogName::inbox(owner.clone());
        let news = self.live.opens(&log).filter_map(|(place, open)| {
            let online = online && !blocked.iter().any(|author| author == open.author.as_str());
            (open.author != *owner && open.told_online != online).then_some((place, online))
        });
        Ok(news.collect())
    }

    fn push_presence(&mut self, owner: &UserName, place: Place, online: bool) {
        if !self.edges.has_room(place.edge) {
            return;
        }
        let log = LogName::inbox(owner.clone());
        let Some(open) = self.live.open_mut(&log, place) else { return };
        open.told_online = online;
        let open_id = open.open_id;
        let body = Body::Online(wire::Online { log: log.to_string(), open_id, online });
        self.edges.send(place.edge, Output::one(Target { sid: place.sid, open_id }, 0, body));
    }
}
