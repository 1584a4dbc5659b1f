"""Where a new key is written: one file a sink, behind one interface."""
