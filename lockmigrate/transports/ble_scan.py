"""Who is in reach on Bluetooth LE, through the system's stack or through a controller of our own behind an HCI."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bleak import BleakScanner
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner

from lockmigrate.errors import ConfigError, ConnectError, ConnectReason
from lockmigrate.transports.advertising import printable
from lockmigrate.transports.ble_errors import not_seen, scan_error, stack_error
from lockmigrate.transports.gatt import Advertised

START_LIMIT_S: Final = 30.0
"""Upper bound for starting a scan: macOS may ask the person for permission first."""
STOP_LIMIT_S: Final = 5.0
SETTLE_S: Final = 0.3
"""How much longer a unit without a name is listened to: its scan response follows its advertisement."""
NAME_SETTLE_S: Final = 2.0
"""How much longer to listen when a unit is asked for by name: a second one of that name would make it ambiguous."""
_MAC_ADDRESS: Final = re.compile(r"[0-9A-F]{2}([:-][0-9A-F]{2}){5}")
_UUID: Final = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_RSSI_DBM: Final = range(-127, 21)
"""What an RSSI can be (Core 5.4, Vol 4 Part E, 7.7.65.2); 127 there, and bleak's -127 on Linux, mean "not known"."""


async def _nothing() -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The Bluetooth stack to go through; the system's by default."""

    scanner: type[BaseBleakScanner] | None = None
    client: type[BaseBleakClient] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the scanner's and the client's constructor get besides bleak's own arguments."""
    settled: bool = False
    """True where an advertisement comes with its scan response and the MTU is agreed on when connecting is done."""
    release: Callable[[], Awaitable[None]] = _nothing


async def open_stack(hci: str | None) -> Stack:
    """Return the system's stack, or our own on the controller behind an HCI string of Bumble's.

    Raises:
        ConfigError: Bumble is not installed.
        ConnectError: the controller cannot be opened.
    """
    if hci is None:
        return Stack()
    try:
        from lockmigrate.transports.bumble import BumbleClient, BumbleScanner, bumble_host
    except ImportError:
        raise ConfigError(
            "a Bluetooth controller of its own needs Bumble", hint='install it with `pip install "lockmigrate[sim]"`'
        ) from None
    try:
        host = await bumble_host(hci)
    except Exception as error:
        raise stack_error(hci, error) from error
    return Stack(scanner=BumbleScanner, client=BumbleClient, options={"host": host}, settled=True, release=host.release)


def address_kind(address: str) -> str:
    """Return what a unit is asked for by: `mac`, `uuid` (macOS), or else its complete local `name`."""
    if _MAC_ADDRESS.fullmatch(address.upper()):
        return "mac"
    return "uuid" if _UUID.fullmatch(address.upper()) else "name"


async def scan_ble(
    duration_s: float, *, hci: str | None = None, stack: Stack | None = None
) -> AsyncIterator[Advertised]:
    """Yield who is in reach: each unit when it is first seen and again whenever it is heard, the last one counts.

    Everything that a unit said during the scan is put together, with the latest RSSI; Linux may add service data that
    it remembers from before.

    Raises:
        ConfigError, ConnectError: Bluetooth cannot be used.
    """
    async with _stack(hci, stack) as open_one, _scanning(open_one) as queue:
        until_s = asyncio.get_running_loop().time() + duration_s
        while True:
            try:
                async with asyncio.timeout_at(until_s):
                    _, seen = await queue.get()
            except TimeoutError:
                return
            yield seen


async def find_ble(
    address: str, *, hci: str | None = None, timeout_s: float = 15.0, stack: Stack | None = None
) -> Advertised:
    """Return what a unit says of itself, as soon as it is seen.

    Args:
        address: MAC address, UUID (macOS), or the unit's complete local name.
        hci: HCI string; None for the system's stack.
        timeout_s: how long to look.
        stack: taken instead of `hci`; stays open.

    Raises:
        ConfigError, ConnectError: Bluetooth cannot be used, the unit is not seen, or several have that name.
    """
    async with _stack(hci, stack) as open_one:
        return (await find(address, open_one, timeout_s))[1]


async def find(address: str, stack: Stack, timeout_s: float) -> tuple[BLEDevice, Advertised]:
    """Scan until a unit is seen; returns it as bleak wants it, too. Raises as `find_ble` does."""
    kind = address_kind(address)
    settle_s = NAME_SETTLE_S if kind == "name" else SETTLE_S
    found: dict[str, tuple[BLEDevice, Advertised]] = {}
    others: set[str] = set()
    async with _scanning(stack) as queue:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout_at(until_s):
                    device, seen = await queue.get()
                if not _is_it(address, kind, seen):
                    others.add(seen.address)
                    continue
                if not found:
                    until_s = loop.time() + settle_s
                found[seen.address] = (device, seen)
                if kind != "name" and (seen.name or stack.settled):
                    break
    if not found:
        others_kind = kind == ("mac" if sys.platform == "darwin" and stack.scanner is None else "uuid")
        raise not_seen(f"ble://{address}", seconds=timeout_s, others=len(others), others_kind=others_kind)
    if len(found) > 1:
        raise ConnectError(
            f"{len(found)} units in reach call themselves {address}",
            reason=ConnectReason.FAILED,
            hint=f"name one by its address: {', '.join(sorted(found))}",
        )
    return next(iter(found.values()))


def _is_it(address: str, kind: str, seen: Advertised) -> bool:
    if kind == "name":
        return seen.name == address
    return seen.address.upper().replace("-", ":") == address.upper().replace("-", ":")


@contextlib.asynccontextmanager
async def _scanning(stack: Stack) -> AsyncIterator[asyncio.Queue[tuple[BLEDevice, Advertised]]]:
    book: dict[str, Advertised] = {}
    queue: asyncio.Queue[tuple[BLEDevice, Advertised]] = asyncio.Queue()

    def heard(device: BLEDevice, data: AdvertisementData) -> None:
        book[device.address] = _merged(book.get(device.address), device, data)
        queue.put_nowait((device, book[device.address]))

    try:
        scanner = BleakScanner(heard, backend=stack.scanner, **stack.options)
        async with asyncio.timeout(START_LIMIT_S):
            await scanner.start()
    except Exception as error:
        raise scan_error(error) from error
    try:
        yield queue
    finally:
        with contextlib.suppress(Exception):  # whatever it is, the scan is over
            async with asyncio.timeout(STOP_LIMIT_S):
                await scanner.stop()


def _merged(before: Advertised | None, device: BLEDevice, data: AdvertisementData) -> Advertised:
    """Put together what a unit has said so far: macOS reports scan responses by themselves."""
    if before is None:
        before = Advertised(address=device.address)
    name = data.local_name or device.name
    rssi_known = data.rssi in _RSSI_DBM and data.rssi != _RSSI_DBM.start
    uuids = dict.fromkeys((*before.service_uuids, *(uuid.lower() for uuid in data.service_uuids)))
    return Advertised(
        address=device.address,
        name=printable(name) if name else before.name,
        rssi_dbm=data.rssi if rssi_known else before.rssi_dbm,
        service_uuids=tuple(uuids),
        service_data={**before.service_data, **{uuid.lower(): bytes(it) for uuid, it in data.service_data.items()}},
        manufacturer_data={
            **before.manufacturer_data,
            **{company: bytes(it) for company, it in data.manufacturer_data.items()},
        },
    )


@contextlib.asynccontextmanager
async def _stack(hci: str | None, given: Stack | None) -> AsyncIterator[Stack]:
    """Open a stack for as long as it is needed; one that was given stays open."""
    if given is not None:
        yield given
        return
    stack = await open_stack(hci)
    try:
        yield stack
    finally:
        with contextlib.suppress(Exception):
            await stack.release()
