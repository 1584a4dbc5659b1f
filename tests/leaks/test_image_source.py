"""Images: every layer and every paper, in each of the forms in which images are handed around."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from random import Random

import pytest
import zstandard

from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.detector import detect
from keyturn.leaks.prefilter import Prefilter
from keyturn.leaks.scan import Scan, ScanResult
from keyturn.leaks.sources.image import ImageSource
from keyturn.leaks.sources.interface import SourceError
from leaks.archive_corpus import environment_of, new_key, zipped

_CHANCE = Random(8)  # noqa: S311 - it seeds a corpus
DELETED, BUILT_IN, IN_ZIP = (new_key(_CHANCE) for _ in range(3))
PREFILTER = Prefilter()


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


FIRST = tar_of({"root/.aws/credentials": environment_of(DELETED), "etc/hosts": b"127.0.0.1 localhost\n"})
SECOND = tar_of(
    {"root/.aws/.wh.credentials": b"", "app/app.jar": zipped(environment_of(IN_ZIP), "conf/app.env")}
)
CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "config": {
            "Env": [
                "PATH=/usr/bin",
                f"AWS_ACCESS_KEY_ID={BUILT_IN.access_key_id}",
                f"AWS_SECRET_ACCESS_KEY={BUILT_IN.secret.reveal().decode()}",
            ]
        },
        "history": [{"created_by": "RUN rm /root/.aws/credentials"}],
        "rootfs": {"type": "layers", "diff_ids": [digest(FIRST), digest(SECOND)]},
    }
).encode()


def saved() -> dict[str, bytes]:
    """As `docker save` wrote them up to version 24."""
    config = f"{digest(CONFIG)[7:]}.json"
    layers = [f"{'a' * 64}/layer.tar", f"{'b' * 64}/layer.tar"]
    manifest = [{"Config": config, "RepoTags": ["web:1.4"], "Layers": layers}]
    return {
        config: CONFIG,
        layers[0]: FIRST,
        layers[1]: SECOND,
        "manifest.json": json.dumps(manifest).encode(),
        "repositories": b"{}",
    }


def layout(compress: str = "gzip") -> dict[str, bytes]:
    pack = gzip.compress if compress == "gzip" else zstandard.compress
    layers = [pack(FIRST), pack(SECOND)]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {"digest": digest(CONFIG), "size": len(CONFIG)},
            "layers": [{"digest": digest(each), "size": len(each)} for each in layers],
        }
    ).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": digest(manifest)}]}).encode()
    blobs = {f"blobs/sha256/{digest(each)[7:]}": each for each in (CONFIG, *layers, manifest)}
    return {**blobs, "index.json": index, "oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}


def scanned(path: Path, descriptor: int | None = None) -> ScanResult:
    unpacker = Unpacker(PREFILTER.has_prefix)
    return Scan(PREFILTER.may_hold, detect, unpacker).run([ImageSource(str(path), unpacker, descriptor)])


def told(result: ScanResult) -> set[tuple[str, str | None, str | None, str | None]]:
    return {
        (each.access_key_id, each.place.layer, each.place.path, each.place.member) for each in result.findings
    }


def everything(first: str, second: str) -> set[tuple[str, str | None, str | None, str | None]]:
    return {
        (DELETED.access_key_id, first, "root/.aws/credentials", None),
        (IN_ZIP.access_key_id, second, "app/app.jar", "conf/app.env"),
        (BUILT_IN.access_key_id, None, None, None),
    }


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_saved_image_gives_up_what_a_later_layer_deleted_and_what_the_configuration_holds(
    tmp_path: Path, pack: object
) -> None:
    assert callable(pack)
    path = tmp_path / "web.tar"
    path.write_bytes(pack(tar_of(saved())))
    result = scanned(path)
    assert told(result) == everything(digest(FIRST), digest(SECOND))
    assert result.skipped == ()


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
@pytest.mark.parametrize("form", ["directory", "archive", "pipe"])
def test_an_oci_layout_is_read_in_each_of_its_forms(tmp_path: Path, compress: str, form: str) -> None:
    files = layout(compress)
    path = tmp_path / "image"
    if form == "directory":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        result = scanned(path)
    elif form == "archive":
        path.write_bytes(tar_of(files))
        result = scanned(path)
    else:
        reading, writing = os.pipe()
        os.write(writing, tar_of(files))
        os.close(writing)
        result = scanned(Path("-"), reading)
        os.close(reading)
    layers = [name for name in files if name.startswith("blobs/")][1:3]
    first, second = (f"sha256:{name.rsplit('/', 1)[1]}" for name in layers)
    assert told(result) == everything(first, second)
    assert result.skipped == ()
    objects = {each.access_key_id: each.place.object for each in result.findings}
    assert objects[BUILT_IN.access_key_id] == digest(CONFIG)


def test_a_layer_that_a_manifest_names_and_that_is_not_there_is_said(tmp_path: Path) -> None:
    files = layout()
    gone = [name for name in files if name.startswith("blobs/")][1]
    del files[gone]
    path = tmp_path / "web.tar"
    path.write_bytes(tar_of(files))
    result = scanned(path)
    assert [(each.place.object, each.reason) for each in result.skipped] == [
        (f"sha256:{gone.rsplit('/', 1)[1]}", "a manifest names it and it is not here")
    ]


def test_a_damaged_layer_does_not_hide_the_others(tmp_path: Path) -> None:
    files = layout()
    name = [name for name in files if name.startswith("blobs/")][1]
    files[name] = files[name][: len(files[name]) // 2]
    path = tmp_path / "web.tar"
    path.write_bytes(tar_of(files))
    result = scanned(path)
    assert "it ends in the middle" in {each.reason for each in result.skipped}
    assert IN_ZIP.access_key_id in {each.access_key_id for each in result.findings}


def test_names_in_an_archive_that_lead_elsewhere_are_only_names(tmp_path: Path) -> None:
    files = {
        "manifest.json": b"[{}]",
        "../../etc/passwd": b"root",
        f"blobs/sha256/{'0' * 64}": tar_of({"../../../tmp/x": environment_of(DELETED), "/etc/shadow": b"x"}),
        "index.json": b'{"schemaVersion": 2, "layers": 7, "manifests": [{"digest": "../../x"}, 3]}',
    }
    path = tmp_path / "web.tar"
    path.write_bytes(tar_of(files))
    assert told(scanned(path)) == {(DELETED.access_key_id, f"sha256:{'0' * 64}", "../../../tmp/x", None)}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["web.tar"]


def test_what_is_no_image_is_refused_when_it_was_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "web.tar"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(SourceError, match="is no image"):
        scanned(path)
