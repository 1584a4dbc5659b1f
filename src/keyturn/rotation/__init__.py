"""Replace a key everywhere with no gap in service: through a signed client, on any IAM endpoint."""
