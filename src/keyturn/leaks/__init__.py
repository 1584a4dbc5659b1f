"""Find an exposed key, prove whose it is, kill it, replace it: through a signed client, as anybody does."""
