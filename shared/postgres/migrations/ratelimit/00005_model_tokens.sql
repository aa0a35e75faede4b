-- How many of the model's tokens each day (UTC) has taken: the ceiling of the bill. A row a day, which need not be cleaned
-- up. v2_model_calls stays for programs that count calls.
-- +goose Up
CREATE TABLE v2_model_tokens (
	day date PRIMARY KEY,
	tokens bigint NOT NULL CHECK (tokens >= 0)
);
