"""Values that a shape of a service model allows, drawn from a seed: the same in every run, and quick."""

from __future__ import annotations

import functools
import random
from typing import Final

from botocore.model import ListShape, MapShape, Shape, StructureShape

from keyturn.wire.constraints import java_pattern

ALPHABET: Final = "abzAZ059 _.:/=+-@,%&;<>\"'~!?#*[]\t\n\réÿß漢ｶ٣\u00a0\u2003😀"

NOT_OF_ONE_CLASS: Final = {
    r"(\u002F)|(\u002F[\u0021-\u007E]+\u002F)": ["/", "/a/", "/a%b/&c=d/"],
    r"((/[A-Za-z0-9\.,\+@=_-]+)*)/": ["/", "/a/", "/a.b/c+d/"],
    r"\u002F[\u0021-\u007F]*": ["/", "/a", "/a&b=%2F/"],
    r"^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$": ["abc", "a-b-c", "0" * 63],
    r"\d{12}": ["123456789012"],
    r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?": ["v1", "v12.a-b"],
    r"^http(s?)://[a-zA-Z0-9._/-]*(\?[a-zA-Z0-9._=&-]*)?(#[a-zA-Z0-9._/-]*)?$": [
        "http://a.example/b?c=d&e=f#g",
        "https://",
    ],
    r"^o-[0-9a-z]{10,32}\/r-[0-9a-z]{4,32}[0-9a-z-\/]*": ["o-0123456789/r-abcd/ou-x"],
    r"^p-[0-9a-zA-Z_]{8,128}$": ["p-abcdefgh"],
    r"^[A-Za-z][A-Za-z0-9/_-]*$": ["A", "b/c_d-e"],
}
"""Patterns that are more than one repeated class, with texts that satisfy them."""


@functools.cache
def alphabet_of(pattern: str) -> str:
    matches = java_pattern(pattern)
    alphabet = "".join(character for character in ALPHABET if matches(character))
    assert len(alphabet) > 1, pattern
    assert matches(alphabet), pattern
    return alphabet


class Values:
    """Draws values as botocore's caller writes them; times are epoch seconds.

    The protocol can't send an empty map or structure, so none is drawn below the top. With `constrained` False
    texts are whatever XML carries: what is answered is ours, and not checked.
    """

    def __init__(self, seed: str, *, constrained: bool) -> None:
        self._random = random.Random(seed)  # noqa: S311 - test data
        self._constrained = constrained

    def draw(self, shape: Shape, depth: int = 4) -> object:
        match shape:
            case StructureShape():
                return self.structure(shape, depth)
            case ListShape():
                low = shape.metadata.get("min", 0)
                return [self.draw(shape.member, depth) for _ in range(self._random.randint(low, max(low, 3)))]
            case MapShape():
                pairs = range(self._random.randint(1, 2))
                return {self.text(shape.key): self.draw(shape.value, depth) for _ in pairs}
        match shape.type_name:
            case "string":
                return self.text(shape)
            case "integer":
                high = min(shape.metadata.get("max", 1 << 31), (1 << 31) - 1)
                return self._random.randint(shape.metadata.get("min", -(1 << 31)), high)
            case "boolean":
                return self._random.random() < 0.5
            case "timestamp":
                return self._random.randint(0, 4_000_000_000)
            case "blob":
                return self._random.randbytes(self._random.randint(0, 30))
        raise NotImplementedError(shape.type_name)

    def structure(self, shape: StructureShape, depth: int = 4) -> dict[str, object]:
        wanted = {
            name
            for name in shape.members
            if name in shape.required_members or (depth > 0 and self._random.random() < 0.6)
        }
        if depth < 4 and not wanted:
            wanted = {self._random.choice(list(shape.members))}
        return {name: self.draw(shape.members[name], depth - 1) for name in shape.members if name in wanted}

    def text(self, shape: Shape) -> str:
        if not self._constrained:
            return "".join(self._random.choices(ALPHABET, k=self._random.randint(0, 30)))
        if "enum" in shape.metadata:
            return str(self._random.choice(shape.metadata["enum"]))
        pattern = shape.metadata.get("pattern")
        if pattern in NOT_OF_ONE_CLASS:
            return self._random.choice(NOT_OF_ONE_CLASS[pattern])
        low = shape.metadata.get("min", 1)
        high = max(low, min(shape.metadata.get("max", 30), 30))
        alphabet = ALPHABET if pattern is None else alphabet_of(pattern)
        return "".join(self._random.choices(alphabet, k=self._random.randint(low, high)))
