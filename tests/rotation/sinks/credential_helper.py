"""A `credential_process` as `keyturn creds` is one, with a refresh that a test can wait for: FILE SECONDS LOG.

It leaves a byte in LOG each time that it is asked.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from keyturn.model.clock import SystemClock
from keyturn.rotation.sinks.credential_process import answer, read_stored

if len(sys.argv) > 2:
    with Path(sys.argv[3]).open("a") as log:
        log.write(".")
stored = read_stored(Path(sys.argv[1]))
if len(sys.argv) > 2:
    stored = replace(stored, refresh=int(sys.argv[2]))
sys.stdout.buffer.write(answer(stored, now_ms=SystemClock().now_ms()).reveal())
