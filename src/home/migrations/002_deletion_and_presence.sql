-- When an account is to be deleted; NULL: never. Once it is gone its row stays, so that nobody else
-- gets the name: without verifier, bundle, devices, blocks and, as soon as time allows, its log.
ALTER TABLE accounts ADD COLUMN delete_at_ms INTEGER;
ALTER TABLE accounts ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
CREATE INDEX accounts_delete_at ON accounts (delete_at_ms) WHERE delete_at_ms IS NOT NULL;

-- Whether the session is not listed as online.
ALTER TABLE accounts ADD COLUMN session_invisible INTEGER NOT NULL DEFAULT 0;
