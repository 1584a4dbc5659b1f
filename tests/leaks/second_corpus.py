"""A second corpus of planted pairs, made from a seed by another hand than `corpus`, with decoys among them.

One function a hiding place, as people and tools write them; `hardest` marks joined strings, PDF, double base64 and
deep nesting. `hidings(seed)` gives every place once, `decoys(seed)` what must yield no pair.
"""

from __future__ import annotations

import base64
import bz2
import csv
import gzip
import hashlib
import html
import io
import json
import lzma
import quopri
import sqlite3
import struct
import tarfile
import tempfile
import textwrap
import uuid
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import escape

import zstandard

_BASE32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Hand:
    """Writes one file: it holds a pair, and chance."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.id = self.new_id()
        self.secret = self.new_secret()

    def new_id(self, prefix: str = "") -> str:
        first = self.random.choice("QRSTUVWXYZ234567")
        body = "".join(self.random.choice(_BASE32) for _ in range(15))
        return (prefix or self.random.choice(["AKIA", "AKIA", "AKIA", "ASIA"])) + first + body

    def new_secret(self) -> str:
        return base64.b64encode(self.random.randbytes(30)).decode()

    def pick(self, *texts: str) -> str:
        return self.random.choice(texts)

    def word(self) -> str:
        return self.pick("billing", "media", "reports", "search", "ingest", "backup", "mail", "orders")

    def hex(self, size: int) -> str:
        return self.random.randbytes(size // 2).hex()

    def b64(self, size: int) -> str:
        return base64.b64encode(self.random.randbytes(size)).decode()

    def noise(self, lines: int = 3) -> str:
        """Lines that stand in such files and must not be taken for a secret."""
        made = (
            lambda: f"commit {self.hex(40)}",
            lambda: f"integrity sha512-{self.b64(64)}",
            lambda: f"digest sha256:{self.hex(64)}",
            lambda: f"request {uuid.UUID(bytes=self.random.randbytes(16))}",
            lambda: f"etag {self.hex(32)}",
            lambda: f"sha1 {self.hex(40)}",
        )
        return "\n".join(self.random.choice(made)() for _ in range(lines))

    def cut(self, text: str, pieces: int = 2) -> list[str]:
        at = sorted(self.random.sample(range(1, len(text)), pieces - 1))
        return [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]

    def env(self) -> str:
        export = self.pick("", "export ")
        return f"{export}AWS_ACCESS_KEY_ID={self.id}\n{export}AWS_SECRET_ACCESS_KEY={self.secret}\n"

    def ini(self) -> str:
        return f"[{self.word()}]\naws_access_key_id = {self.id}\naws_secret_access_key = {self.secret}\nregion = eu-west-1\n"


Writer = Callable[[Hand], str | bytes]


@dataclass(frozen=True, slots=True)
class Place:
    kind: str
    name: str
    write: Writer
    is_hard: bool


@dataclass(frozen=True, slots=True)
class Hiding:
    kind: str
    name: str
    content: bytes
    pair: tuple[str, str] | None
    """None: a decoy."""
    is_hard: bool = False


PLACES: Final[list[Place]] = []
DECOYS: Final[list[Place]] = []


def _place(kind: str, name: str, *, hard: bool = False) -> Callable[[Writer], Writer]:
    def keep(write: Writer) -> Writer:
        PLACES.append(Place(kind, name, write, hard))
        return write

    return keep


def _decoy(kind: str, name: str) -> Callable[[Writer], Writer]:
    def keep(write: Writer) -> Writer:
        DECOYS.append(Place(kind, name, write, is_hard=False))
        return write

    return keep


def _template(kind: str, name: str, *texts: str, hard: bool = False) -> None:
    """A place for each text, in which `@I` and `@S` stand for the pair, `@I1`, `@I2`, `@S1`, `@S2`, `@S3` for cuts."""
    for number, text in enumerate(texts):

        def write(hand: Hand, text: str = text) -> str:
            made = text
            for letter, value in (("I", hand.id), ("S", hand.secret)):
                count = 3 if f"@{letter}3" in text else 2
                for at, piece in enumerate(hand.cut(value, count), 1):
                    made = made.replace(f"@{letter}{at}", piece)
                if letter == "I":
                    made = made.replace("@R0", value[:4])
                    for at, piece in enumerate(hand.cut(value[4:]), 1):
                        made = made.replace(f"@R{at}", piece)
                made = made.replace(f"@{letter}", value)
            return made.replace("@N", hand.noise(1)).replace("@W", hand.word())

        PLACES.append(Place(f"{kind} {number + 1}" if len(texts) > 1 else kind, name, write, hard))


def _b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _zip(files: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), data, compress_type=method)
    return out.getvalue()


def _tar(files: dict[str, str | bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]  # each mode is one of its own
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(_bytes(data))
            archive.addfile(info, io.BytesIO(_bytes(data)))
    return out.getvalue()


# --- settings ---------------------------------------------------------------------------------------------------

_template(
    "settings", "settings.conf",
    "[default]\naws_access_key_id=@I\naws_secret_access_key=@S\n",
    "[Credentials]\naws_access_key_id = @I\naws_secret_access_key = @S\n[Boto]\ndebug = 0\n",
    "[default]\naccess_key = @I\naccess_token =\nsecret_key = @S\nsignature_v2 = False\n",
    "[remote]\ntype = s3\nprovider = AWS\naccess_key_id = @I\nsecret_access_key = @S\nregion = eu-west-1\n",
    "machine s3.amazonaws.com\n  login @I\n  password @S\n",
    "machine s3.amazonaws.com login @I password @S\n",
    "@I:@S\n",
    "access_key=@I\nsecret=@S\nbucket=@W\n",
    "//registry/:_authToken=none\naws-access-key=@I\naws-secret-key=@S\n",
    "s3.access-key: @I\ns3.secret-key: @S\n@N\n",
    "spring.cloud.aws.credentials.access-key=@I\nspring.cloud.aws.credentials.secret-key=@S\n",
    "accessKey=@I\nsecretKey=@S1\\\n    @S2\n",
    "SECRET=@S\nID=@I\n",
    "# keys\n#AWS_ACCESS_KEY_ID=@I\n#AWS_SECRET_ACCESS_KEY=@S\n",
    "AWS_CREDS=@I,@S\n",
    "Environment=AWS_ACCESS_KEY_ID=@I AWS_SECRET_ACCESS_KEY=@S\nExecStart=/usr/bin/@W\n",
    'Environment="AWS_ACCESS_KEY_ID=@I"\nEnvironment="AWS_SECRET_ACCESS_KEY=@S"\n',
    "set AWS_ACCESS_KEY_ID=@I\r\nset AWS_SECRET_ACCESS_KEY=@S\r\n",
    "fastcgi_param AWS_ACCESS_KEY_ID @I;\nfastcgi_param AWS_SECRET_ACCESS_KEY @S;\n",
    "SetEnv AWS_KEY @I\nSetEnv AWS_SECRET @S\n",
    "@S\n@I\n",
    "user: @I\npass: @S\n",
)  # fmt: skip

_template(
    "yaml", "values.yaml",
    "aws:\n  accessKeyId: @I\n  secretAccessKey: @S\nimage:\n  digest: sha256:abc\n",
    "env:\n  - name: AWS_ACCESS_KEY_ID\n    value: @I\n  - name: AWS_SECRET_ACCESS_KEY\n    value: @S\n",
    'env:\n- {name: AWS_ACCESS_KEY_ID, value: "@I"}\n- {name: AWS_SECRET_ACCESS_KEY, value: "@S"}\n',
    "services:\n  web:\n    environment:\n      - AWS_ACCESS_KEY_ID=@I\n      - AWS_SECRET_ACCESS_KEY=@S\n",
    "jobs:\n  d:\n    steps:\n    - uses: aws-actions/configure-aws-credentials@v4\n      with:\n        aws-access-key-id: @I\n        aws-secret-access-key: @S\n",
    "variables:\n  AWS_ACCESS_KEY_ID: '@I'\n  AWS_DEFAULT_REGION: eu-west-1\n  AWS_SECRET_ACCESS_KEY: '@S'\n",
    '- name: upload\n  amazon.aws.s3_object:\n    access_key: "@I"\n    secret_key: "@S"\n    mode: put\n',
    "- s3_sync: bucket=@W aws_access_key=@I aws_secret_key=@S\n",
    "secret: >-\n  @S\nid: >-\n  @I\n",
    "Resources:\n  F:\n    Type: AWS::Lambda::Function\n    Properties:\n      Environment:\n        Variables:\n          KEY: !Sub '@I'\n          SECRET: !Sub '@S'\n",
    "steps:\n  - run: |\n      aws configure set aws_access_key_id @I\n      aws configure set aws_secret_access_key @S\n",
    "  - AWS_ACCESS_KEY_ID: '@I1\\\n      @I2'\n    AWS_SECRET_ACCESS_KEY: \"@S1\\\n      @S2\"\n",
)  # fmt: skip

_template(
    "xml", "core-site.xml",
    "<configuration><property><name>fs.s3a.access.key</name><value>@I</value></property>\n<property><name>fs.s3a.secret.key</name><value>@S</value></property></configuration>",
    "<property>\n  <name>fs.s3a.access.key</name>\n  <value>@I</value>\n</property>\n<property>\n  <name>fs.s3a.secret.key</name>\n  <value>@S</value>\n</property>\n",
    '<plist version="1.0"><dict>\n<key>AccessKey</key>\n<string>@I</string>\n<key>SecretKey</key>\n<string>@S</string>\n</dict></plist>',
    '<add key="AWSAccessKey" value="@I"/>\n<add key="AWSSecretKey" value="@S"/>\n',
    '<bean class="x"><constructor-arg value="@I"/><constructor-arg value="@S"/></bean>',
    '<string name="aws_key">@I</string>\n<string name="aws_secret">@S</string>\n',
    "<server><id>s3</id><username>@I</username><password>@S</password></server>",
    "<AccessKey><UserName>bob</UserName><AccessKeyId>@I</AccessKeyId><Status>Active</Status><SecretAccessKey>@S</SecretAccessKey></AccessKey>",
    "<hudson.plugins.s3.S3Profile>\n<accessKey>@I</accessKey>\n<secretKey>@S</secretKey></hudson.plugins.s3.S3Profile>",
)  # fmt: skip

_template(
    "terraform", "main.tf",
    'provider "aws" {\n  region     = "eu-west-1"\n  access_key = "@I"\n  secret_key = "@S"\n}\n',
    'variable "key" {\n  default = "@I"\n}\n\nvariable "secret" {\n  type = string\n  default = "@S"\n}\n',
    'environment {\n  variables = {\n    AWS_ACCESS_KEY_ID = "@I"\n    OTHER = "x"\n    AWS_SECRET_ACCESS_KEY = "@S"\n  }\n}\n',
    "user_data = <<-EOF\n  #!/bin/bash\n  export AWS_ACCESS_KEY_ID=@I\n  export AWS_SECRET_ACCESS_KEY=@S\n  EOF\n",
    'locals {\n  key    = join("", ["@I1", "@I2"])\n  secret = format("%s%s", "@S1", "@S2")\n}\n',
    'locals {\n  a = "@S1"\n  b = "@S2"\n  access_key = "@I"\n  secret_key = "${local.a}${local.b}"\n}\n',
)  # fmt: skip

_template(
    "shell", "run.sh",
    "docker run -e AWS_ACCESS_KEY_ID=@I -e AWS_SECRET_ACCESS_KEY=@S web\n",
    "ENV AWS_ACCESS_KEY_ID @I\nENV AWS_SECRET_ACCESS_KEY @S\nRUN make\n",
    "ARG KEY=@I\nARG SECRET=@S\n",
    "ENV AWS_ACCESS_KEY_ID=@I \\\n    AWS_SECRET_ACCESS_KEY=@S \\\n    AWS_REGION=eu-west-1\n",
    "AWS_ACCESS_KEY_ID='@I' AWS_SECRET_ACCESS_KEY='@S' aws s3 ls\n",
    "curl --aws-sigv4 aws:amz:eu-west-1:s3 --user '@I:@S' https://@W.s3.amazonaws.com/\n",
    'curl --aws-sigv4 aws:amz:eu-west-1:s3 -u "@I":"@S" https://s3.amazonaws.com/\n',
    "hadoop distcp hdfs:///a s3n://@I:@S@bucket/a\n",
    "aws configure <<EOF\n@I\n@S\neu-west-1\njson\nEOF\n",
    "printf '%s\\n%s\\n' @I @S | aws configure\n",
    "mc alias set s3 https://s3.amazonaws.com @I @S --api S3v4\n",
    "echo @I:@S > ~/.passwd-s3fs\n",
    "./tool --access-key @I --secret-key @S\n./tool --access-key=none\n",
    "./tool -a @I -s @S\n",
    "  123  export K=@I\n  124  ls\n  125  export S=@S\n",
    "KEY=@I\nPART=@S1\nREST=@S2\nSECRET=${PART}${REST}\n",
    "K=@I\nSECRET_KEY=@S1\nSECRET_KEY=${SECRET_KEY}@S2\n",
)  # fmt: skip

# --- data formats -----------------------------------------------------------------------------------------------

_template(
    "json", "data.json",
    '{"accessKeyId":"@I","secretAccessKey":"@S","region":"us-east-1"}',
    '{\n  "AccessKey": {\n    "UserName": "bob",\n    "AccessKeyId": "@I",\n    "Status": "Active",\n    "SecretAccessKey": "@S",\n    "CreateDate": "2026-01-01T00:00:00+00:00"\n  }\n}\n',
    '{"key":"@I","secret":"@S"}',
    '{"aws":["@I","@S"]}',
    '[{"name":"AWS_ACCESS_KEY_ID","value":"@I"},{"name":"AWS_SECRET_ACCESS_KEY","value":"@S"}]',
    '{"values":[{"key":"accessKey","value":"@I","enabled":true},{"key":"secretKey","value":"@S","enabled":true}]}',
    '{"auth":{"type":"awsv4","awsv4":[{"key":"secretKey","value":"@S","type":"string"},{"key":"accessKey","value":"@I","type":"string"}]}}',
    '{"level":"info","msg":"env","env":"AWS_ACCESS_KEY_ID=@I\\nAWS_SECRET_ACCESS_KEY=@S\\nHOME=/root"}',
    '{"containerDefinitions":[{"environment":[{"name":"KEY","value":"@I"},{"name":"SECRET","value":"@S"}]}]}',
    '{"Env":["PATH=/bin","AWS_ACCESS_KEY_ID=@I","AWS_SECRET_ACCESS_KEY=@S"]}',
    '{"UserData":{"Fn::Join":["",["#!/bin/bash\\n","export AWS_ACCESS_KEY_ID=","@I","\\nexport AWS_SECRET_ACCESS_KEY=","@S","\\n"]]}}',
)  # fmt: skip


@_place("terraform state", "terraform.tfstate")
def _state(hand: Hand) -> str:
    other = {
        "mode": "managed",
        "type": "aws_s3_object",
        "instances": [
            {"attributes": {"etag": hand.hex(32), "checksum_sha1": hand.b64(20), "id": hand.hex(40)}}
        ],
    }
    key = {
        "mode": "managed",
        "type": "aws_iam_access_key",
        "name": hand.word(),
        "instances": [
            {
                "schema_version": 0,
                "attributes": {
                    "create_date": "2026-02-03T04:05:06Z",
                    "encrypted_secret": None,
                    "id": hand.id,
                    "key_fingerprint": None,
                    "secret": hand.secret,
                    "ses_smtp_password_v4": hand.b64(33),
                    "status": "Active",
                    "user": "svc",
                },
                "private": hand.b64(60),
            }
        ],
    }
    return json.dumps({"version": 4, "resources": [other, key, other]}, indent=2)


@_place("json in json in a log", "app.jsonl")
def _nested_json(hand: Hand) -> str:
    inner = json.dumps({"Credentials": {"AccessKeyId": hand.id, "SecretAccessKey": hand.secret}})
    for _ in range(hand.random.randrange(1, 4)):
        inner = json.dumps({"request": hand.hex(32), "body": inner})
    return "\n".join(json.dumps({"n": n, "sha": hand.hex(40)}) for n in range(20)) + "\n" + inner + "\n"


@_place("escaped json", "dump.php.json")
def _slashes(hand: Hand) -> str:
    return '{"id":"' + hand.id + '","secret":"' + hand.secret.replace("/", "\\/") + '"}'


@_place("json with unicode escapes", "web.json")
def _plus(hand: Hand) -> str:
    return (
        '{"id":"'
        + hand.id
        + '","secret":"'
        + hand.secret.replace("+", "\\u002B").replace("/", "\\u002f")
        + '"}'
    )


@_place("cloudformation user data", "stack.yaml")
def _user_data(hand: Hand) -> str:
    script = f"#!/bin/bash\nyum -y update\nexport AWS_ACCESS_KEY_ID={hand.id}\nexport AWS_SECRET_ACCESS_KEY={hand.secret}\n/opt/start\n"
    return (
        f"Resources:\n  I:\n    Type: AWS::EC2::Instance\n    Properties:\n      UserData: {_b64(script)}\n"
    )


@_place("cloud-init, gzip in base64", "cloud.yaml")
def _cloud_init(hand: Hand) -> str:
    packed = gzip.compress(
        f"#cloud-config\nwrite_files:\n- content: |\n{textwrap.indent(hand.ini(), '    ')}".encode()
    )
    return f"write_files:\n- encoding: gz+b64\n  path: /root/x\n  content: {_b64(packed)}\n"


@_place("kubernetes secret, values", "secret.yaml")
def _secret(hand: Hand) -> str:
    return (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: aws\n  uid: 0d9e\ntype: Opaque\ndata:\n"
        f"  {hand.pick('access-key', 'AWS_ACCESS_KEY_ID', 'accesskey')}: {_b64(hand.id)}\n"
        f"  {hand.pick('secret-key', 'AWS_SECRET_ACCESS_KEY', 'secretkey')}: {_b64(hand.secret + hand.pick('', chr(10)))}\n"
    )


@_place("kubernetes secret, a file", "secret.json")
def _secret_file(hand: Hand) -> str:
    return json.dumps({"kind": "Secret", "data": {"cloud": _b64(hand.ini()), "x": _b64(hand.hex(40))}})


@_place("kubernetes secret twice", "secret2.yaml", hard=True)
def _secret_twice(hand: Hand) -> str:
    return f"data:\n  release: {_b64(_b64(hand.env() + hand.noise()))}\n"


@_place("helm release", "release.yaml", hard=True)
def _helm(hand: Hand) -> str:
    values = {"config": {"aws": {"accessKey": hand.id, "secretKey": hand.secret}}, "sha": hand.hex(40)}
    return f"data:\n  release: {_b64(_b64(gzip.compress(json.dumps(values).encode())))}\ntype: helm.sh/release.v1\n"


@_place("values in double base64", "double.env", hard=True)
def _values_twice(hand: Hand) -> str:
    return f"ID={_b64(_b64(hand.id))}\nSECRET={_b64(_b64(hand.secret))}\n"


@_place("double base64, wrapped", "double.txt", hard=True)
def _wrapped_twice(hand: Hand) -> str:
    once = textwrap.fill(_b64(hand.noise(5) + "\n" + hand.env() + hand.noise(5)), 76)
    return textwrap.fill(_b64(once), hand.random.choice([64, 76])) + "\n"


@_place("double base64 in json", "double.json", hard=True)
def _twice_in_json(hand: Hand) -> str:
    return json.dumps(
        {"payload": _b64(json.dumps({"blob": _b64(json.dumps({"k": hand.id, "s": hand.secret}))}))}
    )


@_place("double base64 after a prefix", "auth.txt", hard=True)
def _twice_header(hand: Hand) -> str:
    return f"Authorization: Basic {_b64(_b64(hand.id + ':' + hand.secret))}\r\n"


@_place("base64 of both", "basic.txt")
def _basic(hand: Hand) -> str:
    return f"Authorization: Basic {_b64(hand.id + ':' + hand.secret)}\n"


@_place("base64url payload", "token.txt")
def _jwt(hand: Hand) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    body = json.dumps({"sub": "ö~?", "ak": hand.id, "sk": hand.secret}, ensure_ascii=False).encode()
    return f"token={head}.{base64.urlsafe_b64encode(body).rstrip(b'=').decode()}.{hand.b64(32).rstrip('=').replace('/', '_').replace('+', '-')}\n"


@_place("base64 in python", "settings.py")
def _b64_in_code(hand: Hand) -> str:
    return (
        f"KEY = b64decode('{_b64(hand.id)}').decode()\nSECRET = b64decode('{_b64(hand.secret)}').decode()\n"
    )


@_place("base64 of either", "half.env")
def _half(hand: Hand) -> str:
    return f"AWS_ACCESS_KEY_ID={hand.id}\nAWS_SECRET_ACCESS_KEY_B64={_b64(hand.secret)}\n"


@_place("base64 mail", "mail.eml")
def _mail(hand: Hand) -> str:
    body = textwrap.fill(
        _b64(f"Hello,\r\n\r\nyour key is {hand.id}\r\nand the secret {hand.secret}\r\n\r\nBye"), 76
    )
    return f"From: a@example.com\nSubject: key\nContent-Transfer-Encoding: base64\n\n{body}\n"


@_place("base64, wrapped with comments", "blob.py")
def _commented(hand: Hand) -> str:
    lines = textwrap.wrap(_b64(hand.noise(2) + "\n" + hand.ini() + hand.noise(2)), 60)
    return "BLOB = (\n" + "".join(f'    "{line}"\n' for line in lines) + ")\n"


@_place("base64, strings joined by plus", "blob.js", hard=True)
def _plus_lines(hand: Hand) -> str:
    lines = textwrap.wrap(_b64(hand.noise(1) + "\n" + hand.env()), 64)
    return "const blob = " + " +\n  ".join(f"'{line}'" for line in lines) + ";\n"


@_place("quoted-printable mail", "qp.eml")
def _quoted(hand: Hand) -> bytes:
    body = f"Grüße, hier der Schlüssel: AccessKeyId={hand.id}&SecretAccessKey={hand.secret} und noch sehr viel mehr Text dazu\n"
    return b"Content-Transfer-Encoding: quoted-printable\n\n" + quopri.encodestring(body.encode())


@_place("url", "access.log")
def _url(hand: Hand) -> str:
    return f'10.0.0.1 - - "GET /?AWSAccessKeyId={hand.id}&AWSSecretKey={quote(hand.secret, safe="")} HTTP/1.1" 200\n'


@_place("url with a user", "backup.url")
def _user_info(hand: Hand) -> str:
    return f"s3://{hand.id}:{quote(hand.secret, safe='')}@{hand.word()}/x\n"


@_place("celery url", "celery.py")
def _celery(hand: Hand) -> str:
    return f'BROKER_URL = "sqs://{hand.id}:{quote(hand.secret, safe="")}@"\n'


@_place("url twice", "redirect.log")
def _url_twice(hand: Hand) -> str:
    return f"/login?next={quote(quote(f'/?id={hand.id}&secret={hand.secret}', safe=''), safe='')}\n"


@_place("html", "page.html")
def _html(hand: Hand) -> str:
    secret = html.escape(hand.secret).replace("/", "&#x2F;").replace("+", "&#43;").replace("=", "&#x3D;")
    return f"<table><tr><th>Access key</th><td>{hand.id}</td></tr>\n<tr><th>Secret</th><td>{secret}</td></tr></table>"


@_place("html attributes", "form.html")
def _form(hand: Hand) -> str:
    return f"<input name=\"key\" value=\"{hand.id}\"><input name='secret' value='{hand.secret}'><p data-x='{{&quot;k&quot;:1}}'>"


@_place("html entities all", "ent.html")
def _entities(hand: Hand) -> str:
    return (
        "<pre>id "
        + "".join(f"&#{ord(c)};" for c in hand.id)
        + "\nsecret "
        + "".join(f"&#x{ord(c):x};" for c in hand.secret)
    )


@_place("html json attribute", "react.html")
def _attribute(hand: Hand) -> str:
    return f'<div data-props="{html.escape(json.dumps({"accessKeyId": hand.id, "secretAccessKey": hand.secret}))}">'


@_place("unicode escapes", "msg.properties")
def _unicode(hand: Hand) -> str:
    return (
        "key="
        + "".join(f"\\u{ord(c):04x}" for c in hand.id)
        + "\nsecret="
        + "".join(f"\\u{ord(c):04X}" for c in hand.secret)
    )


@_place("hex escapes in c", "key.c")
def _hex_escapes(hand: Hand) -> str:
    return "".join(
        f'static const char {name}[] = "{"".join(f"{chr(92)}x{ord(c):02x}" for c in value)}";\n'
        for name, value in (("id", hand.id), ("secret", hand.secret))
    )


@_place("c bytes", "bytes.h")
def _c_bytes(hand: Hand) -> str:
    def array(text: str) -> str:
        return textwrap.fill(", ".join(f"0x{ord(c):02x}" for c in text), 72)

    return f"unsigned char key_id[] = {{\n{array(hand.id)}\n}};\nunsigned char secret_key[] = {{\n{array(hand.secret)}\n}};\n"


@_place("c characters", "chars.c", hard=True)
def _c_characters(hand: Hand) -> str:
    return "".join(
        f"char {name}[] = {{{', '.join(repr(c) for c in value)}, 0}};\n"
        for name, value in (("access_key", hand.id), ("secret_key", hand.secret))
    )


@_place("java bytes", "K.java")
def _java_bytes(hand: Hand) -> str:
    return "".join(
        f"byte[] {name} = new byte[]{{{', '.join(str(ord(c)) for c in value)}}};\n"
        for name, value in (("accessKey", hand.id), ("secretKey", hand.secret))
    )


@_place("go bytes", "k.go")
def _go_bytes(hand: Hand) -> str:
    return "".join(
        f"var {name} = []byte{{{', '.join(f'0x{ord(c):X}' for c in value)}}}\n"
        for name, value in (("accessKey", hand.id), ("secretKey", hand.secret))
    )


@_place("hex", "hex.txt")
def _hex(hand: Hand) -> str:
    text = hand.env().encode().hex()
    return f"payload: {hand.pick(text, text.upper())}\n"


@_place("hex of each", "each.env")
def _hex_each(hand: Hand) -> str:
    return f"ID={hand.id.encode().hex()}\nSECRET={hand.secret.encode().hex()}\n"


@_place("xxd", "dump.xxd")
def _xxd(hand: Hand) -> str:
    data = (hand.noise(2) + "\n" + hand.env() + hand.noise(2)).encode()
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        digits = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        lines.append(f"{at:08x}: {digits:<39}  {''.join(chr(c) if 31 < c < 127 else '.' for c in row)}")
    return "\n".join(lines) + "\n"


@_place("hexdump -C", "dump.hd")
def _hexdump(hand: Hand) -> str:
    data = (hand.noise(2) + "\n" + hand.ini() + hand.noise(2)).encode()
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        digits = " ".join(f"{c:02x}" for c in row[:8]) + "  " + " ".join(f"{c:02x}" for c in row[8:])
        lines.append(f"{at:08x}  {digits:<49} |{''.join(chr(c) if 31 < c < 127 else '.' for c in row)}|")
    return "\n".join(lines) + f"\n{len(data):08x}\n"


@_place("xxd -p", "dump.plain")
def _xxd_plain(hand: Hand) -> str:
    return textwrap.fill((hand.noise(1) + "\n" + hand.env()).encode().hex(), 60) + "\n"


@_place("od -c", "dump.py")
def _bytes_literal(hand: Hand) -> str:
    return f"data = {(hand.random.randbytes(20) + hand.env().encode())!r}\n"


@_place("utf-16 with a mark", "profile.ps1")
def _utf16(hand: Hand) -> bytes:
    text = (
        f"$env:AWS_ACCESS_KEY_ID = '{hand.id}'\r\n$env:AWS_SECRET_ACCESS_KEY = '{hand.secret}'\r\n# größe\r\n"
    )
    return ("\ufeff" + text).encode(hand.pick("utf-16-le", "utf-16-be"))


@_place("utf-16 without a mark", "registry.bin")
def _utf16_bare(hand: Hand) -> bytes:
    return hand.random.randbytes(301) + f"Key={hand.id};Secret={hand.secret};".encode("utf-16-le") + bytes(9)


@_place("encoded powershell", "task.ps1")
def _encoded_command(hand: Hand) -> str:
    text = f'$env:AWS_ACCESS_KEY_ID="{hand.id}"; $env:AWS_SECRET_ACCESS_KEY="{hand.secret}"; aws s3 ls'
    return f"powershell -EncodedCommand {_b64(text.encode('utf-16-le'))}\n"


@_place("utf-32", "wide.bin")
def _utf32(hand: Hand) -> bytes:
    return hand.env().encode("utf-32-le")


@_place("environ", "environ")
def _environ(hand: Hand) -> bytes:
    return (
        f"PATH=/bin\0AWS_ACCESS_KEY_ID={hand.id}\0HOME=/root\0AWS_SECRET_ACCESS_KEY={hand.secret}\0".encode()
    )


@_place("core dump", "core.1234")
def _core(hand: Hand) -> bytes:
    random = hand.random
    return (
        b"\x7fELF" + random.randbytes(5000) + f"AWS_SECRET_ACCESS_KEY={hand.secret}\0".encode()
        + random.randbytes(random.randrange(200_000)) + f"\0AWS_ACCESS_KEY_ID={hand.id}\0".encode() + random.randbytes(900)
    )  # fmt: skip


@_place("strings of a program", "app.exe")
def _program(hand: Hand) -> bytes:
    return (
        hand.random.randbytes(3000)
        + f"\0{hand.id}\0\0\0{hand.secret}\0\0region\0".encode()
        + hand.random.randbytes(99)
    )


@_place("class file", "A.class")
def _class_file(hand: Hand) -> bytes:
    words = ("Code", "accessKey", hand.id, "secretKey", hand.secret, "java/lang/Object")
    return b"\xca\xfe\xba\xbe\0\0\0\x34" + b"".join(
        b"\1" + struct.pack(">H", len(w)) + w.encode() for w in words
    )


@_place("python bytecode", "a.pyc")
def _marshal(hand: Hand) -> bytes:
    return (
        b"\xa7\r\r\n" + hand.random.randbytes(40)
        + b"".join(b"\xda" + bytes([len(w)]) + w.encode() for w in ("KEY", hand.id, "SECRET", hand.secret, "region"))
    )  # fmt: skip


@_place("pickle", "a.pkl")
def _pickle(hand: Hand) -> bytes:
    import pickle

    return pickle.dumps({"aws_access_key_id": hand.id, "aws_secret_access_key": hand.secret}, 4)


@_place("csv, of iam", "accessKeys.csv")
def _csv(hand: Hand) -> str:
    return f"\ufeffAccess key ID,Secret access key\r\n{hand.id},{hand.secret}\r\n"


@_place("csv, of iam, old", "credentials.csv")
def _csv_old(hand: Hand) -> str:
    return f'User Name,Access Key Id,Secret Access Key\r\n"bob",{hand.id},{hand.secret}\r\n'


@_place("csv, of iam, with a password", "new_user_credentials.csv")
def _csv_console(hand: Hand) -> str:
    return (
        "User name,Password,Access key ID,Secret access key,Console login link\r\n"
        f"bob,x9!k,{hand.id},{hand.secret},https://123456789012.signin.aws.amazon.com/console\r\n"
    )


@_place("csv, many rows", "inventory.csv")
def _csv_many(hand: Hand) -> str:
    out = io.StringIO()
    rows = csv.writer(out, delimiter=hand.pick(",", ";", "\t"))
    rows.writerow(["name", "commit", "aws key", "aws secret", "notes"])
    for n in range(8):
        rows.writerow([f"u{n}", hand.hex(40), *((hand.id, hand.secret) if n == 5 else ("", "")), "a; b, c"])
    return out.getvalue()


@_place("sql dump", "dump.sql")
def _sql(hand: Hand) -> str:
    return (
        "INSERT INTO `settings` (`id`,`name`,`value`) VALUES (1,'sha1','" + hand.hex(40) + "'),"  # noqa: S608 -- a planted text, run by nobody
        f"(2,'aws_access_key','{hand.id}'),(3,'aws_secret_key','{hand.secret}');\n"
    )


@_place("sql row", "row.sql")
def _sql_row(hand: Hand) -> str:
    return f"INSERT INTO creds (user, access_key, secret_key) VALUES ('bob', '{hand.id}', '{hand.secret}');\n"  # noqa: S608 -- as above


@_place("php serialised", "opt.txt")
def _php(hand: Hand) -> str:
    return f'a:2:{{s:3:"key";s:20:"{hand.id}";s:6:"secret";s:40:"{hand.secret}";}}\n'


@_place("rtf", "note.rtf")
def _rtf(hand: Hand) -> str:
    return "{\\rtf1\\ansi{\\b Access key:} " + hand.id + "\\par\n{\\b Secret:} " + hand.secret + "\\par}\n"


@_place("rtf runs", "runs.rtf")
def _rtf_runs(hand: Hand) -> str:
    one, two = hand.cut(hand.secret)
    return "{\\rtf1 Access key: " + hand.id + "\\par Secret key: " + one + "{\\lang1033 " + two + "}\\par}\n"


_template(
    "text", "notes.md",
    "| Access key | Secret key |\n|---|---|\n| @I | @S |\n",
    "| name | value |\n|---|---|\n| id | `@I` |\n| secret | `@S` |\n",
    "- Access Key ID: `@I`\n- Secret Access Key: `@S`\n",
    "bob 10:02\nhere is the key @I\n\nann 10:03\nand the secret?\n\nbob 10:04\n@S\n",
    "[2026-01-02, 10:02] Bob: @I\n[2026-01-02, 10:02] Bob: @S\n",
    "The key is @I and the secret is @S, please delete.\n",
    "Access Key ID:\n@I\n\nSecret Access Key:\n@S\n",
    "AKID @I / SAK @S\n",
    "commit 12\nAuthor: x\n\n    rotate keys\n\n    old: @I\n    secret: @S\n",
    "Traceback (most recent call last):\n  File \"a.py\", line 3\n    boto3.client('s3', aws_access_key_id='@I', aws_secret_access_key='@S')\nValueError: x\n",
    "2026-01-02 03:04:05,678 DEBUG Config{accessKey=@I, secretKey=@S, region=eu}\n",
    "INFO  AwsCredentials(accessKeyId=@I, secretAccessKey=@S)\n@N\n",
    "\x1b[32mAWS_ACCESS_KEY_ID\x1b[0m=\x1b[33m@I\x1b[0m\n\x1b[32mAWS_SECRET_ACCESS_KEY\x1b[0m=\x1b[33m@S\x1b[0m\n",
    "> Access key: @I\n> Secret: @S1=\n> @S2\n> bye\n",
    "AWS Access Key ID [None]: @I\nAWS Secret Access Key [None]: @S\nDefault region name [None]: eu-west-1\n",
)  # fmt: skip

_template(
    "patch", "0001.patch",
    "diff --git a/x b/x\nindex 1a2b3c..4d5e6f 100644\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-key = none\n+key = '@I'\n+secret = '@S'\n",
    "@@ -1,3 +1,1 @@\n-AWS_ACCESS_KEY_ID=@I\n-AWS_SECRET_ACCESS_KEY=@S\n+AWS_ACCESS_KEY_ID=\n",
    "@@ -1,3 +1,3 @@\n key: @I\n-secret: @S\n+secret: x\n",
    "@@ -1,3 +1,5 @@\n+key = ('@I1'\n+       '@I2')\n+secret = ('@S1'\n+          '@S2')\n",
    '@@ -1,3 +1,5 @@\n-String key = "@I1" +\n-    "@I2";\n-String secret = "@S1" +\n-    "@S2";\n',
)  # fmt: skip

# --- sources ----------------------------------------------------------------------------------------------------

_template(
    "source", "source.txt",
    'AWS_KEY = "@I"\nAWS_SECRET = "@S"\n',
    "s3 = boto3.client('s3', '@I', '@S')\n",
    'client = boto3.client("s3", aws_access_key_id="@I",\n    aws_secret_access_key="@S")\n',
    "AWS.config.update({accessKeyId: '@I', secretAccessKey: '@S'});\n",
    "new AWS.S3({credentials:new AWS.Credentials('@I','@S')})\n",
    'const c = new S3Client({ credentials: { accessKeyId: "@I", secretAccessKey: "@S" } });\n',
    'AWSCredentials c = new BasicAWSCredentials("@I", "@S");\n',
    'public static final String ACCESS = "@I";\npublic static final String SECRET = "@S";\n',
    'credentials.NewStaticCredentials("@I", "@S", "")\n',
    'let c = Credentials::new("@I", "@S", None, None, "x");\n',
    'const KEY: &str = "@I";\nconst SECRET: &str = r#"@S"#;\n',
    "$s3 = new S3Client(['credentials' => ['key' => '@I', 'secret' => '@S']]);\n",
    "define('AWS_KEY', '@I');\ndefine('AWS_SECRET', '@S');\n",
    "Aws.config.update(credentials: Aws::Credentials.new('@I', '@S'))\n",
    "my $id = q{@I};\nmy $secret = q{@S};\n",
    'var c = new BasicAWSCredentials("@I", "@S");\n',
    'val accessKey = "@I"\nval secretKey = "@S"\n',
    'let provider = AWSStaticCredentialsProvider(accessKey: "@I", secretKey: "@S")\n',
    "Set-AWSCredential -AccessKey @I -SecretKey @S -StoreAs x\n",
    'Const AKEY = "@I"\nConst SKEY = "@S"\n',
    'Sys.setenv("AWS_ACCESS_KEY_ID" = "@I",\n           "AWS_SECRET_ACCESS_KEY" = "@S")\n',
    'local id, secret = "@I", "@S"\n',
    '#define ID "@I"\n#define SECRET "@S"\n',
    '(def creds {:access-key "@I" :secret-key "@S"})\n',
    'sc._jsc.hadoopConfiguration().set("fs.s3n.awsAccessKeyId", "@I")\nsc._jsc.hadoopConfiguration().set("fs.s3n.awsSecretAccessKey", "@S")\n',
    "COPY t FROM 's3://b/x' CREDENTIALS 'aws_access_key_id=@I;aws_secret_access_key=@S' CSV;\n",
    "CREATE STAGE s URL='s3://b' CREDENTIALS=(AWS_KEY_ID='@I' AWS_SECRET_KEY='@S');\n",
    '!function(e){var t={k:"@I",s:"@S"};e.exports=t}(module),function(e){e.sha="da39a3ee5e6b4b0d3255bfef95601890afd80709"}(x);\n',
    'config :ex_aws,\n  access_key_id: "@I",\n  secret_access_key: "@S"\n',
    "id_ = '''@I'''\nsecret = '''@S'''\n",
    'keys = {\n    "@I": "@S",\n}\n',
    '("@I", "@S"),\n',
    "let creds = `@I:@S`;\n",
)  # fmt: skip

_template(
    "concatenation", "joined.txt",
    'key = "@I1" + "@I2"\nsecret = "@S1" + "@S2"\n',
    "key = '@I1' '@I2'\nsecret = ('@S1'\n          '@S2'\n          '@S3')\n",
    'String KEY = "@I1"\n    + "@I2";\nString SECRET = "@S1"\n    + "@S2"\n    + "@S3";\n',
    "$key = '@I1' . '@I2';\n$secret = '@S1' . '@S2';\n",
    'local key = "@I1" .. "@I2"\nlocal secret = "@S1" .. "@S2"\n',
    'key = "@I1" & "@I2"\nsecret = "@S1" & _\n    "@S2"\n',
    "key = '@I1' << '@I2'\nsecret = '@S1' << '@S2'\n",
    'key := "@I1" +\n\t"@I2"\nsecret := "@S1" +\n\t"@S2"\n',
    'const char *id = "@I1" "@I2";\nconst char *secret =\n    "@S1"\n    "@S2";\n',
    'const KEY: &str = concat!("@I1", "@I2");\nconst SECRET: &str = concat!("@S1", "@S2");\n',
    "const key = ['@I1', '@I2'].join('');\nconst secret = ['@S1', '@S2', '@S3'].join('');\n",
    "key = ''.join(['@I1', '@I2'])\nsecret = ''.join(('@S1', '@S2'))\n",
    "var k = '@I1'.concat('@I2'), s = '@S1'.concat('@S2');\n",
    "secret = '@S1'\nsecret += '@S2'\nkey = '@I1'\nkey += '@I2'\n",
    "key = '%s%s' % ('@I1', '@I2')\nsecret = '%s%s' % ('@S1', '@S2')\n",
    "key = '{}{}'.format('@I1', '@I2')\nsecret = '{}{}'.format('@S1', '@S2')\n",
    "a = '@I1'\nb = '@I2'\nkey = a + b\nc = '@S1'\nd = '@S2'\nsecret = c + d\n",
    "const p = '@I1';\nconst key = `${p}@I2`;\nconst q = '@S1';\nconst secret = `${q}@S2`;\n",
    "p = '@I1'\nkey = f'{p}@I2'\nq = '@S1'\nsecret = f'{q}@S2'\n",
    'let a = "@I1"\nlet key = "\\(a)@I2"\nlet b = "@S1"\nlet secret = "\\(b)@S2"\n',
    "a = '@I1'\nkey = \"#{a}@I2\"\nb = '@S1'\nsecret = \"#{b}@S2\"\n",
    "SELECT '@I1' || '@I2' AS id, '@S1' || '@S2' AS secret;\n",
    "key = CONCAT('@I1', '@I2'), secret = CONCAT('@S1', '@S2', '@S3')\n",
    'val key = StringBuilder().append("@I1").append("@I2").toString()\nval secret = StringBuilder().append("@S1").append("@S2").toString()\n',
    "$key = \"@I1\" + \"@I2\"\n$secret = -join('@S1','@S2')\n",
    "set A=@I1\r\nset B=@I2\r\nset KEY=%A%%B%\r\nset C=@S1\r\nset D=@S2\r\nset SECRET=%C%%D%\r\n",
    'Dim k As String: k = "@I1" & "@I2"\nDim s As String\ns = "@S1"\ns = s & "@S2"\n',
    'A=@I1; B=@I2\nexport AWS_ACCESS_KEY_ID="$A$B"\nC=@S1; D=@S2\nexport AWS_SECRET_ACCESS_KEY="$C$D"\n',
    'KEY = "@I1" \\\n      "@I2"\nSECRET = "@S1" \\\n         "@S2"\n',
    'key = String.format("%s%s", "@I1", "@I2")\nsecret = String.format("%s%s", "@S1", "@S2")\n',
    'key := fmt.Sprintf("%s%s", "@I1", "@I2")\nsecret := strings.Join([]string{"@S1", "@S2"}, "")\n',
    'key: { "Fn::Join": ["", ["@I1", "@I2"]] },\nsecret: { "Fn::Join": ["", ["@S1", "@S2"]] }\n',
    'key <- paste0("@I1", "@I2")\nsecret <- paste0("@S1", "@S2")\n',
    'key = "@I1" <> "@I2"\nsecret = "@S1" <> "@S2"\n',
    'let key = "@I1" ^ "@I2"\nlet secret = "@S1" ^ "@S2"\n',
    'key = "@I1" ++ "@I2"\nsecret = "@S1" ++ "@S2"\n',
    'std::string key = std::string("@I1") + "@I2";\nstd::string secret = std::string("@S1") + std::string("@S2");\n',
    'key = "@I1" /* first */ + /* second */ "@I2"\nsecret = "@S1" // first\n  + "@S2" // second\n',
    'var key = $"{"@I1"}{"@I2"}";\nvar secret = "@S1" + @"@S2";\n',
    "parts = ['@I1', '@I2', '@S1', '@S2']\nkey = parts[0] + parts[1]\nsecret = parts[2] + parts[3]\n",
    'key = "@I";\nsecret = "@S1" + "@S2" + "@S3";\n',
    'KEY = "@I1" +\n  "@I2"\nSECRET = "@S"\n',
    "key = '@I1'\n    ~ '@I2'\nsecret = '@S1' ~ '@S2'\n",
    "    key = '@I1'\\\n          '@I2'\n    secret = '@S1'\\\n          '@S2'\n",
    hard=True,
)  # fmt: skip


@_place("concatenation, the prefix apart", "prefix.py", hard=True)
def _prefix_apart(hand: Hand) -> str:
    cut = hand.random.randrange(1, 5)
    return f"key = '{hand.id[:cut]}' + '{hand.id[cut:]}'\nsecret = '{hand.secret}'\n"


@_place("concatenation, one character apart", "chars.js", hard=True)
def _characters(hand: Hand) -> str:
    return (
        "var k="
        + "+".join(f"'{c}'" for c in hand.id)
        + ";\nvar s="
        + "+".join(f"'{c}'" for c in hand.secret)
        + ";\n"
    )


@_place("concatenation, an array of characters", "chars.py", hard=True)
def _array(hand: Hand) -> str:
    return f"key = ''.join({list(hand.id)!r})\nsecret = ''.join({list(hand.secret)!r})\n"


@_place("concatenation, small pieces", "pieces.java", hard=True)
def _pieces(hand: Hand) -> str:
    def joined(text: str) -> str:
        return " + ".join(f'"{text[n : n + 4]}"' for n in range(0, len(text), 4))

    return f"String accessKey = {joined(hand.id)};\nString secretKey = {joined(hand.secret)};\n"


@_place("concatenation, character codes", "codes.js", hard=True)
def _codes(hand: Hand) -> str:
    return (
        f"var k=String.fromCharCode({','.join(str(ord(c)) for c in hand.id)});\n"
        f"var s=String.fromCharCode({', '.join(str(ord(c)) for c in hand.secret)});\n"
    )


@_place("concatenation, chr() of each", "codes.sql", hard=True)
def _chr(hand: Hand) -> str:
    join, name = hand.random.choice([("||", "chr"), (" & ", "Chr"), (".", "chr"), ("+", "char")])
    return "".join(
        f"{label} = {join.join(f'{name}({ord(c)})' for c in value)}\n"
        for label, value in (("key", hand.id), ("secret", hand.secret))
    )


@_place("reversed or chunked by lines", "wrapped.txt")
def _wrapped(hand: Hand) -> str:
    return f"access key: {hand.id}\nsecret key:\n{hand.secret[:20]}\n{hand.secret[20:]}\n"


@_place("wrapped id", "narrow.txt")
def _narrow(hand: Hand) -> str:
    return f"Access key ID: {hand.id[:12]}\n{hand.id[12:]}\nSecret access key: {hand.secret[:18]}\n{hand.secret[18:]}\n"


@_place("far apart", "far.py")
def _far(hand: Hand) -> str:
    filler = "\n".join(f"def f{n}(x):\n    return x + {n}  # {hand.hex(40)}" for n in range(3000))
    return f"AWS_ACCESS_KEY_ID = '{hand.id}'\n{filler}\nAWS_SECRET_ACCESS_KEY = '{hand.secret}'\n"


@_place("far apart, the secret first", "far.yaml")
def _far_before(hand: Hand) -> str:
    return (
        f"secret_access_key: {hand.secret}\n"
        + "".join(f"k{n}: {hand.hex(40)}\n" for n in range(2000))
        + f"access_key_id: {hand.id}\n"
    )


@_place("one long line", "bundle.js")
def _bundle(hand: Hand) -> str:
    def filler() -> str:
        return "".join(f'{n}:function(e,t){{e.exports="{hand.hex(40)}"+t({n})}},' for n in range(4000))

    return f'!function(e){{}}({{{filler()}9:{{accessKeyId:"{hand.id}",secretAccessKey:"{hand.secret}"}},{filler()}}});'


@_place("source map", "bundle.js.map")
def _source_map(hand: Hand) -> str:
    source = f"// aws\nexport const creds = {{\n  accessKeyId: '{hand.id}',\n  secretAccessKey: '{hand.secret}',\n}};\n"
    return json.dumps(
        {
            "version": 3,
            "sources": ["a.ts"],
            "sourcesContent": ["x\n" * 50, source],
            "mappings": "AAAA,QAAQ" * 900,
        }
    )


@_place("notebook", "analysis.ipynb")
def _notebook(hand: Hand) -> str:
    one, two = hand.cut(hand.secret)
    cells = [
        {"cell_type": "code", "metadata": {}, "execution_count": 1, "outputs": [],
         "source": ["import boto3\n", f"key = '{hand.id}'\n", f"secret = '{one}' \\\n", f"    '{two}'\n"]},
        {"cell_type": "markdown", "metadata": {}, "source": ["# title\n"]},
    ]  # fmt: skip
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


@_place("notebook output", "out.ipynb")
def _output(hand: Hand) -> str:
    out = {
        "output_type": "stream",
        "name": "stdout",
        "text": [f"{{'AWS_ACCESS_KEY_ID': '{hand.id}',\n", f" 'AWS_SECRET_ACCESS_KEY': '{hand.secret}'}}\n"],
    }
    image = {"output_type": "display_data", "data": {"image/png": hand.b64(9000)}, "metadata": {}}
    cells = [
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": 1,
            "outputs": [image, out],
            "source": ["os.environ"],
        }
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


# --- containers -------------------------------------------------------------------------------------------------


@_place("zip", "a.zip")
def _zipped(hand: Hand) -> bytes:
    return _zip({"README": hand.noise(50), "conf/.env": hand.env()}, hand.random.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))  # fmt: skip


@_place("jar", "app.jar")
def _jar(hand: Hand) -> bytes:
    inner = _zip(
        {"application.properties": f"cloud.aws.access-key={hand.id}\ncloud.aws.secret-key={hand.secret}\n"}
    )
    return _zip(
        {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n", "BOOT-INF/lib/conf.jar": inner},
        zipfile.ZIP_STORED,
    )


def _docx_of(runs: list[str]) -> bytes:
    body = "".join(runs)
    document = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<w:document xmlns:w="http://schemas.openxmlformats.org/'
        f'wordprocessingml/2006/main"><w:body>{body}<w:sectPr/></w:body></w:document>'
    )
    types = (
        '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    )
    return _zip(
        {"[Content_Types].xml": types, "word/document.xml": document, "word/styles.xml": "<w:styles/>"}
    )


def _run(text: str, mark: str = "") -> str:
    return f'<w:r w:rsidR="00A1{mark}"><w:rPr><w:lang w:val="en-US"/></w:rPr><w:t xml:space="preserve">{escape(text)}</w:t></w:r>'


def _paragraph(*runs: str) -> str:
    return f'<w:p w:rsidR="00B2" w14:paraId="1A2B3C4D">{"".join(runs)}</w:p>'


@_place("docx", "handover.docx")
def _docx(hand: Hand) -> bytes:
    return _docx_of(
        [_paragraph(_run("Access key: "), _run(hand.id)), _paragraph(_run(f"Secret: {hand.secret}"))]
    )


@_place("docx, keys split over runs", "split.docx")
def _docx_runs(hand: Hand) -> bytes:
    proof = '<w:proofErr w:type="spellStart"/>'
    return _docx_of([
        _paragraph(_run("Access key ID: "), proof, *(_run(piece, "7") for piece in hand.cut(hand.id, 3))),
        _paragraph(_run("Secret access key: "), *(proof + _run(piece, "9") for piece in hand.cut(hand.secret, 4))),
    ])  # fmt: skip


@_place("docx table", "table.docx")
def _docx_table(hand: Hand) -> bytes:
    def row(*cells: str) -> str:
        return f"<w:tr>{''.join(f'<w:tc>{_paragraph(_run(cell))}</w:tc>' for cell in cells)}</w:tr>"

    return _docx_of(
        [f"<w:tbl>{row('User', 'Access key', 'Secret key')}{row('bob', hand.id, hand.secret)}</w:tbl>"]
    )


@_place("pptx, split over runs", "deck.pptx")
def _pptx(hand: Hand) -> bytes:
    def line(*pieces: str) -> str:
        return (
            "<a:p>"
            + "".join(f'<a:r><a:rPr lang="en-US" dirty="0"/><a:t>{piece}</a:t></a:r>' for piece in pieces)
            + "</a:p>"
        )

    space = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    slide = f"<p:sld {space}><p:txBody>{line('Key: ', *hand.cut(hand.id))}{line('Secret: ', *hand.cut(hand.secret))}</p:txBody></p:sld>"
    return _zip({"ppt/slides/slide1.xml": slide})


@_place("odt", "notes.odt")
def _odt(hand: Hand) -> bytes:
    one, two = hand.cut(hand.secret)
    text = f'<text:p text:style-name="P1">Access key {hand.id}</text:p><text:p>Secret <text:span text:style-name="T1">{one}</text:span>{two}</text:p>'
    return _zip(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": f'<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0">{text}</office:document-content>',
        }
    )


@_place("xlsx, shared strings", "keys.xlsx")
def _xlsx(hand: Hand) -> bytes:
    strings = ["User", "Access key ID", "Secret access key", "bob", hand.id, hand.secret]
    shared = "".join(f"<si><t>{escape(text)}</t></si>" for text in strings)
    cells = "".join(
        f'<row r="{r + 1}">'
        + "".join(f'<c r="{"ABC"[c]}{r + 1}" t="s"><v>{r * 3 + c}</v></c>' for c in range(3))
        + "</row>"
        for r in range(2)
    )
    return _zip({
        "xl/sharedStrings.xml": f'<?xml version="1.0"?><sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" count="6">{shared}</sst>',
        "xl/worksheets/sheet1.xml": f"<worksheet><sheetData>{cells}</sheetData></worksheet>",
    })  # fmt: skip


@_place("xlsx, inline strings", "inline.xlsx")
def _xlsx_inline(hand: Hand) -> bytes:
    def row(n: int, *texts: str) -> str:
        return (
            f'<row r="{n}">'
            + "".join(f'<c r="A{n}" t="inlineStr"><is><t>{text}</t></is></c>' for text in texts)
            + "</row>"
        )

    return _zip(
        {
            "xl/worksheets/sheet1.xml": f"<worksheet xmlns='http://schemas.openxmlformats.org/spreadsheetml/2006/main'><sheetData>{row(1, 'key', 'secret')}{row(2, hand.id, hand.secret)}</sheetData></worksheet>"
        }
    )


@_place("xlsx, many rows", "many.xlsx")
def _xlsx_many(hand: Hand) -> bytes:
    strings = ["Name", "Access key", "Secret key", "Commit"]
    for n in range(20):
        strings += [f"user{n}", *((hand.id, hand.secret) if n == 7 else ("none", "-")), hand.hex(40)]
    return _zip(
        {
            "xl/sharedStrings.xml": "<sst xmlns='http://schemas.openxmlformats.org/spreadsheetml/2006/main'>"
            + "".join(f"<si><t>{text}</t></si>" for text in strings)
            + "</sst>"
        }
    )


@_place("tar", "a.tar")
def _tarred(hand: Hand) -> bytes:
    return _tar({"a/b.txt": hand.noise(9), "a/.aws/credentials": hand.ini()})


@_place("tar packed", "a.tar.x")
def _tar_packed(hand: Hand) -> bytes:
    return _tar(
        {"a/b.txt": hand.noise(9), "a/.aws/credentials": hand.ini()}, hand.pick("w:gz", "w:bz2", "w:xz")
    )


@_place("tar.zst", "a.tar.zst")
def _tar_zst(hand: Hand) -> bytes:
    return zstandard.compress(_tar({"a/.env": hand.env()}))


@_place("one file packed", "log.z")
def _packed(hand: Hand) -> bytes:
    packers: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress, zlib.compress]
    pack = hand.random.choice(packers)
    return pack((hand.noise(200) + "\n" + hand.env() + hand.noise(200)).encode())


@_place("deeply nested", "deep.zip", hard=True)
def _deep(hand: Hand) -> bytes:
    data: bytes = hand.env().encode()
    for n in range(hand.random.randrange(4, 7)):
        way: Callable[[bytes], bytes] = hand.random.choice([
            lambda d: _zip({f"n{n}/inner.bin": d, "readme": "x"}),  # noqa: B023 -- called at once
            lambda d: _tar({f"n{n}/inner.bin": d}),  # noqa: B023 -- called at once
            gzip.compress, bz2.compress, lzma.compress, zstandard.compress,
        ])  # fmt: skip
        data = way(data)
    return _zip({"all.bin": data})


@_place("deep, with base64 inside", "deep.tgz", hard=True)
def _deep_base64(hand: Hand) -> bytes:
    secret = f"data:\n  id: {_b64(hand.id)}\n  secret: {_b64(hand.secret)}\n"
    return _tar({"x/a.zip": _zip({"y/b.tar.xz": _tar({"z/secret.yaml": secret}, "w:xz")})}, "w:gz")


@_place("deep, a document in a mail in an archive", "mail.zip", hard=True)
def _deep_mail(hand: Hand) -> bytes:
    attached = textwrap.fill(_b64(_docx(hand)), 76)
    mail = f'Content-Type: application/octet-stream; name="a.docx"\nContent-Transfer-Encoding: base64\n\n{attached}\n--x--\n'
    return _zip({"mails/1.eml": mail})


@_place("deep, sqlite in gzip in zip", "db.zip", hard=True)
def _deep_sqlite(hand: Hand) -> bytes:
    return _zip({"backup/db.sqlite3.gz": gzip.compress(_bytes(_sqlite(hand)))})


@_place("docker archive", "image.tar", hard=True)
def _docker(hand: Hand) -> bytes:
    layer = _tar({"app/.env": hand.env(), "bin/x": "x"})
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {"config": {"Env": ["PATH=/bin"]}, "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
    )
    name = hashlib.sha256(config.encode()).hexdigest()
    manifest = json.dumps(
        [{"Config": f"{name}.json", "RepoTags": ["web:1"], "Layers": [f"{digest}/layer.tar"]}]
    )
    return _tar({f"{name}.json": config, f"{digest}/layer.tar": layer, "manifest.json": manifest})


@_place("image configuration", "config.tar", hard=True)
def _docker_env(hand: Hand) -> bytes:
    layer = _tar({"bin/x": "x"})
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "config": {"Env": ["PATH=/bin", f"AWS_ACCESS_KEY_ID={hand.id}", f"AWS_SECRET_ACCESS_KEY={hand.secret}"]},
        "history": [{"created_by": "RUN x"}],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    })  # fmt: skip
    name = hashlib.sha256(config.encode()).hexdigest()
    manifest = json.dumps([{"Config": f"{name}.json", "RepoTags": None, "Layers": [f"{digest}/layer.tar"]}])
    return _tar({f"{name}.json": config, f"{digest}/layer.tar": layer, "manifest.json": manifest})


@_place("oci layout, zstd", "oci.tar", hard=True)
def _oci(hand: Hand) -> bytes:
    def named(data: bytes) -> tuple[str, bytes]:
        return hashlib.sha256(data).hexdigest(), data

    layer = named(zstandard.compress(_tar({"root/.aws/credentials": hand.ini()})))
    config = named(json.dumps({"config": {}, "rootfs": {"type": "layers", "diff_ids": []}}).encode())
    manifest = named(json.dumps({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{config[0]}", "size": len(config[1])},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": f"sha256:{layer[0]}", "size": len(layer[1])}],
    }).encode())  # fmt: skip
    index = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": f"sha256:{manifest[0]}",
                    "size": len(manifest[1]),
                }
            ],
        }
    )
    blobs: dict[str, str | bytes] = {f"blobs/sha256/{name}": data for name, data in (layer, config, manifest)}
    return _tar({"oci-layout": '{"imageLayoutVersion": "1.0.0"}', "index.json": index, **blobs})


def _database(hand: Hand, *statements: tuple[str, tuple[Any, ...]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        database = sqlite3.connect(path)
        for sql, values in statements:
            database.execute(sql, values)
        database.executemany(
            "INSERT INTO noise VALUES (?)",
            [(hand.hex(40),) for _ in range(200)],
        )
        database.commit()
        database.close()
        return path.read_bytes()


@_place("sqlite, columns", "app.sqlite3")
def _sqlite(hand: Hand) -> bytes:
    return _database(
        hand,
        ("CREATE TABLE noise (y)", ()),
        ("CREATE TABLE keys (name TEXT, access_key TEXT, secret_key TEXT)", ()),
        ("INSERT INTO keys VALUES (?, ?, ?)", ("prod", hand.id, hand.secret)),
    )


@_place("sqlite, rows", "settings.db")
def _sqlite_rows(hand: Hand) -> bytes:
    return _database(
        hand,
        ("CREATE TABLE noise (y)", ()),
        ("CREATE TABLE settings (k TEXT, v TEXT)", ()),
        ("INSERT INTO settings VALUES ('aws_access_key', ?)", (hand.id,)),
        ("INSERT INTO settings VALUES ('aws_secret_key', ?)", (hand.secret,)),
    )


@_place("sqlite, a long text", "history.db")
def _sqlite_long(hand: Hand) -> bytes:
    return _database(
        hand,
        ("CREATE TABLE noise (y)", ()),
        ("CREATE TABLE h (t TEXT)", ()),
        ("INSERT INTO h VALUES (?)", (hand.noise(150) + "\n" + hand.env() + hand.noise(150),)),
    )


# --- PDF --------------------------------------------------------------------------------------------------------


def _lzw(data: bytes) -> bytes:
    table = {bytes((n,)): n for n in range(256)}
    bits, width = "", 9
    bits += f"{256:09b}"
    held = b""
    following = 258
    for byte in data:
        longer = held + bytes((byte,))
        if longer in table:
            held = longer
            continue
        bits += f"{table[held]:0{width}b}"
        table[longer] = following
        following += 1
        if following + 1 > (1 << width) and width < 12:
            width += 1
        if following >= 4093:
            bits += f"{256:0{width}b}"
            table, width, following = {bytes((n,)): n for n in range(256)}, 9, 258
        held = bytes((byte,))
    bits += f"{table[held]:0{width}b}"
    following += 1
    if following + 1 > (1 << width) and width < 12:
        width += 1
    bits += f"{257:0{width}b}"
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))


def _pdf(content: bytes, filters: str, *, font: str = "", more: tuple[bytes, ...] = ()) -> bytes:
    ways: dict[str, Callable[[bytes], bytes]] = {
        "FlateDecode": zlib.compress,
        "ASCII85Decode": lambda d: base64.a85encode(d) + b"~>",
        "ASCIIHexDecode": lambda d: d.hex().encode() + b">",
        "LZWDecode": _lzw,
    }
    names = filters.split()
    data = content
    for name in reversed(names):
        data = ways[name](data)
    shown = f"/Filter [{' '.join('/' + name for name in names)}] " if names else ""
    if len(names) == 1:
        shown = f"/Filter /{names[0]} "
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< {shown}/Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream",
        (font or "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>").encode(),
        *more,
    ]
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % at for at in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


_FILTERS: Final = (
    "",
    "FlateDecode",
    "ASCII85Decode FlateDecode",
    "ASCIIHexDecode",
    "LZWDecode",
    "ASCII85Decode LZWDecode",
)


def _literal(text: str) -> str:
    return "(" + text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") + ")"


def _shown(lines: list[str], show: Callable[[str], str]) -> bytes:
    body = "\n".join(f"1 0 0 1 72 {760 - 14 * n} Tm {show(line)}" for n, line in enumerate(lines))
    return f"q BT /F1 11 Tf\n{body}\nET Q\n".encode()


for _filters in _FILTERS:

    def _pdf_plain(hand: Hand, filters: str = _filters) -> bytes:
        lines = ["Handover", f"Access key ID: {hand.id}", f"Secret access key: {hand.secret}", hand.hex(40)]
        return _pdf(_shown(lines, lambda line: _literal(line) + " Tj"), filters)

    def _pdf_kerned(hand: Hand, filters: str = _filters) -> bytes:
        def show(line: str) -> str:
            parts, pieces = [], hand.cut(line, min(len(line) // 3, 12))
            for piece in pieces:
                parts += [_literal(piece), str(hand.random.choice([-92, -15, 3, 20, 64.5, 110]))]
            return f"[{' '.join(parts)}] TJ"

        return _pdf(
            _shown(["Keys and names", f"key {hand.id}", f"secret {hand.secret}", hand.hex(40)], show), filters
        )

    PLACES.append(Place(f"pdf {_filters or 'plain'}", "a.pdf", _pdf_plain, is_hard=True))
    PLACES.append(Place(f"pdf kerned {_filters or 'plain'}", "k.pdf", _pdf_kerned, is_hard=True))


@_place("pdf, words by gaps", "words.pdf", hard=True)
def _pdf_gaps(hand: Hand) -> bytes:
    lines = [f"Access key ID: {hand.id}", f"Secret access key: {hand.secret}"]
    return _pdf(
        _shown(lines, lambda line: "[" + " -278 ".join(map(_literal, line.split())) + "] TJ"), "FlateDecode"
    )


@_place("pdf, a table", "table.pdf", hard=True)
def _pdf_table(hand: Hand) -> bytes:
    body = "BT /F1 9 Tf\n"
    for n, row in enumerate([("User", "Access key", "Secret key"), ("bob", hand.id, hand.secret)]):
        for x, cell in zip((72, 150, 300), row, strict=True):
            body += f"1 0 0 1 {x} {700 - 12 * n} Tm {_literal(cell)} Tj\n"
    return _pdf((body + "ET\n").encode(), "FlateDecode")


@_place("pdf, each character placed", "placed.pdf", hard=True)
def _pdf_placed(hand: Hand) -> bytes:
    body = "BT /F1 9 Tf 72 700 Td\n"
    for line in (f"id {hand.id}", f"secret {hand.secret}"):
        body += "".join(f"{_literal(c)} Tj 5.5 0 Td\n" for c in line) + "-200 -14 Td\n"
    return _pdf((body + "ET\n").encode(), "FlateDecode")


@_place("pdf, hex strings", "hex.pdf", hard=True)
def _pdf_hex(hand: Hand) -> bytes:
    lines = [f"Access key ID: {hand.id}", f"Secret access key: {hand.secret}"]
    return _pdf(_shown(lines, lambda line: f"<{line.encode().hex()}> Tj"), "FlateDecode")


@_place("pdf, a font with its own codes", "subset.pdf", hard=True)
def _pdf_subset(hand: Hand) -> bytes:
    lines = [f"Access key ID: {hand.id}", f"Secret access key: {hand.secret}"]
    letters = sorted(set("".join(lines)))
    hand.random.shuffle(letters)
    code = {letter: n + 3 for n, letter in enumerate(letters)}
    rows = "\n".join(f"<{code[c]:04X}> <{ord(c):04X}>" for c in letters)
    cmap = f"/CIDInit /ProcSet findresource begin\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n{len(letters)} beginbfchar\n{rows}\nendbfchar\nendcmap\n"
    packed = zlib.compress(cmap.encode())
    stream = f"<< /Filter /FlateDecode /Length {len(packed)} >>\nstream\n".encode() + packed + b"\nendstream"
    font = "<< /Type /Font /Subtype /Type0 /BaseFont /AAAAAA+X /Encoding /Identity-H /ToUnicode 6 0 R >>"

    def show(line: str) -> str:
        return "[" + " -4 ".join(f"<{code[c]:04X}>" for c in line) + "] TJ"

    return _pdf(_shown(lines, show), "FlateDecode", font=font, more=(stream,))


@_place("pdf, wrapped lines", "wrapped.pdf", hard=True)
def _pdf_wrapped(hand: Hand) -> bytes:
    lines = [
        "AWS_ACCESS_KEY_ID =",
        hand.id,
        "AWS_SECRET_ACCESS_KEY =",
        hand.secret[:26],
        hand.secret[26:],
        "",
        "end.",
    ]
    return _pdf(_shown(lines, lambda line: _literal(line) + " Tj"), "FlateDecode")


@_place("pdf, its metadata", "meta.pdf", hard=True)
def _pdf_metadata(hand: Hand) -> bytes:
    return _pdf(
        b"BT ET",
        "FlateDecode",
        more=(f"<< /Title (key {hand.id}) /Subject (secret {hand.secret}) >>".encode(),),
    )


@_place("pdf, an attachment", "attached.pdf", hard=True)
def _pdf_attachment(hand: Hand) -> bytes:
    packed = zlib.compress(hand.env().encode())
    stream = (
        f"<< /Type /EmbeddedFile /Filter /FlateDecode /Length {len(packed)} >>\nstream\n".encode()
        + packed
        + b"\nendstream"
    )
    return _pdf(b"BT ET", "FlateDecode", more=(stream,))


@_place("pdf, utf-16 strings", "wide.pdf", hard=True)
def _pdf_utf16(hand: Hand) -> bytes:
    text = "\ufeff" + f"key {hand.id} secret {hand.secret}"
    return _pdf(b"BT ET", "", more=(f"<< /Title <{text.encode('utf-16-be').hex()}> >>".encode(),))


_template(
    "more concatenation", "more.txt",
    'part1 = "@R0"\npart2 = "@R1"\npart3 = "@R2"\nkey = part1 + part2 + part3\ns1 = "@S1"\ns2 = "@S2"\nsecret = s1 + s2\n',
    "const A = '@I1', B = '@I2';\nconst key = A + B;\nconst C = '@S1', D = '@S2';\nconst secret = C + D;\n",
    "cfg = {'p1': '@I1', 'p2': '@I2', 's1': '@S1', 's2': '@S2'}\nkey = cfg['p1'] + cfg['p2']\nsecret = cfg['s1'] + cfg['s2']\n",
    "self.a = '@I1'\nself.b = '@I2'\nself.key = self.a + self.b\nself.c = '@S1'\nself.d = '@S2'\nself.secret = self.c + self.d\n",
    'a, b = "@I1", "@I2"\nkey = f"{a}{b}"\nc, d = "@S1", "@S2"\nsecret = f"{c}{d}"\n',
    'a := "@I1"\nb := "@I2"\nkey := fmt.Sprintf("%s%s", a, b)\nc := "@S1"\nd := "@S2"\nsecret := fmt.Sprintf("%s%s", c, d)\n',
    "$a = '@I1';\n$b = '@I2';\n$key = $a . $b;\n$c = '@S1';\n$d = '@S2';\n$secret = $c . $d;\n",
    "const a = '@I1';\nconst b = '@I2';\nconst key = [a, b].join('');\nconst c = '@S1';\nconst d = '@S2';\nconst secret = [c, d].join('');\n",
    'sb.append("@I1");\nsb.append("@I2");\nString key = sb.toString();\nsb2.append("@S1");\nsb2.append("@S2");\n',
    'String key = String.join("", "@I1", "@I2");\nString secret = String.join("", "@S1", "@S2", "@S3");\n',
    'var key = string.Concat("@I1", "@I2");\nvar secret = string.Concat("@S1", "@S2");\n',
    "$key = '{0}{1}' -f '@I1','@I2'\n$secret = '{0}{1}' -f '@S1','@S2'\n",
    'KEY="@I1""@I2"\nSECRET="@S1""@S2"\n',
    'KEY=@I1"@I2"\nSECRET=@S1"@S2"\n',
    "KEY=@I1\nKEY+=@I2\nSECRET=@S1\nSECRET+=@S2\n",
    "A := @I1\nB := @I2\nKEY := $(A)$(B)\nC := @S1\nD := @S2\nSECRET := $(C)$(D)\n",
    "Key:\n  Fn::Join:\n    - ''\n    - - '@I1'\n      - '@I2'\nSecret:\n  Fn::Join:\n    - ''\n    - - '@S1'\n      - '@S2'\n",
    "Key: !Join ['', ['@I1', '@I2']]\nSecret: !Join ['', ['@S1', '@S2']]\n",
    '{"key_parts": ["@I1", "@I2"], "secret_parts": ["@S1", "@S2"]}\n',
    '#define A "@I1"\n#define B "@I2"\nconst char *key = A B;\n#define C "@S1"\n#define D "@S2"\nconst char *secret = C D;\n',
    'NSString *key = @"@I1" @"@I2";\nNSString *secret = @"@S1" @"@S2";\n',
    'NSString *key = [@"@I1" stringByAppendingString:@"@I2"];\nNSString *secret = [@"@S1" stringByAppendingString:@"@S2"];\n',
    'NSString *key = [NSString stringWithFormat:@"%@%@", @"@I1", @"@I2"];\nNSString *secret = [NSString stringWithFormat:@"%@%@", @"@S1", @"@S2"];\n',
    'key = "@I1" * "@I2"\nsecret = "@S1" * "@S2"\n',
    "key = ['@I1' '@I2'];\nsecret = strcat('@S1', '@S2');\n",
    "key = b'@I1' + b'@I2'\nsecret = b'@S1' + b'@S2'\n",
    "my $key = join('', '@I1', '@I2');\nmy $secret = join '', '@S1', '@S2';\n",
    "key = %w[@I1 @I2].join\nsecret = %w[@S1 @S2].join\n",
    'let key = format!("{}{}", "@I1", "@I2");\nlet secret = ["@S1", "@S2"].concat();\n',
    'val a = "@I1"\nval key = "${a}@I2"\nval b = "@S1"\nval secret = "$b" + "@S2"\n',
    '(def key (str "@I1" "@I2"))\n(def secret (str "@S1" "@S2"))\n',
    'strcpy(key, "@I1");\nstrcat(key, "@I2");\nstrcpy(secret, "@S1");\nstrcat(secret, "@S2");\n',
    'key = (\n    "@I1"  # one\n    "@I2"  # two\n)\nsecret = (\n    "@S1"  # one\n    "@S2"  # two\n)\n',
    "key = `@I1` + `@I2`;\nsecret = `${'@S1'}${'@S2'}`;\n",
    "key = '@I1' +\n      # the rest\n      '@I2'\nsecret = '@S1' + '' + '@S2'\n",
    'std::string key = "@I1";\nkey += "@I2";\nstd::string secret("@S1");\nsecret.append("@S2");\n',
    'Dim key, secret\nkey = "@I1"\nkey = key & "@I2"\nsecret = "@S1" & _\n         "@S2" & _\n         "@S3"\n',
    "<set var=\"key\" value=\"{concat('@I1', '@I2')}\"/><set var=\"secret\" value=\"{concat('@S1', '@S2')}\"/>\n",
    'KEY = "@I1" "@I2"; SECRET = "@S1" "@S2"\n',
    'key="@I1"; key="$key@I2"\nsecret="@S1"; secret="$secret@S2"\n',
    'key = "".join((\n    "@I1",\n    "@I2",\n))\nsecret = "".join((\n    "@S1",\n    "@S2",\n    "@S3",\n))\n',
    'ACCESS_KEY_PART_ONE = "@I1"\nACCESS_KEY_PART_TWO = "@I2"\nSECRET_PART_ONE = "@S1"\nSECRET_PART_TWO = "@S2"\nc = Client(ACCESS_KEY_PART_ONE + ACCESS_KEY_PART_TWO, SECRET_PART_ONE + SECRET_PART_TWO)\n',
    hard=True,
)  # fmt: skip


@_place("more double base64, with crlf", "crlf.txt", hard=True)
def _twice_crlf(hand: Hand) -> bytes:
    once = base64.encodebytes((hand.ini() + hand.noise(4)).encode())
    return base64.encodebytes(once).replace(b"\n", b"\r\n")


@_place("more double base64, one half", "one.env", hard=True)
def _twice_half(hand: Hand) -> str:
    return f"AWS_ACCESS_KEY_ID={hand.id}\nAWS_SECRET_ACCESS_KEY={_b64(_b64(hand.secret))}\n"


@_place("more double base64, in yaml", "folded.yaml", hard=True)
def _twice_yaml(hand: Hand) -> str:
    text = textwrap.indent(textwrap.fill(_b64(_b64(hand.noise(4) + "\n" + hand.env())), 64), "      ")
    return f"data:\n  creds: |\n{text}\n  other: x\n"


@_place("more double base64, in json", "wrapped.json", hard=True)
def _twice_escaped(hand: Hand) -> str:
    return json.dumps({"blob": textwrap.fill(_b64(_b64(hand.noise(2) + "\n" + hand.env())), 76) + "\n"})


@_place("more double base64, slashes escaped", "slashes.json", hard=True)
def _twice_slashes(hand: Hand) -> str:
    return json.dumps({"blob": _b64(_b64(hand.noise(2) + "\n" + hand.ini()))}).replace("/", "\\/")


@_place("more double base64, url-safe and encoded", "q.log", hard=True)
def _twice_url(hand: Hand) -> str:
    state = base64.urlsafe_b64encode(_b64(hand.env()).encode()).decode()
    return f"GET /?state={quote(state, safe='')} HTTP/1.1\n"


@_place("more double base64, data uri", "uri.html", hard=True)
def _twice_uri(hand: Hand) -> str:
    return f'<a href="data:text/plain;base64,{_b64("x: " + _b64(hand.id + " " + hand.secret))}">x</a>'


def _pdf_stream(hand: Hand, body: str) -> bytes:
    return _pdf(body.encode("latin-1"), hand.pick("FlateDecode", "ASCII85Decode FlateDecode"))


@_place("more pdf, quote operators", "q.pdf", hard=True)
def _pdf_quotes(hand: Hand) -> bytes:
    return _pdf_stream(
        hand, f"BT /F1 9 Tf 12 TL 72 700 Td (key {hand.id}) '\n0 0 (secret {hand.secret}) \"\nET"
    )


@_place("more pdf, octal escapes", "o.pdf", hard=True)
def _pdf_octal(hand: Hand) -> bytes:
    octal = "".join(f"\\{ord(c):03o}" for c in f"key {hand.id}")
    text = f"secret {hand.secret[:9]}\\\n{hand.secret[9:]}"
    return _pdf_stream(hand, f"BT /F1 9 Tf 72 700 Td ({octal}) Tj T* ({text}) Tj ET")


@_place("more pdf, next lines by T*", "t.pdf", hard=True)
def _pdf_next(hand: Hand) -> bytes:
    one, two = hand.ini().splitlines()[1:3]
    return _pdf_stream(hand, f"BT /F1 9 Tf 72 700 Td ({one}) Tj T* ({two}) Tj T* ET")


@_place("more pdf, an object stream", "os.pdf", hard=True)
def _pdf_object_stream(hand: Hand) -> bytes:
    inner = f"<< /Title (key {hand.id}) /Keywords (secret {hand.secret}) >>"
    packed = zlib.compress(f"9 0 {inner}".encode())
    head = f"<< /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode /Length {len(packed)} >>\nstream\n"
    return _pdf(b"BT ET", "FlateDecode", more=(head.encode() + packed + b"\nendstream",))


@_place("more pdf, an annotation", "an.pdf", hard=True)
def _pdf_annotation(hand: Hand) -> bytes:
    note = f"<< /Type /Annot /Subtype /Text /Contents (id: {hand.id}\\nsecret: {hand.secret}) >>"
    return _pdf(b"BT ET", "FlateDecode", more=(note.encode(),))


@_place("more pdf, utf-16 literal", "u.pdf", hard=True)
def _pdf_utf16_literal(hand: Hand) -> bytes:
    text = f"\ufeffkey {hand.id} secret {hand.secret}".encode("utf-16-be")
    return _pdf(b"BT ET", "", more=(b"<< /Title (" + text + b") >>",))


@_place("more pdf, ranges in the map", "r.pdf", hard=True)
def _pdf_ranges(hand: Hand) -> bytes:
    cmap = "/CIDInit begincmap\n1 beginbfrange\n<0003> <0060> <0020>\nendbfrange\nendcmap\n"
    packed = zlib.compress(cmap.encode())
    stream = f"<< /Filter /FlateDecode /Length {len(packed)} >>\nstream\n".encode() + packed + b"\nendstream"

    def show(line: str) -> str:
        return "<" + "".join(f"{ord(c) - 29:04x}" for c in line) + "> Tj"

    return _pdf(_shown([f"key {hand.id}", f"secret {hand.secret}"], show), "FlateDecode", more=(stream,))


@_place("more pdf, large gaps inside of a key", "g.pdf", hard=True)
def _pdf_large_gaps(hand: Hand) -> bytes:
    def show(line: str) -> str:
        return "[" + " -250 ".join(_literal(piece) for piece in hand.cut(line, 6)) + "] TJ"

    return _pdf(_shown([f"key {hand.id}", f"secret {hand.secret}"], show), "FlateDecode")


@_place("more pdf, in an archive", "pdf.tgz", hard=True)
def _pdf_in_archive(hand: Hand) -> bytes:
    lines = [f"Access key ID: {hand.id}", f"Secret access key: {hand.secret}"]
    page = _shown(lines, lambda line: f"[{_literal(line[:20])} -7 {_literal(line[20:])}] TJ")
    return _tar({"a/b.zip": _zip({"c.pdf": _pdf(page, "FlateDecode")})}, "w:gz")


@_place("deep, a notebook in archives", "nb.zip", hard=True)
def _deep_notebook(hand: Hand) -> bytes:
    return _zip({"a.tar.bz2": _tar({"x/n.ipynb": _bytes(_notebook(hand))}, "w:bz2")})


@_place("deep, seven of one kind", "seven.gz", hard=True)
def _seven(hand: Hand) -> bytes:
    data = hand.env().encode()
    for _ in range(7):
        data = gzip.compress(data)
    return data


@_place("deep, an archive in a database", "blob.db", hard=True)
def _blob(hand: Hand) -> bytes:
    row = ("INSERT INTO f VALUES (?)", (_zip({"a.env": hand.env()}),))
    return _database(hand, ("CREATE TABLE noise (y)", ()), ("CREATE TABLE f (b BLOB)", ()), row)


@_place("deep, war in ear", "app.ear", hard=True)
def _ear(hand: Hand) -> bytes:
    jar = _zip({"aws.properties": f"accessKey={hand.id}\nsecretKey={hand.secret}\n"})
    return _zip({"web.war": _zip({"WEB-INF/lib/a.jar": jar})}, zipfile.ZIP_STORED)


_template(
    "more text", "more.log",
    'time="2026" level=debug msg="creds" id=@I secret="@S"\n',
    "DEBUG botocore.credentials: {'AccessKeyId': '@I', 'SecretAccessKey': '@S', 'Token': None}\n",
    "PUT /x?accessKeyId=@I HTTP/1.1\nX-Secret-Key: @S\n",
    "id;@I\nsecret;@S\n",
    "AWS_ACCESS_KEY_ID -> @I\nAWS_SECRET_ACCESS_KEY -> @S\n",
    "* key :: @I\n* secret :: @S\n",
    "KEY: @I  SECRET: @S  REGION: eu-west-1\n",
    "# @I\n# @S\n",
    "<!-- @I / @S -->\n",
    "@I\t@S\n",
    "@I,@S,bob,active\n",
    "bob: @I | @S\n",
    "{@I=@S}\n",
    'access key id is "@I" while secret access key is "@S".\n',
    "login=@I&password=@S\n",
    "aws_access_key_id: !vault x\nreal: @I\nreal_secret: @S\n",
    "def f():\n    >>> connect('@I', '@S')\n",
    "rem key @I\r\nrem secret @S\r\n",
    "Schlüssel: @I\nGeheimnis: @S\n",
    "S3_KEY=@I\nS3_SECRET=@S\nS3_BUCKET=@W\n",
    "  access_key_id: '@I'\n  # @N\n  secret_access_key: '@S'\n",
    "aws:\n  - @I\n  - @S\n",
    "storage.s3 { accessKey = @I, secretKey = @S }\n",
    '"@S":"@I"\n',
    '(setq aws-id "@I" aws-key "@S")\n',
    "s3://@W?access_key=@I&secret_key=@S&endpoint=x\n",
    "@I / @S\n",
    "@I|@S|\n",
    "key=@I secret=@S\0",
)  # fmt: skip


# --- decoys -----------------------------------------------------------------------------------------------------


def _decoy_texts(kind: str, name: str, *texts: str) -> None:
    """`@I` an id; `@H` 40 digits of hex; `@S` 40 characters of a secret's alphabet; `@L` 64 bytes in base64."""
    for number, text in enumerate(texts):

        def write(hand: Hand, text: str = text) -> str:
            made = text.replace("@I", hand.id).replace("@S", hand.secret).replace("@L", hand.b64(64))
            while "@H" in made:
                made = made.replace("@H", hand.hex(40), 1)
            return made.replace("@P", hand.new_id(hand.pick("AIDA", "AROA", "AGPA", "ANPA", "ASCA")))

        DECOYS.append(Place(f"{kind} {number + 1}", name, write, is_hard=False))


_decoy_texts(
    "an id beside a hash", "near.txt",
    "aws_access_key_id = @I\ncommit = @H\n",
    "key: @I\nsha1: @H\ntree @H\nparent @H\n",
    '"accessKeyId": "@I",\n"integrity": "sha512-@L"\n',
    "AKID @I\nsha256:@H@H\n",
    'id=@I\netag="@H"\n',
    '{"AccessKeyId":"@I","checksumSHA1":"2jmj7l5rSw0yVb/vlWAYkK/YBwk="}',
    "@I\ngithub_token=ghp_16C7e42F292c6912E7710c838347Ae178B4a\n",
    "@I\nnpm_token = npm_@S\n",
    "AWS_ACCESS_KEY_ID=@I\nDATADOG_APP_KEY=@H\n",
    "AWS_ACCESS_KEY_ID=@I\nGITHUB_CLIENT_SECRET=@H\n",
    "AWS_ACCESS_KEY_ID=@I\nJWT_SECRET=@S\n",
    "AWS_ACCESS_KEY_ID=@I\nAWS_SECRET_ACCESS_KEY=${SECRET}\nSLACK_TOKEN=@S\n",
    "AWS_ACCESS_KEY_ID=@I\nAWS_SECRET_ACCESS_KEY=****************************************\nDJANGO_SECRET_KEY=@S\n",
    "access: @I\nresolved: https://registry/x.tgz#@H\nintegrity sha1-@S=\n",
    "@I is in eventID 0a1b2c3d-1111-2222-3333-444455556666 requestID @H\n",
    "aws_access_key_id=@I\naws_session_token=FQoGZXIvYXdzE@L@L\n",
    "AWS_ACCESS_KEY_ID=@I\nSTRIPE_SECRET_KEY=sk_live_4eC39HqLyjWDarjtT1zdp7dc\nCSRF_TOKEN=@S\n",
    "id: @I\nwebhook_secret: @H\n",
    "access_key = @I\nssh_public_key = AAAAB3NzaC1yc2EAAAADAQABAAABAQ@S@S\n",
    "AWS_ACCESS_KEY_ID=@I\npassword_hash=$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW\n",
    "key = @I\ncookie: session=@S\n",
)  # fmt: skip

_decoy_texts(
    "examples", "example.md",
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\nAWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
    "AWS_ACCESS_KEY_ID=@I\nAWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\nAWS_SECRET_ACCESS_KEY=@S\n",
    "aws_access_key_id=AKIAXXXXXXXXXXXXXXXX\naws_secret_access_key=@S\n",
    "aws_access_key_id=@I\naws_secret_access_key=XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX\n",
    "aws_access_key_id=@I\naws_secret_access_key=abcdefghijklmnopqrstuvwxyz0123456789ABCD\n",
    "aws_access_key_id=AKIA1234567890ABCDEF\naws_secret_access_key=@S\n",
    "aws_access_key_id=YOURACCESSKEYIDHERE0\naws_secret_access_key=@S\n",
    "aws_access_key_id=@I\naws_secret_access_key=your/secret/access/key/goes/here/please1\n",
    "aws_secret_access_key=@S\n",
)  # fmt: skip

_decoy_texts(
    "public ids", "policy.json",
    '{"UserId":"@P","secret":"@S"}',
    "unique id @P\nsecret_key = @S\n",
    '{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","principalId":"@P","accessKeyId":"@I"},"requestID":"@H","eventID":"0a1b"}',
    "https://b.s3.amazonaws.com/x?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=@I%2F20260101%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Signature=@H@H\n",
    "https://b.s3.amazonaws.com/x?AWSAccessKeyId=@I&Expires=1&Signature=2jmj7l5rSw0yVb%2FvlWAYkK%2FYBwk%3D\n",
    "Authorization: AWS4-HMAC-SHA256 Credential=@I/20260101/us-east-1/iam/aws4_request, SignedHeaders=host;x-amz-date, Signature=@H@H\n",
    "Authorization: AWS @I:frJIUN8DYpKDtOLCwo//yllqDzg=\n",
)  # fmt: skip


@_decoy("an id inside of base64", "image.html")
def _inside(hand: Hand) -> str:
    return f'<img src="data:image/png;base64,{hand.b64(900)}{hand.id}{hand.b64(900)}"><p>secret {hand.secret}</p>'


@_decoy("protein", "a.fasta")
def _protein(hand: Hand) -> str:
    lines = ["".join(hand.random.choice("ACDEFGHIKLMNPQRSTVWY") for _ in range(60)) for _ in range(40)]
    lines[7] = lines[7][:20] + "AKIAGHIKLMNPQRSTVWYA" + lines[7][40:]
    return ">sp|P1|X\n" + "\n".join(lines) + f"\n>secret {hand.secret}\n"


@_decoy("certificate", "a.pem")
def _certificate(hand: Hand) -> str:
    return f"# key {hand.id}\n-----BEGIN CERTIFICATE-----\n{textwrap.fill(hand.b64(800), 64)}\n-----END CERTIFICATE-----\n"


@_decoy("private key", "id_rsa")
def _private_key(hand: Hand) -> str:
    return f"{hand.id}\n-----BEGIN OPENSSH PRIVATE KEY-----\n{textwrap.fill(hand.b64(1400), 70)}\n-----END OPENSSH PRIVATE KEY-----\n"


@_decoy("short lines of base64", "a.asc")
def _short_lines(hand: Hand) -> str:
    return f"access key {hand.id}\n{textwrap.fill(hand.b64(900), 40)}\n"


@_decoy("lock file", "package-lock.json")
def _lock(hand: Hand) -> str:
    packages = {
        f"node_modules/p{n}": {"resolved": f"https://r/p{n}.tgz", "integrity": f"sha512-{hand.b64(64)}"}
        for n in range(60)
    }
    return json.dumps({"name": hand.id, "lockfileVersion": 3, "packages": packages}, indent=1)


@_decoy("jwt", "jwt.txt")
def _jwt_decoy(hand: Hand) -> str:
    parts = [base64.urlsafe_b64encode(hand.random.randbytes(n)).rstrip(b"=").decode() for n in (30, 90, 32)]
    return f"kid {hand.id}\nAuthorization: Bearer {'.'.join(parts)}\n"


@_decoy("git log", "log.txt")
def _git_log(hand: Hand) -> str:
    return "".join(
        f"commit {hand.hex(40)}\nAuthor: x\n\n    remove {hand.id if n == 3 else 'y'}\n\n" for n in range(9)
    )


@_decoy("names of forty letters", "Names.java")
def _long_names(hand: Hand) -> str:
    return f'String key = "{hand.id}";\nString secretAccessKeyProviderFactoryBeanName1 = get();\nfoo(com/example/aws/auth/SecretKeyProvider1Impl);\n'


@_decoy("hashes in hex in base64", "b.txt")
def _hash_base64(hand: Hand) -> str:
    return f"{hand.id}\n{_b64(hand.hex(40))}\n{_b64(hand.random.randbytes(48))}\n"


@_decoy("secrets of others in a table", "other.csv")
def _other_csv(hand: Hand) -> str:
    return f"name,commit,etag\n{hand.id},{hand.hex(40)},{hand.hex(32)}\n"


@_decoy("binary", "random.bin")
def _binary(hand: Hand) -> bytes:
    return hand.random.randbytes(30_000) + hand.id.encode() + hand.random.randbytes(30_000)


@_decoy("strings cut by a program", "cut.py")
def _cut(hand: Hand) -> str:
    a, b = hand.hex(20), hand.hex(20)
    return f"key = '{hand.id}'\nsha = '{a}' + '{b}'\nname = 'abc' + 'def'\nparts = ['{hand.b64(15)}', '{hand.b64(15)}']\n"


@_decoy("pdf of hashes", "h.pdf")
def _pdf_decoy(hand: Hand) -> bytes:
    return _pdf(
        _shown([hand.id, hand.hex(40), f"sha512-{hand.b64(64)}"], lambda line: _literal(line) + " Tj"),
        "FlateDecode",
    )


@_decoy("zip of hashes", "h.zip")
def _zip_decoy(hand: Hand) -> bytes:
    return _zip({"a": f"key {hand.id}\n", "b": f"secret_access_key = {hand.secret}\n", "c": hand.noise(30)})


def _made(places: list[Place], seed: int, *, holds: bool) -> list[Hiding]:
    hidings = []
    for number, place in enumerate(places):
        hand = Hand(Random(f"{seed} {place.kind}"))  # noqa: S311 - it seeds a corpus
        content = _bytes(place.write(hand))
        pair = (hand.id, hand.secret) if holds else None
        hidings.append(Hiding(place.kind, f"{number:03}/{place.name}", content, pair, place.is_hard))
    return hidings


def hidings(seed: int) -> list[Hiding]:
    return _made(PLACES, seed, holds=True)


def decoys(seed: int) -> list[Hiding]:
    return _made(DECOYS, seed, holds=False)
