"""The field's words as frozen values. Standard library only; nothing here does I/O."""
