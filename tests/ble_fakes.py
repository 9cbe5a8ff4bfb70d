"""A scripted Bluetooth stack for bleak: who is heard when, how connecting ends, and what a unit answers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError

from lockmigrate.transports.ble import Stack
from lockmigrate.transports.gatt import Channel

ADDRESS = "AA:BB:CC:DD:EE:01"
NAME = "Lock_01"
SERVICE = "5f1d0001-6c6f-636b-6d69-677261746521"
COMMAND = "5f1d0002-6c6f-636b-6d69-677261746521"
EVENT = "5f1d0003-6c6f-636b-6d69-677261746521"
INFO = "5f1d0005-6c6f-636b-6d69-677261746521"
OTHER = "5f1d0006-6c6f-636b-6d69-677261746521"
OTHER_EVENT = "5f1d0007-6c6f-636b-6d69-677261746521"
COMMANDS = Channel(write=COMMAND, notify=EVENT, response=False)
REQUESTS = Channel(write=COMMAND, notify=EVENT, response=True)
OTHERS = Channel(write=OTHER, notify=OTHER_EVENT, response=True)
TABLE: tuple[tuple[str, list[Any]], ...] = (
    (COMMAND, ["write", "write-without-response"]),
    (EVENT, ["notify"]),
    (INFO, ["read"]),
    (OTHER, ["write"]),
    (OTHER_EVENT, ["indicate"]),
)


@dataclass(kw_only=True)
class Heard:
    """One report of the scanner."""

    after_s: float = 0.1
    address: str = ADDRESS
    name: str | None = NAME
    rssi: int = -60
    uuids: list[str] = field(default_factory=list)
    service_data: dict[str, bytes] = field(default_factory=dict)
    manufacturer_data: dict[int, bytes] = field(default_factory=dict)


@dataclass(kw_only=True)
class Script:
    """What happens, and what happened."""

    heard: list[Heard] = field(default_factory=lambda: [Heard()])
    """In each scan anew."""
    start_error: BaseException | None = None
    connects: deque[BaseException | float | str | None] = field(default_factory=deque)
    """For each try: an error, seconds after which it stands, "hang", "hang up" (in the middle), "stumble" (the same,
    but the system gets up by itself), None: at once."""
    work: Callable[[FakeClient, str, str, bytes], Awaitable[Any]] | None = None
    """What the unit does with ("read" | "write" | "request" | "subscribe" | "unsubscribe" | "pair", UUID, data)."""
    disconnect_hangs: bool = False
    mtu: int = 247
    table: tuple[tuple[str, list[Any]], ...] = TABLE
    log: list[str] = field(default_factory=list)
    clients: list[FakeClient] = field(default_factory=list)
    released: int = 0

    @property
    def stack(self) -> Stack:
        """The stack to hand to `open_ble`."""

        async def release() -> None:
            self.released += 1

        return Stack(scanner=FakeScanner, client=FakeClient, options={"script": self}, settled=True, release=release)

    @property
    def client(self) -> FakeClient:
        """The latest client."""
        return self.clients[-1]


class FakeScanner(BaseBleakScanner):
    def __init__(self, callback: Any, service_uuids: Any, _mode: str, *, script: Script, **_kwargs: Any) -> None:
        super().__init__(callback, service_uuids)
        self._script = script
        self._timers: list[asyncio.TimerHandle] = []

    async def start(self) -> None:
        if self._script.start_error is not None:
            raise self._script.start_error
        self._script.log.append("scan")
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(heard.after_s, self._hear, heard) for heard in self._script.heard]

    async def stop(self) -> None:
        self._script.log.append("scan ended")
        for timer in self._timers:
            timer.cancel()

    def _hear(self, heard: Heard) -> None:
        data = AdvertisementData(
            local_name=heard.name,
            manufacturer_data=heard.manufacturer_data,
            service_data=heard.service_data,
            service_uuids=heard.uuids,
            tx_power=None,
            rssi=heard.rssi,
            platform_data=(),
        )
        self.call_detection_callbacks(
            self.create_or_update_device(heard.address, heard.address, heard.name, None, data), data
        )


class FakeClient(BaseBleakClient):
    def __init__(self, device: BLEDevice | str, *, script: Script, **kwargs: Any) -> None:
        super().__init__(device, disconnected_callback=kwargs["disconnected_callback"], timeout=kwargs["timeout"])
        self._script = script
        self._connected = False
        self.callbacks: dict[str, NotifyCallback] = {}

    @property
    def mtu_size(self) -> int:
        raise AssertionError("23 for ever on Linux: nobody may ask")

    @property
    def is_connected(self) -> bool:
        return self._connected

    async def connect(self, pair: bool, **_kwargs: Any) -> None:
        script = self._script
        script.clients.append(self)
        script.log.append("connect")
        outcome = script.connects.popleft() if script.connects else None
        if outcome == "hang":
            await asyncio.get_running_loop().create_future()
        if outcome == "hang up":
            asyncio.get_running_loop().call_later(0.1, self.lose)
            await asyncio.get_running_loop().create_future()
        if outcome == "stumble":
            self.lose()
            await asyncio.sleep(1.0)
        if isinstance(outcome, float):
            await asyncio.sleep(outcome)
        if isinstance(outcome, BaseException):
            raise outcome
        self.services = self._discover()
        self._connected = True

    def _discover(self) -> BleakGATTServiceCollection:
        found = BleakGATTServiceCollection()
        service = BleakGATTService(None, 1, SERVICE)
        found.add_service(service)
        for handle, (uuid, properties) in enumerate(self._script.table, start=2):
            found.add_characteristic(
                BleakGATTCharacteristic(None, handle, uuid, properties, lambda: self._script.mtu - 3, service)
            )
        return found

    async def disconnect(self) -> None:
        self._script.log.append("disconnect")
        if self._script.disconnect_hangs:
            await asyncio.get_running_loop().create_future()
        self.lose()

    def lose(self) -> None:
        """The connection is gone: what the system tells."""
        if self._connected or not self.services:
            self._connected = False
            if self._disconnected_callback is not None:
                self._disconnected_callback()

    def notify(self, uuid: str, data: bytes) -> None:
        """The unit sends a notification."""
        self.callbacks[uuid](bytearray(data))

    async def _do(self, what: str, uuid: str = "", data: bytes = b"") -> Any:
        if not self._connected:
            raise BleakError("Not connected")
        self._script.log.append(f"{what} {uuid[4:8]} {data.hex()}".strip())
        return await self._script.work(self, what, uuid, data) if self._script.work is not None else None

    async def pair(self, *_args: Any, **_kwargs: Any) -> None:
        await self._do("pair")

    async def unpair(self) -> None:
        raise NotImplementedError

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        return bytearray(await self._do("read", characteristic.uuid) or b"")

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        raise NotImplementedError

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        await self._do("request" if response else "write", characteristic.uuid, bytes(data))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        raise NotImplementedError

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_kwargs: Any
    ) -> None:
        assert characteristic.uuid not in self.callbacks, "subscribed twice: an error on macOS"
        self.callbacks[characteristic.uuid] = callback
        try:
            await self._do("subscribe", characteristic.uuid)
        except BaseException:
            del self.callbacks[characteristic.uuid]
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        await self._do("unsubscribe", characteristic.uuid)
        self.callbacks.pop(characteristic.uuid, None)
