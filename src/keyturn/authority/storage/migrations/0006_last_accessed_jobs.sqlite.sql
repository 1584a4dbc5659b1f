-- A job may ask about a role, a group or a policy, too. Jobs of before are not kept: any of them can be asked for again.

DROP TABLE service_access_jobs;
CREATE TABLE service_access_jobs (
  job_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  entity_kind TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  granularity TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX service_access_jobs_by_time ON service_access_jobs (created_at);
