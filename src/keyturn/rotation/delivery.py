"""Sinks: each takes the new pair, or the old one back, step by step, and each step is kept before the next.

Snapshot, write, read back, reload. A sink that fails is noted and left for later: it does not hold up the others.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.rotation.endpoint import Endpoint, Proof
from keyturn.rotation.observation import Observer, short
from keyturn.rotation.plan import Facts
from keyturn.rotation.progress import Progress, SinkProgress, SinkStage
from keyturn.rotation.record import Record
from keyturn.rotation.sinks.interface import (
    Held,
    ReadBack,
    Sink,
    SinkChangedError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
    WriteContext,
)
from keyturn.rotation.storage.journal import NEW_PAIR, Rotation

_LONGEST_BACKOFF: Final = 300_000


class Delivery:
    """The hands of one engine that reach the sinks."""

    def __init__(
        self,
        record: Record,
        endpoint: Endpoint,
        observer: Observer,
        *,
        sinks: Callable[[str], Sink],
        boundary: Callable[[str], None],
    ) -> None:
        self._record = record
        self._endpoint = endpoint
        self._observer = observer
        self._sinks = sinks
        self._boundary = boundary

    def deliver(self, rotation: Rotation, name: str, facts: Facts) -> Rotation:
        """Snapshot, write, read back, reload; each kept before the next."""
        try:
            sink = self._sinks(name)
            rotation = self._deliver_to(rotation, sink)
        except (SinkError, KeyturnError) as error:
            rotation = self._sink_failed(rotation, name, error, facts)
        return rotation

    def _deliver_to(self, rotation: Rotation, sink: Sink) -> Rotation:
        progress = rotation.progress
        here = _sink(progress, sink.name)
        pair = self.new_pair(progress)
        if pair is None:
            raise SinkRefusedError("the new secret is not at hand any more, and no other sink shows it")
        traits = sink.describe()
        is_repeat = here.stage is SinkStage.WRITING
        if here.stage is SinkStage.PENDING:
            held = sink.read()
            if held.access_key_id not in {None, progress.old_key, progress.new_key}:
                raise SinkRefusedError(
                    f"it holds {held.access_key_id}, which is neither the old key nor the new one"
                )
            here = replace(
                here,
                stage=SinkStage.WRITING,
                version_before=held.version,
                had_key=held.access_key_id if held.access_key_id != progress.new_key else here.had_key,
                is_readable=traits.read_back is ReadBack.PAIR,
            )
            is_foreign = held.pair is not None and held.pair.access_key_id != progress.new_key
            rotation = self._record.keep(
                rotation,
                _with_sink(progress, here),
                "intent",
                f"write to {sink.name}",
                seal=(sink.name, held.pair) if held.pair is not None and is_foreign else None,
                boundary=f"kept:snapshot:{sink.name}",
            )
        if here.stage is SinkStage.WRITING:
            context = _context(progress, here, "out", is_repeat=is_repeat)
            before = Held(
                here.had_key,
                self._record.pair(progress, sink.name),
                here.version_before,
            )
            self._boundary(f"before:write:{sink.name}")
            sink.write(pair, expect=before, context=context)
            self._boundary(f"after:write:{sink.name}")
            if not sink.holds(pair, before=before):
                raise SinkUnavailableError("it says that it was written, and does not hold the new key")
            here = replace(here, stage=SinkStage.CONFIRMED, problem=None, attempts=0)
            text = f"{sink.name} holds {pair.access_key_id}"
            rotation = self._record.keep(rotation, _with_sink(rotation.progress, here), "outcome", text)
        self._boundary(f"before:reload:{sink.name}")
        sink.reload(_context(progress, here, "reload", is_repeat=False))
        self._boundary(f"after:reload:{sink.name}")
        here = replace(here, stage=SinkStage.RELOADED, problem=None, needs_someone=False)
        text = f"{sink.name}: consumers were told" if traits.has_reload else f"{sink.name} is done"
        return self._record.keep(rotation, _with_sink(rotation.progress, here), "outcome", text)

    def restore(self, rotation: Rotation, name: str, facts: Facts) -> Rotation:
        try:
            return self._restore_to(rotation, self._sinks(name))
        except (SinkError, KeyturnError) as error:
            return self._sink_failed(rotation, name, error, facts)

    def _restore_to(self, rotation: Rotation, sink: Sink) -> Rotation:
        progress = rotation.progress
        here = _sink(progress, sink.name)
        held = sink.read()
        old = self._old_pair(progress, sink.name)
        # By the pair and not by the id: a sink of two fields may hold the one of the old and the other of the new.
        is_old = held.access_key_id == progress.old_key if old is None else held.pair == old
        context = _context(progress, here, "back", is_repeat=here.attempts > 0)
        if not (here.is_readable and is_old):
            if old is None:
                raise SinkRefusedError(
                    "what it held before is not known here: it does not show its values, and no other sink does"
                )
            if self._endpoint.prove(old) is not Proof.ACCEPTED:
                raise SinkUnavailableError("the old pair is not accepted (yet): nothing was written back")
            if here.is_readable and held.access_key_id not in {progress.new_key, progress.old_key}:
                raise SinkChangedError(f"it holds {held.access_key_id}: somebody else has written it")
            if held.pair is not None and held.pair.access_key_id == progress.new_key:
                # Should the old key vanish on the way back, this is the way forward again.
                rotation = self._record.keep(
                    rotation,
                    progress,
                    "intent",
                    f"write the old key to {sink.name}",
                    seal=(NEW_PAIR, held.pair),
                )
            self._boundary(f"before:restore:{sink.name}")
            sink.write(old, expect=held, context=context)
            self._boundary(f"after:restore:{sink.name}")
            if not sink.holds(old, before=held):
                raise SinkUnavailableError("it says that it was written, and does not hold the old key")
        sink.reload(context)  # also on a repeat: the one before may have died in front of it
        here = replace(here, stage=SinkStage.RESTORED, problem=None, needs_someone=False)
        changed = replace(_with_sink(progress, here), stage_since=self._endpoint.now_ms())
        return self._record.keep(rotation, changed, "outcome", f"{sink.name} holds {progress.old_key} again")

    def _sink_failed(
        self, rotation: Rotation, name: str, error: SinkError | KeyturnError, facts: Facts
    ) -> Rotation:
        rotation = self._record.rotation(rotation.progress.rotation_id)  # as far as it got
        here = _sink(rotation.progress, name)
        backoff = min(1_000 * 2 ** min(here.attempts, 10), _LONGEST_BACKOFF)
        if isinstance(error, SinkUnavailableError) and error.retry_after is not None:
            backoff = max(backoff, int(error.retry_after * 1_000))
        here = replace(
            here,
            attempts=here.attempts + 1,
            problem=short(error),
            needs_someone=not isinstance(error, SinkUnavailableError),
            next_at=facts.now + backoff,
        )
        return self._record.keep(
            rotation, _with_sink(rotation.progress, here), "problem", f"{name}: {here.problem}"
        )

    def new_pair(self, progress: Progress) -> AccessKeyPair | None:
        """The new pair: sealed here until the last sink confirmed, and after that only where a sink shows it."""
        kept = self._record.pair(progress, NEW_PAIR)
        if kept is not None:
            return kept
        for sink in progress.sinks:
            held = self._observer.held(sink.name)
            if not isinstance(held, str) and held.pair and held.pair.access_key_id == progress.new_key:
                return held.pair
        return None

    def _old_pair(self, progress: Progress, name: str) -> AccessKeyPair | None:
        for holder in (name, *(sink.name for sink in progress.sinks)):
            pair = self._record.pair(progress, holder)
            if pair is not None and pair.access_key_id == progress.old_key:
                return pair
        return None


def _sink(progress: Progress, name: str) -> SinkProgress:
    return next(sink for sink in progress.sinks if sink.name == name)


def _with_sink(progress: Progress, changed: SinkProgress) -> Progress:
    sinks = tuple(changed if sink.name == changed.name else sink for sink in progress.sinks)
    return replace(progress, sinks=sinks)


def _context(progress: Progress, sink: SinkProgress, way: str, *, is_repeat: bool) -> WriteContext:
    """The same key for each repeat of one write, and another one for each write that follows another state."""
    words = f"{progress.rotation_id}/{sink.name}/{way}/{sink.had_key}/{sink.version_before}"
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, words))
    return WriteContext(progress.rotation_id, progress.user_name, key, is_repeat)
