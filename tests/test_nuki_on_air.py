"""Nuki locks over a real radio stack: two processes and the command line, and the link lost at every packet."""

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
from typing import Any, Final

import msgspec
import pytest

from lockmigrate.errors import ConnectError, LinkError
from lockmigrate.model.results import RestoreResult
from lockmigrate.operations.journal import MemoryJournal
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import Prepared, Source, execute, prepare
from lockmigrate.planning.policy import Policy
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock
from lockmigrate.protocols.credentials import NukiCredential
from lockmigrate.sim import open_unit
from lockmigrate.sim.radio import Radio
from lockmigrate.sim.radio_unit import Peripheral
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.targets import Access, open_dialled, open_target, parse_target
from lockmigrate.transports.ble import Stack, open_ble
from lockmigrate.transports.bumble import BumbleClient, BumbleHost, BumbleScanner
from lockmigrate.transports.gatt import Connection

POINTS: Final = 200
"""Of the sweep over every packet (the issue's number)."""
FEW: Final = 6
"""In the plain suite."""


# ---- two processes, the command line --------------------------------------------------------------------------------


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


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    (tmp_path / "passphrase").write_text("a passphrase of this test\n")
    (tmp_path / "passphrase").chmod(0o600)
    server = subprocess.Popen(
        [
            sys.executable, "-m", "lockmigrate", "sim", "serve", "--json", "--hci", "tcp:0",
            f"nuki/full?state={tmp_path}/old.json", f"nuki/fresh?seed=5&state={tmp_path}/new.json",
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        yield Pair(tmp_path, json.loads(server.stdout.readline()), json.loads(server.stdout.readline()))
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=10)


def rights(memory: dict[str, Any]) -> list[Any]:
    """Return what every code of a lock's memory allows, without the numbers it goes by."""
    codes = memory["flash"]["codes"]
    rows = codes.values() if isinstance(codes, dict) else codes
    kept = ("code", "name", "enabled", "limits", "limited", "time_limited", "tail")
    return sorted(json.dumps({name: row[name] for name in kept if name in row}, sort_keys=True) for row in rows)


def test_a_full_lock_moves_to_a_fresh_one_in_another_process(pair: Pair) -> None:
    old, new, file = pair.old["target"], pair.new["target"], str(pair.folder / "old.age")
    for name, unit in (("old", pair.old), ("new", pair.new)):
        lines = [f"{key} = {json.dumps(value)}" for key, value in unit["credential"].items()]
        (pair.folder / f"{name}.toml").write_text("\n".join(["[nuki]", *lines]))
        (pair.folder / f"{name}.toml").chmod(0o600)
    pair.run("keys", "init")
    seen = {lock["target"]: lock for lock in pair.run("scan", "--for", "0.5", "--hci", pair.old["hci"])["locks"]}
    assert {old, new} <= seen.keys(), "what scan shows can be pasted back"
    assert seen[new]["state"] == "pairing"
    paired = pair.run("pair", new, "--credential-file", "new.toml")
    assert (pair.folder / "new.toml").stat().st_mode & 0o777 == 0o600
    sealed = pair.run("backup", old, "--credential-file", "old.toml", "-o", file)
    assert sealed["counts"]["pins"] == 100
    assert sealed["counts"]["app_keys"] == 20
    planned = pair.run("plan", file, new, "--credential-file", "new.toml")
    assert planned["executable"]
    invited = [record for record in planned["records"] if record["outcome"] == "reissue" and not record["follows"]]
    assert len(invited) == 19, "all but our own"
    done = pair.run(
        "restore", file, new, "--credential-file", "new.toml", "--confirm", paired["unit"]["id"], "--skip-rehearsal"
    )
    assert {record["proof"] for record in done["records"] if record["outcome"] == "copy"} == {"V4"}
    assert any("unpair" in warning for warning in done["warnings"])
    verified = pair.run("verify", file, new, "--credential-file", "new.toml")
    assert verified["counts"]["different"] == verified["counts"]["extra"] == 0
    assert rights(pair.memory("new")) == rights(pair.memory("old"))
    assert len(rights(pair.memory("new"))) == 100
    pair.run("unpair", new, "--credential-file", "new.toml")
    refused = pair.run("info", new, "--credential-file", "new.toml", exit_code=4)
    assert refused["code"] == "not-authorized"
    assert "pair again" in refused["hint"]


# ---- lost at every packet -------------------------------------------------------------------------------------------


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

        credential = msgspec.convert(self.unit.credential, NukiCredential)
        return await open_dialled(dial, target, None, {"nuki": credential})


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


async def source_of(options: str) -> Source:
    lock = await open_target(parse_target(f"sim://nuki/full{options}"), Access())
    try:
        async for item in read_unit(lock):
            if isinstance(item, Reading):
                reading = item
    finally:
        await lock.close()
    return source_in_memory(reading)


def codes(unit: SimulatedUnit) -> list[Any]:
    return sorted(repr((row.code, row.name, row.enabled, row.limits)) for row in unit.flash.codes.values())


async def packets_of(source: Source) -> int:
    async with on_air(open_unit(load_profile("nuki"), "empty", {})) as air:
        await restore(air, source, MemoryJournal())
        return air.radio.packets_to_units + air.radio.packets_from_units


async def lost_at(point: int, source: Source, wanted: list[Any]) -> None:
    async with on_air(open_unit(load_profile("nuki"), "empty", {})) as air:
        journal = MemoryJournal()
        air.radio.lose_at(point)
        with contextlib.suppress(LinkError, ConnectError):  # after the last packet nothing is lost any more
            await restore(air, source, journal)
        await asyncio.sleep(0.1)
        result = await restore(air, source, journal)
        assert [record.key for record in result.records if record.outcome == "copy" and record.proof is None] == []
        assert codes(air.unit) == wanted
        assert len(air.unit.flash.timers) == len(source.snapshot.lock_schedules)


async def test_a_link_that_is_lost_at_a_packet_leaves_a_restore_that_can_be_finished() -> None:
    source = await source_of("?codes=8&timers=3")
    wanted = codes(open_unit(load_profile("nuki"), "full", {"codes": "8", "timers": "3"}))
    total = await packets_of(source)
    for number in range(FEW):
        await lost_at(1 + total * number // FEW, source, wanted)


@pytest.mark.sweep
@pytest.mark.parametrize("tenth", range(10))
async def test_a_link_that_is_lost_at_any_packet_of_a_whole_lock_leaves_a_restore_that_can_be_finished(
    tenth: int,
) -> None:
    source = await source_of("")
    wanted = codes(open_unit(load_profile("nuki"), "full", {}))
    total = await packets_of(source)
    for number in range(tenth, POINTS, 10):
        await lost_at(1 + total * number // POINTS, source, wanted)
