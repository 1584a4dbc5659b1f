-- One authority, one account. Times are epoch milliseconds. Names are unique without regard to case:
-- the folded form is made in Python and stands beside the name.

CREATE TABLE instance (
  singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
  instance_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  kek_id BLOB,
  key_check BLOB,
  is_ready INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE account_aliases (
  account_id TEXT PRIMARY KEY,
  alias TEXT NOT NULL
) STRICT;

CREATE TABLE users (
  user_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  name TEXT NOT NULL,
  folded_name TEXT NOT NULL,
  path TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (account_id, folded_name)
) STRICT;

CREATE TABLE user_tags (
  account_id TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
  folded_key TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (user_id, folded_key)
) STRICT;

-- Every id ever issued, so that none is issued twice and an attempt with a deleted key can be told
-- from an attempt with an id that never was.
CREATE TABLE issued_access_key_ids (
  access_key_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  user_name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  deleted_at INTEGER
) STRICT;

-- Two slots a user: the quota holds even if the code that counts is wrong.
CREATE TABLE access_keys (
  access_key_id TEXT PRIMARY KEY REFERENCES issued_access_key_ids (access_key_id),
  account_id TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (user_id),
  slot INTEGER NOT NULL CHECK (slot IN (1, 2)),
  status TEXT NOT NULL CHECK (status IN ('Active', 'Inactive')),
  sealed_secret BLOB NOT NULL,
  kek_id BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (user_id, slot)
) STRICT;

-- For a minute, which key answered which CreateAccessKey, so that a repeat gets the same one.
-- Only a hash of caller, invocation id and parameters is kept.
CREATE TABLE access_key_creations (
  request_hash BLOB PRIMARY KEY,
  account_id TEXT NOT NULL,
  access_key_id TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX access_key_creations_by_time ON access_key_creations (created_at);

CREATE TABLE groups (
  group_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  name TEXT NOT NULL,
  folded_name TEXT NOT NULL,
  path TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (account_id, folded_name)
) STRICT;

CREATE TABLE group_members (
  account_id TEXT NOT NULL,
  group_id TEXT NOT NULL REFERENCES groups (group_id),
  user_id TEXT NOT NULL REFERENCES users (user_id),
  PRIMARY KEY (group_id, user_id)
) STRICT;
CREATE INDEX group_members_by_user ON group_members (user_id);

-- Inline policies of users and groups: the owner is a user_id or a group_id.
CREATE TABLE inline_policies (
  account_id TEXT NOT NULL,
  owner_id TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (owner_id, name)
) STRICT;

CREATE TABLE managed_policies (
  policy_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  arn TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  folded_name TEXT NOT NULL,
  path TEXT NOT NULL,
  description TEXT,
  default_version INTEGER NOT NULL,
  latest_version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (account_id, folded_name)
) STRICT;

CREATE TABLE managed_policy_versions (
  account_id TEXT NOT NULL,
  policy_id TEXT NOT NULL REFERENCES managed_policies (policy_id) ON DELETE CASCADE,
  version INTEGER NOT NULL,
  document TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (policy_id, version)
) STRICT;

-- Here case counts: AWS tells the keys `a` and `A` of a policy apart.
CREATE TABLE managed_policy_tags (
  account_id TEXT NOT NULL,
  policy_id TEXT NOT NULL REFERENCES managed_policies (policy_id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (policy_id, key)
) STRICT;

-- By ARN, because the policies that AWS manages have no row of ours.
CREATE TABLE policy_attachments (
  account_id TEXT NOT NULL,
  owner_id TEXT NOT NULL,
  policy_arn TEXT NOT NULL,
  PRIMARY KEY (owner_id, policy_arn)
) STRICT;
CREATE INDEX policy_attachments_by_policy ON policy_attachments (policy_arn);

CREATE TABLE audit_records (
  sequence INTEGER PRIMARY KEY,
  account_id TEXT NOT NULL,
  event_time INTEGER NOT NULL,
  event_name TEXT NOT NULL,
  user_name TEXT,
  access_key_id TEXT,
  record TEXT NOT NULL,
  chain BLOB NOT NULL
) STRICT;

-- The last link of the chain, and the revision of the store: one row, changed in the transaction of each change.
CREATE TABLE audit_head (
  singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
  sequence INTEGER NOT NULL,
  chain BLOB NOT NULL,
  revision INTEGER NOT NULL
) STRICT;
INSERT INTO audit_head (singleton, sequence, chain, revision) VALUES (1, 0, x'', 0);
