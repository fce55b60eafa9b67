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
    inviter    TEXT,                        -- who sent the welcome, until the chain says so, too
    goodbye    TEXT,                        -- who said that we are out, until the chain says so, too
    making     BLOB                         -- the CREATE, until it is answered
) WITHOUT ROWID;

-- The verified chain of each group, from CREATE on.
CREATE TABLE roster_ops (
    grp        BLOB NOT NULL,
    number     INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    operation  BLOB NOT NULL,               -- encoded SignedOperation
    untold     TEXT,                        -- what its line will say when the log has come to it
    PRIMARY KEY (grp, number)
) WITHOUT ROWID;
CREATE INDEX roster_ops_by_hash ON roster_ops (grp, hash);

-- Every epoch of the verified chain, and its key if it is here.
CREATE TABLE group_keys (
    grp        BLOB NOT NULL,
    epoch      INTEGER NOT NULL,
    key_commit BLOB NOT NULL,               -- from the chain: the key fits it
    sealed_key BLOB,
    PRIMARY KEY (grp, epoch)
) WITHOUT ROWID;

-- Keys that the chain did not speak of yet: of own operations without an answer, and of welcomes.
CREATE TABLE key_candidates (
    grp        BLOB NOT NULL,
    epoch      INTEGER NOT NULL,
    key_commit BLOB NOT NULL,               -- what this key fits
    sealed_key BLOB NOT NULL,
    PRIMARY KEY (grp, epoch, key_commit)
) WITHOUT ROWID;

-- Lines of kind 3: what changed in which group, as JSON.
ALTER TABLE lines ADD COLUMN change TEXT;
