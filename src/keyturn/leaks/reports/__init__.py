"""How findings are told: one file a format."""
