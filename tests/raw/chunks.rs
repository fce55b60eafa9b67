//! Blobs by hand: their requests, and streams of chunks byte by byte.

use bytes::Bytes;
use fastchat::blob::{Shape, hash_chunk};
use fastchat::limits::CHUNK_BYTES_MAX;
use fastchat::types::BlobId;
use fastchat::wire::Code;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::{
    BeginBlob, BlobOffer, ChunkAnswer, ChunkAsk, CommitBlob, GetBlob, GetChunk, PutChunk,
    chunk_ask, server_frame,
};
use prost::Message;
use tokio::time::timeout;

use super::{LONG, Raw};

/// Some bytes that stand for a sealed file.
pub struct Blob {
    pub id: BlobId,
    pub shape: Shape,
    pub chunks: Vec<Bytes>,
}

impl Blob {
    /// So many full chunks and a last one of so many bytes; another one for each seed.
    pub fn of(seed: u8, full: usize, last: usize) -> Self {
        let lengths = std::iter::repeat_n(CHUNK_BYTES_MAX, full).chain((last > 0).then_some(last));
        let chunk = |(number, length): (usize, usize)| {
            let byte = |at: usize| (at % 251) as u8 ^ seed ^ u8::try_from(number).unwrap();
            Bytes::from_iter((0..length).map(byte))
        };
        let chunks: Vec<_> = lengths.enumerate().map(chunk).collect();
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let shape = Shape::made(bytes, chunks.iter().map(|c| hash_chunk(c)).collect()).unwrap();
        Self { id: shape.id(), shape, chunks }
    }

    pub fn begin(&self) -> Ask {
        let (size, hashes) = (self.shape.bytes(), self.shape.hash_bytes().into());
        Ask::BeginBlob(BeginBlob { blob_id: self.wire_id(), size, hashes })
    }

    pub fn commit(&self) -> Ask {
        Ask::CommitBlob(CommitBlob { blob_id: self.wire_id() })
    }

    pub fn info(&self, owner: &str) -> Ask {
        Ask::GetBlob(GetBlob { owner: owner.to_owned(), blob_id: self.wire_id() })
    }

    pub fn wire_id(&self) -> Bytes {
        Bytes::copy_from_slice(&self.id.0)
    }

    pub fn put_ask(&self, index: usize) -> PutChunk {
        let length = u32::try_from(self.chunks[index].len()).unwrap();
        PutChunk { blob_id: self.wire_id(), index: u32::try_from(index).unwrap(), length }
    }

    pub fn get_ask(&self, owner: &str, index: usize) -> GetChunk {
        let index = u32::try_from(index).unwrap();
        GetChunk { owner: owner.to_owned(), blob_id: self.wire_id(), index }
    }

    pub async fn put(&self, conn: &quinn::Connection, index: usize) -> Option<Code> {
        put(conn, self.put_ask(index), &self.chunks[index]).await
    }

    /// Begins the upload and brings all of it, several chunks at a time, and commits it.
    pub async fn upload(&self, raw: &mut Raw) {
        let offer = raw.ask(self.begin()).await;
        assert!(matches!(offer, server_frame::Body::BlobOffer(BlobOffer { .. })), "{offer:?}");
        let puts: Vec<_> = (0..self.chunks.len())
            .map(|index| {
                let (conn, ask) = (raw.conn.clone(), self.put_ask(index));
                let chunk = self.chunks[index].clone();
                tokio::spawn(async move { put(&conn, ask, &chunk).await })
            })
            .collect();
        for put in puts {
            assert_eq!(put.await.unwrap(), None);
        }
        let done = raw.ask(self.commit()).await;
        assert!(matches!(done, server_frame::Body::Done(_)), "{done:?}");
    }

    /// Fetches all of it, several chunks at a time, and compares.
    pub async fn fetch(&self, conn: &quinn::Connection, owner: &str) {
        let gets: Vec<_> = (0..self.chunks.len())
            .map(|index| {
                let (conn, ask) = (conn.clone(), self.get_ask(owner, index));
                tokio::spawn(async move { get(&conn, ask).await })
            })
            .collect();
        for (index, get) in gets.into_iter().enumerate() {
            assert!(get.await.unwrap() == Ok(self.chunks[index].clone()), "chunk {index}");
        }
    }
}

/// A stream of a chunk.
pub struct ChunkStream {
    pub send: quinn::SendStream,
    recv: quinn::RecvStream,
}

impl ChunkStream {
    pub async fn open(conn: &quinn::Connection) -> Self {
        let (send, recv) = timeout(LONG, conn.open_bi()).await.unwrap().unwrap();
        Self { send, recv }
    }

    /// Sends these bytes; whether the server takes them is for the answer to say.
    pub async fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let _ = self.send.write_all(bytes).await;
        self
    }

    pub async fn ask(&mut self, ask: chunk_ask::Body) -> &mut Self {
        self.bytes(&framed(&ChunkAsk { body: Some(ask) }.encode_to_vec())).await
    }

    pub fn finish(&mut self) -> &mut Self {
        let _ = self.send.finish();
        self
    }

    /// Reads the answer to its end; none: the stream was reset before.
    pub async fn whole(&mut self) -> Option<(ChunkAnswer, Bytes)> {
        let mut all = Bytes::from(self.recv.read_to_end(2 * CHUNK_BYTES_MAX).await.ok()?);
        let length = u32::from_be_bytes(all.split_to(4)[..].try_into().unwrap()) as usize;
        let answer = ChunkAnswer::decode(all.split_to(length)).unwrap();
        assert_eq!(answer.length as usize, all.len(), "{answer:?}");
        Some((answer, all))
    }

    /// Reads the answer to its end.
    pub async fn answer(&mut self) -> (ChunkAnswer, Bytes) {
        let all = timeout(LONG, self.whole()).await;
        all.expect("no answer").expect("the stream was lost")
    }

    /// Reads one frame, of whatever kind.
    pub async fn first_frame<M: Message + Default>(&mut self) -> M {
        let mut length = [0; 4];
        timeout(LONG, self.recv.read_exact(&mut length)).await.unwrap().unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        timeout(LONG, self.recv.read_exact(&mut body)).await.unwrap().unwrap();
        M::decode(&body[..]).unwrap()
    }

    /// The code of the answer; none if the chunk was stored, or follows.
    pub async fn code(&mut self) -> Option<Code> {
        code(&self.answer().await.0)
    }
}

pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

fn code(answer: &ChunkAnswer) -> Option<Code> {
    (answer.code != 0).then(|| Code::from_number(answer.code).unwrap())
}

/// Puts a chunk, honestly; none: it was stored.
pub async fn put(conn: &quinn::Connection, ask: PutChunk, bytes: &[u8]) -> Option<Code> {
    let mut stream = ChunkStream::open(conn).await;
    stream.ask(chunk_ask::Body::Put(ask)).await.bytes(bytes).await.finish().code().await
}

/// Gets a chunk.
pub async fn get(conn: &quinn::Connection, ask: GetChunk) -> Result<Bytes, Code> {
    let mut stream = ChunkStream::open(conn).await;
    let (answer, bytes) = stream.ask(chunk_ask::Body::Get(ask)).await.finish().answer().await;
    code(&answer).map_or(Ok(bytes), Err)
}
