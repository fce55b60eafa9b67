//! A second device signs in: what becomes of its profile when the password was mistyped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use fastchat::client::account::{
    self, AccountError, Cluster, IdentitySource, NameStatus, OtherDevice, Where,
};
use fastchat::client::{Profile, Unlocked};
use fastchat::net::{CaCert, Env};
use fastchat::types::UserName;
use processes::Place;

const PASSWORD: &str = "correct horse battery";
const MISTYPED: &str = "correct horse batery";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_mistyped_password_the_right_one_gets_in() {
    let place = Place::new();
    let running = place.start(1);
    let env = Env::system_for_tests();
    let cluster = Cluster {
        at: Where { host: "127.0.0.1".into(), port: place.port },
        id: CaCert::load(&place.path("certs/ca.pem")).unwrap().cluster_id(),
    };
    let alice = UserName::parse("alice").unwrap();
    let first = Profile::open(&env, &place.path("first")).unwrap();
    drop(account::sign_up(&env, first, &cluster, &alice, PASSWORD).await.unwrap());
    let status = account::name_status(&env, &cluster, &alice).await.unwrap();
    assert_eq!(status, NameStatus::Taken);

    let folder = place.path("second");
    let log_in = async |password: &str| -> Result<Unlocked, AccountError> {
        let profile = Profile::open(&env, &folder).unwrap();
        let (identity, other) = (IdentitySource::New, OtherDevice::TakeOver);
        account::log_in(&env, profile, &cluster, &alice, password, identity, other).await
    };
    let refused = log_in(MISTYPED).await;
    assert!(matches!(refused, Err(AccountError::WrongPassword)), "{refused:?}");
    assert!(!folder.join("identity.pem").exists(), "keys that nobody can open");
    log_in(PASSWORD).await.unwrap();
    running.stop();
}
