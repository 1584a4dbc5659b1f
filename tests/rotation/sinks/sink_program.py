"""A program that holds a key in a file, as somebody would write one for the command sink: write|verify|read FILE.

What it saw of its arguments and variables goes to FILE.seen, so that a test can look for secrets there.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

verb, file = sys.argv[1], Path(sys.argv[2])
with file.with_suffix(".seen").open("ab") as seen:
    seen.write(Path("/proc/self/cmdline").read_bytes())
    seen.write("".join(f"{name}={value}\n" for name, value in os.environ.items()).encode())
held = json.loads(file.read_text()) if file.exists() else {}
if verb == "read":
    sys.stdout.write(json.dumps(held))
    sys.exit(0)
said = json.loads(sys.stdin.read())
if verb == "verify":
    sys.exit(0 if {name: said[name] for name in held} == held and held else 1)
file.write_text(json.dumps({name: said[name] for name in ("access_key_id", "secret_access_key")}))
