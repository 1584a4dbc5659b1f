"""Rotates one profile for ever, until it is killed: FILE. The secret of a pair can be told from its id.

A line on stdout after each write.
"""

from __future__ import annotations

import hashlib
import secrets
import sys

from keyturn.model.access_keys import AccessKeyPair, AccountId, mint_access_key
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import Surroundings, WriteContext
from keyturn.rotation.sinks.registry import open_sink

sink = open_sink(
    "killed",
    {"type": "credentials_file", "profile": "ci", "path": sys.argv[1]},
    Surroundings({}, endpoint_url=None, region=None),
)
while True:
    access_key_id = mint_access_key(AccountId("123456789012"), secrets.token_bytes).access_key_id
    secret = hashlib.sha256(access_key_id.encode()).hexdigest()[:40].encode()
    context = WriteContext("rotation", "user", "key")
    sink.write(AccessKeyPair(access_key_id, Secret(secret)), expect=sink.read(), context=context)
    sys.stdout.write("written\n")
    sys.stdout.flush()
