"""The ways to point an unmodified client at an authority: environment, profiles, files, private certificates."""

from __future__ import annotations

import csv
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from acceptance.proofs import proves
from acceptance.real_clients import AwsCommandLine, Boto3Client, RealClient
from acceptance.served import KEYTURN, Endpoint, Key, bare_environment, run

PROFILES = """[profile by-url]
region = eu-central-1
endpoint_url = {url}
aws_access_key_id = {id}
aws_secret_access_key = {secret}

[profile by-services]
region = ap-southeast-2
services = keyturn
aws_access_key_id = {id}
aws_secret_access_key = {secret}

[services keyturn]
iam =
  endpoint_url = {url}
sts =
  endpoint_url = {url}
"""


@proves('`eval "$(keyturn env)"` in bash, also over a stale session token')
def test_eval_keyturn_env_points_aws_here(client: RealClient) -> None:
    assert isinstance(client, AwsCommandLine)
    stale = {"AWS_SESSION_TOKEN": "left over from elsewhere", "AWS_PROFILE": "elsewhere"}
    environment = bare_environment(client.endpoint.home) | stale
    environment["PATH"] = f"{client.program.parent}:{Path(KEYTURN).parent}:{environment['PATH']}"
    answer = run(
        "bash",
        "-c",
        'eval "$(keyturn env)" && aws iam list-users --query "Users[].UserName" --output text',
        env=environment,
    )
    assert answer.returncode == 0, answer.stderr
    assert "administrator" in answer.stdout.split()


def test_a_stale_session_token_would_be_refused(endpoint: Endpoint) -> None:
    key = endpoint.administrator
    sts = boto3.client(
        "sts",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret,
        aws_session_token="left-over-from-elsewhere",
    )
    with pytest.raises(ClientError) as refused:
        sts.get_caller_identity()
    assert refused.value.response["Error"]["Code"] == "InvalidClientTokenId"
    sts.close()


@proves(
    "a profile with `endpoint_url`",
    "a profile with a `services` section",
    "IAM signed for another region than us-east-1",
)
def test_a_profile_points_a_client_here(
    client: RealClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = client.endpoint
    (tmp_path / ".aws").mkdir()
    config = tmp_path / ".aws/config"
    key = endpoint.administrator
    config.write_text(PROFILES.format(url=endpoint.url, id=key.access_key_id, secret=key.secret))
    for profile in ("by-url", "by-services"):
        if isinstance(client, AwsCommandLine):
            names = client.run("iam", "list-users", "--profile", profile, env=bare_environment(tmp_path))
        else:
            monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
            iam = boto3.Session(profile_name=profile).client("iam")
            names = dict(iam.list_users())
            iam.close()
        assert "administrator" in [user["UserName"] for user in names["Users"]]


@proves("`aws configure import` of what `keyturn key create --csv` wrote")
def test_aws_configure_import_reads_our_csv(client: RealClient, tmp_path: Path) -> None:
    assert isinstance(client, AwsCommandLine)
    endpoint = client.endpoint
    administrator = Boto3Client(endpoint)
    user = administrator.call("iam", "CreateUser", {"UserName": "imported"})["User"]
    administrator.close()
    file = tmp_path / "imported.csv"
    made = run(KEYTURN, "key", "create", "imported", "--csv", str(file), env=bare_environment(endpoint.home))
    assert made.returncode == 0, made.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    (row,) = csv.DictReader(file.read_text().splitlines())
    assert row["Access key ID"] == made.stdout.strip()

    environment = bare_environment(tmp_path) | {"AWS_ENDPOINT_URL": endpoint.url}
    imported = run(client.program, "configure", "import", "--csv", f"file://{file}", env=environment)
    assert imported.returncode == 0, imported.stderr
    who = client.run(
        "sts", "get-caller-identity", "--profile", "imported", "--region", "eu-west-3", env=environment
    )
    assert who["Arn"] == user["Arn"]


@proves("GetCallerIdentity, signed by `--aws-sigv4`")
def test_curl_signs_for_us(client_name: str, endpoint: Endpoint) -> None:
    key: Key = endpoint.administrator
    answer = run(
        client_name,
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--aws-sigv4",
        "aws:amz:eu-west-1:sts",
        "--user",
        f"{key.access_key_id}:{key.secret}",
        "--data",
        "Action=GetCallerIdentity&Version=2011-06-15",
        endpoint.url,
        env=bare_environment(endpoint.home),
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert ":user/administrator</Arn>" in answer.stdout
