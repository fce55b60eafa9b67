//! One client's events for several readers: the one who holds the profile, and its callers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::client::Event;

/// Events that wait for one reader. Nothing is in an event that a call could not read again, so
/// one that finds no room is dropped.
const WAITING_MAX: usize = 4_096;

/// Hands every event to every reader.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Events(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    readers: Vec<mpsc::Sender<Event>>,
    /// How the connection stands: the last `Online` or `Offline`.
    link: Option<Event>,
    caught_up: bool,
    ended: bool,
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader, who is told first how things stand.
    pub(in super::super) fn subscribe(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut known = self.lock();
        let first = known.link.clone().into_iter();
        for event in first.chain(known.caught_up.then_some(Event::CaughtUp)) {
            let _ = sender.try_send(event);
        }
        if !known.ended {
            known.readers.push(sender);
        }
        receiver
    }

    /// Passes one on.
    pub(super) fn pass(&self, event: &Event) {
        let mut known = self.lock();
        if matches!(event, Event::Online { .. } | Event::Offline { .. }) {
            known.link = Some(event.clone());
            known.caught_up = false;
        }
        known.caught_up |= *event == Event::CaughtUp;
        known.readers.retain(|reader| match reader.try_send(event.clone()) {
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
        });
    }

    /// The client has stopped.
    pub(super) fn end(&self) {
        let mut known = self.lock();
        known.ended = true;
        known.readers.clear();
    }
}
