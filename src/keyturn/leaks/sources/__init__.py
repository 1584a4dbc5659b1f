"""Where keys are looked for: one file a source, behind one interface."""
