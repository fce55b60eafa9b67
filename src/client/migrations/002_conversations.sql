-- What a conversation can do besides texts: answers, reactions, changes, deletions, receipts, texts
-- that go away by themselves, and what the owner of the profile set.

ALTER TABLE lines ADD COLUMN form INTEGER NOT NULL DEFAULT 0;       -- 0 text, 1 emote
ALTER TABLE lines ADD COLUMN reply_by INTEGER;                      -- answers one of: 0 own, 1 the peer's
ALTER TABLE lines ADD COLUMN reply_to INTEGER;                      -- the line answered, if it is here
ALTER TABLE lines ADD COLUMN edited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lines ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;       -- 1 deleted, 2 expired: no text
ALTER TABLE lines ADD COLUMN expire_ms INTEGER NOT NULL DEFAULT 0;  -- 0: never
ALTER TABLE lines ADD COLUMN expires_unix_ms INTEGER;               -- NULL: not running
-- `state` of an own line may be 6 now: read.
CREATE INDEX lines_by_number ON lines (chat, kind, device, n) WHERE n <> 0;
CREATE INDEX lines_expiring ON lines (expires_unix_ms) WHERE expires_unix_ms IS NOT NULL;

CREATE TABLE reactions (
    line          INTEGER NOT NULL,
    by            INTEGER NOT NULL,         -- 0 own, 1 the peer's
    sealed_emoji  BLOB NOT NULL,
    PRIMARY KEY (line, by)
) WITHOUT ROWID;

-- What is said about messages, and is no message: from its making until it is delivered.
CREATE TABLE notes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    chat       TEXT NOT NULL,
    kind       INTEGER NOT NULL,            -- 4 reaction, 5 edit, 6 delete, 7 read
    line       INTEGER,                     -- the message it is about; NULL for a read
    device     INTEGER NOT NULL DEFAULT 0,  -- a read: of whose device
    n          INTEGER NOT NULL DEFAULT 0,  -- a read: up to which number
    sealed     BLOB NOT NULL,               -- emoji or text
    waits      INTEGER NOT NULL DEFAULT 1   -- it has no number yet
);
CREATE INDEX notes_waiting ON notes (chat, id) WHERE waits = 1;
CREATE INDEX notes_by_line ON notes (line);

ALTER TABLE outgoing ADD COLUMN note INTEGER;       -- of kind 4, a note; kept when it became void
ALTER TABLE outgoing ADD COLUMN sealed_text BLOB;   -- the text under this n, when the line was changed

CREATE TABLE chats (
    chat            TEXT PRIMARY KEY,
    sealed_alias    BLOB,
    notify          INTEGER,                -- 0 all, 1 mentions, 2 none
    muted_until_ms  INTEGER,
    receipts        INTEGER,
    typing          INTEGER,
    expire_ms       INTEGER,
    sealed_draft    BLOB,
    closed          INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- What was read of each device of a peer, and what they were told of it.
CREATE TABLE read_marks (
    chat    TEXT NOT NULL,
    device  INTEGER NOT NULL,
    seen_n  INTEGER NOT NULL,
    told_n  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (chat, device)
) WITHOUT ROWID;
