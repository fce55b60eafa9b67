//! Carries the line from this server's edge to this server's home.
//!
//! The counterpart of `peer::link`, without a network. Deliberately the only place where an edge
//! and a home of one process touch.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Edge;
use super::door::{DoorError, HomeDoor, Inlet, Outlet};
use super::router::{ChunkWay, ToHome};
use crate::limits;

/// Carries until the home stops. The home ends an attachment whose outputs nobody took in time;
/// then the sessions are told and it begins again.
pub async fn carry(edge: Arc<Edge>, door: Arc<HomeDoor>) {
    let Some(port) = edge.router().port(edge.id()) else { return };
    loop {
        let (inlet, mut outlet) = door.attach(edge.id().clone());
        let (generation, queue) = port.open();
        port.take_chunks(ChunkWay::Local(door.blobs().clone()));
        let stopped = tokio::select! {
            biased;
            () = deliver(&edge, &mut outlet) => Ok(()),
            stopped = forward(&inlet, queue) => stopped,
        };
        port.close();
        edge.home_lost(edge.id(), generation);
        if stopped.is_err() {
            return;
        }
        sleep(limits::LINK_PAUSE_MIN).await;
    }
}

async fn deliver(edge: &Edge, outlet: &mut Outlet) {
    while let Some(output) = outlet.next().await {
        edge.deliver(edge.id(), &output.to, &output.frame);
    }
}

async fn forward(inlet: &Inlet, mut queue: mpsc::Receiver<ToHome>) -> Result<(), DoorError> {
    while let Some(item) = queue.recv().await {
        let done = match item {
            ToHome::Forward(forward) => inlet.forward(forward).await,
            ToHome::Detach(sid) => inlet.detach(sid).await,
        };
        match done {
            Ok(()) => {}
            Err(DoorError::Malformed(what)) => {
                tracing::error!(what, "the edge let a malformed request through");
            }
            Err(gone @ DoorError::HomeGone(_)) => return Err(gone),
        }
    }
    Ok(())
}
