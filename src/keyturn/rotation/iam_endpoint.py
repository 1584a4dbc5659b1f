"""The IAM endpoint that a rotation works on, over boto3: ours, AWS's, or any that speaks like them.

Reading may be asked again; creating is asked once. A throttle, a cut or a fault of the server's is never an answer:
it is Unknown, or an EndpointUnavailableError. What CloudTrail tells is read in `trail`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError

from keyturn.aws_clients import AwsClients, Reach
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus, AccountId
from keyturn.model.clock import Clock
from keyturn.model.secrets import Secret
from keyturn.rotation import revocation, simulation, trail
from keyturn.rotation.asking import TRIES, LimitError, NoSuchEntityError, RefusedWithCodeError, asked
from keyturn.rotation.endpoint import (
    Consumer,
    EndpointError,
    EndpointRefusedError,
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
from keyturn.rotation.simulation import ACTIONS
from keyturn.rotation.throttle import TokenBucket

T = TypeVar("T")

_MOST_PAGES: Final = 10_000
_ROTATION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_INVOCATION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_QUARANTINE: Final = ("AWSCompromisedKeyQuarantine", "KeyturnQuarantine")
_NO_WORKING_PAIR: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""A proxy on the way refuses in words of its own: that says nothing of the pair."""
_IN_STEP_MS: Final = 2_000
"""The `Date` header has whole seconds, and servers cache it: a difference below this is none."""

_creation: ContextVar[tuple[str, str] | None] = ContextVar("_creation", default=None)
"""Invocation id and rotation id of the CreateAccessKey that this thread is sending."""


class IamEndpoint:
    """An `Endpoint`. Threads may share it, and the buckets with other endpoints of the same account."""

    def __init__(
        self,
        reach: Reach,
        *,
        clock: Clock,
        bucket: TokenBucket | None = None,
        trail_bucket: TokenBucket | None = None,
        pair: AccessKeyPair | None = None,
    ) -> None:
        """`bucket` paces IAM and STS, `trail_bucket` CloudTrail (AWS: two requests a second); None: no limit.

        With a `pair`, that one signs, instead of what botocore finds.
        """
        self._clients = AwsClients(reach, pair=pair, prepare=self._prepare)
        self._clock = clock
        self._bucket = bucket
        self._trail_bucket = trail_bucket
        self._lock = threading.Lock()
        self._traits: EndpointTraits | None = None
        self._offset_ms = 0
        self._dates_seen = 0

    @property
    def url(self) -> str | None:
        return self._asked("find the endpoint", self._clients.url, tries=1)

    def close(self) -> None:
        self._clients.close()

    def pace(self, bucket: TokenBucket | None, trail_bucket: TokenBucket | None) -> None:
        """From now on calls take their turns from these."""
        self._bucket = bucket
        self._trail_bucket = trail_bucket

    def traits(self) -> EndpointTraits:
        """An endpoint that can't be reached now has AWS's, and is asked again the next time."""
        if self._traits is None:
            try:
                told = self._clients.document("/-/about")
            except (OSError, BotoCoreError, ValueError):
                return EndpointTraits()
            promises = told if isinstance(told, dict) else {}
            self._traits = EndpointTraits(
                exact_revocation=promises.get("exact_revocation") is True,
                reports_refused_attempts=promises.get("reports_refused_attempts") is True,
                idempotent_create=promises.get("idempotent_create") is True,
            )
        return self._traits

    # Whose time it is

    def now_ms(self) -> int:
        with self._lock:
            return self._clock.now_ms() + self._offset_ms

    def clock_offset_ms(self) -> int:
        with self._lock:
            before = self._dates_seen
        failure: EndpointError | None = None
        try:
            self._asked("tell the time", lambda: self._clients.sts().get_caller_identity())
        except EndpointError as error:  # a refusal has a Date, too, and too great a skew is refused
            failure = error
        with self._lock:
            if failure is not None and self._dates_seen == before:
                raise failure
            return self._offset_ms

    # Who is there

    def identity(self) -> Identity:
        told = self._asked("tell who signs", lambda: self._clients.sts().get_caller_identity())
        signer = self._asked("find the credentials", self._clients.signing_key_id, tries=1)
        return Identity(
            AccountId(told["Account"]), told["Arn"], None if signer is None else AccessKeyId(signer)
        )

    def users(self) -> Sequence[str]:
        pages = self._pages("list the users", lambda **page: self._clients.iam().list_users(**page))
        return [user["UserName"] for page in pages for user in page["Users"]]

    def keys(self, user_name: str) -> Sequence[UserKey]:
        def list_keys(**page: Any) -> Any:
            return self._clients.iam().list_access_keys(UserName=user_name, **page)

        try:
            return [
                UserKey(
                    AccessKeyId(key["AccessKeyId"]),
                    AccessKeyStatus(key["Status"]),
                    trail.epoch_ms(key["CreateDate"]),
                )
                for page in self._pages(f"list the keys of {user_name}", list_keys)
                for key in page["AccessKeyMetadata"]
            ]
        except NoSuchEntityError as gone:
            raise NoSuchUserError(f"there is no user {user_name}") from gone

    def last_use(self, access_key_id: AccessKeyId) -> LastUse:
        try:
            used = self._last_used(access_key_id)["AccessKeyLastUsed"]
        except EndpointError as error:
            return Unknown(str(error))
        at = used.get("LastUsedDate")
        return NeverSeen() if at is None else Used(trail.epoch_ms(at), used["ServiceName"], used["Region"])

    def owner(self, access_key_id: AccessKeyId) -> str | None:
        try:
            name: str | None = self._last_used(access_key_id).get("UserName")
        except NoSuchEntityError:
            return None
        except EndpointRefusedError:
            # An id that the endpoint does not know is refused in the same words as one that may not be looked at.
            if self._may_look_at_every_key():
                return None
            raise
        return name or None

    def _may_look_at_every_key(self) -> bool:
        try:
            return self._simulated(["iam:GetAccessKeyLastUsed"], "*").get("iam:GetAccessKeyLastUsed") is True
        except EndpointError:
            return False

    def _last_used(self, access_key_id: AccessKeyId) -> Any:
        return self._asked(
            f"tell the last use of {access_key_id}",
            lambda: self._clients.iam().get_access_key_last_used(AccessKeyId=access_key_id),
        )

    # What changes

    def create(self, user_name: str, *, invocation_id: str, rotation_id: str) -> AccessKeyPair:
        if not _INVOCATION_ID.match(invocation_id) or not _ROTATION_ID.match(rotation_id):
            raise ValueError("an invocation id or a rotation id that does not fit into a header")

        def create_key() -> AccessKeyPair:
            key = self._clients.iam().create_access_key(UserName=user_name)["AccessKey"]
            return AccessKeyPair(AccessKeyId(key["AccessKeyId"]), Secret(key["SecretAccessKey"].encode()))

        token = _creation.set((invocation_id, rotation_id))
        try:
            return self._asked(f"create a key of {user_name}", create_key, tries=1)
        except LimitError as full:
            raise QuotaError(f"{user_name} has as many keys as a user may have") from full
        except NoSuchEntityError as gone:
            raise NoSuchUserError(f"there is no user {user_name}") from gone
        finally:
            _creation.reset(token)

    def set_status(self, user_name: str, access_key_id: AccessKeyId, status: AccessKeyStatus) -> None:
        what = f"{'activate' if status is AccessKeyStatus.ACTIVE else 'deactivate'} {access_key_id}"
        self._change(
            what,
            user_name,
            access_key_id,
            lambda: self._clients.iam().update_access_key(
                UserName=user_name, AccessKeyId=access_key_id, Status=status.value
            ),
        )

    def delete(self, user_name: str, access_key_id: AccessKeyId) -> None:
        self._change(
            f"delete {access_key_id}",
            user_name,
            access_key_id,
            lambda: self._clients.iam().delete_access_key(UserName=user_name, AccessKeyId=access_key_id),
        )

    def _change(
        self, what: str, user_name: str, access_key_id: AccessKeyId, act: Callable[[], object]
    ) -> None:
        """Both changes may be made twice. AWS has one code for a missing key and a missing user: look again."""
        try:
            self._asked(what, act)
        except NoSuchEntityError:
            pass
        else:
            return
        if any(key.access_key_id == access_key_id for key in self.keys(user_name)):
            raise EndpointUnavailableError(
                f"the endpoint did not {what}: it says that there is no such key, and lists it"
            )
        raise NoSuchKeyError(f"{user_name} has no key {access_key_id}")

    def prove(self, pair: AccessKeyPair, *, region: str | None = None) -> Proof:
        def sign() -> None:
            client = self._clients.sts_of(pair, region)
            try:
                client.get_caller_identity()
            finally:
                client.close()

        try:
            self._asked(f"accept {pair.access_key_id}", sign, tries=1)
        except RefusedWithCodeError as refused:
            return Proof.REFUSED if refused.code in _NO_WORKING_PAIR else Proof.UNKNOWN
        except EndpointError:
            return Proof.UNKNOWN
        return Proof.ACCEPTED

    # What CloudTrail tells

    def created_by(self, access_key_id: AccessKeyId, user_name: str) -> str | None:
        def is_found(events: Sequence[trail.Event]) -> bool:
            return trail.agent_that_created(access_key_id, events) is not None

        for resource in (str(access_key_id), user_name):
            attribute = {"AttributeKey": "ResourceName", "AttributeValue": resource}
            found = self._events(attribute, since=None, is_enough=is_found)
            agent = None if found is None else trail.agent_that_created(access_key_id, found.events)
            if agent is not None:
                return trail.rotation_in(agent)
        return None

    def consumers(self, access_key_id: AccessKeyId, *, since: int) -> Sequence[Consumer] | None:
        found = self._events_of(access_key_id, since)
        if found is None:
            return None
        return trail.consumers_in(found.events, has_counts=self.traits().reports_refused_attempts)

    def sessions(self, access_key_id: AccessKeyId) -> Sequence[LiveSession] | None:
        """Those of its sessions too, without the revoked ones.

        Where the trail may lag or miss a region, none seen is not none.
        """
        now = self.now_ms()
        revoked: dict[str, int] = {}
        seen = {str(access_key_id)}
        is_whole = self.traits().reports_refused_attempts
        live: dict[str, LiveSession] = {}
        to_ask, looked_up = [str(access_key_id)], 0
        most = trail.MOST_SESSIONS if is_whole else trail.MOST_SLOW_SESSIONS
        while to_ask and looked_up < most:
            found = self._events_of(to_ask.pop(), now - trail.LONGEST_SESSION_MS)
            looked_up += 1
            if found is None:
                is_whole = False
                continue
            is_whole = is_whole and found.is_whole
            for issued in trail.sessions_in(found.events):
                if issued.session.expires_at > now and issued.access_key_id not in seen:
                    seen.add(issued.access_key_id)
                    to_ask.append(issued.access_key_id)
                    if not self._is_revoked(issued, revoked):
                        live[issued.access_key_id] = issued.session
        is_whole = is_whole and not to_ask
        return list(live.values()) if live or is_whole else None

    def _is_revoked(self, issued: trail.IssuedSession, revoked: dict[str, int]) -> bool:
        """By a policy on its role. `revoked` remembers, by role, what was asked. Not known is not revoked."""
        session = simulation.role_of_session(issued.session.arn)
        if session is None:
            return False
        role_arn, role_name = session
        if role_name not in revoked:
            ask = partial(
                self._clients.iam().get_role_policy,
                RoleName=role_name,
                PolicyName=revocation.POLICY_NAME,
            )
            revoked[role_name] = 0
            with suppress(EndpointError):
                # A role of that name here says nothing of one in another account.
                if role_arn.split(":")[4] == self.identity().account_id:
                    policy = self._asked("look at the role's policy", ask)
                    revoked[role_name] = revocation.revoked_before(policy["PolicyDocument"]) or 0
        return issued.issued_at + 1_000 <= revoked[role_name]

    def rotations_seen(self, *, since: int) -> Sequence[trail.SeenRotation] | None:
        """Rotations that have created keys in this account, ours or another rotator's. None: can't be told."""
        found = self._events({"AttributeKey": "EventName", "AttributeValue": "CreateAccessKey"}, since=since)
        return None if found is None else trail.rotations_in(found.events)

    def _events_of(self, access_key_id: str, since: int) -> trail.Events | None:
        return self._events({"AttributeKey": "AccessKeyId", "AttributeValue": access_key_id}, since=since)

    def _events(
        self,
        attribute: Mapping[str, str],
        *,
        since: int | None,
        is_enough: Callable[[Sequence[trail.Event]], bool] = lambda _page: False,
    ) -> trail.Events | None:
        """Newest first in each region, up to the page that is enough. None if any region does not answer."""
        most = trail.MOST_PAGES if self.traits().reports_refused_attempts else trail.MOST_SLOW_PAGES
        question: dict[str, Any] = {"LookupAttributes": [attribute], "MaxResults": 50}
        if since is not None:
            question["StartTime"] = datetime.fromtimestamp(max(0, since) // 1000, UTC)
        events: list[trail.Event] = []
        is_whole = True
        try:
            for cloudtrail in self._asked("find CloudTrail", self._clients.cloudtrails, tries=1):
                more: dict[str, str] = {}
                for _page in range(most):
                    ask = partial(cloudtrail.lookup_events, **question, **more)
                    page = self._asked("look up events", ask, bucket=self._trail_bucket)
                    found = trail.events_in(page)
                    events += found
                    if "NextToken" not in page or is_enough(found):
                        break
                    more = {"NextToken": page["NextToken"]}
                else:
                    is_whole = False
        except RefusedWithCodeError as refused:
            if refused.code != "InvalidTimeRangeException":
                return None
            # It asks for what is still to come.
            return trail.Events(events, is_whole=is_whole)
        except EndpointError:
            return None
        return trail.Events(events, is_whole=is_whole)

    # What the signer may do

    def permissions(self, user_name: str) -> Sequence[Permission]:
        told: dict[str, bool | None] = dict.fromkeys(ACTIONS)
        with suppress(EndpointError):
            told |= self._simulated(ACTIONS, self._user_arn(user_name))
        if told["iam:ListAccessKeys"] is None or told["iam:GetAccessKeyLastUsed"] is None:
            told |= {action: can for action, can in self._tried(user_name).items() if told[action] is None}
        return [Permission(action, told[action]) for action in ACTIONS]

    def _simulated(self, actions: Sequence[str], resource: str) -> dict[str, bool | None]:
        signer = self.identity()
        if simulation.is_root(signer):
            return dict.fromkeys(actions, True)
        source = self._policy_source(signer.arn)
        if source is None:
            return {}
        is_secure = not (self.url or "").startswith("http:")
        question = simulation.question(source, actions, resource, now_ms=self.now_ms(), is_secure=is_secure)
        ask = partial(self._clients.iam().simulate_principal_policy, **question)
        return simulation.decisions(self._asked("simulate the permissions", ask), signer)

    def _policy_source(self, arn: str) -> str | None:
        """The user or role whose policies count. A role's session does not say the role's path."""
        session = simulation.role_of_session(arn)
        if session is None:
            return arn if simulation.is_user(arn) else None
        role_arn, name = session
        try:
            role = self._asked("look at the role", lambda: self._clients.iam().get_role(RoleName=name))
        except EndpointRefusedError:
            return role_arn
        return role["Role"]["Arn"]

    def _user_arn(self, user_name: str) -> str:
        try:
            user = self._asked("look at the user", lambda: self._clients.iam().get_user(UserName=user_name))
        except EndpointRefusedError:
            signer = self.identity()
            return f"arn:{signer.arn.split(':')[1]}:iam::{signer.account_id}:user/{user_name}"
        return user["User"]["Arn"]

    def _tried(self, user_name: str) -> dict[str, bool | None]:
        """Reading harms nobody: where nothing can be simulated, it is done."""
        told: dict[str, bool | None] = {}
        keys: Sequence[UserKey] = ()
        try:
            keys = self.keys(user_name)
            told["iam:ListAccessKeys"] = True
        except EndpointRefusedError:
            told["iam:ListAccessKeys"] = False
        except EndpointError:
            pass
        for key in keys[:1]:
            try:
                self._last_used(key.access_key_id)
                told["iam:GetAccessKeyLastUsed"] = True
            except EndpointRefusedError:
                told["iam:GetAccessKeyLastUsed"] = False
            except EndpointError:
                pass
        return told

    def is_under_incident(self, user_name: str) -> bool | None:
        def attached(**page: Any) -> Any:
            return self._clients.iam().list_attached_user_policies(UserName=user_name, **page)

        def inline(**page: Any) -> Any:
            return self._clients.iam().list_user_policies(UserName=user_name, **page)

        unanswered = False
        for ask in (attached, inline):
            try:
                for page in self._pages("list the policies", ask):
                    names = [each["PolicyName"] for each in page.get("AttachedPolicies", [])]
                    if any(name.startswith(_QUARANTINE) for name in [*names, *page.get("PolicyNames", [])]):
                        return True
            except EndpointError:
                unanswered = True
        return None if unanswered else False

    # How it is asked

    def _pages(self, what: str, ask: Callable[..., Any]) -> Iterator[Any]:
        page: dict[str, Any] = {}
        for _number in range(_MOST_PAGES):
            answer = self._asked(what, partial(ask, **page))
            yield answer
            if not answer.get("IsTruncated"):
                return
            page = {"Marker": answer["Marker"]}
        raise EndpointUnavailableError(f"the endpoint did not {what}: there was no end to the pages")

    def _asked(
        self, what: str, ask: Callable[[], T], *, tries: int = TRIES, bucket: TokenBucket | None = None
    ) -> T:
        return asked(what, ask, tries=tries, bucket=bucket or self._bucket)

    def _prepare(self, client: Any) -> None:
        client.meta.events.register("before-call", self._before_call)
        client.meta.events.register("after-call", self._after_call)
        client.meta.events.register("before-send.iam.CreateAccessKey", _sign_off)

    def _before_call(self, context: dict[str, Any], model: Any, **_more: Any) -> None:
        creation = _creation.get()
        if creation is not None and model.name == "CreateAccessKey":
            # botocore mints an id of its own only where there is none.
            context.setdefault("retries", {})["invocation-id"] = creation[0]

    def _after_call(self, http_response: Any, **_more: Any) -> None:
        """Every answer has a Date, refusals too."""
        try:
            there = parsedate_to_datetime(http_response.headers["Date"])
        except (KeyError, TypeError, ValueError):
            return
        if there.tzinfo is None:
            there = there.replace(tzinfo=UTC)
        # The middle of the second that it names.
        offset = trail.epoch_ms(there) + 500 - self._clock.now_ms()
        with self._lock:
            self._dates_seen += 1
            if abs(offset) < _IN_STEP_MS:
                self._offset_ms = 0
            elif abs(offset - self._offset_ms) >= _IN_STEP_MS:
                self._offset_ms = offset


def _sign_off(request: Any, **_more: Any) -> None:
    """Names the rotation at the end of the agent, where LookupEvents shows it. The header is not signed.

    What botocore tells of itself is shortened: an authority may keep 256 characters of an agent.
    """
    creation = _creation.get()
    if creation is not None:
        agent = request.headers.get("User-Agent", b"")
        known = agent.decode("ascii", "replace") if isinstance(agent, bytes) else str(agent)
        request.headers["User-Agent"] = f"{known[:150]} keyturn-rotation/{creation[1]}"
