-- Whether a follow secret is a user's. A broken run leaves an invalid index behind, hence the drop.
-- Both wait for older transactions, which blocks nobody: hence no lock timeout.
-- +goose NO TRANSACTION
-- +goose Up
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS v2_ix_user_follow_secrets_user_id_value;
CREATE INDEX CONCURRENTLY v2_ix_user_follow_secrets_user_id_value ON user_follow_secrets (user_id, value);
RESET lock_timeout;
