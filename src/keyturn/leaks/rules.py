"""What an access key id and a secret look like, and what only looks like one.

Pure judgements on short byte strings; each floor loses fewer than one real key in ten thousand (the tests count).
Where ids and secrets are looked for is `detector`'s, which belongs to which is `pairing`'s.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from itertools import pairwise
from typing import Final

from keyturn.leaks.findings import Verdict

# Credentials: AKIA long-lived, ASIA of a session (worth something for hours, with its token), ABIA a service's
# bearer token, ACCA context-specific. AIDA, AROA, ASCA and the like name things that sign nothing.
_ID_BODY: Final = rb"(?:A[KSB]IA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"
# To the left a letter or digit may stand if it ends an escape: `\n`, `%3D`, `\u0022`, `=3D`, a colour's `m`.
_ID_LEFT: Final = (
    rb"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=[%=][0-9A-Fa-f]{2})|(?<=\\x[0-9A-Fa-f]{2})"
    rb"|(?<=\\u00[0-9A-Fa-f]{2})|(?<=\x1b\[[0-9]m)|(?<=\x1b\[[0-9]{2}m))"
)
ID: Final = re.compile(_ID_LEFT + _ID_BODY)

# Not `\b`: six of a hundred secrets begin or end with + or /. To the left `=` is an assignment; to the right it
# would be base64's padding.
SECRET: Final = re.compile(
    rb"(?:(?<![A-Za-z0-9+/%\\])|(?<=\\[nrtbf])|(?<=[%=][0-9A-Fa-f]{2})(?<![%=]2[BbFf])"
    rb"|(?<=\\u00[0-9A-Fa-f]{2})(?<!\\u002[BbFf])|(?<=\x1b\[[0-9]m)|(?<=\x1b\[[0-9]{2}m))"
    rb"[A-Za-z0-9+/]{40}"
    rb"(?![A-Za-z0-9+/=]|%2[BbFf]|%3[Dd]|\\{1,3}/|\\{1,3}u00(?:2[BbFf]|3[Dd])|&#(?:43|47|61|[xX]2[BbFf]|[xX]3[Dd]);)"
)

ALLOW_COMMENT: Final = re.compile(
    rb"keyturn:allow|gitleaks:allow|pragma: ?(?:allowlist|whitelist) secret", re.IGNORECASE
)

_ID_ENTROPY: Final = 2.3
"""Bits a character of the 16. Of 400,000 random ones two lie below 2.52."""
_SECRET_ENTROPY: Final = 4.0
"""Of 200,000 random ones one lies below 4.16."""
_RUN: Final = 6
"""Six equal characters, or six in the order of the alphabet, in an id: fewer than one in a million by chance."""

# Secrets and ids that documentation prints. All of Amazon's hold the word EXAMPLE; these are further ones.
_DOCUMENTED: Final = frozenset({b"AKIAI44QH8DHBEXAMPLE", b"AKIAIOSFODNN7EXAMPLE", b"ASIAIOSFODNN7EXAMPLE"})
_ID_WORDS: Final = re.compile(
    rb"PLACEHOLDER|YOUR(?:ACCESS|AWS|KEY|OWN)|MYACCESS|ACCESSKEY|SECRETKEY|AWSKEY|CHANGEME|REDACTED|REPLACE|INVALID"
    rb"|DUMMY|SAMPLE|INSERT|NOTREAL|NOTAREAL|FAKE|TESTKEY|TESTING|TESTTEST|KEYID|UNKNOWN|FOOBAR|DEADBEEF|MOCK(?:ED|KEY)"
)
_SECRET_WORDS: Final = re.compile(
    rb"placeholder|changeme|redacted|your(?:secret|access|aws|key)|secret(?:access)?key|accesskey|notreal|dummy|foobar|deadbeef",
    re.IGNORECASE,
)
_EXAMPLE: Final = re.compile(rb"EXAMPLE", re.IGNORECASE)

# Pairs of letters that English, and so the names in a program, is made of. Among 40 random characters 1.5 of them
# stand on average; 12 once in 200,000.
_LETTER_PAIRS: Final = frozenset(
    b"th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro"
    b" ic ne ea ra ce li ch ll be ma si om ur ss ec ct na ta la el us di ut ni pr ge il em ac id ad et tr lo ol po ho"
    b" up ke ey un am im pe op sh ie ee ot".split()
)
_MOST_LETTER_PAIRS: Final = 11
_HEX: Final = re.compile(rb"(?:[0-9a-f]+|[0-9A-F]+)\Z")
_SAME_KIND: Final = re.compile(rb"[a-z]+|[A-Z]+|[0-9]+")


def judge_id(access_key_id: bytes) -> Verdict:
    """DOCUMENTATION or PLACEHOLDER for what can be told from the id itself, else UNVERIFIED."""
    body = access_key_id[4:]
    if access_key_id in _DOCUMENTED or b"EXAMPLE" in body:
        return Verdict.DOCUMENTATION
    if entropy(body) < _ID_ENTROPY or _ID_WORDS.search(body) or has_run(body, _RUN) or body[:8] == body[8:]:
        return Verdict.PLACEHOLDER
    return Verdict.UNVERIFIED


def is_example_secret(secret: bytes) -> bool:
    """Whether 40 characters of a secret's alphabet are documentation's, or a placeholder."""
    return bool(
        _EXAMPLE.search(secret)
        or _SECRET_WORDS.search(secret)
        or secret.startswith(b"wJalrXUtnFEMI")
        or has_run(secret, _RUN)
    )


def may_be_secret(text: bytes) -> bool:
    """Whether 40 characters of a secret's alphabet may be one: no hash in hex, no name, no path, no pattern."""
    if _HEX.match(text) or entropy(text) < _SECRET_ENTROPY:
        return False
    kinds = {96 < c < 123 for c in text if c > 64} | {2 for c in text if c < 65}
    if not {True, False} <= kinds:
        return False  # without a small or without a capital letter: one in a billion
    return not reads_as_words(text)


def reads_as_words(text: bytes) -> bool:
    """Whether it is a name or a path rather than random: pairs of letters as English has them."""
    pairs = (
        text[n : n + 2].lower()
        for n in range(len(text) - 1)
        if 96 < text[n + 1] < 123 and (64 < text[n] < 91 or 96 < text[n] < 123)
    )
    return sum(pair in _LETTER_PAIRS for pair in pairs) > _MOST_LETTER_PAIRS


def entropy(text: bytes) -> float:
    """Shannon's, in bits a character."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())


def has_run(text: bytes, length: int) -> bool:
    """Whether so many characters in a row are equal, or follow each other in the alphabet, up or down."""
    same = up = down = 1
    for before, after in pairwise(text):
        same = same + 1 if after == before else 1
        up = up + 1 if after == before + 1 else 1
        down = down + 1 if after == before - 1 else 1
        if max(same, up, down) >= length:
            return True
    return False


def allows(line: bytes) -> bool:
    """Whether a comment on the line says that what stands there may."""
    return ALLOW_COMMENT.search(line) is not None


class Label(IntEnum):
    """What the name before a value says of it, from least to most."""

    OTHER = 0
    """It names something that is no secret access key: a hash, a token, another product's secret."""
    UNKNOWN = 1
    """A name that tells nothing."""
    BARE = 2
    """No name at all."""
    PASSWORD = 3
    SECRET = 4
    ACCESS_SECRET = 5
    """`aws_secret_access_key`, `SecretAccessKey` and their like."""


_WORD: Final = re.compile(rb"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_HASHES: Final = frozenset(
    b"sha sha1 sha256 sha512 sha384 hash hashes md5 digest checksum integrity fingerprint etag crc commit rev revision"
    b" oid nonce signature sig uuid guid salt iv arn version sum thumbprint hmac".split()
)
_OTHERS: Final = frozenset(
    b"token jwt bearer session cookie csrf xsrf client consumer app application webhook oauth github gitlab google"
    b" gcp azure slack stripe twilio django flask rails laravel facebook twitter sendgrid datadog cloudflare heroku"
    b" npm pypi docker database db mysql postgres postgresql redis mongo mongodb rabbitmq jenkins encryption signing"
    b" cipher crypt recaptcha captcha sentry algolia mailgun okta auth0 keycloak ldap kafka tree blob parent ref cache"
    b" cursor request trace span build image public certificate cert pem ssh".split()
)
_SECRETS: Final = frozenset(
    b"secret secrets secretkey secretaccesskey sec sak sk skey private priv sekret geheim geheimnis secrete secreta secreto segredo".split()
)
_PASSWORDS: Final = frozenset(b"password passwd passphrase pass pwd pw credential credentials creds".split())
_KEY_ALONE: Final = frozenset(b"key keys aws access s3 s my the iam amazon".split())
_ACCESS: Final = frozenset(
    b"aws access amazon amz iam s3 keyturn minio dynamodb dynamo sqs sns ses ec2 r2 spaces wasabi backblaze ceph rgw".split()
)


def words_of(name: bytes) -> list[bytes]:
    """`awsSecretAccessKey`, `AWS_SECRET_ACCESS_KEY` and `aws.secret-access-key` are the same four words."""
    return [word.lower() for word in _WORD.findall(name)]


def label_of(words: Iterable[bytes]) -> Label:
    """What a name made of these words says of the value that follows it."""
    have = set(words)
    joined = b"".join(words)
    secret = bool(have & _SECRETS) or b"secretkey" in joined or b"secretaccess" in joined
    if have & _HASHES:
        return Label.OTHER
    if secret:
        if have & _ACCESS or b"secretaccesskey" in joined or b"awssecret" in joined:
            return Label.ACCESS_SECRET
        return Label.OTHER if have & _OTHERS else Label.SECRET
    if have & _OTHERS:
        return Label.OTHER
    if have & _PASSWORDS or ({b"key", b"keys"} & have and have <= _KEY_ALONE):
        return Label.PASSWORD
    return Label.UNKNOWN
