"""Byte pipes to units. Nothing here knows what a frame, a user or a lock is.

A stream ends in one of two ways, and they are different classes because they mean different things to a caller:
`LinkLost` (the peer or the cable went away) and `LinkClosed` (we closed it ourselves).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class Link(Protocol):
    """An open byte pipe to one unit. Bytes only: no frames, no deadlines (deadlines belong to the caller)."""

    max_write: int
    """Largest single write in bytes that the medium carries whole (ATT payload, datagram, a buffer size on serial)."""

    async def write(self, data: bytes) -> None:
        """Send data. One call is one GATT write or one datagram; cutting belongs to the family.

        Raises:
            LinkLost: the peer or the cable went away.
            LinkClosed: after our own close.
        """

    async def read(self) -> bytes:
        """Return the next bytes, at least one: exactly one notification or datagram, on a stream whatever arrived.

        Cancelling a read loses nothing.

        Raises:
            LinkLost: the peer or the cable went away.
            LinkClosed: after our own close.
        """

    async def close(self) -> None:
        """Close. Idempotent; never raises for a peer that is already gone."""


@runtime_checkable
class SerialLink(Link, Protocol):
    """A link whose speed can be changed while it is open."""

    fixed_speed: bool
    """True where a speed has no meaning (`socket://`): searching for one is then pointless."""

    instant: bool
    """True where bytes take no time on the line (a simulated unit in this process that is not paced)."""

    async def set_baud(self, baud: int) -> None:
        """Drain what is being sent, then change the speed of our own end.

        Raises:
            LinkLost: the port went away.
        """

    def discard(self) -> int:
        """Forget everything that was received and not yet read; returns how many bytes that was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """Something a simulated device sends."""

    at_s: float
    """When the last byte has left the device, on the caller's clock (the `now_s` it passed in)."""
    data: bytes = b""
    hangup: bool = False
    """After `data` the line is dead: a pulled cable, a power cut."""


class Device(Protocol):
    """A simulated unit as a link sees it: a synchronous state machine with timed output.

    It never sleeps and never reads a clock; the host of the machine (memory link, pty server, socket server) passes the
    time in and delivers each `Outgoing` when it is due. `at_s` never decreases within one connection.
    """

    def opened(self, now_s: float) -> list[Outgoing]:
        """A host opened the port."""

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        """Bytes came in from the host."""

    def set_host_baud(self, baud: int | None) -> None:
        """The speed of the host's end in baud; None where the medium has none, then any speed is understood."""

    def closed(self) -> None:
        """The host closed the port."""
