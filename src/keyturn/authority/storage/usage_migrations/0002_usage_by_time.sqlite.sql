-- By which the latest uses of all keys are found.
CREATE INDEX usage_rows_by_time ON usage_rows (last_at);
