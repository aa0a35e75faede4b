-- The fast proof of a password, beside v1's slow one, known by its key's fingerprint. v1 deletes users, hence the cascade.
-- v2_password_tags stays for programs that know keys by their versions, and its tags are taken over one by one.
-- +goose Up
CREATE TABLE v2_password_proofs (
	user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
	key_fingerprint bytea NOT NULL CHECK (octet_length(key_fingerprint) = 16),
	hash_digest bytea NOT NULL CHECK (octet_length(hash_digest) = 32),
	tag bytea NOT NULL CHECK (octet_length(tag) = 32)
);
