-- Times are epoch milliseconds. `progress` is JSON with a schema version of its own: see rotation/progress.py.

CREATE TABLE rotations (
  rotation_id TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL,
  user_name TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  region TEXT NOT NULL,
  profile TEXT NOT NULL,
  stage TEXT NOT NULL,
  progress TEXT NOT NULL,
  version INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  finished_at INTEGER
) STRICT;
-- One open rotation a user: a second one would take the first one's keys for a stranger's.
CREATE UNIQUE INDEX rotations_open ON rotations (account_id, user_name) WHERE finished_at IS NULL;
CREATE INDEX rotations_due ON rotations (next_at) WHERE finished_at IS NULL;

CREATE TABLE events (
  rotation_id TEXT NOT NULL REFERENCES rotations (rotation_id),
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  what TEXT NOT NULL,
  told_at INTEGER,
  PRIMARY KEY (rotation_id, number)
) STRICT;
CREATE INDEX events_untold ON events (kind, at) WHERE told_at IS NULL;

-- What must not be lost while it is under way: the new pair until the last sink has it, and what sinks held before.
CREATE TABLE sealed_pairs (
  rotation_id TEXT NOT NULL REFERENCES rotations (rotation_id),
  holder TEXT NOT NULL,
  access_key_id TEXT NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (rotation_id, holder)
) STRICT;

CREATE TABLE samples (
  access_key_id TEXT NOT NULL,
  at INTEGER NOT NULL,
  last_used_at INTEGER,
  PRIMARY KEY (access_key_id, at)
) STRICT;
