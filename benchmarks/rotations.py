"""What a thousand rotations at once cost the engine, beside the same flow on DBOS, a durable-execution engine.

Both carry the same ten effects on the same kind of made-up world (create, prove, write three sinks, tell their
consumers, deactivate, delete), each kept durably in SQLite before and after. Figures are CPU microseconds an effect and
peak MiB above where it stood after a few rotations, medians over runs that take turns; what the made-up world itself costs is taken off. DBOS lives in `.venv-benchmarks`.
Exit code 1 if a target is missed.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ROTATIONS = 1_000
WARM_UP = 20
"""Rotations before the measured ones: what is loaded on first use is no cost of the thousandth."""
EFFECTS = 10
RUNS = 3
SINKS = ("a", "b", "c")
THREADS = 8
MUST = 0.333


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours() -> None:
    """The real engine, journal, sealing and locks; only the endpoint and the sinks are made up."""
    sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]
    import os

    from keyturn.rotation.engine import Ended, Engine
    from keyturn.rotation.plan import Health
    from keyturn.rotation.progress import Progress, SinkProgress, Terms
    from keyturn.rotation.state import open_state
    from keyturn.rotation.storage import journal
    from rotation.rotation_world import ACCOUNT, LIKE_OURS, HeldTime, MemorySink, World, WorldEndpoint

    clock = HeldTime()
    terms = Terms(quiet=1, sparse_quiet=1, keep_inactive=1, needs_adoption=False, may_delete=True)
    with tempfile.TemporaryDirectory() as directory:
        state = open_state(
            Path(directory, "state"), Path(directory, "keys"), clock=clock, random_bytes=os.urandom
        )
        worlds = []
        for number in range(WARM_UP + ROTATIONS):
            world = World(clock, traits=LIKE_OURS, seed=number)
            pair = world.make()
            worlds.append((world, {name: MemorySink(name, pair) for name in SINKS}, pair))

        def engine(number: int) -> Engine:
            world, sinks, _ = worlds[number]
            return Engine(
                state,
                WorldEndpoint(world),
                sinks=sinks.__getitem__,
                check=lambda _progress: Health.NONE,
                window=lambda progress, samples, consumers, now: 1,  # noqa: ARG005 - as it is called
            )

        def begin(number: int) -> None:
            sinks = tuple(SinkProgress(name) for name in SINKS)
            user = f"u{number}"
            progress = Progress(
                f"r{number}", ACCOUNT, user, worlds[number][2].access_key_id, clock.now, terms, sinks=sinks
            )
            worlds[number][0].users = {user}
            for key in worlds[number][0].keys:
                key.user = user
            with state.database.writing() as ledger:
                journal.add(ledger, progress, endpoint="", region="eu-west-1", profile="")

        def carry_out(pool: ThreadPoolExecutor, numbers: range) -> None:
            list(pool.map(begin, numbers))
            going = list(numbers)
            while going:
                ended = list(pool.map(lambda number: engine(number).advance(f"r{number}").ended, going))
                going = [number for number, end in zip(going, ended, strict=True) if end is Ended.WAITING]
                clock.pass_(10)

        with ThreadPoolExecutor(THREADS) as pool:
            carry_out(pool, range(WARM_UP))
            before_cpu, before_memory = time.process_time(), peak_mib()
            carry_out(pool, range(WARM_UP, WARM_UP + ROTATIONS))
        used = time.process_time() - before_cpu
        assert all(len(world.living("u" + str(number))) == 1 for number, (world, _, _) in enumerate(worlds))
        state.close()
    tell(used, peak_mib() - before_memory)


def world_alone() -> None:
    """The same effects on the same made-up world with no engine at all: what of `ours` is not the engine's."""
    sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]
    from keyturn.model.access_keys import AccessKeyStatus
    from keyturn.rotation.sinks.interface import WriteContext
    from rotation.rotation_world import LIKE_OURS, HeldTime, MemorySink, World, WorldEndpoint

    clock = HeldTime()
    worlds = []
    for number in range(WARM_UP + ROTATIONS):
        world = World(clock, traits=LIKE_OURS, seed=number)
        pair = world.make()
        worlds.append((world, {name: MemorySink(name, pair) for name in SINKS}, pair))
    context = WriteContext("r", "ci", "k")
    before_cpu, before_memory = 0.0, 0.0
    for number, (world, sinks, old) in enumerate(worlds):
        if number == WARM_UP:
            before_cpu, before_memory = time.process_time(), peak_mib()
        endpoint = WorldEndpoint(world)
        new = endpoint.create("ci", invocation_id=f"i{number}", rotation_id=f"r{number}")
        endpoint.prove(new)
        for sink in sinks.values():
            held = sink.read()
            sink.write(new, expect=held, context=context)
            assert sink.holds(new, before=held)
            sink.reload(context)
        endpoint.set_status("ci", old.access_key_id, AccessKeyStatus.INACTIVE)
        endpoint.delete("ci", old.access_key_id)
    tell(time.process_time() - before_cpu, peak_mib() - before_memory)


def theirs() -> None:
    """The same effects as steps of a workflow."""
    from dbos import DBOS, DBOSConfig  # type: ignore[import-not-found]  # lives in an environment of its own

    with tempfile.TemporaryDirectory() as directory:
        configuration: DBOSConfig = {
            "name": "rotations",
            "system_database_url": f"sqlite:///{directory}/dbos.sqlite",
            "log_level": "ERROR",
            "max_executor_threads": THREADS,
        }
        DBOS(config=configuration)

        @DBOS.step()  # type: ignore[untyped-decorator]  # as above
        def effect(name: str, user: str) -> str:
            return f"{name} {user}"

        @DBOS.workflow()  # type: ignore[untyped-decorator]  # as above
        def rotate(user: str) -> str:
            effect("create", user)
            effect("prove", user)
            for sink in SINKS:
                effect(f"write {sink}", user)
                effect(f"tell {sink}", user)
            effect("deactivate", user)
            effect("delete", user)
            return user

        DBOS.launch()
        for number in range(WARM_UP):
            rotate(f"w{number}")
        before_cpu, before_memory = time.process_time(), peak_mib()
        handles = [DBOS.start_workflow(rotate, f"u{number}") for number in range(ROTATIONS)]
        assert [handle.get_result() for handle in handles] == [f"u{number}" for number in range(ROTATIONS)]
        used = time.process_time() - before_cpu
        memory = peak_mib() - before_memory
        DBOS.destroy()
    tell(used, memory)


def tell(cpu_seconds: float, mib: float) -> None:
    print(json.dumps({"us": cpu_seconds * 1e6 / ROTATIONS / EFFECTS, "mib": mib}))


def measured(python: Path, which: str) -> dict[str, float]:
    answer = subprocess.run(
        [str(python), str(Path(__file__)), which], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str]) -> int:
    if "--ours" in arguments:
        ours()
        return 0
    if "--world" in arguments:
        world_alone()
        return 0
    if "--theirs" in arguments:
        theirs()
        return 0
    other = REPOSITORY / ".venv-benchmarks" / "bin" / "python"
    here = Path(sys.executable)
    runs = [
        (measured(here, "--ours"), measured(other, "--theirs"), measured(here, "--world"))
        for _ in range(RUNS)
    ]
    print(f"{ROTATIONS} rotations at once, {EFFECTS} effects each, medians of {RUNS} runs")
    print(f"{'':<22}{'CPU us an effect':>18}{'MiB above start':>18}")
    for name, index in (("keyturn and world", 0), ("the world alone", 2), ("DBOS", 1)):
        cpu = statistics.median(run[index]["us"] for run in runs)
        memory = statistics.median(run[index]["mib"] for run in runs)
        print(f"{name:<22}{cpu:>18.0f}{memory:>18.1f}")
    failed = 0
    for what, name in (("engine CPU an effect / DBOS", "us"), ("memory / DBOS", "mib")):
        ratio = statistics.median((run[0][name] - run[2][name]) / max(run[1][name], 0.1) for run in runs)
        failed += ratio > MUST
        print(f"  {what:<44}{ratio:>8.3f}{MUST:>8.3f}  {'ok' if ratio <= MUST else 'short'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
