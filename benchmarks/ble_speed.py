"""Reading the codes of a Nuki and of a TTLock lock, beside the bare loop: the same writes and answers, replayed.

Both run over Bumble's radio stack in this process, every packet taking 7.5 ms, the shortest connection interval. The
bare loop is bleak alone: it writes what our driver wrote, waits for as many answers as the lock sent, and looks at none
of them. What is timed is the reading over an open connection; connecting and imports are not.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from bleak import BleakClient, BleakScanner

from lockmigrate.formats.nuki import Cmd
from lockmigrate.formats.nuki_records import parse_code
from lockmigrate.profiles import load_profile
from lockmigrate.protocols.credentials import CREDENTIALS
from lockmigrate.protocols.ttlock_lists import read_passcodes
from lockmigrate.sim import open_unit
from lockmigrate.sim.radio import Radio
from lockmigrate.sim.radio_unit import Peripheral
from lockmigrate.targets import open_dialled, parse_target
from lockmigrate.transports.ble import Stack, open_ble
from lockmigrate.transports.bumble import BumbleClient, BumbleHost, BumbleScanner
from lockmigrate.transports.gatt import Connection, Emitted

HOP_S = 0.0075
EVERYTHING = bytes.fromhex("0000ffff")


async def nuki_codes(lock: Any) -> int:
    """Read the keypad codes of an opened Nuki lock."""
    items = await lock._wire.whole(Cmd.REQUEST_CODES, EVERYTHING, entry=Cmd.CODE_ENTRY, count=Cmd.CODE_COUNT)
    return len([parse_code(item) for item in items])


async def ttlock_codes(lock: Any) -> int:
    """Read the passcodes of an opened TTLock lock, after its login."""
    return len(await read_passcodes(lock._wire))


FAMILIES: dict[str, tuple[int, dict[str, str], Callable[[Any], Awaitable[int]], bool]] = {
    "nuki": (100, {"codes": "100"}, nuki_codes, True),
    "ttlock": (200, {"passcodes": "200"}, ttlock_codes, False),
}
"""Family to how many codes, the simulator's options, what reads them, and whether writes have a response."""


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


async def ours(family: str, runs: int) -> tuple[list[float], list[tuple[str, bytes, list[Emitted]]]]:
    """Read with our driver; returns the times, and what was said in the last run."""
    count, options, read, _ = FAMILIES[family]
    unit = open_unit(load_profile(family), "full", options)
    recorded = Recorded(unit.gatt_device)
    radio = Radio(interval_s=HOP_S)
    times = []
    async with Peripheral(recorded, radio):
        host = await BumbleHost.on_link(radio)
        stack = Stack(scanner=BumbleScanner, client=BumbleClient, options={"host": host}, settled=True)
        target = parse_target(f"ble://{recorded.address}")

        async def dial() -> Connection:
            return await open_ble(target.address, stack=stack)

        credential = msgspec.convert(unit.credential, CREDENTIALS[family])
        lock = await open_dialled(dial, target, None, {family: credential})
        for _ in range(runs + 1):  # the first one logs in
            recorded.said.clear()
            began = time.perf_counter()
            found = await read(lock)
            times.append(time.perf_counter() - began)
            if found != count:
                raise SystemExit(f"read {found} codes")
        await lock.close()
        await host.release()
    return times[1:], list(recorded.said)


async def bare(family: str, runs: int, said: list[tuple[str, bytes, list[Emitted]]]) -> list[float]:
    """Write the same, wait for as many answers."""
    _, options, _, response = FAMILIES[family]
    unit = open_unit(load_profile(family), "full", options)
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
                await client.write_gatt_char(uuid, data, response=response)
                for _ in emitted:
                    await heard.get()
            times.append(time.perf_counter() - began)
        await client.disconnect()
        await host.release()
    return times


def main() -> None:
    """Print both times of each family, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    print(f"Python {platform.python_version()}; {HOP_S * 1000} ms a hop")
    for family, (count, *_) in FAMILIES.items():
        mine, said = asyncio.run(ours(family, runs))
        loop = asyncio.run(bare(family, runs, said))
        print(f"{family}: {count} codes, {len(said)} writes, {sum(len(emitted) for _, _, emitted in said)} answers")
        for name, times in (("lockmigrate", mine), ("bare loop", loop)):
            print(f"  {name:12} {min(times):.3f} s least, {statistics.median(times):.3f} s median of {runs}")
        print(f"  ratio of medians {statistics.median(mine) / statistics.median(loop):.3f}")


if __name__ == "__main__":
    main()
