"""Keyturn: an access-key authority that a team runs itself."""
