-- A user's events in the order of their timestamps. A broken run leaves an invalid index behind, hence the drop.
-- Both wait for older transactions, which blocks nobody: hence no lock timeout.
-- +goose NO TRANSACTION
-- +goose Up
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS v2_ix_user_events_user_id_timestamp;
CREATE INDEX CONCURRENTLY v2_ix_user_events_user_id_timestamp ON user_events (user_id, "timestamp");
RESET lock_timeout;
