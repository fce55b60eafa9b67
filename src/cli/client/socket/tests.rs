//! Frames, events and callers, without a cluster.

use crate::client::{Event, Offline};
use crate::limits::SOCKET_FRAME_BYTES_MAX;

use super::events::Events;
use super::frame::{self, Frame, Tag};

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
