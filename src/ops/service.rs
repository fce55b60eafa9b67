//! What a service manager (systemd, `Type=notify`) is told: up, reloading, stopping, and alive.
//!
//! Says nothing when nobody asked for it in the environment. Deliberately does not decide whether
//! the process is well: who pings has looked.

use std::time::Duration;

use sd_notify::NotifyState;

/// The environment of the service manager. A child process must not inherit it: it would speak for
/// its parent.
pub const ENVIRONMENT: &[&str] = &["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The process takes work; `status` is one line for people.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The process stops in order.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The process is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] has to be said: three times within the manager's patience, so that one that
/// comes late does no harm. `None` when nobody waits for it.
pub fn pulse() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 3).filter(|every| !every.is_zero())
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
