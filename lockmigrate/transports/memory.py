"""A simulated unit in this process as a serial link: no port, no thread, no real waiting.

The device is a synchronous machine; this link is its clock and its cable, and can damage the cable on purpose.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Self

from lockmigrate.transports import Device, Outgoing
from lockmigrate.transports.inbox import Inbox

MAX_WRITE_BYTES = 4096
"""The same as `serial.py` offers, so that a conversation is cut alike on both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFaults:
    """Faults of the cable, for tests; all counts start at 1 and nothing is damaged by default.

    A "write" is one call of `write`, a "chunk" one non-empty `Outgoing` of the device. "Cut after n": n pass whole, and
    the line is dead from then on; 0 means that the first one finds it dead. The device keeps running.
    """

    cut_after_writes: int | None = None
    cut_after_chunks: int | None = None
    cut_after_written_bytes: int | None = None
    """The write that goes over this reaches the device in part and raises LinkLost."""
    cut_after_read_bytes: int | None = None
    """The chunk that goes over this is received in part; then reads raise LinkLost."""
    lose_write: int | None = None
    """This write never reaches the device."""
    lose_chunk: int | None = None
    """This chunk never reaches the reader."""
    delay_chunk: int | None = None
    """This chunk, and whatever comes behind it, is late by `delay_s`."""
    delay_s: float = 0.0


class MemoryLink:
    """The host's end of a line to a simulated device. Implements SerialLink.

    Args:
        device: the machine; nothing else may talk to it while this link is open.
        faults: what is wrong with the cable.
        instant: False where the device paces its bytes as a real line would.
        baud: the speed of our end in baud; None where speeds do not matter.
        datagrams: True where the device speaks datagrams: one write is one, one read brings one.
    """

    max_write = MAX_WRITE_BYTES
    fixed_speed = False

    def __init__(
        self,
        device: Device,
        *,
        faults: LinkFaults | None = None,
        instant: bool = True,
        baud: int | None = None,
        datagrams: bool = False,
    ) -> None:
        self.instant = instant
        self.datagrams = datagrams
        self.writes = 0
        """Calls of `write` that found the line alive: what a sweep over every cutting point counts."""
        self.chunks = 0
        """Non-empty pieces that the device sent and that were due."""
        self._device = device
        self._faults = faults if faults is not None else LinkFaults()
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._pending: deque[Outgoing] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._late_s = 0.0
        self._written_bytes = 0
        self._read_bytes = 0
        self._closed = False
        device.set_host_baud(baud)

    @classmethod
    def open(
        cls,
        device: Device,
        *,
        faults: LinkFaults | None = None,
        instant: bool = True,
        baud: int | None = None,
        datagrams: bool = False,
    ) -> Self:
        """Return a link to the device after telling it that a host has opened the port. Needs a running loop."""
        link = cls(device, faults=faults, instant=instant, baud=baud, datagrams=datagrams)
        link._send_later(device.opened(link._loop.time()))
        return link

    async def write(self, data: bytes) -> None:
        """Hand data to the device. See `Link.write`."""
        # Without this, a conversation with an instant device would never let a deadline or Ctrl-C in.
        await asyncio.sleep(0)
        self._inbox.check()
        faults = self._faults
        if faults.cut_after_writes is not None and self.writes >= faults.cut_after_writes:
            self._cut()
            self._inbox.check()
        self.writes += 1
        whole = data
        if faults.cut_after_written_bytes is not None:
            data = data[: max(0, faults.cut_after_written_bytes - self._written_bytes)]
        self._written_bytes += len(data)
        if data and self.writes != faults.lose_write:
            self._send_later(self._device.receive(bytes(data), self._loop.time()))
        if self.writes == faults.cut_after_writes or self._written_bytes == faults.cut_after_written_bytes:
            self._cut()
        if len(data) < len(whole):
            self._inbox.check()

    async def read(self) -> bytes:
        """Return the next chunk. See `Link.read`."""
        return await self._inbox.get()

    async def set_baud(self, baud: int) -> None:
        """Tell the device the new speed of our end. See `SerialLink.set_baud`."""
        self._inbox.check()
        self._device.set_host_baud(baud)

    def discard(self) -> int:
        """Forget what arrived and was not read. See `SerialLink.discard`."""
        return self._inbox.discard()

    async def close(self) -> None:
        """Close; the device is told once. See `Link.close`."""
        if self._closed:
            return
        self._closed = True
        self._stop()
        self._inbox.close()
        self._device.closed()

    def _send_later(self, outgoing: list[Outgoing]) -> None:
        self._pending.extend(outgoing)
        self._deliver(self._loop.time())

    def _deliver(self, now_s: float) -> None:
        """Deliver what is due, then set the timer for the next piece. One queue keeps the order: timers would not."""
        while self._pending and not self._inbox.ended:
            due_s = self._pending[0].at_s + self._late_s
            if self._faults.delay_chunk == self.chunks + 1 and self._pending[0].data and not self._late_s:
                self._late_s = self._faults.delay_s
                due_s += self._late_s
            if due_s > now_s:
                break
            self._arrive(self._pending.popleft())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending and not self._inbox.ended:
            due_s = self._pending[0].at_s + self._late_s
            # The loop may call a hair early (its clock's resolution); the piece counts as due all the same.
            self._timer = self._loop.call_at(due_s, self._deliver, due_s)

    def _arrive(self, piece: Outgoing) -> None:
        faults = self._faults
        if piece.data:
            if faults.cut_after_chunks is not None and self.chunks >= faults.cut_after_chunks:
                self._cut()
                return
            self.chunks += 1
            data = piece.data
            if faults.cut_after_read_bytes is not None:
                data = data[: max(0, faults.cut_after_read_bytes - self._read_bytes)]
            self._read_bytes += len(data)
            if self.chunks != faults.lose_chunk:
                self._inbox.put(data)
            if self.chunks == faults.cut_after_chunks or self._read_bytes == faults.cut_after_read_bytes:
                self._cut()
        if piece.hangup:
            self._cut()

    def _cut(self) -> None:
        self._inbox.lose("the link to the simulated unit was lost")
        self._stop()

    def _stop(self) -> None:
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
