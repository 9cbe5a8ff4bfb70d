"""A simulated unit on a simulated radio: a `GattDevice` as a real GATT server of Bumble's."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from bumble import att, core, hci
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.gatt import Characteristic, Service
from bumble.host import Host
from bumble.keys import MemoryKeyStore
from bumble.transport.common import AsyncPipeSink

from lockmigrate.errors import LockmigrateError
from lockmigrate.sim.radio import HUNG_UP, Radio
from lockmigrate.transports.gatt import (
    ADVERTISING_BYTES,
    ATT_HEADER_BYTES,
    Emitted,
    GattCharacteristic,
    GattDevice,
    GattRefusal,
)

T = TypeVar("T")

INTERVAL_S: Final = 0.02
"""The shortest advertising interval (Core 5.4, Vol 4 Part E, 7.8.5)."""
POWERED_OFF: Final = 0x15
UNLIKELY_ERROR: Final = 0x0E
READ_NOT_PERMITTED: Final = 0x02
WRITE_NOT_PERMITTED: Final = 0x03
"""Core 5.4, Vol 3 Part F, 3.4.1.1."""
DRAIN_EVERY: Final = 16
"""Notifications have no brake of their own."""
COMPLETE_NAME: Final = 0x09
SHORTENED_NAME: Final = 0x08
"""Assigned Numbers, 2.3."""
PROPERTIES: Final = {
    "read": Characteristic.Properties.READ,
    "write": Characteristic.Properties.WRITE,
    "write-without-response": Characteristic.Properties.WRITE_WITHOUT_RESPONSE,
    "notify": Characteristic.Properties.NOTIFY,
    "indicate": Characteristic.Properties.INDICATE,
}


class Peripheral:
    """Hosts one simulated unit: its clock, the queue of what it sends, its advertisement. One client at a time.

    Args:
        unit: The state machine.
        radio: Where it is heard.
        interval_s: The advertising interval.
        encrypted: UUIDs of the characteristics that may be read and written on an encrypted link only.
    """

    def __init__(
        self, unit: GattDevice, radio: Radio, *, interval_s: float = INTERVAL_S, encrypted: Collection[str] = ()
    ) -> None:
        self.unit = unit
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the error of a unit that cannot go on (its memory cannot be kept); else never."""
        self._radio = radio
        self._loop = asyncio.get_running_loop()
        self._interval_s = interval_s
        address = hci.Address(unit.address)
        if not address.is_static:
            # A random address that stays has its two top bits set (Core 5.4, Vol 6 Part B, 1.3.2.1).
            address = hci.Address(unit.address, hci.AddressType.PUBLIC_DEVICE)
        self._public = address.is_public
        self._controller = radio.controller(unit.name, address if self._public else None)
        self.device = Device(
            config=DeviceConfiguration(
                name=unit.name, address=hci.Address.generate_static_address() if self._public else address
            ),
            host=Host(self._controller, AsyncPipeSink(self._controller)),
        )
        """Bumble's device, for pairing delegates and the like."""
        self.device.keystore = MemoryKeyStore()
        self._server = self.device.gatt_server
        self._server.max_mtu = unit.max_mtu
        self._characteristics: dict[str, Characteristic[bytes]] = {}
        self._add_services(frozenset(encrypted))
        self.device.on("connection", self._connected)
        self._connection: Connection | None = None
        self._queue: deque[Emitted] = deque()
        self._queued = asyncio.Event()
        self._state_changed = asyncio.Event()
        self._on_air = b""
        self._timer: asyncio.TimerHandle | None = None
        self._advertiser: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether a client is connected."""
        return self._connection is not None

    async def start(self) -> None:
        """Switch it on.

        Raises:
            LockmigrateError: its advertisement is longer than fits.
        """
        self._advertisement()
        await self.device.power_on()
        self._advertiser = asyncio.create_task(self._advertise())
        self._after()

    async def stop(self) -> None:
        """Switch it off; a client is told so."""
        if self._advertiser is not None:
            # Not cancelled: the answer to a command of its own would find nobody, and Bumble raises then.
            advertiser, self._advertiser = self._advertiser, None
            self._state_changed.set()
            await asyncio.wait({advertiser})
        if self._connection is not None:
            await self._hang_up(self._connection, POWERED_OFF)
        if self._timer is not None:
            self._timer.cancel()
        self._radio.remove_controller(self._controller)
        await self.device.power_off()

    async def __aenter__(self) -> Peripheral:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Stop."""
        await self.stop()

    # ---- the server --------------------------------------------------------------------------------------------------

    def _add_services(self, encrypted: frozenset[str]) -> None:
        for service in self.unit.services:
            made = [self._characteristic(found, found.uuid in encrypted) for found in service.characteristics]
            self.device.add_service(Service(core.UUID(service.uuid), made))
        # Bumble lets a request in where only commands are allowed, and the other way round.
        self._server.on_att_write_request = self._checked(
            self._server.on_att_write_request, Characteristic.Properties.WRITE
        )
        self._server.on_att_prepare_write_request = self._checked(  # type: ignore[method-assign]
            self._server.on_att_prepare_write_request, Characteristic.Properties.WRITE
        )
        self._server.on_att_write_command = self._checked(
            self._server.on_att_write_command, Characteristic.Properties.WRITE_WITHOUT_RESPONSE
        )

    def _characteristic(self, ours: GattCharacteristic, encrypted: bool) -> Characteristic[bytes]:
        properties = Characteristic.Properties(0)
        for word in ours.properties:
            properties |= PROPERTIES[word]
        permissions = att.Attribute.Permissions.READABLE | att.Attribute.Permissions.WRITEABLE
        if encrypted:
            permissions |= att.Attribute.Permissions.READ_REQUIRES_ENCRYPTION
            permissions |= att.Attribute.Permissions.WRITE_REQUIRES_ENCRYPTION
        readable = "read" in ours.properties
        made: Characteristic[bytes] = Characteristic(
            core.UUID(ours.uuid),
            properties,
            permissions,
            att.AttributeValue(
                read=lambda _connection: self._read(ours.uuid, readable),
                write=lambda _connection, data: self._write(ours.uuid, data),
            ),
        )
        made.on("subscription", lambda _bearer, notify, indicate: self._subscribed(ours.uuid, notify or indicate))
        self._characteristics[ours.uuid] = made
        return made

    def _checked(self, handler: Callable[[Any, Any], None], needed: Characteristic.Properties) -> Callable[..., None]:
        def check(bearer: Any, request: Any) -> None:
            attribute = self._server.get_attribute(request.attribute_handle)
            if not isinstance(attribute, Characteristic) or attribute.properties & needed:
                handler(bearer, request)
            elif needed != Characteristic.Properties.WRITE_WITHOUT_RESPONSE:  # a command is ignored without a word
                raise att.ATT_Error(WRITE_NOT_PERMITTED, request.attribute_handle)

        return check

    # All of these are called in the middle of Bumble's handling of a request, so they only note what is to be sent:
    # it leaves after the response, and in order (asynchronous handlers may overtake each other).

    def _read(self, uuid: str, readable: bool) -> bytes:
        if not readable:
            raise att.ATT_Error(READ_NOT_PERMITTED)
        return self._answered(lambda: self.unit.read(uuid))

    def _write(self, uuid: str, data: bytes) -> None:
        self._send_later(self._answered(lambda: self.unit.write(uuid, bytes(data), self._loop.time())))

    def _subscribed(self, uuid: str, on: bool) -> None:
        self._safely(lambda: self.unit.subscribed(uuid, on))
        self._after()

    def _answered(self, call: Callable[[], T]) -> T:
        """Ask the unit; whatever goes wrong becomes an answer, as silence would last 30 s."""
        try:
            return call()
        except GattRefusal as refusal:
            raise att.ATT_Error(refusal.code) from None
        except Exception as error:
            self._failed(error)
            raise att.ATT_Error(UNLIKELY_ERROR) from error

    def _safely(self, call: Callable[[], T]) -> T | None:
        """Tell the unit something that it cannot refuse."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # a unit's fault must not end Bumble's packet handling
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        if isinstance(error, LockmigrateError):
            if not self.done.done():
                self.done.set_exception(error)
        else:
            self._loop.call_exception_handler(
                {"message": f"the simulated unit {self.unit.name} failed: {type(error).__name__}", "exception": error}
            )

    # ---- connections and time ----------------------------------------------------------------------------------------

    def _connected(self, connection: Connection) -> None:
        self._connection = connection
        self._on_air = b""  # the controller stops advertising by itself
        connection.on("disconnection", lambda _reason: self._disconnected(connection))
        connection.on("connection_att_mtu_update", lambda: self._safely(lambda: self.unit.mtu(connection.att_mtu)))
        self._sender = asyncio.create_task(self._send(connection))
        self._send_later(self._safely(lambda: self.unit.connected(self._loop.time())))

    def _disconnected(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        self._queue.clear()
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        self._safely(self.unit.disconnected)
        self._after()

    def _tick(self, due_s: float) -> None:
        self._timer = None
        now_s = max(self._loop.time(), due_s)
        emitted = self._safely(lambda: self.unit.tick(now_s))
        # A unit that forgets to move on shall not stop the world: it is called again when something else happened.
        moved_on = self._safely(self.unit.due_s) != due_s
        self._send_later(emitted, set_timer=moved_on)

    def _send_later(self, emitted: list[Emitted] | None, *, set_timer: bool = True) -> None:
        if self._connection is not None:
            self._queue.extend(emitted or ())
            self._queued.set()
        self._after(set_timer=set_timer)

    def _after(self, *, set_timer: bool = True) -> None:
        """After whatever happened the unit may want to be called at another time, or say something else of itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = self._safely(self.unit.due_s)
        if due_s is not None and set_timer:
            self._timer = self._loop.call_at(due_s, self._tick, due_s)
        self._state_changed.set()

    # ---- sending -----------------------------------------------------------------------------------------------------

    async def _send(self, connection: Connection) -> None:
        """Send what is due, one after the other, until the link ends."""
        try:
            for count in itertools.count(1):
                one = await self._next()
                if self._connection is not connection:
                    # Our cancellation can get lost inside asyncio.wait_for (Python 3.11), where Bumble waits for a
                    # confirmation; whose turn it is now has a sender of its own.
                    self._queue.appendleft(one)
                    self._queued.set()
                    return
                if one.uuid:
                    await self._notify(connection, one)
                    if count % DRAIN_EVERY == 0:
                        await connection.drain()
                if one.hangup:
                    self._queue.clear()
                    await self._end(connection, lost=one.lost)
                    return
        except Exception as error:  # noqa: BLE001  # reported; the client is not left waiting for what will not come
            self._failed(error)
            await self._hang_up(connection, HUNG_UP)

    async def _next(self) -> Emitted:
        while True:
            self._queued.clear()
            wait_s = self._queue[0].at_s - self._loop.time() if self._queue else None
            if wait_s is not None and wait_s <= 0:
                return self._queue.popleft()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._queued.wait()

    async def _notify(self, connection: Connection, one: Emitted) -> None:
        characteristic = self._characteristics[one.uuid]
        room = connection.att_mtu - ATT_HEADER_BYTES
        if len(one.data) > room:
            raise ValueError(f"{len(one.data)} bytes do not fit a notification of {room}: Bumble would cut them")
        bits = self._server.read_cccd(connection, characteristic)[0]
        if bits & 1:
            await self._server.notify_subscriber(connection, characteristic, one.data)
        elif bits & 2:
            await self._server.indicate_subscriber(connection, characteristic, one.data)

    async def _end(self, connection: Connection, *, lost: bool) -> None:
        await connection.drain()
        if not lost:
            await self._hang_up(connection, HUNG_UP)
            return
        link = self._controller.find_le_connection_by_handle(connection.handle)
        if link is not None:
            self._radio.fade(link)

    async def _hang_up(self, connection: Connection, reason: int) -> None:
        """Disconnect, and go on with it when we are cancelled: the end of the link ends the task that asks for it."""
        task = asyncio.ensure_future(connection.disconnect(reason))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({task})

    # ---- advertising -------------------------------------------------------------------------------------------------

    def _advertisement(self) -> bytes:
        data = self.unit.advertisement()
        if len(data) > ADVERTISING_BYTES:
            raise LockmigrateError(
                f"the simulated unit {self.unit.name} advertises {len(data)} bytes, {ADVERTISING_BYTES} fit"
            )
        return data

    def _scan_response(self) -> bytes:
        name = self.unit.name.encode()
        room = ADVERTISING_BYTES - 2
        kind = COMPLETE_NAME if len(name) <= room else SHORTENED_NAME
        return bytes((len(name[:room]) + 1, kind)) + name[:room]

    async def _advertise(self) -> None:
        """Keep on the air what the unit says of itself; it is silent while a client is connected."""
        while True:
            await self._state_changed.wait()
            self._state_changed.clear()
            try:
                running = self._advertiser is not None
                wanted = self._advertisement() if running and self._connection is None else b""
                if wanted != self._on_air:
                    await self._change(wanted)
            except Exception as error:  # noqa: BLE001  # reported, and the unit is silent then
                self._failed(error)
            if self._advertiser is None:
                return

    async def _change(self, wanted: bytes) -> None:
        if wanted and self._on_air:
            await self.device.send_sync_command(hci.HCI_LE_Set_Advertising_Data_Command(advertising_data=wanted))
        elif wanted:
            await self.device.start_advertising(
                own_address_type=hci.OwnAddressType.PUBLIC if self._public else hci.OwnAddressType.RANDOM,
                advertising_data=wanted,
                scan_response_data=self._scan_response(),
                advertising_interval_min=self._interval_s * 1000,
                advertising_interval_max=self._interval_s * 1000,
            )
        else:
            await self.device.stop_advertising()
        self._on_air = wanted if self._connection is None else b""
