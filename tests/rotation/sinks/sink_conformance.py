"""What every sink must pass, whatever it writes to: a test module makes a subclass that says how to set one up.

class TestVault(SinkConformance):
    @pytest.fixture
    def place(self, ...) -> PlaceUnderTest: ...
"""

from __future__ import annotations

import logging
import os
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyturn.model.access_keys import AccessKeyPair, AccountId, mint_access_key
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import (
    Held,
    ReadBack,
    Sink,
    SinkChangedError,
    Surroundings,
    WriteContext,
)
from secret_forms import names_found


def new_pair(secret: bytes | None = None) -> AccessKeyPair:
    """A pair as the authority mints it; or with this secret."""
    key = mint_access_key(AccountId("123456789012"), secrets.token_bytes)
    return AccessKeyPair(key.access_key_id, key.secret if secret is None else Secret(secret))


def new_context() -> WriteContext:
    return WriteContext("rotation-1", "ci-deploy", uuid.uuid4().hex)


def surroundings(environment: Mapping[str, str]) -> Surroundings:
    return Surroundings({"PATH": os.environ["PATH"], **environment}, endpoint_url=None, region="eu-west-1")


NOTHING = Held(None, None, None)


def file_mark(path: Path) -> tuple[int, int] | None:
    """Another one after each replacement of a file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class PlaceUnderTest:
    """A sink that holds nothing yet, and the place behind it."""

    sink: Sink
    write_behind: Callable[[AccessKeyPair], None]
    """Somebody else puts a pair there, past the sink."""
    mark: Callable[[], Any]
    """Something that differs after each write that the place has seen: a count, a version, inode and time."""
    directories: tuple[Path, ...] = ()
    """Where the place lies on disk, if it does: searched for files that should not be there."""
    may_hold: tuple[Path, ...] = ()
    """The files among them in which the secret is meant to be."""


class SinkConformance:
    """Each method is one law. Laws of reading back are laws only of sinks that can."""

    def test_a_sink_that_was_never_written_holds_nothing(self, place: PlaceUnderTest) -> None:
        held = place.sink.read()
        assert held.access_key_id is None
        assert held.pair is None

    def test_it_holds_what_was_written(self, place: PlaceUnderTest) -> None:
        pair, before = new_pair(), place.sink.read()
        place.sink.write(pair, expect=before, context=new_context())
        assert place.sink.holds(pair, before=before)
        held = place.sink.read()
        match place.sink.describe().read_back:
            case ReadBack.PAIR:
                assert held.pair == pair
                assert held.access_key_id == pair.access_key_id
            case ReadBack.VERSION:
                assert held.version != before.version or held.access_key_id == pair.access_key_id
            case ReadBack.NOTHING:
                assert held.pair is None

    @pytest.mark.parametrize("secret", [b"a+/b" * 10, b"%s%%(x)s%" + b"x" * 31, b"=" * 39 + b"/"])
    def test_secrets_of_any_characters_come_back_as_they_are(
        self, place: PlaceUnderTest, secret: bytes
    ) -> None:
        pair, before = new_pair(secret), place.sink.read()
        place.sink.write(pair, expect=before, context=new_context())
        assert place.sink.holds(pair, before=before)
        if place.sink.describe().read_back is ReadBack.PAIR:
            assert place.sink.read().pair == pair

    def test_another_pair_replaces_the_first_and_the_first_comes_back_by_the_same_act(
        self, place: PlaceUnderTest
    ) -> None:
        old, new = new_pair(), new_pair()
        for pair in (old, new, old):
            before = place.sink.read()
            place.sink.write(pair, expect=before, context=new_context())
            assert place.sink.holds(pair, before=before)
            if place.sink.describe().read_back is ReadBack.PAIR:
                assert place.sink.read().pair == pair

    def test_a_write_that_is_repeated_changes_nothing_more(self, place: PlaceUnderTest) -> None:
        pair, before, context = new_pair(), place.sink.read(), new_context()
        place.sink.write(pair, expect=before, context=context)
        mark = place.mark()
        place.sink.write(pair, expect=before, context=context)
        if place.sink.describe().read_back is ReadBack.PAIR:
            place.sink.write(pair, expect=place.sink.read(), context=new_context())
            assert place.mark() == mark
        assert place.sink.holds(pair, before=before)

    def test_what_somebody_else_wrote_in_between_is_not_overwritten(self, place: PlaceUnderTest) -> None:
        if place.sink.describe().read_back is ReadBack.NOTHING:
            pytest.skip("the sink shows nothing, so it can't tell")
        old, theirs, ours = new_pair(), new_pair(), new_pair()
        place.sink.write(old, expect=place.sink.read(), context=new_context())
        before = place.sink.read()
        place.write_behind(theirs)
        mark = place.mark()
        with pytest.raises(SinkChangedError):
            place.sink.write(ours, expect=before, context=new_context())
        assert place.mark() == mark
        assert not place.sink.holds(ours, before=place.sink.read())

    def test_it_does_not_claim_to_hold_what_it_does_not(self, place: PlaceUnderTest) -> None:
        if place.sink.describe().read_back is ReadBack.NOTHING:
            pytest.skip("the sink shows nothing")
        pair = new_pair()
        place.sink.write(pair, expect=place.sink.read(), context=new_context())
        held = place.sink.read()
        assert not place.sink.holds(new_pair(), before=held)
        if place.sink.describe().read_back is ReadBack.PAIR:
            other_secret = AccessKeyPair(pair.access_key_id, new_pair().secret)
            assert not place.sink.holds(other_secret, before=held)

    def test_to_test_it_changes_nothing(self, place: PlaceUnderTest) -> None:
        place.sink.write(new_pair(), expect=place.sink.read(), context=new_context())
        before, mark = place.sink.read(), place.mark()
        place.sink.test()
        assert place.sink.read() == before
        assert place.mark() == mark

    def test_a_sink_without_a_hook_has_nothing_to_reload(self, place: PlaceUnderTest) -> None:
        if place.sink.describe().has_reload:
            pytest.skip("this one has a hook")
        mark = place.mark()
        place.sink.reload(new_context())
        place.sink.reload(new_context())
        assert place.mark() == mark

    def test_no_secret_shows_in_texts_logs_errors_arguments_variables_or_other_files(
        self,
        place: PlaceUnderTest,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        caplog.set_level(logging.DEBUG)
        old, theirs, ours = new_pair(), new_pair(), new_pair()
        texts: list[str] = [repr(place.sink), str(place.sink), repr(place.sink.describe())]
        before = place.sink.read()
        place.sink.write(old, expect=before, context=new_context())
        held = place.sink.read()
        texts += [repr(held), str(held)]
        place.write_behind(theirs)
        try:
            place.sink.write(ours, expect=held, context=new_context())
        except SinkChangedError as error:
            chain: BaseException | None = error
            while chain is not None:
                texts += [repr(chain), str(chain), repr(chain.args)]
                chain = chain.__cause__ or chain.__context__
        printed = capfd.readouterr()
        texts += [caplog.text, printed.out, printed.err, repr(dict(os.environ))]
        seen = "\n".join(texts).encode() + Path("/proc/self/cmdline").read_bytes()
        values = {
            name: pair.secret.reveal() for name, pair in [("old", old), ("theirs", theirs), ("ours", ours)]
        }
        assert names_found(seen, values) == []
        files = {
            path for directory in place.directories for path in directory.rglob("*") if path.is_file()
        } - set(place.may_hold)
        assert {path for path in files if names_found(path.read_bytes(), values)} == set()
