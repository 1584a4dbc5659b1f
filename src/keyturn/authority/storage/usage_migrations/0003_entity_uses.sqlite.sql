-- What users and roles called themselves: a session's call is its role's here, and its key's in usage_rows.

CREATE TABLE entity_uses (
  entity_id TEXT NOT NULL,
  service TEXT NOT NULL,
  action TEXT NOT NULL,
  used_at INTEGER NOT NULL,
  region TEXT NOT NULL,
  PRIMARY KEY (entity_id, service, action)
) STRICT;
