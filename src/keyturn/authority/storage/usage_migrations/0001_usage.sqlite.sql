-- Who used a key. A file of its own: losing its last second loses no key and no revocation.

CREATE TABLE last_uses (
  access_key_id TEXT PRIMARY KEY,
  used_at INTEGER NOT NULL,
  service TEXT NOT NULL,
  region TEXT NOT NULL
) STRICT;

CREATE TABLE usage_rows (
  access_key_id TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('used', 'refused')),
  source TEXT NOT NULL,
  user_agent TEXT NOT NULL,
  service TEXT NOT NULL,
  action TEXT NOT NULL,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  uses INTEGER NOT NULL,
  PRIMARY KEY (access_key_id, outcome, source, user_agent, service, action)
) STRICT;

CREATE TABLE unproved_attempts (
  access_key_id TEXT PRIMARY KEY,
  attempts INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  last_source TEXT NOT NULL
) STRICT;
