-- Groups: which ones, their chains of operations, and their keys. Rosters can be seen on a stolen
-- disk; keys and texts cannot.

CREATE TABLE groups (
    name       TEXT PRIMARY KEY,            -- without '#'
    id         BLOB NOT NULL UNIQUE,
    standing   INTEGER NOT NULL,            -- 0 making 1 joining 2 member 3 removed 4 left 5 closed 6 forked
    epoch      INTEGER NOT NULL DEFAULT 0,  -- of its log
    cursor     INTEGER NOT NULL DEFAULT 0,  -- everything up to this seq is in the inbox or done
    whole      INTEGER NOT NULL DEFAULT 0,  -- this device has read the log from its first entry
    from_seq   INTEGER NOT NULL DEFAULT 0,  -- what was written up to here is older than we are in it
    inviter    TEXT                         -- who sent the welcome
) WITHOUT ROWID;

-- The verified chain of each group, from CREATE on.
CREATE TABLE roster_ops (
    grp        BLOB NOT NULL,
    number     INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    operation  BLOB NOT NULL,               -- encoded SignedOperation
    PRIMARY KEY (grp, number)
) WITHOUT ROWID;
CREATE INDEX roster_ops_by_hash ON roster_ops (grp, hash);

-- Keys that fit their commitment, and those of operations that are not answered yet.
CREATE TABLE group_keys (
    grp        BLOB NOT NULL,
    epoch      INTEGER NOT NULL,
    sealed_key BLOB NOT NULL,
    PRIMARY KEY (grp, epoch)
) WITHOUT ROWID;
