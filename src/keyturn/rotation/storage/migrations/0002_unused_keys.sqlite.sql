-- Keys that nobody uses: who was told, and what became of it. Times are epoch milliseconds.

CREATE TABLE notices (
  account_id TEXT NOT NULL,
  access_key_id TEXT NOT NULL,
  user_name TEXT NOT NULL,
  noticed_at INTEGER NOT NULL,
  -- The intent: set before the endpoint is asked.
  deactivating_at INTEGER,
  PRIMARY KEY (account_id, access_key_id)
) STRICT;

CREATE TABLE key_events (
  number INTEGER NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL,
  access_key_id TEXT NOT NULL,
  user_name TEXT NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  what TEXT NOT NULL,
  told_at INTEGER
) STRICT;
CREATE INDEX key_events_of_key ON key_events (access_key_id, number);
CREATE INDEX key_events_untold ON key_events (number) WHERE told_at IS NULL;

-- When something that is done now and then was done last.
CREATE TABLE chores (
  account_id TEXT NOT NULL,
  name TEXT NOT NULL,
  done_at INTEGER NOT NULL,
  PRIMARY KEY (account_id, name)
) STRICT;
