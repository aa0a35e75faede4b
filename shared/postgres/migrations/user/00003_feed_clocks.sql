-- The newest timestamp of each user's events, so that the next one is later.
-- +goose Up
CREATE TABLE v2_feed_clocks (
	user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
	last_timestamp timestamp with time zone NOT NULL
);
