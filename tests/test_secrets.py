"""Every door through which a secret leaves its `Secret` is listed in docs/explanation/secrets.md, and no other exists."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import keyturn

SOURCES: Final = Path(keyturn.__file__).parent
PAGE: Final = Path(__file__).parents[1] / "docs" / "explanation" / "secrets.md"
_ROW: Final = re.compile(r"^\| `([\w/]+\.py):([\w.]+)`(?: ×(\d+))? \|", re.MULTILINE)


def doors_in(source: ast.Module) -> Iterator[str]:
    """The functions that touch `reveal`, each as often as they do: also where it is only handed on."""

    def walk(node: ast.AST, inside: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from walk(child, f"{inside}.{child.name}".lstrip("."))
            else:
                if (isinstance(child, ast.Attribute) and child.attr == "reveal") or (
                    isinstance(child, ast.Constant) and child.value == "reveal"
                ):
                    yield inside or "the module itself"
                yield from walk(child, inside)

    return walk(source, "")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCES.rglob("*.py")):
        yield path.relative_to(SOURCES).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_every_door_is_listed_and_every_door_that_is_listed_exists() -> None:
    found = Counter(
        (name, door) for name, source in sources() for door in doors_in(source) if name != "model/secrets.py"
    )
    listed = Counter(
        {(file, function): int(times or 1) for file, function, times in _ROW.findall(PAGE.read_text())}
    )
    assert found == listed


def test_a_door_is_found_wherever_it_is() -> None:
    source = ast.parse(
        "class A:\n def f(self):\n  return (x.reveal() for x in self.y)\n"
        "def g():\n def h():\n  return map(Secret.reveal, z)\n return getattr(z, 'reveal')\nw.reveal()\n"
    )
    assert sorted(doors_in(source)) == ["A.f", "g", "g.h", "the module itself"]


def test_nobody_but_the_secret_itself_touches_what_it_holds() -> None:
    assert [
        name
        for name, source in sources()
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute) and node.attr == "_value" and name != "model/secrets.py"
    ] == []


def test_the_page_says_why_and_to_whom_for_each_door() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if _ROW.match(line)]
    for row in rows:
        _, _door, why, whom, _ = row.split("|")
        assert len(why.split()) >= 3, row
        assert whom.strip(), row
