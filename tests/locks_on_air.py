"""Simulated locks over a real radio stack, for tests: in another process, and on a radio of this one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lockmigrate.errors import ConnectError, LinkError
from lockmigrate.model.results import RestoreResult
from lockmigrate.operations.journal import MemoryJournal
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import Prepared, Source, execute, prepare
from lockmigrate.planning.policy import Policy
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock
from lockmigrate.protocols.credentials import CREDENTIALS
from lockmigrate.sim import open_unit
from lockmigrate.sim.radio import Radio
from lockmigrate.sim.radio_unit import Peripheral
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.targets import Access, open_dialled, open_target, parse_target
from lockmigrate.transports.ble import Stack, open_ble
from lockmigrate.transports.bumble import BumbleClient, BumbleHost, BumbleScanner
from lockmigrate.transports.gatt import Connection
from lockmigrate.vault.keys import create_keys

PASSPHRASE = "a passphrase of this test"


@dataclass
class Pair:
    """Two simulated locks in another process."""

    folder: Path
    old: dict[str, Any]
    new: dict[str, Any]

    def run(self, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        """Run a command with --json and return its document."""
        environment = {
            **os.environ,
            "LOCKMIGRATE_CONFIG_DIR": str(self.folder / "config"),
            "LOCKMIGRATE_PASSPHRASE_FILE": str(self.folder / "passphrase"),
        }

        done = subprocess.run(
            [sys.executable, "-m", "lockmigrate", *arguments, "--json"],
            capture_output=True, text=True, cwd=self.folder, env=environment, timeout=60, check=False,
        )  # fmt: skip

        assert done.returncode == exit_code, done.stderr
        document: dict[str, Any] = json.loads(done.stdout or done.stderr.splitlines()[-1])
        return document

    def memory(self, which: str) -> dict[str, Any]:
        """Return what a lock has kept in its state file."""
        memory: dict[str, Any] = json.loads((self.folder / f"{which}.json").read_text())
        return memory


@contextlib.contextmanager
def two_locks(folder: Path, old: str, new: str) -> Iterator[Pair]:
    """Serve two simulated locks in another process, each with a state file in `folder`, beside a config directory."""
    create_keys(folder / "config", PASSPHRASE, generated=False, log_n=10)
    (folder / "passphrase").write_text(f"{PASSPHRASE}\n")
    (folder / "passphrase").chmod(0o600)
    server = subprocess.Popen(
        [
            sys.executable, "-m", "lockmigrate", "sim", "serve", "--json", "--hci", "tcp:0",
            f"{old}{'&' if '?' in old else '?'}state={folder}/old.json",
            f"{new}{'&' if '?' in new else '?'}state={folder}/new.json",
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        yield Pair(folder, json.loads(server.stdout.readline()), json.loads(server.stdout.readline()))
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=10)


def write_credentials(pair: Pair, family: str) -> None:
    """Write what opens each lock, or what pairing with it needs, to old.toml and new.toml."""
    for name, unit in (("old", pair.old), ("new", pair.new)):
        lines = [f"{key} = {json.dumps(value)}" for key, value in (unit["credential"] or {}).items()]
        (pair.folder / f"{name}.toml").write_text("\n".join([f"[{family}]", *lines]))
        (pair.folder / f"{name}.toml").chmod(0o600)


@dataclass
class Air:
    """One lock on a radio, and our side."""

    radio: Radio
    unit: SimulatedUnit
    stack: Stack

    async def open(self) -> Lock:
        target = parse_target(f"ble://{self.unit.gatt_device.address}")  # type: ignore[union-attr]

        async def dial() -> Connection:
            return await open_ble(target.address, stack=self.stack, tries=1)

        family = self.unit.profile.family
        credential = msgspec.convert(self.unit.credential, CREDENTIALS[family])
        return await open_dialled(dial, target, None, {family: credential})


@contextlib.asynccontextmanager
async def on_air(unit: SimulatedUnit) -> AsyncIterator[Air]:
    radio = Radio()
    assert unit.gatt_device is not None
    async with Peripheral(unit.gatt_device, radio):
        host = await BumbleHost.on_link(radio)
        try:
            yield Air(
                radio, unit, Stack(scanner=BumbleScanner, client=BumbleClient, options={"host": host}, settled=True)
            )
        finally:
            await host.release()


async def restore(air: Air, source: Source, journal: MemoryJournal) -> RestoreResult:
    lock = await air.open()
    try:
        async for item in prepare(lock, source, Policy(), journal):
            if isinstance(item, Prepared):
                prepared = item
        async for event in execute(prepared, journal):
            result = event
    finally:
        await lock.close()
    assert isinstance(result, RestoreResult)
    return result


async def packets_of(profile: str, source: Source) -> int:
    """Count the packets of a restore that nothing disturbs."""
    async with on_air(open_unit(load_profile(profile), "empty", {})) as air:
        await restore(air, source, MemoryJournal())
        return air.radio.packets_to_units + air.radio.packets_from_units


async def restored_after_a_loss(profile: str, source: Source, point: int) -> SimulatedUnit:
    """Restore into an empty lock, lose the link at a packet, restore again; returns the lock as it is then."""
    async with on_air(open_unit(load_profile(profile), "empty", {})) as air:
        journal = MemoryJournal()
        air.radio.lose_at(point)
        with contextlib.suppress(LinkError, ConnectError):  # what was lost while reading is dialled again, in silence
            await restore(air, source, journal)
        assert not air.radio.losses_ahead, f"the link was never lost at packet {point}"
        await asyncio.sleep(0.1)
        result = await restore(air, source, journal)
        assert [record.key for record in result.records if record.outcome == "copy" and record.proof is None] == []
        return air.unit


async def source_of(target: str) -> Source:
    """Read a simulated lock of this process."""
    lock = await open_target(parse_target(target), Access())
    try:
        async for item in read_unit(lock):
            if isinstance(item, Reading):
                reading = item
    finally:
        await lock.close()
    return source_in_memory(reading)
