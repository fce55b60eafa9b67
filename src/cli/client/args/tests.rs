//! The command line is understood as it is documented.

use super::*;
use clap::CommandFactory as _;

fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(std::iter::once(&"client").chain(words))
}

#[test]
fn the_tree_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_global_option_works_before_and_after_the_command() {
    for words in [
        &["--json", "-p", "bob", "--timeout", "2", "send", "alice", "hi"][..],
        &["send", "alice", "hi", "--json", "-p", "bob", "--timeout", "2"],
        &["-p", "bob", "send", "--json", "alice", "--timeout", "2", "hi"],
    ] {
        let arguments = parse(words).unwrap();
        assert!(arguments.globals.json);
        assert_eq!(arguments.globals.profile.unwrap().as_str(), "bob");
        assert_eq!(arguments.globals.timeout, Duration::from_secs(2));
        let Some(Command::Send(send)) = arguments.command else { panic!("{words:?}") };
        assert_eq!((send.to.0.as_str(), send.text), ("alice", vec!["hi".to_owned()]));
    }
}

#[test]
fn host_and_port_stand_beside_commands() {
    let arguments = parse(&["127.0.0.1", "9000", "--ca", "ab"]).unwrap();
    assert_eq!(arguments.host.as_deref(), Some("127.0.0.1"));
    assert_eq!(arguments.port.as_deref(), Some("9000"));
    assert!(arguments.command.is_none());
    // A mistyped command comes in as a host, to be judged with a better answer.
    assert_eq!(parse(&["sned", "alice"]).unwrap().host.as_deref(), Some("sned"));
}

#[test]
fn a_password_is_never_an_argument() {
    assert!(parse(&["--password", "secret", "whoami"]).is_err());
    assert!(parse(&["--password-file", "f", "--password-fd", "3", "whoami"]).is_err());
}

#[test]
fn addresses_are_judged() {
    for (text, host) in [
        ("127.0.0.1:9000", "127.0.0.1"),
        ("[::1]:9000", "::1"),
        ("chat.example:9000", "chat.example"),
    ] {
        assert_eq!(parse_where(text).unwrap(), Where { host: host.into(), port: 9000 });
    }
    for bad in ["", "host", ":9000", "host:0", "host:70000", "ho st:1", "host:x", "[host]:1"] {
        assert!(parse_where(bad).is_err(), "{bad}");
    }
}

#[test]
fn durations_and_moments_are_as_people_write_them() {
    assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
    assert_eq!(duration("2h 30m"), Ok(Duration::from_secs(9_000)));
    assert_eq!(duration("7 days"), Ok(Duration::from_secs(604_800)));
    for bad in ["", "soon", "-1h", "7"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
    assert_eq!(life("1s"), Ok(Duration::from_secs(1)));
    for bad in ["0s", "10ms", "366 days"] {
        assert!(life(bad).is_err(), "{bad}");
    }
    let now: jiff::Zoned = "2026-11-20T12:00[Europe/Helsinki]".parse().unwrap();
    let at = |text: &str| moment(text, &now).map(crate::ui::time::rfc3339);
    assert_eq!(at("2026-11-20").as_deref(), Some("2026-11-19T22:00:00.000Z"));
    assert_eq!(at("2026-11-20T11:30").as_deref(), Some("2026-11-20T09:30:00.000Z"));
    assert_eq!(at("2026-11-20T11:30Z").as_deref(), Some("2026-11-20T11:30:00.000Z"));
    assert_eq!(at("2h").as_deref(), Some("2026-11-20T08:00:00.000Z"));
    assert_eq!(at("yesterday"), None);
}

#[test]
fn seconds_and_policies_are_judged() {
    assert!(parse(&["--timeout", "0", "whoami"]).is_err());
    assert!(parse(&["--timeout", "NaN", "whoami"]).is_err());
    assert!(parse(&["--trust", "any", "whoami"]).is_err());
    let policy = parse(&["whoami", "--trust", "verified"]).unwrap().globals.trust;
    assert_eq!(policy, TrustPolicy::Verified);
}
