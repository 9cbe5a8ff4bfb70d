"""Ask, wait, match, retry: the one loop that every family's conversation runs on.

Deadlines live here and nowhere below. A repeat happens only where the caller says that asking twice is harmless; a
write that may have happened is never repeated blindly, its caller reads it back.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Generic, Protocol, TypeVar

from lockmigrate.errors import FrameError, NoAnswer
from lockmigrate.transports import Link

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)


class FrameSource(Protocol[F_co]):
    """The half of a framer that receives."""

    def feed(self, data: bytes) -> None: ...

    def next(self) -> F_co | None: ...

    def reset(self) -> int: ...


class Exchange(Generic[F]):
    """One conversation over one link.

    Args:
        link: the open pipe.
        framer: cuts what arrives into frames.
        peer: how the unit is called in messages, for example the target.
    """

    def __init__(self, link: Link, framer: FrameSource[F], *, peer: str) -> None:
        self.link = link
        self.framer = framer
        self.peer = peer
        self.heard_bytes = 0
        """Everything that ever arrived; 0 after an answerless search means that nobody is there at all."""

    async def send(self, data: bytes) -> None:
        """Write bytes.

        Raises:
            LinkLost: the peer or the cable went away.
        """
        await self.link.write(data)

    async def receive(self, timeout_s: float) -> F:
        """Return the next frame.

        Raises:
            NoAnswer: none was complete within the time.
            FrameError: one came damaged.
            LinkLost: the peer or the cable went away.
        """
        frame = self.framer.next()
        if frame is not None:
            return frame
        try:
            async with asyncio.timeout(timeout_s):
                while frame is None:
                    data = await self.link.read()
                    self.heard_bytes += len(data)
                    self.framer.feed(data)
                    frame = self.framer.next()
        except TimeoutError:
            raise NoAnswer(self.peer, tries=1, timeout_s=timeout_s) from None
        return frame

    async def listen(self, window_s: float) -> F | None:
        """Return a frame if one comes within the window, which need not happen.

        Raises:
            FrameError: one came damaged.
            LinkLost: the peer or the cable went away.
        """
        with contextlib.suppress(NoAnswer):
            return await self.receive(window_s)
        return None

    async def silence(self, quiet_s: float, *, limit_s: float = 10.0) -> int:
        """Throw away what arrives until nothing has come for `quiet_s`; returns how many bytes went.

        Raises:
            FrameError: the unit has not stopped talking within `limit_s`.
            LinkLost: the peer or the cable went away.
        """
        dropped = self.framer.reset()
        loop = asyncio.get_running_loop()
        end_s = loop.time() + limit_s
        while True:
            try:
                async with asyncio.timeout(quiet_s):
                    dropped += len(await self.link.read())
            except TimeoutError:
                return dropped
            if loop.time() > end_s:
                raise FrameError("the unit does not stop talking")
