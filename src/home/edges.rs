//! The way back to the edges: one bounded channel each, and who is attached.
//!
//! Deliberately knows nothing of what it carries.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::live::{EdgeNumber, Place};
use super::request::Output;
use crate::limits::EDGE_OUTPUTS_MAX;
use crate::types::{LogName, ServerId};

/// Outputs towards one edge up to which entries are pushed; the rest of the channel is for answers.
/// With entries of 64 KiB these are 64 MiB.
const PUSHES_QUEUED_MAX: usize = EDGE_OUTPUTS_MAX / 16;

/// One life of an edge's link: calls of an earlier one are stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u64);

/// Attachments as the callers make them, picked up by the writer before each batch.
#[derive(Default)]
pub(super) struct Attachments {
    inner: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    closed: bool,
    last: Generation,
    attached: BTreeMap<ServerId, Generation>,
    arrived: Vec<Arrival>,
}

/// An edge that attached and is not known to the writer yet.
pub(super) struct Arrival {
    edge: ServerId,
    generation: Generation,
    sender: mpsc::Sender<Output>,
}

impl Attachments {
    pub(super) fn attach(&self, edge: ServerId) -> mpsc::Receiver<Output> {
        let (sender, receiver) = mpsc::channel(EDGE_OUTPUTS_MAX);
        let mut desk = self.desk();
        if !desk.closed {
            desk.last = Generation(desk.last.0 + 1);
            let generation = desk.last;
            desk.attached.insert(edge.clone(), generation);
            // Bounded by the writer's pace: an edge attaches again only after a link broke.
            desk.arrived.retain(|earlier| earlier.edge != edge);
            desk.arrived.push(Arrival { edge, generation, sender });
        }
        receiver
    }

    /// The current link of an edge; `None`: it never attached.
    pub(super) fn generation(&self, edge: &ServerId) -> Option<Generation> {
        self.desk().attached.get(edge).copied()
    }

    pub(super) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.desk().arrived)
    }

    /// The home is gone: every receiver ends, also those of later attachments.
    pub(super) fn close(&self) {
        let mut desk = self.desk();
        desk.closed = true;
        desk.arrived.clear();
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Edge {
    id: ServerId,
    generation: Generation,
    /// `None` after it broke, until the edge attaches again.
    sender: Option<mpsc::Sender<Output>>,
    /// Readers that wait for room.
    stalled: Vec<(LogName, Place)>,
}

/// All edges that ever attached; there are as many as servers in the cluster.
#[derive(Default)]
pub(super) struct Edges {
    numbers: BTreeMap<ServerId, EdgeNumber>,
    edges: Vec<Edge>,
    broken: Vec<EdgeNumber>,
}

impl Edges {
    /// Makes an arrival the edge's current link. What the earlier one had must be ended.
    pub(super) fn arrive(&mut self, arrival: Arrival) -> EdgeNumber {
        let Arrival { edge: id, generation, sender } = arrival;
        let number = *self.numbers.entry(id.clone()).or_insert(EdgeNumber(self.edges.len()));
        let edge = Edge { id, generation, sender: Some(sender), stalled: Vec::new() };
        match self.edges.get_mut(number.0) {
            Some(known) => *known = edge,
            None => self.edges.push(edge),
        }
        number
    }

    /// The edge whose link this is; `None` when the link is not the current one or is broken.
    pub(super) fn current(&self, edge: &ServerId, generation: Generation) -> Option<EdgeNumber> {
        let number = *self.numbers.get(edge)?;
        let edge = self.edges.get(number.0)?;
        (edge.generation == generation && edge.sender.is_some()).then_some(number)
    }

    pub(super) fn id(&self, number: EdgeNumber) -> Option<&ServerId> {
        self.edges.get(number.0).map(|edge| &edge.id)
    }

    /// Queues an output. A link that takes no more is broken, so that nothing is lost in silence.
    pub(super) fn send(&mut self, to: EdgeNumber, output: Output) {
        let Some(edge) = self.edges.get_mut(to.0) else { return };
        let Some(sender) = &edge.sender else { return };
        if sender.try_send(output).is_err() {
            tracing::warn!(edge = %edge.id, "an edge does not take its answers: link broken");
            edge.sender = None;
            self.broken.push(to);
        }
    }

    /// Whether entries may be pushed towards an edge now.
    pub(super) fn has_room(&self, number: EdgeNumber) -> bool {
        self.room(number) > 0
    }

    /// How many entries may be pushed towards an edge now.
    pub(super) fn room(&self, number: EdgeNumber) -> usize {
        let sender = self.edges.get(number.0).and_then(|edge| edge.sender.as_ref());
        sender.map_or(0, |sender| {
            PUSHES_QUEUED_MAX.saturating_sub(sender.max_capacity() - sender.capacity())
        })
    }

    /// Lets a reader wait for room. Returns whether it is the first that does.
    pub(super) fn stall(&mut self, reader: (LogName, Place)) -> Waiting {
        let Some(edge) = self.edges.get_mut(reader.1.edge.0) else { return Waiting::Already };
        edge.stalled.push(reader);
        if edge.stalled.len() == 1 { Waiting::First } else { Waiting::Already }
    }

    /// The readers that waited for room.
    pub(super) fn take_stalled(&mut self, number: EdgeNumber) -> Vec<(LogName, Place)> {
        self.edges
            .get_mut(number.0)
            .map(|edge| std::mem::take(&mut edge.stalled))
            .unwrap_or_default()
    }

    /// Links that broke since the last time: outputs piled up, or nobody listens any more.
    pub(super) fn take_broken(&mut self) -> Vec<EdgeNumber> {
        for (index, edge) in self.edges.iter_mut().enumerate() {
            if edge.sender.as_ref().is_some_and(mpsc::Sender::is_closed) {
                edge.sender = None;
                self.broken.push(EdgeNumber(index));
            }
        }
        std::mem::take(&mut self.broken)
    }
}

/// Whether somebody waits for room towards an edge already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Now, for the first time.
    First,
    /// Yes.
    Already,
}
