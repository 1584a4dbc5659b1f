"""Each story at the terminal is a transcript beside this file: what was typed, what stdout and stderr said, the exit code.

`$` is a command; `!` is stderr; `[exit N]` stands where the code is not 0; the rest is stdout. `sh` is a small act
of the test. What differs from run to run has a name: ~, ACCOUNT, INSTANCE, URL, TIME, AKIA-1, AKIA-2 … in their order. `UPDATE_TRANSCRIPTS=1` writes them anew: read the difference.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import apsw
import pytest

from cli.rotation_stage import QUICK
from command_line import Told, keyturn
from keyturn.cli.main import VERBS
from leaks.archive_corpus import plant_keys
from living_authority import REGION, LivingAuthority, living_authority

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


_COLUMNS = re.compile("Outcome|Access key id|Last used|What was found")


class Story:
    """One home, and the authority in it that some lines start and stop."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._names: dict[str, str] = {}
        self._running = ExitStack()
        self._living: LivingAuthority | None = None
        self._acts = {
            "sh serve": self._serve,
            "sh stop": self.stop,
            "sh create-user-ana": lambda: self._authority().iam().create_user(UserName="ana"),
            "sh write-profile": self._write_profile,
            "sh use-second-key": self._use_second_key,
            "sh write-usage": lambda: self._authority().keep_house(),
            "sh tamper": self._tamper,
            "sh plant-keys": self._plant_keys,
            "sh configure-ci": self._configure_ci,
        }

    def type(self, line: str) -> Told:
        words = shlex.split(self._unnamed(line))
        if words[0] == "keyturn":
            return keyturn(self.home, *words[1:])
        if words[0] == "cat":
            return Told(0, Path(words[1]).read_text(), "")
        self._acts[line]()
        return Told(0, "", "")

    def _serve(self) -> None:
        self._living = self._running.enter_context(living_authority(self.home))

    def _write_profile(self) -> None:
        """As an administrator of this authority has it in ~/.aws."""
        living = self._authority()
        signer = living.administrator
        folder = self.home / ".aws"
        folder.mkdir(mode=0o700)
        (folder / "config").write_text(f"[default]\nregion = {REGION}\nendpoint_url = {living.url}\n")
        (folder / "credentials").write_text(
            f"[default]\naws_access_key_id = {signer.access_key_id}\n"
            f"aws_secret_access_key = {signer.secret.reveal().decode()}\n"
        )

    def _configure_ci(self) -> None:
        """A user whose key lies in a credentials file of its own, and windows of seconds."""
        access_key_id, secret = self._authority().new_user_with_key("ci")
        held = self.home / "ci.credentials"
        held.touch(mode=0o600)
        held.write_text(f"[ci]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret}\n")
        folder = self.home / ".config/keyturn"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "keyturn.toml").write_text(
            f'{QUICK}[sinks.profile]\ntype = "credentials_file"\nprofile = "ci"\npath = "{held}"\n'
            '[users.ci]\nsinks = ["profile"]\n'
        )

    def _plant_keys(self) -> None:
        plant_keys(self.home / "project")

    def _use_second_key(self) -> None:
        _user, access_key_id, secret = (self.home / "second.csv").read_text().splitlines()[1].split(",")
        self._authority().sts(access_key_id, secret).get_caller_identity()
        self._authority().keep_house()

    def stop(self) -> None:
        self._running.close()

    def _authority(self) -> LivingAuthority:
        assert self._living is not None
        return self._living

    def _tamper(self) -> None:
        connection = apsw.Connection(str(self._authority().settings.place.database))
        connection.execute("UPDATE audit_records SET event_name = 'Nothing' WHERE sequence = 2")
        connection.close()

    def named(self, text: str) -> str:
        """The text with names in place of what differs from run to run."""
        text = text.replace(str(self.home), "~")
        text = re.sub(r"http://127\.0\.0\.1:\d+", "URL", text)
        text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
        text = re.sub(r"\b\d\d:\d\d\.\d\b", "MM:SS", text)
        text = re.sub(r"dead after [\d.]+ s", "dead after AGE", text)
        text = re.sub(r"(keyturn resume) [0-9a-f]{8}\b", r"\1 ROTATION", text)
        text = re.sub(r"\(looks again [^;]*; safe", "(looks again WHEN; safe", text)
        text = re.sub(
            r"\b(?=[a-f]*[0-9])[0-9a-f]{8}\b(?=( (done|watch|adopt|is|needs|aborted)|  |$))",
            "ROTATION",
            text,
            flags=re.MULTILINE,
        )
        text = re.sub(rf"\bprocess {os.getpid()}\b", "process PID", text)
        text = re.sub(r"\bkey (id )?[0-9a-f]{8}\b", r"key \1KEK", text)
        text = re.sub(r"\(choose from .*\)", "(choose from …)", text)  # Pythons quote them differently
        text = re.sub(r"\(Boto3/[\d.]+\)", "(BOTO3)", text)
        text = re.sub(r"\b(Active|Inactive),\d+,", r"\1,AGE,", text)
        text = re.sub(r"\bBoto3/\S+.*?(?=  |\")", "BOTO3", text)
        text = re.sub(r"\b\d+ s\b", "AGE", text)
        text = re.sub(r"\bAKIA[A-Z2-7]{16}\b", lambda found: self._name("AKIA", found[0]), text)
        text = re.sub(r"\bAKIA…[A-Z2-7]{4}\b", "AKIA…", text)
        text = re.sub(r"\b[0-9a-f]{16}\b", "INSTANCE", text)
        text = re.sub(r"\b\d{12}\b", "ACCOUNT", text)
        text = re.sub(r"(?<![\w/+])[A-Za-z0-9/+]{40}(?![\w/+])", "SECRET", text)
        # Columns are as wide as what stood in them.
        return re.sub(r" {2,}", "  ", text) if _COLUMNS.search(text) else text

    def _name(self, kind: str, value: str) -> str:
        return self._names.setdefault(value, f"{kind}-{len(self._names) + 1}")

    def _unnamed(self, line: str) -> str:
        for value, name in self._names.items():
            line = re.sub(rf"{name}\b", value, line)
        return line.replace("~", str(self.home))


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    told = Story(tmp_path / "home")
    yield told
    told.stop()


def retold(story: Story, transcript: str) -> str:
    """The transcript as it is now."""
    lines: list[str] = []
    before = ""
    for line in transcript.splitlines():
        # A plan has lines that begin so, too; they never stand behind an empty line.
        if line.startswith("#") and (not before or before.startswith("#")):
            is_told = not lines or lines[-1].lstrip("\n").startswith("#")
            lines.append(line if is_told else f"\n{line}")
        before = line
        if not line.startswith("$ "):
            continue
        told = story.type(line[2:])
        is_told = not lines or lines[-1].lstrip("\n").startswith("#")
        lines.append(line if is_told else f"\n{line}")
        lines += story.named(told.stdout).splitlines()
        lines += [f"! {said}" for said in story.named(told.stderr).splitlines()]
        if told.code:
            lines.append(f"[exit {told.code}]")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: str(file.stem))
def test_the_terminal_says_what_the_transcript_says(file: Path, story: Story) -> None:
    now = retold(story, file.read_text())
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        file.write_text(now)
    assert now == file.read_text()


def test_every_verb_has_its_transcript() -> None:
    typed = "".join(file.read_text() for file in TRANSCRIPTS)
    for verb in VERBS:
        assert f"$ keyturn {verb}" in typed
