"""A datagram link, for terminals that are spoken to over UDP.

The socket is connected: the system drops what comes from anybody else, and tells when nothing listens at the other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final, cast

from lockmigrate.errors import ConnectError, ConnectReason, TargetError
from lockmigrate.transports.inbox import Inbox
from lockmigrate.transports.serial_errors import connect_error, describe

DEFAULT_PORT: Final = 4370
"""ZK reference, section 1; no other family that we know uses datagrams."""
MAX_WRITE_BYTES: Final = 1400
"""What passes any usual network in one piece, without fragments."""
OPEN_LIMIT_S: Final = 10.0
"""Upper bound for finding the host."""
INBOX_BYTES: Final = 4 << 20
"""With this much unread, what comes is lost, as datagrams are."""
INBOX_DATAGRAMS: Final = 1 << 14
"""The same of their number: small ones cost more memory than they have bytes."""
RECEIVE_BUFFER_BYTES: Final = 1 << 20
"""What the system is asked to keep for us; it may give less."""


async def open_udp(address: str) -> UdpLink:
    """Open a link to `HOST:PORT` or `HOST` (port 4370); an IPv6 address stands in brackets. Nothing is sent.

    Raises:
        TargetError: the address is written differently.
        ConnectError: the host is not known or cannot be reached.
    """
    host, port = split_address(address)
    name = f"udp://{address}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(OPEN_LIMIT_S):
            _, link = await loop.create_datagram_endpoint(lambda: UdpLink(name), remote_addr=(host, port))
    except TimeoutError:
        raise ConnectError(
            f"{name} could not be opened within {OPEN_LIMIT_S:g} s",
            reason=ConnectReason.FAILED,
            hint="check the network, or give the address in numbers",
        ) from None
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        raise connect_error(name, error) from error
    return link


def split_address(address: str) -> tuple[str, int]:
    """Split `HOST:PORT`.

    Raises:
        TargetError: it is written differently.
    """
    host, bracket, rest = address[1:].partition("]") if address.startswith("[") else ("", "", "")
    if not bracket:
        host, colon, rest = address.partition(":")
        rest = colon + rest
    digits = rest.removeprefix(":")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else 0
    if not host or (rest and not (rest.startswith(":") and 1 <= number <= 65535)):
        raise TargetError(
            f'"{address}" is no address of a terminal',
            hint="for example 192.168.1.201:4370, terminal.local or [fe80::1]:4370",
        )
    return host, number or DEFAULT_PORT


class UdpLink(asyncio.DatagramProtocol):
    """Our end. Implements Link."""

    max_write = MAX_WRITE_BYTES
    datagrams = True
    """One write is one packet, one read brings one; a link without this is a stream."""

    def __init__(self, name: str) -> None:
        self.lost_datagrams = 0
        """Datagrams that came while too much was unread."""
        self._name = name
        self._inbox = Inbox()
        self._waiting = 0
        self._heard = False
        self._transport: asyncio.DatagramTransport | None = None

    async def write(self, data: bytes) -> None:
        """Send one datagram. See `Link.write`."""
        # Lets in what has arrived, above all the news that nothing listens there.
        await asyncio.sleep(0)
        self._inbox.check()
        if self._transport is not None:
            self._transport.sendto(data)
        self._inbox.check()

    async def read(self) -> bytes:
        """Return the next datagram. See `Link.read`."""
        data = await self._inbox.get()
        self._waiting -= 1
        return data

    def discard(self) -> int:
        """Forget what arrived and was not read; returns how many bytes that was."""
        self._waiting = 0
        return self._inbox.discard()

    async def close(self) -> None:
        """Close; every waiting read ends with LinkClosed. See `Link.close`."""
        self._inbox.close()
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.close()
            await asyncio.sleep(0)  # lets the transport give its socket back

    # ---- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        found = transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Keep a datagram; an empty one says nothing."""
        self._heard = True
        if self._inbox.size_bytes + len(data) > INBOX_BYTES or self._waiting >= INBOX_DATAGRAMS:
            self.lost_datagrams += 1
        elif data and not self._inbox.ended:
            self._waiting += 1
            self._inbox.put(data)

    def error_received(self, exc: Exception) -> None:
        """Sending or receiving failed; for a port where nobody listens that is all that ever comes back."""
        if isinstance(exc, ConnectionError) and not self._heard:
            self._inbox.lose(f"nothing listens at {self._name}")
        else:
            self._inbox.lose(f"the link over {self._name} was lost: {describe(exc)}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._inbox.lose(f"the link over {self._name} was lost: {describe(exc) if exc else 'it was closed'}")
