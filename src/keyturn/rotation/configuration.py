"""What keyturn.toml says of rotations: their terms, the sinks of each user, the schedule, who is told.

Every field is checked when the file is read, and a wrong one is named with its line. Sinks are only described
here; `sinks.registry` opens them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.errors import KeyturnError
from keyturn.rotation.progress import Terms
from keyturn.rotation.reports import Exemption
from keyturn.rotation.sinks.interface import Field
from keyturn.settings import ConfigurationFile

_SECOND: Final = 1000
_UNITS: Final = {
    "s": _SECOND,
    "m": 60 * _SECOND,
    "min": 60 * _SECOND,
    "h": 3600 * _SECOND,
    "d": 24 * 3600 * _SECOND,
    "w": 7 * 24 * 3600 * _SECOND,
}
_DURATION: Final = re.compile(r"([0-9]{1,6})\s*(s|min|m|h|d|w)\Z")
_WINDOW: Final = re.compile(
    r"(?:(mon|tue|wed|thu|fri|sat|sun)(?:-(mon|tue|wed|thu|fri|sat|sun))?\s+)?"
    r"([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])\Z",
    re.IGNORECASE,
)
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DURATIONS: Final = {
    "proof_span": "over how long the new key is proved",
    "prove_patience": "how long a new key may take to be accepted",
    "quiet": "how long the old key must at least have been quiet",
    "sparse_quiet": "the same, for a key that is used seldom or of whose use little is known",
    "adopt_patience": "after how long somebody is told that the old key is still in use",
    "keep_inactive": "from deactivation to deletion",
    "watch_every": "how often an inactive key is watched",
    "poll": "how often a waiting rotation looks again",
}
_TERMS: Final = {
    **dict.fromkeys(_DURATIONS, "duration"),
    "proofs": "number",
    "regions": "words",
    "needs_adoption": "flag",
    "reactivates": "flag",
    "may_deactivate": "flag",
    "may_delete": "flag",
    "sink_attempts": "number",
}
"""The fields of `Terms` that may stand in [rotation] and in [users.NAME]."""
_TOLD: Final = {"notify_command": "words", "notify_url": "text", "notify_secret_variable": "text"}
_USER: Final = {"sinks": "words", "expected_interval": "duration", "check": "words"}
_SCHEDULE: Final = {
    "every": "duration",
    "windows": "words",
    "max_parallel": "number",
    "unused_after": "duration",
    "notice": "duration",
    "users": "words",
    "calls_per_second": "number",
}
_SINK: Final = {"expected_interval": "duration"}
"""What may stand in the table of any sink, beside the fields of its type."""
_EXEMPTION: Final = {"user": "text", "key": "text", "owner": "text", "until": "day", "reason": "text"}
LENGTHS: Final = frozenset(
    name for table in (_TERMS, _USER, _SINK, _SCHEDULE) for name, kind in table.items() if kind == "duration"
)
"""The fields that are lengths of time."""
FLOORS: Final = {"quiet": 3600 * _SECOND, "keep_inactive": 3600 * _SECOND, "proof_span": 10 * _SECOND}
"""What a window may not go below where revocation is not exact. Milliseconds."""


@dataclass(frozen=True, slots=True)
class SinkEntry:
    """`[sinks.NAME]`."""

    name: str
    type: str
    settings: Mapping[str, Any]
    expected_interval: int | None
    """How often its consumers run, in milliseconds: the old key is awaited for at least twice as long."""
    where: str


@dataclass(frozen=True, slots=True)
class UserEntry:
    """`[users.NAME]`."""

    name: str
    sinks: tuple[str, ...]
    terms: Terms
    expected_interval: int | None = None
    check: tuple[str, ...] = ()
    """The operator's own health check: an argument list; exit 0 is healthy, 75 has no result, else it is not."""


@dataclass(frozen=True, slots=True)
class Window:
    """When the scheduler may begin rotations: days (0 is Monday) and minutes of the day, UTC."""

    days: tuple[int, ...]
    begins: int
    ends: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """`[schedule]`."""

    every: int | None = None
    """Rotate keys older than this, in milliseconds; None: nothing is begun by itself."""
    windows: tuple[Window, ...] = ()
    max_parallel: int = 20
    unused_after: int | None = None
    """Deactivate keys that nobody used for this long."""
    notice: int = 14 * 24 * 3600 * _SECOND
    users: tuple[str, ...] = ()
    """Empty: all users that have sinks."""
    calls_per_second: int = 10


@dataclass(frozen=True, slots=True)
class Notify:
    command: tuple[str, ...] = ()
    url: str | None = None
    secret_variable: str | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    terms: Terms = field(default_factory=Terms)
    sinks: Mapping[str, SinkEntry] = field(default_factory=dict)
    users: Mapping[str, UserEntry] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Schedule)
    notify: Notify = field(default_factory=Notify)
    exemptions: tuple[Exemption, ...] = ()
    path: str = ""

    def user(self, name: str) -> UserEntry:
        return self.users.get(name) or UserEntry(name, (), self.terms)


def read_configuration(file: ConfigurationFile) -> Configuration:
    """KeyturnError names the file, the line and what is allowed there."""
    rotation = dict(file.tables.get("rotation", {}))
    checked = _checked(file, ("rotation",), rotation, _TERMS | _TOLD)
    terms = replace(Terms(), **{name: checked[name] for name in _TERMS if name in checked})
    _require_positive(file, ("rotation",), terms)
    sinks = {name: _sink(file, name, each) for name, each in _tables(file, "sinks").items()}
    users = {name: _user(file, name, each, terms, sinks) for name, each in _tables(file, "users").items()}
    return Configuration(
        terms=terms,
        sinks=sinks,
        users=users,
        schedule=_schedule(file),
        notify=Notify(
            checked.get("notify_command", ()),
            checked.get("notify_url"),
            checked.get("notify_secret_variable"),
        ),
        exemptions=tuple(
            _exemption(file, number, each) for number, each in enumerate(file.lists.get("exemptions", ()))
        ),
        path=str(file.path),
    )


def described() -> Sequence[tuple[str, Sequence[Field]]]:
    """Every field that may stand in the file, by table, for the reference."""
    help_of = _DURATIONS | {
        "proofs": "how many successes prove a new key",
        "regions": "where the consumers call: the new key is proved there",
        "needs_adoption": "somebody must be seen signing with the new key",
        "reactivates": "the old key comes back by itself when a check fails or a known consumer misses it",
        "may_deactivate": "false: ask before the old key is deactivated",
        "may_delete": "true: delete without asking again",
        "sink_attempts": "after how many failures of a sink somebody is told",
        "notify_command": "run with the event as JSON on its standard input",
        "notify_url": "gets the event as signed JSON",
        "notify_secret_variable": "the environment variable that holds the key of the signature",
        "sinks": "the names of the sinks that hold this user's key",
        "expected_interval": "how often the consumers run",
        "check": "a health check: exit 0 is healthy, 75 no result, anything else unhealthy",
        "every": "rotate keys that are older",
        "windows": "when rotations may begin, UTC: `mon-thu 09:00-15:00`",
        "max_parallel": "how many rotations may be under way",
        "unused_after": "deactivate keys that nobody used for so long",
        "notice": "how long before that somebody is told",
        "users": "only these; default: for `every` the users that have sinks, for `unused_after` all of the account",
        "calls_per_second": "calls to the endpoint, all rotations together",
        "user": "whose keys are left alone by the schedule and the unused policy, and exempt in reports",
        "key": "or the one key",
        "owner": "who answers for it",
        "until": "the first day, UTC, on which it no longer holds",
        "reason": "why",
        "type": "what kind of place it is: the headings below",
    }
    kinds: Mapping[str, type] = {
        "duration": str,
        "number": int,
        "words": list[str],
        "flag": bool,
        "text": str,
        "day": str,
    }

    def listed(table: Mapping[str, str]) -> list[Field]:
        required = {"owner", "until", "type"}
        return [Field(name, kinds[kind], help_of[name], name in required) for name, kind in table.items()]

    return [
        ("rotation", listed(_TERMS | _TOLD)),
        ("users.NAME", listed(_USER | _TERMS)),
        ("sinks.NAME", listed({"type": "text", **_SINK})),
        ("schedule", listed(_SCHEDULE)),
        ("[exemptions]", listed(_EXEMPTION)),
    ]


def duration(text: str) -> int | None:
    """Milliseconds of `90s`, `15min`, `6h`, `35d`, `2w`; None if it is not that."""
    match = _DURATION.match(text.strip())
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def below_floor(terms: Terms) -> str | None:
    """The first window that is too short for an endpoint without exact revocation, as a sentence."""
    for name, floor in FLOORS.items():
        if getattr(terms, name) < floor:
            return f"{name} is {getattr(terms, name) // 1000} s, and this endpoint needs at least {floor // 1000} s"
    if terms.proofs < 3:
        return f"proofs is {terms.proofs}, and this endpoint needs at least 3"
    return None


def _tables(file: ConfigurationFile, name: str) -> Mapping[str, Mapping[str, Any]]:
    found = file.tables.get(name, {})
    for key, value in found.items():
        if not isinstance(value, dict):
            raise KeyturnError(f"{file.where(name, key)}: '{key}' is not a table", f"write [{name}.{key}]")
        if name == "sinks" and not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", key):
            raise KeyturnError(
                f"{file.where(name, key)}: '{key}' can't be the name of a sink",
                "a name has at most 40 letters, digits, hyphens and underscores",
            )
    return found


def _sink(file: ConfigurationFile, name: str, table: Mapping[str, Any]) -> SinkEntry:
    where = file.where("sinks", name)
    kind = table.get("type")
    if not isinstance(kind, str):
        raise KeyturnError(
            f"{where}: the sink '{name}' has no type", 'write type = "credentials_file", for example'
        )
    settings = {key: value for key, value in table.items() if key not in {"type", *_SINK}}
    common = {key: table[key] for key in _SINK if key in table}
    checked = _checked(file, ("sinks", name), common, _SINK)
    return SinkEntry(name, kind, settings, checked.get("expected_interval"), where)


def _user(
    file: ConfigurationFile, name: str, table: Mapping[str, Any], terms: Terms, sinks: Mapping[str, SinkEntry]
) -> UserEntry:
    checked = _checked(file, ("users", name), table, _USER | _TERMS)
    for sink in checked.get("sinks", ()):
        if sink not in sinks:
            raise KeyturnError(
                f"{file.where('users', name, 'sinks')}: there is no sink '{sink}'",
                f"the sinks are {', '.join(sinks) or 'none yet'}; write [sinks.{sink}]",
            )
    own = replace(terms, **{key: checked[key] for key in _TERMS if key in checked})
    _require_positive(file, ("users", name), own)
    return UserEntry(
        name,
        tuple(dict.fromkeys(checked.get("sinks", ()))),
        own,
        checked.get("expected_interval"),
        checked.get("check", ()),
    )


def _exemption(file: ConfigurationFile, number: int, table: Mapping[str, Any]) -> Exemption:
    """Of a user or of one key: who answers for it, and until when."""
    checked = {}
    for key, value in table.items():
        where = file.where_in("exemptions", number, key)
        if key not in _EXEMPTION:
            raise KeyturnError(
                f"{where}: [[exemptions]] has no setting '{key}'",
                f"the settings are {', '.join(sorted(_EXEMPTION))}",
            )
        checked[key] = _value(_EXEMPTION[key], value)
        if checked[key] in {None, ""}:
            raise KeyturnError(f"{where}: '{key}' is {_WANTED[_EXEMPTION[key]]}")
    where = file.where_in("exemptions", number)
    if ("user" in checked) == ("key" in checked):
        raise KeyturnError(f"{where}: an exemption is of a user or of a key", "write user = or key =")
    missing = [name for name in ("owner", "until") if name not in checked]
    if missing:
        raise KeyturnError(
            f"{where}: the exemption has no {missing[0]}",
            "somebody has to answer for it, and it has to end: write owner = and until =",
        )
    return Exemption(
        owner=checked["owner"],
        until=checked["until"],
        user_name=checked.get("user"),
        access_key_id=AccessKeyId(checked["key"]) if "key" in checked else None,
        reason=checked.get("reason", ""),
    )


def _schedule(file: ConfigurationFile) -> Schedule:
    checked = _checked(file, ("schedule",), file.tables.get("schedule", {}), _SCHEDULE)
    windows = tuple(_window(file, text) for text in checked.pop("windows", ()))
    schedule = replace(Schedule(), windows=windows, **checked)
    if schedule.unused_after is not None and schedule.notice >= schedule.unused_after:
        raise KeyturnError(
            f"{file.where('schedule', 'unused_after')}: the notice is as long as the time without use",
            "make `notice` shorter than `unused_after`; it is 14d if it does not stand there",
        )
    return schedule


def _window(file: ConfigurationFile, text: str) -> Window:
    match = _WINDOW.match(text.strip())
    if match is not None:
        first, last, *clock = match.groups()
        begins, ends = int(clock[0]) * 60 + int(clock[1]), int(clock[2]) * 60 + int(clock[3])
        if begins < ends <= 24 * 60:
            begin = DAYS.index(first.lower()) if first else 0
            end = DAYS.index(last.lower()) if last else begin if first else 6
            days = tuple((begin + n) % 7 for n in range((end - begin) % 7 + 1))
            return Window(days, begins, ends)
    raise KeyturnError(
        f"{file.where('schedule', 'windows')}: '{text}' is no window",
        "write it as in `mon-thu 09:00-15:00`, in UTC",
    )


def _require_positive(file: ConfigurationFile, table: Sequence[str], terms: Terms) -> None:
    for name in (*_DURATIONS, "proofs", "sink_attempts"):
        if getattr(terms, name) <= 0 and name != "proof_span":
            raise KeyturnError(
                f"{file.where(*table, name)}: '{name}' is 0: this wait is part of the safety",
                "give it a length",
            )


def _midnight(value: Any) -> int | None:
    """The beginning of a day, UTC, in epoch milliseconds: TOML has days of its own, and a text will do."""
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(day, date) or isinstance(day, datetime):
        return None
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * _SECOND


def _checked(
    file: ConfigurationFile, table: Sequence[str], given: Mapping[str, Any], known: Mapping[str, str]
) -> dict[str, Any]:
    checked = {}
    for key, value in given.items():
        if key not in known:
            raise KeyturnError(
                f"{file.where(*table, key)}: [{'.'.join(table)}] has no setting '{key}'",
                f"the settings are {', '.join(sorted(known))}",
            )
        read = _value(known[key], value)
        if read is None:
            raise KeyturnError(f"{file.where(*table, key)}: '{key}' is {_WANTED[known[key]]}")
        checked[key] = read
    return checked


_WANTED: Final = {
    "duration": 'a length of time, such as "90s", "6h" or "35d"',
    "number": "a whole number, and more than 0",
    "words": "a list of texts",
    "flag": "true or false",
    "text": "a text",
    "day": 'a day, such as "2027-01-31"',
}


def _value(kind: str, value: Any) -> Any:
    match kind:
        case "duration":
            return duration(value) if isinstance(value, str) else None
        case "number":
            return (
                value
                if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1_000_000
                else None
            )
        case "words":
            is_list = isinstance(value, list) and all(isinstance(word, str) for word in value)
            return tuple(value) if is_list else None
        case "flag":
            return value if isinstance(value, bool) else None
        case "day":
            return _midnight(value)
        case _:
            return value if isinstance(value, str) else None


assert set(_TERMS) <= {each.name for each in fields(Terms)}
