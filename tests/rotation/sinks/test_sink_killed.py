"""A file sink that is killed at any moment leaves the old file or the new one, and nothing that stays."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Final

from keyturn.rotation.sinks.registry import open_sink
from rotation.sinks.sink_conformance import new_context, new_pair, surroundings

PROGRAM: Final = Path(__file__).parent / "rotating_program.py"
KILLS: Final = 20
OTHERS: Final = b"# kept\n[other]\nregion = x\n"


def test_a_writer_that_is_killed_leaves_one_whole_pair_and_the_next_writer_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(OTHERS)
    sink = open_sink(
        "after", {"type": "credentials_file", "profile": "ci", "path": str(path)}, surroundings({})
    )
    chance = random.Random(4)  # noqa: S311 - which moment, not a secret
    left = 0
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, PROGRAM, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 6)):
                writer.stdout.readline()
            # A few more thousand instructions, so that the kill does not always come right after a write.
            hashlib.pbkdf2_hmac("sha256", b"", b"", chance.randrange(1, 20_000))
            writer.kill()
        left += len(list(tmp_path.glob("*.tmp")))
        held = sink.read().pair
        assert held is not None
        assert held.secret.reveal() == hashlib.sha256(held.access_key_id.encode()).hexdigest()[:40].encode()
        assert path.read_bytes().startswith(OTHERS)
    sink.write(new_pair(), expect=sink.read(), context=new_context())
    assert left > 0, "no kill hit a write: the test shows nothing"
    assert not list(tmp_path.glob("*.tmp"))
    assert sorted(file.name for file in tmp_path.iterdir()) == [".credentials.keyturn-lock", "credentials"]
