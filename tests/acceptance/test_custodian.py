"""Cloud Custodian, unmodified, audits the keys of an authority as it audits AWS's: by the credential report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from acceptance.served import bare_environment, run
from authority.sts_calls import let_clients_follow
from living_authority import HeldClock, LivingAuthority, living_authority

ROOT: Final = Path(__file__).parents[2]
CUSTODIAN: Final = ROOT / ".venv-custodian/bin/custodian"
DAYS: Final = 24 * 60 * 60
POLICIES: Final = """
policies:
  - name: by-credential-report
    resource: aws.iam-user
    filters:
      - type: credential
        key: access_keys.active
        value: true
        report_delay: 0
      - type: credential
        key: access_keys.last_used_date
        value_type: age
        value: 90
        op: greater-than

  - name: by-key-listing
    resource: aws.iam-user
    filters:
      - type: access-key
        key: Status
        value: Active
      - type: access-key
        match-operator: and
        key: CreateDate
        value_type: age
        value: 90
        op: greater-than
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Users with a key each, whose names say how they stand today, and the administrator."""

    authority: LivingAuthority
    home: Path
    key_ids: dict[str, str]

    def found_by(self, policy: str) -> dict[str, dict[str, Any]]:
        """What Custodian writes of each user that the policy matches."""
        file = self.home / "policies.yml"
        file.write_text(POLICIES)
        administrator = self.authority.administrator
        environment = bare_environment(self.home) | {
            "AWS_ENDPOINT_URL": self.authority.url,
            "AWS_ACCESS_KEY_ID": administrator.access_key_id,
            "AWS_SECRET_ACCESS_KEY": administrator.secret.reveal().decode(),
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        out = self.home / "out"
        words: list[str | Path] = [
            "run",
            "--policies",
            policy,
            "--cache-period",
            "0",
            "--output-dir",
            out,
            file,
        ]
        answer = run(CUSTODIAN, *words, env=environment)
        assert answer.returncode == 0, answer.stderr
        assert "ERROR" not in answer.stderr, answer.stderr
        found = json.loads((out / policy / "resources.json").read_text())
        return {user["UserName"]: user for user in found}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    if not CUSTODIAN.exists():
        pytest.skip("Cloud Custodian is not here: `make clients` fetches it")
    home = tmp_path_factory.mktemp("custodian")
    clock = HeldClock()
    clock.advance(seconds=-100 * DAYS)
    with living_authority(home / "authority", clock) as authority, pytest.MonkeyPatch.context() as patch:
        let_clients_follow(authority, patch)
        names = ("stale", "busy", "never-used", "retired")
        keys = {name: authority.new_user_with_key(name) for name in names}
        for name in ("stale", "busy", "retired"):
            authority.sts(*keys[name]).get_caller_identity()
        authority.iam().update_access_key(
            UserName="retired", AccessKeyId=keys["retired"][0], Status="Inactive"
        )
        authority.keep_house()
        clock.advance(seconds=100 * DAYS)
        keys["new"] = authority.new_user_with_key("new")
        for name in ("busy", "new"):
            authority.sts(*keys[name]).get_caller_identity()
        authority.keep_house()
        yield Account(authority, home, {name: key for name, (key, _secret) in keys.items()})


def test_custodian_finds_the_stale_key_in_our_credential_report(account: Account) -> None:
    found = account.found_by("by-credential-report")
    assert list(found) == ["stale"]
    columns = found["stale"]["c7n:credential-report"]
    assert columns["mfa_active"] is False
    (key,) = found["stale"]["c7n:matched-keys"]
    assert key["active"] is True
    assert (key["last_used_service"], key["last_used_region"]) == ("sts", "eu-west-1")


def test_custodian_finds_the_old_keys_in_our_listings(account: Account) -> None:
    found = account.found_by("by-key-listing")
    assert set(found) == {"administrator", "stale", "busy", "never-used"}
    (key,) = found["stale"]["c7n:matched-keys"]
    assert key["AccessKeyId"] == account.key_ids["stale"]
