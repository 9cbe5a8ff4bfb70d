"""Reading the keypad codes of a Nuki lock, beside the bare loop: the same writes and indications, replayed.

Both run over Bumble's radio stack in this process, every packet taking 7.5 ms, the shortest connection interval. The
bare loop is bleak alone: it writes what our driver wrote, waits for as many indications as the lock sent, and looks at
none of them. What is timed is the reading over an open connection; connecting and imports are not.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import time
from typing import Any

import msgspec
from bleak import BleakClient, BleakScanner

from lockmigrate.formats.nuki import Cmd
from lockmigrate.formats.nuki_records import parse_code
from lockmigrate.profiles import load_profile
from lockmigrate.protocols.credentials import NukiCredential
from lockmigrate.protocols.nuki import NukiLock
from lockmigrate.sim import open_unit
from lockmigrate.sim.radio import Radio
from lockmigrate.sim.radio_unit import Peripheral
from lockmigrate.targets import open_dialled, parse_target
from lockmigrate.transports.ble import Stack, open_ble
from lockmigrate.transports.bumble import BumbleClient, BumbleHost, BumbleScanner
from lockmigrate.transports.gatt import Connection, Emitted

HOP_S = 0.0075
CODES = 100
EVERYTHING = bytes.fromhex("0000ffff")


class Recorded:
    """A unit that notes what it hears and says; stands for it towards the radio."""

    def __init__(self, unit: Any) -> None:
        self._unit = unit
        self.said: list[tuple[str, bytes, list[Emitted]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unit, name)

    def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
        """Let the unit answer, and note both."""
        emitted: list[Emitted] = self._unit.write(uuid, data, now_s)
        self.said.append((uuid, data, emitted))
        return emitted


class Replaying:
    """A unit that answers each write with what was recorded, whatever it says."""

    def __init__(self, unit: Any, said: list[tuple[str, bytes, list[Emitted]]]) -> None:
        self._unit = unit
        self._said = said
        self._next = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unit, name)

    def due_s(self) -> None:
        """Nothing happens by itself."""

    def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
        """Say the next thing."""
        emitted = self._said[self._next % len(self._said)][2]
        self._next += 1
        return [Emitted(at_s=now_s, uuid=one.uuid, data=one.data) for one in emitted]


async def ours(runs: int) -> tuple[list[float], list[tuple[str, bytes, list[Emitted]]]]:
    """Read with our driver; returns the times, and what was said in the last run."""
    unit = open_unit(load_profile("nuki"), "full", {"codes": str(CODES)})
    recorded = Recorded(unit.gatt_device)
    radio = Radio(interval_s=HOP_S)
    times = []
    async with Peripheral(recorded, radio):
        host = await BumbleHost.on_link(radio)
        stack = Stack(scanner=BumbleScanner, client=BumbleClient, options={"host": host}, settled=True)
        target = parse_target(f"ble://{recorded.address}")

        async def dial() -> Connection:
            return await open_ble(target.address, stack=stack)

        credential = msgspec.convert(unit.credential, NukiCredential)
        lock = await open_dialled(dial, target, None, {"nuki": credential})
        if not isinstance(lock, NukiLock):
            raise SystemExit("that is no Nuki lock")
        for _ in range(runs):
            recorded.said.clear()
            began = time.perf_counter()
            items = await lock._wire.whole(Cmd.REQUEST_CODES, EVERYTHING, entry=Cmd.CODE_ENTRY, count=Cmd.CODE_COUNT)
            rows = [parse_code(item) for item in items]
            times.append(time.perf_counter() - began)
            if len(rows) != CODES:
                raise SystemExit(f"read {len(rows)} codes")
        await lock.close()
        await host.release()
    return times, list(recorded.said)


async def bare(runs: int, said: list[tuple[str, bytes, list[Emitted]]]) -> list[float]:
    """Write the same, wait for as many indications."""
    unit = open_unit(load_profile("nuki"), "full", {"codes": str(CODES)})
    radio = Radio(interval_s=HOP_S)
    times = []
    async with Peripheral(Replaying(unit.gatt_device, said), radio):
        host = await BumbleHost.on_link(radio)
        address = unit.gatt_device.address  # type: ignore[union-attr]
        found = await BleakScanner.find_device_by_address(address, 5.0, backend=BumbleScanner, host=host)
        if found is None:
            raise SystemExit("the lock was not found")
        client = BleakClient(found, backend=BumbleClient)
        await client.connect()
        heard = asyncio.Queue[bytes]()
        for uuid in sorted({one.uuid for _, _, emitted in said for one in emitted}):
            await client.start_notify(uuid, lambda _, data: heard.put_nowait(bytes(data)))
        for _ in range(runs):
            began = time.perf_counter()
            for uuid, data, emitted in said:
                await client.write_gatt_char(uuid, data, response=True)
                for _ in emitted:
                    await heard.get()
            times.append(time.perf_counter() - began)
        await client.disconnect()
        await host.release()
    return times


def main() -> None:
    """Print both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    mine, said = asyncio.run(ours(runs))
    loop = asyncio.run(bare(runs, said))
    writes, indications = len(said), sum(len(emitted) for _, _, emitted in said)
    print(
        f"Python {platform.python_version()}; {CODES} codes, {writes} writes, {indications} indications, "
        f"{HOP_S * 1000} ms a hop"
    )
    for name, times in (("lockmigrate", mine), ("bare loop", loop)):
        print(f"{name:12} {min(times):.3f} s least, {statistics.median(times):.3f} s median of {runs}")
    print(f"ratio of medians {statistics.median(mine) / statistics.median(loop):.3f}")


if __name__ == "__main__":
    main()
