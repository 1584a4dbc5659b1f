"""What an operation is: a plain function over typed values, and what it may change.

Handlers register themselves here by service and name. Who calls them, whether they may, and what is
written down about it are decided in `authority.authority`, in one place for all of them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from keyturn.authority.authentication import Caller
from keyturn.authority.web_identity import WebIdentity
from keyturn.model.access_keys import AccountId
from keyturn.model.principals import User
from keyturn.store.interface import Reader, Transaction
from keyturn.wire.faults import Fault, validation_error

if TYPE_CHECKING:
    from keyturn.authority.services import Services

Result = dict[str, Any]
Parameters = Mapping[str, Any]
DEFAULT_PAGE: Final = 100
"""Items a page when MaxItems is not given (IAM API, `MaxItems`)."""


class RequestFacts(NamedTuple):
    """What is known of a request beside its parameters. Nothing here is secret.

    A tuple, for one is made per request.
    """

    request_id: str
    source_address: str
    user_agent: str
    service: str
    region: str
    is_secure: bool
    invocation_id: str | None = None
    """`amz-sdk-invocation-id`: the same for all tries of one call."""


@dataclass(slots=True)
class Call:
    """One authenticated call that reads. Not frozen, for speed: one is made per request, and nobody changes it."""

    operation: str
    caller: Caller
    now: int
    """Epoch milliseconds."""
    facts: RequestFacts
    services: Services
    reader: Reader
    web_identity: WebIdentity | None = None
    """Of a call that came with a web identity token in place of a signature."""
    met: tuple[str, User] | None = None
    """The user that permission was asked for, under the name that was given: the handler asks for the same."""

    @property
    def account_id(self) -> AccountId:
        return self.services.account_id


@dataclass(slots=True)
class WriteCall(Call):
    """One authenticated call that changes something, inside its transaction."""

    tx: Transaction = field(kw_only=True)
    notes: dict[str, str] = field(default_factory=dict, kw_only=True)
    """Goes into the audit record's `additionalEventData`."""
    even_if_refused: list[Callable[[Transaction], None]] = field(default_factory=list)
    """Written again after a refusal has undone the rest: what is remembered of an attempt that failed."""

    def remember(self, act: Callable[[Transaction], None]) -> None:
        """Write it now, and see that it stays even if the call is refused: a wrong code counts."""
        act(self.tx)
        self.even_if_refused.append(act)


@dataclass(frozen=True, slots=True)
class Target:
    """What an action acts on: the ARN that policies match, and the words that a denial uses for it."""

    arn: str
    text: str
    tags: tuple[tuple[str, str], ...] = ()
    """Of the resource, for conditions on them."""
    boundary: str | None = None
    """ARN of the user's or role's permissions boundary: iam:PermissionsBoundary, where a call does not set one."""
    policy: str | None = None
    """The resource's own policy, which has a say beside the caller's."""
    keys: tuple[tuple[str, str | tuple[str, ...]], ...] = ()
    """Condition keys of the service about this call, in lower case."""


ANYTHING: Final = Target("*", "*")


@dataclass(frozen=True, slots=True)
class Operation:
    service: str
    name: str
    act: Callable[..., Result]
    target: Callable[[Call, Parameters], Target]
    writes: bool
    further_target: Callable[[Call, Parameters], Target] | None = None
    """What else the caller must have permission on: what a rename makes of the target."""
    passes: Callable[[Call, Parameters], tuple[Target, str]] | None = None
    """The role that is handed on, and the service it is for: that needs iam:PassRole."""
    needs_permission: bool = True
    is_urgent: Callable[[Parameters], bool] = lambda _parameters: False
    """A revocation: it may use the space that is kept for a full disk."""
    answers_once: bool = False
    """Its answer holds what can't be asked for again: a client must notice if it was cut."""
    tells_caller_only: bool = False
    """It needs no permission, and its answer follows from who calls and from nothing else: no parameter, time or row."""
    denial: Callable[[Call, Parameters], Fault] | None = None
    """Overrides the words of a denial where AWS has its own."""

    @property
    def action(self) -> str:
        return f"{self.service}:{self.name}"


OPERATIONS: Final[dict[tuple[str, str], Operation]] = {}

Handler = TypeVar("Handler", bound=Callable[..., Result])


def anything(_call: Call, _parameters: Parameters) -> Target:
    return ANYTHING


def operation(
    service: str,
    name: str,
    target: Callable[[Call, Parameters], Target] = anything,
    *,
    writes: bool = False,
    **options: Any,
) -> Callable[[Handler], Handler]:
    """Register a handler. Options are the further fields of `Operation`."""

    def register(act: Handler) -> Handler:
        OPERATIONS[service, name] = Operation(service, name, act, target, writes, **options)
        return act

    return register


T = TypeVar("T")


def page(
    call: Call,
    marker: str | None,
    max_items: int | None,
    fetch: Callable[[str, int], Sequence[T]],
    sort_key: Callable[[T], str],
) -> tuple[Sequence[T], Result]:
    """One page of a listing: its items, and `IsTruncated` (always) with `Marker` (only when there is more).

    `fetch(after, limit)` gives items whose sort key lies behind `after`. A marker is opaque to clients and
    holds the operation and the last sort key; one that we did not make is `Invalid Marker.`
    """
    size = max_items or DEFAULT_PAGE
    items = fetch(_after(call, marker), size + 1)
    if len(items) <= size:
        return items, {"IsTruncated": False}
    items = items[:size]
    text = json.dumps([call.operation, sort_key(items[-1])], separators=(",", ":"))
    return items, {
        "IsTruncated": True,
        "Marker": base64.urlsafe_b64encode(text.encode()).decode("ascii"),
    }


def page_of(
    call: Call,
    marker: str | None,
    max_items: int | None,
    items: Sequence[T],
    sort_key: Callable[[T], str],
) -> tuple[Sequence[T], Result]:
    """`page` over a listing that is small enough to have been read whole. Sorts by the key."""
    ordered = sorted(items, key=sort_key)

    def behind(after: str, limit: int) -> Sequence[T]:
        return [item for item in ordered if sort_key(item) > after][:limit]

    return page(call, marker, max_items, behind, sort_key)


def _after(call: Call, marker: str | None) -> str:
    if marker is None:
        return ""
    try:
        match json.loads(base64.urlsafe_b64decode(marker.encode("ascii"))):
            case [call.operation, str(after)]:
                after.encode()  # JSON can hold half a surrogate pair, which no database takes
                return after
    except (ValueError, TypeError, binascii.Error, RecursionError):
        pass
    raise validation_error("Invalid Marker.")
