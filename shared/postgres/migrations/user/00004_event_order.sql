-- A user's events in the order of their timestamps. A broken run leaves an invalid index behind, hence the drop.
-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS v2_ix_user_events_user_id_timestamp;
CREATE INDEX CONCURRENTLY v2_ix_user_events_user_id_timestamp ON user_events (user_id, "timestamp");
