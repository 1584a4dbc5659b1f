-- What people keep in a secrets manager, and indexes by which the audit trail is looked through.

-- A secret belongs to one region, and its name is unique there. purge_at is when a deleted secret is gone: from
-- then on nobody sees it, and the next write that meets it takes the row away.
CREATE TABLE secrets (
  arn TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  resource_policy TEXT,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  deleted_at INTEGER,
  purge_at INTEGER,
  UNIQUE (account_id, region, name),
  CHECK ((deleted_at IS NULL) = (purge_at IS NULL))
) STRICT;
CREATE INDEX secrets_by_purge ON secrets (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE secret_versions (
  arn TEXT NOT NULL REFERENCES secrets (arn) ON DELETE CASCADE,
  version_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  is_binary INTEGER NOT NULL,
  sealed_value BLOB NOT NULL,
  kek_id BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (arn, version_id)
) STRICT;

-- A stage is attached to one version of a secret at a time.
CREATE TABLE secret_stages (
  arn TEXT NOT NULL,
  stage TEXT NOT NULL,
  version_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  PRIMARY KEY (arn, stage),
  FOREIGN KEY (arn, version_id) REFERENCES secret_versions (arn, version_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX secret_stages_by_version ON secret_stages (arn, version_id);

CREATE TABLE secret_tags (
  account_id TEXT NOT NULL,
  arn TEXT NOT NULL REFERENCES secrets (arn) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (arn, key)
) STRICT;

CREATE INDEX audit_records_by_time ON audit_records (event_time, sequence);
CREATE INDEX audit_records_by_key ON audit_records (access_key_id, event_time, sequence);
CREATE INDEX audit_records_by_user ON audit_records (user_name, event_time, sequence);
CREATE INDEX issued_access_key_ids_by_user ON issued_access_key_ids (user_name);
