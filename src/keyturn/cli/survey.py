"""What `keys`, `why` and `report` look at: an endpoint, and what keyturn.toml and the journal add to it.

They work without either. Where there is neither sink nor state, nothing is made: looking leaves no files behind.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn.cli.endpoint_options import opened_endpoint
from keyturn.cli.room_options import state_directory
from keyturn.cli.rotations import opened_room, reach_in

if TYPE_CHECKING:
    from keyturn.aws_clients import Reach
    from keyturn.model.access_keys import AccessKeyId
    from keyturn.rotation.configuration import Configuration
    from keyturn.rotation.iam_endpoint import IamEndpoint
    from keyturn.rotation.inventory import Holders
    from keyturn.rotation.reports import KeyFacts, ReportPolicy
    from keyturn.rotation.room import Room


@dataclass(frozen=True, slots=True)
class Survey:
    endpoint: IamEndpoint
    reach: Reach
    configuration: Configuration
    room: Room | None

    def facts(
        self, users: Sequence[str], *, with_consumers: bool, must_exist: bool = False
    ) -> list[KeyFacts]:
        """All keys of these users, with the sinks that hold each and the uses that were noted."""
        from keyturn.rotation.inventory import key_facts

        held = self.holders(users)
        return key_facts(
            self.endpoint,
            users,
            with_consumers=with_consumers,
            must_exist=must_exist,
            sinks_of=None if held is None else held.of,
            samples_of=self.samples,
        )

    def holders(self, users: Sequence[str]) -> Holders | None:
        """None: no sink is declared."""
        from keyturn.rotation.inventory import holders

        room = self.room
        if room is None or not self.configuration.sinks:
            return None
        declared: Mapping[str, Sequence[str]] = {user: self.configuration.user(user).sinks for user in users}
        return holders(lambda name: room.sink(name, self.reach), declared)

    def samples(self, key: AccessKeyId) -> Sequence[tuple[int, int | None]]:
        from keyturn.rotation.storage import journal

        if self.room is None:
            return ()
        with self.room.state.database.reading() as ledger:
            return journal.samples(ledger, key)

    def policy(self, user_name: str, given: ReportPolicy) -> ReportPolicy:
        """As the file has it for this user, on top of what was given on the command line."""
        from dataclasses import replace

        from keyturn.rotation.planning import expected_intervals
        from keyturn.rotation.usage import QuietPolicy

        user = self.configuration.user(user_name)
        quiet = QuietPolicy(
            least_ms=user.terms.quiet,
            sparse_least_ms=user.terms.sparse_quiet,
            expected_intervals_ms=tuple(expected_intervals(self.configuration, user)),
        )
        return replace(given, quiet=quiet, exemptions=self.configuration.exemptions)


@contextmanager
def opened_survey(options: argparse.Namespace) -> Iterator[Survey]:
    from keyturn.rotation.configuration import read_configuration
    from keyturn.rotation.storage.reading import DATABASE
    from keyturn.settings import configuration_file

    configuration = read_configuration(configuration_file(vars(options)))
    reach = reach_in(options)
    if configuration.sinks or (Path(state_directory(options)) / DATABASE).exists():
        with opened_room(options) as room:
            yield Survey(room.endpoint(reach), reach, configuration, room)
    else:
        with opened_endpoint(options) as endpoint:
            yield Survey(endpoint, reach, configuration, None)
