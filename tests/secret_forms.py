"""The forms in which a secret could lie somewhere: as it is, in hex, in base64 at any offset, URL-encoded, in JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote


def forms(secret: bytes) -> frozenset[bytes]:
    found = {
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        quote(secret, safe="").encode(),
        quote(secret).encode(),
        secret.replace(b"/", b"\\/"),
        secret.decode("latin-1").encode("utf-16-le"),
    }
    # Inside a longer text that was encoded as a whole, base64 looks one of three ways, but for its ends.
    for offset in range(3):
        text = base64.b64encode(bytes(offset) + secret)
        inner = text[4 if offset else 0 : -4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return frozenset(found)


def names_found(content: bytes, secrets: Mapping[str, bytes]) -> list[str]:
    """The names of the secrets that `content` holds in any form."""
    return [name for name, secret in secrets.items() if any(form in content for form in forms(secret))]


def files_below(directories: Iterable[Path]) -> list[Path]:
    return sorted(path for directory in directories for path in directory.rglob("*") if path.is_file())


def holders(directories: Iterable[Path], secrets: Mapping[str, bytes]) -> dict[Path, list[str]]:
    """The files that hold a secret, and which. Links are followed, unreadable files are an error."""
    found = {}
    for path in files_below(directories):
        content = path.read_bytes()
        # The room that is kept back is millions of zeros: not worth the search.
        names = [] if content.count(0) == len(content) else names_found(content, secrets)
        if names:
            found[path] = names
    return found
