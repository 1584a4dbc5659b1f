"""The mark: the head of the audit chain and the store's revision, copied outside the data directory.

A restored file would revive revoked keys. A store older than its mark is therefore refused, and a trail
whose tail was cut below the mark is found. The last second before a crash is the stated residual.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Final

from keyturn.authority.storage.audit_trail import AuditHead
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.store.private_files import fsync_directory

_VERSION: Final = 1
_LONGEST: Final = 4096


class MarkFile:
    """One small JSON file with a keyed hash of its own, replaced atomically."""

    def __init__(self, path: Path, instance_id: str, checkpoint_key: Secret) -> None:
        self.path = path
        self._instance_id = instance_id
        self._key = checkpoint_key
        self._written: AuditHead | None = None

    def read(self) -> AuditHead | None:
        """The mark, or None if there is no file. KeyturnError if the file is not one of ours."""
        try:
            with self.path.open("rb") as file:
                content = json.loads(file.read(_LONGEST))
            head = AuditHead(
                int(content["sequence"]), bytes.fromhex(content["chain"]), int(content["revision"])
            )
            seal = str(content["seal"]).encode()
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError, OSError) as cause:
            raise self._foreign() from cause
        if not hmac.compare_digest(seal, self._seal(head).encode()):
            raise self._foreign()
        return head

    def write(self, head: AuditHead) -> None:
        """Replace the mark. A mark that says the same is left alone."""
        if head == self._written:
            return
        content = {
            "version": _VERSION,
            "instance": self._instance_id,
            "sequence": head.sequence,
            "chain": head.chain.hex(),
            "revision": head.revision,
            "seal": self._seal(head),
        }
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(content).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        if self._written is None:
            fsync_directory(self.path.parent)  # without its mark, the next start would be refused
        self._written = head

    def _seal(self, head: AuditHead) -> str:
        text = f"{_VERSION}|{self._instance_id}|{head.sequence}|{head.chain.hex()}|{head.revision}"
        return hmac.new(self._key.reveal(), text.encode(), hashlib.sha256).hexdigest()

    def _foreign(self) -> KeyturnError:
        return KeyturnError(
            f"the mark file {self.path} is damaged, or belongs to another instance or master key",
            "find out who changed it; to go on without it, start with --accept-rollback",
        )
