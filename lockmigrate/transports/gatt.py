"""Units on Bluetooth LE: what a connection to one offers, and what a simulated one must be able to do.

A family names its characteristics as `Channel`s; each becomes a `Link` of its own over the one connection. UUIDs are
text in lower case, 36 characters, everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from lockmigrate.transports import Link

ATT_HEADER_BYTES: Final = 3
"""What an ATT write or notification takes of the MTU (Bluetooth Core 5.4, Vol 3 Part F, 3.4.5 and 3.4.7)."""
DEFAULT_MTU: Final = 23
"""The MTU that every LE connection begins with (Core 5.4, Vol 3 Part G, 5.2.1)."""
ADVERTISING_BYTES: Final = 31
"""Room in one legacy advertisement, and again in its scan response (Core 5.4, Vol 4 Part E, 7.8.7)."""

Property = Literal["read", "write", "write-without-response", "notify", "indicate"]
"""bleak's words for what a characteristic can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One conversation of a family: where to write, where answers come, and how."""

    write: str
    """UUID of the characteristic that takes our messages."""
    notify: str
    """UUID of the one that sends the answers; often the same."""
    response: bool
    """Whether each write is acknowledged (a write request, a long one if need be) or not (a write command)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """What a unit says of itself before anyone connects."""

    address: str
    """As the system names it: `AA:BB:CC:DD:EE:FF`, or a UUID on macOS."""
    name: str | None = None
    rssi_dbm: int | None = None
    service_uuids: tuple[str, ...] = ()
    service_data: Mapping[str, bytes] = field(default_factory=dict)
    """Service UUID to its data."""
    manufacturer_data: Mapping[int, bytes] = field(default_factory=dict)
    """Company id to its data."""


@runtime_checkable
class Connection(Protocol):
    """An open connection to one unit on Bluetooth LE. Like a link it knows no deadlines: those are the caller's."""

    advertised: Advertised
    characteristics: frozenset[str]
    """UUIDs of all characteristics the unit has: families tell its generation by them."""

    async def link(self, channel: Channel) -> Link:
        """Subscribe and return the channel as a link: one write is one GATT write, one read one notification.

        The link's `max_write` is what a write command carries (MTU - 3); with `response` longer ones go as long
        writes. Closing such a link unsubscribes; the connection stays. Asked twice for a channel, it returns the same.

        Raises:
            Unsupported: the unit has no such characteristic, or it cannot do this.
            LinkLost: the unit went out of reach.
            LinkClosed: after our own close.
        """

    async def value(self, uuid: str) -> bytes:
        """Read a characteristic.

        Raises:
            Unsupported: the unit has no such characteristic, or it cannot be read.
            LinkLost, LinkClosed: as for `link`.
        """

    async def close(self) -> None:
        """Disconnect. Idempotent; never raises for a unit that is already gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GattCharacteristic:
    """One characteristic of a simulated unit."""

    uuid: str
    properties: frozenset[Property]


@dataclass(frozen=True, slots=True, kw_only=True)
class GattService:
    """One service of a simulated unit."""

    uuid: str
    characteristics: tuple[GattCharacteristic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """Something that a simulated unit sends."""

    at_s: float
    """When, on the caller's clock (the `now_s` it passed in)."""
    uuid: str = ""
    data: bytes = b""
    """One notification or indication, at most MTU - 3 bytes: the unit fragments, the radio does not."""
    hangup: bool = False
    """The unit disconnects after `data`."""
    lost: bool = False
    """With `hangup`: it does not say goodbye, it is simply out of reach (a supervision timeout)."""


class GattRefusal(Exception):
    """A read or write that the simulated unit refuses: not an error of ours, but what an ATT error response carries.

    Args:
        code: ATT error code; 0x80 to 0x9F are the application's (Core 5.4, Vol 3 Part F, 3.4.1.1).
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"ATT error {code:#04x}")
        self.code = code


class GattDevice(Protocol):
    """A simulated unit as its radio sees it: a synchronous state machine with timed output, as `Device` is on a wire.

    It never sleeps and never reads a clock. Its host (memory connection, Bumble server) passes the time in, delivers
    each `Emitted` when it is due, in order, and drops what is not due yet when the connection ends. One client at a
    time.
    """

    address: str
    """Its Bluetooth address, `AA:BB:CC:DD:EE:FF`."""
    services: tuple[GattService, ...]
    name: str
    """The complete local name, which a real unit tells in its scan response."""
    max_mtu: int
    """The largest MTU that it agrees to."""

    def advertisement(self) -> bytes:
        """Return the AD structures that it sends now, at most 31 bytes; empty while it does not advertise."""

    def connected(self, now_s: float) -> list[Emitted]:
        """A client connected; the MTU is 23 until `mtu` says otherwise, and nothing is subscribed to."""

    def mtu(self, mtu: int) -> None:
        """Client and unit agreed on an MTU."""

    def subscribed(self, uuid: str, on: bool) -> None:
        """The client wrote the configuration descriptor of a characteristic."""

    def read(self, uuid: str) -> bytes:
        """Return the value of a characteristic.

        Raises:
            GattRefusal: it cannot be read.
        """

    def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
        """A whole write arrived, command or request, however many packets it took.

        Raises:
            GattRefusal: it cannot be written; nothing happened.
        """

    def due_s(self) -> float | None:
        """When it wants `tick` called, on the caller's clock; None if not at all."""

    def tick(self, now_s: float) -> list[Emitted]:
        """The time has come."""

    def disconnected(self) -> None:
        """The client is gone, however that came."""
