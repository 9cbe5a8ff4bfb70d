"""Reading a ZK terminal: beside pyzk where it can follow, in MB/s where it cannot, and beside the pace of the unit.

A simulated terminal with 1,000 users and 2,000 templates runs in a process of its own behind a TCP port. What is timed
is reading both tables over an open connection and decoding them to rows; connecting and imports are not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import multiprocessing
import platform
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from lockmigrate.formats.zk_records import split_templates, split_users
from lockmigrate.model.document import Table
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock, Section
from lockmigrate.sim import open_unit
from lockmigrate.sim.serve import ServedAt, serve
from lockmigrate.targets import Access, open_target, parse_target

TABLES = frozenset({Section.INDEX, Section.CREDENTIALS})
COUNTS = (1000, 2000)
DECODED_USERS = 10_000


def _serve(pipe: Connection, options: dict[str, str]) -> None:
    unit = open_unit(load_profile("zk"), "huge", options)

    def ready(at: ServedAt) -> None:
        pipe.send(at.port)

    async def main() -> None:
        serving = asyncio.create_task(serve(unit, tcp_port=0, pty=False, on_ready=ready))
        await asyncio.to_thread(pipe.recv)
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    asyncio.run(main())


@contextlib.contextmanager
def terminal(**options: str) -> Iterator[int]:
    """Serve a terminal; yields its TCP port."""
    near, far = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(far, options), daemon=True)
    process.start()
    try:
        yield int(near.recv())
        near.send("stop")
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()


async def _ours(port: int, runs: int) -> tuple[list[float], int]:
    lock: Lock = await open_target(parse_target(f"serial://socket://127.0.0.1:{port}"), Access(profile="zk"))
    times = []
    try:
        await lock.identify()
        for _ in range(runs):
            began = time.perf_counter()
            tables = {item.name: item.data async for item in lock.read(TABLES) if isinstance(item, Table)}
            users = split_users(tables["0004-users"], 72)
            templates = split_templates(tables["0005-templates"])
            times.append(time.perf_counter() - began)
            if (len(users), len(templates)) != COUNTS:
                raise SystemExit(f"read {len(users)} users and {len(templates)} templates")
    finally:
        await lock.close()
    return times, sum(len(data) for data in tables.values())


def with_pyzk(port: int, runs: int) -> list[float]:
    """Read with pyzk over one connection."""
    from zk import ZK

    connection = ZK("127.0.0.1", port=port, timeout=10, ommit_ping=True).connect()
    times = []
    try:
        for _ in range(runs):
            began = time.perf_counter()
            users, templates = connection.get_users(), connection.get_templates()
            times.append(time.perf_counter() - began)
            if (len(users), len(templates)) != COUNTS:
                raise SystemExit(f"pyzk read {len(users)} users and {len(templates)} templates")
    finally:
        connection.disconnect()
    return times


def decode_time() -> float:
    """Decode 10,000 user records to rows; the best of five, in seconds."""
    unit = open_unit(load_profile("zk"), "huge", {})
    records: Any = list(unit.flash.users.values())
    table = b"".join((records * (DECODED_USERS // len(records) + 1))[:DECODED_USERS])
    if len(table) != DECODED_USERS * 72:
        raise SystemExit("not 10,000 records of 72 bytes")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        rows = split_users(table, 72)
        times.append(time.perf_counter() - began)
        if len(rows) != DECODED_USERS:
            raise SystemExit("rows are missing")
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--pace-ms", type=int, default=4, help="between the packets of the paced reading")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {COUNTS[0]} users, {COUNTS[1]} templates")
    with terminal() as port:
        ours, size = asyncio.run(_ours(port, given.runs))
        print(f"one packet a request: lockmigrate {statistics.median(ours) * 1000:.1f} ms for {size} bytes")
        if importlib.util.find_spec("zk"):
            theirs = with_pyzk(port, given.runs)
            print(f"                      pyzk        {statistics.median(theirs) * 1000:.1f} ms")
            ratio = statistics.median(theirs) / statistics.median(ours)
            print(f"                      pyzk / lockmigrate {ratio:.2f}")
        else:
            print("                      pyzk is not installed (extra peers)")
    with terminal(bulk="split") as port:
        ours, size = asyncio.run(_ours(port, given.runs))
        print(f"split, back to back:  lockmigrate {size / statistics.median(ours) / 1e6:.1f} MB/s")
    with terminal(bulk="split", pace=str(given.pace_ms)) as port:
        ours, size = asyncio.run(_ours(port, 1))
        packets = size / 1008
        paced_s = packets * given.pace_ms / 1000
        print(f"split, one packet every {given.pace_ms} ms: {ours[0] / paced_s:.3f} x the pace")
    print(f"{DECODED_USERS} users decode to rows in {decode_time() * 1000:.1f} ms")


if __name__ == "__main__":
    main()
