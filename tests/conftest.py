"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from living_authority import LivingAuthority, living_authority


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[LivingAuthority]:
    """An authority of the test's own, with its administrator."""
    with living_authority(tmp_path / "home") as living:
        yield living


@pytest.fixture(scope="module")
def shared_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingAuthority]:
    """An authority for a whole module of tests: each uses names of its own."""
    with living_authority(tmp_path_factory.mktemp("home")) as living:
        yield living
