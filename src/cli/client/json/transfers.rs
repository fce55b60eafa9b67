//! Files on their way as JSON.

use serde::Serialize;

use crate::client::{Direction, TransferView};
use crate::ui::files;

/// How far a file is.
#[derive(Serialize)]
pub(in crate::cli::client) struct TransferLine {
    id: String,
    chat: String,
    direction: &'static str,
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    percent: u64,
    done_bytes: u64,
    total_bytes: u64,
    bytes_per_s: u64,
}

impl TransferLine {
    pub(in crate::cli::client) fn new(view: &TransferView) -> Self {
        Self {
            id: view.id.to_string(),
            chat: view.chat.to_string(),
            direction: match view.direction {
                Direction::Up => "up",
                Direction::Down => "down",
            },
            name: view.name.clone(),
            state: files::state_word(view.state),
            reason: files::reason_word(view.state),
            percent: files::percent(view),
            done_bytes: view.done_bytes,
            total_bytes: view.total_bytes,
            bytes_per_s: view.bytes_per_s,
        }
    }
}
