//! A value that an operator may replace while the process runs: its certificate, its limits.
//!
//! Whoever holds a clone sees the new value; what was begun with the old one goes on. Deliberately
//! reads no file.

use std::sync::Arc;

use tokio::sync::watch;

/// The value in force now. Cheap to clone; all clones are the same value.
#[derive(Clone, Debug)]
pub struct Live<T>(Arc<watch::Sender<T>>);

impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(watch::Sender::new(value)))
    }
}

impl<T: Clone> Live<T> {
    /// The value now.
    pub fn now(&self) -> T {
        self.0.borrow().clone()
    }

    /// Puts another value into force.
    pub fn replace(&self, value: T) {
        self.0.send_replace(value);
    }

    /// The values from now on.
    pub fn changes(&self) -> watch::Receiver<T> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replaced_value_is_seen_by_every_clone_and_told_to_who_waits() {
        let one = Live::from(1);
        let other = one.clone();
        let mut changes = other.changes();
        one.replace(2);
        assert_eq!(other.now(), 2);
        changes.changed().await.unwrap();
        assert_eq!(*changes.borrow(), 2);
    }
}
