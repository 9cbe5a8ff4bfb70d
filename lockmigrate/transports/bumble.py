"""bleak's back end on Bumble, for controllers that the system does not drive: dongles, and simulated radios.

`BleakClient(device, backend=BumbleClient)` and `BleakScanner(backend=BumbleScanner, host=await bumble_host("usb:0"))`.
Only what bleak documents leaves these classes: BleakError and its kin, and TimeoutError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

from bleak.args import SizedBuffer
from bleak.assigned_numbers import CHARACTERISTIC_PROPERTIES
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError

from lockmigrate.transports.advertising import parse_advertisement, structures
from lockmigrate.transports.bumble_host import BumbleHost, bumble_host, finished, guarded
from lockmigrate.transports.gatt import ATT_HEADER_BYTES, DEFAULT_MTU

from bumble import core, hci  # isort: skip  # after ours, which says in plain words that it is missing
from bumble.att import ATT_Error  # isort: skip
from bumble.device import Advertisement, Connection, Peer  # isort: skip

__all__ = ["BumbleClient", "BumbleHost", "BumbleScanner", "bumble_host"]

T = TypeVar("T")

MAX_MTU: Final = 517
"""What we offer: one more than the longest attribute in one write request needs (Core 5.4, Vol 3 Part F, 3.2.9)."""
MAX_VALUE_BYTES: Final = 512
"""The longest attribute (Core 5.4, Vol 3 Part F, 3.2.9)."""
PAIR_LIMIT_S: Final = 30.0
"""The time-out of the pairing protocol itself (Core 5.4, Vol 3 Part H, 3.4)."""
ENCRYPT_LIMIT_S: Final = 10.0
UNSENT_PACKETS: Final = 16
"""With more than this in the queue to the controller, a write command waits: there is no other brake."""
SETTLE_S: Final = 0.005
"""How long after the end of a link what arrived before it has to reach those who wait."""
CCCD: Final = "00002902-0000-1000-8000-00805f9b34fb"
"""Client Characteristic Configuration (Assigned Numbers, 3.7)."""
TX_POWER: Final = 0x0A
"""Assigned Numbers, 2.3."""
REQUEST_NOT_SUPPORTED: Final = 0x06
TERMINATED_BY_US: Final = 0x16
"""Core 5.4, Vol 1 Part F, 2.22."""


def uuid_text(uuid: core.UUID) -> str:
    """Return Bumble's UUID in bleak's form: 36 characters, lower case."""
    return str(UUID(bytes=uuid.to_bytes(force_128=True)[::-1]))


# ---- scanning --------------------------------------------------------------------------------------------------------


class BumbleScanner(BaseBleakScanner):
    """Looks for units. It always scans actively; reports that say nothing new are not repeated to the callbacks."""

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        scanning_mode: Literal["active", "passive"] = "active",
        *,
        host: BumbleHost,
        **_kwargs: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._host = host

    async def start(self) -> None:
        """Start; what was seen before is forgotten."""
        self.seen_devices = {}
        await self._host.start_scan(self._heard)

    async def stop(self) -> None:
        """Stop."""
        await self._host.stop_scan(self._heard)

    def _heard(self, advertisement: Advertisement) -> None:
        said = advertised(bytes(advertisement.data), advertisement.rssi)
        if not self.is_allowed_uuid(said.service_uuids):
            return
        address = advertisement.address.to_string(False)
        _, before = self.seen_devices.get(address, (None, None))
        details = {"host": self._host, "address": advertisement.address}
        device = self.create_or_update_device(address, address, said.local_name, details, said)
        if before != said:
            for callback in tuple(self._ad_callbacks.values()):
                guarded(callback, device, said)


def advertised(data: bytes, rssi_dbm: int) -> AdvertisementData:
    """Return what a unit said of itself as bleak has it; what is malformed is left out, nothing raises.

    Args:
        data: AD structures, those of the scan response behind the others.
        rssi_dbm: The strength of the signal.
    """
    said = parse_advertisement(data, address="")
    powers = [int.from_bytes(value[:1], "little", signed=True) for kind, value in structures(data) if kind == TX_POWER]
    return AdvertisementData(
        local_name=said.name,
        manufacturer_data=dict(said.manufacturer_data),
        service_data=dict(said.service_data),
        service_uuids=list(said.service_uuids),
        tx_power=powers[0] if powers else None,
        rssi=rssi_dbm,
        platform_data=(),
    )


# ---- a connection ----------------------------------------------------------------------------------------------------


class BumbleClient(BaseBleakClient):
    """One connection to one unit.

    Args:
        address_or_ble_device: What a `BumbleScanner` found; or an address, which is looked for first (it does not say
            whether it is a public or a random one), then `host` is needed.
        host: The controller to use.
        mtu: The MTU to ask for.
        pair_limit_s: Upper bound for pairing.
    """

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        disconnected_callback: Callable[[], None] | None = None,
        timeout: float = 30.0,
        services: set[str] | None = None,
        host: BumbleHost | None = None,
        mtu: int = MAX_MTU,
        pair_limit_s: float = PAIR_LIMIT_S,
        **_kwargs: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._address: hci.Address | None = None
        self._name: str | None = None
        if isinstance(address_or_ble_device, BLEDevice):
            self._name = address_or_ble_device.name
            host = address_or_ble_device.details["host"]
            self._address = address_or_ble_device.details["address"]
        if host is None:
            raise BleakError("an address alone needs host=, the controller to use")
        self._host = host
        self._wanted_services = services
        self._wanted_mtu = mtu
        self._pair_limit_s = pair_limit_s
        self._connection: Connection | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._announced = False
        """Whether the callback is owed news of the end."""
        self._news: asyncio.TimerHandle | None = None
        self._ending = False
        self.last_reason: int | None = None
        """Why the last connection ended: an HCI error code (Core 5.4, Vol 1 Part F); 0x08 is out of reach, 0x13 hung
        up by the unit, 0x16 by us, 0 the controller itself went away."""

    @property
    def name(self) -> str:
        """The advertised name, or the address with dashes."""
        return self._name or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """The MTU in bytes."""
        return int(self._connection.att_mtu) if self._connection else DEFAULT_MTU

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands."""
        return self._connection is not None

    async def connect(self, pair: bool, **_kwargs: Any) -> None:
        """Connect, encrypt where we are bonded, agree on an MTU and learn the unit's services.

        Raises:
            TimeoutError: the unit does not answer.
            BleakDeviceNotFoundError: an address that nobody advertises.
            BleakError: anything else.
        """
        if self._connection is not None:
            raise BleakError("the client is already connected")
        if self._news is not None:
            self._news.cancel()
            self._over()
        self._host.check()
        if self._address is None:
            self._address = await self._look_for()
        connection = await self._host.connect(self._address, self._timeout)
        if self._host.device.connections.get(connection.handle) is not connection:
            raise BleakError("the link was lost as soon as it stood")
        self._announced = self._ending = False
        self.last_reason = None
        self._connection = connection
        connection.on("disconnection", self._disconnected)
        try:
            await self._encrypt(connection, pair=pair)
            await self._agree_on_mtu(connection)
            self.services = await self._discover(connection)
        except BaseException:
            await self.disconnect()
            raise
        self._announced = True

    async def _look_for(self) -> hci.Address:
        found: asyncio.Future[hci.Address] = asyncio.get_running_loop().create_future()
        wanted = self.address.upper()

        def heard(advertisement: Advertisement) -> None:
            if advertisement.address.to_string(False).upper() == wanted and not found.done():
                found.set_result(advertisement.address)

        await self._host.start_scan(heard)
        try:
            async with asyncio.timeout(self._timeout):
                return await found
        except TimeoutError:
            raise BleakDeviceNotFoundError(self.address, f"{self.address} was not found") from None
        finally:
            await self._host.stop_scan(heard)

    async def _encrypt(self, connection: Connection, *, pair: bool) -> None:
        """A link to a unit that we are bonded with is not encrypted by itself."""
        if await self._host.keystore.get(str(connection.peer_address)) is not None:
            try:
                async with asyncio.timeout(ENCRYPT_LIMIT_S):
                    await self._ask(connection.encrypt())
            except (BleakError, TimeoutError) as error:
                raise BleakError(f"the unit does not take up the bond (unpair, then pair again): {error}") from error
        elif pair:
            await self.pair()

    async def _agree_on_mtu(self, connection: Connection) -> None:
        try:
            await self._ask(Peer(connection).request_mtu(self._wanted_mtu))
        except BleakGATTProtocolError as error:
            if error.code != REQUEST_NOT_SUPPORTED:
                raise

    async def _discover(self, connection: Connection) -> BleakGATTServiceCollection:
        found = BleakGATTServiceCollection()
        for service in await self._ask(Peer(connection).discover_services()):
            uuid = uuid_text(service.uuid)
            if self._wanted_services is not None and uuid not in self._wanted_services:
                continue
            ours = BleakGATTService(service, service.handle, uuid)
            found.add_service(ours)
            for item in await self._ask(service.discover_characteristics()):
                properties = [name for bit, name in CHARACTERISTIC_PROPERTIES.items() if item.properties & bit]
                characteristic = BleakGATTCharacteristic(
                    item, item.handle, uuid_text(item.uuid), properties, self._command_size, ours
                )
                found.add_characteristic(characteristic)
                for descriptor in await self._ask(item.discover_descriptors()):
                    found.add_descriptor(
                        BleakGATTDescriptor(descriptor, descriptor.handle, uuid_text(descriptor.type), characteristic)
                    )
        return found

    def _command_size(self) -> int:
        return self.mtu_size - ATT_HEADER_BYTES

    def _disconnected(self, reason: int) -> None:
        """Bumble says that the link is gone, whoever ended it."""
        if self._connection is None:
            return
        self.last_reason = int(reason)
        self._connection = None  # `services` stay, so that later calls say that we are not connected
        if self._ending:
            self._over()
        else:
            # What arrived just before the end is still on its way to whoever waits for it.
            self._news = asyncio.get_running_loop().call_later(SETTLE_S, self._over)

    def _over(self) -> None:
        """End what Bumble would let wait for ever, and tell."""
        self._news = None
        for task in tuple(self._running):
            task.cancel()
        announced, self._announced = self._announced, False
        if announced and self._disconnected_callback is not None:
            guarded(self._disconnected_callback)

    async def disconnect(self) -> None:
        """Disconnect; never raises for a link that is already gone."""
        connection = self._connection
        if connection is None:
            return
        self._ending = True
        await self._host.hang_up(connection)
        # Where the controller says nothing any more, it is over for us all the same.
        self._disconnected(TERMINATED_BY_US)

    async def pair(self, *_args: Any, **_kwargs: Any) -> None:
        """Pair and bond. When it fails, the link is dropped: a second try on the same one would never end.

        Raises:
            BleakError: it failed, or took too long.
        """
        connection = self._need()
        if connection.is_encrypted:
            return
        try:
            async with asyncio.timeout(self._pair_limit_s):
                await self._ask(connection.pair())
        except BaseException as error:
            await self.disconnect()
            if isinstance(error, TimeoutError):
                raise BleakError(f"pairing took longer than {self._pair_limit_s:g} s") from error
            if isinstance(error, BleakError):
                raise BleakError(f"pairing failed: {error}") from error
            raise

    async def unpair(self) -> None:
        """Forget the bond, and disconnect."""
        address = self._connection.peer_address if self._connection else self._address
        if address is not None:
            await self._host.keystore.delete(str(address))
        await self.disconnect()

    # ---- GATT --------------------------------------------------------------------------------------------------------

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        """Read a characteristic, however long its value is."""
        return bytearray(await self._ask(self._need().gatt_client.read_value(characteristic.handle)))

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **_kwargs: Any
    ) -> bytearray:
        """Read a descriptor."""
        return bytearray(await self._ask(self._need().gatt_client.read_value(descriptor.handle)))

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """Write a characteristic; a request that does not fit goes as a long write.

        Raises:
            BleakError: longer than the MTU allows a command, or an attribute, to be. Nothing was sent.
        """
        connection = self._need()
        value = bytes(data)
        limit = MAX_VALUE_BYTES if response else self._command_size()
        if len(value) > limit:
            raise BleakError(f"{len(value)} bytes do not fit a write {'request' if response else 'command'} ({limit})")
        await self._ask(connection.gatt_client.write_value(characteristic.handle, value, with_response=response))
        if not response:
            queue = connection.data_packet_queue
            if queue is not None and queue.pending > UNSENT_PACKETS:
                await self._ask(connection.drain())

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Write a descriptor."""
        client = self._need().gatt_client
        await self._ask(client.write_value(descriptor.handle, bytes(data), with_response=True))

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_kwargs: Any
    ) -> None:
        """Subscribe: to notifications where there is the choice. Values come in order, within the packet's arrival."""
        client = self._need().gatt_client
        descriptor = characteristic.get_descriptor(CCCD)
        notify = "notify" in characteristic.properties
        if descriptor is None or not (notify or "indicate" in characteristic.properties):
            raise BleakError(f"{characteristic.uuid} sends nothing by itself")
        subscribers = client.notification_subscribers if notify else client.indication_subscribers
        # Before the unit is told: it may answer with a value at once.
        subscribers[characteristic.handle] = {lambda value: guarded(callback, bytearray(value))}
        try:
            bits = b"\x01\x00" if notify else b"\x02\x00"
            await self._ask(client.write_value(descriptor.handle, bits, with_response=True))
        except BaseException:
            subscribers.pop(characteristic.handle, None)
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe; what still comes is dropped."""
        client = self._need().gatt_client
        for subscribers in (client.notification_subscribers, client.indication_subscribers):
            subscribers.pop(characteristic.handle, None)
        descriptor = characteristic.get_descriptor(CCCD)
        if descriptor is not None:
            await self._ask(client.write_value(descriptor.handle, b"\x00\x00", with_response=True))

    def _need(self) -> Connection:
        if self._connection is None:
            raise BleakError("not connected")
        return self._connection

    async def _ask(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a request of Bumble's, which ends at once when the link does, and goes on when our caller is cancelled.

        Raises:
            BleakGATTProtocolError: the unit refused.
            BleakError: the link is gone, the unit is silent for 30 s (the link is dropped then), or it talks nonsense.
        """
        if self._connection is None:
            coroutine.close()
            raise BleakError("not connected")
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await finished(task)
        except ATT_Error as error:
            raise BleakGATTProtocolError(int(error.error_code)) from error
        except core.TimeoutError as error:
            # The transaction time-out: nothing may be asked on this link any more (Core 5.4, Vol 3 Part F, 3.3.3).
            await self.disconnect()
            raise BleakError(f"the unit does not answer: {error}") from error
        except BleakError:
            raise
        except Exception as error:
            raise BleakError(f"the unit's answer cannot be used: {type(error).__name__}: {error}") from error
