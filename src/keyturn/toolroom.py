"""Where the tools' rooms meet: an answer to a leak is handed the rotation engine, and both a signed client.

Apart from `wiring`, so that a laptop without an authority loads none of it. Dull on purpose, as that is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyturn.aws_clients import AwsClients, Reach
from keyturn.leaks.alert_desk import Desk
from keyturn.leaks.iam_issuer import IamIssuer
from keyturn.leaks.incidents import Incident
from keyturn.leaks.response import IncidentState, Replaced, Replacement, Responder
from keyturn.leaks.validity import Judge
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.clock import Clock, SystemClock
from keyturn.model.errors import KeyturnError
from keyturn.rotation.configuration import Configuration
from keyturn.rotation.emergency import is_done, replace_dead
from keyturn.rotation.endpoint import EndpointError
from keyturn.rotation.engine import Ended
from keyturn.rotation.room import Room, Where
from keyturn.rotation.state import LockedByAnotherError


@dataclass(frozen=True, slots=True)
class RoomRotator:
    """The rotation room, as the leaks room asks for it."""

    room: Room
    reach: Reach

    def replace(self, user_name: str, dead_key: AccessKeyId, name: str | None) -> Replacement:
        try:
            outcome = replace_dead(self.room, self.reach, user_name, dead_key, name)
        except LockedByAnotherError as error:
            return Replacement(Replaced.WAITING, name, error.message)
        except (KeyturnError, EndpointError) as error:
            return Replacement(Replaced.NEEDS_SOMEBODY, name, str(error))
        if outcome is None:
            why = f"no sink is declared for {user_name}: nobody gets a new key by itself"
            return Replacement(Replaced.NOBODY, None, why)
        rotation = outcome.progress.rotation_id
        if is_done(outcome):
            sinks = ", ".join(sink.name for sink in outcome.progress.sinks)
            return Replacement(Replaced.DONE, rotation, f"{outcome.progress.new_key} is in {sinks}")
        if outcome.ended is Ended.WAITING:
            return Replacement(Replaced.WAITING, rotation, outcome.why)
        return Replacement(Replaced.NEEDS_SOMEBODY, rotation, f"rotation {rotation}: {outcome.why}")


@dataclass(frozen=True, slots=True)
class Answering:
    """What answers leaks, opened."""

    responder: Responder
    state: IncidentState
    issuer: IamIssuer
    is_aws: bool

    def judge(self, *, may_verify: bool, may_touch_canaries: bool) -> Judge:
        return Judge(
            self.issuer,
            is_aws=self.is_aws,
            may_verify=may_verify,
            may_touch_canaries=may_touch_canaries,
            pause=threading.Event().wait,
        )


@contextmanager
def opened_answering(
    where: Where,
    incidents: Path,
    configuration: Configuration,
    reach: Reach,
    *,
    environment: Mapping[str, str],
    clock: Clock | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
    pair: AccessKeyPair | None = None,
    told: Callable[[Incident, str], None] = lambda _incident, _what: None,
    boundary: Callable[[str], None] = lambda _name: None,
) -> Iterator[Answering]:
    """The leaks room over the rotation room, on one endpoint. With a `pair`, that one signs for both."""
    clock = clock or SystemClock()
    clients = AwsClients(reach, pair=pair)
    state = IncidentState(incidents, clock=clock, random_bytes=random_bytes)
    try:
        with Room(
            where,
            configuration,
            environment=environment,
            clock=clock,
            random_bytes=random_bytes,
            signer=lambda _reach: pair,
        ) as room:
            issuer = IamIssuer(clients, clock=clock)
            responder = Responder(
                state,
                issuer,
                RoomRotator(room, reach),
                pause=threading.Event().wait,
                told=told,
                boundary=boundary,
            )
            yield Answering(responder, state, issuer, is_aws=clients.url() is None)
    finally:
        state.close()
        clients.close()


def keep_answering(
    desk: Desk,
    where: Where,
    incidents: Path,
    configuration: Configuration,
    reach: Reach,
    *,
    pair: AccessKeyPair,
) -> None:
    """A server's answers to alerts: its own client, until its desk ends."""
    with opened_answering(
        where, incidents, configuration, reach, environment=os.environ, pair=pair
    ) as answering:
        # Clients and models are loaded now, and not while the first key waits for its end.
        account_id = answering.issuer.account_id()
        answering.issuer.state(pair.access_key_id)
        answering.issuer.prove(pair)
        _ = answering.issuer.is_exact
        desk.begin(answering.responder, answering.state, account_id)
        desk.carry_on()
