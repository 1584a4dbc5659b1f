"""Planted keys: files as they are found in the wild, each with what stands in it, all from one seed.

A file is a form (how a program or a configuration writes a pair) in a spelling (base64, UTF-16, …). Decoys are files
and lines that look like a pair and are none. `planted` makes them all; whoever packs them into archives or commits
takes them from there.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import pickle
import plistlib
import quopri
import random
import string
import textwrap
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

BASE32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
BASE64: Final = string.ascii_letters + string.digits + "+/"


@dataclass(frozen=True, slots=True)
class Planted:
    path: str
    content: bytes
    ids: frozenset[str]
    """Every id that stands in it, those of the pairs too."""
    pairs: frozenset[tuple[str, str]]
    how: str


@dataclass(frozen=True, slots=True)
class Pair:
    id: str
    secret: str


class Maker:
    """Random keys and random noise from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # the same files again, no secrecy

    def id(self) -> str:
        prefix = self.random.choices(["AKIA", "ASIA", "ABIA", "ACCA"], [90, 6, 2, 2])[0]
        return prefix + "".join(self.random.choices(BASE32, k=16))

    def secret(self) -> str:
        secret = "".join(self.random.choices(BASE64, k=40))
        if self.random.random() < 0.1:
            secret = self.random.choice("+/") + secret[1:]
        if self.random.random() < 0.1:
            secret = secret[:-1] + self.random.choice("+/")
        return secret

    def pair(self) -> Pair:
        return Pair(self.id(), self.secret())

    def hex(self, size: int) -> str:
        return self.random.randbytes(size).hex()

    def b64(self, size: int) -> str:
        return base64.b64encode(self.random.randbytes(size)).decode()

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.random.randbytes(16)))

    def prose(self, lines: int) -> str:
        words = [
            "the",
            "deploy",
            "job",
            "reads",
            "its",
            "region",
            "from",
            "the",
            "bucket",
            "and",
            "retries",
            "when",
            "a",
            "worker",
            "is",
            "gone",
        ]
        return "\n".join(" ".join(self.random.choices(words, k=11)) for _ in range(lines))

    def cut(self, text: str, pieces: int) -> list[str]:
        at = sorted(self.random.sample(range(1, len(text)), pieces - 1))
        return [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]


def _form(path: str, text: str) -> tuple[str, Callable[[Maker, Pair], str]]:
    return path, lambda _m, p: text.replace("@ID@", p.id).replace("@SECRET@", p.secret)


FORMS: Final[dict[str, tuple[str, Callable[[Maker, Pair], str]]]] = {
    "dotenv": _form(".env", "REGION=eu-west-1\nAWS_ACCESS_KEY_ID=@ID@\nAWS_SECRET_ACCESS_KEY=@SECRET@\nDEBUG=0\n"),
    "dotenv quoted": _form(".env", 'AWS_ACCESS_KEY_ID="@ID@"\nAWS_SECRET_ACCESS_KEY="@SECRET@"\n'),
    "dotenv crlf": _form(".env", "AWS_ACCESS_KEY_ID=@ID@\r\nAWS_SECRET_ACCESS_KEY=@SECRET@\r\n"),
    "shell": _form("deploy.sh", "#!/bin/sh\nexport AWS_ACCESS_KEY_ID='@ID@'\nexport AWS_SECRET_ACCESS_KEY='@SECRET@'\n"),
    "shell one line": _form("run.sh", "AWS_ACCESS_KEY_ID=@ID@ AWS_SECRET_ACCESS_KEY=@SECRET@ aws s3 ls\n"),
    "fish": _form("config.fish", "set -x AWS_ACCESS_KEY_ID @ID@\nset -x AWS_SECRET_ACCESS_KEY @SECRET@\n"),
    "powershell": _form("run.ps1", '$Env:AWS_ACCESS_KEY_ID="@ID@"\n$Env:AWS_SECRET_ACCESS_KEY="@SECRET@"\n'),
    "powershell module": _form("x.ps1", "Set-AWSCredential -AccessKey @ID@ -SecretKey @SECRET@ -StoreAs x\n"),
    "cmd": _form("run.bat", "set AWS_ACCESS_KEY_ID=@ID@\r\nset AWS_SECRET_ACCESS_KEY=@SECRET@\r\n"),
    "configure": _form("notes.txt", "$ aws configure set aws_access_key_id @ID@\n$ aws configure set aws_secret_access_key @SECRET@\n"),
    "credentials file": _form("credentials", "[default]\naws_access_key_id = @ID@\naws_secret_access_key = @SECRET@\n"),
    "credentials file, secret first": _form("credentials", "[prod]\naws_secret_access_key=@SECRET@\naws_access_key_id=@ID@\n"),
    "properties": _form("aws.properties", "aws.accessKeyId=@ID@\naws.secretKey=@SECRET@\n"),
    "properties, spring": _form("application.properties", "cloud.aws.credentials.access-key=@ID@\ncloud.aws.credentials.secret-key=@SECRET@\n"),
    "hadoop": _form("core-site.xml", "<property><name>fs.s3a.access.key</name><value>@ID@</value></property>\n<property>\n  <name>fs.s3a.secret.key</name>\n  <value>@SECRET@</value>\n</property>\n"),
    "json": _form("config.json", '{"accessKeyId": "@ID@", "secretAccessKey": "@SECRET@", "region": "us-east-1"}\n'),
    "json pretty, secret first": _form("config.json", '{\n  "aws": {\n    "secretAccessKey": "@SECRET@",\n    "region": "us-east-1",\n    "accessKeyId": "@ID@"\n  }\n}\n'),
    "create-access-key": _form("key.json", '{\n    "AccessKey": {\n        "UserName": "bob",\n        "AccessKeyId": "@ID@",\n        "Status": "Active",\n        "SecretAccessKey": "@SECRET@",\n        "CreateDate": "2026-03-09T18:39:23.411Z"\n    }\n}\n'),
    "create-access-key text": _form("out.txt", "ACCESSKEY\t@ID@\t2026-03-09T18:39:23.411Z\t@SECRET@\tActive\tbob\n"),
    "sts xml": _form("r.xml", "<Credentials>\n  <AccessKeyId>@ID@</AccessKeyId>\n  <SecretAccessKey>@SECRET@</SecretAccessKey>\n</Credentials>\n"),
    "yaml": _form("conf.yml", "aws:\n  access_key_id: @ID@\n  secret_access_key: @SECRET@\n"),
    "yaml folded": _form("conf.yml", "access_key_id: >-\n  @ID@\nsecret_access_key: >-\n  @SECRET@\n"),
    "boto": _form(".boto", "[Credentials]\naws_access_key_id = @ID@\naws_secret_access_key = @SECRET@\n"),
    "s3cfg": _form(".s3cfg", "[default]\naccess_key = @ID@\nbucket_location = US\ngpg_passphrase =\nhost_base = s3.amazonaws.com\nproxy_port = 0\nsecret_key = @SECRET@\nuse_https = True\n"),
    "rclone": _form("rclone.conf", "[s3]\ntype = s3\nprovider = AWS\naccess_key_id = @ID@\nsecret_access_key = @SECRET@\n"),
    "passwd-s3fs": _form("passwd-s3fs", "@ID@:@SECRET@\n"),
    "passwd-s3fs bucket": _form("passwd-s3fs", "mybucket:@ID@:@SECRET@\n"),
    "aws cli csv": _form("accessKeys.csv", "Access key ID,Secret access key\r\n@ID@,@SECRET@\r\n"),
    "iam user csv": _form("credentials.csv", "User name,Password,Access key ID,Secret access key,Console login link\nbob,,@ID@,@SECRET@,https://581039954779.signin.aws.amazon.com/console\n"),
    "iam csv with mark": _form("k.csv", "\ufeffUser Name,Access key ID,Secret access key\nbob,@ID@,@SECRET@\n"),
    "csv quoted, secret first": _form("k.csv", '"name","secret","key id"\n"ci","@SECRET@","@ID@"\n'),
    "csv no head": _form("k.csv", "ci;@ID@;@SECRET@;eu-west-1\n"),
    "tsv": _form("k.tsv", "user\taccess_key_id\tsecret_access_key\nci\t@ID@\t@SECRET@\n"),
    "old rootkey": _form("rootkey.csv", "AWSAccessKeyId=@ID@\r\nAWSSecretKey=@SECRET@\r\n"),
    "markdown table": _form("README.md", "| name | key id | secret |\n|---|---|---|\n| ci | `@ID@` | `@SECRET@` |\n"),
    "markdown list": _form("README.md", "* Access key ID: **@ID@**\n* Secret access key: **@SECRET@**\n"),
    "two lines": _form("key.txt", "@ID@\n@SECRET@\n"),
    "heads above": _form("key.txt", "Access key ID\n@ID@\n\nSecret access key\n@SECRET@\n"),
    "mail": _form("mail.txt", "Hi,\n\nthe new key is @ID@ and the secret is @SECRET@.\nPlease keep it safe.\n"),
    "chat": _form("chat.log", "[10:02] bob: key @ID@\n[10:02] bob: secret @SECRET@\n"),
    "terraform": _form("main.tf", 'provider "aws" {\n  region     = "eu-west-1"\n  access_key = "@ID@"\n  secret_key = "@SECRET@"\n}\n'),
    "tfvars": _form("x.tfvars", 'aws_access_key = "@ID@"\naws_secret_key = "@SECRET@"\n'),
    "terraform default": _form("v.tf", 'variable "access_key" {\n  default = "@ID@"\n}\n\nvariable "secret_key" {\n  type    = string\n  default = "@SECRET@"\n}\n'),
    "terraform state": _form("terraform.tfstate", '{\n "resources": [{"type": "aws_iam_access_key", "instances": [{"attributes": {\n  "encrypted_secret": null,\n  "id": "@ID@",\n  "key_fingerprint": null,\n  "pgp_key": null,\n  "secret": "@SECRET@",\n  "ses_smtp_password_v4": "BKs9ZdPQwFKgOnL1vVZfvXjXvXjXvXjXvXjXvXjXvXjX",\n  "status": "Active",\n  "user": "ci"}}]}]}\n'),
    "cloudformation": _form("t.json", '{"Outputs": [{"OutputKey": "AccessKey", "OutputValue": "@ID@"}, {"OutputKey": "SecretKey", "OutputValue": "@SECRET@"}]}\n'),
    "cloudformation parameters": _form("p.json", '[\n  {\n    "ParameterKey": "AwsAccessKeyId",\n    "ParameterValue": "@ID@"\n  },\n  {\n    "ParameterKey": "AwsSecretAccessKey",\n    "ParameterValue": "@SECRET@"\n  }\n]\n'),
    "task definition": _form("task.json", '{"environment": [{"name": "AWS_ACCESS_KEY_ID", "value": "@ID@"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "@SECRET@"}]}\n'),
    "task definition, value first": _form("task.json", '{"environment": [{"value": "@ID@", "name": "AWS_ACCESS_KEY_ID"}, {"value": "@SECRET@", "name": "AWS_SECRET_ACCESS_KEY"}]}\n'),
    "kubernetes env": _form("pod.yaml", "env:\n- name: AWS_ACCESS_KEY_ID\n  value: @ID@\n- name: AWS_SECRET_ACCESS_KEY\n  value: @SECRET@\n"),
    "compose": _form("docker-compose.yml", "environment:\n  - AWS_ACCESS_KEY_ID=@ID@\n  - AWS_SECRET_ACCESS_KEY=@SECRET@\n  - TZ=UTC\n"),
    "dockerfile": _form("Dockerfile", "FROM alpine\nENV AWS_ACCESS_KEY_ID @ID@\nENV AWS_SECRET_ACCESS_KEY @SECRET@\n"),
    "dockerfile one": _form("Dockerfile", "FROM alpine\nENV AWS_ACCESS_KEY_ID=@ID@ \\\n    AWS_SECRET_ACCESS_KEY=@SECRET@\n"),
    "docker run": _form("run.sh", "docker run -e AWS_ACCESS_KEY_ID=@ID@ -e AWS_SECRET_ACCESS_KEY=@SECRET@ app\n"),
    "image configuration": _form("c.json", '{"config":{"Env":["PATH=/bin","AWS_ACCESS_KEY_ID=@ID@","AWS_SECRET_ACCESS_KEY=@SECRET@"],"Cmd":["sh"]}}'),
    "github actions": _form("ci.yml", "    - uses: aws-actions/configure-aws-credentials@v4\n      with:\n        aws-access-key-id: @ID@\n        aws-secret-access-key: @SECRET@\n        aws-region: us-east-2\n"),
    "travis": _form(".travis.yml", "deploy:\n  provider: s3\n  access_key_id: @ID@\n  secret_access_key: @SECRET@\n  bucket: x\n"),
    "jenkins": _form("Jenkinsfile", "withEnv(['AWS_ACCESS_KEY_ID=@ID@', 'AWS_SECRET_ACCESS_KEY=@SECRET@']) { sh 'x' }\n"),
    "ansible": _form("play.yml", '- ec2:\n    aws_access_key: "@ID@"\n    aws_secret_key: "@SECRET@"\n'),
    "python": _form("app.py", 'import boto3\n\ns3 = boto3.client(\n    "s3",\n    aws_access_key_id="@ID@",\n    aws_secret_access_key="@SECRET@",\n)\n'),
    "python constants": _form("settings.py", "AWS_ACCESS_KEY_ID = '@ID@'\nAWS_SECRET_ACCESS_KEY = '@SECRET@'\nAWS_STORAGE_BUCKET_NAME = 'x'\n"),
    "python environ": _form("a.py", 'os.environ["AWS_ACCESS_KEY_ID"] = "@ID@"\nos.environ.setdefault("AWS_SECRET_ACCESS_KEY", "@SECRET@")\n'),
    "python positional": _form("a.py", 'conn = boto.connect_s3("@ID@", "@SECRET@")\n'),
    "python tuple": _form("a.py", 'KEY, SECRET = "@ID@", "@SECRET@"\n'),
    "python dict": _form("a.py", "CREDS = {'@ID@': '@SECRET@'}\n"),
    "python getenv": _form("a.py", 'a = os.getenv("KEY", "@ID@")\nb = os.getenv("SECRET", "@SECRET@")\n'),
    "javascript": _form("a.js", "AWS.config.update({ accessKeyId: '@ID@', secretAccessKey: '@SECRET@' });\n"),
    "javascript minified": _form("a.min.js", 'var a={region:"us-east-1",credentials:{accessKeyId:"@ID@",secretAccessKey:"@SECRET@"}};!function(e){e()}(a);'),
    "typescript": _form("a.ts", "const client = new S3Client({\n  credentials: {\n    accessKeyId: `@ID@`,\n    secretAccessKey: `@SECRET@`,\n  },\n});\n"),
    "java": _form("A.java", 'AWSCredentials c = new BasicAWSCredentials("@ID@", "@SECRET@");\n'),
    "java constants": _form("A.java", 'private static final String ACCESS_KEY = "@ID@";\nprivate static final String SECRET_KEY = "@SECRET@";\n'),
    "java lines": _form("A.java", 'AwsBasicCredentials.create(\n        "@ID@",\n        "@SECRET@");\n'),
    "go": _form("a.go", 'creds := credentials.NewStaticCredentials("@ID@", "@SECRET@", "")\n'),
    "go constants": _form("a.go", 'const (\n\taccessKey = "@ID@"\n\tsecretKey = "@SECRET@"\n)\n'),
    "csharp": _form("A.cs", 'var c = new BasicAWSCredentials("@ID@", "@SECRET@");\n'),
    "app.config": _form("app.config", '<appSettings>\n  <add key="AWSAccessKey" value="@ID@"/>\n  <add key="AWSSecretKey" value="@SECRET@"/>\n</appSettings>\n'),
    "appsettings": _form("appsettings.json", '{"AWS": {"AccessKey": "@ID@", "SecretKey": "@SECRET@"}}\n'),
    "php": _form("a.php", "$s3 = new S3Client(['credentials' => ['key' => '@ID@', 'secret' => '@SECRET@']]);\n"),
    "php define": _form("a.php", "define('AWS_KEY', '@ID@');\ndefine('AWS_SECRET', '@SECRET@');\n"),
    "ruby": _form("a.rb", "Aws.config.update(credentials: Aws::Credentials.new('@ID@', '@SECRET@'))\n"),
    "ruby hash": _form("a.rb", "{ :access_key_id => '@ID@',\n  :secret_access_key => '@SECRET@' }\n"),
    "rust": _form("a.rs", 'let c = Credentials::new("@ID@", "@SECRET@", None, None, "x");\n'),
    "swift": _form("A.swift", 'AWSStaticCredentialsProvider(accessKey: "@ID@", secretKey: "@SECRET@")\n'),
    "objective-c": _form("A.m", '[[AWSStaticCredentialsProvider alloc] initWithAccessKey:@"@ID@" secretKey:@"@SECRET@"];\n'),
    "c": _form("a.h", '#define AWS_KEY "@ID@"\n#define AWS_SECRET "@SECRET@"\n'),
    "perl": _form("a.pl", "my $key = '@ID@';\nmy $secret = '@SECRET@';\n"),
    "clojure": _form("a.clj", '{:access-key "@ID@" :secret-key "@SECRET@"}\n'),
    "elixir": _form("config.exs", 'config :ex_aws,\n  access_key_id: "@ID@",\n  secret_access_key: "@SECRET@"\n'),
    "scala": _form("a.scala", 'sc.hadoopConfiguration.set("fs.s3n.awsAccessKeyId", "@ID@")\nsc.hadoopConfiguration.set("fs.s3n.awsSecretAccessKey", "@SECRET@")\n'),
    "r": _form("a.R", 'Sys.setenv("AWS_ACCESS_KEY_ID" = "@ID@",\n           "AWS_SECRET_ACCESS_KEY" = "@SECRET@")\n'),
    "matlab": _form("a.m", "setenv('AWS_ACCESS_KEY_ID', '@ID@');\nsetenv('AWS_SECRET_ACCESS_KEY', '@SECRET@');\n"),
    "sql copy": _form("load.sql", "COPY t FROM 's3://b/k' CREDENTIALS 'aws_access_key_id=@ID@;aws_secret_access_key=@SECRET@' CSV;\n"),
    "sql insert": _form("dump.sql", "INSERT INTO `keys` VALUES (1,'ci','@ID@','@SECRET@','2026-01-01');\n"),
    "snowflake": _form("s.sql", "create stage s url='s3://b' credentials=(aws_key_id='@ID@' aws_secret_key='@SECRET@');\n"),
    "url": _form("u.txt", "s3n://@ID@:@SECRET@@bucket/path\n"),
    "log json": _form("app.log", '2026-03-09T10:00:00Z INFO config loaded {"level":"info","aws":{"access_key":"@ID@","secret_key":"@SECRET@"}}\n'),
    "log": _form("app.log", "DEBUG boto: access_key=@ID@ secret_key=@SECRET@ region=eu-west-1\n"),
    "toml": _form("c.toml", '[aws]\naccess_key_id = "@ID@"\nsecret_access_key = "@SECRET@"\n'),
    "lua": _form("c.lua", 'local conf = { access = "@ID@", secret = "@SECRET@" }\n'),
    "vault": _form("v.txt", "Key                Value\n---                -----\naccess_key         @ID@\nsecret_key         @SECRET@\nsecurity_token     <nil>\n"),
    "curl": _form("c.sh", "curl --aws-sigv4 aws:amz:us-east-1:s3 --user @ID@:@SECRET@ https://s3.amazonaws.com\n"),
    "mc": _form("c.sh", "mc alias set prod https://s3.amazonaws.com @ID@ @SECRET@\n"),
    "helm": _form("h.sh", "helm install x --set aws.accessKey=@ID@ --set aws.secretKey=@SECRET@\n"),
    "notebook": ("n.ipynb", lambda _m, p: json.dumps({"cells": [{"cell_type": "code", "source": ["import boto3\n", f'boto3.client("s3", aws_access_key_id="{p.id}",\n', f'    aws_secret_access_key="{p.secret}")\n']}]}, indent=1)),
    "notebook output": ("n.ipynb", lambda _m, p: json.dumps({"outputs": [{"text": ["{'AccessKeyId': '" + p.id + "',\n", " 'SecretAccessKey': '" + p.secret + "'}\n"]}]})),
    "json in json": ("j.json", lambda _m, p: json.dumps({"SecretString": json.dumps({"username": "x", "access_key": p.id, "secret_key": p.secret})})),
    "json in json in json": ("j.json", lambda _m, p: json.dumps({"Message": json.dumps({"SecretString": json.dumps({"access_key": p.id, "secret_key": p.secret})})})),
    "json slashes": ("j.json", lambda _m, p: json.dumps({"key": p.id, "secret": p.secret}).replace("/", "\\/")),
    "plist": ("p.plist", lambda _m, p: plistlib.dumps({"AWSAccessKey": p.id, "AWSSecretKey": p.secret}).decode()),
    "diff": _form("x.patch", "@@ -1,3 +1,5 @@\n region: us\n+aws_access_key_id: @ID@\n+aws_secret_access_key: @SECRET@\n"),
    "removed": _form("x.patch", "-AWS_KEY='@ID@'\n-AWS_SECRET='@SECRET@'\n+AWS_KEY=os.environ['X']\n"),
    "coloured log": _form("c.log", "\x1b[32mAWS_ACCESS_KEY_ID\x1b[0m=\x1b[33m@ID@\x1b[0m\n\x1b[32mAWS_SECRET_ACCESS_KEY\x1b[0m=\x1b[33m@SECRET@\x1b[0m\n"),
    "html": _form("x.html", "<table><tr><td>Access key</td><td>@ID@</td></tr><tr><td>Secret key</td><td>@SECRET@</td></tr></table>\n"),
    "nginx": _form("n.conf", "aws_access_key @ID@;\naws_secret_key @SECRET@;\n"),
    "fluentd": _form("f.conf", "<match **>\n  @type s3\n  aws_key_id @ID@\n  aws_sec_key @SECRET@\n</match>\n"),
    "logstash": _form("l.conf", 'input { s3 { "access_key_id" => "@ID@" "secret_access_key" => "@SECRET@" } }\n'),
    "django storages": _form("s.py", 'STORAGES = {"default": {"OPTIONS": {"access_key": "@ID@", "secret_key": "@SECRET@"}}}\n'),
    "login and password": _form("l.txt", "login: @ID@\npassword: @SECRET@\n"),
    "user and pass": _form("netrc", "machine s3.amazonaws.com login @ID@ password @SECRET@\n"),
    "id and key": _form("i.yml", "id: @ID@\nkey: @SECRET@\n"),
    "comment": _form("a.py", "# old creds: @ID@ / @SECRET@\n"),
    "basic": _form("r.http", "GET / HTTP/1.1\r\nX-Key: @ID@\r\nX-Secret: @SECRET@\r\n\r\n"),
    "env dump": _form("env.txt", "AWS_SECRET_ACCESS_KEY=@SECRET@\nHOME=/root\nHOSTNAME=a1b2c3d4e5f6\nLANG=C.UTF-8\nPATH=/usr/bin:/bin\nAWS_ACCESS_KEY_ID=@ID@\n"),
    "declare": _form("env.txt", 'declare -x AWS_ACCESS_KEY_ID="@ID@"\ndeclare -x AWS_SECRET_ACCESS_KEY="@SECRET@"\n'),
    "nix": _form("a.nix", 'environment.AWS_ACCESS_KEY_ID = "@ID@";\nenvironment.AWS_SECRET_ACCESS_KEY = "@SECRET@";\n'),
    "nul environment": _form("environ", "PATH=/bin\0AWS_ACCESS_KEY_ID=@ID@\0AWS_SECRET_ACCESS_KEY=@SECRET@\0HOME=/\0"),
    "binary strings": _form("a.bin", "\x7fELF\x02\x00\x00@ID@\x00\x00@SECRET@\x00printf\x00"),
    "length prefixed": _form("a.pb", "\n\x14@ID@\x12(@SECRET@\x1a\x09us-east-1"),
    "keyturn csv": _form("key.csv", "Access key ID,Secret access key\n@ID@,@SECRET@\n"),
    "vbscript": _form("a.vbs", 'accessKey = "@ID@"\r\nsecretKey = "@SECRET@"\r\n'),
    "kotlin": _form("A.kt", 'val accessKey = "@ID@"\nval secretKey = "@SECRET@"\n'),
    "groovy": _form("build.gradle", "credentials(AwsCredentials) {\n    accessKey '@ID@'\n    secretKey '@SECRET@'\n}\n"),
    "maven": _form("settings.xml", "<server>\n  <id>s3</id>\n  <username>@ID@</username>\n  <password>@SECRET@</password>\n</server>\n"),
    "sbt": _form("b.sbt", 'awsProfile := ("@ID@", "@SECRET@")\n'),
    "latex": _form("a.tex", "\\texttt{@ID@} with secret \\texttt{@SECRET@}\n"),
    "graphql": _form("a.gql", 'mutation { addKey(id: "@ID@", secret: "@SECRET@") { ok } }\n'),
    "value before name": _form("k.txt", "@ID@  # access key id\n@SECRET@  # secret access key\n"),
}  # fmt: skip


def far(m: Maker, p: Pair) -> str:
    """An id and its secret at two ends of a long file."""
    return f"aws_access_key_id: {p.id}\n{m.prose(m.random.randrange(200, 900))}\naws_secret_access_key: {p.secret}\n"


def far_before(m: Maker, p: Pair) -> str:
    return f"AWS_SECRET_ACCESS_KEY = '{p.secret}'\n{m.prose(m.random.randrange(50, 400))}\nclient('{p.id}')\n"


# --- concatenations ----------------------------------------------------------------------------------------------


def _joined(
    join: str, quote: str = '"', template: str = "id = {}\nsecret = {}\n"
) -> Callable[[Maker, Pair], str]:
    def write(m: Maker, p: Pair) -> str:
        both = [m.cut(value, m.random.randrange(2, 4)) for value in (p.id, p.secret)]
        return template.format(*(join.join(f"{quote}{piece}{quote}" for piece in pieces) for pieces in both))

    return write


CONCATENATIONS: dict[str, tuple[str, Callable[[Maker, Pair], str]]] = {
    "plus": ("a.js", _joined(" + ")),
    "plus, single quotes": ("a.js", _joined("+", "'", "var id={};var secret={};")),
    "plus over lines": ("A.java", _joined("\n        + ", '"', "String accessKey = {};\nString secretKey = {};\n")),
    "plus at the line's end": ("a.js", _joined(" +\n    ", "'", "const accessKeyId = {};\nconst secretAccessKey = {};\n")),
    "adjacent": ("a.py", _joined(" ", '"', "aws_access_key_id={}\naws_secret_access_key={}\n")),
    "adjacent over lines": ("a.py", _joined("\n    ", "'", "ID = (\n    {}\n)\nSECRET = (\n    {}\n)\n")),
    "adjacent, c": ("a.c", _joined("\n  ", '"', "const char *key = {};\nconst char *secret = {};\n")),
    "shell adjacent": ("a.sh", _joined("", '"', "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n")),
    "dot, php": ("a.php", _joined(" . ", "'", "$key = {};\n$secret = {};\n")),
    "dots, lua": ("a.lua", _joined(" .. ", '"', "local key = {}\nlocal secret = {}\n")),
    "ampersand, vb": ("a.vb", _joined(" & ", '"', "Dim key As String = {}\nDim secret As String = {}\n")),
    "ampersand over lines, vb": ("a.vb", _joined(" & _\n    ", '"', "key = {}\nsecret = {}\n")),
    "pipes, sql": ("a.sql", _joined(" || ", "'", "SELECT {} AS key_id, {} AS secret_key;\n")),
    "tilde, twig": ("a.twig", _joined(" ~ ", "'", "{{% set key = {} %}}\n{{% set secret = {} %}}\n")),
    "diamond, elixir": ("a.ex", _joined(" <> ", '"', "key = {}\nsecret = {}\n")),
    "caret, ocaml": ("a.ml", _joined(" ^ ", '"', "let key = {}\nlet secret = {}\n")),
    "double plus, haskell": ("A.hs", _joined(" ++ ", '"', "key = {}\nsecret = {}\n")),
    "stream, c++": ("a.cc", _joined(" << ", '"', "key << {};\nsecret << {};\n")),
    "join, python": ("a.py", _joined(", ", '"', 'key = "".join([{}])\nsecret = "".join([{}])\n')),
    "join, javascript": ("a.js", _joined(",", "'", "const key=[{}].join('');\nconst secret=[{}].join('');\n")),
    "join, go": ("a.go", _joined(", ", '"', 'key := strings.Join([]string{{{}}}, "")\nsecret := strings.Join([]string{{{}}}, "")\n')),
    "concat, sql": ("a.sql", _joined(", ", "'", "SET @key = CONCAT({});\nSET @secret = CONCAT({});\n")),
    "concat, java": ("A.java", _joined(").concat(", '"', "String key = ({});\nString secret = ({});\n")),
    "append, java": ("A.java", _joined(").append(", '"', "key = new StringBuilder().append({}).toString();\nsecret = new StringBuilder().append({}).toString();\n")),
    "paste0, r": ("a.R", _joined(", ", '"', "key <- paste0({})\nsecret <- paste0({})\n")),
    "Fn::Join": ("t.yml", _joined(", ", '"', 'Key: !Join ["", [{}]]\nSecret: !Join ["", [{}]]\n')),
    "Fn::Join, json": ("t.json", _joined(", ", '"', '{{"AccessKey": {{"Fn::Join": ["", [{}]]}}, "SecretKey": {{"Fn::Join": ["", [{}]]}}}}\n')),
    "sprintf": ("a.go", _joined(", ", '"', 'key := fmt.Sprintf("%s%s", {})\nsecret := fmt.Sprintf("%s%s", {})\n')),
    "format": ("a.py", _joined(", ", '"', 'key = "{{}}{{}}".format({})\nsecret = "{{}}{{}}".format({})\n')),
    "percent": ("a.py", _joined(", ", '"', 'key = "%s%s" % ({})\nsecret = "%s%s" % ({})\n')),
    "backslash": ("a.py", _joined(" + \\\n    ", '"', "key = {}\nsecret = {}\n")),
    "with comments": ("a.js", _joined(" + // more\n  ", '"', "key = {};\nsecret = {};\n")),
    "with block comments": ("a.js", _joined(" /* x */ + ", '"', "key = {};\nsecret = {};\n")),
    "backticks": ("a.js", _joined(" + ", "`", "key = {};\nsecret = {};\n")),
    "in parentheses": ("a.js", _joined(") + (", '"', "key = ({});\nsecret = ({});\n")),
    "template literals": ("a.js", _joined("}${", '"', "key = `${{{}}}`;\nsecret = `${{{}}}`;\n")),
    "f-strings": ("a.py", _joined("}{", "'", 'key = f"{{{}}}"\nsecret = f"{{{}}}"\n')),
    "array, php implode": ("a.php", _joined(", ", "'", "$key = implode('', [{}]);\n$secret = implode('', [{}]);\n")),
    "string.Concat": ("A.cs", _joined(", ", '"', "var key = string.Concat({});\nvar secret = string.Concat({});\n")),
    "plus, escaped in json": ("n.ipynb", lambda m, p: json.dumps({"source": _joined(" + ")(m, p)})),
}  # fmt: skip


def _characters(quote: str, between: str) -> Callable[[Maker, Pair], str]:
    def write(_m: Maker, p: Pair) -> str:
        key, secret = (between.join(f"{quote}{c}{quote}" for c in value) for value in (p.id, p.secret))
        return f"char key[] = {{{key}}};\nchar secret[] = {{{secret}}};\n"

    return write


def _plus_equals(operator: str, dollar: str = "", end: str = ";") -> Callable[[Maker, Pair], str]:
    def write(m: Maker, p: Pair) -> str:
        lines = []
        for name, value in (("key", p.id), ("secret", p.secret)):
            first, *rest = m.cut(value, 3)
            lines.append(f'{dollar}{name} = "{first}"{end}')
            lines += [f'{dollar}{name} {operator} "{piece}"{end}' for piece in rest]
        return "\n".join(lines) + "\n"

    return write


def _variables(template: str) -> Callable[[Maker, Pair], str]:
    def write(m: Maker, p: Pair) -> str:
        a, b = m.cut(p.id, 2)
        c, d = m.cut(p.secret, 2)
        return template.replace("@A@", a).replace("@B@", b).replace("@C@", c).replace("@D@", d)

    return write


CONCATENATIONS |= {
    "characters": ("a.c", _characters("'", ", ")),
    "characters, double quotes": ("a.js", _characters('"', ",")),
    "plus equals": ("a.js", _plus_equals("+=")),
    "plus equals, python": ("a.py", _plus_equals("+=", end="")),
    "dot equals": ("a.php", _plus_equals(".=", "$")),
    "line continuation, shell": ("a.sh", lambda m, p: "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\n".format(*("\\\n".join(m.cut(v, 2)) for v in (p.id, p.secret)))),
    "line continuation, properties": ("a.properties", lambda m, p: "aws.accessKeyId={}\naws.secretKey={}\n".format(*("\\\n    ".join(m.cut(v, 2)) for v in (p.id, p.secret)))),
    "line continuation, c": ("a.c", lambda m, p: 'char *key = "{}";\nchar *secret = "{}";\n'.format(*("\\\n".join(m.cut(v, 2)) for v in (p.id, p.secret)))),
    "variables, python": ("a.py", _variables('a = "@A@"\nb = "@B@"\nc = "@C@"\nd = "@D@"\naccess_key = a + b\nsecret_key = c + d\n')),
    "variables, f-string": ("a.py", _variables('k1 = "@A@"\nk2 = "@B@"\ns1 = "@C@"\ns2 = "@D@"\naccess_key = f"{k1}{k2}"\nsecret_key = f"{s1}{s2}"\n')),
    "variables, shell": ("a.sh", _variables('K1=@A@\nK2=@B@\nS1="@C@"\nS2="@D@"\nexport AWS_ACCESS_KEY_ID="${K1}${K2}"\nexport AWS_SECRET_ACCESS_KEY="$S1$S2"\n')),
    "variables, javascript": ("a.js", _variables("const p = '@A@', q = '@B@';\nconst r = '@C@', s = '@D@';\nclient({accessKeyId: `${p}${q}`, secretAccessKey: r + s});\n")),
    "variable and literal": ("a.py", _variables('PREFIX = "@A@"\nTAIL = "@D@"\naccess_key = PREFIX + "@B@"\nsecret_key = "@C@" + TAIL\n')),
    "variables, php": ("a.php", _variables('$a = "@A@"; $b = "@B@";\n$c = "@C@"; $d = "@D@";\n$key = $a . $b;\n$secret = $c . $d;\n')),
    "variables, terraform": ("a.tf", _variables('locals {\n  a = "@A@"\n  b = "@B@"\n  c = "@C@"\n  d = "@D@"\n}\nprovider "aws" {\n  access_key = "${local.a}${local.b}"\n  secret_key = "${local.c}${local.d}"\n}\n')),
    "self assignment": ("a.py", _variables('key = "@A@"\nkey = key + "@B@"\nsecret = "@C@"\nsecret = secret + "@D@"\n')),
    "shell appended": ("a.sh", _variables('KEY="@A@"\nKEY="${KEY}@B@"\nSECRET="@C@"\nSECRET="${SECRET}@D@"\n')),
    "only the secret": ("a.py", _variables('key = "@A@@B@"\nsecret = "@C@" + "@D@"\n')),
    "only the id": ("a.py", _variables('key = "@A@" + "@B@"\nsecret = "@C@@D@"\n')),
}  # fmt: skip


# --- spellings ---------------------------------------------------------------------------------------------------


def b64(data: bytes) -> bytes:
    return base64.b64encode(data)


def wrapped(data: bytes, width: int = 76, indent: str = "") -> bytes:
    text = base64.b64encode(data).decode()
    return "\n".join(indent + text[n : n + width] for n in range(0, len(text), width)).encode() + b"\n"


def _dump(data: bytes) -> bytes:
    lines = []
    for n in range(0, len(data), 16):
        row = data[n : n + 16]
        pairs = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        lines.append(f"{n:08x}: {pairs:<40} {''.join(chr(c) if 32 <= c < 127 else '.' for c in row)}")
    return "\n".join(lines).encode() + b"\n"


def _canonical_dump(data: bytes) -> bytes:
    lines = []
    for n in range(0, len(data), 16):
        row = data[n : n + 16]
        pairs = "  ".join(" ".join(f"{c:02x}" for c in row[i : i + 8]) for i in (0, 8))
        lines.append(f"{n:08x}  {pairs:<48}  |{''.join(chr(c) if 32 <= c < 127 else '.' for c in row)}|")
    return "\n".join(lines).encode() + b"\n"


SPELLINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "base64": b64,
    "base64 in json": lambda d: b'{"ok": true, "data": "' + b64(d) + b'"}\n',
    "base64 in yaml": lambda d: b"kind: Secret\ndata:\n  credentials: " + b64(d) + b"\ntype: Opaque\n",
    "base64 wrapped": wrapped,
    "base64 wrapped at 64": lambda d: b"-----BEGIN X-----\n" + wrapped(d, 64) + b"-----END X-----\n",
    "base64 wrapped in yaml": lambda d: b"data:\n  f: |\n" + wrapped(d, 60, "    ") + b"type: Opaque\n",
    "base64 wrapped in json": lambda d: json.dumps({"content": wrapped(d, 60).decode(), "encoding": "base64"}).encode(),
    "base64 wrapped, crlf mail": lambda d: b"Content-Transfer-Encoding: base64\r\n\r\n" + wrapped(b"Hello\n" + d).replace(b"\n", b"\r\n"),
    "base64 url-safe": lambda d: b"state=" + base64.urlsafe_b64encode(d).rstrip(b"=") + b"&x=1\n",
    "base64 shell": lambda d: b"echo " + b64(d) + b" | base64 -d > ~/.aws/credentials\n",
    "base64 data url": lambda d: b'<a href="data:text/plain;base64,' + b64(d) + b'">x</a>\n',
    "base64 concatenated": lambda d: b"x = (\n" + b"".join(b'    "' + row + b'"\n' for row in wrapped(d, 60).splitlines()) + b")\n",
    "base64 twice": lambda d: b64(b64(d)) + b"\n",
    "base64 twice in yaml": lambda d: b"data:\n  release: " + b64(b64(d)) + b"\n",
    "base64 twice, wrapped inside": lambda d: b64(wrapped(d)) + b"\n",
    "base64 twice, wrapped outside": lambda d: wrapped(b64(d)),
    "base64 of UTF-16": lambda d: b"powershell -EncodedCommand " + b64(d.decode("latin-1").encode("utf-16-le")) + b"\n",
    "hex": lambda d: d.hex().encode() + b"\n",
    "hex, capitals": lambda d: b"blob=0x" + d.hex().upper().encode() + b"\n",
    "hex with blanks": lambda d: d.hex(" ").encode() + b"\n",
    "hex with colons": lambda d: d.hex(":").encode() + b"\n",
    "hex bytes in code": lambda d: b"unsigned char x[] = {\n" + b"\n".join(b"  " + b"".join(b"0x%02x, " % c for c in d[n : n + 12]).rstrip() for n in range(0, len(d), 12)) + b"\n};\n",
    "hex, postgres": lambda d: b"INSERT INTO f VALUES ('\\\\x" + d.hex().encode() + b"');\n",
    "xxd": _dump,
    "hexdump": _canonical_dump,
    "base64 of hex": lambda d: b64(d.hex().encode()),
    "hex of base64": lambda d: b64(d).hex().encode(),
    "escapes": lambda d: b'x = "' + b"".join(b"\\x%02x" % c for c in d) + b'"\n',
    "unicode escapes": lambda d: b'{"x": "' + b"".join(b"\\u%04x" % c for c in d) + b'"}\n',
    "unicode escapes, capitals": lambda d: b'x = "' + b"".join(b"\\u%04X" % c for c in d) + b'"\n',
    "octal": lambda d: b"printf '" + b"".join(b"\\%03o" % c for c in d) + b"'\n",
    "url": lambda d: b"GET /?d=" + urllib.parse.quote(d, safe="").encode() + b" HTTP/1.1\r\n",
    "url, every byte": lambda d: b"d=" + b"".join(b"%%%02X" % c for c in d) + b"\n",
    "url twice": lambda d: b"d=" + urllib.parse.quote(urllib.parse.quote(d, safe=""), safe="").encode() + b"\n",
    "html": lambda d: b"<pre>" + html.escape(d.decode("latin-1")).replace("/", "&#x2F;").replace("+", "&#43;").encode("latin-1") + b"</pre>\n",
    "html decimal": lambda d: b"<p>" + b"".join(b"&#%d;" % c for c in d) + b"</p>\n",
    "html hex": lambda d: b"<p>" + b"".join(b"&#x%x;" % c for c in d) + b"</p>\n",
    "quoted-printable": lambda d: b"Content-Transfer-Encoding: quoted-printable\n\n" + quopri.encodestring(b"x" * 40 + d),
    "UTF-16 with mark": lambda d: d.decode("latin-1").encode("utf-16"),
    "UTF-16LE": lambda d: d.decode("latin-1").encode("utf-16-le"),
    "UTF-16BE": lambda d: d.decode("latin-1").encode("utf-16-be"),
    "UTF-16BE with mark": lambda d: b"\xfe\xff" + d.decode("latin-1").encode("utf-16-be"),
    "UTF-16 with other scripts": lambda d: ("# Здравствуй, мир\n" + d.decode("latin-1") + "# 世界\n").encode("utf-16-le"),
    "UTF-32": lambda d: d.decode("latin-1").encode("utf-32-le"),
    "NUL-separated": lambda d: b"\0".join(bytes([c]) for c in d),
    "UTF-8 with mark": lambda d: b"\xef\xbb\xbf" + d,
    "json string": lambda d: json.dumps({"file": d.decode("latin-1")}).encode(),
    "json string twice": lambda d: json.dumps({"body": json.dumps({"file": d.decode("latin-1")})}).encode(),
    "decimal codes": lambda d: b"x = [" + ", ".join(str(c) for c in d).encode() + b"]\n",
    "pickle": lambda d: pickle.dumps({"file": d.decode("latin-1")}),
    "among binary": lambda d: bytes(range(256)) + d + bytes(range(255, -1, -1)),
}  # fmt: skip

_TEXT_FORMS: Final = (
    "dotenv",
    "credentials file",
    "json",
    "yaml",
    "python",
    "create-access-key",
    "iam user csv",
    "terraform",
    "shell one line",
    "mail",
    "properties",
    "java",
)


# --- both halves on their own ------------------------------------------------------------------------------------


def _kubernetes(m: Maker, p: Pair) -> str:
    return (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: aws\n  uid: " + m.uuid() + "\ndata:\n"
        f"  AWS_ACCESS_KEY_ID: {b64(p.id.encode()).decode()}\n"
        f"  AWS_SECRET_ACCESS_KEY: {b64(p.secret.encode()).decode()}\ntype: Opaque\n"
    )


SEPARATE: Final[dict[str, tuple[str, Callable[[Maker, Pair], str]]]] = {
    "kubernetes secret": ("secret.yaml", _kubernetes),
    "kubernetes secret with newlines": ("s.yaml", lambda _m, p: f"data:\n  access-key: {b64((p.id + chr(10)).encode()).decode()}\n  secret-key: {b64((p.secret + chr(10)).encode()).decode()}\n"),
    "kubernetes secret, json": ("s.json", lambda _m, p: json.dumps({"kind": "Secret", "data": {"secretkey": b64(p.secret.encode()).decode(), "accesskey": b64(p.id.encode()).decode()}})),
    "kubernetes secret twice": ("s.yaml", lambda _m, p: f"data:\n  access-key: {b64(b64(p.id.encode())).decode()}\n  secret-key: {b64(b64(p.secret.encode())).decode()}\n"),
    "secret in base64": ("a.py", lambda _m, p: f"KEY = '{p.id}'\nSECRET = base64.b64decode('{b64(p.secret.encode()).decode()}')\n"),
    "id in base64": ("a.py", lambda _m, p: f"KEY = b64decode('{b64(p.id.encode()).decode()}')\nSECRET = '{p.secret}'\n"),
    "secret in hex": ("a.py", lambda _m, p: f"KEY = '{p.id}'\nSECRET = bytes.fromhex('{p.secret.encode().hex()}')\n"),
    "both in hex": ("a.py", lambda _m, p: f"KEY = '{p.id.encode().hex()}'\nSECRET = '{p.secret.encode().hex()}'\n"),
    "both in decimal": ("a.js", lambda _m, p: f"key = String.fromCharCode({','.join(str(ord(c)) for c in p.id)});\nsecret = String.fromCharCode({','.join(str(ord(c)) for c in p.secret)});\n"),
    "both in escapes": ("a.js", lambda _m, p: 'key = "{}";\nsecret = "{}";\n'.format(*("".join(f"\\x{ord(c):02x}" for c in v) for v in (p.id, p.secret)))),
    "both in unicode escapes": ("a.js", lambda _m, p: 'key = "{}";\nsecret = "{}";\n'.format(*("".join(f"\\u{ord(c):04x}" for c in v) for v in (p.id, p.secret)))),
    "secret in url encoding": ("u.txt", lambda _m, p: f"key={p.id}&secret={urllib.parse.quote(p.secret, safe='')}&x=1\n"),
    "url with userinfo": ("u.txt", lambda _m, p: f"s3://{p.id}:{urllib.parse.quote(p.secret, safe='')}@bucket\n"),
    "celery": ("u.py", lambda _m, p: f"BROKER_URL = 'sqs://{p.id}:{urllib.parse.quote(p.secret, safe='')}@'\n"),
    "basic authorization": ("r.http", lambda _m, p: f"Authorization: Basic {b64(f'{p.id}:{p.secret}'.encode()).decode()}\n"),
    "user data": ("t.json", lambda _m, p: json.dumps({"UserData": b64(f"#!/bin/bash\nexport AWS_ACCESS_KEY_ID={p.id}\nexport AWS_SECRET_ACCESS_KEY={p.secret}\n".encode()).decode()})),
    "slashes in unicode escapes": ("j.json", lambda _m, p: json.dumps({"AccessKeyId": p.id, "SecretAccessKey": p.secret}).replace("/", "\\u002f").replace("+", "\\u002B")),
    "split over lines": ("w.txt", lambda m, p: "access key id: {}\nsecret access key: {}\n".format(*("\n".join(m.cut(v, 2)) for v in (p.id, p.secret)))),
    "split over indented lines": ("w.txt", lambda m, p: "secret access key:\n    {}\naccess key id:\n    {}\n".format(*("\n    ".join(m.cut(v, 2)) for v in (p.secret, p.id)))),
    "docker auth": ("c.json", lambda _m, p: json.dumps({"auths": {"s3": {"auth": b64(f"{p.id}:{p.secret}".encode()).decode()}}})),
    "soft breaks": ("m.eml", lambda _m, p: f"Content-Transfer-Encoding: quoted-printable\n\naws_access_key_id=3D{p.id[:9]}=\n{p.id[9:]}\naws_secret_access_key=3D{p.secret[:17]}=\n{p.secret[17:]}\n"),
    "soft break in the prefix": ("m.eml", lambda _m, p: f"aws_access_key_id=3D{p.id[:2]}=\r\n{p.id[2:]}\r\naws_secret_access_key=3D{p.secret}\r\n"),
}  # fmt: skip


def _in_base64_at(step: int) -> Callable[[Maker, Pair], bytes]:
    return lambda _m, p: b64(
        b"x" * step + f"AWS_ACCESS_KEY_ID={p.id}\nAWS_SECRET_ACCESS_KEY={p.secret}\n".encode()
    )


# --- several pairs -----------------------------------------------------------------------------------------------


def _profiles(_m: Maker, pairs: list[Pair]) -> str:
    return "\n".join(
        f"[p{n}]\naws_access_key_id = {p.id}\naws_secret_access_key = {p.secret}\nregion = us-east-{n}\n"
        for n, p in enumerate(pairs)
    )


SEVERAL: Final[dict[str, Callable[[Maker, list[Pair]], str]]] = {
    "profiles": _profiles,
    "profiles, secret first": lambda _m, ps: "\n".join(f"[p{n}]\naws_secret_access_key = {p.secret}\naws_access_key_id = {p.id}" for n, p in enumerate(ps)),
    "flat": lambda _m, ps: "".join(f"AWS_ACCESS_KEY_ID_{n}={p.id}\nAWS_SECRET_ACCESS_KEY_{n}={p.secret}\n" for n, p in enumerate(ps)),
    "flat, secret first": lambda _m, ps: "".join(f"SECRET={p.secret}\nKEY={p.id}\n" for p in ps),
    "all ids, then all secrets": lambda _m, ps: "".join(f"P{n}_AWS_ACCESS_KEY_ID={p.id}\n" for n, p in enumerate(ps)) + "".join(f"P{n}_AWS_SECRET_ACCESS_KEY={p.secret}\n" for n, p in enumerate(ps)),
    "all ids, then all secrets, no names": lambda _m, ps: "ids:\n" + "".join(f"  - {p.id}\n" for p in ps) + "secret_keys:\n" + "".join(f"  - {p.secret}\n" for p in ps),
    "by environment, out of order": lambda _m, ps: "".join(f"{n}_AWS_ACCESS_KEY_ID={p.id}\n" for n, p in zip(("dev", "stage", "prod", "test"), ps, strict=False)) + "".join(f"{n}_AWS_SECRET_ACCESS_KEY={p.secret}\n" for n, p in reversed(list(zip(("dev", "stage", "prod", "test"), ps, strict=False)))),
    "csv": lambda _m, ps: "User name,Access key ID,Secret access key\n" + "".join(f"u{n},{p.id},{p.secret}\n" for n, p in enumerate(ps)),
    "csv, secret first": lambda _m, ps: "secret_access_key,access_key_id,user\n" + "".join(f"{p.secret},{p.id},u{n}\n" for n, p in enumerate(ps)),
    "json list": lambda _m, ps: json.dumps([{"AccessKeyId": p.id, "SecretAccessKey": p.secret} for p in ps], indent=2),
    "json list, minified, secret first": lambda _m, ps: json.dumps([{"secret": p.secret, "id": p.id} for p in ps], separators=(",", ":")),
    "tuples": lambda _m, ps: "KEYS = [\n" + "".join(f"    ('{p.id}', '{p.secret}'),\n" for p in ps) + "]\n",
    "map": lambda _m, ps: "{\n" + ",\n".join(f'  "{p.id}": "{p.secret}"' for p in ps) + "\n}\n",
    "terraform state": lambda _m, ps: json.dumps({"resources": [{"type": "aws_iam_access_key", "name": f"k{n}", "instances": [{"attributes": {"id": p.id, "secret": p.secret}}]} for n, p in enumerate(ps)]}, indent=2),
    "kubernetes": lambda m, ps: "---\n".join(_kubernetes(m, p) for p in ps),
}  # fmt: skip


# --- what is no pair ---------------------------------------------------------------------------------------------


def decoys(m: Maker) -> Iterator[tuple[str, str, str, list[str]]]:
    """Path, text, how, and the ids in it: nothing in these is a pair."""

    def sha1() -> str:
        return hashlib.sha1(m.random.randbytes(9), usedforsecurity=False).hexdigest()

    noise40 = m.secret
    i = [m.id() for _ in range(30)]
    yield "a.txt", f"key {i[0]}\ncommit {sha1()}\n", "sha-1 beside an id", [i[0]]
    yield "a.txt", f"AWS_ACCESS_KEY_ID={i[1]}\nAWS_SECRET_ACCESS_KEY={sha1()}\n", "sha-1 as a secret", [i[1]]
    yield "a.txt", f"{i[2]} {sha1().upper()}\n", "sha-1 in capitals", [i[2]]
    lock = "\n".join(f'"p{n}": {{"integrity": "sha512-{m.b64(64)}", "shasum": "{sha1()}"}}' for n in range(9))
    yield "package-lock.json", f'{{"id": "{i[3]}",\n{lock}}}\n', "integrity beside an id", [i[3]]
    yield "a.yml", f"id: {i[4]}\nrequest_id: {noise40()}\n", "request id", [i[4]]
    yield "a.yml", f"id: {i[5]}\nchecksum: {noise40()}\n", "checksum of 40 characters", [i[5]]
    yield (
        "a.yml",
        f"aws_access_key_id: {i[6]}\nnonce: {noise40()}\ncsrf_token: {noise40()}\netag: '{noise40()}'\n",
        "nonces",
        [i[6]],
    )
    yield "a.yml", f"aws_access_key_id: {i[7]}\nuuid: {m.uuid()}\n", "uuid", [i[7]]
    yield "a.html", f'<img src="data:image/png;base64,{m.b64(900)}"><p>{i[8]}</p>\n', "image", [i[8]]
    yield (
        "a.js",
        f'var k="{i[9]}";function getElementsByClassNameFromDocumentRoot12(a){{return a}}\n',
        "a long name",
        [i[9]],
    )
    yield "a.py", f'KEY = "{i[10]}"\nPATH = "com/example/project/module/ClassNameHere"\n', "a path", [i[10]]
    yield (
        "a.pem",
        f"{i[11]}\n-----BEGIN CERTIFICATE-----\n{textwrap.fill(m.b64(48 * 12 + 30), 64)}\n-----END CERTIFICATE-----\n",
        "certificate",
        [i[11]],
    )
    yield "a.pub", f"ssh-rsa {m.b64(270)} {i[12]}\n", "ssh key", [i[12]]
    yield (
        "a.log",
        f"X-Amz-Credential={i[13]}%2F20260309%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature={m.hex(32)}\n",
        "presigned url",
        [i[13]],
    )
    yield "a.log", f"Authorization: AWS {i[14]}:{m.b64(20)}\n", "signature of version 2", [i[14]]
    yield (
        "a.json",
        json.dumps(
            {
                "userIdentity": {"accessKeyId": i[15]},
                "requestID": m.uuid(),
                "additionalEventData": {"x-amz-id-2": m.b64(57)},
            }
        ),
        "cloudtrail",
        [i[15]],
    )
    yield (
        "a.py",
        'KEY = "AKIAIOSFODNN7EXAMPLE"\nSECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"\n',
        "documentation",
        ["AKIAIOSFODNN7EXAMPLE"],
    )
    yield (
        "a.py",
        'KEY = "AKIAI44QH8DHBEXAMPLE"\nSECRET = "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"\n',
        "documentation",
        [],
    )
    yield (
        "a.py",
        f'KEY = "AKIAXXXXXXXXXXXXXXXX"\nSECRET = "{"x" * 40}"\n',
        "placeholder",
        ["AKIAXXXXXXXXXXXXXXXX"],
    )
    yield "a.py", f'KEY = "{i[16]}"\nSECRET = "{"ABCDEFGHIJ" * 4}"\n', "placeholder secret", [i[16]]
    yield (
        "a.py",
        f'KEY = "{i[17]}"\nSECRET = "YourSecretAccessKeyGoesHere0123456789abc"\n',
        "placeholder secret",
        [i[17]],
    )
    yield (
        "a.py",
        f'KEY = "{i[18]}"\nSECRET = os.environ["AWS_SECRET_ACCESS_KEY"]\n',
        "from the environment",
        [i[18]],
    )
    yield (
        ".env",
        f"AWS_ACCESS_KEY_ID={i[19]}\nGITHUB_TOKEN=ghp_{''.join(m.random.choices(string.ascii_letters + string.digits, k=36))}\nSTRIPE_SECRET=sk_live_{m.hex(12)}\n",
        "other tokens",
        [i[19]],
    )
    alnum = "".join(m.random.choices(string.ascii_letters + string.digits, k=40))
    yield (
        ".env",
        f"AWS_ACCESS_KEY_ID={i[20]}\nCLOUDFLARE_API_TOKEN={alnum}\nDATADOG_APP_KEY={sha1()}\n",
        "other products' tokens",
        [i[20]],
    )
    yield (
        ".env",
        f"AWS_ACCESS_KEY_ID={i[21]}\nJWT_SECRET={alnum}\nSESSION_SECRET={noise40()}\n",
        "other products' secrets",
        [i[21]],
    )
    yield "a.txt", f"{'MKTAYIAKIAQRQISFVKSHFSRQ' * 20}\n", "protein", []
    yield "a.txt", "ASIA PACIFIC REGION\nCOLUMBIA\n" + m.b64(3000) + "\n", "nothing", []
    yield (
        "a.json",
        json.dumps({"id": i[22], "hash": m.b64(30), "cacheKey": m.b64(30), "build": alnum}),
        "hashes of 30 bytes",
        [i[22]],
    )
    yield (
        "a.txt",
        f"old id {i[23]} was deleted\n" + "\n".join(f"{sha1()} refs/heads/b{n}" for n in range(9)) + "\n",
        "refs",
        [i[23]],
    )
    yield "index.json", json.dumps({i[24]: {"sha": sha1(), "blob": m.b64(30)}}), "blob", [i[24]]
    yield (
        "a.py",
        f'KEY = "{i[25]}"\nSECRET = "{m.secret()[:39]}"\nOTHER = "{m.secret()}a"\n',
        "39 and 41 characters",
        [i[25]],
    )
    yield (
        "a.py",
        f'KEY = "{m.id()}A"\nX = "{m.id()[:19]}"\nsecret = "{m.secret()}"\n',
        "ids of 19 and 21 characters",
        [],
    )
    yield "a.py", f'KEY = "AKIA{m.hex(8).upper()[:15]}0"\nsecret_key = "{m.secret()}"\n', "no base32", []
    yield (
        "a.yml",
        f"aws_access_key_id: {i[26]}\n{m.prose(30)}\ntrace: {m.b64(30)}\nspan_id: {m.hex(8)}\n",
        "trace",
        [i[26]],
    )
    yield (
        "a.csv",
        f"access_key_id,request_id,sha\n{i[27]},{m.secret()},{sha1()}\n",
        "columns that are none",
        [i[27]],
    )
    yield (
        "s.json",
        json.dumps([{"AccessKeyId": x, "CreateDate": "2026", "Status": "Active"} for x in i[28:30]]),
        "list-access-keys",
        i[28:30],
    )


def planted(seed: int) -> list[Planted]:
    """Some five hundred files. The same seed makes the same files."""
    m = Maker(seed)
    found: list[Planted] = []

    def add(
        path: str, content: str | bytes, pairs: list[Pair], how: str, ids: list[str] | None = None
    ) -> None:
        data = content.encode() if isinstance(content, str) else content
        every = frozenset(ids if ids is not None else [p.id for p in pairs])
        found.append(
            Planted(f"{len(found):04}/{path}", data, every, frozenset((p.id, p.secret) for p in pairs), how)
        )

    for kind, forms in (("plain", FORMS), ("concatenation", CONCATENATIONS), ("separate", SEPARATE)):
        for how, (path, write) in forms.items():
            p = m.pair()
            add(path, write(m, p), [p], f"{kind}: {how}")
            p = m.pair()
            add(
                path, m.prose(20) + "\n" + write(m, p) + m.prose(20) + "\n", [p], f"{kind}, among text: {how}"
            )
    for how, spell in SPELLINGS.items():
        for form in m.random.sample(_TEXT_FORMS, 3):
            p = m.pair()
            path, write = FORMS[form]
            add(path, spell(write(m, p).encode()), [p], f"spelling: {how}: {form}")
    for step in range(3):
        p = m.pair()
        add("b.txt", _in_base64_at(step)(m, p), [p], "spelling: base64 alignment")
        p = m.pair()
        add("b.txt", b64(b"x" * step + _in_base64_at(step)(m, p)), [p], "spelling: base64 twice alignment")
    for how, several in SEVERAL.items():
        pairs = [m.pair() for _ in range(m.random.randrange(2, 5))]
        add("several.txt", several(m, pairs), pairs, f"several: {how}")
    for how, write_far in (("far", far), ("far, secret first", far_before)):
        p = m.pair()
        add("far.txt", write_far(m, p), [p], f"far apart: {how}")
    for path, text, how, ids in decoys(m):
        add(path, text, [], f"decoy: {how}", ids)
    return found


def as_stream(files: list[Planted]) -> bytes:
    """All contents in one, for a look at a whole."""
    out = io.BytesIO()
    for one in files:
        out.write(one.content + b"\n")
    return out.getvalue()
