//! The proof of a password at the home of its account: bcrypt on a bounded pool, and the price of
//! guessing.
//!
//! The server never sees a password, only the auth key stretched from it. Deliberately knows
//! nothing of sessions and tickets; `Resume` does not come here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::answer::RETRY_AFTER;
use super::lock;
use crate::home::{HomeGone, HomeHandle};
use crate::limits::{self, Limits, LimitsInForce};
use crate::net::Env;
use crate::types::UserName;

/// The bcrypt cost of tests and the simulator: the lowest there is.
const CHEAP_COST: u32 = 4;
/// The first delay after too many wrong passwords; it doubles.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// Why a password opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It does not fit.
    #[error("wrong password")]
    Wrong,
    /// No account of that name.
    #[error("no account of that name")]
    NoSuchUser,
    /// The account is there already, with other keys or another password.
    #[error("the name is taken")]
    NameTaken,
    /// Too many wrong ones before; it was not looked at.
    #[error("too many wrong passwords, try again in {} s", .0.as_secs_f32().ceil())]
    SlowDown(Duration),
    /// Too many passwords wait; it was not looked at.
    #[error("too many logins at once, try again in {} s", .0.as_secs_f32().ceil())]
    Busy(Duration),
    /// The home stopped.
    #[error(transparent)]
    HomeGone(#[from] HomeGone),
    /// bcrypt could not do it; a bug, or a damaged verifier.
    #[error("the password could not be checked")]
    Internal,
}

/// What a sign-up turned out to be.
#[derive(Clone, PartialEq, Eq)]
pub enum SignUp {
    /// A new name, with the verifier to store.
    New {
        /// bcrypt hash of the auth key.
        verifier: String,
    },
    /// The account was made by this very request before, whose answer was lost.
    Again,
}

/// What a change of password turned out to be. Without `Debug`: a verifier is nobody's business.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// The old one is proven.
    New {
        /// What it was proven against.
        proven: String,
        /// bcrypt hash of the new auth key.
        verifier: String,
    },
    /// It was made by this very request before, whose answer was lost.
    Again,
}

/// The password pool of one home.
pub struct Passwords {
    env: Env,
    limits: LimitsInForce,
    home: HomeHandle,
    /// One permit per thread.
    threads: Semaphore,
    /// One permit per password that may wait or be worked on.
    queue: Semaphore,
    attempts: Mutex<Attempts>,
}

impl Passwords {
    /// A pool of half the cores, at least one.
    pub fn new(env: &Env, limits: Arc<Limits>, home: HomeHandle) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if env.is_simulated() { 1 } else { (cores / 2).max(1) };
        Self {
            env: env.clone(),
            threads: Semaphore::new(threads),
            queue: Semaphore::new(threads + limits.password_queue_max as usize),
            attempts: Mutex::new(Attempts::new(&limits)),
            limits: LimitsInForce::new(Limits::clone(&limits)),
            home,
        }
    }

    /// Puts other limits into force. The length of the queue stays as it was.
    pub fn set_limits(&self, limits: &Limits) {
        let _ = self.limits.replace(limits.clone());
        let mut attempts = lock(&self.attempts);
        attempts.free = limits.password_failures_free;
        attempts.delay_max = Duration::from_secs(limits.password_delay_max_s);
    }

    /// Proves the password of an account.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn login(
        &self,
        user: &UserName,
        auth_key: Zeroizing<String>,
    ) -> Result<(), PasswordError> {
        self.proven(user, auth_key).await.map(drop)
    }

    /// Proves the password of an account, and says against what.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn proven(
        &self,
        user: &UserName,
        auth_key: Zeroizing<String>,
    ) -> Result<String, PasswordError> {
        let stored = self.home.verifier(user).await?.ok_or(PasswordError::NoSuchUser)?;
        self.prove(user, auth_key, stored.hash.clone()).await?;
        Ok(stored.hash)
    }

    /// Proves the old password and makes the verifier of the new one.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn change(
        &self,
        user: &UserName,
        old: Zeroizing<String>,
        new: Zeroizing<String>,
    ) -> Result<Change, PasswordError> {
        let stored = self.home.verifier(user).await?.ok_or(PasswordError::NoSuchUser)?;
        let keys = vec![old, new.clone()];
        match self.prove_one_of(user, keys, stored.hash.clone()).await? {
            0 => Ok(Change::New { proven: stored.hash, verifier: self.hash(new).await? }),
            _ => Ok(Change::Again),
        }
    }

    /// Makes the verifier of a new account; or proves the password, when the account is there
    /// with the same bundle.
    ///
    /// # Errors
    /// [`PasswordError`]; `NameTaken` covers a wrong password too, for the name is somebody's.
    pub async fn sign_up(
        &self,
        user: &UserName,
        auth_key: Zeroizing<String>,
        bundle: &Bytes,
    ) -> Result<SignUp, PasswordError> {
        match self.home.verifier(user).await? {
            None => {
                let verifier = self.hash(auth_key).await?;
                Ok(SignUp::New { verifier })
            }
            Some(stored) if stored.bundle == *bundle => {
                match self.prove(user, auth_key, stored.hash).await {
                    Ok(()) => Ok(SignUp::Again),
                    Err(PasswordError::Wrong) => Err(PasswordError::NameTaken),
                    Err(other) => Err(other),
                }
            }
            Some(_) => Err(PasswordError::NameTaken),
        }
    }

    async fn hash(&self, auth_key: Zeroizing<String>) -> Result<String, PasswordError> {
        let cost = if self.env.cheap_crypto() { CHEAP_COST } else { self.limits.bcrypt_cost };
        let hash = move || bcrypt::non_truncating_hash(auth_key.as_bytes(), cost);
        self.work(hash).await?.map_err(|_| PasswordError::Internal)
    }

    async fn prove(
        &self,
        user: &UserName,
        auth_key: Zeroizing<String>,
        hash: String,
    ) -> Result<(), PasswordError> {
        self.prove_one_of(user, vec![auth_key], hash).await.map(drop)
    }

    /// Which of these fits; one attempt. Counted as wrong before it is looked at, so that many at
    /// once are no way around the delay.
    async fn prove_one_of(
        &self,
        user: &UserName,
        auth_keys: Vec<Zeroizing<String>>,
        hash: String,
    ) -> Result<usize, PasswordError> {
        lock(&self.attempts).begin(user, Instant::now()).map_err(PasswordError::SlowDown)?;
        let verify = move || first_that_fits(&auth_keys, &hash);
        match self.work(verify).await {
            Ok(Ok(Some(index))) => {
                lock(&self.attempts).succeeded(user);
                Ok(index)
            }
            Ok(Ok(None)) => Err(PasswordError::Wrong),
            Ok(Err(_)) => Err(PasswordError::Internal),
            Err(busy) => {
                lock(&self.attempts).withdraw(user, Instant::now());
                Err(busy)
            }
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let busy = PasswordError::Busy(RETRY_AFTER);
        let _place = self.queue.try_acquire().map_err(|_| busy)?;
        // The semaphore is never closed.
        let _thread = self.threads.acquire().await.map_err(|_| busy)?;
        Ok(self.env.blocking(work).await)
    }
}

fn first_that_fits(
    auth_keys: &[Zeroizing<String>],
    hash: &str,
) -> Result<Option<usize>, bcrypt::BcryptError> {
    for (index, auth_key) in auth_keys.iter().enumerate() {
        if bcrypt::non_truncating_verify(auth_key.as_bytes(), hash)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Wrong passwords per account, at most [`limits::PASSWORD_FAILURES_TRACKED_MAX`] accounts.
#[derive(Debug)]
struct Attempts {
    free: u32,
    delay_max: Duration,
    failures: BTreeMap<UserName, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    not_before: Instant,
}

impl Attempts {
    fn new(limits: &Limits) -> Self {
        Self {
            free: limits.password_failures_free,
            delay_max: Duration::from_secs(limits.password_delay_max_s),
            failures: BTreeMap::new(),
        }
    }

    fn begin(&mut self, user: &UserName, now: Instant) -> Result<(), Duration> {
        let earlier = self.failures.get(user).copied();
        if let Some(Failures { not_before, .. }) = earlier
            && not_before > now
        {
            return Err(not_before.saturating_duration_since(now));
        }
        if earlier.is_none() {
            self.make_room();
        }
        let count = earlier.map_or(0, |failures| failures.count).saturating_add(1);
        let not_before = now + self.delay_after(count);
        self.failures.insert(user.clone(), Failures { count, not_before });
        Ok(())
    }

    fn delay_after(&self, count: u32) -> Duration {
        match count.checked_sub(self.free.max(1)) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
                FIRST_DELAY.saturating_mul(factor).min(self.delay_max)
            }
        }
    }

    fn succeeded(&mut self, user: &UserName) {
        self.failures.remove(user);
    }

    fn withdraw(&mut self, user: &UserName, now: Instant) {
        if let Some(failures) = self.failures.get_mut(user) {
            failures.count = failures.count.saturating_sub(1);
            failures.not_before = now;
        }
    }

    /// Forgets the account whose delay is over first.
    fn make_room(&mut self) {
        if self.failures.len() < limits::PASSWORD_FAILURES_TRACKED_MAX {
            return;
        }
        let first = self.failures.iter().min_by_key(|(_, failures)| failures.not_before);
        if let Some(user) = first.map(|(user, _)| user.clone()) {
            self.failures.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::canonical(name).unwrap()
    }

    #[test]
    fn five_wrong_passwords_are_free_then_each_costs_a_doubling_delay() {
        let mut attempts = Attempts::new(&Limits::default());
        let mut now = Instant::now();
        let alice = user("alice");
        for _ in 0..5 {
            assert_eq!(attempts.begin(&alice, now), Ok(()));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let delay = Duration::from_secs(seconds);
            assert_eq!(attempts.begin(&alice, now), Err(delay));
            now += delay;
            assert_eq!(attempts.begin(&alice, now), Ok(()));
        }
        assert_eq!(attempts.begin(&user("bob"), now), Ok(()));
    }

    #[test]
    fn a_right_password_resets_the_delay() {
        let mut attempts = Attempts::new(&Limits::default());
        let now = Instant::now();
        let alice = user("alice");
        for _ in 0..5 {
            assert_eq!(attempts.begin(&alice, now), Ok(()));
        }
        assert!(attempts.begin(&alice, now).is_err());
        attempts.succeeded(&alice);
        assert_eq!(attempts.begin(&alice, now), Ok(()));
    }

    #[test]
    fn a_password_nobody_looked_at_does_not_count() {
        let mut attempts = Attempts::new(&Limits::default());
        let now = Instant::now();
        let alice = user("alice");
        for _ in 0..20 {
            assert_eq!(attempts.begin(&alice, now), Ok(()));
            attempts.withdraw(&alice, now);
        }
    }

    #[test]
    fn no_more_accounts_are_counted_than_the_limit() {
        let mut attempts = Attempts::new(&Limits::default());
        let now = Instant::now();
        for number in 0..limits::PASSWORD_FAILURES_TRACKED_MAX + 5 {
            assert_eq!(attempts.begin(&user(&format!("u{number}")), now), Ok(()));
        }
        assert_eq!(attempts.failures.len(), limits::PASSWORD_FAILURES_TRACKED_MAX);
    }
}
