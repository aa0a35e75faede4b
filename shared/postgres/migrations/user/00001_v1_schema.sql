-- What v1's own migrations leave behind. On a database that v1 made there is nothing to do.
-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
	IF to_regclass('users') IS NOT NULL THEN
		RETURN;
	END IF;

	CREATE TABLE IF NOT EXISTS "__EFMigrationsHistory" (
		"MigrationId" character varying(150) NOT NULL,
		"ProductVersion" character varying(32) NOT NULL,
		CONSTRAINT pk___ef_migrations_history PRIMARY KEY ("MigrationId")
	);

	CREATE TABLE users (
		id uuid NOT NULL,
		hashed_password text NOT NULL,
		salt bytea NOT NULL,
		encrypted_current_plan bytea,
		encrypted_profile_picture bytea,
		encrypted_name bytea,
		last_accessed timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
		encryption_iv bytea DEFAULT '\x'::bytea NOT NULL,
		rsa_public_key bytea DEFAULT '\x'::bytea NOT NULL,
		user_lookup text NOT NULL,
		created timestamp with time zone,
		CONSTRAINT pk_users PRIMARY KEY (id)
	);
	CREATE UNIQUE INDEX ix_users_user_lookup ON users USING btree (user_lookup);

	CREATE TABLE user_events (
		id uuid NOT NULL,
		user_id uuid NOT NULL,
		"timestamp" timestamp with time zone NOT NULL,
		last_accessed timestamp with time zone NOT NULL,
		expiry timestamp with time zone NOT NULL,
		encrypted_event bytea NOT NULL,
		encryption_iv bytea DEFAULT '\x'::bytea NOT NULL,
		CONSTRAINT pk_user_events PRIMARY KEY (user_id, id),
		CONSTRAINT fk_user_events_users_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
	);
	CREATE INDEX ix_user_events_expiry ON user_events USING btree (expiry);

	CREATE TABLE user_follow_secrets (
		id uuid NOT NULL,
		user_id uuid NOT NULL,
		value character varying(40) NOT NULL,
		CONSTRAINT pk_user_follow_secrets PRIMARY KEY (id),
		CONSTRAINT fk_user_follow_secrets_users_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
	);
	CREATE INDEX ix_user_follow_secrets_user_id ON user_follow_secrets USING btree (user_id);

	CREATE TABLE user_inbox_items (
		id uuid NOT NULL,
		user_id uuid NOT NULL,
		encrypted_message bytea[] NOT NULL,
		CONSTRAINT pk_user_inbox_items PRIMARY KEY (id),
		CONSTRAINT fk_user_inbox_items_users_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
	);
	CREATE INDEX ix_user_inbox_items_user_id ON user_inbox_items USING btree (user_id);

	CREATE TABLE shared_items (
		user_id uuid NOT NULL,
		"timestamp" timestamp with time zone NOT NULL,
		expiry timestamp with time zone NOT NULL,
		encrypted_payload bytea NOT NULL,
		encryption_iv bytea NOT NULL,
		id text NOT NULL,
		CONSTRAINT pk_shared_items PRIMARY KEY (id),
		CONSTRAINT fk_shared_items_users_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
	);
	CREATE INDEX ix_shared_items_user_id ON shared_items USING btree (user_id);

	INSERT INTO "__EFMigrationsHistory" ("MigrationId", "ProductVersion") VALUES
		('20231230020929_InitialCreate', '10.0.15'),
		('20231230032020_AddLastAccessedToUsers', '10.0.15'),
		('20231230121717_AddIVToPayloads', '10.0.15'),
		('20240106081043_AddInboxMessaging', '10.0.15'),
		('20240106104308_AddValidation', '10.0.15'),
		('20240109094228_MakeEventsUniqueOnlyWithinUsers', '10.0.15'),
		('20240115012906_SnakeCase', '10.0.15'),
		('20240407022930_StorePublicKeys', '10.0.15'),
		('20240407113536_AddUserLookup', '10.0.15'),
		('20240606085611_RequiredRsaPublicKey', '10.0.15'),
		('20240630015536_SharedItems', '10.0.15'),
		('20240704115106_RemoveSqids', '10.0.15'),
		('20240721053241_UserCreated', '10.0.15'),
		('20240809033343_IncreaseEncryptedPayloadLength', '10.0.15'),
		('20260608092703_IncreaseMaxSize', '10.0.15');
END
$$;
-- +goose StatementEnd
