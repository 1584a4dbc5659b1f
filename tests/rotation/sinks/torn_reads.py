"""Reading a sink as fast as possible while it is written: how often does a reader see half of one pair?"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from keyturn.model.access_keys import AccessKeyPair
from keyturn.rotation.sinks.interface import Sink
from rotation.sinks.sink_conformance import new_context, new_pair


@dataclass(frozen=True, slots=True)
class Seen:
    reads: int
    torn: int


def read_while_written(sink: Sink, reader: Sink, *, writes: int) -> Seen:
    """`reader` is another sink at the same place."""
    pairs = [new_pair() for _ in range(writes)]
    known = {pair.access_key_id: pair.secret for pair in pairs}
    sink.write(pairs[0], expect=sink.read(), context=new_context())
    over = threading.Event()
    seen: list[AccessKeyPair | None] = []

    def read() -> None:
        while not over.is_set():
            seen.append(reader.read().pair)

    thread = threading.Thread(target=read, name="reader")
    thread.start()
    try:
        for pair in pairs[1:]:
            sink.write(pair, expect=sink.read(), context=new_context())
    finally:
        over.set()
        thread.join(60)
    torn = sum(pair is None or known.get(pair.access_key_id) != pair.secret for pair in seen)
    return Seen(len(seen), torn)
