"""Replaces a file by another one in one step: a reader sees the old one or the new one, and never a part.

For what may be read by others. Files that belong to one user are the store's.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from keyturn.model.errors import KeyturnError


def replace_file(path: Path, text: str) -> None:
    """Write beside it, then take its name. KeyturnError if it can't be written; then nothing is left."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise KeyturnError(f"can't write {path}: {error.strerror}") from error
