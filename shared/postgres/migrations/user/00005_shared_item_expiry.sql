-- Shared items whose time is up. A broken run leaves an invalid index behind, hence the drop.
-- Both wait for older transactions, which blocks nobody: hence no lock timeout.
-- +goose NO TRANSACTION
-- +goose Up
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS v2_ix_shared_items_expiry;
CREATE INDEX CONCURRENTLY v2_ix_shared_items_expiry ON shared_items (expiry);
RESET lock_timeout;
