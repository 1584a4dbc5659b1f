"""A secret shows in nothing but `reveal()`."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.model.access_keys import AccessKeyId, NewAccessKey
from keyturn.model.secrets import HIDDEN, Secret

CONTENT = st.binary(min_size=12, max_size=30).map(base64.b64encode)
FEW = settings(max_examples=25)
"""There are many ways, and the content hardly matters."""


def logged(secret: Secret) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("test_secrets")
    logger.addHandler(handler)
    try:
        logger.error("key %s of %r", secret, {"secret": secret})
    finally:
        logger.removeHandler(handler)
    return stream.getvalue()


def traced(secret: Secret) -> str:
    """A traceback with the locals of its frames, as error reporters send them."""

    def fail(held: Secret) -> None:
        kept = [held]
        raise ValueError(kept)

    try:
        fail(secret)
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    raise AssertionError


SHOWN: dict[str, Callable[[Secret], str]] = {
    "repr": repr,
    "str": str,
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - that is what is tried
    "in a list": lambda secret: f"{[secret]}",
    "with !r": lambda secret: f"{secret!r} {secret!s}",
    "in a dataclass": lambda secret: repr(NewAccessKey(AccessKeyId("AKIAIOSFODNN7EXAMPLE"), secret)),
    "in an exception": lambda secret: repr(ValueError(secret)) + str(ValueError(secret)),
    "pretty": pprint.pformat,
    "in a log": logged,
    "in a traceback": traced,
    "its attributes": lambda secret: f"{dir(secret)} {getattr(secret, '__dict__', '')}",
    "json by str": lambda secret: json.dumps({"secret": secret}, default=str),
    "json by repr": lambda secret: json.dumps([secret], default=repr),
}


@pytest.mark.parametrize("way", list(SHOWN))
@FEW
@given(content=CONTENT)
def test_nothing_that_prints_shows_a_secret(way: str, content: bytes) -> None:
    shown = SHOWN[way](Secret(content))
    assert content.decode() not in shown
    if way != "its attributes":
        assert HIDDEN in shown


REFUSED: dict[str, Callable[[Any], Any]] = {
    "f-string": lambda secret: f"{secret}",
    "format": lambda secret: format(secret, ">80"),
    "str.format": "{}".format,
    "json": json.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "asdict": lambda secret: dataclasses.asdict(NewAccessKey(AccessKeyId("AKIA"), secret)),
    "truth": bool,
    "hash": hash,
    "set": lambda secret: {secret},
    "bytes": bytes,
    "join": lambda secret: b"".join([secret]),
    "len": len,
    "iter": iter,
    "order": lambda secret: secret < secret,  # noqa: PLR0124 - that is what is tried
    **{
        f"pickle {protocol}": partial(pickle.dumps, protocol=protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("way", list(REFUSED))
@FEW
@given(content=CONTENT)
def test_a_secret_refuses_to_be_formatted_copied_or_written_and_the_refusal_does_not_tell(
    way: str, content: bytes
) -> None:
    with pytest.raises((TypeError, pickle.PicklingError)) as refused:
        REFUSED[way](Secret(content))
    assert content.decode() not in str(refused.value)


@given(content=CONTENT, other=CONTENT)
def test_secrets_are_equal_by_their_content_and_to_nothing_else(content: bytes, other: bytes) -> None:
    assert Secret(content) == Secret(content)
    assert (Secret(content) == Secret(other)) is (content == other)
    assert Secret(content) != content
    assert Secret(content) != content.decode()
    assert Secret(content).reveal() == content
