-- Messages of groups: which log an entry came from, and who in a group wrote, answered, reacted and
-- read. A log is '' (one's own inbox) or '#team'.

ALTER TABLE inbox RENAME TO inbox_before;
CREATE TABLE inbox (
    arrival   INTEGER PRIMARY KEY,          -- grows: `seq` within an epoch, and epochs in turn
    log       TEXT NOT NULL,
    epoch     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    kind      INTEGER NOT NULL,             -- 0 envelope, 1 operation
    number    INTEGER NOT NULL DEFAULT 0,   -- of an operation, by the home's word
    author    TEXT NOT NULL,                -- of the header; '' when that does not parse
    envelope  BLOB NOT NULL,
    waits     INTEGER NOT NULL DEFAULT 0,   -- 1: for a key, 2: a key came, try again
    UNIQUE (log, epoch, seq)
);
INSERT INTO inbox (arrival, log, epoch, seq, kind, author, envelope, waits)
    SELECT arrival, '', epoch, seq, 0, author, envelope, waits FROM inbox_before;
DROP TABLE inbox_before;

ALTER TABLE highs RENAME TO highs_before;
CREATE TABLE highs (
    log     TEXT NOT NULL,
    author  TEXT NOT NULL,
    device  INTEGER NOT NULL,
    high    INTEGER NOT NULL,
    number  INTEGER NOT NULL DEFAULT 0,     -- in a group: highest operation the author has named
    PRIMARY KEY (log, author, device)
) WITHOUT ROWID;
INSERT INTO highs (log, author, device, high) SELECT '', author, device, high FROM highs_before;
DROP TABLE highs_before;

ALTER TABLE accepted RENAME TO accepted_before;
CREATE TABLE accepted (
    log     TEXT NOT NULL,
    author  TEXT NOT NULL,
    device  INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    digest  BLOB NOT NULL,                  -- empty: a void
    PRIMARY KEY (log, author, device, n)
) WITHOUT ROWID;
INSERT INTO accepted SELECT '', author, device, n, digest FROM accepted_before;
DROP TABLE accepted_before;

ALTER TABLE reactions RENAME TO reactions_before;
CREATE TABLE reactions (
    line          INTEGER NOT NULL,
    by            TEXT NOT NULL,            -- '' own, else the name
    sealed_emoji  BLOB NOT NULL,
    PRIMARY KEY (line, by)
) WITHOUT ROWID;
INSERT INTO reactions
    SELECT r.line, iif(r.by = 0, '', l.chat), r.sealed_emoji
    FROM reactions_before r JOIN lines l ON l.id = r.line;
DROP TABLE reactions_before;

ALTER TABLE lines ADD COLUMN author TEXT;           -- in a group: of a line of somebody else
ALTER TABLE lines ADD COLUMN reply_author TEXT;     -- in a group: whose line is answered, if not own
ALTER TABLE lines ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;    -- in a group: its place in the log
-- Own messages of groups that somebody has not read yet.
CREATE INDEX lines_to_be_read ON lines (chat, seq) WHERE kind = 0 AND state < 4 AND seq > 0;

-- How far others have read groups, by their own word.
CREATE TABLE group_reads (
    chat  TEXT NOT NULL,
    user  TEXT NOT NULL,
    seq   INTEGER NOT NULL,
    PRIMARY KEY (chat, user)
) WITHOUT ROWID;

-- Under which key of a group its unanswered messages are sealed.
ALTER TABLE send_logs ADD COLUMN key_epoch INTEGER NOT NULL DEFAULT 0;
-- Number of the operation by which we were last brought in: what came before is forgotten once.
ALTER TABLE groups ADD COLUMN stay INTEGER NOT NULL DEFAULT 0;
