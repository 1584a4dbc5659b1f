"""The authority's tables: plain SQL beside the code that asks it, one function a question."""
