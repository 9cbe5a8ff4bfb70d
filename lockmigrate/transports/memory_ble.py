"""A simulated unit in this process as a Bluetooth LE connection: no radio, no Bluetooth, no real waiting.

The unit is a synchronous machine; this connection is its clock and its radio, and can disturb the radio on purpose.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, Self
from weakref import WeakValueDictionary

from lockmigrate.errors import ConnectError, ConnectReason, LinkClosed, LinkLost
from lockmigrate.transports.advertising import parse_advertisement
from lockmigrate.transports.ble_errors import (
    LOST_HINT,
    cannot,
    insist_fits,
    no_characteristic,
    refusal,
)
from lockmigrate.transports.gatt import (
    ADVERTISING_BYTES,
    ATT_HEADER_BYTES,
    DEFAULT_MTU,
    Advertised,
    Channel,
    Emitted,
    GattCharacteristic,
    GattDevice,
    GattRefusal,
)
from lockmigrate.transports.gatt_link import GattLink
from lockmigrate.transports.memory import LinkFaults

MTU: Final = 247
"""What our side asks for unless told otherwise: the longest radio packet, 251 bytes (Core 5.4, Vol 6 Part B, 2.4), less
its L2CAP header of 4 (Vol 3 Part A, 3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFaults(LinkFaults):
    """Faults of the radio, for tests: those of a cable, where a "chunk" is one notification or indication.

    Writes, notifications and indications arrive whole or not at all: what goes over a number of bytes does not arrive.
    """

    cut_after_requests: int | None = None
    """So many of all things asked of the unit pass: writes, reads of values, subscriptions, and their ends."""


_OPEN: Final[WeakValueDictionary[int, MemoryConnection]] = WeakValueDictionary()
"""The open connection to each unit, by the identity of its machine: a unit has one client at a time."""


class MemoryConnection:
    """The client's end of a connection to a simulated unit. Implements Connection; made by `open`.

    It behaves as a radio would: a notification that nobody subscribed to is not sent, nobody hears that a write command
    was refused, and no more than one client is connected.

    Args:
        device: the machine; nothing else may talk to it while this connection is open.
        faults: what is wrong with the radio.
        mtu: the MTU that our side asks for; the unit may want less.
    """

    def __init__(self, device: GattDevice, *, faults: LinkFaults | None = None, mtu: int = MTU) -> None:
        self._loop = asyncio.get_running_loop()
        self.advertised: Advertised = _advertised(device, self._loop.time())
        self._known: dict[str, GattCharacteristic] = {}
        for service in device.services:
            for characteristic in service.characteristics:
                self._known.setdefault(characteristic.uuid, characteristic)
        self.characteristics = frozenset(self._known)
        self.mtu = max(DEFAULT_MTU, min(mtu, device.max_mtu))
        self.writes = 0
        """Writes of all links that found the unit there: what a sweep over every cutting point counts."""
        self.chunks = 0
        """Notifications and indications that the unit sent, that were due and subscribed to."""
        self.requests = 0
        """All that was asked of the unit: writes, reads of values, subscriptions, and their ends."""
        self._device = device
        self._faults = faults if isinstance(faults, ConnectionFaults) else _radio(faults)
        self._links: dict[Channel, MemoryBleLink] = {}
        self._subscribed: set[str] = set()
        self._pending: deque[Emitted] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._late_s = 0.0
        self._written_bytes = 0
        self._read_bytes = 0
        self._lost: str | None = None
        self._closed = False

    @classmethod
    def open(cls, device: GattDevice, *, faults: LinkFaults | None = None, mtu: int = MTU) -> Self:
        """Connect to a unit in this process. Needs a running loop.

        Raises:
            ConnectError: it does not advertise, or another client is connected to it.
        """
        before = _OPEN.get(id(device))
        if before is not None and not before.ended:
            raise ConnectError(
                f"ble://{device.address} is busy with another client",
                reason=ConnectReason.BUSY,
                hint="a lock on Bluetooth takes one client at a time",
            )
        connection = cls(device, faults=faults, mtu=mtu)
        _OPEN[id(device)] = connection
        emitted = device.connected(connection._loop.time())
        device.mtu(connection.mtu)
        connection._send_later(emitted)
        return connection

    @property
    def ended(self) -> bool:
        """True after a loss or our close."""
        return self._closed or self._lost is not None

    # ---- Connection --------------------------------------------------------------------------------------------------

    async def link(self, channel: Channel) -> MemoryBleLink:
        """Subscribe and return the channel as a link. See `Connection.link`."""
        await asyncio.sleep(0)
        self.check()
        if (known := self._links.get(channel)) is not None:
            return known
        if ("write" if channel.response else "write-without-response") not in self._of(channel.write).properties:
            raise cannot(channel.write, "be written with an answer" if channel.response else "take write commands")
        if not {"notify", "indicate"} & self._of(channel.notify).properties:
            raise cannot(channel.notify, "notify")
        link = self._links[channel] = MemoryBleLink(self, channel)
        if channel.notify not in self._subscribed:
            self._asked()
            self._subscribed.add(channel.notify)
            self._device.subscribed(channel.notify, True)
            self._answered()
        return link

    async def value(self, uuid: str) -> bytes:
        """Read a characteristic. See `Connection.value`."""
        await asyncio.sleep(0)
        self.check()
        self._of(uuid)
        self._asked()
        try:
            data = bytes(self._device.read(uuid))
        except GattRefusal as error:
            raise refusal(f"a read of {uuid}", error.code) from None
        finally:
            self._answered()
        return data

    async def close(self) -> None:
        """Disconnect; the unit is told once. See `Connection.close`."""
        if not self._closed:
            self._closed = True
            for link in self._links.values():
                link.inbox.close()
            if self._lost is None:
                self._stop()

    async def pair(self) -> None:
        """Nothing to do: there is no radio that anybody could listen to. See `BleConnection.pair`."""
        self.check()

    # ---- what its links use ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Return if the connection is usable.

        Raises:
            LinkLost: the unit went out of reach.
            LinkClosed: after our own close.
        """
        if self._closed:
            raise LinkClosed
        if self._lost is not None:
            raise LinkLost(self._lost, hint=LOST_HINT)

    def write(self, channel: Channel, data: bytes) -> None:
        """Write a characteristic, whole.

        Raises:
            LinkLost, LinkClosed: as for `check`.
            LinkError: longer than the medium carries.
            RefusedError: the unit refuses it.
        """
        self.check()
        insist_fits(data, self.max_write, response=channel.response)
        faults = self._faults
        if faults.cut_after_writes is not None and self.writes >= faults.cut_after_writes:
            self._cut()
            self.check()
        self._asked()
        self.writes += 1
        self._written_bytes += len(data)
        over = faults.cut_after_written_bytes is not None and self._written_bytes > faults.cut_after_written_bytes
        if over:
            self._cut()
            self.check()
        try:
            if self.writes != faults.lose_write:
                self._send_later(self._device.write(channel.write, data, self._loop.time()))
        except GattRefusal as error:
            if channel.response:
                raise refusal(f"a write to {channel.write}", error.code) from None
        finally:
            if self.writes == faults.cut_after_writes or self._written_bytes == faults.cut_after_written_bytes:
                self._cut()
            self._answered()

    @property
    def max_write(self) -> int:
        """What a write command carries, in bytes."""
        return self.mtu - ATT_HEADER_BYTES

    def unlink(self, link: MemoryBleLink) -> None:
        """Forget a link that was closed; without another one the unit is told that nobody listens any more."""
        if self._links.get(link.channel) is link:
            del self._links[link.channel]
        uuid = link.channel.notify
        if not self.ended and not self._listeners(uuid) and uuid in self._subscribed:
            self._asked()
            self._subscribed.discard(uuid)
            self._device.subscribed(uuid, False)
            self._answered()

    # ---- the radio ---------------------------------------------------------------------------------------------------

    def _of(self, uuid: str) -> GattCharacteristic:
        try:
            return self._known[uuid]
        except KeyError:
            raise no_characteristic(uuid) from None

    def _listeners(self, uuid: str) -> list[MemoryBleLink]:
        return [link for link in self._links.values() if link.channel.notify == uuid]

    def _asked(self) -> None:
        """Count a request; the one after the last that passes finds nobody there."""
        limit = self._faults.cut_after_requests
        if limit is not None and self.requests >= limit:
            self._cut()
            self.check()
        self.requests += 1

    def _answered(self) -> None:
        """What was asked may have changed when the unit next wants something."""
        if self.requests == self._faults.cut_after_requests:
            self._cut()
        elif not self.ended:
            self._deliver(self._loop.time())

    def _send_later(self, emitted: list[Emitted]) -> None:
        self._pending.extend(emitted)
        self._deliver(self._loop.time())

    def _deliver(self, now_s: float) -> None:
        """Deliver what is due and let the unit do what it is time for, then set the timer for what comes next."""
        while not self.ended:
            emitted_s = self._pending[0].at_s + self._late_for(self._pending[0]) if self._pending else None
            wanted_s = self._device.due_s()
            if emitted_s is not None and emitted_s <= now_s and (wanted_s is None or emitted_s <= wanted_s):
                self._arrive(self._pending.popleft())
            elif wanted_s is not None and wanted_s <= now_s:
                self._pending.extend(self._device.tick(now_s))
                if self._device.due_s() == wanted_s:
                    break  # a unit that forgets to move on shall not stop the world
            else:
                break
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.ended:
            return
        times = [self._pending[0].at_s + self._late_s] if self._pending else []
        times += [due_s] if (due_s := self._device.due_s()) is not None and due_s > now_s else []
        if times:
            # The loop may call a hair early (its clock's resolution); what is due then counts as due all the same.
            self._timer = self._loop.call_at(min(times), self._deliver, min(times))

    def _late_for(self, piece: Emitted) -> float:
        if self._faults.delay_chunk == self.chunks + 1 and piece.data and not self._late_s:
            self._late_s = self._faults.delay_s
        return self._late_s

    def _arrive(self, piece: Emitted) -> None:
        if piece.data and piece.uuid in self._subscribed:
            self._notify(piece)
        if piece.hangup:
            self._cut()

    def _notify(self, piece: Emitted) -> None:
        faults = self._faults
        if len(piece.data) > self.max_write:
            self._cut(f"the simulated unit sends {len(piece.data)} bytes at once where {self.max_write} fit")
            return
        if faults.cut_after_chunks is not None and self.chunks >= faults.cut_after_chunks:
            self._cut()
            return
        self.chunks += 1
        self._read_bytes += len(piece.data)
        if faults.cut_after_read_bytes is not None and self._read_bytes > faults.cut_after_read_bytes:
            self._cut()
            return
        if self.chunks != faults.lose_chunk:
            for link in self._listeners(piece.uuid):
                link.arrived(piece.data)
        if self.chunks == faults.cut_after_chunks or self._read_bytes == faults.cut_after_read_bytes:
            self._cut()

    def _cut(self, why: str = "the connection to the simulated unit was lost") -> None:
        if not self.ended:
            self._lost = why
            for link in self._links.values():
                link.inbox.lose(why)
            self._stop()

    def _stop(self) -> None:
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._device.disconnected()


class MemoryBleLink(GattLink):
    """One channel of a memory connection. Implements Link; made by `MemoryConnection.link`."""

    def __init__(self, connection: MemoryConnection, channel: Channel) -> None:
        super().__init__(channel, connection.max_write)
        self._connection = connection

    async def write(self, data: bytes) -> None:
        """Write once, with or without a response as the channel says. See `BleLink.write`."""
        # Without this, a conversation with an instant unit would never let a deadline or Ctrl-C in.
        await asyncio.sleep(0)
        self.inbox.check()
        self._connection.write(self.channel, bytes(data))

    async def _left(self) -> None:
        self._connection.unlink(self)


def _advertised(device: GattDevice, now_s: float) -> Advertised:
    before_s: float | None = None
    while (due_s := device.due_s()) is not None and due_s <= now_s and due_s != before_s:
        before_s = due_s
        device.tick(now_s)  # while nobody was connected, nobody was its clock; what it sends then reaches nobody
    data = device.advertisement()
    if not data:
        raise ConnectError(
            f"ble://{device.address} was not seen: it does not advertise",
            reason=ConnectReason.NOT_FOUND,
            hint="a lock that sleeps wakes by a touch of its keypad; a simulated one is woken with awake=1",
        )
    if len(data) > ADVERTISING_BYTES:
        raise ConnectError(
            f"the simulated unit advertises {len(data)} bytes; no radio sends more than {ADVERTISING_BYTES}",
            reason=ConnectReason.FAILED,
        )
    return parse_advertisement(data, address=device.address, name=device.name or None)


def _radio(faults: LinkFaults | None) -> ConnectionFaults:
    if faults is None:
        return ConnectionFaults()
    return ConnectionFaults(**{name: getattr(faults, name) for name in LinkFaults.__slots__})
