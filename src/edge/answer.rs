//! The frames an edge makes itself: refusals with their code, and the greeting.

use std::time::Duration;

use crate::types::ServerId;
use crate::wire::client::{Closed, Error, Refused, ServerFrame, server_frame::Body};
use crate::wire::{Code, PROTOCOL_VERSION};

/// When to come back after `BUSY` and `HOME_DOWN`; clients add jitter.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A frame with this body.
pub(crate) fn frame(rid: u64, body: Body) -> ServerFrame {
    ServerFrame { rid, optional: false, body: Some(body) }
}

/// An `Error`.
pub(crate) fn error(rid: u64, code: Code, detail: impl Into<String>) -> ServerFrame {
    frame(rid, Body::Error(Error { code: code as u32, detail: detail.into(), ..Error::default() }))
}

/// An `Error` that says when to come back.
pub(crate) fn error_later(
    rid: u64,
    code: Code,
    after: Duration,
    detail: impl Into<String>,
) -> ServerFrame {
    let retry_after_ms = millis(after);
    let detail = detail.into();
    frame(rid, Body::Error(Error { code: code as u32, retry_after_ms, detail, ..Error::default() }))
}

/// The `Error` for a client of another version.
pub(crate) fn version_error(rid: u64) -> ServerFrame {
    frame(
        rid,
        Body::Error(Error {
            code: Code::Version as u32,
            detail: format!("this server speaks version {PROTOCOL_VERSION}"),
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            ..Error::default()
        }),
    )
}

/// Which Open or Append is refused: `n` is 0 for an Open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) log: &'a str,
    pub(crate) open_id: u32,
    pub(crate) n: u64,
}

/// A `Refused`.
pub(crate) fn refused(about: About<'_>, code: Code, detail: impl Into<String>) -> ServerFrame {
    refused_later(about, code, Duration::ZERO, detail)
}

/// A `Refused` that says when to come back.
pub(crate) fn refused_later(
    about: About<'_>,
    code: Code,
    after: Duration,
    detail: impl Into<String>,
) -> ServerFrame {
    frame(
        0,
        Body::Refused(Refused {
            log: about.log.to_owned(),
            open_id: about.open_id,
            n: about.n,
            code: code as u32,
            retry_after_ms: millis(after),
            expected: 0,
            detail: detail.into(),
        }),
    )
}

/// A `Closed`.
pub(crate) fn closed(
    log: &str,
    open_id: u32,
    code: Code,
    detail: impl Into<String>,
) -> ServerFrame {
    let (log, detail) = (log.to_owned(), detail.into());
    frame(0, Body::Closed(Closed { log, open_id, code: code as u32, detail }))
}

/// The `Error` for a home that cannot be reached.
pub(crate) fn home_down(rid: u64, home: &ServerId) -> ServerFrame {
    error_later(rid, Code::HomeDown, RETRY_AFTER, home.as_str())
}

/// Whole milliseconds, at least 1 for anything above zero: "come back in 0 ms" means "never said".
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
