"""Units on Bluetooth LE, through bleak: one connection, and a link for each channel of it.

What the unit may keep us waiting for always races the loss of the connection, so that a unit that goes away is an
error at once and never a hang. Errors of bleak and of the systems become ours in `ble_errors`, nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.exc import BleakDeviceNotFoundError

from lockmigrate.errors import LinkClosed, LinkLost, LockmigrateError
from lockmigrate.transports.ble_errors import (
    LOST_HINT,
    adapter_error,
    cannot,
    insist_fits,
    is_clear,
    no_characteristic,
    not_connected,
    pairing_error,
    request_error,
    says_lost,
)
from lockmigrate.transports.ble_scan import Stack, find, find_ble, open_stack, scan_ble
from lockmigrate.transports.gatt import ATT_HEADER_BYTES, DEFAULT_MTU, Advertised, Channel
from lockmigrate.transports.gatt_link import GattLink

__all__ = ["BleConnection", "BleLink", "Stack", "find_ble", "open_ble", "scan_ble"]

T = TypeVar("T")

LOOK_S: Final = 15.0
"""How long a unit is looked for, and again how long each try to connect may take: a sleeping one is heard about once a
second, and Linux gives up a connection that does not come about after some 20 s."""
TRIES: Final = 4
BACKOFF_S: Final = (0.25, 1.0, 3.0)
"""Pauses before the second, third and every later try."""
SLACK_S: Final = 2.0
"""How much longer than bleak's own limit we wait, so that it can clean up by itself."""
HANG_UP_GRACE_S: Final = 3.0
"""How long a connection that breaks while it comes about may take to come about after all: on Linux bleak tries again
by itself after `le-connection-abort-by-local`."""
DISCONNECT_LIMIT_S: Final = 12.0
"""bleak itself waits up to 10 s on Linux, and for ever on macOS."""
UNSUBSCRIBE_LIMIT_S: Final = 5.0
PAIR_LIMIT_S: Final = 60.0
"""A person may have to confirm; the pairing protocol's own limit is 30 s a step (Core 5.4, Vol 3 Part H, 3.4)."""
LOSS_GRACE_S: Final = 0.25
"""How long a failure that could be a loss waits for the news of one."""
MTU_WAIT_S: Final = 0.5
"""How long we wait for the system to tell a larger MTU than the default; a unit that wants no larger one costs this."""
MTU_LOOKS: Final = 10
MAX_UNREAD: Final = 1 << 16
"""With this many notifications unread on a link nobody reads any more, and the connection is given up."""


async def open_ble(
    address: str,
    *,
    hci: str | None = None,
    timeout_s: float = LOOK_S,
    look_s: float | None = None,
    tries: int = TRIES,
    stack: Stack | None = None,
) -> BleConnection:
    """Look for a unit, connect, and find out what characteristics it has.

    Args:
        address: MAC address, UUID (macOS), or the unit's complete local name.
        hci: HCI string of a controller of our own (Bumble's notation); None for the system's stack.
        timeout_s: how long to look for it, and how long each try to connect may take.
        look_s: how long to look for it, where that is another time: some locks sleep until they are touched.
        tries: how often to try to connect once it was seen.
        stack: taken instead of `hci`; released with the connection.

    Raises:
        ConfigError: Bumble is not installed.
        ConnectError: Bluetooth cannot be used, the unit is not seen, or connecting fails.
    """
    stack = stack if stack is not None else await open_stack(hci)
    try:
        return await _open(f"ble://{address}", address, stack, timeout_s, tries, look_s or timeout_s)
    except BaseException:
        with contextlib.suppress(Exception):
            await stack.release()
        raise


async def _open(name: str, address: str, stack: Stack, timeout_s: float, tries: int, look_s: float) -> BleConnection:
    device, advertised = await find(address, stack, look_s)
    last: Exception = TimeoutError()
    for attempt in range(tries):
        if attempt:
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1])
        if isinstance(last, BleakDeviceNotFoundError):  # the system has forgotten it since the scan
            device, advertised = await find(address, stack, timeout_s)
        connection = BleConnection(name, device, advertised, stack, timeout_s)
        try:
            await connection.connect()
        except LockmigrateError:
            raise
        except Exception as error:
            if (trouble := adapter_error(error)) is not None:
                raise trouble from error
            last = error
        else:
            return connection
    raise not_connected(name, last, tries=tries) from last


class BleConnection:
    """An open connection to one unit. Implements Connection; made by `open_ble`."""

    def __init__(self, name: str, device: BLEDevice, advertised: Advertised, stack: Stack, timeout_s: float) -> None:
        self.advertised = advertised
        self.characteristics: frozenset[str] = frozenset()
        self._name = name
        self._stack = stack
        self._timeout_s = timeout_s
        self._client = BleakClient(
            device, self._on_disconnect, timeout=timeout_s, backend=stack.client, **dict(stack.options)
        )
        self._known: dict[str, BleakGATTCharacteristic] = {}
        self._links: dict[Channel, BleLink] = {}
        self._subscribed: set[str] = set()
        self._turn = asyncio.Lock()
        self._requests: set[asyncio.Task[Any]] = set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._why = f"the connection to {name} was lost"
        self._closed = False
        self._closing: asyncio.Future[None] | None = None

    # ---- Connection --------------------------------------------------------------------------------------------------

    async def link(self, channel: Channel) -> BleLink:
        """Subscribe and return the channel as a link. See `Connection.link`."""
        self.check()
        if (known := self._links.get(channel)) is not None:
            await self._subscribe(channel.notify)  # the first one to ask may still be at it, or have been cancelled
            return known
        written = self._characteristic(channel.write)
        if ("write" if channel.response else "write-without-response") not in written.properties:
            raise cannot(channel.write, "be written with an answer" if channel.response else "take write commands")
        if not {"notify", "indicate"} & set(self._characteristic(channel.notify).properties):
            raise cannot(channel.notify, "notify")
        link = BleLink(self, channel, written)
        self._links[channel] = link  # before the unit knows: its first notification may come with its answer
        try:
            await self._subscribe(channel.notify)
        except LockmigrateError:
            self._links.pop(channel, None)
            raise
        return link

    async def value(self, uuid: str) -> bytes:
        """Read a characteristic. See `Connection.value`.

        On Linux a value that is read while its characteristic is subscribed to also arrives as a notification.
        """
        self.check()
        characteristic = self._characteristic(uuid)
        data = await self.request(f"a read of {uuid}", lambda: self._client.read_gatt_char(characteristic))
        return bytes(data)

    async def close(self) -> None:
        """Disconnect; every waiting read and write ends with LinkClosed. See `Connection.close`."""
        if self._closing is None:
            self._closed = True
            for link in self._links.values():
                link.inbox.close()
            self._end()
            self._closing = asyncio.ensure_future(self._shut())
        await asyncio.shield(self._closing)

    async def pair(self) -> None:
        """Pair and bond with the unit. Where the system does that by itself when needed (macOS), nothing happens here.

        Raises:
            RefusedError: it fails, or the unit hangs up over it; connect again before another try.
            LinkLost: the connection was lost before.
            LinkClosed: after our own close.
        """
        self.check()

        async def start() -> None:
            try:
                async with asyncio.timeout(PAIR_LIMIT_S):
                    await self._client.pair()
            except NotImplementedError:
                return
            except Exception as error:
                raise pairing_error(error) from error

        try:
            await self.request("pairing", start)
        except LinkLost as error:
            raise pairing_error(error) from error

    # ---- what its links use ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Return if the connection is usable.

        Raises:
            LinkLost: the unit went out of reach.
            LinkClosed: after our own close.
        """
        if self._closed:
            raise LinkClosed
        if self._ended.done():
            raise LinkLost(self._why, hint=LOST_HINT)

    async def request(self, what: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Ask the unit for something: one request at a time, and no longer than the connection lasts.

        A request that is on its way when its caller is cancelled is not torn off: it ends by itself, and the next one
        waits for that. Otherwise its late answer would be taken for the next one's.

        Raises:
            LinkLost, LinkClosed: the connection ended.
            RefusedError: the unit refused it.
            LinkError: it failed otherwise.
        """
        self.check()
        under_way = False

        async def in_turn() -> T:
            nonlocal under_way
            async with self._turn:
                under_way = True
                return await start()

        task = asyncio.ensure_future(in_turn())
        self._requests.add(task)
        task.add_done_callback(self._request_done)
        either: set[asyncio.Future[Any]] = {task, self._ended}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not under_way:
                task.cancel()
            raise
        if not task.done():
            task.cancel()
            self.check()
        if task.cancelled():  # by the back end, or by our own end
            self._lost()
            self.check()
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, LockmigrateError):
            raise error
        await self._if_lost(error)
        self.check()
        raise request_error(what, error) from error

    async def unlink(self, link: BleLink) -> None:
        """Forget a link that was closed; if nobody listens any more, tell the unit, which may as well be gone."""
        uuid = link.channel.notify
        if self._links.get(link.channel) is link:
            del self._links[link.channel]

        async def stop() -> None:
            if uuid in self._subscribed and not self._listeners(uuid):
                self._subscribed.discard(uuid)
                await self._client.stop_notify(self._known[uuid])

        if not self._ended.done() and not self._listeners(uuid):
            with contextlib.suppress(LockmigrateError, TimeoutError):
                async with asyncio.timeout(UNSUBSCRIBE_LIMIT_S):
                    await self.request(f"unsubscribing from {uuid}", stop)

    async def write(self, characteristic: BleakGATTCharacteristic, data: bytes, *, response: bool) -> None:
        """Write a characteristic, whole. Raises as `request` does."""
        await self.request(
            f"a write to {characteristic.uuid}",
            lambda: self._client.write_gatt_char(characteristic, data, response=response),
        )

    # ---- connecting and its end --------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect once and discover; only `open_ble` calls it. Lets foreign errors through, with nothing left open."""
        connecting = asyncio.ensure_future(self._client.connect())
        try:
            await self._until_connected(connecting)
            await self._settle_mtu()
            known = self._client.services.characteristics
            for handle in sorted(known):  # on Linux they come in no order, and of two with one UUID the first counts
                self._known.setdefault(known[handle].uuid.lower(), known[handle])
        except BaseException:
            connecting.cancel()
            await self._disconnect(connecting)
            raise
        self.characteristics = frozenset(self._known)

    async def _until_connected(self, connecting: asyncio.Future[None]) -> None:
        either: set[asyncio.Future[None]] = {connecting, self._ended}
        await asyncio.wait(either, timeout=self._timeout_s + SLACK_S, return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done() and not connecting.done():
            await asyncio.wait({connecting}, timeout=HANG_UP_GRACE_S)
        if connecting.done() and not connecting.cancelled():
            connecting.result()
            if self._client.is_connected:
                if self._ended.done():
                    self._ended = asyncio.get_running_loop().create_future()
                return
        elif not connecting.done() and not self._ended.done():
            raise TimeoutError
        raise ConnectionError("the unit hung up")

    async def _settle_mtu(self) -> None:
        """Wait a little while the system still tells the default MTU: Linux learns the agreed one late."""
        for _ in range(0 if self._stack.settled else MTU_LOOKS):
            known = self._client.services.characteristics.values()
            if all(limit_of(it) > DEFAULT_MTU - ATT_HEADER_BYTES for it in known):
                return
            await asyncio.sleep(MTU_WAIT_S / MTU_LOOKS)

    async def _disconnect(self, connecting: asyncio.Future[None] | None = None) -> None:
        if connecting is not None:
            await asyncio.wait({connecting}, timeout=SLACK_S)
            if connecting.done() and not connecting.cancelled():
                connecting.exception()  # it has been dealt with
        with contextlib.suppress(Exception):
            async with asyncio.timeout(DISCONNECT_LIMIT_S):
                await self._client.disconnect()

    async def _shut(self) -> None:
        if self._requests:
            await asyncio.wait(self._requests, timeout=SLACK_S)
        await self._disconnect()
        with contextlib.suppress(Exception):
            await self._stack.release()

    def _on_disconnect(self, _client: BleakClient) -> None:
        self._lost()

    def _lost(self) -> None:
        for link in self._links.values():
            link.inbox.lose(self._why)
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
        for task in self._requests:
            task.cancel()

    async def _if_lost(self, error: BaseException) -> None:
        """Find out whether a failure is a loss: the news of one may come a moment after the failure."""
        if is_clear(error) or self._ended.done():
            return
        if not says_lost(error) and self._client.is_connected:
            await asyncio.wait([self._ended], timeout=LOSS_GRACE_S)
            if self._client.is_connected:
                return
        self._lost()

    def _request_done(self, task: asyncio.Task[Any]) -> None:
        self._requests.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody waits any more, it is no news

    # ---- characteristics ---------------------------------------------------------------------------------------------

    def _characteristic(self, uuid: str) -> BleakGATTCharacteristic:
        try:
            return self._known[uuid]
        except KeyError:
            raise no_characteristic(uuid) from None

    def _listeners(self, uuid: str) -> list[BleLink]:
        return [link for link in self._links.values() if link.channel.notify == uuid]

    async def _subscribe(self, uuid: str) -> None:
        async def start() -> None:
            if uuid not in self._subscribed:
                await self._client.start_notify(self._known[uuid], functools.partial(self._notified, uuid))
                self._subscribed.add(uuid)

        if uuid not in self._subscribed:
            await self.request(f"subscribing to {uuid}", start)

    def _notified(self, uuid: str, _characteristic: BleakGATTCharacteristic, data: bytearray) -> None:
        for link in self._listeners(uuid):
            link.arrived(bytes(data))
            if link.unread > MAX_UNREAD:
                self._why = f"the connection to {self._name} was given up: nobody reads what it sends"
                self._lost()


class BleLink(GattLink):
    """One channel of a connection. Implements Link; made by `BleConnection.link`.

    `max_write` is read again with every write: on Linux it may grow shortly after connecting.
    """

    def __init__(self, connection: BleConnection, channel: Channel, written: BleakGATTCharacteristic) -> None:
        super().__init__(channel, limit_of(written))
        self._connection = connection
        self._written = written

    async def write(self, data: bytes) -> None:
        """Write once, with or without a response as the channel says. See `Link.write`.

        A write that is cancelled under way reaches the unit nevertheless, or not: it cannot be taken back.

        Raises:
            LinkError: longer than the medium carries whole; nothing was sent.
            RefusedError: the unit refuses it (with a response only).
        """
        self.inbox.check()
        self.max_write = limit_of(self._written)
        insist_fits(data, self.max_write, response=self.channel.response)
        await self._connection.write(self._written, bytes(data), response=self.channel.response)

    async def _left(self) -> None:
        await self._connection.unlink(self)


def limit_of(characteristic: BleakGATTCharacteristic) -> int:
    """Return what a write command to a characteristic carries, in bytes (`mtu_size` is 23 for ever on Linux)."""
    return characteristic.max_write_without_response_size
