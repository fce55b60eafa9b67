//! Files as JSON: what a message brings, and how far its bytes have come.

use serde::Serialize;

use crate::client::{FileView, TransferFailure, TransferState};

/// The file of a message.
#[derive(Serialize)]
pub(super) struct File {
    name: String,
    bytes: u64,
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    transfer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl File {
    pub(super) fn new(file: &FileView) -> Self {
        Self {
            name: file.name.clone(),
            bytes: file.bytes,
            media_type: file.media_type.clone(),
            width: file.dimensions.map(|(width, _)| width),
            height: file.dimensions.map(|(_, height)| height),
            transfer: transfer_word(file.transfer),
            reason: transfer_reason(file.transfer),
        }
    }
}

/// How far the bytes of a file have come.
pub(super) fn transfer_word(state: TransferState) -> &'static str {
    match state {
        TransferState::NotFetched => "not_fetched",
        TransferState::Waiting(_) => "waiting",
        TransferState::Running => "running",
        TransferState::Paused => "paused",
        TransferState::Done => "done",
        TransferState::Failed(_) => "failed",
    }
}

/// Why they do not come any further, now or for good.
pub(super) fn transfer_reason(state: TransferState) -> Option<String> {
    let failure = match state {
        TransferState::Failed(failure) => failure,
        TransferState::Waiting(code) => return code.map(|code| code.name().to_lowercase()),
        TransferState::NotFetched
        | TransferState::Running
        | TransferState::Paused
        | TransferState::Done => return None,
    };
    Some(match failure {
        TransferFailure::Server(code) => code.name().to_lowercase(),
        TransferFailure::TooLarge { .. } => "too_large".to_owned(),
        TransferFailure::Quota { .. } => "quota".to_owned(),
        TransferFailure::Gone => "gone".to_owned(),
        TransferFailure::NotTheFile => "not_the_file".to_owned(),
        TransferFailure::CopyLost => "copy_lost".to_owned(),
        TransferFailure::DiskFull => "disk_full".to_owned(),
        TransferFailure::Cancelled => "cancelled".to_owned(),
    })
}
