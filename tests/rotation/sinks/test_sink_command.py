"""The command sink: the pair on stdin, exit codes with a meaning, bounded, and silent about secrets."""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.clock import SystemClock
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.bounded_process import LARGEST_OUTPUT, run_bounded
from keyturn.rotation.sinks.interface import (
    ReadBack,
    Sink,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
)
from keyturn.rotation.sinks.registry import open_sink
from rotation.sinks.sink_conformance import (
    NOTHING,
    PlaceUnderTest,
    SinkConformance,
    file_mark,
    new_context,
    new_pair,
    surroundings,
)
from secret_forms import names_found

PROGRAM: Final = str(Path(__file__).parent / "sink_program.py")
ENVIRONMENT: Final = {
    "AWS_SECRET_ACCESS_KEY": "the-rotation-s-own-secret",
    "VAULT_TOKEN": "another-secret",
    "REGISTRY": "eu-1",
    "LC_ALL": "C",
}


def command_sink(argv: list[str], **more: Any) -> Sink:
    return open_sink("own", {"type": "command", "command": argv, **more}, surroundings(ENVIRONMENT))


def shell_sink(script: str, **more: Any) -> Sink:
    return command_sink(["sh", "-c", script], **more)


def behind(path: Path) -> Any:
    def write(pair: AccessKeyPair) -> None:
        held = {"access_key_id": pair.access_key_id, "secret_access_key": pair.secret.reveal().decode()}
        path.write_text(json.dumps(held))

    return write


class TestCommandWithRead(SinkConformance):
    verbs: tuple[str, ...] = ("read",)

    @pytest.fixture
    def place(self, tmp_path: Path) -> PlaceUnderTest:
        path = tmp_path / "held.json"
        more = {verb: [sys.executable, PROGRAM, verb, str(path)] for verb in self.verbs}
        return PlaceUnderTest(
            command_sink([sys.executable, PROGRAM, "write", str(path)], **more),
            behind(path),
            mark=lambda: file_mark(path),
            directories=(tmp_path,),
            may_hold=(path,),
        )


class TestCommandWithReadAndVerify(TestCommandWithRead):
    verbs = ("read", "verify")


class TestCommandAlone(TestCommandWithRead):
    verbs = ()


def test_a_program_that_verifies_is_asked_before_and_after_a_write(tmp_path: Path) -> None:
    path = tmp_path / "held.json"
    verify = [sys.executable, PROGRAM, "verify", str(path)]
    sink = command_sink([sys.executable, PROGRAM, "write", str(path)], verify=verify)
    assert sink.describe().read_back is ReadBack.VERSION
    pair = new_pair()
    assert not sink.holds(pair, before=NOTHING)
    sink.write(pair, expect=NOTHING, context=new_context())
    mark = file_mark(path)
    sink.write(pair, expect=NOTHING, context=new_context())
    assert file_mark(path) == mark
    assert sink.holds(pair, before=NOTHING)
    assert not sink.holds(new_pair(), before=NOTHING)


def test_stdin_holds_the_pair_and_whose_it_is_and_nothing_else_does(tmp_path: Path) -> None:
    pair, context, path = new_pair(), new_context(), tmp_path / "said"
    shell_sink(f'cat > {path}; env > {path}.env; tr "\\0" " " < /proc/$$/cmdline > {path}.argv').write(
        pair, expect=NOTHING, context=context
    )
    assert json.loads(path.read_bytes()) == {
        "access_key_id": pair.access_key_id,
        "secret_access_key": pair.secret.reveal().decode(),
        "rotation_id": context.rotation_id,
        "user_name": context.user_name,
    }
    for suffix in (".env", ".argv"):
        assert names_found((tmp_path / f"said{suffix}").read_bytes(), {"it": pair.secret.reveal()}) == []


def test_a_program_gets_none_of_the_rotation_s_own_credentials_but_what_is_named(tmp_path: Path) -> None:
    path = tmp_path / "env"
    sink = shell_sink(f"env > {path}", environment=["REGISTRY"])
    sink.write(new_pair(), expect=NOTHING, context=new_context())
    found = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert {name: found.get(name) for name in ENVIRONMENT} == {
        "AWS_SECRET_ACCESS_KEY": None, "VAULT_TOKEN": None, "REGISTRY": "eu-1", "LC_ALL": "C",
    }  # fmt: skip
    assert found["KEYTURN_ROTATION_ID"] == "rotation-1"


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("exit 75", SinkUnavailableError, "asks to be run again later"),
        ("exit 1", SinkRefusedError, "ended with 1"),
        ("echo no such host >&2; exit 4", SinkRefusedError, "ended with 4: no such host$"),
        ("kill -9 $$", SinkRefusedError, "was killed by signal 9"),
    ],
)
def test_exit_codes_say_what_to_do(script: str, kind: type[SinkError], message: str) -> None:
    with pytest.raises(kind, match=message):
        shell_sink(script).write(new_pair(), expect=NOTHING, context=new_context())


@pytest.mark.parametrize(
    "leak",
    [
        "cat >&2",
        "sed 's/.*secret_access_key...//; s/.rotation.*//' >&2",
        "base64 >&2",
        "base64 -w 20 >&2",
        "od -An -tx1 >&2",
        "cut -c 70-85 >&2",
        "rev | cut -c 1-1000 | rev | tr a-z A-Z >&2",
    ],
)
def test_what_a_program_says_is_withheld_if_any_part_of_the_secret_is_in_it(leak: str) -> None:
    pair = new_pair()
    with pytest.raises(SinkRefusedError) as caught:
        shell_sink(f"{leak}; echo it went wrong >&2; exit 9").write(
            pair, expect=NOTHING, context=new_context()
        )
    assert str(caught.value) == "the program sh ended with 9 (what it said is withheld)"


def test_what_a_reading_program_says_is_never_shown() -> None:
    sink = shell_sink("true", read=["sh", "-c", "echo wJalrXUtnFEMI >&2; exit 3"])
    with pytest.raises(SinkRefusedError) as caught:
        sink.read()
    assert "wJalr" not in repr(caught.value)


@pytest.mark.parametrize("printed", ["", "[]", "no json", '{"access_key_id": "x"}', '{"a":1,"a":2}'])
def test_a_reading_program_that_prints_no_pair_is_refused(printed: str) -> None:
    with pytest.raises(SinkRefusedError):
        shell_sink("true", read=["printf", "%s", printed]).read()


def test_a_program_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pid_file, clock = tmp_path / "pid", SystemClock()
    script = f"sleep 1000 & echo $! > {pid_file}; trap '' TERM; wait"
    since = clock.monotonic()
    with pytest.raises(SinkUnavailableError, match="took longer than 1 s"):
        shell_sink(script, timeout=1).write(new_pair(), expect=NOTHING, context=new_context())
    assert clock.monotonic() - since < 10
    try:
        child = os.pidfd_open(int(pid_file.read_text()))
    except ProcessLookupError:
        return
    try:
        assert select.select([child], [], [], 30)[0], "what it started still runs"
    finally:
        os.close(child)


def test_what_a_program_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    pid_file, clock = tmp_path / "pid", SystemClock()
    since = clock.monotonic()
    shell_sink(f"sleep 1000 & echo $! > {pid_file}").write(new_pair(), expect=NOTHING, context=new_context())
    assert clock.monotonic() - since < 20
    os.kill(int(pid_file.read_text()), 9)


def test_a_program_that_never_reads_and_never_stops_talking_is_bounded() -> None:
    finished = run_bounded(
        ["sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"],
        stdin=Secret(b"x" * 1_000_000),
        environment={"PATH": os.environ["PATH"]},
        seconds=60,
    )
    assert finished.code == 0
    assert len(finished.stdout.reveal()) == LARGEST_OUTPUT
    assert len(finished.stderr.reveal()) == LARGEST_OUTPUT


def test_a_missing_program_is_found_before_it_is_needed() -> None:
    sink = command_sink(["/no/such/program"])
    with pytest.raises(SinkRefusedError, match="/no/such/program is not there"):
        sink.test()
    with pytest.raises(SinkRefusedError, match="is not there"):
        sink.write(new_pair(), expect=NOTHING, context=new_context())


def test_the_variables_of_the_rotation_do_not_show_in_its_repr() -> None:
    assert "another-secret" not in repr(shell_sink("true", reload=["true"]))
