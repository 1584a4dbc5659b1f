"""Who speaks last: the flag, then the environment, then keyturn.toml, then the default. A wrong word is named with its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from keyturn.model.errors import KeyturnError
from keyturn.settings import Locations, ServeSettings, place, serve_settings

DEFAULTS: Mapping[str, Any] = {
    "data_dir": Path("/home/ana/.local/share/keyturn"),
    "key_file": None,
    "mark_file": None,
    "host": "127.0.0.1",
    "port": 4590,
    "account_id": None,
    "services": ("iam", "sts", "secretsmanager", "cloudtrail"),
    "regions": (),
    "tls_cert": None,
    "behind_proxy": (),
}
# For each setting, as a text: in the file, in the environment, as a flag; and how each is understood.
CHOICES: Mapping[str, tuple[tuple[str, Any], tuple[str, Any], tuple[str, Any]]] = {
    "data_dir": (("/f", Path("/f")), ("/e", Path("/e")), ("/a", Path("/a"))),
    "key_file": (("/f.key", Path("/f.key")), ("/e.key", Path("/e.key")), ("/a.key", Path("/a.key"))),
    "mark_file": (("/f.mark", Path("/f.mark")), ("/e.mark", Path("/e.mark")), ("/a.mark", Path("/a.mark"))),
    "host": (("::1", "::1"), ("127.0.0.2", "127.0.0.2"), ("localhost", "localhost")),
    "port": (("1", 1), ("2", 2), ("3", 3)),
    "account_id": (("000000000001",) * 2, ("000000000002",) * 2, ("000000000003",) * 2),
    "services": (("iam", ("iam",)), ("sts", ("sts",)), ("sts, iam", ("sts", "iam"))),
    "regions": (("a-b-1", ("a-b-1",)), ("c-d-1,e-f-1", ("c-d-1", "e-f-1")), ("g-h-1", ("g-h-1",))),
    "behind_proxy": (("10.0.0.1/32", ("10.0.0.1/32",)), ("::1", ("::1",)), ("10.0.0.0/8", ("10.0.0.0/8",))),
    "tls_cert": (("/f.pem", Path("/f.pem")), ("/e.pem", Path("/e.pem")), ("/a.pem", Path("/a.pem"))),
}
HOME = {"HOME": "/home/ana"}


def value_of(settings: ServeSettings, name: str) -> object:
    if name == "data_dir":
        return settings.place.data_dir
    if name in {"key_file", "mark_file"}:
        return getattr(settings.place, f"named_{name}")
    return getattr(settings, name)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    return tmp_path / "keyturn.toml"


@pytest.mark.parametrize("name", CHOICES)
def test_the_flag_wins_then_the_environment_then_the_file_then_the_default(
    name: str, configuration: Path
) -> None:
    in_file, in_environment, as_flag = CHOICES[name]
    flags: dict[str, str] = {"config": str(configuration)}
    environment = dict(HOME)
    configuration.write_text("")
    more = "tls_key = '/k.pem'\n" if name == "tls_cert" else ""
    assert value_of(serve_settings(flags, environment), name) == DEFAULTS[name]
    configuration.write_text(f"[serve]\n{more}{name} = '{in_file[0]}'\n")
    assert value_of(serve_settings(flags, environment), name) == in_file[1]
    environment[f"KEYTURN_{name.upper()}"] = in_environment[0]
    assert value_of(serve_settings(flags, environment), name) == in_environment[1]
    flags[name] = as_flag[0]
    assert value_of(serve_settings(flags, environment), name) == as_flag[1]


def test_an_empty_variable_says_nothing(configuration: Path) -> None:
    configuration.write_text("[serve]\nport = 7\n")
    environment = {**HOME, "KEYTURN_PORT": "", "KEYTURN_CONFIG": str(configuration)}
    assert serve_settings({}, environment).port == 7


def test_a_list_may_be_a_list_in_the_file(configuration: Path) -> None:
    configuration.write_text("[serve]\nregions = ['eu-west-1', 'us-east-1']\nport = 0\n")
    settings = serve_settings({"config": str(configuration)}, HOME)
    assert (settings.regions, settings.port) == (("eu-west-1", "us-east-1"), 0)


def test_a_rollback_is_accepted_at_the_command_line_only(configuration: Path) -> None:
    environment = {**HOME, "KEYTURN_ACCEPT_ROLLBACK": "1"}
    assert not serve_settings({}, environment).accept_rollback
    configuration.write_text("[serve]\naccept_rollback = true\n")
    with pytest.raises(KeyturnError, match="no setting 'accept_rollback'"):
        serve_settings({"config": str(configuration)}, HOME)
    assert serve_settings({"accept_rollback": True}, HOME).accept_rollback


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("[serve]\nhost = '::1'\nhos = 1\n", 3, "hos"),
        ("[serve]\n# prot is meant\nport = 1\nprot = 4590\n", 4, "prot"),
        ("[serve]\nport = 1\n\n  'prot' = 4590\n", 4, "prot"),
        ("serve.port = 1\nserve.prot = 4590\n", 2, "prot"),
        ("[serve]\nport = 1\n[leak]\nx = 1\n", 3, "leak"),
        ("\nport = 4590\n", 2, "port"),
        ("[serve]\nport = 1\n[serve.tls]\ncert = 'x'\n", 3, "tls"),
        ("[serve]\nport = true\n", 2, "port"),
        ("[serve]\nport = 1.5\n", 2, "port"),
        ("[serve]\nhost = 'x'\nregions = [1]\n", 3, "regions"),
        ("[serve]\nregions = [['x']]\n", 2, "regions"),
    ],
)
def test_a_wrong_word_in_the_file_is_named_with_its_line(
    configuration: Path, text: str, line: int, word: str
) -> None:
    configuration.write_text(text)
    with pytest.raises(KeyturnError, match=rf"{configuration}, line {line}: .*'{word}'"):
        serve_settings({"config": str(configuration)}, HOME)


@pytest.mark.parametrize("text", ["[serve\n", "port = \n", "[serve]\nport = 1\nport = 2\n"])
def test_a_file_that_is_not_toml_is_named_with_its_line(configuration: Path, text: str) -> None:
    configuration.write_text(text)
    with pytest.raises(KeyturnError, match=rf"{configuration} is not TOML: .*line \d"):
        serve_settings({"config": str(configuration)}, HOME)


def test_a_file_that_is_not_text_is_named(configuration: Path) -> None:
    configuration.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyturnError, match=f"can't read the configuration file {configuration}"):
        serve_settings({"config": str(configuration)}, HOME)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("port", "65536", "port is a number from 0 to 65535, not '65536'"),
        ("port", "-1", "port is a number"),
        ("port", "٣", "port is a number"),
        ("account_id", "000000000000", "account-id is 12 digits, not all of them 0"),
        ("account_id", "12345678901", "account-id is 12 digits"),
        ("services", "iam,S3", "'S3' can't be the name of a service"),
    ],
)
def test_a_wrong_value_is_named_with_where_it_was_said(
    configuration: Path, name: str, value: str, sentence: str
) -> None:
    configuration.write_text(f"[serve]\n{name} = '{value}'\n", encoding="utf-8")
    places: list[tuple[dict[str, str], dict[str, str], str]] = [
        ({name: value}, {}, f"--{name.replace('_', '-')}"),
        ({}, {f"KEYTURN_{name.upper()}": value}, f"KEYTURN_{name.upper()}"),
        ({"config": str(configuration)}, {}, str(configuration)),
    ]
    for flags, environment, where in places:
        with pytest.raises(KeyturnError) as refused:
            serve_settings(flags, {**HOME, **environment})
        assert sentence in refused.value.message
        assert name == "services" or where in (refused.value.hint or "")


@pytest.mark.parametrize("home", ["", "/", "/nonexistent", "relative"])
def test_a_service_without_a_home_has_its_data_in_var_and_its_key_in_etc(home: str) -> None:
    locations = Locations.of({"HOME": home})
    assert locations.data == Path("/var/lib/keyturn")
    assert locations.config == Path("/etc/keyturn")
    assert locations.state == Path("/var/lib/keyturn-mark")
    assert place({}, {"HOME": home}).key_file("0123").path == Path("/etc/keyturn/0123.key")


def test_the_xdg_directories_are_followed_if_they_are_absolute() -> None:
    locations = Locations.of({**HOME, "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "s"})
    assert locations.data == Path("/d/keyturn")
    assert locations.config == Path("/c/keyturn")
    assert locations.state == Path("/home/ana/.local/state/keyturn")


def test_the_key_file_is_looked_for_where_it_was_named_then_with_systemd_then_at_home(tmp_path: Path) -> None:
    loaded = tmp_path / "keyturn.key"
    environment = {**HOME, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    at_home = place({}, environment).key_file("0123")
    assert (at_home.path, at_home.is_explicit) == (Path("/home/ana/.config/keyturn/0123.key"), False)
    loaded.touch()
    by_systemd = place({}, environment).key_file("0123")
    assert (by_systemd.path, by_systemd.is_explicit) == (loaded, True)
    by_variable = place({}, {**environment, "KEYTURN_KEY_FILE": "/e.key"}).key_file("0123")
    assert (by_variable.path, by_variable.is_explicit) == (Path("/e.key"), True)
    by_flag = place({"key_file": "/a.key"}, {**environment, "KEYTURN_KEY_FILE": "/e.key"}).key_file("0123")
    assert (by_flag.path, by_flag.is_explicit) == (Path("/a.key"), True)
