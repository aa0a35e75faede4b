-- The fast proof of a password, beside v1's slow one. v1 deletes users, hence the cascade.
-- +goose Up
CREATE TABLE v2_password_tags (
	user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
	key_version integer NOT NULL CHECK (key_version > 0),
	hash_digest bytea NOT NULL CHECK (octet_length(hash_digest) = 32),
	tag bytea NOT NULL CHECK (octet_length(tag) = 32)
);
