//! Futures side by side in one task: they end with it, and take no step once it was killed.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

type One<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Some futures; each is polled whenever one of them may have come further.
pub struct Several<'a, T>(Vec<One<'a, T>>);

impl<T> Default for Several<'_, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> std::fmt::Debug for Several<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Several({})", self.0.len())
    }
}

impl<'a, T> Several<'a, T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more.
    pub fn push(&mut self, one: impl Future<Output = T> + Send + 'a) {
        self.0.push(Box::pin(one));
    }

    /// Waits until one of them is done, and takes it out. Never returns while there is none.
    /// Cancel-safe: the others stay as they are.
    pub async fn next(&mut self) -> T {
        poll_fn(|context| {
            let mut done = None;
            self.0.retain_mut(|one| {
                if done.is_some() {
                    return true;
                }
                match one.as_mut().poll(context) {
                    Poll::Ready(value) => {
                        done = Some(value);
                        false
                    }
                    Poll::Pending => true,
                }
            });
            done.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn each_comes_out_once_in_the_order_in_which_they_are_done() {
        let mut several = Several::default();
        let (first, first_done) = oneshot::channel();
        let (second, second_done) = oneshot::channel();
        several.push(async { first_done.await.unwrap() });
        several.push(async { second_done.await.unwrap() });
        second.send(2).unwrap();
        assert_eq!((several.next().await, several.len()), (2, 1));
        first.send(1).unwrap();
        assert_eq!((several.next().await, several.is_empty()), (1, true));
    }
}
