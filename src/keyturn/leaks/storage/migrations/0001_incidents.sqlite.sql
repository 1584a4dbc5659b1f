-- Times are epoch milliseconds. One incident a fingerprint; an incident that was opened by an operator's word for an id
-- has the id as its fingerprint. `progress` is JSON with a schema version of its own: see leaks/incidents.py.

CREATE TABLE incidents (
  incident_id TEXT NOT NULL PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,
  access_key_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  stage TEXT NOT NULL,
  progress TEXT NOT NULL,
  version INTEGER NOT NULL,
  opened_at INTEGER NOT NULL,
  closed_at INTEGER
) STRICT;
CREATE INDEX incidents_open ON incidents (opened_at) WHERE closed_at IS NULL;
CREATE INDEX incidents_by_key ON incidents (access_key_id);

CREATE TABLE timeline (
  incident_id TEXT NOT NULL REFERENCES incidents (incident_id),
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  what TEXT NOT NULL,
  PRIMARY KEY (incident_id, number)
) STRICT;

-- Ids that were seen in public without a secret that works: told once, and never acted on.
CREATE TABLE exposed_identifiers (
  access_key_id TEXT NOT NULL,
  place TEXT NOT NULL,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (access_key_id, place)
) STRICT;
