-- What people have beside keys: a second factor, a password, and the reports about them.

-- One-time codes count in steps of 30 seconds since the epoch (RFC 6238). A code works once: only a step
-- behind last_step is accepted. drift is how many steps the device's clock is ahead of ours.
CREATE TABLE mfa_devices (
  serial_number TEXT PRIMARY KEY,
  folded_serial_number TEXT NOT NULL UNIQUE,
  account_id TEXT NOT NULL,
  user_id TEXT REFERENCES users (user_id),
  sealed_seed BLOB NOT NULL,
  kek_id BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  enabled_at INTEGER,
  last_step INTEGER NOT NULL DEFAULT -1,
  drift INTEGER NOT NULL DEFAULT 0,
  wrong_codes INTEGER NOT NULL DEFAULT 0,
  wrong_since INTEGER NOT NULL DEFAULT 0,
  CHECK ((user_id IS NULL) = (enabled_at IS NULL))
) STRICT;
CREATE INDEX mfa_devices_by_user ON mfa_devices (user_id);

CREATE TABLE mfa_device_tags (
  account_id TEXT NOT NULL,
  serial_number TEXT NOT NULL REFERENCES mfa_devices (serial_number) ON DELETE CASCADE,
  folded_key TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (serial_number, folded_key)
) STRICT;

CREATE TABLE login_profiles (
  user_id TEXT PRIMARY KEY REFERENCES users (user_id),
  account_id TEXT NOT NULL,
  reset_required INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  last_used_at INTEGER,
  wrong_passwords INTEGER NOT NULL DEFAULT 0,
  wrong_since INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The highest sequence is the password that counts; those before are kept so that they are not used again.
-- The scheme names the hash and its costs, so that these may change.
CREATE TABLE passwords (
  user_id TEXT NOT NULL REFERENCES login_profiles (user_id) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  account_id TEXT NOT NULL,
  scheme TEXT NOT NULL,
  salt BLOB NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (user_id, sequence)
) STRICT;

-- No row: AWS's default policy. NULL: not set.
CREATE TABLE password_policies (
  account_id TEXT PRIMARY KEY,
  minimum_length INTEGER NOT NULL,
  require_symbols INTEGER NOT NULL,
  require_numbers INTEGER NOT NULL,
  require_uppercase INTEGER NOT NULL,
  require_lowercase INTEGER NOT NULL,
  users_may_change INTEGER NOT NULL,
  max_age_days INTEGER,
  reuse_prevention INTEGER,
  hard_expiry INTEGER
) STRICT;

-- The last report: its rows as JSON, without the last uses, which stand in the usage file.
CREATE TABLE credential_reports (
  account_id TEXT PRIMARY KEY,
  generated_at INTEGER NOT NULL,
  content TEXT NOT NULL
) STRICT;

CREATE TABLE service_access_jobs (
  job_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  granularity TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX service_access_jobs_by_time ON service_access_jobs (created_at);
