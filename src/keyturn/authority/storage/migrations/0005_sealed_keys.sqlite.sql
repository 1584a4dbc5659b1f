-- Keys that must outlive a master key: of the audit chain and of its mark. Sealed like every other secret.
CREATE TABLE sealed_keys (
  account_id TEXT NOT NULL,
  purpose TEXT NOT NULL,
  sealed BLOB NOT NULL,
  kek_id BLOB NOT NULL,
  PRIMARY KEY (account_id, purpose)
) STRICT;
