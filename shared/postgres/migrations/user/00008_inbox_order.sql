-- A user's messages in the order of their ids, which is v2's order of handing over. A broken run leaves an invalid index
-- behind, hence the drop. Both wait for older transactions, which blocks nobody: hence no lock timeout.
-- +goose NO TRANSACTION
-- +goose Up
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS v2_ix_user_inbox_items_user_id_id;
CREATE INDEX CONCURRENTLY v2_ix_user_inbox_items_user_id_id ON user_inbox_items (user_id, id);
RESET lock_timeout;
