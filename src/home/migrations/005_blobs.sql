-- Whose blobs lie beside the database. A row comes before its file and goes before it.
CREATE TABLE blobs (
    account      INTEGER NOT NULL REFERENCES accounts (id),
    id           BLOB NOT NULL,             -- SHA-256 of the hashes of its chunks
    bytes        INTEGER NOT NULL,          -- of all chunks
    begun_ms     INTEGER NOT NULL,          -- the last time
    committed_ms INTEGER,                   -- NULL: an upload that nobody finished yet
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_begun ON blobs (begun_ms) WHERE committed_ms IS NULL;
CREATE INDEX blobs_committed ON blobs (committed_ms) WHERE committed_ms IS NOT NULL;
