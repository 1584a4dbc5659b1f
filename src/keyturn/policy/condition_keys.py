"""The condition keys that exist: the global ones, those of the services that are offered, and ours, by kind.

Global keys are written down here from the IAM user guide ("AWS global condition context keys"); those of the
services stand in `actions.json`. Keys of other services and of identity providers are theirs to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from keyturn.policy.actions import SERVICE_CONDITION_KEYS


class KeyType(StrEnum):
    """In the words of the Service Authorization Reference."""

    ARN = "ARN"
    ARRAY_OF_ARN = "ArrayOfARN"
    ARRAY_OF_STRING = "ArrayOfString"
    BOOL = "Bool"
    DATE = "Date"
    IP_ADDRESS = "IPAddress"
    NUMERIC = "Numeric"
    STRING = "String"


_GLOBAL: Final[Mapping[KeyType, str]] = {
    KeyType.ARN: (
        "ChatbotSourceArn Ec2InstanceSourceArn PrincipalArn SignInSessionArn SourceArn SourceVpcArn SourceInstanceARN"
    ),
    KeyType.ARRAY_OF_STRING: (
        "CalledVia PrincipalOrgPaths PrincipalServiceNamesList ResourceOrgPaths SourceOrgPaths TagKeys VpceOrgPaths"
    ),
    KeyType.BOOL: (
        "AssumedRoot IsMcpServiceAction MultiFactorAuthPresent PrincipalIsAWSService SecureTransport "
        "ViaAWSMCPService ViaAWSService"
    ),
    KeyType.DATE: "CurrentTime EpochTime TokenIssueTime",
    KeyType.IP_ADDRESS: "Ec2InstanceSourcePrivateIPv4 SourceIp VpcSourceIp",
    KeyType.NUMERIC: "MultiFactorAuthAge",
    KeyType.STRING: (
        "CalledViaAWSMCP CalledViaFirst CalledViaLast Ec2InstanceSourceVpc FederatedProvider PrincipalAccount "
        "PrincipalOrgID PrincipalServiceName PrincipalType Referer RequestedRegion ResourceAccount ResourceOrgID "
        "SourceAccount SourceIdentity SourceOrgID SourceOwner SourceVpc SourceVpce UserAgent userid username "
        "VpceAccount VpceOrgID PrincipalTag/ RequestTag/ ResourceTag/"
    ),
}

_OWN: Final = {"keys:age": KeyType.NUMERIC, "keys:usecase": KeyType.STRING}
"""Ours, about the access key that signed: its age in seconds, and what it was made for."""
_ALL_KNOWN: Final = frozenset({"aws", "iam", "keys", "secretsmanager", "sts"})
"""Whose keys all stand here."""

CONDITION_KEYS: Final[Mapping[str, KeyType]] = MappingProxyType(
    {
        **{key.lower(): KeyType(kind) for key, kind in SERVICE_CONDITION_KEYS.items()},
        **{f"aws:{name}".lower(): kind for kind, names in _GLOBAL.items() for name in names.split()},
        **_OWN,
    }
)
"""By key in lower case. A key of a tag stands as `iam:resourcetag/`, before the tag's name."""


def key_type(key: str) -> KeyType | None:
    """What kind of values the key has; None for one that is not known here."""
    name = key.lower()
    found = CONDITION_KEYS.get(name)
    if found is None and "/" in name:
        found = CONDITION_KEYS.get(name.partition("/")[0] + "/")
    return found


def is_known(key: str) -> bool:
    """Whether a document may name it: False for one that does not exist, of a service whose keys all stand here.

    Those of others, and of identity providers, are not ours to judge.
    """
    prefix, colon, _name = key.lower().partition(":")
    return not colon or prefix not in _ALL_KNOWN or key_type(key) is not None
