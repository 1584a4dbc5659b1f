"""What the pages tell to write into keyturn.toml is what the program takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keyturn.rotation.configuration import read_configuration
from keyturn.rotation.sinks.interface import Surroundings
from keyturn.rotation.sinks.registry import BUILT_IN, open_sink
from keyturn.settings import configuration_file

PAGES = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    """Those that hold tables; the settings that any sink may have, and a plugin's own file, are not of them."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return [
        block for block in BLOCK.findall(text) if re.search(r"^\[(sinks|users|rotation)", block, re.MULTILINE)
    ]


@pytest.mark.parametrize("page", ["rotate-a-key", "rotate-a-fleet", "connect-a-sink"])
def test_each_table_in_the_pages_is_taken(page: str, tmp_path: Path) -> None:
    found = blocks(f"how-to/{page}.md")
    assert found
    for number, block in enumerate(found):
        file = tmp_path / f"{number}.toml"
        file.write_text(block, encoding="utf-8")
        configuration = read_configuration(configuration_file({"config": str(file)}))
        surroundings = Surroundings({"HOME": str(tmp_path)}, None, "us-east-1")
        for entry in configuration.sinks.values():
            open_sink(entry.name, {"type": entry.type, **entry.settings}, surroundings)


def test_every_built_in_type_of_sink_is_shown() -> None:
    shown = set(re.findall(r'^type = "(\w+)"$', "\n".join(blocks("how-to/connect-a-sink.md")), re.MULTILINE))
    assert shown == set(BUILT_IN)
