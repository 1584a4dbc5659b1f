"""The reload hook: a program, a URL or a signal tells the consumers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks.interface import SinkRefusedError, SinkUnavailableError
from keyturn.rotation.sinks.registry import open_sink
from keyturn.rotation.sinks.reload import ReloadHook
from rotation.sinks.sink_conformance import new_context, new_pair, surroundings
from rotation.sinks.sink_receiver import receiving


def hook(**settings: Any) -> ReloadHook:
    return ReloadHook.of("app", settings, surroundings({"TOKEN": "hidden"}))


def test_without_a_hook_nothing_happens() -> None:
    assert not hook().is_set
    hook().test()
    hook().run(new_context())


def test_a_program_learns_which_rotation_it_was(tmp_path: Path) -> None:
    path = tmp_path / "said"
    told = hook(reload=["sh", "-c", f'echo "$KEYTURN_ROTATION_ID $KEYTURN_USER_NAME" >> {path}'])
    assert told.is_set
    told.test()
    told.run(new_context())
    told.run(new_context())
    assert path.read_text() == "rotation-1 ci-deploy\n" * 2


def test_a_program_s_exit_code_says_what_to_do() -> None:
    with pytest.raises(SinkUnavailableError, match="run again later"):
        hook(reload=["sh", "-c", "exit 75"]).run(new_context())
    with pytest.raises(SinkRefusedError, match="ended with 3"):
        hook(reload=["sh", "-c", "exit 3"]).run(new_context())
    with pytest.raises(SinkUnavailableError, match="longer than 1 s"):
        hook(reload=["sleep", "1000"], reload_timeout=1).run(new_context())
    with pytest.raises(SinkRefusedError, match="is not there"):
        hook(reload=["no-such-program"]).test()


def test_a_url_gets_a_post_without_any_secret() -> None:
    with receiving() as receiver:
        receiver.say = (204, {}, b"")
        context = new_context()
        hook(reload_url=f"{receiver.url}/reload").run(context)
        ((method, path, headers, body),) = receiver.calls
        assert (method, path, headers["Idempotency-Key"]) == ("POST", "/reload", context.idempotency_key)
        assert body == b'{"type": "reload", "rotation_id": "rotation-1", "user_name": "ci-deploy"}'
        receiver.say = (503, {"Retry-After": "5"}, b"")
        with pytest.raises(SinkUnavailableError) as caught:
            hook(reload_url=receiver.url).run(context)
        assert caught.value.retry_after == 5.0
        receiver.say = (404, {}, b"")
        with pytest.raises(SinkRefusedError, match="answers 404"):
            hook(reload_url=receiver.url).run(context)


@pytest.mark.parametrize("name", ["HUP", "SIGUSR1"])
def test_a_process_gets_its_signal(tmp_path: Path, name: str) -> None:
    program = "import signal\nsignals = ['SIGHUP', 'SIGUSR1']\nsignal.pthread_sigmask(0, signals_ := {getattr(signal, s) for s in signals})\nprint('ready', flush=True)\nprint(signal.sigwait(signals_).name, flush=True)"
    pid_file = tmp_path / "app.pid"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        pid_file.write_text(f"{process.pid}\n")
        hook(reload_pid_file=str(pid_file), reload_signal=name).run(new_context())
        assert process.stdout.readline().decode().strip() == f"SIG{name.removeprefix('SIG')}"


def test_a_pid_file_that_is_stale_hits_nobody(tmp_path: Path) -> None:
    pid_file = tmp_path / "app.pid"
    told = hook(reload_pid_file=str(pid_file), reload_signal="TERM")
    with pytest.raises(SinkRefusedError, match="can't be read"):
        told.run(new_context())
    for content in ("", "1", "0", "-5", "x", "9" * 40):
        pid_file.write_text(content)
        with pytest.raises(SinkRefusedError):
            told.run(new_context())
    with subprocess.Popen(["sleep", "1000"]) as process:
        pid_file.write_text(str(process.pid))
        os.utime(pid_file, (1_000_000_000, 1_000_000_000))
        with pytest.raises(SinkRefusedError, match="is stale"):
            told.run(new_context())
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    pid_file.write_text(str(process.pid))
    with pytest.raises(SinkRefusedError, match="does not run any more"):
        told.run(new_context())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reload": ["true"], "reload_url": "https://example.org"}, "one of reload and reload_url is enough"),
        (
            {"reload_pid_file": "/run/app.pid", "reload_signal": "KILL"},
            "must be one of HUP, USR1, USR2, TERM",
        ),
        ({"reload": ["true"], "reload_timeout": 0}, "1 to 900"),
        ({"reload_url": "http://example.org"}, "reload_url must be https"),
        ({"reload_pid_file": "app.pid"}, "absolute path"),
    ],
)
def test_settings_that_can_t_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(KeyturnError, match=message):
        hook(**settings)


def test_a_sink_runs_its_hook(tmp_path: Path) -> None:
    settings = {"type": "dotenv", "path": str(tmp_path / ".env"), "reload": ["touch", str(tmp_path / "told")]}
    sink = open_sink("app", settings, surroundings({}))
    assert sink.describe().has_reload
    sink.write(new_pair(), expect=sink.read(), context=new_context())
    assert not (tmp_path / "told").exists()
    sink.reload(new_context())
    assert (tmp_path / "told").exists()
    assert "hidden" not in repr(hook(reload=["true"]))
