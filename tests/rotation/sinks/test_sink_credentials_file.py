"""The shared credentials file: other bytes stay, other readers never see half a pair, real SDKs read the result."""

from __future__ import annotations

import configparser
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.session import Session
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.credentials_text import CredentialsText
from keyturn.rotation.sinks.interface import (
    Held,
    Sink,
    SinkChangedError,
    SinkRefusedError,
    SinkUnavailableError,
)
from keyturn.rotation.sinks.registry import open_sink
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    file_mark,
    new_context,
    new_pair,
    surroundings,
)

AWS: Final = Path(__file__).parents[3] / ".venv-aws/bin/aws"
OLD: Final = AccessKeyId("AKIAIOSFODNN7EXAMPLE")
OLD_SECRET: Final = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def credentials_file(home: Path, profile: str = "ci", **more: Any) -> Sink:
    return open_sink(
        "laptop",
        {"type": "credentials_file", "profile": profile, **more},
        surroundings({"HOME": str(home)}),
    )


def lay(home: Path, content: bytes, mode: int = 0o600) -> Path:
    path = home / ".aws" / "credentials"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def rotate(sink: Sink) -> AccessKeyPair:
    pair = new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    return pair


def swapped(content: bytes, pair: AccessKeyPair) -> bytes:
    """The content with the old values exchanged for the pair's, everywhere."""
    return content.replace(OLD.encode(), pair.access_key_id.encode()).replace(
        OLD_SECRET.encode(), pair.secret.reveal()
    )


def botocore_reads(path: Path, profile: str) -> AccessKeyPair:
    session = Session(profile=profile)
    session.set_config_variable("credentials_file", str(path))
    session.set_config_variable("config_file", str(path.with_name("no-config")))
    found = session.get_credentials()
    assert found is not None
    return AccessKeyPair(AccessKeyId(found.access_key), Secret(found.secret_key.encode()))


class TestCredentialsFile(SinkConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> PlaceUnderTest:
        path = tmp_path / ".aws" / "credentials"
        sink = credentials_file(tmp_path)

        def behind(pair: AccessKeyPair) -> None:
            text = f"[ci]\naws_access_key_id={pair.access_key_id}\naws_secret_access_key="
            lay(tmp_path, text.encode() + pair.secret.reveal())

        return PlaceUnderTest(
            sink,
            behind,
            mark=lambda: file_mark(path),
            directories=(tmp_path,),
            may_hold=(path,),
        )


EVERYTHING: Final = f"""# made by hand on a Monday ; do not sort
[default]
region = eu-west-1
aws_access_key_id = AKIAI44QH8DHBEXAMPLE
aws_secret_access_key = je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY

[ci]   # the one
  AWS_Access_Key_Id={OLD}
; a comment in between
  aws_secret_access_key\t:\t {OLD_SECRET} \t
  s3 =
    max_concurrent_requests = 20
    aws_access_key_id = not-a-key-but-nested
  role_arn = arn:aws:iam::1:role/%(nobody)s%

[twin]
aws_secret_access_key = {OLD_SECRET} # with a remark
aws_access_key_id = {OLD}

[session]
aws_access_key_id = {OLD}
aws_secret_access_key = {OLD_SECRET}
aws_session_token = FwoGZXIvYXdzE
[ci-2]
aws_access_key_id = AKIAI44QH8DHBEXAMPLE
""".encode()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_only_the_values_change_whatever_the_file_looks_like(
    tmp_path: Path, newline: bytes, *, is_closed: bool, start: bytes
) -> None:
    text = EVERYTHING if is_closed else EVERYTHING.rstrip()
    before, kept, after = text.partition(b"[session]")
    path = lay(tmp_path, start + text.replace(b"\n", newline))
    pair = rotate(credentials_file(tmp_path))
    assert path.read_bytes() == start + (swapped(before, pair) + kept + after).replace(b"\n", newline)


def test_only_the_named_profile_changes_if_that_is_asked_for(tmp_path: Path) -> None:
    path = lay(tmp_path, EVERYTHING)
    pair = rotate(credentials_file(tmp_path, all_profiles=False))
    before, kept, after = EVERYTHING.partition(b"[twin]")
    assert path.read_bytes() == swapped(before, pair) + kept + after


def test_a_twin_that_somebody_made_meanwhile_is_found_by_reading_back(tmp_path: Path) -> None:
    path = lay(tmp_path, f"[ci]\naws_access_key_id={OLD}\naws_secret_access_key={OLD_SECRET}\n".encode())
    sink = credentials_file(tmp_path)
    before, pair = sink.read(), new_pair()
    sink.write(pair, expect=before, context=new_context())
    with path.open("a") as file:
        file.write(f"[copy]\naws_access_key_id={OLD}\naws_secret_access_key={OLD_SECRET}\n")
    assert not sink.holds(pair, before=before)
    sink.write(pair, expect=before, context=new_context())
    assert sink.holds(pair, before=before)
    assert OLD.encode() not in path.read_bytes()


def test_a_profile_with_a_session_token_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = lay(tmp_path, EVERYTHING)
    sink = credentials_file(tmp_path, "session")
    with pytest.raises(SinkRefusedError, match="the profile session has a session token"):
        sink.test()
    with pytest.raises(SinkRefusedError, match="session token"):
        rotate(sink)
    assert path.read_bytes() == EVERYTHING


def test_a_value_that_goes_on_in_the_next_line_is_refused_with_its_number(tmp_path: Path) -> None:
    content = f"[ci]\naws_access_key_id = {OLD}\naws_secret_access_key =\n  {OLD_SECRET}\n".encode()
    path = lay(tmp_path, content)
    with pytest.raises(SinkRefusedError, match=r"~/\.aws/credentials \[ci\]: line 3: "):
        rotate(credentials_file(tmp_path))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", b"[ci]\n<id>\n<secret>\n"),
        (b"[a]\nx = 1", b"[a]\nx = 1\n\n[ci]\n<id>\n<secret>\n"),
        (b"[a]\r\nx = 1\r\n", b"[a]\r\nx = 1\r\n\r\n[ci]\r\n<id>\r\n<secret>\r\n"),
        (b"[ci]\nregion = x\n", b"[ci]\n<id>\n<secret>\nregion = x\n"),
        (b"[ci]\n# note\n  region = x\n", b"[ci]\n  <id>\n  <secret>\n# note\n  region = x\n"),
        (b"[ci]\n\t[b]\n", b"[ci]\n\t<id>\n\t<secret>\n\t[b]\n"),
        (b"[ci]", b"[ci]\n<id>\n<secret>"),
        (b"[ci]\n  aws_access_key_id = x\n[b]\n", b"[ci]\n  <id>\n  <secret>\n[b]\n"),
        (b"[ci]\naws_secret_access_key = x\n[b]\n", b"[ci]\n<id>\n<secret>\n[b]\n"),
        (b"[ci]\naws_access_key_id =\naws_secret_access_key =", b"[ci]\n<id2>\n<secret2>"),
    ],
)
def test_what_is_missing_is_added_in_the_file_s_own_style(
    tmp_path: Path, content: bytes, expected: bytes
) -> None:
    path = lay(tmp_path, content)
    pair = rotate(credentials_file(tmp_path))
    access_key_id, secret = pair.access_key_id.encode(), pair.secret.reveal()
    for name, line in [
        (b"<secret2>", b"aws_secret_access_key =" + secret),
        (b"<id2>", b"aws_access_key_id =" + access_key_id),
        (b"<secret>", b"aws_secret_access_key = " + secret),
        (b"<id>", b"aws_access_key_id = " + access_key_id),
    ]:
        expected = expected.replace(name, line)
    assert path.read_bytes() == expected
    assert botocore_reads(path, "ci") == pair


def test_in_a_config_file_profiles_have_their_prefix(tmp_path: Path) -> None:
    path = tmp_path / "config"
    content = f"[ci]\nx=1\n[profile 'ci']\naws_access_key_id={OLD}\naws_secret_access_key={OLD_SECRET}\n"
    path.write_text(content)
    pair = rotate(credentials_file(tmp_path, path=str(path)))
    assert path.read_bytes() == swapped(content.encode(), pair)
    more = rotate(credentials_file(tmp_path, "two words", path=str(path)))
    session = Session(profile="two words")
    session.set_config_variable("config_file", str(path))
    session.set_config_variable("credentials_file", str(tmp_path / "none"))
    found = session.get_credentials()
    assert found is not None
    assert found.access_key == more.access_key_id


def test_values_that_stand_twice_are_all_written(tmp_path: Path) -> None:
    content = f"[ci]\naws_access_key_id={OLD}\naws_access_key_id={OLD}\naws_secret_access_key=x\n[ci]\n"
    path = lay(tmp_path, content.encode() + f"aws_secret_access_key={OLD_SECRET}\n".encode())
    sink = credentials_file(tmp_path)
    pair = rotate(sink)
    assert sink.read().pair == pair
    assert path.read_bytes().count(pair.access_key_id.encode()) == 2
    assert path.read_bytes().count(pair.secret.reveal()) == 2


NAMES: Final = st.sampled_from(["a", "b", "default", "x y", "é", "ci-2"])
SPACES: Final = st.text(" \t", max_size=3)
OTHER_LINES: Final = st.sampled_from(
    ["", "# note = [x]", "; %(x)s", "region = eu-west-1", "x : y = z", "s3 =\n    aws_access_key_id = nested"]
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file that boto3 can read, with the profile ci somewhere."""
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    names.insert(draw(st.integers(0, len(names))), "ci")
    sections = []
    for name in names:
        indent, inner = draw(SPACES), draw(SPACES)
        secret_line = f"{indent}aws_secret_access_key{inner}{draw(st.sampled_from('=:'))}{inner}{OLD_SECRET}"
        held = [f"{indent}aws_access_key_id{inner}={inner}{OLD}", secret_line]
        lines = [f"[{name}]", *held, *draw(st.lists(OTHER_LINES, max_size=3, unique=True))]
        sections.append("\n".join(lines))
    head = draw(st.sampled_from(["", "# head\n", "\n\n"]))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return (head + "\n".join(sections) + draw(st.sampled_from(["", "\n"]))).replace("\n", newline)


@settings(max_examples=150, deadline=None)
@given(files())
def test_configparser_reads_the_new_pair_and_every_other_byte_is_the_same(text: str) -> None:
    pair = new_pair()
    profile = CredentialsText("ci", is_config=False, has_twins=True)
    changed = profile.with_pair(Secret(text.encode()), pair, replaced=OLD, context=new_context()).reveal()
    assert changed == swapped(text.encode(), pair)
    parser = configparser.RawConfigParser()
    parser.read_string(changed.decode())
    for section in parser.sections():
        assert parser[section]["aws_access_key_id"] == pair.access_key_id
        assert parser[section]["aws_secret_access_key"] == pair.secret.reveal().decode()


PIECES: Final = st.sampled_from(
    [
        "[ci]", "[b]", "  [ci]", "[", "]", "=", ":", "#", ";", " ", "\t", "\n", "\r\n", "\r", "\ufeff",
        "aws_access_key_id", "aws_secret_access_key", "AWS_SESSION_TOKEN", "x", OLD, OLD_SECRET, "'", '"',
    ]
)  # fmt: skip
LINES: Final = st.sampled_from(
    [
        "[ci]", "[b]", "[c]", "x = 1", "y:", "z", "# note", "; x = [", "", "aws_session_token = t",
        f"aws_access_key_id = {OLD}", "aws_access_key_id:", f"AWS_SECRET_ACCESS_KEY={OLD_SECRET} ; note",
        f"aws_secret_access_key = '{OLD_SECRET}'", f"aws_access_key_id={OLD} ",
    ]
)  # fmt: skip
INDENTED: Final = st.builds(
    lambda indent, line, end: indent + line + end, SPACES, LINES, st.sampled_from(["\n", "\r\n"])
)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(PIECES, max_size=30)
    | st.lists(INDENTED, max_size=12)
    | st.lists(LINES.map("{}\n".format), max_size=12)
)
def test_whatever_the_text_configparser_reads_the_new_pair_and_all_else_as_before(
    pieces: Sequence[str],
) -> None:
    profile = CredentialsText("ci", is_config=False, has_twins=True)
    text, pair = "".join(pieces), new_pair()
    profile.held(Secret(text.encode()))
    try:
        changed = profile.with_pair(Secret(text.encode()), pair, replaced=OLD, context=new_context())
    except SinkRefusedError:
        return
    again = profile.with_pair(changed, pair, replaced=OLD, context=new_context())
    assert again == changed
    before, after = parsed(text), parsed(changed.reveal().decode())
    if before is None:
        return
    assert after is not None
    assert pair.access_key_id in after["ci"].pop("aws_access_key_id")
    assert pair.secret.reveal().decode() in after["ci"].pop("aws_secret_access_key")
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        before.setdefault("ci", {}).pop(name, None)
    for section, values in before.items():
        if OLD in values.get("aws_access_key_id", ""):
            for name in ("aws_access_key_id", "aws_secret_access_key"):
                values.pop(name, None)
                after[section].pop(name, None)
    assert after == before


def parsed(text: str) -> dict[str, dict[str, str]] | None:
    """As boto3 reads the file; None if it can't."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_file(StringIO(text, newline=None))
    except configparser.Error:
        return None
    return {section: dict(parser[section]) for section in parser.sections()}


def test_a_million_bytes_cost_no_more_than_their_length(tmp_path: Path) -> None:
    path = lay(tmp_path, b"[" * 1_000_000)
    rotate(credentials_file(tmp_path))
    lay(tmp_path, path.read_bytes() + b"x" * 100_000)
    with pytest.raises(SinkRefusedError, match="longer than"):
        rotate(credentials_file(tmp_path))


def test_mode_is_tightened_and_owner_and_link_stay(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.write_bytes(EVERYTHING)
    real.chmod(0o644)
    path = tmp_path / ".aws" / "credentials"
    path.parent.mkdir()
    path.symlink_to(real)
    rotate(credentials_file(tmp_path))
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert real.stat().st_uid == os.getuid()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        ".aws",
        ".elsewhere.keyturn-lock",
        "elsewhere",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_root_leaves_the_file_to_its_owner_and_follows_no_link_of_theirs(tmp_path: Path) -> None:
    path = lay(tmp_path, EVERYTHING)
    for place in (tmp_path, path.parent, path):
        os.chown(place, 4711, 4712)
    rotate(credentials_file(tmp_path))
    assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)
    assert (path.parent / ".credentials.keyturn-lock").stat().st_uid == 4711
    theirs = tmp_path / "of-root"
    theirs.write_bytes(b"[x]\n")
    path.unlink()
    path.symlink_to(theirs)
    os.lchown(path, 4711, 4712)
    with pytest.raises(SinkRefusedError, match="a link of another user"):
        rotate(credentials_file(tmp_path))
    assert theirs.read_bytes() == b"[x]\n"


def test_a_file_with_two_names_is_refused(tmp_path: Path) -> None:
    path = lay(tmp_path, EVERYTHING)
    path.with_name("second").hardlink_to(path)
    with pytest.raises(SinkRefusedError, match="2 names"):
        credentials_file(tmp_path).test()


def test_a_directory_in_the_file_s_place_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".aws" / "credentials").mkdir(parents=True)
    with pytest.raises(SinkRefusedError, match="is not a regular file"):
        credentials_file(tmp_path).read()


def test_what_a_killed_writer_left_is_removed_and_nothing_else_stays(tmp_path: Path) -> None:
    path = lay(tmp_path, EVERYTHING)
    (path.parent / ".credentials.keyturn-abc.tmp").write_bytes(OLD_SECRET.encode())
    rotate(credentials_file(tmp_path))
    assert sorted(file.name for file in path.parent.iterdir()) == [".credentials.keyturn-lock", "credentials"]


def test_somebody_who_takes_no_lock_is_noticed_before_the_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lay(tmp_path, EVERYTHING)
    sink = credentials_file(tmp_path)
    held = sink.read()
    with_pair = CredentialsText.with_pair

    def edited_meanwhile(self: CredentialsText, *arguments: Any, **options: Any) -> Secret:
        path.write_bytes(EVERYTHING + b"# aws configure was here\n")
        return with_pair(self, *arguments, **options)

    monkeypatch.setattr(CredentialsText, "with_pair", edited_meanwhile)
    with pytest.raises(SinkChangedError, match="just now"):
        sink.write(new_pair(), expect=held, context=new_context())
    assert path.read_bytes() == EVERYTHING + b"# aws configure was here\n"
    assert not list(path.parent.glob("*.tmp"))


def test_a_lock_that_is_never_given_back_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, EVERYTHING)
    sink = credentials_file(tmp_path)
    monkeypatch.setattr("keyturn.rotation.sinks.shared_file._LOCK_SECONDS", 0.05)
    assert hasattr(sink, "file")
    with sink.file.locked(), pytest.raises(SinkUnavailableError, match="locked by another process"):
        rotate(sink)
    rotate(sink)


def test_writers_that_race_for_one_file_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = lay(tmp_path, b"")
    profiles = [f"user-{number}" for number in range(8)]

    def rotate_often(profile: str) -> AccessKeyPair:
        sink = credentials_file(tmp_path, profile)
        return [rotate(sink) for _ in range(10)][-1]

    with ThreadPoolExecutor(4) as pool:
        last = list(pool.map(rotate_often, profiles))
    assert [credentials_file(tmp_path, profile).read().pair for profile in profiles] == last
    assert not list(path.parent.glob("*.tmp"))


def test_of_two_writers_of_one_profile_one_writes_and_the_other_is_told(tmp_path: Path) -> None:
    lay(tmp_path, EVERYTHING)
    sink = credentials_file(tmp_path)
    for _ in range(20):
        held, pairs = sink.read(), [new_pair(), new_pair()]

        def write(pair: AccessKeyPair, held: Held = held) -> str:
            try:
                sink.write(pair, expect=held, context=new_context())
            except SinkChangedError:
                return "told"
            return "written"

        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(write, pairs))
        assert sorted(results) == ["told", "written"]
        assert sink.read().pair == pairs[results.index("written")]


def test_a_reader_never_sees_the_id_of_one_pair_with_the_secret_of_another(tmp_path: Path) -> None:
    path = lay(tmp_path, EVERYTHING)
    sink = credentials_file(tmp_path)
    first = rotate(sink)
    contents: set[bytes] = set()
    is_done = threading.Event()

    def read_on() -> None:
        while not is_done.is_set():
            contents.add(path.read_bytes())

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        written = [first, *(rotate(sink) for _ in range(1000))]
    finally:
        is_done.set()
        reader.join()
    before, kept, after = EVERYTHING.partition(b"[session]")
    assert len(contents) > 10
    assert contents <= {swapped(before, pair) + kept + after for pair in written}


@pytest.mark.skipif(not AWS.exists(), reason="`make clients` fetches the aws CLI")
def test_the_aws_command_line_reads_the_new_pair(tmp_path: Path) -> None:
    lay(tmp_path, EVERYTHING)
    pair = rotate(credentials_file(tmp_path))
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
    for variable, value in [
        ("aws_access_key_id", pair.access_key_id),
        ("aws_secret_access_key", pair.secret.reveal().decode()),
    ]:
        told = subprocess.run(
            [AWS, "configure", "get", variable, "--profile", "ci"],
            env=environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert told.stdout.strip() == value


def test_a_new_process_signs_with_the_new_pair(tmp_path: Path) -> None:
    pair = rotate(credentials_file(tmp_path, "default"))
    program = (
        "import boto3, json; held = boto3.Session().get_credentials().get_frozen_credentials(); "
        "print(json.dumps([held.access_key, held.secret_key]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(told.stdout) == [pair.access_key_id, pair.secret.reveal().decode()]
