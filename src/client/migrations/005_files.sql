-- Files: what a line carries beside its text, and how far its bytes have come. The sealed chunks lie
-- in the folder `blobs` of the profile, one file a blob, named by its id; a chunk there counts only
-- if it has its hash.

CREATE TABLE files (
    line         INTEGER PRIMARY KEY,       -- of lines
    direction    INTEGER NOT NULL,          -- 0 up, 1 down
    owner        TEXT NOT NULL,             -- who uploads it: at their home it lies
    blob_id      BLOB NOT NULL,
    sealed       BLOB NOT NULL,             -- encoded File, without caption, answer and expiry
    plain_bytes  INTEGER NOT NULL,          -- of the file
    hashes       BLOB,                      -- of the chunks; a download: once the home has told
    state        INTEGER NOT NULL,          -- 0 not fetched 1 goes on 2 paused 3 done 4 failed 5 forgotten
    failure      INTEGER NOT NULL DEFAULT 0,
    limit_bytes  INTEGER NOT NULL DEFAULT 0,
    used_bytes   INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX files_unfinished ON files (line) WHERE state IN (1, 2, 4);
CREATE INDEX files_forgotten ON files (line) WHERE state = 5;
CREATE INDEX files_by_blob ON files (blob_id);

-- Blobs that the own home may forget: it is told at the next contact.
CREATE TABLE blobs_to_drop (blob_id BLOB PRIMARY KEY) WITHOUT ROWID;

-- `state` of an own line may be -2 now: its file is on the way, and then the line waits (0).
