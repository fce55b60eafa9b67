//! Frames, events and callers, without a cluster.

use crate::client::{Event, Offline};
use crate::limits::SOCKET_FRAME_BYTES_MAX;

use super::call::Progress;
use super::caller::{Caller, Facts, Question};
use super::events::Events;
use super::frame::{self, Frame, Tag};
use super::serve::next_caller;

#[tokio::test]
async fn a_frame_of_the_greatest_length_passes_and_a_longer_one_does_not() {
    let (mut one, mut other) = tokio::io::duplex(2 * SOCKET_FRAME_BYTES_MAX);
    frame::write(&mut one, &Frame::new(Tag::Out, vec![7; SOCKET_FRAME_BYTES_MAX])).await.unwrap();
    let read = frame::read(&mut other).await.unwrap().unwrap();
    assert_eq!((read.tag, read.bytes.len()), (Tag::Out, SOCKET_FRAME_BYTES_MAX));
    let long = vec![7; SOCKET_FRAME_BYTES_MAX + 1];
    frame::write(&mut one, &Frame::new(Tag::Out, long)).await.unwrap();
    assert!(frame::read(&mut other).await.is_err());
}

#[tokio::test]
async fn bytes_that_are_no_frame_and_half_a_frame_are_refused_and_an_end_is_an_end() {
    for (bytes, ends_well) in
        [(&b""[..], true), (b"GET / HTTP/1.1", false), (b"\x05\0\0\0\x09half", false)]
    {
        let read = frame::read(&mut &*bytes).await;
        assert_eq!(matches!(read, Ok(None)), ends_well, "{bytes:?}");
        assert_eq!(read.is_err(), !ends_well, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_late_reader_of_events_is_told_how_things_stand() {
    let server = crate::types::ServerId::numbered(1);
    let (online, offline) =
        (Event::Online { server }, Event::Offline { reason: Offline::Unreachable });
    let events = Events::default();
    let mut early = events.subscribe();
    for event in [&offline, &online, &Event::Lines, &Event::CaughtUp] {
        events.pass(event);
    }
    let mut late = events.subscribe();
    assert_eq!(late.recv().await, Some(online));
    assert_eq!(late.recv().await, Some(Event::CaughtUp));
    events.pass(&offline);
    assert_eq!(late.recv().await, Some(offline.clone()));
    // Offline again: nobody new is told that everything is there.
    assert_eq!(events.subscribe().try_recv(), Ok(offline.clone()));
    for _ in 0..5 {
        early.recv().await.unwrap();
    }
    events.end();
    assert_eq!(early.recv().await, None);
    assert!(late.recv().await.is_none());
}

#[tokio::test]
async fn a_line_is_written_while_a_question_is_open() {
    let facts = Facts {
        folder: "/".into(),
        profile: crate::types::UserName::parse("alice").unwrap(),
        server: None,
        can_ask: false,
        input_is_terminal: false,
        error_is_terminal: false,
        json: false,
        plain: false,
        coloured: false,
        quiet: false,
        zone: None,
        timeout: std::time::Duration::from_secs(1),
        trust: crate::ui::line::TrustPolicy::Tofu,
        password_file: None,
    };
    let (frames, mut queue) = tokio::sync::mpsc::channel(4);
    let (answers, answered) = tokio::sync::mpsc::channel(1);
    let (flushed, written) = tokio::sync::mpsc::channel(1);
    let caller = Caller::new(facts, frames, answered, written);
    let far_end = async {
        assert_eq!(queue.recv().await.unwrap().tag, Tag::Ask);
        // Nothing is answered until the line is through.
        assert_eq!(queue.recv().await.unwrap().tag, Tag::Out);
        flushed.send(()).await.unwrap();
        answers.send(Some(b"typed at last".to_vec().into())).await.unwrap();
    };
    let (input, out, ()) =
        tokio::join!(caller.ask(&Question::Input), caller.out("sent to bob"), far_end);
    assert_eq!(input.unwrap().as_slice(), b"typed at last");
    out.unwrap();
}

#[test]
fn what_nobody_began_may_be_done_again_and_what_was_begun_may_be_kept() {
    let said = |progress: Progress| progress.left().failure;
    assert!(said(Progress::Asked).what.contains("Nothing was done"));
    assert!(said(Progress::Begun).what.contains("is kept"));
    assert_eq!(said(Progress::Asked).exit, said(Progress::Begun).exit);
}

#[tokio::test]
async fn a_caller_too_many_waits_for_a_place_and_is_not_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let _one = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut other = tokio::net::UnixStream::connect(&path).await.unwrap();
    let (_, place) = next_caller(&listener, &places).await.unwrap();
    tokio::select! {
        biased;
        _ = next_caller(&listener, &places) => panic!("there is no place"),
        () = tokio::task::yield_now() => {}
    }
    drop(place);
    let (mut stream, _place) = next_caller(&listener, &places).await.unwrap();
    frame::write(&mut stream, &Frame::new(Tag::Exit, [0])).await.unwrap();
    assert_eq!(frame::read(&mut other).await.unwrap().unwrap().tag, Tag::Exit);
}
