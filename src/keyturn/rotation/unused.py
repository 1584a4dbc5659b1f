"""Deactivates keys that nobody uses, after somebody was told. What is decided stands in `reports.decide_unused`.

Everything is looked at again, under the user's lock, right before a key is deactivated; what can't be found out
deactivates nothing. A deactivated key is never deleted here: whoever misses it activates it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keyturn.model.access_keys import AccessKeyId, AccessKeyStatus, AccountId
from keyturn.model.clock import iso8601
from keyturn.model.errors import KeyturnError
from keyturn.rotation.configuration import Configuration
from keyturn.rotation.endpoint import Endpoint, EndpointError, NoSuchKeyError, NoSuchUserError
from keyturn.rotation.inventory import key_facts
from keyturn.rotation.reports import KeyFacts, UnusedDecision, UnusedPolicy, decide_unused, unused_for
from keyturn.rotation.state import LockedByAnotherError, State
from keyturn.rotation.storage import journal, notices
from keyturn.rotation.usage import DAY, spell


@dataclass(frozen=True, slots=True)
class Done:
    """What one look at the account led to."""

    noticed: tuple[AccessKeyId, ...] = ()
    deactivated: tuple[AccessKeyId, ...] = ()
    withdrawn: tuple[AccessKeyId, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    """(key, why) of those that could not be deactivated: they are tried again."""


def keep_policy(state: State, endpoint: Endpoint, configuration: Configuration) -> Done:
    """One look at every key that the schedule is about. EndpointError if they can't be listed."""
    schedule = configuration.schedule
    assert schedule.unused_after is not None
    if schedule.unused_after < DAY and not endpoint.traits().exact_revocation:
        raise KeyturnError(
            f"unused_after is {spell(schedule.unused_after)}, and this endpoint books uses hours late",
            "give it a day or more",
        )
    policy = UnusedPolicy(
        schedule.unused_after,
        schedule.notice,
        grace_ms=min(schedule.unused_after, UnusedPolicy(0).grace_ms),
        exemptions=configuration.exemptions,
    )
    keeper = _Keeper(state, endpoint, policy)
    return keeper.look(schedule.users or tuple(endpoint.users()))


class _Keeper:
    def __init__(self, state: State, endpoint: Endpoint, policy: UnusedPolicy) -> None:
        self._state = state
        self._endpoint = endpoint
        self._policy = policy
        self._identity = endpoint.identity()

    @property
    def _account(self) -> AccountId:
        return self._identity.account_id

    def look(self, users: Sequence[str]) -> Done:
        with self._state.database.reading() as ledger:
            given = notices.notices(ledger, self._account)
        facts = key_facts(self._endpoint, users, with_consumers=False)
        by_key = {each.key.access_key_id: each for each in facts}
        self._make_good(given, by_key)
        decision = self._decide(facts)
        gone = [key for key, notice in given.items() if key not in by_key and notice.user_name in users]
        for key in decision.to_withdraw:
            self._withdraw(key, by_key[key])
        with self._state.database.writing() as ledger:
            for key in gone:
                notices.remove_notice(ledger, self._account, key)
        for each in decision.to_notify:
            self._notify(each)
        deactivated, failed = [], []
        for each in decision.to_deactivate:
            key = each.key.access_key_id
            try:
                if self._deactivate(each):
                    deactivated.append(key)
            except LockedByAnotherError:
                continue  # its rotation is being advanced: next time
            except (NoSuchKeyError, NoSuchUserError):
                continue  # gone meanwhile: the next look takes the notice away
            except EndpointError as error:
                failed.append((key, str(error)))
        noticed = tuple(each.key.access_key_id for each in decision.to_notify)
        return Done(noticed, tuple(deactivated), decision.to_withdraw, tuple(failed))

    def _decide(self, facts: Sequence[KeyFacts]) -> UnusedDecision:
        """Without the keys of rotations under way: those have an end of their own."""
        with self._state.database.reading() as ledger:
            given = notices.notices(ledger, self._account)
            busy = {
                key
                for rotation in journal.open_ones(ledger)
                for key in (
                    rotation.progress.old_key,
                    rotation.progress.new_key,
                    *rotation.progress.orphans,
                )
            }
        return decide_unused(
            [each for each in facts if each.key.access_key_id not in busy],
            {key: notice.noticed_at for key, notice in given.items()},
            self._policy,
            self._endpoint.now_ms(),
            signing=self._identity.access_key_id,
        )

    def _notify(self, facts: KeyFacts) -> None:
        now, key = self._endpoint.now_ms(), facts.key.access_key_id
        unused = unused_for(facts, now, grace_ms=self._policy.grace_ms) or 0
        at = now + max(self._policy.notice_ms, self._policy.after_ms - unused)
        what = (
            f"{key} of {facts.user_name} has not been used for {spell(unused)}: it is deactivated from"
            f" {iso8601(at)} on, unless it is used before or exempt"
        )
        with self._state.database.writing() as ledger:
            notices.add_notice(ledger, self._account, key, facts.user_name, now)
            notices.note(ledger, self._account, key, facts.user_name, now, notices.NOTICE, what)

    def _withdraw(self, key: AccessKeyId, facts: KeyFacts) -> None:
        what = f"the notice for {key} of {facts.user_name} no longer holds"
        with self._state.database.writing() as ledger:
            notices.remove_notice(ledger, self._account, key)
            notices.note(
                ledger, self._account, key, facts.user_name, self._endpoint.now_ms(), notices.WITHDRAWN, what
            )

    def _deactivate(self, before: KeyFacts) -> bool:
        """Looks once more under the lock: between deciding and acting the key may have been used."""
        key, user = before.key.access_key_id, before.user_name
        with self._state.user_lock(self._account, user):
            facts = key_facts(self._endpoint, [user], with_consumers=False)
            still = {each.key.access_key_id for each in self._decide(facts).to_deactivate}
            if key not in still:
                return False
            now = self._endpoint.now_ms()
            with self._state.database.writing() as ledger:
                notices.begin_deactivation(ledger, self._account, key, now)
                what = f"{key} of {user} is about to be deactivated"
                notices.note(ledger, self._account, key, user, now, notices.DEACTIVATING, what)
            self._endpoint.set_status(user, key, AccessKeyStatus.INACTIVE)
            self._note_deactivated(key, user)
        return True

    def _make_good(
        self, given: Mapping[AccessKeyId, notices.Notice], by_key: Mapping[AccessKeyId, KeyFacts]
    ) -> None:
        """The outcome of a deactivation whose process died before it could note it."""
        for key, notice in given.items():
            facts = by_key.get(key)
            if notice.deactivating_at is not None and facts is not None and not facts.is_active:
                self._note_deactivated(key, notice.user_name)

    def _note_deactivated(self, key: AccessKeyId, user: str) -> None:
        what = (
            f"{key} of {user} was deactivated: nobody used it; `aws iam update-access-key` activates it again"
        )
        with self._state.database.writing() as ledger:
            notices.remove_notice(ledger, self._account, key)
            notices.note(ledger, self._account, key, user, self._endpoint.now_ms(), notices.DEACTIVATED, what)
