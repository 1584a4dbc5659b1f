"""The command line: one file per verb; `terminal` owns stdout, stderr and exit codes."""
