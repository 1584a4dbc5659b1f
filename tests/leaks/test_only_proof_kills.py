"""`keyturn leak --from`: a row is a hint, and so is what stands in its source; only the issuer's word counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Told, keyturn
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccountId, mint_access_key
from keyturn.model.secrets import Secret
from living_authority import REGION, LivingAuthority


def row(pair: AccessKeyPair, source: Path, kind: str = "pair") -> str:
    return json.dumps(
        {
            "kind": kind,
            "access_key_id": pair.access_key_id,
            "fingerprint": pair.fingerprint if kind == "pair" else None,
            "source": str(source),
        }
    )


def leak(authority: LivingAuthority, home: Path, findings: str) -> Told:
    mine = authority.administrator
    (home / "findings.jsonl").write_text(findings + "\n")
    environment = {
        "AWS_ACCESS_KEY_ID": mine.access_key_id,
        "AWS_SECRET_ACCESS_KEY": mine.secret.reveal().decode(),
        "AWS_REGION": REGION,
    }
    arguments = ("leak", "--from", str(home / "findings.jsonl"), "--endpoint-url", authority.url)
    return keyturn(home, *arguments, environment=environment)


def source_with(home: Path, pair: AccessKeyPair) -> Path:
    file = home / "settings.env"
    file.write_text(
        f"AWS_ACCESS_KEY_ID={pair.access_key_id}\nAWS_SECRET_ACCESS_KEY={pair.secret.reveal().decode()}\n"
    )
    return file


def pair_of(authority: LivingAuthority, user: str) -> AccessKeyPair:
    key, secret = authority.new_user_with_key(user)
    return AccessKeyPair(AccessKeyId(key), Secret(secret.encode()))


def statuses(authority: LivingAuthority, user: str) -> list[str]:
    return [key["Status"] for key in authority.iam().list_access_keys(UserName=user)["AccessKeyMetadata"]]


@pytest.mark.parametrize("kind", ["pair", "id"])
def test_an_id_with_a_random_secret_in_its_source_changes_nothing(
    shared_authority: LivingAuthority, tmp_path: Path, kind: str
) -> None:
    user = f"from-{kind}"
    real = pair_of(shared_authority, user)
    random = mint_access_key(AccountId("123456789012"), lambda size: bytes(range(3, 3 + size)))
    wrong = AccessKeyPair(real.access_key_id, random.secret)
    told = leak(shared_authority, tmp_path, row(wrong, source_with(tmp_path, wrong), kind))
    assert told.code == 0, told.stderr
    assert kind == "id" or "false positive" in told.stdout
    assert statuses(shared_authority, user) == ["Active"]
    assert shared_authority.iam().list_attached_user_policies(UserName=user)["AttachedPolicies"] == []
    assert shared_authority.iam().list_user_policies(UserName=user)["PolicyNames"] == []
    listed = keyturn(
        tmp_path,
        "leak",
        "--list",
        "--endpoint-url",
        shared_authority.url,
        environment={"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": REGION},
    )
    assert f"{real.access_key_id}  exposed identifier" in listed.stdout


def test_a_row_whose_source_does_not_hold_it_any_more_changes_nothing(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    pair = pair_of(shared_authority, "from-gone")
    source = tmp_path / "empty.env"
    source.write_text("nothing\n")
    told = leak(shared_authority, tmp_path, row(pair, source))
    assert "nothing was done" in told.stderr
    assert statuses(shared_authority, "from-gone") == ["Active"]


def test_a_row_whose_source_holds_the_real_pair_is_answered(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    pair = pair_of(shared_authority, "from-real")
    told = leak(shared_authority, tmp_path, row(pair, source_with(tmp_path, pair)))
    assert told.code == 0, told.stderr
    assert statuses(shared_authority, "from-real") == []
