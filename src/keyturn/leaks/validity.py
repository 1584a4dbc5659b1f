"""Whether a found key is alive: its issuer is asked about the id first, and shown the pair only if that is allowed.

A secret goes to its own issuer and to nobody else. Keys of known canary accounts are left alone: to sign with one
tells its owner that it was found, which is for the user to decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keyturn.leaks.findings import Finding, Kind, Verdict
from keyturn.leaks.issuer import Answer, Issuer, IssuerError
from keyturn.model.access_keys import AccessKeyId, AccessKeyStatus, AccountId

CANARY_ACCOUNTS: Final = frozenset(
    AccountId(number)
    for number in [
        "052310077262",
        "171436882533",
        "534261010715",
        "595918472158",
        "717712589309",
        "819147034852",
        "992382622183",
        "730335385048",
        "266735846894",
        "044858866125",
        "251535659677",
        "344043088457",
        "351906852752",
        "390477818340",
        "426127672474",
        "427150556519",
        "439872796651",
        "445142720921",
        "465867158099",
        "637958123769",
        "693412236332",
        "732624840810",
        "735421457923",
        "959235150393",
        "982842642351",
    ]
)
"""Accounts whose keys are laid out to be found: of canarytokens.org and of services like it, as publicly known."""
FALSE_REFUSAL_PAUSE: Final = 5.0
"""Seconds: within them the same id with another secret may be refused even if it is right (seen on AWS)."""


@dataclass
class Judge:
    """Callable as a scan's judge. Answers are remembered: each id is asked about once, each pair proved once."""

    issuer: Issuer
    is_aws: bool
    """The issuer is AWS itself, which signs for every account and not only for the signer's."""
    may_verify: bool = False
    may_touch_canaries: bool = False
    pause: Callable[[float], object] = lambda _seconds: None
    _by_id: dict[AccessKeyId, Verdict] = field(default_factory=dict)
    _by_pair: dict[str, Verdict] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, finding: Finding) -> Verdict:
        if finding.verdict is not Verdict.UNVERIFIED:
            return finding.verdict
        with self._turn:  # one question at a time: two secrets of one id at once disturb each other
            by_id = self._ask(finding)
            if finding.kind is not Kind.PAIR or not self.may_verify or by_id is Verdict.INACTIVE:
                return by_id
            return self._prove(finding, by_id)

    def _ask(self, finding: Finding) -> Verdict:
        key = finding.access_key_id
        if key not in self._by_id:
            self._by_id[key] = self._asked(key, finding.account_id)
        return self._by_id[key]

    def _asked(self, key: AccessKeyId, account: AccountId | None) -> Verdict:
        try:
            if account != self.issuer.account_id():
                return Verdict.UNVERIFIED  # of another account: it is not for us to ask
            state = self.issuer.state(key)
        except IssuerError:
            return Verdict.UNVERIFIED
        if state is None:
            return Verdict.UNKNOWN
        return Verdict.LIVE if state.status is AccessKeyStatus.ACTIVE else Verdict.INACTIVE

    def _prove(self, finding: Finding, by_id: Verdict) -> Verdict:
        pair = finding.pair
        is_canary = finding.account_id in CANARY_ACCOUNTS
        if pair is None or (is_canary and not self.may_touch_canaries) or not self._is_its_issuer(finding):
            return by_id
        if pair.fingerprint not in self._by_pair:
            answer = self.issuer.prove(pair)
            if answer is Answer.REFUSED and self.is_aws:
                self.pause(FALSE_REFUSAL_PAUSE)
                answer = self.issuer.prove(pair)
            self._by_pair[pair.fingerprint] = {
                Answer.ACCEPTED: Verdict.LIVE,
                Answer.INACTIVE: Verdict.INACTIVE,
                Answer.REFUSED: Verdict.UNKNOWN,
                Answer.UNKNOWN: by_id,
            }[answer]
        return self._by_pair[pair.fingerprint]

    def _is_its_issuer(self, finding: Finding) -> bool:
        """Ours signs for its own account; AWS for every account that its encoding names."""
        if self.is_aws:
            return finding.account_id is not None
        try:
            return finding.account_id == self.issuer.account_id()
        except IssuerError:
            return False
