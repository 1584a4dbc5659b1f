"""The reference tells what the program is: a command, setting, operation or page that is missing fails here."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel

from keyturn import settings
from keyturn.authority.operations import OPERATIONS
from keyturn.cli import terminal
from keyturn.cli.help import EXIT_CODES
from keyturn.policy.actions import ACTIONS
from keyturn.policy.condition_keys import CONDITION_KEYS
from keyturn.rotation import configuration
from keyturn.rotation.sinks.registry import BUILT_IN, sink_type
from keyturn.wiring import REGISTERED

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
sys.path.append(str(ROOT / "tools"))


@pytest.mark.parametrize("page", ["commands", "api", "rotation"])
def test_the_generated_reference_is_what_the_program_says(page: str) -> None:
    import generate_reference

    told = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")
    assert told == getattr(generate_reference, page)(), "run: .venv/bin/python tools/generate_reference.py"


def test_every_command_has_examples_in_its_help() -> None:
    import generate_reference

    for parser in generate_reference.all_parsers():
        assert "example" in (parser.epilog or ""), f"{parser.prog} has no examples"


def test_every_setting_stands_in_the_reference() -> None:
    text = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    for name in settings._SERVE_KEYS:
        assert f"| `--{name.replace('_', '-')}` | `KEYTURN_{name.upper()}` | `{name}` |" in text


def test_every_table_and_field_of_the_file_stands_in_the_reference() -> None:
    text = (DOCS / "reference" / "rotation.md").read_text(encoding="utf-8")
    known = dict(configuration.described())
    told = {table.split(".", maxsplit=1)[0].strip("[]") for table in known}
    assert {*settings._TABLES, *settings._LISTS} - {"serve", "leaks"} == told
    # What the file may hold is what the tables in the code say: none of them may be missing from the list.
    allowed = {
        "rotation": configuration._TERMS | configuration._TOLD,
        "users.NAME": configuration._USER | configuration._TERMS,
        "sinks.NAME": {"type": "text", **configuration._SINK},
        "schedule": configuration._SCHEDULE,
        "[exemptions]": configuration._EXEMPTION,
    }
    assert {table: {field.name for field in listed} for table, listed in known.items()} == {
        table: set(names) for table, names in allowed.items()
    }
    for table, listed in known.items():
        _, _, section = text.partition(f"\n## [{table}]\n")
        section, _, _ = section.partition("\n## ")
        for field in listed:
            assert f"| `{field.name}` |" in section, f"[{table}] {field.name}"


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_sink_type_and_field_stands_in_the_reference(name: str) -> None:
    text = (DOCS / "reference" / "rotation.md").read_text(encoding="utf-8")
    _, _, section = text.partition(f'\n### type = "{name}"\n')
    section, _, _ = section.partition("\n##")
    for field in sink_type(name).fields:
        assert f"| `{field.name}` |" in section


def test_every_exit_code_of_the_terminal_is_listed() -> None:
    codes = {
        each
        for name, each in vars(terminal).items()
        if name.isupper() and not name.startswith("_") and type(each) is int
    }
    assert {code for code, _meaning in EXIT_CODES} == codes


def test_no_link_between_the_pages_is_broken() -> None:
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_decision_stands_in_the_list_of_decisions() -> None:
    listed = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    for page in DOCS.glob("adr/0*.md"):
        assert f"({page.name})" in listed


def test_every_handler_takes_exactly_what_the_service_model_says() -> None:
    assert REGISTERED
    loader = Loader()
    models = {
        service: ServiceModel(loader.load_service_model(service, "service-2"), service_name=service)
        for service in settings.OFFERED_SERVICES
    }
    for (service, name), operation in OPERATIONS.items():
        shape = models[service].operation_model(name).input_shape
        members = {xform_name(member) for member in shape.members} if shape else set()
        parameters = set(inspect.signature(operation.act).parameters) - {"call", "_call"}
        assert parameters == members, f"{service}:{name}"


def test_every_operation_stands_in_the_action_table() -> None:
    for service, name in OPERATIONS:
        assert f"{service}:{name}" in ACTIONS


def test_the_condition_keys_of_the_reference_exist_and_ours_are_all_there() -> None:
    text = (DOCS / "reference" / "condition-keys.md").read_text(encoding="utf-8")
    told = {
        key.partition("/")[0] + "/" if "/" in key else key
        for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
        for key in re.findall(r"`([^`]+)`", row)
        if not key.startswith("ISSUER")
    }
    assert {key for key in told if key.lower() not in CONDITION_KEYS} == set()
    ours = {key for key in CONDITION_KEYS if key.startswith("keys:")}
    assert ours <= {key.lower() for key in told}


def test_what_is_filled_in_of_a_call_stands_in_the_reference() -> None:
    """As the sources of the context name the keys: in lower case."""
    text = (DOCS / "reference" / "condition-keys.md").read_text(encoding="utf-8").lower()
    for file in ("context", "assume"):
        source = (ROOT / f"src/keyturn/authority/{file}.py").read_text(encoding="utf-8")
        found = re.findall(r'f?"((?:aws|iam|sts|keys):[a-z]+)(?:/\{|")', source)
        assert len(found) > 4
        for key in found:
            assert f"`{key}`" in text or f"`{key}/key`" in text, key
