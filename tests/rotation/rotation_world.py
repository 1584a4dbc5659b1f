"""A small IAM with the habits of a distributed one: changes spread with a delay, copies disagree, replies are cut.

AWS itself can't be had in a test and our authority has no such habits, so this stands in for AWS. It is strict:
two keys a user, real states, a secret that is told once, and a count of everything that was done. Whatever it
does not know raises. What must hold on the wire is tested against the authority instead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus, AccountId, mint_access_key
from keyturn.rotation.endpoint import (
    Consumer,
    EndpointTraits,
    EndpointUnavailableError,
    Identity,
    LastUse,
    LiveSession,
    NeverSeen,
    NoSuchKeyError,
    NoSuchUserError,
    Permission,
    Proof,
    QuotaError,
    Unknown,
    Used,
    UserKey,
)
from keyturn.rotation.sinks.interface import (
    Held,
    ReadBack,
    SinkChangedError,
    SinkTraits,
    SinkUnavailableError,
    WriteContext,
)

ACCOUNT = AccountId("123456789012")
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
LIKE_AWS = EndpointTraits()
LIKE_OURS = EndpointTraits(exact_revocation=True, reports_refused_attempts=True, idempotent_create=True)


class HeldTime:
    """Both clocks of a test; nothing passes unless it says so."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self.now = now

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000

    def pass_(self, milliseconds: int) -> None:
        self.now += milliseconds


@dataclass
class Key:
    user: str
    pair: AccessKeyPair
    created_at: int
    made_by: str
    status: AccessKeyStatus = AccessKeyStatus.ACTIVE
    spread: list[tuple[tuple[int, ...], bool, bool]] = field(default_factory=list)
    """Each change: when it reaches each copy of the endpoint, whether the key is active then, and whether it is there."""
    used_at: int | None = None
    used_service: str = "s3"
    booked: list[int] = field(default_factory=list)
    """What the record of use knows: the first use of each span."""
    is_deleted: bool = False
    uses: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    sessions: list[LiveSession] = field(default_factory=list)

    def seen_by(self, replica: int, now: int) -> tuple[bool, bool]:
        """(is active, is there) as this copy has it. What a test sets by hand is everywhere at once."""
        truth = (self.status is AccessKeyStatus.ACTIVE and not self.is_deleted, not self.is_deleted)
        if not self.spread or self.spread[-1][1:] != truth:
            return truth
        for at, is_active, is_there in reversed(self.spread):
            if at[replica] <= now:
                return is_active, is_there
        return False, False


class World:
    """The account, seen by everybody in the test."""

    def __init__(
        self,
        time: HeldTime,
        *,
        traits: EndpointTraits = LIKE_AWS,
        delay: Callable[[], int] = lambda: 0,
        seed: int = 0,
        replicas: int = 1,
        lists_lag: bool = False,
    ) -> None:
        """`delay` is drawn for each change and copy; with `lists_lag`, ListAccessKeys asks any copy too."""
        self.time = time
        self.traits = traits
        self.delay = delay
        self.replicas = replicas
        self.lists_lag = lists_lag
        self.random = random.Random(seed)  # noqa: S311 - a test that can be repeated
        self.keys: list[Key] = []
        self.users = {"ci"}
        self.repeats: dict[str, AccessKeyPair] = {}
        self.acts: list[tuple[str, str]] = []
        self.fail_next: dict[str, list[Exception]] = {}
        """By operation: what its next calls raise instead of acting."""
        self.cut_next: set[str] = set()
        """Operations whose next call acts, and whose answer is lost."""
        self.last_use_problem: str | None = None
        self.throttled = 0.0
        """The share of calls that are answered with `Throttling`."""
        self.books_every = 1
        """Only the first use in each so many milliseconds is booked."""
        self.books_late = 0
        """A use is told so many milliseconds after it was booked."""
        self.quota = 2
        self.denied: set[str] = set()
        self.clock_offset = 0
        self.knows_makers = True
        self.knows_consumers = traits.reports_refused_attempts
        self.incident: bool | None = False
        self.signer: AccessKeyId | None = None

    def make(self, user: str = "ci", made_by: str = "") -> AccessKeyPair:
        minted = mint_access_key(ACCOUNT, self.random.randbytes)
        pair = AccessKeyPair(minted.access_key_id, minted.secret)
        key = Key(user, pair, self.time.now, made_by)
        self.keys.append(key)
        self.spread(key)
        return pair

    def spread(self, key: Key) -> None:
        """Let a change of this key travel to each copy."""
        at = tuple(self.time.now + self.delay() for _ in range(self.replicas))
        is_there = not key.is_deleted
        key.spread.append((at, is_there and key.status is AccessKeyStatus.ACTIVE, is_there))

    def key(self, access_key_id: str) -> Key:
        return next(key for key in self.keys if key.pair.access_key_id == access_key_id)

    def living(self, user: str = "ci") -> list[Key]:
        return [key for key in self.keys if key.user == user and not key.is_deleted]

    def accepts(self, pair: AccessKeyPair) -> bool:
        """What a verifier, any one of them, says to a signature with this pair."""
        return self._accepted_by(pair, self.random.randrange(self.replicas))

    def accepts_everywhere(self, pair: AccessKeyPair) -> bool:
        return all(self._accepted_by(pair, replica) for replica in range(self.replicas))

    def _accepted_by(self, pair: AccessKeyPair, replica: int) -> bool:
        for key in self.keys:
            if key.pair.access_key_id == pair.access_key_id:
                return key.pair.fingerprint == pair.fingerprint and key.seen_by(replica, self.time.now)[0]
        return False

    def sign(
        self, pair: AccessKeyPair, *, source: str = "10.0.0.1", agent: str = "app", service: str = "s3"
    ) -> bool:
        """A consumer makes a call."""
        accepted = self.accepts(pair)
        key = next((key for key in self.keys if key.pair.access_key_id == pair.access_key_id), None)
        if key is not None and key.pair.fingerprint == pair.fingerprint and not key.is_deleted:
            key.uses[source, agent] = (self.time.now, not accepted)
            if accepted:
                key.used_at, key.used_service = self.time.now, service
                if not key.booked or key.booked[-1] // self.books_every != self.time.now // self.books_every:
                    key.booked.append(self.time.now)
        return accepted


class WorldEndpoint:
    """One client's view of it."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def url(self) -> str | None:
        return None

    def traits(self) -> EndpointTraits:
        return self.world.traits

    def now_ms(self) -> int:
        return self.world.time.now

    def clock_offset_ms(self) -> int:
        return self.world.clock_offset

    def identity(self) -> Identity:
        return Identity(ACCOUNT, "arn:aws:iam::123456789012:user/rotator", self.world.signer)

    def users(self) -> Sequence[str]:
        return sorted(self.world.users)

    def keys(self, user_name: str) -> Sequence[UserKey]:
        self._may_fail("keys")
        if user_name not in self.world.users:
            raise NoSuchUserError(f"there is no user {user_name}")
        if not self.world.lists_lag:
            return [
                UserKey(key.pair.access_key_id, key.status, key.created_at)
                for key in self.world.living(user_name)
            ]
        replica = self.world.random.randrange(self.world.replicas)
        listed = []
        for key in self.world.keys:
            is_active, is_there = key.seen_by(replica, self.world.time.now)
            if key.user == user_name and is_there:
                status = AccessKeyStatus.ACTIVE if is_active else AccessKeyStatus.INACTIVE
                listed.append(UserKey(key.pair.access_key_id, status, key.created_at))
        return listed

    def last_use(self, access_key_id: AccessKeyId) -> LastUse:
        if self.world.last_use_problem is not None:
            return Unknown(self.world.last_use_problem)
        if self._is_throttled():
            return Unknown("Rate exceeded")
        key, now = self.world.key(access_key_id), self.world.time.now
        told = [at for at in key.booked if at + self.world.books_late <= now]
        return Used(told[-1], key.used_service, "eu-west-1") if told else NeverSeen()

    def owner(self, access_key_id: AccessKeyId) -> str | None:
        return next((key.user for key in self.world.keys if key.pair.access_key_id == access_key_id), None)

    def create(self, user_name: str, *, invocation_id: str, rotation_id: str) -> AccessKeyPair:
        self._may_fail("create")
        if self.world.traits.idempotent_create and invocation_id in self.world.repeats:
            return self.world.repeats[invocation_id]
        if len(self.world.living(user_name)) >= self.world.quota:
            raise QuotaError(f"Cannot exceed quota for AccessKeysPerUser: {self.world.quota}")
        pair = self.world.make(user_name, made_by=rotation_id)
        self.world.repeats[invocation_id] = pair
        self.world.acts.append(("create", pair.access_key_id))
        self._may_be_cut("create")
        return pair

    def set_status(self, user_name: str, access_key_id: AccessKeyId, status: AccessKeyStatus) -> None:
        self._may_fail("set_status")
        key = self._living(user_name, access_key_id)
        if key.status is not status:
            key.status = status
            self.world.spread(key)
        self.world.acts.append((status.value, access_key_id))
        self._may_be_cut("set_status")

    def delete(self, user_name: str, access_key_id: AccessKeyId) -> None:
        self._may_fail("delete")
        key = self._living(user_name, access_key_id)
        key.is_deleted = True
        self.world.spread(key)
        self.world.acts.append(("delete", access_key_id))
        self._may_be_cut("delete")

    def prove(self, pair: AccessKeyPair, *, region: str | None = None) -> Proof:
        del region
        if self._is_throttled():
            return Proof.UNKNOWN
        # The proof itself is seen as use, as it is on AWS.
        proved = self.world.sign(pair, source="10.9.9.9", agent="keyturn-rotation/proof", service="sts")
        return Proof.ACCEPTED if proved else Proof.REFUSED

    def created_by(self, access_key_id: AccessKeyId, user_name: str) -> str | None:
        del user_name
        return self.world.key(access_key_id).made_by if self.world.knows_makers else None

    def consumers(self, access_key_id: AccessKeyId, *, since: int) -> Sequence[Consumer] | None:
        if not self.world.knows_consumers:
            return None
        return [
            Consumer(source, agent, "s3", "GetObject", at, 1, refused)
            for (source, agent), (at, refused) in self.world.key(access_key_id).uses.items()
            if at >= since
        ]

    def sessions(self, access_key_id: AccessKeyId) -> Sequence[LiveSession] | None:
        now = self.world.time.now
        return [session for session in self.world.key(access_key_id).sessions if session.expires_at > now]

    def permissions(self, user_name: str) -> Sequence[Permission]:
        del user_name
        steps = ("Create", "Update", "Delete")
        actions = [
            *(f"iam:{step}AccessKey" for step in steps),
            "iam:ListAccessKeys",
            "iam:GetAccessKeyLastUsed",
        ]
        return [Permission(action, is_allowed=action not in self.world.denied) for action in actions]

    def is_under_incident(self, user_name: str) -> bool | None:
        del user_name
        return self.world.incident

    def _living(self, user_name: str, access_key_id: AccessKeyId) -> Key:
        for key in self.world.living(user_name):
            if key.pair.access_key_id == access_key_id:
                return key
        raise NoSuchKeyError(f"The Access Key with id {access_key_id} cannot be found.")

    def _may_fail(self, operation: str) -> None:
        if waiting := self.world.fail_next.get(operation):
            raise waiting.pop(0)
        if self._is_throttled():
            raise EndpointUnavailableError("Rate exceeded")

    def _is_throttled(self) -> bool:
        return self.world.random.random() < self.world.throttled

    def _may_be_cut(self, operation: str) -> None:
        if operation in self.world.cut_next:
            self.world.cut_next.discard(operation)
            raise EndpointUnavailableError("the connection was closed before the answer came")


@dataclass
class MemorySink:
    """A sink in memory: atomic, readable, and able to fail, to lie and to be written by others."""

    name: str
    value: AccessKeyPair | None = None
    is_readable: bool = True
    failures: list[Exception] = field(default_factory=list)
    loses_writes: int = 0
    cut_writes: int = 0
    """So many writes happen, and say that they did not."""
    reloads: int = 0
    writes: int = 0

    def describe(self) -> SinkTraits:
        read_back = ReadBack.PAIR if self.is_readable else ReadBack.VERSION
        return SinkTraits(f"memory {self.name}", is_atomic=True, read_back=read_back, has_reload=True)

    def test(self) -> None:
        return None

    def read(self) -> Held:
        if not self.is_readable:
            return Held(None, None, str(self.writes))
        key = None if self.value is None else self.value.access_key_id
        return Held(key, self.value, str(self.writes))

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        del context
        if self.failures:
            raise self.failures.pop(0)
        if self.is_readable and self.value is not None:
            if self.value.access_key_id == pair.access_key_id:
                return
            if self.value.access_key_id != expect.access_key_id:
                raise SinkChangedError(f"it holds {self.value.access_key_id}")
        if self.loses_writes:
            self.loses_writes -= 1
            return
        self.value = pair
        self.writes += 1
        if self.cut_writes:
            self.cut_writes -= 1
            raise SinkUnavailableError("the connection was closed before the answer came")

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:
        if not self.is_readable:
            return str(self.writes) != before.version
        return self.value is not None and self.value.fingerprint == pair.fingerprint

    def reload(self, context: WriteContext) -> None:
        del context
        self.reloads += 1


def unavailable(text: str = "it did not answer") -> SinkUnavailableError:
    return SinkUnavailableError(text)
