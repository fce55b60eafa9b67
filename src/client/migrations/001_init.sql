-- A profile: one user's keys, conversations and history on one device.
-- Columns named `sealed_*` hold Fernet tokens under the profile's database key.
-- Random 64-bit ids (device, epoch) are stored as the signed integer of the same bits.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE encryption_keys (
    key_id           BLOB PRIMARY KEY,      -- SHA-256 of the SPKI
    sealed_pkcs8     BLOB NOT NULL,
    made_unix_ms     INTEGER NOT NULL,
    retired_unix_ms  INTEGER                -- NULL: the current one, or planned
) WITHOUT ROWID;

CREATE TABLE people (
    user            TEXT PRIMARY KEY,
    bundle          BLOB,                   -- newest verified bundle of the pinned identity
    pinned_unix_ms  INTEGER NOT NULL DEFAULT 0,
    verified        INTEGER NOT NULL DEFAULT 0,
    changed_bundle  BLOB,                   -- of another identity, not accepted yet
    contact         INTEGER NOT NULL,       -- 0 request, 1 accepted, 2 blocked
    tell            INTEGER NOT NULL DEFAULT 0  -- they know an older bundle of ours
) WITHOUT ROWID;

CREATE TABLE lines (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    chat             TEXT NOT NULL,
    kind             INTEGER NOT NULL,      -- 0 own message, 1 peer's message, 2 trouble
    sealed_text      BLOB NOT NULL,         -- empty for trouble
    trouble          INTEGER NOT NULL DEFAULT 0,
    hole_from        INTEGER NOT NULL DEFAULT 0,
    hole_to          INTEGER NOT NULL DEFAULT 0,
    at_unix_ms       INTEGER NOT NULL,
    sent_at_unix_ms  INTEGER NOT NULL,
    device           INTEGER NOT NULL DEFAULT 0,
    n                INTEGER NOT NULL DEFAULT 0,
    state            INTEGER NOT NULL,      -- own: 0 waiting 1 pending 2 sent 3 delivered 4 refused 5 cancelled; else -1
    reason           INTEGER NOT NULL DEFAULT 0,
    shown            INTEGER NOT NULL,      -- 0 new, 1 being shown, 2 shown
    unaccepted_key   INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX lines_by_chat ON lines (chat, id);
CREATE INDEX lines_not_shown ON lines (id) WHERE shown < 2;
CREATE INDEX lines_waiting ON lines (chat, id) WHERE state = 0;

-- Where this device stands as a writer into each person's inbox.
CREATE TABLE send_logs (
    chat               TEXT PRIMARY KEY,
    next_n             INTEGER NOT NULL DEFAULT 1,
    epoch              INTEGER NOT NULL DEFAULT 0,
    sealed_key         BLOB,                -- conversation key of this direction
    key_id             BLOB,                -- its name in headers
    wrapped            BLOB,                -- the same, for the recipient
    wrapped_to         BLOB,
    carried            INTEGER NOT NULL DEFAULT 0,  -- one that carried it is delivered
    own_version        INTEGER NOT NULL DEFAULT 0,  -- bundles the key was made for
    recipient_version  INTEGER NOT NULL DEFAULT 0,
    recipient_identity BLOB
) WITHOUT ROWID;

-- Sealed envelopes not known to be delivered. `answered`: the home has it on disk.
CREATE TABLE outgoing (
    chat      TEXT NOT NULL,
    n         INTEGER NOT NULL,
    upto      INTEGER NOT NULL,
    kind      INTEGER NOT NULL,             -- 1 text, 2 bundle, 3 void
    line      INTEGER,                      -- of a text; kept when it became void
    answered  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (chat, n)
) WITHOUT ROWID;

-- Every version of an envelope ever sealed under an n. The one to send has the highest `version`:
-- the newest, or, once the home has answered, the one that it stored.
CREATE TABLE versions (
    chat      TEXT NOT NULL,
    n         INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    hash      BLOB NOT NULL,                -- first 8 bytes of SHA-256
    carries   BLOB,                         -- name of the key that rides in it, wrapped
    envelope  BLOB NOT NULL,
    PRIMARY KEY (chat, n, version)
) WITHOUT ROWID;

-- Conversation keys of the other direction.
CREATE TABLE receive_keys (
    author_identity BLOB NOT NULL,
    key_id          BLOB NOT NULL,
    sealed_key      BLOB NOT NULL,
    PRIMARY KEY (author_identity, key_id)
) WITHOUT ROWID;

-- Entries of the own log between arrival and opening.
CREATE TABLE inbox (
    arrival   INTEGER PRIMARY KEY,          -- grows: `seq` within an epoch, and epochs in turn
    epoch     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    author    TEXT NOT NULL,                -- of the header; '' when that does not parse
    envelope  BLOB NOT NULL,
    waits     INTEGER NOT NULL DEFAULT 0,   -- 1: for a key, 2: a key came, try again
    UNIQUE (epoch, seq)
);

CREATE TABLE highs (
    author  TEXT NOT NULL,
    device  INTEGER NOT NULL,
    high    INTEGER NOT NULL,
    PRIMARY KEY (author, device)
) WITHOUT ROWID;

-- Digests of the newest accepted envelopes, to tell a replay from a second body under one id.
CREATE TABLE accepted (
    author  TEXT NOT NULL,
    device  INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    digest  BLOB NOT NULL,                  -- empty: a void
    PRIMARY KEY (author, device, n)
) WITHOUT ROWID;
