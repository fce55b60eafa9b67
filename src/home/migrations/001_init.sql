-- Never edited once released: a change is the next numbered file.
-- Ids, devices and epochs are random 64-bit numbers, kept as SQLite's signed integers bit for bit.

-- Whose database this is.
CREATE TABLE meta (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    cluster BLOB NOT NULL,
    server  TEXT NOT NULL
) STRICT;

-- The slots of the placement map that this database owns.
CREATE TABLE slots (slot INTEGER PRIMARY KEY) STRICT;

CREATE TABLE accounts (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,    -- never given out again
    verifier       TEXT NOT NULL,           -- bcrypt hash of the auth key
    bundle         BLOB NOT NULL,           -- encoded SignedBundle
    bundle_version INTEGER NOT NULL,
    bundle_day_ms  INTEGER NOT NULL,        -- when the day of the bundle quota began
    bundle_puts    INTEGER NOT NULL,        -- bundles put in that day
    session_epoch  INTEGER NOT NULL,        -- only grows
    session_edge   TEXT,                    -- where that session is; NULL after a logout
    session_sid    INTEGER,
    session_device INTEGER
) STRICT;

-- Devices that are or were in an account's bundle. Rows stay, so that no Resume works twice.
CREATE TABLE devices (
    account      INTEGER NOT NULL REFERENCES accounts (id),
    device       INTEGER NOT NULL,
    public_key   BLOB NOT NULL,             -- Ed25519
    state        INTEGER NOT NULL,          -- 1 active, 2 retired, 3 no longer in the bundle
    resume_count INTEGER NOT NULL,          -- highest count used
    PRIMARY KEY (account, device)
) STRICT, WITHOUT ROWID;

-- Whose mail an account does not take. The author may live at another home.
CREATE TABLE blocks (
    account INTEGER NOT NULL REFERENCES accounts (id),
    author  TEXT NOT NULL,
    PRIMARY KEY (account, author)
) STRICT, WITHOUT ROWID;

-- A log has the id of the account whose inbox it is.
CREATE TABLE logs (
    id        INTEGER PRIMARY KEY REFERENCES accounts (id),
    epoch     INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,             -- oldest entry kept, or head_seq + 1
    head_seq  INTEGER NOT NULL
) STRICT;

-- Up to where a device has read a log. Made by Open only.
CREATE TABLE cursors (
    log    INTEGER NOT NULL REFERENCES logs (id),
    user   TEXT NOT NULL,
    device INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (log, user, device)
) STRICT, WITHOUT ROWID;

-- Where a device's appends to a log stand. Never reaped: it is what makes a repeated append known.
CREATE TABLE producers (
    id          INTEGER PRIMARY KEY,
    log         INTEGER NOT NULL REFERENCES logs (id),
    author      TEXT NOT NULL,
    device      INTEGER NOT NULL,
    last_n      INTEGER NOT NULL,
    recent      BLOB NOT NULL,              -- the last appends: n, upto, seq, hash; 32 bytes each
    new_peer_ms INTEGER,                    -- when it made its author new to the log, else NULL
    UNIQUE (log, author, device)
) STRICT;
CREATE INDEX producers_new_peer ON producers (author, new_peer_ms) WHERE new_peer_ms IS NOT NULL;

-- In order of arrival, with a narrow index: several times faster than a wide clustered key.
CREATE TABLE entries (
    id       INTEGER PRIMARY KEY,
    log      INTEGER NOT NULL REFERENCES logs (id),
    seq      INTEGER NOT NULL,
    producer INTEGER NOT NULL REFERENCES producers (id),
    n        INTEGER NOT NULL,
    kind     INTEGER NOT NULL,              -- 1 message, 2 void
    sha256   BLOB NOT NULL,                 -- of envelope; checked when read
    envelope BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_log_seq ON entries (log, seq);
