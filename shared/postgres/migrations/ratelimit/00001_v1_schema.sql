-- What v1's own migrations leave behind. On a database that v1 made there is nothing to do.
-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
	IF to_regclass('rate_limit_consumptions') IS NOT NULL THEN
		RETURN;
	END IF;

	CREATE TABLE IF NOT EXISTS "__EFMigrationsHistory" (
		"MigrationId" character varying(150) NOT NULL,
		"ProductVersion" character varying(32) NOT NULL,
		CONSTRAINT pk___ef_migrations_history PRIMARY KEY ("MigrationId")
	);

	CREATE TABLE rate_limit_consumptions (
		key text NOT NULL,
		requests timestamp with time zone[] NOT NULL,
		CONSTRAINT pk_rate_limit_consumptions PRIMARY KEY (key)
	);

	INSERT INTO "__EFMigrationsHistory" ("MigrationId", "ProductVersion") VALUES
		('20240110005744_InitialRateLimitMigration', '10.0.15'),
		('20240115012913_SnakeCase', '10.0.15');
END
$$;
-- +goose StatementEnd
