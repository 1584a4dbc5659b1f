-- Roles and what goes with them. Their inline policies and attachments stand in the tables of the users'.

ALTER TABLE users ADD COLUMN boundary_arn TEXT;

CREATE TABLE roles (
  role_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  name TEXT NOT NULL,
  folded_name TEXT NOT NULL,
  path TEXT NOT NULL,
  trust_policy TEXT NOT NULL,
  description TEXT,
  max_session_seconds INTEGER NOT NULL,
  boundary_arn TEXT,
  created_at INTEGER NOT NULL,
  UNIQUE (account_id, folded_name)
) STRICT;

CREATE TABLE role_tags (
  account_id TEXT NOT NULL,
  role_id TEXT NOT NULL REFERENCES roles (role_id) ON DELETE CASCADE,
  folded_key TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (role_id, folded_key)
) STRICT;

CREATE TABLE instance_profiles (
  instance_profile_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  name TEXT NOT NULL,
  folded_name TEXT NOT NULL,
  path TEXT NOT NULL,
  role_id TEXT REFERENCES roles (role_id),
  created_at INTEGER NOT NULL,
  UNIQUE (account_id, folded_name)
) STRICT;

CREATE TABLE instance_profile_tags (
  account_id TEXT NOT NULL,
  instance_profile_id TEXT NOT NULL REFERENCES instance_profiles (instance_profile_id) ON DELETE CASCADE,
  folded_key TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (instance_profile_id, folded_key)
) STRICT;

CREATE TABLE oidc_providers (
  arn TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  url TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  pinned_jwks TEXT
) STRICT;

CREATE TABLE oidc_client_ids (
  account_id TEXT NOT NULL,
  arn TEXT NOT NULL REFERENCES oidc_providers (arn) ON DELETE CASCADE,
  client_id TEXT NOT NULL,
  PRIMARY KEY (arn, client_id)
) STRICT;

CREATE TABLE oidc_thumbprints (
  account_id TEXT NOT NULL,
  arn TEXT NOT NULL REFERENCES oidc_providers (arn) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  thumbprint TEXT NOT NULL,
  PRIMARY KEY (arn, position)
) STRICT;

CREATE TABLE oidc_tags (
  account_id TEXT NOT NULL,
  arn TEXT NOT NULL REFERENCES oidc_providers (arn) ON DELETE CASCADE,
  folded_key TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (arn, folded_key)
) STRICT;

CREATE TABLE account_settings (
  account_id TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (account_id, name)
) STRICT;

CREATE INDEX users_by_boundary ON users (boundary_arn);
CREATE INDEX roles_by_boundary ON roles (boundary_arn);
CREATE INDEX instance_profiles_by_role ON instance_profiles (role_id);
