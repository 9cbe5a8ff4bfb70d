"""A link that records another link. The record holds every secret that goes over the line.

One JSON object a line: `t` (seconds since the start, monotonic), `dir` (`tx`, `rx` or `event`), and `hex` or `event`;
on a Bluetooth connection also `channel`, the UUID of the characteristic that is written, read or heard.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from lockmigrate.errors import FileTrouble, LinkError, LockmigrateError
from lockmigrate.transports import Link, SerialLink
from lockmigrate.transports.gatt import Channel, Connection


class _Record:
    """The file. What cannot be written any more is not worth a conversation: recording stops, `trouble` says why."""

    def __init__(self, file: Path | str, clock: Callable[[], float]) -> None:
        self.trouble: FileTrouble | None = None
        self._path = Path(file)
        self._clock = clock
        self._start_s = clock()
        self._fd: int | None = _create(self._path)
        self._event("open")

    def _data(self, direction: str, data: bytes, channel: str | None = None) -> None:
        """Record bytes, `tx` or `rx`."""
        self._add({"dir": direction, "hex": bytes(data).hex()}, channel)

    def _event(self, what: str, channel: str | None = None) -> None:
        """Record that something happened."""
        self._add({"dir": "event", "event": what}, channel)

    def _end(self) -> None:
        """Record the end and close the file."""
        self._event("close")
        self._close()

    def _add(self, entry: dict[str, str], channel: str | None) -> None:
        if self._fd is None:
            return
        stamped: dict[str, object] = {"t": round(self._clock() - self._start_s, 6), **entry}
        if channel is not None:
            stamped["channel"] = channel
        line = memoryview((json.dumps(stamped) + "\n").encode())
        try:
            while line:  # straight to the system: nothing waits in a buffer of ours if the program dies
                line = line[os.write(self._fd, line) :]
        except OSError as error:
            self.trouble = FileTrouble(f"the trace {self._path} ends early: {error.strerror}")
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class TraceLink(_Record):
    """Records what goes through `link` into a new file that only its owner may read.

    Around a SerialLink this is a SerialLink too. If the file cannot be written any more (a full disk), recording stops,
    `trouble` says why, and the conversation goes on: a restore is worth more than its record.

    Args:
        link: what is recorded; closed with this link.
        file: the file to create; it must not exist.
        clock: seconds, monotonic; a simulation's clock where time is simulated.

    Raises:
        FileTrouble: the file exists or cannot be created.
    """

    def __new__(cls, link: Link, file: Path | str, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """Return a SerialTraceLink where the link's speed can be changed."""
        del file, clock
        if cls is TraceLink and isinstance(link, SerialLink):
            return super().__new__(SerialTraceLink)  # type: ignore[return-value]  # a subclass of the class asked for
        return super().__new__(cls)

    def __init__(self, link: Link, file: Path | str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_write = link.max_write
        self.datagrams = bool(getattr(link, "datagrams", False))
        self._link = link
        super().__init__(file, clock)

    async def write(self, data: bytes) -> None:
        """Record, then send: what hangs is on file. See `Link.write`."""
        self._data("tx", data)
        try:
            await self._link.write(data)
        except LinkError as error:
            self._event(f"write failed: {error.code}")
            raise

    async def read(self) -> bytes:
        """Return the next bytes, recorded. See `Link.read`."""
        try:
            data = await self._link.read()
        except LinkError as error:
            self._event(f"read failed: {error.code}")
            raise
        self._data("rx", data)
        return data

    async def close(self) -> None:
        """Close the link and the file. See `Link.close`."""
        try:
            await self._link.close()
        finally:
            self._end()


class SerialTraceLink(TraceLink):
    """Records a SerialLink and is one."""

    _link: SerialLink

    def __init__(self, link: SerialLink, file: Path | str, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(link, file, clock=clock)
        self.fixed_speed = link.fixed_speed
        self.instant = link.instant

    async def set_baud(self, baud: int) -> None:
        """Change the speed, recorded. See `SerialLink.set_baud`."""
        self._event(f"set baud {baud}")
        await self._link.set_baud(baud)

    def discard(self) -> int:
        """Forget what was not read; the record says how much. See `SerialLink.discard`."""
        dropped = self._link.discard()
        self._event(f"discard {dropped} bytes")
        return dropped


class TraceConnection(_Record):
    """Records all channels of a Bluetooth connection into one new file, as TraceLink does. Implements Connection.

    Args:
        connection: what is recorded; closed with this one.
        file: the file to create; it must not exist.
        clock: seconds, monotonic; a simulation's clock where time is simulated.

    Raises:
        FileTrouble: the file exists or cannot be created.
    """

    def __init__(
        self, connection: Connection, file: Path | str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.advertised = connection.advertised
        self.characteristics = connection.characteristics
        self._connection = connection
        self._links: dict[Channel, tuple[Link, _ChannelTraceLink]] = {}
        super().__init__(file, clock)

    async def link(self, channel: Channel) -> Link:
        """Return the channel as a link that is recorded. See `Connection.link`."""
        try:
            link = await self._connection.link(channel)
        except LockmigrateError as error:
            self._event(f"subscribe failed: {error.code}", channel.notify)
            raise
        known, traced = self._links.get(channel, (None, None))
        if traced is None or known is not link:
            self._event("subscribe", channel.notify)
            traced = _ChannelTraceLink(link, channel, self)
            self._links[channel] = link, traced
        return traced

    async def value(self, uuid: str) -> bytes:
        """Read a characteristic, recorded. See `Connection.value`."""
        try:
            data = await self._connection.value(uuid)
        except LockmigrateError as error:
            self._event(f"read failed: {error.code}", uuid)
            raise
        self._data("rx", data, uuid)
        return data

    async def close(self) -> None:
        """Close the connection and the file. See `Connection.close`."""
        try:
            await self._connection.close()
        finally:
            self._end()


class _ChannelTraceLink:
    """One recorded channel; implements Link."""

    def __init__(self, link: Link, channel: Channel, record: TraceConnection) -> None:
        self.max_write = link.max_write
        self._link = link
        self._channel = channel
        self._record = record

    async def write(self, data: bytes) -> None:
        self._record._data("tx", data, self._channel.write)
        try:
            await self._link.write(data)
        except LockmigrateError as error:
            self._record._event(f"write failed: {error.code}", self._channel.write)
            raise
        finally:
            self.max_write = self._link.max_write

    async def read(self) -> bytes:
        try:
            data = await self._link.read()
        except LockmigrateError as error:
            self._record._event(f"read failed: {error.code}", self._channel.notify)
            raise
        self._record._data("rx", data, self._channel.notify)
        return data

    async def close(self) -> None:
        try:
            await self._link.close()
        finally:
            self._record._event("unsubscribe", self._channel.notify)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except FileExistsError:
        raise FileTrouble(
            f"the trace file {path} exists already", hint="name another one: a trace is never overwritten"
        ) from None
    except OSError as error:
        raise FileTrouble(f"the trace file {path} cannot be created: {error.strerror}") from None
