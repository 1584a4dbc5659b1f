"""What a request carries beside its action and resource: condition keys and their values.

The caller fills it; which keys exist is condition_keys' to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

Value: TypeAlias = str | Sequence[str]
"""One text, or the values of a multivalued key. Dates as ISO 8601 or epoch seconds, truth as `true` and `false`."""

ContextValues: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""By key in lower case; a tuple has values, or its key would be absent."""


@dataclass(frozen=True, slots=True)
class Context:
    """The keys of one request, ready to be asked. Make one with `of`, and share it between decisions."""

    values: ContextValues

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> Context:
        """From keys in any case ("Context key names are not case-sensitive", IAM user guide, "Condition").

        A key without values is left out. Raises ValueError for a key that is given twice with different values.
        """
        kept: dict[str, str | tuple[str, ...]] = {}
        for name, value in values.items():
            key = name.lower()
            ready = value if isinstance(value, str) else tuple(value)
            if kept.setdefault(key, ready) != ready:
                raise ValueError(f"the context key {key} is given twice")
        return cls({key: ready for key, ready in kept.items() if isinstance(ready, str) or ready})


NO_CONTEXT: Final = Context(MappingProxyType({}))
