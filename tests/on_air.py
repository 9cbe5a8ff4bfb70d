"""A small scripted unit on Bluetooth LE, and a simulated radio with it and a client on it, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice

from lockmigrate.sim.radio import Radio
from lockmigrate.sim.radio_unit import Peripheral
from lockmigrate.sim.serve_ble import ServedOnAir, serve_ble
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports.bumble import BumbleClient, BumbleHost, BumbleScanner, bumble_host
from lockmigrate.transports.gatt import Emitted, GattCharacteristic, GattRefusal, GattService

ADDRESS = "C0:DE:10:C4:00:01"
SERVICE = "5f1d0001-6c6f-636b-6d69-677261746521"
COMMAND = "5f1d0002-6c6f-636b-6d69-677261746521"
NOTIFIED = "5f1d0003-6c6f-636b-6d69-677261746521"
INDICATED = "5f1d0004-6c6f-636b-6d69-677261746521"
VALUE = "5f1d0005-6c6f-636b-6d69-677261746521"
LONG = "5f1d0006-6c6f-636b-6d69-677261746521"
ONLY_COMMANDS = "5f1d0007-6c6f-636b-6d69-677261746521"
FLAGS = bytes((2, 0x01, 0x06))


def characteristic(uuid: str, *properties: Any) -> GattCharacteristic:
    """Return a characteristic with these properties."""
    return GattCharacteristic(uuid=uuid, properties=frozenset(properties))


class Unit:
    """Does what the first letter of a write says; implements GattDevice.

    Args:
        address: Its address.
        name: Its name.
        max_mtu: The largest MTU that it agrees to.
    """

    services = (
        GattService(
            uuid=SERVICE,
            characteristics=(
                characteristic(COMMAND, "write", "write-without-response"),
                characteristic(NOTIFIED, "notify"),
                characteristic(INDICATED, "indicate"),
                characteristic(VALUE, "read"),
                characteristic(LONG, "read"),
                characteristic(ONLY_COMMANDS, "write-without-response"),
            ),
        ),
    )

    def __init__(self, address: str = ADDRESS, name: str = "a lock with a long name", max_mtu: int = 247) -> None:
        self.address = address
        self.name = name
        self.max_mtu = max_mtu
        self.writes: list[bytes] = []
        self.events: list[Any] = []
        self.said = FLAGS + bytes((17, 0x07)) + bytes.fromhex(SERVICE.replace("-", ""))[::-1]
        self.due: float | None = None
        self.ticked: list[Emitted] = []

    def advertisement(self) -> bytes:
        return self.said

    def connected(self, now_s: float) -> list[Emitted]:
        self.events.append("connected")
        return []

    def mtu(self, mtu: int) -> None:
        self.events.append(mtu)

    def subscribed(self, uuid: str, on: bool) -> None:
        self.events.append((uuid, on))

    def read(self, uuid: str) -> bytes:
        if uuid == LONG:
            return bytes(range(256)) * 2
        return b"value"

    def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
        self.writes.append(data)
        letter, rest = data[:1], data[1:]
        if letter == b"E":  # refuse, with this code
            raise GattRefusal(rest[0])
        if letter == b"X":
            raise RuntimeError("a fault in the simulated unit")
        if letter == b"P":  # say it back
            return [Emitted(at_s=now_s, uuid=NOTIFIED, data=data)]
        if letter in (b"N", b"I"):  # so many, so long
            uuid = NOTIFIED if letter == b"N" else INDICATED
            count, size = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
            return [Emitted(at_s=now_s, uuid=uuid, data=number(index, size)) for index in range(count)]
        if letter == b"H":  # say it back and hang up
            return [Emitted(at_s=now_s, uuid=NOTIFIED, data=data, hangup=True)]
        if letter == b"L":  # be out of reach
            return [Emitted(at_s=now_s, hangup=True, lost=True)]
        if letter == b"D":  # say it back in so many milliseconds
            return [Emitted(at_s=now_s + int.from_bytes(rest[:2], "big") / 1000, uuid=NOTIFIED, data=data)]
        return []

    def due_s(self) -> float | None:
        return self.due

    def tick(self, now_s: float) -> list[Emitted]:
        self.events.append("tick")
        self.due = None
        return self.ticked

    def disconnected(self) -> None:
        self.events.append("disconnected")


def number(index: int, size: int = 2) -> bytes:
    """Return the n-th value of a stream."""
    return index.to_bytes(2, "big").ljust(size, b"\xa5")


def stream(count: int, size: int = 2, *, indicated: bool = False) -> bytes:
    """Return the command for a stream of values."""
    return (b"I" if indicated else b"N") + count.to_bytes(2, "big") + size.to_bytes(2, "big")


@dataclass
class Air:
    """A radio with one unit and our side on it."""

    radio: Radio
    unit: Unit
    peripheral: Peripheral
    host: BumbleHost

    async def find(self, address: str = ADDRESS, timeout_s: float = 5.0) -> BLEDevice:
        """Look for the unit."""
        found = await BleakScanner.find_device_by_address(address, timeout_s, backend=BumbleScanner, host=self.host)
        assert found is not None
        return found

    @contextlib.asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[BleakClient]:
        """Connect to the unit."""
        client = BleakClient(await self.find(), backend=BumbleClient, **options)
        await client.connect()
        try:
            yield client
        finally:
            await client.disconnect()


@contextlib.asynccontextmanager
async def on_air(unit: Unit | None = None, *, interval_s: float = 0.0, **options: Any) -> AsyncIterator[Air]:
    """Put a unit and our side on a radio."""
    unit = unit or Unit()
    radio = Radio(interval_s=interval_s)
    async with Peripheral(unit, radio, **options) as peripheral:
        host = await BumbleHost.on_link(radio)
        try:
            yield Air(radio, unit, peripheral, host)
        finally:
            await host.release()


def reason(client: BleakClient) -> int | None:
    """Return why the client's last connection ended."""
    backend = client._backend
    assert isinstance(backend, BumbleClient)
    return backend.last_reason


def reported() -> list[dict[str, Any]]:
    """Collect what callbacks of this test's loop report from now on."""
    seen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context))
    return seen


class Served(SimulatedUnit):
    """A unit as `serve_ble` takes it."""

    def __init__(self, unit: Unit, kept: Path | None = None) -> None:
        self.gatt_device = unit
        self.kept = kept
        self.saved = 0

    @property
    def credential(self) -> dict[str, Any]:
        return {"key": "of the unit"}

    def save(self) -> None:
        self.saved += 1
        if self.kept is not None:
            self.kept.write_text("kept")


async def dying(hci: str) -> None:
    """A client that breaks off in the middle of a transfer, without a word."""
    host = await bumble_host(hci)
    found = await BleakScanner.find_device_by_address(ADDRESS, 5, backend=BumbleScanner, host=host)
    assert found is not None
    client = BleakClient(found, backend=BumbleClient)
    await client.connect()

    def heard(_: object, data: bytearray) -> None:
        if data[:2] == number(50):
            os._exit(9)

    await client.start_notify(NOTIFIED, heard)
    await client.write_gatt_char(COMMAND, stream(1000, 200), response=True)
    await asyncio.sleep(30)


def main(task: str, *arguments: str) -> None:
    """`serve HCI FILE [ADDRESS...]`: serve a unit at each address; the lines say where. `die HCI`: be that client."""
    if task == "die":
        asyncio.run(dying(*arguments))
        return
    hci, kept, *addresses = arguments
    units: list[SimulatedUnit] = [Served(Unit(address), Path(kept)) for address in addresses or [ADDRESS]]

    def tell(_: SimulatedUnit, at: ServedOnAir) -> None:
        sys.stdout.write(f"{at.target}\t{at.hci}\n")
        sys.stdout.flush()

    asyncio.run(serve_ble(units, hci, tell))


if __name__ == "__main__":
    main(*sys.argv[1:])
