//! Who is there, who came or went, who is typing: told to those who may know, and never durable.
//!
//! News of presence are told late and once: who comes back within the pause never went. They go
//! out between batches, so many at a time, and only where there is room. A server that is slow
//! loses them; its clients learn more at the next Open.

use super::live::Place;
use super::refusal::{Fault, No};
use super::request::{HomeFailure, Output, Target, Visibility};
use super::sql::accounts as rows;
use super::state::{Asker, Home};
use crate::limits::PRESENCE_PUSHES_MAX;
use crate::types::{LogName, UserName};
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
        let log = self.logs.get(&self.database.conn, to)?;
        if log.is_none_or(|log| log.blocked.contains(from)) || !self.edges.has_room(place.edge) {
            return Ok(());
        }
        let body = Body::Typing(wire::Typing { user: from.to_string(), group: String::new() });
        self.out.push((place, Output::one(Target { sid: place.sid, open_id: 0 }, 0, body)));
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
        let news = self.live.opens(owner).filter_map(|(place, open)| {
            let online = online && !blocked.iter().any(|author| author == open.author.as_str());
            (open.author != *owner && open.told_online != online).then_some((place, online))
        });
        Ok(news.collect())
    }

    fn push_presence(&mut self, owner: &UserName, place: Place, online: bool) {
        if !self.edges.has_room(place.edge) {
            return;
        }
        let Some(open) = self.live.open_mut(owner, place) else { return };
        open.told_online = online;
        let open_id = open.open_id;
        let log = LogName::inbox(owner.clone()).to_string();
        let body = Body::Online(wire::Online { log, open_id, online });
        self.edges.send(place.edge, Output::one(Target { sid: place.sid, open_id }, 0, body));
    }
}
