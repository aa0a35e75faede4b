-- Which database this is, in one row. A copy that was restored is given an identity of its own before it is used, so that programs
-- that began with the original do not take what it lacks for deleted. Both sets make the table, because their databases may be one.
-- +goose Up
CREATE TABLE IF NOT EXISTS v2_identity (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO v2_identity DEFAULT VALUES ON CONFLICT (one) DO NOTHING;
