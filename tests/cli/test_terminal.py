"""The real program at a real terminal and in a real shell: what `serve` says, and that `env` shows no secret to a screen."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from command_line import keyturn
from keyturn.cli import key as key_verb
from keyturn.cli.main import main
from living_authority import LivingAuthority, environment_below
from real_program import ServedAuthority


def at_a_terminal(home: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """The exit code, and what stood on the screen of a pseudo-terminal."""
    for name, value in environment_below(home).items():
        monkeypatch.setenv(name, value)
    leader, follower = pty.openpty()
    try:
        with os.fdopen(follower, "w", encoding="utf-8") as screen:
            with redirect_stdout(screen):
                code = main(arguments)
            screen.write("\n[end]\n")
            screen.flush()
            shown = b""
            while b"[end]" not in shown:
                shown += os.read(leader, 65_536)
    finally:
        os.close(leader)
    return code, shown.decode().replace("\r\n", "\n").removesuffix("\n[end]\n")


def test_env_shows_nothing_on_a_screen_unless_it_is_told_to(
    authority: LivingAuthority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = authority.administrator.secret.reveal().decode()
    code, shown = at_a_terminal(tmp_path / "home", monkeypatch, "env")
    assert (code, shown) == (1, "")
    said = capsys.readouterr()
    assert "this would show the administrator's secret on the screen" in said.err
    assert "--show" in said.err
    assert secret not in said.out + said.err
    code, shown = at_a_terminal(tmp_path / "home", monkeypatch, "env", "--show")
    assert code == 0
    assert f"export AWS_SECRET_ACCESS_KEY={secret}\n" in shown


def test_a_shell_that_evaluates_env_reaches_the_authority_and_nothing_else(
    authority: LivingAuthority, tmp_path: Path
) -> None:
    exports = keyturn(tmp_path / "home", "env", "--region", "eu-central-1").stdout
    environment = {"PATH": os.environ["PATH"], "AWS_SESSION_TOKEN": "left over", "AWS_PROFILE": "left over"}
    done = subprocess.run(
        ["sh", "-euc", 'eval "$1"; env', "sh", exports],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    held = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("AWS_"))
    assert held == {
        "AWS_ENDPOINT_URL": authority.url,
        "AWS_ACCESS_KEY_ID": authority.administrator.access_key_id,
        "AWS_SECRET_ACCESS_KEY": authority.administrator.secret.reveal().decode(),
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }


def test_a_shell_takes_even_an_odd_value_as_one_word(authority: LivingAuthority, tmp_path: Path) -> None:
    odd = "$(touch evil) `touch evil`; 'x\" &"
    exports = keyturn(tmp_path / "home", "env", "--region", odd).stdout
    done = subprocess.run(
        ["sh", "-euc", 'eval "$1"; printf %s "$AWS_REGION"', "sh", exports],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout == odd
    assert not (tmp_path / "evil").exists()
    assert authority.url in exports


def test_serve_says_where_it_listens_on_stdout_and_the_rest_on_stderr(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ServedAuthority(home, "--account-id", "123456789012") as served:
        config = served.place.locations.config
        assert served.stop() == 0
        assert served.stdout == f"keyturn listens on {served.url}\n"
        (key_file,) = config.glob("*.key")
        assert served.log.read_text().splitlines() == [
            f"account 123456789012, data in {served.place.data_dir}",
            f"master key {key_file}: back it up, apart from the data",
            f"administrator's key in {served.credentials_file}",
            'point clients here: eval "$(keyturn env)" && aws iam list-users',
            "stopped",
        ]


def test_a_key_whose_file_could_not_be_written_does_not_stay(
    authority: LivingAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else takes the name while the key is made: the secret has no place, so the key must go."""
    authority.iam().create_user(UserName="ana")
    file = tmp_path / "key.csv"
    connect: Callable[..., Any] = key_verb._client

    def client(options: Any) -> Any:
        real = connect(options)
        create = real.create_access_key

        def create_late(**members: str) -> Any:
            file.write_text("taken")
            return create(**members)

        monkeypatch.setattr(real, "create_access_key", create_late)
        return real

    monkeypatch.setattr(key_verb, "_client", client)
    told = keyturn(tmp_path / "home", "key", "create", "ana", "--csv", str(file))
    assert told.code == 1
    assert "exists already" in told.stderr
    assert file.read_text() == "taken"
    assert authority.iam().list_access_keys(UserName="ana")["AccessKeyMetadata"] == []
