"""The remote sink types as the configuration opens them."""

from __future__ import annotations

import pytest

from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks.interface import Surroundings
from keyturn.rotation.sinks.registry import open_sink

MINIMAL: dict[str, dict[str, object]] = {
    "github": {"repository": "acme/app"},
    "gitlab": {"project": "team/app"},
    "kubernetes": {"namespace": "team", "secret": "aws"},
    "secretsmanager": {"secret_id": "prod/ci"},
    "ssm": {"parameter": "/prod/ci"},
    "vault": {"path": "ci", "address": "https://vault.example"},
}


@pytest.mark.parametrize("kind", list(MINIMAL))
def test_each_opens_with_its_few_settings_and_without_asking_anybody(kind: str) -> None:
    sink = open_sink("mine", {"type": kind, **MINIMAL[kind]}, Surroundings({}, None, None))
    traits = sink.describe()
    assert sink.name == "mine"
    assert traits.where.startswith(f"{kind} ")
    assert not traits.has_reload


@pytest.mark.parametrize("kind", list(MINIMAL))
def test_each_may_have_a_hook(kind: str) -> None:
    settings = {"type": kind, **MINIMAL[kind], "reload": ["/bin/true"]}
    assert open_sink("mine", settings, Surroundings({}, None, None)).describe().has_reload


@pytest.mark.parametrize("kind", list(MINIMAL))
def test_each_refuses_a_setting_that_it_does_not_know(kind: str) -> None:
    with pytest.raises(KeyturnError, match="tokn"):
        open_sink("mine", {"type": kind, **MINIMAL[kind], "tokn": "x"}, Surroundings({}, None, None))
