-- How often the model was called on each day (UTC): the ceiling of the bill. A row a day, which need not be cleaned up.
-- +goose Up
CREATE TABLE v2_model_calls (
	day date PRIMARY KEY,
	calls bigint NOT NULL CHECK (calls >= 0)
);
