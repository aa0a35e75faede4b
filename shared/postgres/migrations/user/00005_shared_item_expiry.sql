-- Shared items whose time is up. A broken run leaves an invalid index behind, hence the drop.
-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS v2_ix_shared_items_expiry;
CREATE INDEX CONCURRENTLY v2_ix_shared_items_expiry ON shared_items (expiry);
