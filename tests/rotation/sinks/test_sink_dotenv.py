"""The `.env` file: only the two values change, and python-dotenv and a real shell read them the same."""

from __future__ import annotations

import json
import random
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.dotenv_text import DotenvText
from keyturn.rotation.sinks.interface import Sink, SinkRefusedError
from keyturn.rotation.sinks.registry import open_sink
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    file_mark,
    new_context,
    new_pair,
    surroundings,
)

WITH_DOTENV: Final = Path(__file__).parents[3] / ".venv-servers/bin/python"
OLD: Final = "AKIAIOSFODNN7EXAMPLE"
OLD_SECRET: Final = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TEXT: Final = DotenvText("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def dotenv(path: Path, **more: Any) -> Sink:
    return open_sink("app", {"type": "dotenv", "path": str(path), **more}, surroundings({}))


def rotate(sink: Sink) -> AccessKeyPair:
    pair = new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    return pair


def swapped(content: bytes, pair: AccessKeyPair) -> bytes:
    return content.replace(OLD.encode(), pair.access_key_id.encode()).replace(
        OLD_SECRET.encode(), pair.secret.reveal()
    )


def shell_reads(path: Path) -> list[str]:
    program = '. "$0"; printf "%s\\n%s\\n" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"'
    told = subprocess.run(["sh", "-uc", program, path], capture_output=True, check=True, env={}, timeout=60)
    return told.stdout.decode().splitlines()


def python_dotenv_reads(path: Path) -> dict[str, str]:
    if not WITH_DOTENV.exists():
        pytest.skip("`make servers` brings python-dotenv")
    program = "import dotenv, json, sys; print(json.dumps(dotenv.dotenv_values(sys.argv[1])))"
    told = subprocess.run(
        [WITH_DOTENV, "-c", program, path], capture_output=True, check=True, env={}, timeout=60
    )
    found: dict[str, str] = json.loads(told.stdout)
    return found


class TestDotenv(SinkConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> PlaceUnderTest:
        path = tmp_path / ".env"

        def behind(pair: AccessKeyPair) -> None:
            text = f"AWS_ACCESS_KEY_ID={pair.access_key_id}\nAWS_SECRET_ACCESS_KEY="
            path.write_bytes(text.encode() + pair.secret.reveal())

        return PlaceUnderTest(
            dotenv(path),
            behind,
            mark=lambda: file_mark(path),
            directories=(tmp_path,),
            may_hold=(path,),
        )


EVERYTHING: Final = f"""# AWS_ACCESS_KEY_ID={OLD[:4]} was here
 NAME='several
AWS_ACCESS_KEY_ID=not this one
lines' # and a remark
export AWS_ACCESS_KEY_ID="{OLD}"   # the id
ESCAPED="a \\" quote \\\\"
URL=https://example.org/#anchor
AWS_SECRET_ACCESS_KEY='{OLD_SECRET}'

EMPTY=
LAST=1
""".encode()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("is_closed", [True, False])
def test_only_the_values_change_whatever_the_file_looks_like(
    tmp_path: Path, newline: bytes, *, is_closed: bool
) -> None:
    path = tmp_path / ".env"
    content = (EVERYTHING if is_closed else EVERYTHING.rstrip()).replace(b"\n", newline)
    path.write_bytes(content)
    pair = rotate(dotenv(path))
    assert path.read_bytes() == swapped(content, pair)
    read = python_dotenv_reads(path)
    assert read["AWS_ACCESS_KEY_ID"] == pair.access_key_id
    assert read["AWS_SECRET_ACCESS_KEY"] == pair.secret.reveal().decode()


STYLES: Final = {"bare": "{}", "single": "'{}'", "double": '"{}"'}


@pytest.mark.parametrize("export", ["", "export "])
@pytest.mark.parametrize("style", STYLES)
def test_a_shell_and_python_dotenv_read_the_same_in_each_style(
    tmp_path: Path, export: str, style: str
) -> None:
    path = tmp_path / "env"
    quoted = STYLES[style].format
    path.write_text(
        f"A='x\ny'\n{export}AWS_ACCESS_KEY_ID={quoted(OLD)} # id\n"
        f"{export}AWS_SECRET_ACCESS_KEY={quoted(OLD_SECRET)}\nB=1"
    )
    before = path.read_bytes()
    pair = rotate(dotenv(path))
    assert path.read_bytes() == swapped(before, pair)
    expected = [pair.access_key_id, pair.secret.reveal().decode()]
    assert shell_reads(path) == expected
    read = python_dotenv_reads(path)
    assert [read["AWS_ACCESS_KEY_ID"], read["AWS_SECRET_ACCESS_KEY"]] == expected


@pytest.mark.parametrize("secret", ["a+/=" * 10, "%s%%(x)s;&|<>*?[]~!#" * 2, "-" * 40])
@pytest.mark.parametrize("content", ["", "AWS_ACCESS_KEY_ID=\nAWS_SECRET_ACCESS_KEY=  # none yet\n", "A=1"])
def test_characters_that_a_shell_would_act_on_are_quoted(tmp_path: Path, secret: str, content: str) -> None:
    path = tmp_path / "env"
    path.write_text(content)
    pair, sink = new_pair(secret.encode()), dotenv(path)
    sink.write(pair, expect=sink.read(), context=new_context())
    assert sink.read().pair == pair
    assert shell_reads(path) == [pair.access_key_id, secret]
    assert python_dotenv_reads(path)["AWS_SECRET_ACCESS_KEY"] == secret


@pytest.mark.parametrize(
    "secret", [b"a'b" * 10, b'a"b' * 10, b"a$b" * 10, b"a`b" * 10, b"a\\b" * 10, b"a\nb" * 10]
)
def test_what_readers_would_take_apart_is_refused_and_the_file_stays(tmp_path: Path, secret: bytes) -> None:
    path = tmp_path / ".env"
    path.write_bytes(EVERYTHING)
    sink = dotenv(path)
    with pytest.raises(SinkRefusedError, match="read apart"):
        sink.write(new_pair(secret), expect=sink.read(), context=new_context())
    assert path.read_bytes() == EVERYTHING


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"AWS_ACCESS_KEY_ID={OLD}; export AWS_ACCESS_KEY_ID", "line 2: the value is no plain text"),
        ("AWS_ACCESS_KEY_ID=$OTHER", "line 2: the value is no plain text"),
        ('AWS_ACCESS_KEY_ID="${OTHER}"', "line 2: the value is no plain text"),
        ("AWS_ACCESS_KEY_ID='ab'\"cd\"", "line 2: this can't be read as NAME=value"),
        ("AWS_ACCESS_KEY_ID='open", "line 2: this can't be read as NAME=value"),
        ("export AWS_ACCESS_KEY_ID", "line 2: the variable is named without a value"),
        ("AWS_SESSION_TOKEN=x", "line 2: a session token"),
    ],
)
def test_a_line_that_can_t_be_kept_as_it_is_is_refused_with_its_number(
    tmp_path: Path, line: str, message: str
) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A=1\n{line}\nB=2\n")
    before = path.read_bytes()
    sink = dotenv(path)
    with pytest.raises(SinkRefusedError, match=message):
        sink.test()
    with pytest.raises(SinkRefusedError, match=message):
        rotate(sink)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", b"<id>\n<secret>\n"),
        (b"A=1", b"A=1\n<id>\n<secret>\n"),
        (b"A=1\r\n", b"A=1\r\n<id>\r\n<secret>\r\n"),
        (b"export AWS_ACCESS_KEY_ID=x\nA=1", b"export <id>\nexport <secret>\nA=1"),
        (b"AWS_SECRET_ACCESS_KEY=x", b"<secret>\n<id>"),
    ],
)
def test_what_is_missing_is_added_in_the_file_s_own_style(
    tmp_path: Path, content: bytes, expected: bytes
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(content)
    pair = rotate(dotenv(path))
    expected = expected.replace(b"<secret>", b"AWS_SECRET_ACCESS_KEY=" + pair.secret.reveal())
    assert path.read_bytes() == expected.replace(b"<id>", b"AWS_ACCESS_KEY_ID=" + pair.access_key_id.encode())


def test_variables_may_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"S3_KEY={OLD}\nS3_SECRET={OLD_SECRET}\nAWS_ACCESS_KEY_ID=kept\nS3_SECRET_OLD=kept\n")
    pair = rotate(dotenv(path, id_variable="S3_KEY", secret_variable="S3_SECRET"))
    assert path.read_text() == (
        f"S3_KEY={pair.access_key_id}\nS3_SECRET={pair.secret.reveal().decode()}\n"
        "AWS_ACCESS_KEY_ID=kept\nS3_SECRET_OLD=kept\n"
    )


def test_the_rights_of_the_service_that_reads_it_stay(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(EVERYTHING)
    path.chmod(0o640)
    rotate(dotenv(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    fresh = tmp_path / "fresh.env"
    rotate(dotenv(fresh))
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600


def test_a_missing_directory_is_said_in_a_sentence(tmp_path: Path) -> None:
    sink = dotenv(tmp_path / "no" / ".env")
    with pytest.raises(SinkRefusedError, match="No such file or directory"):
        sink.test()


OTHERS: Final = st.sampled_from(
    [
        "",
        "# AWS_ACCESS_KEY_ID=x",
        "A=1",
        "B='x y'",
        'C="l1\nl2 # \\" "',
        "D = e f # g",
        "export E",
        "not a = line '",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(OTHERS, max_size=3),
    st.lists(OTHERS, max_size=3),
    st.lists(OTHERS, max_size=3),
    st.sampled_from(list(STYLES.values())),
    st.sampled_from(["", "export ", "export\t", "  "]),
    st.sampled_from(["", " # note", "\t", "  # a 'quote"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_every_byte_outside_of_the_values_is_the_same(
    first: list[str], second: list[str], third: list[str], style: str, prefix: str, after: str, newline: str, is_closed: bool  # noqa: FBT001 - drawn
) -> None:  # fmt: skip
    lines = [
        *first,
        f"{prefix}AWS_SECRET_ACCESS_KEY={style.format(OLD_SECRET)}{after}",
        *second,
        f"{prefix}AWS_ACCESS_KEY_ID={style.format(OLD)}{after}",
        *third,
    ]
    content = (newline.join(lines) + (newline if is_closed else "")).encode()
    pair = new_pair()
    try:
        changed = TEXT.with_pair(Secret(content), pair, replaced=None, context=new_context())
    except SinkRefusedError:
        assert "not a = line '" in lines  # its open quote may reach to ours
        return
    assert changed.reveal() == swapped(content, pair)
    assert TEXT.held(changed).pair == pair


PARTS: Final = [
    "A=1", "A='", "'", '"', 'B="x', "# c", " # c", "#", "=", "\n", "\n", "\n", "\r\n", " ", "\t", "export ", "\\", "''",
    f"AWS_ACCESS_KEY_ID={OLD}", "AWS_ACCESS_KEY_ID=", "AWS_ACCESS_KEY_ID", "'AWS_ACCESS_KEY_ID'=x",
    f"AWS_SECRET_ACCESS_KEY='{OLD_SECRET}'", "AWS_SECRET_ACCESS_KEY =  ", f'AWS_SECRET_ACCESS_KEY="{OLD_SECRET}"',
    f"AWS_SECRET_ACCESS_KEY={OLD_SECRET} # c", "C=l1\nl2", "X", "y z=1",
]  # fmt: skip


def test_whatever_the_text_python_dotenv_reads_the_new_pair_and_all_else_as_before() -> None:
    if not WITH_DOTENV.exists():
        pytest.skip("`make servers` brings python-dotenv")
    chance, pair = random.Random(22), new_pair()  # noqa: S311 - which texts, not a secret
    texts, changed = [], []
    for _ in range(4000):
        text = "".join(chance.choice(PARTS) for _ in range(chance.randrange(14)))
        try:
            new = TEXT.with_pair(Secret(text.encode()), pair, replaced=None, context=new_context())
        except SinkRefusedError:
            continue
        if TEXT.held(new).pair != pair:
            continue  # the sink refuses what would hide the new pair
        assert TEXT.with_pair(new, pair, replaced=None, context=new_context()) == new
        texts.append(text)
        changed.append(new.reveal().decode())
    assert len(texts) > 1000
    program = (
        "import dotenv, io, json, logging, sys; logging.disable(); "
        "print(json.dumps([dotenv.dotenv_values(stream=io.StringIO(text, newline='')) "
        "for text in json.load(sys.stdin)]))"
    )
    told = subprocess.run(
        [WITH_DOTENV, "-c", program],
        input=json.dumps(texts + changed).encode(), capture_output=True, check=True, env={}, timeout=120,
    )  # fmt: skip
    read = json.loads(told.stdout)
    ours = {"AWS_ACCESS_KEY_ID": pair.access_key_id, "AWS_SECRET_ACCESS_KEY": pair.secret.reveal().decode()}
    for before, after, text in zip(read[: len(texts)], read[len(texts) :], texts, strict=True):
        assert after == {**before, **ours}, text


def test_a_reader_never_sees_the_id_of_one_pair_with_the_secret_of_another(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(EVERYTHING)
    sink = dotenv(path)
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
    assert len(contents) > 10
    assert contents <= {swapped(EVERYTHING, pair) for pair in written}


def test_no_file_is_left_beside_it_but_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    rotate(dotenv(path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["..env.keyturn-lock", ".env"]
