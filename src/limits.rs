//! Every bound of the product, unit last in the name, and the relations between them.
//!
//! The constants are the defaults and the fixed numbers; [`Limits`] holds those that an operator's
//! limits file may change. Sources and reasons: `docs/SECURITY.md`, section "Limits".

use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Slots of the placement map. Fixed for ever: it decides where a name lives.
pub const SLOTS: u16 = 1024;
/// Bytes of a user name.
pub const NAME_BYTES_MAX: usize = 32;
/// Bytes of a server id.
pub const SERVER_ID_BYTES_MAX: usize = 16;
/// Servers in one cluster started by `load_balancer`: peer ports are 100 above client ports.
pub const SERVERS_MAX: u16 = 99;
/// Distance between a server's client port and its peer port.
pub const PEER_PORT_OFFSET: u16 = 100;

/// Bytes of one frame on the session stream.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one frame between servers: a client's frame and its addressing.
pub const PEER_FRAME_BYTES_MAX: usize = OPERATION_FRAME_BYTES_MAX + 16 * 1024;
/// Bytes of an encoded envelope: a frame less its own fields.
pub const ENVELOPE_BYTES_MAX: usize = FRAME_BYTES_MAX - 256;
/// Bytes of one text, before padding and encryption. Leaves room for header, key and padding.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Bytes of an encoded signed bundle.
pub const BUNDLE_BYTES_MAX: usize = 16 * 1024;
/// Devices in one bundle, retired ones included.
pub const BUNDLE_DEVICES_MAX: usize = 32;
/// Names in one answer to `Who`.
pub const WHO_USERS_MAX: usize = 1_000;

/// Unanswered appends of a client per log.
pub const UNANSWERED_PER_LOG_MAX: usize = 64;
/// Unanswered appends of a session that an edge accepts.
pub const UNANSWERED_PER_SESSION_MAX: usize = 256;
/// Hashes of past appends kept per (log, author, device), to answer a repeated one.
pub const PRODUCER_HASHES_KEPT: usize = 64;
/// Entries pushed beyond a session's cursor before the home waits for the cursor.
pub const ENTRIES_BEYOND_CURSOR_MAX: u64 = 256;
/// Requests by `rid` of one session that may wait for their answer.
pub const PENDING_PER_SESSION_MAX: usize = 128;
/// Logs one session may have open.
pub const OPENS_PER_SESSION_MAX: usize = 4 * 1024;
/// How long an answer to `Who` waits for a server before it names it as missing.
pub const WHO_DEADLINE: Duration = Duration::from_secs(2);
/// Malformed frames of one connection are counted over this time.
pub const MALFORMED_WINDOW: Duration = Duration::from_secs(600);
/// Addresses whose rates an edge counts; a flood from more has to wait.
pub const ADDRESSES_TRACKED_MAX: usize = 64 * 1024;
/// Users whose wrong passwords a home counts.
pub const PASSWORD_FAILURES_TRACKED_MAX: usize = 16 * 1024;
/// Frames that may wait on the link to one home before senders are told `BUSY`.
pub const LINK_QUEUE_MAX: usize = 4 * 1024;
/// Bytes an edge holds for one session before it closes the session's logs.
pub const SESSION_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// Outputs a home holds for one edge before it breaks that link.
pub const EDGE_OUTPUTS_MAX: usize = 16 * 1024;
/// Requests that may wait at a home's writer before senders are told `BUSY`.
pub const WRITER_QUEUE_MAX: usize = 8 * 1024;
/// Operations in one transaction of the writer.
pub const WRITER_BATCH_MAX: usize = 512;

/// How long news of somebody's coming or going wait: who is back by then never went.
pub const PRESENCE_PAUSE: Duration = Duration::from_secs(1);
/// Connections of one home that are told of it at a time.
pub const PRESENCE_PUSHES_MAX: usize = 1_024;
/// Bytes of a datagram, one way or the other.
pub const DATAGRAM_BYTES_MAX: usize = 128;
/// Bytes of datagrams that wait in one connection, each way; older ones are dropped.
pub const DATAGRAM_BUFFER_BYTES: usize = 2 * 1024;
/// Notices that somebody is writing that a server takes per recipient: clients send fewer, the
/// rest is slack.
pub const TYPING_ACCEPTED_INTERVAL: Duration = Duration::from_millis(2_500);
/// Recipients of such notices that one session may have within that time.
pub const TYPING_RECIPIENTS_MAX: usize = 16;
/// Such notices that may wait for one client before more are dropped.
pub const TYPING_QUEUE_MAX: usize = 16;

/// Edges in one answer of the balancer.
pub const EDGES_PER_ANSWER_MAX: usize = 3;
/// Life of an admission ticket.
pub const TICKET_LIFE: Duration = Duration::from_secs(60);
/// Used admission tickets that a server remembers until they expire.
pub const TICKETS_REMEMBERED_MAX: usize = 64 * 1024;
/// Quiet time after which a client's cursor is sent at the latest.
pub const CURSOR_INTERVAL: Duration = Duration::from_millis(50);
/// First pause of a reconnecting client; doubles with full jitter up to [`RECONNECT_PAUSE_MAX`].
pub const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause of a reconnecting client.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest pause of a log whose sender was told to wait.
pub const LOG_PAUSE_MAX: Duration = Duration::from_secs(600);
/// First pause of a server that lost its link to another; doubles up to [`LINK_PAUSE_MAX`].
pub const LINK_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between two attempts to reach another server.
pub const LINK_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a closing connection waits for its last frame to arrive.
pub const LAST_FRAME_DEADLINE: Duration = Duration::from_millis(500);
/// Free disk below which a server says that it takes no work; on small disks a twentieth of them.
pub const DISK_FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// How long an orderly stop may take.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Members of a group.
pub const GROUP_MEMBERS_MAX: usize = 256;
/// Groups of a user.
pub const GROUPS_PER_USER_MAX: usize = 256;
/// Invitations of a group that live at the same time, its password among them.
pub const GROUP_INVITES_MAX: usize = 16;
/// Bytes of a group's title.
pub const TITLE_BYTES_MAX: usize = 128;
/// Bytes of a group's topic.
pub const TOPIC_BYTES_MAX: usize = 512;
/// Bytes of an encoded signed operation: a new key for every member of a full group, whatever keys
/// they have. With less, people with the longest keys could fill a group that nobody can be put
/// out of any more.
pub const OPERATION_BYTES_MAX: usize = 160 * 1024;
/// Bytes of a frame that carries operations.
pub const OPERATION_FRAME_BYTES_MAX: usize = OPERATION_BYTES_MAX + 1024;
/// Notices that somebody is writing which a group's home hands on in a second.
pub const TYPING_PER_GROUP_PER_S: u32 = 4;
/// How long a group keeps messages that not every member has read.
pub const GROUP_ENTRY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a nonce counts, and how long a proven invitation opens the roster to a session.
pub const JOIN_GRANT_LIFE: Duration = Duration::from_secs(60);
/// Wrong invitations of one person for one group before each further one costs a doubling delay.
pub const WRONG_INVITES_FREE: u32 = 5;
/// The first such delay.
pub const WRONG_INVITE_DELAY_MIN: Duration = Duration::from_secs(1);
/// The longest such delay.
pub const WRONG_INVITE_DELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// Connections that join groups, and wrong invitations, that a home remembers.
pub const JOINS_TRACKED_MAX: usize = 16 * 1024;
/// Operations and pages of operations that one session may wait for at once.
pub const OPERATIONS_PENDING_MAX: usize = 8;

/// Bytes of a file that can be sent.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a file in one chunk of its blob; the last has what is left.
pub const CHUNK_PLAIN_BYTES: usize = 256 * 1024;
/// Bytes of a chunk in one Fernet token. Tokens of 256 KiB seal and open more slowly.
pub const TOKEN_PLAIN_BYTES: usize = 64 * 1024;
/// Bytes that a token adds to as many as divide by 16: version, time, vector, padding, HMAC.
pub const TOKEN_OVERHEAD_BYTES: usize = 1 + 8 + 16 + 16 + 32;
/// Bytes of a full sealed chunk.
pub const CHUNK_BYTES_MAX: usize =
    CHUNK_PLAIN_BYTES / TOKEN_PLAIN_BYTES * (TOKEN_PLAIN_BYTES + TOKEN_OVERHEAD_BYTES);
/// Chunks of one blob.
pub const CHUNKS_MAX: usize = (FILE_BYTES_MAX / CHUNK_PLAIN_BYTES as u64) as usize;
/// Chunks written before the system is asked to put them on the disk.
pub const CHUNKS_WRITTEN_TOGETHER: u32 = 4;
/// Bytes of the frame that begins a chunk's stream, in either direction.
pub const CHUNK_FRAME_BYTES_MAX: usize = 512;
/// Uploads that a home knows without looking at their files; more are begun again.
pub const UPLOADS_OPEN_MAX: usize = 1_024;
/// Chunks that a home reads and writes at the same time, each with a thread.
pub const BLOB_FILES_AT_ONCE: usize = 32;
/// Uploads that a home reads through at the same time to learn what is there, or brings to disk.
pub const BLOB_HASHINGS_AT_ONCE: usize = 2;
/// Requests about blobs that wait at a home before senders are told `BUSY`.
pub const BLOB_REQUESTS_MAX: usize = 1_024;
/// Chunks of one client on their way at the same time. With 8, chunks that nobody takes up could
/// hold the whole window of the connection (8 times that of a stream), and texts would wait.
pub const CHUNKS_AT_ONCE: usize = 6;
/// Chunks on their way between two servers at the same time, in each direction: half of what the
/// window of their connection holds. More wait in the order in which they came.
pub const LINK_CHUNKS_AT_ONCE: usize = 32;
/// Chunks that one session begins in a second, and at once.
pub const CHUNKS_PER_S: u32 = 2_000;
/// How long an edge waits for a home to answer for a chunk.
pub const CHUNK_ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// A chunk's stream makes at least this many bytes in a second, after a first frame in time.
pub const CHUNK_BYTES_PER_S_MIN: u64 = 4 * 1024;
/// How long a home keeps an upload that nobody finished.
pub const UPLOAD_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a home keeps a blob.
pub const BLOB_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bytes of fetched files that a client keeps sealed; what was stored somewhere is not counted.
pub const FETCHED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// How long it keeps each.
pub const FETCHED_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bytes of the name of a file, and of its type.
pub const FILE_NAME_BYTES_MAX: usize = 255;
/// Bytes of what a file is said to be.
pub const MEDIA_TYPE_BYTES_MAX: usize = 64;
/// Bytes of the words that go with a file.
pub const CAPTION_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the small picture in the message that names a file.
pub const THUMBNAIL_BYTES_MAX: usize = 12 * 1024;

/// Bytes of a reaction: one grapheme, however it is built.
pub const EMOJI_BYTES_MAX: usize = 64;
/// Bytes of an alias.
pub const ALIAS_BYTES_MAX: usize = 64;
/// Shortest life of a text that goes away by itself.
pub const EXPIRE_MIN: Duration = Duration::from_secs(1);
/// Longest such life.
pub const EXPIRE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Between two read receipts to one person.
pub const READ_INTERVAL: Duration = Duration::from_secs(1);
/// The same in a group, for each of its members: all together send about two a second.
pub const READ_INTERVAL_PER_MEMBER: Duration = Duration::from_millis(500);
/// Between two notices to one person that we are writing to them.
pub const TYPING_INTERVAL: Duration = Duration::from_secs(3);
/// Between two such notices of one person that reach the front end.
pub const TYPING_HEARD_INTERVAL: Duration = Duration::from_secs(1);
/// Chats whose logs a client opens only to learn who comes and goes.
pub const FOLLOWED_CHATS_MAX: usize = 32;
/// Characters of the message shown above an answer to it.
pub const EXCERPT_CHARS_MAX: usize = 80;
/// Lines that one look for a text goes through, newest first.
pub const SEARCHED_LINES_MAX: usize = 200_000;

/// Bytes of a picture that is read to be cleaned and sent.
pub const PICTURE_BYTES_MAX: u64 = FILE_BYTES_MAX;
/// Bytes of a picture that is read to make a smaller copy of it.
pub const FIT_SOURCE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Pixels of a picture; its header is asked before anything is decoded.
pub const PICTURE_PIXELS_MAX: u64 = 100_000_000;
/// Pixels of a picture's longer edge.
pub const PICTURE_EDGE_PX_MAX: u32 = 65_535;
/// Bytes of a decoded picture: the above with four channels, and slack.
pub const PICTURE_DECODED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Scans of a JPEG. Honest ones have about a dozen; each costs a pass over all pixels.
pub const PICTURE_SCANS_MAX: usize = 256;
/// Bytes at the beginning of a file that tell what it is.
pub const FILE_HEAD_BYTES: u64 = 8 * 1024;
/// Pixels of a thumbnail's longer edge.
pub const THUMBNAIL_EDGE_PX_MAX: u32 = 320;
/// Bytes that decoding somebody else's thumbnail may take.
pub const THUMBNAIL_DECODED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Pixels of the longer edge of a smaller copy (`--fit`).
pub const FIT_EDGE_PX_MAX: u32 = 2_048;
/// Names that are tried beside one that is taken: `photo-2.jpg`, `photo-3.jpg` and so on.
pub const FILE_NUMBER_MAX: u32 = 10_000;
/// Rows of a terminal that a picture takes.
pub const PREVIEW_ROWS_MAX: u16 = 12;

/// Unwraps of a conversation key that one peer can cause in an hour.
pub const UNWRAPS_PER_PEER_PER_HOUR_MAX: u32 = 60;
/// Life of an encryption key before the client makes another.
pub const ENCRYPTION_KEY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an old encryption key, and a retired device, can still be used for reading.
pub const RETIRED_KEY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Smallest accepted password.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Bytes of one frame between two processes of one person.
pub const SOCKET_FRAME_BYTES_MAX: usize = 256 * 1024;
/// Commands that the holder of a profile runs for others at once.
pub const SOCKET_CALLERS_MAX: usize = 16;

const _: () = assert!(ENVELOPE_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_MAX <= 257 * 1024);
const _: () = assert!(CHUNKS_MAX * 32 + 1024 < FRAME_BYTES_MAX);
const _: () = assert!(FILE_BYTES_MAX.is_multiple_of(CHUNK_PLAIN_BYTES as u64));
const _: () = assert!(CHUNK_PLAIN_BYTES.is_multiple_of(TOKEN_PLAIN_BYTES));
const _: () = assert!(THUMBNAIL_BYTES_MAX + CAPTION_BYTES_MAX + 8192 < ENVELOPE_BYTES_MAX);
const _: () = assert!(PICTURE_PIXELS_MAX * 4 < PICTURE_DECODED_BYTES_MAX);
const _: () = assert!(THUMBNAIL_EDGE_PX_MAX < FIT_EDGE_PX_MAX);
const _: () = assert!(PEER_FRAME_BYTES_MAX > FRAME_BYTES_MAX);
const _: () = assert!(PEER_FRAME_BYTES_MAX > OPERATION_FRAME_BYTES_MAX);
// A key of 3072 bits for each member, with name and key id, and the author's bundle.
const _: () = assert!(GROUP_MEMBERS_MAX * (512 + 32 + 32 + 16) + 8 * 1024 < OPERATION_BYTES_MAX);
// A text grows by padding (1/16 of its power of two) and the token, key and header around it.
const _: () = assert!(TEXT_BYTES_MAX + TEXT_BYTES_MAX / 8 + 4096 < ENVELOPE_BYTES_MAX);
const _: () = assert!(UNANSWERED_PER_LOG_MAX <= UNANSWERED_PER_SESSION_MAX);
const _: () = assert!(UNANSWERED_PER_LOG_MAX <= PRODUCER_HASHES_KEPT);
const _: () = assert!(WRITER_BATCH_MAX <= WRITER_QUEUE_MAX);
const _: () = assert!(TYPING_ACCEPTED_INTERVAL.as_millis() < TYPING_INTERVAL.as_millis());

/// What an operator's limits file may change. Unknown keys are an error.
///
/// Durations are given in milliseconds (`_ms`) or seconds (`_s`), sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Client connections per server; one more gets `SERVER_FULL`. Each costs about 40 KiB.
    pub connections_max: u32,
    /// Client connections per IP address; one more gets `SERVER_FULL`.
    pub connections_per_ip_max: u32,
    /// Handshakes not finished before quinn asks for address validation.
    pub handshakes_before_retry: u32,
    /// Handshakes not finished before new ones are refused.
    pub handshakes_max: u32,
    /// Handshakes per second from one IP before further ones are ignored.
    pub handshakes_per_ip_per_s: u32,
    /// A QUIC handshake takes at most this long.
    pub handshake_deadline_ms: u64,
    /// From handshake to login; the time in the password queue does not count.
    pub login_deadline_ms: u64,
    /// A frame that began completes within this.
    pub frame_deadline_ms: u64,
    /// A silent connection is dropped after this.
    pub idle_timeout_ms: u64,
    /// A client keeps its connection alive this often. Below half of the idle timeout.
    pub keep_alive_ms: u64,
    /// Requests other than Append and Cursor, per session.
    pub requests_per_s: u32,
    /// Requests that may come at once.
    pub requests_burst: u32,
    /// Failed logins or malformed frames before the connection is closed.
    pub failures_per_connection_max: u32,
    /// Password logins per minute from one IP.
    pub logins_per_ip_per_min: u32,
    /// Sign-ups per minute from one IP.
    pub sign_ups_per_ip_per_min: u32,
    /// Look-ups before login per minute from one IP.
    pub look_ups_per_ip_per_min: u32,
    /// Questions to the balancer, "which server?", per minute from one IP.
    pub asks_per_ip_per_min: u32,
    /// Wrong passwords for one user before each further one costs a doubling delay.
    pub password_failures_free: u32,
    /// Longest such delay.
    pub password_delay_max_s: u64,
    /// Passwords waiting for the bcrypt pool before `BUSY`.
    pub password_queue_max: u32,
    /// bcrypt cost: 10 is 51 ms of a core. Between 4 and 15.
    pub bcrypt_cost: u32,
    /// Unread entries of one inbox.
    pub inbox_entries_max: u64,
    /// Unread bytes of one inbox.
    pub inbox_bytes_max: u64,
    /// Unread entries of one inbox from one author.
    pub inbox_author_entries_max: u64,
    /// Unread bytes of one inbox from one author.
    pub inbox_author_bytes_max: u64,
    /// Entries of one group that some member has not read.
    pub group_entries_max: u64,
    /// Bytes of one group that some member has not read.
    pub group_bytes_max: u64,
    /// Entries of one group from one author that some member has not read.
    pub group_author_entries_max: u64,
    /// Bytes of one group from one author that some member has not read.
    pub group_author_bytes_max: u64,
    /// Operations of one group in a day (UTC). What defends a group is taken up to twice the
    /// number.
    pub group_changes_per_day: u64,
    /// Groups one user makes at one home in a day (UTC).
    pub groups_made_per_day: u32,
    /// People one account may write to for the first time, per hour.
    pub new_peers_per_hour: u32,
    /// Bundle versions of one account per day.
    pub bundles_per_day: u32,
    /// Sealed bytes of one blob.
    pub blob_bytes_max: u64,
    /// Sealed bytes of all blobs of one user, begun uploads among them.
    pub blob_user_bytes_max: u64,
    /// Blobs and begun uploads of one user.
    pub blobs_per_user_max: u32,
    /// From the wish to delete an account to its deletion; a password login before keeps it.
    pub account_grace_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 12_000,
            connections_per_ip_max: 256,
            handshakes_before_retry: 128,
            handshakes_max: 1_024,
            handshakes_per_ip_per_s: 30,
            handshake_deadline_ms: 5_000,
            login_deadline_ms: 10_000,
            frame_deadline_ms: 10_000,
            idle_timeout_ms: 60_000,
            keep_alive_ms: 20_000,
            requests_per_s: 50,
            requests_burst: 200,
            failures_per_connection_max: 3,
            logins_per_ip_per_min: 20,
            sign_ups_per_ip_per_min: 5,
            look_ups_per_ip_per_min: 120,
            asks_per_ip_per_min: 600,
            password_failures_free: 5,
            password_delay_max_s: 900,
            password_queue_max: 256,
            bcrypt_cost: 10,
            inbox_entries_max: 10_000,
            inbox_bytes_max: 64 * 1024 * 1024,
            inbox_author_entries_max: 1_000,
            inbox_author_bytes_max: 8 * 1024 * 1024,
            group_entries_max: 50_000,
            group_bytes_max: 256 * 1024 * 1024,
            group_author_entries_max: 5_000,
            group_author_bytes_max: 32 * 1024 * 1024,
            group_changes_per_day: 1_000,
            groups_made_per_day: 50,
            new_peers_per_hour: 30,
            bundles_per_day: 10,
            blob_bytes_max: CHUNKS_MAX as u64 * CHUNK_BYTES_MAX as u64,
            blob_user_bytes_max: 512 * 1024 * 1024,
            blobs_per_user_max: 4_096,
            account_grace_ms: 7 * 24 * 3600 * 1000,
        }
    }
}

/// Why a limits file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// Not TOML, an unknown key, or a value of the wrong kind; the text names line and column.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A value outside what makes sense.
    #[error("{key} = {value}: {rule}")]
    Range {
        /// The key in the file.
        key: &'static str,
        /// What it says.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
}

impl Limits {
    /// Reads the text of a limits file; what it leaves out keeps its default.
    ///
    /// # Errors
    /// [`LimitsError`] names the key and the rule.
    pub fn parse(text: &str) -> Result<Self, LimitsError> {
        let limits: Self = toml::from_str(text)?;
        limits.check()?;
        Ok(limits)
    }

    fn check(&self) -> Result<(), LimitsError> {
        let positive = "must be at least 1";
        for (key, value) in [
            ("connections_max", u64::from(self.connections_max)),
            ("connections_per_ip_max", u64::from(self.connections_per_ip_max)),
            ("handshakes_max", u64::from(self.handshakes_max)),
            ("handshakes_per_ip_per_s", u64::from(self.handshakes_per_ip_per_s)),
            ("handshake_deadline_ms", self.handshake_deadline_ms),
            ("login_deadline_ms", self.login_deadline_ms),
            ("frame_deadline_ms", self.frame_deadline_ms),
            ("requests_per_s", u64::from(self.requests_per_s)),
            ("requests_burst", u64::from(self.requests_burst)),
            ("failures_per_connection_max", u64::from(self.failures_per_connection_max)),
            ("logins_per_ip_per_min", u64::from(self.logins_per_ip_per_min)),
            ("sign_ups_per_ip_per_min", u64::from(self.sign_ups_per_ip_per_min)),
            ("look_ups_per_ip_per_min", u64::from(self.look_ups_per_ip_per_min)),
            ("asks_per_ip_per_min", u64::from(self.asks_per_ip_per_min)),
            ("password_queue_max", u64::from(self.password_queue_max)),
            ("inbox_entries_max", self.inbox_entries_max),
            ("inbox_author_entries_max", self.inbox_author_entries_max),
            ("group_entries_max", self.group_entries_max),
            ("group_author_entries_max", self.group_author_entries_max),
            ("group_changes_per_day", self.group_changes_per_day),
            ("groups_made_per_day", u64::from(self.groups_made_per_day)),
            ("new_peers_per_hour", u64::from(self.new_peers_per_hour)),
            ("bundles_per_day", u64::from(self.bundles_per_day)),
            ("blob_bytes_max", self.blob_bytes_max),
            ("blobs_per_user_max", u64::from(self.blobs_per_user_max)),
        ] {
            if value == 0 {
                return Err(LimitsError::Range { key, value, rule: positive });
            }
        }
        if !(4..=15).contains(&self.bcrypt_cost) {
            let value = u64::from(self.bcrypt_cost);
            return Err(LimitsError::Range { key: "bcrypt_cost", value, rule: "from 4 to 15" });
        }
        if self.keep_alive_ms == 0 || self.keep_alive_ms * 2 > self.idle_timeout_ms {
            return Err(LimitsError::Range {
                key: "keep_alive_ms",
                value: self.keep_alive_ms,
                rule: "must be at least 1 and at most half of idle_timeout_ms",
            });
        }
        Ok(())
    }
}

/// Changes of the limits that a process takes while it runs; for one more it has to be restarted.
pub const LIMIT_CHANGES_MAX: usize = 63;

/// The limits in force, changed while they are read. Reading takes no lock, so old ones are kept.
#[derive(Debug)]
pub struct LimitsInForce {
    versions: [OnceLock<Limits>; LIMIT_CHANGES_MAX + 1],
    /// The newest. Points at one that is set.
    newest: AtomicUsize,
    defaults: Limits,
}

impl LimitsInForce {
    /// These, for now.
    pub fn new(limits: Limits) -> Self {
        let this = Self {
            versions: [const { OnceLock::new() }; LIMIT_CHANGES_MAX + 1],
            newest: AtomicUsize::new(0),
            defaults: Limits::default(),
        };
        this.replace(limits);
        this
    }

    /// Puts others into force; false when that has been done too often.
    pub fn replace(&self, limits: Limits) -> bool {
        let mut limits = Some(limits);
        for (number, version) in self.versions.iter().enumerate() {
            version.get_or_init(|| limits.take().unwrap_or_default());
            if limits.is_none() {
                self.newest.fetch_max(number, Ordering::AcqRel);
                return true;
            }
        }
        false
    }
}

impl Deref for LimitsInForce {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        let newest = self.versions.get(self.newest.load(Ordering::Acquire));
        newest.and_then(OnceLock::get).unwrap_or(&self.defaults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Limits::parse("").unwrap(), Limits::default());
    }

    #[test]
    fn limits_in_force_are_the_last_ones_until_there_were_too_many() {
        let numbered = |connections_max| Limits { connections_max, ..Limits::default() };
        let force = LimitsInForce::new(numbered(1));
        assert_eq!(force.connections_max, 1);
        for number in 2..=64 {
            assert!(force.replace(numbered(number)));
            assert_eq!(force.connections_max, number);
        }
        assert!(!force.replace(numbered(65)));
        assert_eq!(force.connections_max, 64);
    }

    #[test]
    fn an_unknown_key_and_an_impossible_value_are_refused() {
        assert!(matches!(Limits::parse("inbox_entrys_max = 1"), Err(LimitsError::Syntax(_))));
        assert!(matches!(
            Limits::parse("bcrypt_cost = 31"),
            Err(LimitsError::Range { key: "bcrypt_cost", .. })
        ));
        assert!(matches!(
            Limits::parse("keep_alive_ms = 40000"),
            Err(LimitsError::Range { key: "keep_alive_ms", .. })
        ));
    }
}
