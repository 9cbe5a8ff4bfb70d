"""Serial ports, and what pyserial makes look like one (`socket://`, `rfc2217://`, `loop://`).

pyserial opens and configures. On POSIX the event loop then watches the file descriptor; elsewhere, and for kinds
without one, a thread reads `in_waiting or 1` bytes (asking for more would make every answer wait for the timeout).
Errors of the system and of pyserial become ours here and in `serial_errors`, nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

import serial

from lockmigrate.errors import ConnectError, ConnectReason, LinkError
from lockmigrate.transports import SerialLink
from lockmigrate.transports.inbox import Inbox
from lockmigrate.transports.ports import list_serial_ports
from lockmigrate.transports.serial_errors import connect_error, describe, port_errors

MAX_WRITE_BYTES: Final = 4096
"""What `max_write` says. A choice, not a limit: `write` takes any length and waits for room."""
OPEN_LIMIT_S: Final = 10.0
"""Upper bound for opening; pyserial itself gives a connection 5 s per address and RFC 2217's greeting 3 s."""
POLL_S: Final = 0.2
"""How long the reader thread, where there is one, needs at most to notice that it shall end."""
JOIN_LIMIT_S: Final = 2.0
CHUNK_BYTES: Final = 65536
HIGH_WATER_BYTES: Final = 1 << 20
"""With this much unread, reading pauses and the system's own flow control takes over."""


async def open_serial(port: str, *, baud: int, exclusive: bool = True) -> SerialLink:
    """Open a serial port or a pyserial URL.

    Args:
        port: `/dev/ttyUSB0`, `COM3`, `socket://HOST:PORT`, `rfc2217://HOST:PORT`, `loop://`.
        baud: speed in baud; without meaning for `socket://`.
        exclusive: refuse a port that another program has locked, and lock it.

    Raises:
        ConnectError: it is not there, held by another program, forbidden, or no serial port.
    """
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, _open, port, baud, exclusive)
    try:
        async with asyncio.timeout(OPEN_LIMIT_S):
            opened = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise
    except TimeoutError:
        opening.add_done_callback(_close_late)
        raise ConnectError(
            f"{port} did not open within {OPEN_LIMIT_S:g} s",
            reason=ConnectReason.FAILED,
            hint="check the address, the cable and the driver",
        ) from None
    except port_errors() as error:
        ports = [] if "://" in port else [found.device for found in await asyncio.to_thread(list_serial_ports)]
        raise connect_error(port, error, ports=ports) from error
    fd = _descriptor(opened)
    if fd is not None:
        with contextlib.suppress(NotImplementedError):  # a loop that cannot watch descriptors
            return _WatchedLink(opened, port, fd)
    return _ThreadedLink(opened, port)


def _open(port: str, baud: int, exclusive: bool) -> serial.Serial:
    # Windows knows no shared opening and refuses exclusive=False; None is "as the system does it" everywhere.
    return serial.serial_for_url(port, baudrate=baud, timeout=POLL_S, exclusive=True if exclusive else None)


def _close_late(opening: asyncio.Future[serial.Serial]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _close_port(opening.result())


def _close_port(port: serial.Serial) -> None:
    """Close for good, whatever state it is in."""
    connection = getattr(port, "_socket", None) if type(port).__module__.endswith("protocol_socket") else None
    if isinstance(connection, socket.socket):
        # pyserial 3.5's own close forgets to close a socket whose peer has reset it, and then sleeps 0.3 s.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        port.is_open = False
        return
    with contextlib.suppress(*port_errors()):
        port.close()


def _descriptor(port: serial.Serial) -> int | None:
    if os.name == "posix":
        with contextlib.suppress(*port_errors()):
            return port.fileno()
    return None


def _drain_and_set(port: serial.Serial, baud: int) -> None:
    port.flush()
    port.baudrate = baud


class _PortLink:
    """What both ways of reading share. Implements SerialLink, but for `write`."""

    max_write = MAX_WRITE_BYTES
    instant = False

    def __init__(self, port: serial.Serial, name: str) -> None:
        self.fixed_speed = name.lower().startswith("socket://")
        self._port = port
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._turn = asyncio.Lock()
        self._closed = False

    async def read(self) -> bytes:
        """Return the next bytes. See `Link.read`."""
        data = await self._inbox.get()
        if self._inbox.size_bytes < HIGH_WATER_BYTES:
            self._resume()
        return data

    async def set_baud(self, baud: int) -> None:
        """Drain, then change the speed of our end. See `SerialLink.set_baud`.

        Raises:
            LinkError: the port cannot run at this speed.
        """
        async with self._turn:
            self._inbox.check()
            if self.fixed_speed:
                return
            try:
                await asyncio.to_thread(_drain_and_set, self._port, baud)
            except ValueError:
                self._inbox.check()
                raise LinkError(f"{self._name} cannot run at {baud} baud") from None
            except port_errors() as error:
                self._lost(describe(error))
            self._inbox.check()

    def discard(self) -> int:
        """Forget what was received and not read. See `SerialLink.discard`."""
        dropped = self._inbox.discard()
        self._resume()
        return dropped

    async def close(self) -> None:
        """Close; every waiting read and write ends with LinkClosed. See `Link.close`."""
        if self._closed:
            return
        self._closed = True
        self._inbox.close()
        self._stop()
        # In a thread: the system may hold a port back until what was written has left it.
        await asyncio.to_thread(self._finish)

    def _lost(self, why: str) -> None:
        if not self._inbox.ended:
            self._inbox.lose(f"the link over {self._name} was lost: {why}")
            self._stop()

    def _resume(self) -> None:
        """Read on after a pause, if there was one."""
        raise NotImplementedError

    def _stop(self) -> None:
        """Start no further reading; never waits."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Close the port; runs in a worker thread."""
        _close_port(self._port)


class _WatchedLink(_PortLink):
    """The event loop watches the port's file descriptor."""

    def __init__(self, port: serial.Serial, name: str, fd: int) -> None:
        super().__init__(port, name)
        self._fd = fd
        self._writable: asyncio.Future[None] | None = None
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._on_readable)
        self._reading = True

    async def write(self, data: bytes) -> None:
        """Send data, however long. A cancelled write may have sent a part. See `Link.write`."""
        async with self._turn:
            self._inbox.check()
            rest = memoryview(data)
            while rest:
                self._inbox.check()
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:
                    await self._until_writable()
                except OSError as error:
                    self._lost(describe(error))

    def discard(self) -> int:
        """Forget what was received, here and in the system's buffer. See `SerialLink.discard`."""
        dropped = super().discard()
        while not self._inbox.ended and dropped < HIGH_WATER_BYTES:
            try:
                data = os.read(self._fd, CHUNK_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                self._lost(describe(error))
                break
            if not data:  # nothing there, or the end: the watcher finds out which
                break
            dropped += len(data)
        return dropped

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, CHUNK_BYTES)
            if not data and _is_readable(self._fd):
                # A terminal in pyserial's raw mode also answers "nothing" when there is nothing to read; only
                # "ready, and still nothing" is the end.
                data = os.read(self._fd, CHUNK_BYTES)
                if not data:
                    self._lost("the other end hung up")
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(describe(error))
            return
        self._inbox.put(data)
        if self._inbox.size_bytes >= HIGH_WATER_BYTES and self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    async def _until_writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._writable = ready
        self._loop.add_writer(self._fd, _settle, ready)
        try:
            await ready
        finally:
            if self._writable is ready:  # else _stop was here, and the number may be another file's by now
                self._loop.remove_writer(self._fd)
                self._writable = None

    def _resume(self) -> None:
        if not self._reading and not self._inbox.ended:
            self._loop.add_reader(self._fd, self._on_readable)
            self._reading = True

    def _stop(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False
        if self._writable is not None:
            self._loop.remove_writer(self._fd)
            _settle(self._writable)
            self._writable = None


class _ThreadedLink(_PortLink):
    """One daemon thread reads; writes go through worker threads."""

    def __init__(self, port: serial.Serial, name: str) -> None:
        super().__init__(port, name)
        self._stopping = threading.Event()
        self._room = threading.Event()
        self._room.set()
        self._one_writer = threading.Lock()  # a cancelled write goes on in its thread; the next one waits for it
        self._thread = threading.Thread(target=self._pump, name=f"reader of {name}", daemon=True)
        self._thread.start()

    async def write(self, data: bytes) -> None:
        """Send data. A cancelled write goes on in its thread. See `Link.write`."""
        async with self._turn:
            self._inbox.check()
            try:
                await asyncio.to_thread(self._send, data)
            except port_errors() as error:
                self._lost(describe(error))
            self._inbox.check()

    def _send(self, data: bytes) -> None:
        with self._one_writer:
            self._port.write(data)

    def _pump(self) -> None:
        errors = port_errors()
        while self._room.wait() and not self._stopping.is_set():
            data = b""
            try:
                # More than what waits is never asked for; socket:// says 1 for "some".
                while len(data) < CHUNK_BYTES and (waiting := self._port.in_waiting or int(not data)):
                    piece = self._port.read(waiting)
                    data += piece
                    if not piece:
                        break
            except errors as error:
                self._hand_over(self._arrived, data)
                if not self._stopping.is_set():
                    self._hand_over(self._lost, describe(error))
                return
            self._hand_over(self._arrived, data)

    def _hand_over(self, call: Callable[[Any], None], what: bytes | str) -> None:
        if what:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(call, what)

    def _arrived(self, data: bytes) -> None:
        self._inbox.put(data)
        if self._inbox.size_bytes >= HIGH_WATER_BYTES:
            self._room.clear()

    def _resume(self) -> None:
        self._room.set()

    def _stop(self) -> None:
        self._stopping.set()
        self._room.set()
        with contextlib.suppress(queue.Full, *port_errors()):  # not every kind can be woken; POLL_S ends those
            self._port.cancel_read()

    def _finish(self) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(JOIN_LIMIT_S)
        super()._finish()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _is_readable(fd: int) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([fd], [], [], 0)[0])
