"""A link that records another link. The record holds every secret that goes over the line.

One JSON object a line: `t` (seconds since the start, monotonic), `dir` (`tx`, `rx` or `event`), and `hex` or `event`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from lockmigrate.errors import FileTrouble, LinkError
from lockmigrate.transports import Link, SerialLink


class TraceLink:
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
        self.trouble: FileTrouble | None = None
        self.max_write = link.max_write
        self.datagrams = bool(getattr(link, "datagrams", False))
        self._link = link
        self._path = Path(file)
        self._clock = clock
        self._start_s = clock()
        self._fd: int | None = _create(self._path)
        self._event("open")

    async def write(self, data: bytes) -> None:
        """Record, then send: what hangs is on file. See `Link.write`."""
        self._record("tx", "hex", bytes(data).hex())
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
        self._record("rx", "hex", data.hex())
        return data

    async def close(self) -> None:
        """Close the link and the file. See `Link.close`."""
        try:
            await self._link.close()
        finally:
            self._event("close")
            self._end()

    def _event(self, what: str) -> None:
        self._record("event", "event", what)

    def _record(self, direction: str, kind: str, content: str) -> None:
        if self._fd is None:
            return
        entry = {"t": round(self._clock() - self._start_s, 6), "dir": direction, kind: content}
        line = memoryview((json.dumps(entry) + "\n").encode())
        try:
            while line:  # straight to the system: nothing waits in a buffer of ours if the program dies
                line = line[os.write(self._fd, line) :]
        except OSError as error:
            self.trouble = FileTrouble(f"the trace {self._path} ends early: {error.strerror}")
            self._end()

    def _end(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


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


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except FileExistsError:
        raise FileTrouble(
            f"the trace file {path} exists already", hint="name another one: a trace is never overwritten"
        ) from None
    except OSError as error:
        raise FileTrouble(f"the trace file {path} cannot be created: {error.strerror}") from None
