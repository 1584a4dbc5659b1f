"""Who holds a key, and may they: issue, verify, authorise, record, deactivate, delete."""
