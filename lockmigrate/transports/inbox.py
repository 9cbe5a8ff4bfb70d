"""What has arrived on a link and was not read yet, and how the link ended."""

from __future__ import annotations

import asyncio
from collections import deque

from lockmigrate.errors import LinkClosed, LinkLost


class Inbox:
    """A queue of received chunks that one end fills without waiting and the other awaits.

    What arrived before a loss is still handed out, then every `get` raises LinkLost. After our own close every `get`
    raises LinkClosed at once. A cancelled `get` takes nothing out. Everything runs on the loop's thread.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._chunks: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._lost: str | None = None
        self._closed = False

    @property
    def ended(self) -> bool:
        """True after `lose` or `close`: nothing more comes in."""
        return self._closed or self._lost is not None

    def put(self, data: bytes) -> None:
        """Add a chunk; an empty one, or one that comes after the end, is ignored."""
        if data and not self.ended:
            self._chunks.append(data)
            self.size_bytes += len(data)
            self._wake.set()

    def lose(self, message: str) -> None:
        """The peer or the cable went away; the first call counts."""
        if not self.ended:
            self._lost = message
            self._wake.set()

    def close(self) -> None:
        """We closed the link ourselves: what was not read is forgotten."""
        self._closed = True
        self.discard()
        self._wake.set()

    def check(self) -> None:
        """Return if the link is usable.

        Raises:
            LinkLost: the peer or the cable went away.
            LinkClosed: after our own close.
        """
        if self._closed:
            raise LinkClosed
        if self._lost is not None:
            raise LinkLost(self._lost)

    def discard(self) -> int:
        """Forget what was not read; returns how many bytes that was."""
        dropped, self.size_bytes = self.size_bytes, 0
        self._chunks.clear()
        return dropped

    async def get(self) -> bytes:
        """Return the oldest chunk, waiting for one if there is none.

        Raises:
            LinkLost: the peer or the cable went away, and everything that came before was read.
            LinkClosed: after our own close.
        """
        while not self._chunks:
            self.check()
            self._wake.clear()
            await self._wake.wait()
        data = self._chunks.popleft()
        self.size_bytes -= len(data)
        return data
