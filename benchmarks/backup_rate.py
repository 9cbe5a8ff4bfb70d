"""How close a backup comes to the wire's own time, beside two published libraries.

A simulated module paced at 57600 baud runs in a process of its own behind a pty. Each reader gets a fresh one. The
wire's time is what the simulator counted, both directions, ten bits a byte. Interpreter start and imports are not
measured; lockmigrate's figure includes sealing, writing and verifying the file, with the keys unlocked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from lockmigrate.operations.backup import BackupOptions, backup
from lockmigrate.operations.keyring import Keyring
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.sim.serve import ServedAt, serve
from lockmigrate.targets import Access, open_target, parse_target

BAUD = 57600


def _serve(pipe: Connection, profile: str, options: dict[str, str]) -> None:
    unit = open_unit(load_profile(profile), "full", options)

    def ready(at: ServedAt) -> None:
        pipe.send(at.device)

    async def main() -> None:
        serving = asyncio.create_task(serve(unit, tcp_port=None, pty=True, on_ready=ready))
        await asyncio.to_thread(pipe.recv)
        pipe.send((unit.wire_bytes_in, unit.wire_bytes_out))
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    asyncio.run(main())


@contextlib.contextmanager
def module(profile: str, templates: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """Serve a paced module; yields its port, and a function that stops it and returns how many bytes it counted."""
    near, far = multiprocessing.Pipe()
    options = {"fill": str(templates), "pace": "1"}
    process = multiprocessing.Process(target=_serve, args=(far, profile, options), daemon=True)
    process.start()
    device: str = near.recv()

    def stop() -> int:
        near.send("stop")
        received, sent = near.recv()
        return int(received + sent)

    try:
        yield device, stop
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()


def warm_up() -> None:
    """Import what opening a unit and sealing a file import on first use."""
    for name in ("protocols.ef01_door", "formats.ef01_tables", "transports.serial", "formats.backup"):
        importlib.import_module(f"lockmigrate.{name}")


def read_with_lockmigrate(device: str, profile: str, templates: int) -> float:
    async def main() -> float:
        with tempfile.TemporaryDirectory() as folder:
            ring = Keyring.for_one_run(Path(folder))
            started = time.perf_counter()
            lock = await open_target(parse_target(f"serial://{device}"), Access(profile=profile))
            async for item in backup(lock, ring, BackupOptions(folder=Path(folder))):
                last = item
            await lock.close()
            took = time.perf_counter() - started
        if getattr(last, "counts", {}).get("fingerprints") != templates:
            raise SystemExit("lockmigrate did not read all templates")
        return took

    return asyncio.run(main())


def read_with_pyfingerprint(device: str, profile: str, templates: int) -> float:
    from pyfingerprint.pyfingerprint import FINGERPRINT_CHARBUFFER1, PyFingerprint

    started = time.perf_counter()
    sensor = PyFingerprint(device, BAUD, 0xFFFFFFFF, 0x00000000)
    sensor.verifyPassword()
    read = 0
    for page in range(1 if profile == "r503" else 2):
        for offset, occupied in enumerate(sensor.getTemplateIndex(page)):
            if occupied:
                sensor.loadTemplate(256 * page + offset, FINGERPRINT_CHARBUFFER1)
                sensor.downloadCharacteristics(FINGERPRINT_CHARBUFFER1)
                read += 1
    took = time.perf_counter() - started
    if read != templates:
        raise SystemExit("pyfingerprint did not read all templates")
    return took


def read_with_adafruit(device: str, profile: str, templates: int) -> float:
    import adafruit_fingerprint
    import serial

    started = time.perf_counter()
    with serial.Serial(device, BAUD, timeout=1) as uart:
        sensor = adafruit_fingerprint.Adafruit_Fingerprint(uart)
        sensor.read_templates()
        for slot in sensor.templates:
            sensor.load_model(slot, 1)
            sensor.get_fpdata("char", 1)
        read = len(sensor.templates)
    took = time.perf_counter() - started
    if read != templates:
        raise SystemExit("adafruit_fingerprint did not read all templates")
    return took


READERS = {
    "lockmigrate": read_with_lockmigrate,
    "pyfingerprint": read_with_pyfingerprint,
    "adafruit_fingerprint": read_with_adafruit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", default="r503,as608")
    parser.add_argument("--templates", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    warm_up()
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {sys.platform}")
    print(f"{given.templates} templates at {BAUD} baud, {given.runs} runs; seconds, then times the wire's own time")
    for profile in given.profiles.split(","):
        for name, reader in READERS.items():
            figures = []
            for _ in range(given.runs):
                with module(profile, given.templates) as (device, stop):
                    try:
                        took = reader(device, profile, given.templates)
                    except ImportError:
                        stop()
                        break
                    wire_s = stop() * 10 / BAUD
                figures.append((took / wire_s, took, wire_s))
            if not figures:
                print(f"{profile:8} {name:22} not installed (extra `peers`)")
                continue
            ratio, took, wire_s = sorted(figures)[len(figures) // 2]
            print(f"{profile:8} {name:22} {took:7.3f} s   wire {wire_s:7.3f} s   {ratio:.4f} ×")


if __name__ == "__main__":
    main()
