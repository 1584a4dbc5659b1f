"""Real clients on credentials that they get for themselves: by a role's profile, or for a web identity token."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from botocore import xform_name

from acceptance.real_clients import AWS_V1, AWS_V2, ROOT, Refused
from acceptance.terminal_dialogue import Dialogue

_HERE: Final = Path(__file__).parent
_ERROR: Final = re.compile(r"\((?P<code>\w+)\) when calling the \w+ operation[^:]*: (?P<message>.*)")


class SessionClient:
    """One client in one environment. It keeps its session as its users know it: in a file, or while it runs."""

    prompt = "Enter MFA code for {serial}: "

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.errors = Path(env["HOME"]) / "stderr"

    def call(self, service: str, operation: str, **asked: Any) -> dict[str, Any]:
        """The answer's members, or Refused. No code is asked for."""
        return self._called(service, operation, asked, None)

    def call_with_code(
        self, serial: str, code: str, service: str, operation: str, **asked: Any
    ) -> dict[str, Any]:
        """The same, where the client asks for the code of this device."""
        return self._called(service, operation, asked, (serial, code))

    def _called(
        self, service: str, operation: str, asked: Mapping[str, Any], proof: tuple[str, str] | None
    ) -> dict[str, Any]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running."""


class CommandLineSession(SessionClient):
    """`aws`, one process a command: the session lives in ~/.aws/cli/cache."""

    def __init__(self, program: Path, env: dict[str, str]) -> None:
        super().__init__(env)
        self._program = program

    def _called(
        self, service: str, operation: str, asked: Mapping[str, Any], proof: tuple[str, str] | None
    ) -> dict[str, Any]:
        words = [service, xform_name(operation, "-")]
        for name, value in asked.items():
            words += [f"--{xform_name(name, '-')}", value]
        with Dialogue([self._program, *words], self.env, self.errors) as dialogue:
            if proof is not None:
                dialogue.answer_prompt(self.prompt.format(serial=proof[0]), proof[1])
            out, _ = dialogue.process.communicate(timeout=120)
            if dialogue.process.returncode:
                told = _ERROR.search(dialogue.errors)
                assert told, dialogue.errors
                raise Refused(told["code"], told["message"])
        return dict(json.loads(out))


class RunningSession(SessionClient):
    """A program that stays: requests and answers are JSON lines."""

    def __init__(self, command: list[str | Path], env: dict[str, str]) -> None:
        super().__init__(env)
        self._dialogue = Dialogue(command, env, self.errors)

    def _called(
        self, service: str, operation: str, asked: Mapping[str, Any], proof: tuple[str, str] | None
    ) -> dict[str, Any]:
        self._write(
            json.dumps(
                {
                    "service": service,
                    "operation": operation,
                    "method": xform_name(operation),
                    "parameters": asked,
                }
            )
        )
        if proof is not None:
            self._prove(*proof)
        answer = self._read()
        if "error" in answer:
            raise Refused(answer["error"]["code"], answer["error"]["message"])
        return dict(answer["answer"])

    def _prove(self, serial: str, code: str) -> None:
        self._dialogue.answer_prompt(self.prompt.format(serial=serial), code)

    def _write(self, line: str) -> None:
        assert self._dialogue.process.stdin is not None
        self._dialogue.process.stdin.write(f"{line}\n")
        self._dialogue.process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._dialogue.process.stdout is not None
        line = self._dialogue.process.stdout.readline()
        assert line, self._dialogue.errors
        return dict(json.loads(line))

    def __exit__(self, *about: object) -> None:
        self._dialogue.__exit__(*about)


class JavaScriptSession(RunningSession):
    def _prove(self, serial: str, code: str) -> None:
        assert self._read() == {"mfa": serial}
        self._write(code)


def session_client(name: str, env: dict[str, str]) -> SessionClient:
    """By the names of `real_clients.CLIENTS`."""
    if name == "JavaScript":
        return JavaScriptSession(
            ["node", _HERE / "javascript/session.mjs", ROOT / ".clients/javascript"], env
        )
    if name == "boto3":
        return RunningSession([sys.executable, _HERE / "boto3_session.py"], env)
    return CommandLineSession(AWS_V1 if name == "aws v1" else AWS_V2, env)
