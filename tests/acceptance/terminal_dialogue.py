"""A program with a terminal of its own, for what clients ask of the person before it: a prompt, and the typed answer."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

_SECONDS: Final = 60.0
# The first terminal that a session's leader opens becomes the session's (termios, "The Controlling Terminal").
_ON_TERMINAL: Final = "import os, sys; os.open(sys.argv[1], os.O_RDWR); os.execvp(sys.argv[2], sys.argv[2:])"


class Dialogue:
    """The program's /dev/tty is ours; its stdin and stdout are pipes, its stderr a file."""

    def __init__(self, command: Sequence[str | Path], env: dict[str, str], errors: Path) -> None:
        self._master, self._terminal = os.openpty()
        self._errors = errors
        self.shown = ""
        """What has stood on the terminal."""
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _ON_TERMINAL, os.ttyname(self._terminal), *command],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )

    def answer_prompt(self, prompt: str, line: str) -> None:
        """Wait for the prompt, then type."""
        while prompt not in self.shown:
            readable, _, _ = select.select([self._master], [], [], _SECONDS)
            assert readable, f"no prompt, but: {self.shown}{self.errors}"
            self.shown += os.read(self._master, 4096).decode()
        os.write(self._master, f"{line}\n".encode())

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            os.close(self._master)
            os.close(self._terminal)
