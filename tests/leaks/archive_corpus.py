"""Archives with keys planted in them from a seed: every format that is taken apart, alone and nested in others."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import zstandard

from keyturn.model.access_keys import AccountId, NewAccessKey, mint_access_key

ACCOUNT = AccountId("609629065308")


@dataclass(frozen=True, slots=True)
class Planted:
    """One file, the key in it, and the way to it."""

    name: str
    data: bytes
    key: NewAccessKey
    member: str | None


def new_key(random: Random) -> NewAccessKey:
    return mint_access_key(ACCOUNT, random.randbytes)


def environment_of(key: NewAccessKey) -> bytes:
    secret = key.secret.reveal().decode()
    return f"# settings\nAWS_ACCESS_KEY_ID={key.access_key_id}\nAWS_SECRET_ACCESS_KEY={secret}\n".encode()


def zipped(data: bytes, name: str = "conf/app.env", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("README", "nothing here\n" * 20)
        archive.writestr(name, data)
    return out.getvalue()


def zipped_as_a_stream(data: bytes, name: str = "conf/app.env") -> bytes:
    """With data descriptors: the sizes stand behind the data."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            part = bytes(data)  # type: ignore[call-overload]  # any buffer
            self.parts.append(part)
            return len(part)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return b"".join(pipe.parts)


def zipped_64(data: bytes, name: str = "conf/app.env") -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as file,
    ):
        file.write(data)
    return out.getvalue()


def tarred(data: bytes, name: str = "conf/app.env", tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        link = tarfile.TarInfo("conf/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def database_of(key: NewAccessKey, *, padding: int = 0, page_size: int = 1024) -> bytes:
    """A row in which the texts stand side by side; `padding` makes it go over pages."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "settings.db"
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute("CREATE TABLE keys (owner TEXT, id TEXT, secret TEXT)")
        connection.executemany(
            "INSERT INTO keys VALUES (?, ?, ?)", [(f"user{n}", "-", "-") for n in range(200)]
        )
        connection.execute(
            "INSERT INTO keys VALUES (?, ?, ?)",
            ("ci" + "x" * padding, key.access_key_id, key.secret.reveal().decode()),
        )
        connection.commit()
        connection.close()
        return path.read_bytes()


def notebook_of(key: NewAccessKey) -> bytes:
    secret = key.secret.reveal().decode()
    lines = ["import boto3\n", f"id = '{key.access_key_id}'\n", f"secret = '{secret}'\n"]
    cells = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": lines}]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1).encode()


def pdf_of(
    content: bytes, filters: str = "/FlateDecode", encode: Callable[[bytes], bytes] = zlib.compress
) -> bytes:
    packed = encode(content)
    return (
        b"%%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
        b"4 0 obj\n<< /Length %d /Filter [%s] >>\nstream\n%s\nendstream\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%%%EOF\n"
        % (len(packed), filters.encode(), packed)
    )


def shown_in_pieces(key: NewAccessKey) -> bytes:
    """`[(AKIA) -3 (ABCD)] TJ`, and the secret in hex, a move of the pen between them."""
    text, secret = key.access_key_id, key.secret.reveal()
    pieces = " -12 ".join(f"({text[at : at + 4]})" for at in range(0, 20, 4))
    hexes = " 7 ".join(f"<{secret[at : at + 8].hex()}>" for at in range(0, 40, 8))
    return f"BT /F1 12 Tf 72 700 Td (Access key id: ) Tj [{pieces}] TJ 0 -14 Td (Secret access key: ) Tj [{hexes}] TJ ET".encode()


_PACKERS: tuple[tuple[str, Callable[[bytes], bytes], str | None], ...] = (
    ("zip", zipped, "conf/app.env"),
    ("stored.zip", lambda data: zipped(data, method=zipfile.ZIP_STORED), "conf/app.env"),
    ("bzip2.zip", lambda data: zipped(data, method=zipfile.ZIP_BZIP2), "conf/app.env"),
    ("lzma.zip", lambda data: zipped(data, method=zipfile.ZIP_LZMA), "conf/app.env"),
    ("streamed.zip", zipped_as_a_stream, "conf/app.env"),
    ("zip64.zip", zipped_64, "conf/app.env"),
    ("selfextracting.run", lambda data: b"#!/bin/sh\nexec unzip $0\n" * 30 + zipped(data), "conf/app.env"),
    ("cutoff.zip", lambda data: zipped(data)[:-120], "conf/app.env"),
    ("gnu.tar", lambda data: tarred(data, tar_format=tarfile.GNU_FORMAT), "conf/app.env"),
    ("pax.tar", tarred, "conf/app.env"),
    ("long.tar", lambda data: tarred(data, "d/" * 90 + "e", tarfile.GNU_FORMAT), "d/" * 90 + "e"),
    ("longpax.tar", lambda data: tarred(data, "d/" * 90 + "é"), "d/" * 90 + "é"),
    (
        "ustar.tar",
        lambda data: tarred(data, "d" * 90 + "/" + "e" * 90, tarfile.USTAR_FORMAT),
        "d" * 90 + "/" + "e" * 90,
    ),
    ("env.gz", gzip.compress, None),
    ("two.gz", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]), None),
    ("env.bz2", bz2.compress, None),
    ("two.bz2", lambda data: bz2.compress(data[:7]) + bz2.compress(data[7:]), None),
    ("env.xz", lzma.compress, None),
    ("env.lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE), None),
    ("env.zst", zstandard.compress, None),
    ("two.zst", lambda data: zstandard.compress(data[:7]) + zstandard.compress(data[7:]), None),
    ("env.zlib", zlib.compress, None),
    (
        "user-data.tf",
        lambda data: b'user_data = "' + base64.b64encode(gzip.compress(data)) + b'"\n',
        "base64@13",
    ),
    (
        "page.html",
        lambda data: b'<a href="data:x;base64,' + base64.b64encode(zipped(data)) + b'">',
        "base64@23!/conf/app.env",
    ),
)


def planted(seed: int) -> Iterator[Planted]:
    """Every packer alone, every packer in every other, and what is a container by itself."""
    random = Random(seed)  # noqa: S311 - a corpus is to come out the same again
    for name, pack, member in _PACKERS:
        key = new_key(random)
        yield Planted(name, pack(environment_of(key)), key, member)
    for outer_name, outer, outer_member in _PACKERS:
        for inner_name, inner, inner_member in _PACKERS:
            key = new_key(random)
            if inner_name == "selfextracting.run" and "zip" not in outer_name:
                continue  # a stream's end is not at hand
            member = "!/".join(part for part in (outer_member, inner_member) if part) or None
            yield Planted(f"{outer_name}--{inner_name}", outer(inner(environment_of(key))), key, member)
    for name, make in (
        ("small.db", database_of),
        ("overflow.db", lambda key: database_of(key, padding=3000)),
        ("split.db", lambda key: database_of(key, padding=830)),
        ("analysis.ipynb", notebook_of),
    ):
        key = new_key(random)
        yield Planted(name, make(key), key, None)
        key = new_key(random)
        yield Planted(f"{name}.in.zip", zipped(make(key), name), key, name)
    for name, filters, encode in (
        ("flate.pdf", "/FlateDecode", zlib.compress),
        (
            "ascii85.pdf",
            "/ASCII85Decode /FlateDecode",
            lambda data: base64.a85encode(zlib.compress(data)) + b"~>",
        ),
        ("hex.pdf", "/ASCIIHexDecode", lambda data: data.hex().encode() + b">"),
        ("plain.pdf", "", bytes),
    ):
        key = new_key(random)
        yield Planted(name, pdf_of(shown_in_pieces(key), filters, encode), key, "object 4")


def plant_keys(project: Path) -> None:
    """A small project with two keys in it, the second inside of an archive, and an archive that can't be opened."""
    random = Random(4)  # noqa: S311 - as above
    project.mkdir(parents=True)
    (project / "README.md").write_text("nothing here\n")
    (project / "app.env").write_bytes(environment_of(new_key(random)))
    stored = zipped(environment_of(new_key(random)), method=zipfile.ZIP_STORED)
    (project / "backup.tar").write_bytes(tarred(stored, "old.zip"))
    (project / "notes.txt").write_text(f"ask ana about {new_key(random).access_key_id}\n")
    (project / "vendor.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
