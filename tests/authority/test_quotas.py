"""What an account may have of each, as on AWS: here with numbers that a test can reach, and the real ones named."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from authority.role_calls import ALLOWED_TEXT, TRUST_TEXT, refusal
from keyturn.authority import instance_profiles, mfa, oidc_providers, policies, roles
from living_authority import LivingAuthority

Make = Callable[[Any, str], object]


@pytest.mark.parametrize(
    ("module", "constant", "aws", "quota", "make"),
    [
        (
            *(roles, "ROLES_PER_ACCOUNT", 1000, "RolesPerAccount"),
            lambda iam, name: iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST_TEXT),
        ),
        (
            *(policies, "POLICIES_PER_ACCOUNT", 1500, "PoliciesPerAccount"),
            lambda iam, name: iam.create_policy(PolicyName=name, PolicyDocument=ALLOWED_TEXT),
        ),
        (
            *(instance_profiles, "INSTANCE_PROFILES_PER_ACCOUNT", 1000, "InstanceProfilesPerAccount"),
            lambda iam, name: iam.create_instance_profile(InstanceProfileName=name),
        ),
        (
            *(oidc_providers, "PROVIDERS_PER_ACCOUNT", 100, "OpenIdConnectProvidersPerAccount"),
            lambda iam, name: iam.create_open_id_connect_provider(Url=f"https://{name}.example"),
        ),
        (
            *(mfa, "DEVICES_PER_ACCOUNT", None, "VirtualMFADevicesPerAccount"),
            lambda iam, name: iam.create_virtual_mfa_device(VirtualMFADeviceName=name),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_account_has_so_many_of_each_and_no_more(
    shared_authority: LivingAuthority,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    constant: str,
    aws: int | None,
    quota: str,
    make: Make,
) -> None:
    iam = shared_authority.iam()
    assert aws in {None, getattr(module, constant)}
    monkeypatch.setattr(module, constant, 2)
    make(iam, "first")
    make(iam, "second")
    assert refusal(lambda: make(iam, "third")) == (
        "LimitExceeded",
        409,
        f"Cannot exceed quota for {quota}: 2",
    )
    monkeypatch.undo()
    make(iam, "third")
