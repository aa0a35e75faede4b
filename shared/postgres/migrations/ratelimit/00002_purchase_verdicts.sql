-- Purchases that a store has confirmed a short while ago, by the digest of their token.
-- +goose Up
CREATE TABLE v2_purchase_verdicts (
	digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
	subject text NOT NULL,
	verified_at timestamp with time zone NOT NULL
);
CREATE INDEX v2_ix_purchase_verdicts_verified_at ON v2_purchase_verdicts (verified_at);
