-- A log is an account's inbox or a group's. Inboxes have the ids of their accounts, from 1 up;
-- groups have ids from -1 down: neither can ever take the other's, and nothing has to be kept in
-- step. So `logs` refers to no table any more. SQLite cannot drop a reference: the table is made
-- anew (it has one short row per log), and the large ones that refer to it stay as they are.
CREATE TABLE logs_of_all (
    id        INTEGER PRIMARY KEY,
    epoch     INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,             -- oldest entry kept, or head_seq + 1
    head_seq  INTEGER NOT NULL
) STRICT;
INSERT INTO logs_of_all (id, epoch, first_seq, head_seq)
    SELECT id, epoch, first_seq, head_seq FROM logs;
DROP TABLE logs;
ALTER TABLE logs_of_all RENAME TO logs;

-- Rows stay when a group is closed: its name is never given out again.
CREATE TABLE groups (
    log        INTEGER PRIMARY KEY CHECK (log < 0) REFERENCES logs (id),
    name       TEXT NOT NULL UNIQUE,
    group_id   BLOB NOT NULL UNIQUE,        -- SHA-256 of the first operation
    operations INTEGER NOT NULL REFERENCES producers (id), -- the producer of its operations
    key_epoch  INTEGER NOT NULL,
    closed     INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What made the group what it is. Never reaped. Each is an entry of the log as well (kind 3), which
-- goes as entries go.
CREATE TABLE roster_ops (
    id        INTEGER PRIMARY KEY,
    log       INTEGER NOT NULL REFERENCES groups (log),
    number    INTEGER NOT NULL,             -- from 1
    seq       INTEGER NOT NULL,
    hash      BLOB NOT NULL,
    operation BLOB NOT NULL,                -- encoded SignedOperation
    UNIQUE (log, number),
    UNIQUE (log, hash)
) STRICT;

-- Who is or was in a group, and between which entries. The member may live at another home.
CREATE TABLE members (
    log       INTEGER NOT NULL REFERENCES groups (log),
    user      TEXT NOT NULL,
    since_seq INTEGER NOT NULL,             -- the operation that brought them in
    until_seq INTEGER,                      -- the one that ended it; NULL: still a member
    PRIMARY KEY (log, user, since_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_present ON members (user) WHERE until_seq IS NULL;

-- Where each day (UTC, counted from 1970) of a group's log begins: entries go after 30 days.
CREATE TABLE days (
    log    INTEGER NOT NULL REFERENCES groups (log),
    day    INTEGER NOT NULL,
    before INTEGER NOT NULL,                -- head_seq when the day's first entry came
    PRIMARY KEY (log, day)
) STRICT, WITHOUT ROWID;
