//! Framed streams over a simulated connection.

use super::*;
use crate::net::stream::ReadError;
use crate::wire::frame::FrameError;

/// A connection, the caller's raw stream, and the server's framed end of it.
struct Pair {
    lab: Lab,
    send: quinn::SendStream,
    reader: FrameReader<ClientFrame>,
    _conns: (quinn::Connection, quinn::Connection),
    _server: quinn::Endpoint,
}

impl Pair {
    async fn new() -> Self {
        let lab = Lab::new();
        let server = lab.server.listen(server_addr(), ListenKind::Client);
        let (conn, answered) = lab.meet(&server).await;
        let mut send = conn.open_bi().await.unwrap().0;
        let (mut bytes, first) = (Vec::new(), look_up(0, 1));
        encode(&first, &mut bytes);
        send.write_all(&bytes).await.unwrap();
        let (reply, recv) = answered.accept_bi().await.unwrap();
        let (mut reader, _) = framed(reply, recv);
        assert_eq!(reader.read().await.unwrap(), Some(first));
        Self { lab, send, reader, _conns: (conn, answered), _server: server }
    }
}

fn encode(frame: &ClientFrame, out: &mut Vec<u8>) {
    let body = prost::Message::encode_to_vec(frame);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&body);
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_the_limit_is_refused_by_its_length_alone() {
    let mut pair = Pair::new().await;
    pair.send.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    let length = u32::MAX as usize;
    let expected = ReadError::Frame(FrameError::TooLarge { length, limit: FRAME_BYTES_MAX });
    assert_eq!(pair.reader.read().await, Err(expected));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_began_has_ten_seconds_and_a_pause_between_frames_has_no_end() {
    let mut pair = Pair::new().await;
    tokio::time::sleep(DEADLINE * 4).await;
    let mut bytes = Vec::new();
    encode(&look_up(1, 100), &mut bytes);
    pair.send.write_all(&bytes).await.unwrap();
    assert_eq!(pair.reader.read().await.unwrap(), Some(look_up(1, 100)));

    pair.send.write_all(&bytes[..3]).await.unwrap();
    let start = pair.lab.net.elapsed();
    let trickle = async {
        // Bytes that keep coming do not buy more time.
        for byte in &bytes[3..] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            pair.send.write_all(&[*byte]).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        outcome = pair.reader.read() => assert_eq!(outcome, Err(ReadError::Timeout)),
        () = trickle => panic!("the frame came through"),
    }
    let waited = pair.lab.net.elapsed() - start;
    assert!((DEADLINE..DEADLINE + Duration::from_secs(1)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_dropped_loses_nothing() {
    let mut pair = Pair::new().await;
    let frames: Vec<_> = (1..=20).map(|rid| look_up(rid, 500)).collect();
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| encode(frame, &mut bytes));
    let trickle = async {
        for piece in bytes.chunks(97) {
            pair.send.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        pair.send.finish().unwrap();
    };
    let read = async {
        let mut got = Vec::new();
        loop {
            match tokio::time::timeout(Duration::from_millis(1), pair.reader.read()).await {
                Ok(Ok(Some(frame))) => got.push(frame),
                Ok(end) => return (got, end),
                Err(_) => {}
            }
        }
    };
    let ((got, end), ()) = tokio::join!(read, trickle);
    assert_eq!(got, frames);
    assert_eq!(end, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_within_a_frame_is_malformed() {
    let mut pair = Pair::new().await;
    pair.send.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
    pair.send.finish().unwrap();
    assert_eq!(pair.reader.read().await, Err(ReadError::Frame(FrameError::Malformed)));
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_is_dropped_goes_on_where_it_was() {
    let lab = Lab::new();
    let _server = lab.serve(ListenKind::Client);
    let conn = lab.connect().await.unwrap();
    let (send, recv) = conn.open_bi().await.unwrap();
    let (mut reader, mut writer) = framed(send, recv);
    let frames: Vec<_> = (1..=40).map(|rid| look_up(rid, 30_000)).collect();
    for frame in &frames {
        writer.push(frame).unwrap();
    }
    assert!(writer.buffered_bytes() > 40 * 30_000);
    let write = async {
        while tokio::time::timeout(Duration::from_millis(1), writer.flush()).await.is_err() {}
        assert_eq!(writer.buffered_bytes(), 0);
    };
    let read = async {
        for frame in &frames {
            assert_eq!(reader.read().await.unwrap().as_ref(), Some(frame));
        }
    };
    tokio::join!(write, read);
    let too_large = writer.push(&look_up(41, FRAME_BYTES_MAX));
    assert!(matches!(too_large, Err(FrameError::TooLarge { .. })));
    assert_eq!(writer.buffered_bytes(), 0);
}
