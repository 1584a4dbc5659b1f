"""How long a service of your own waits for POST /-/verify, beside what it would ask an emulator of STS.

On AWS a service learns who calls it by sending on a GetCallerIdentity that its caller has signed. That is the peers'
question: MiniStack and moto_server answer it and verify nothing. Keyturn verifies two signatures, whoever asks and the
caller's, and decides by policy. One connection, one request after the other, in rounds that take turns; wall seconds,
for it is waiting that is measured. Prints the medians and the ratios with their targets.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from figures import Target, interleaved, machine, print_rounds, print_targets, ratio
from load import Asked, Load
from population import Member, administrator, populate
from servers import Server, directory_on_disk, keyturn_serving, ministack_serving, moto_serving
from signed_requests import REGION, Key, caller_identity_requests, on_the_wire

USERS = 64
DISTINCT_REQUESTS = 4_000
ROUNDS = 7
REQUESTS_A_ROUND = {"verify": 1_000, "keyturn": 1_000, "ministack": 200, "moto_server": 60}
WARM_UP_ROUNDS = 2
_ALLOWED = (
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}}'
)


def main() -> None:
    with directory_on_disk() as home, Load() as load:
        members = [member for member in populate(home, USERS, with_keys=True) if member.key]
        arns = {member.key: member.arn for member in members if member.key}
        with (
            keyturn_serving(home, "--services", "iam,sts,orders") as keyturn,
            ministack_serving() as ministack,
            moto_serving() as moto,
        ):
            service = administrator(home)
            _allow_everyone(keyturn.port, service)
            identity = caller_identity_requests(keyturn.port, arns, DISTINCT_REQUESTS)
            load.hold("verify", verify_requests(keyturn.port, service, members, DISTINCT_REQUESTS))
            load.hold("identity", identity)
            load.hold("unverified", [Asked(one.request, b"<Arn>") for one in identity])
            contestants = {
                "verify": _round(load, keyturn, "verify", REQUESTS_A_ROUND["verify"]),
                keyturn.name: _round(load, keyturn, "identity", REQUESTS_A_ROUND[keyturn.name]),
                ministack.name: _round(load, ministack, "unverified", REQUESTS_A_ROUND[ministack.name]),
                moto.name: _round(load, moto, "unverified", REQUESTS_A_ROUND[moto.name]),
            }
            interleaved(WARM_UP_ROUNDS, contestants)
            figures = interleaved(ROUNDS, contestants)
    told = {
        "keyturn, POST /-/verify": figures["verify"],
        "keyturn, GetCallerIdentity": figures[keyturn.name],
        "ministack, GetCallerIdentity": figures[ministack.name],
        "moto_server, GetCallerIdentity": figures[moto.name],
    }
    print(f"who called, over HTTP on one connection, {machine()}")
    print_rounds("wall µs an answer", told)
    waited = figures["verify"]
    print_targets(
        [
            Target(
                "MiniStack's GetCallerIdentity / POST /-/verify", ratio(figures[ministack.name], waited), 1
            ),
            Target("moto_server's GetCallerIdentity / POST /-/verify", ratio(figures[moto.name], waited), 3),
            Target("our GetCallerIdentity / POST /-/verify", ratio(figures[keyturn.name], waited), 0.4),
        ]
    )


def _allow_everyone(port: int, key: Key) -> None:
    iam = boto3.client(
        "iam",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret,
    )
    iam.put_group_policy(GroupName="everyone", PolicyName="Orders", PolicyDocument=_ALLOWED)
    iam.close()


def verify_requests(port: int, service: Key, members: Sequence[Member], how_many: int) -> list[Asked]:
    """Calls of /-/verify about requests that each member signed for itself; each must be answered with its signer."""
    url = f"http://127.0.0.1:{port}/-/verify"
    asking = SigV4Auth(Credentials(service.access_key_id, service.secret), "keyturn", REGION)
    asked = []
    for number in range(how_many):
        member = members[number % len(members)]
        assert member.key is not None
        body = json.dumps(_described(member.key, number)).encode()
        request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
        asking.add_auth(request)
        wire = on_the_wire(port, request.headers.items(), body, target=b"/-/verify")
        asked.append(Asked(wire, f'"arn":"{member.arn}"'.encode()))
    return asked


def _described(key: Key, number: int) -> dict[str, object]:
    """A request to the service, as it would tell of it."""
    target, order = f"/orders/{number}", b'{"item": "tea"}'
    request = AWSRequest("POST", f"http://orders.example{target}", data=order)
    request.headers["Host"] = "orders.example"
    SigV4Auth(Credentials(key.access_key_id, key.secret), "orders", REGION).add_auth(request)
    return {
        "service": "orders",
        "method": "POST",
        "target": target,
        "headers": [[name.lower(), str(value)] for name, value in request.headers.items()],
        "body_sha256": hashlib.sha256(order).hexdigest(),
    }


def _round(load: Load, server: Server, name: str, size: int) -> Callable[[], float]:
    """Wall µs an answer, over the next of the requests."""
    following = itertools.cycle(range(DISTINCT_REQUESTS))

    def measure() -> float:
        numbers = list(itertools.islice(following, size))
        return load.send(server.port, name, numbers, connections=1) / size * 1e6

    return measure


if __name__ == "__main__":
    main()
