"""Serve a simulated unit to other processes: on a pseudo terminal, or on a TCP port for pyserial's `socket://`.

Both, and UDP in `serve_udp`, are the clock of the device: they pass the loop's time in and deliver each answer when it
is due. Its memory is in the state file (if it has one) before the answer to a write leaves, so that a killed server
forgets nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from lockmigrate.errors import ConfigError, ConnectError, ConnectReason, LockmigrateError
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports import Device, Outgoing

STOPPED: Final = "stopped"
CUT: Final = "cut"
LOOPBACK: Final = "127.0.0.1"
CHUNK_BYTES: Final = 65536
EARLY_S: Final = 0.001
"""Event loops wake up to a millisecond late (epoll counts in those): we wake early and sleep the rest exactly."""
GRACE_S: Final = 0.05
"""How long a client has for the last bytes before a pseudo terminal that is cut takes them with it, and how long the
next one on TCP waits for the one before to go."""
SPEEDS: Final = (9600, 19200, 38400, 57600, 115200)
"""Speeds that termios names and a unit may have; the others are read as numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAt:
    """Where a served unit can be found."""

    target: str
    device: str | None = None
    """Path of the pseudo terminal."""
    port: int | None = None
    """TCP or UDP port on this machine."""


async def serve(
    unit: SimulatedUnit,
    *,
    tcp_port: int | None,
    pty: bool,
    on_ready: Callable[[ServedAt], None],
    udp_port: int | None = None,
) -> str:
    """Serve a unit until SIGINT or SIGTERM, or until a pseudo terminal is cut.

    Args:
        unit: What to serve.
        tcp_port: Serve on this TCP port of 127.0.0.1 (0: any free one); goes before `pty`.
        pty: Serve on a pseudo terminal where system and unit have one, else on any free TCP port.
        on_ready: Called once, when clients may come.
        udp_port: Serve on this UDP port of 127.0.0.1 (0: any free one); goes before both.

    Returns:
        `stopped` or `cut`.

    Raises:
        ConfigError: the unit has no UDP.
        ConnectError: the port is taken, or no pseudo terminal can be had.
        FileTrouble: the state file cannot be written any more.
    """
    task = asyncio.ensure_future(_serving(unit, tcp_port, pty, on_ready, udp_port))
    loop = asyncio.get_running_loop()
    handled = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Not on Windows, and not outside the main thread: there a cancelled task or Ctrl-C ends it.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, task.cancel)
            handled.append(number)
    try:
        return await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return STOPPED
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _serving(
    unit: SimulatedUnit, tcp_port: int | None, pty: bool, on_ready: Callable[[ServedAt], None], udp_port: int | None
) -> Coroutine[Any, Any, str]:
    """Choose the medium. A unit whose own device speaks datagrams is served on UDP unless TCP is asked for."""
    if unit.device is unit.datagram_device:
        if tcp_port is not None:
            raise ConfigError("this unit speaks UDP", hint="leave out transport=udp, or --tcp")
        udp_port = udp_port or 0
    if udp_port is not None:
        from lockmigrate.sim.serve_udp import serve_udp

        return serve_udp(unit, LOOPBACK, udp_port, on_ready)
    if tcp_port is None and pty and unit.on_terminal and sys.platform != "win32":
        return serve_pty(unit, on_ready)
    return serve_tcp(unit, LOOPBACK, tcp_port or 0, on_ready)


async def serve_pty(unit: SimulatedUnit, on_ready: Callable[[ServedAt], None]) -> str:
    """Serve a unit on a new pseudo terminal; clients come and go, the speed they set counts. Returns `cut`.

    A cut line is the end: the terminal is closed and every client's port with it.

    Raises:
        ConnectError: there is no pseudo terminal to be had.
        FileTrouble: the state file cannot be written any more.
    """
    import termios
    import tty

    try:
        master, slave = os.openpty()
    except OSError as error:
        raise ConnectError(
            f"cannot make a pseudo terminal: {error.strerror}",
            reason=ConnectReason.FAILED,
            hint="serve on a TCP port with --tcp",
        ) from None
    try:
        # The slave stays open: without it the first client that leaves would take the terminal along.
        tty.setraw(slave)
        with contextlib.suppress(termios.error):
            _set_speed(slave, unit.line.baud)
        os.set_blocking(master, False)
        name = os.ttyname(slave)
        host = _PtyHost(unit, master, slave)
        try:
            host.start()
            on_ready(ServedAt(target=f"serial://{name}", device=name))
            return await host.done
        finally:
            host.stop()
    finally:
        os.close(slave)
        os.close(master)
        unit.save()


async def serve_tcp(unit: SimulatedUnit, host: str, port: int, on_ready: Callable[[ServedAt], None]) -> str:
    """Serve a unit on a TCP port to one client at a time, until cancelled. A cut closes the client; the next may come.

    Raises:
        ConfigError: `host` is not an address of this machine alone.
        ConnectError: the port is taken.
        FileTrouble: the state file cannot be written any more.
    """
    only_here(host)
    loop = asyncio.get_running_loop()
    plug = _Socket(unit)
    try:
        server = await loop.create_server(lambda: _TcpClient(plug), host, port)
    except OSError as error:
        raise taken(host, port, error) from None
    try:
        got = int(server.sockets[0].getsockname()[1])
        on_ready(ServedAt(target=f"serial://socket://{host}:{got}", port=got))
        return await plug.done
    finally:
        await plug.closed()  # a server that is closed first leaves those open that it has just accepted (Python 3.11)
        server.close()
        await plug.closed()
        unit.save()


def only_here(host: str) -> None:
    """Refuse to serve on an address that others can reach.

    Raises:
        ConfigError: `host` is not an address of this machine alone.
    """
    if not ipaddress.ip_address(host).is_loopback:
        raise ConfigError(f"{host} can be reached from outside", hint=f"a simulated unit is served on {LOOPBACK} only")


def taken(host: str, port: int, error: OSError) -> ConnectError:
    """Return what to raise for a port that cannot be listened on."""
    return ConnectError(
        f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}",
        reason=ConnectReason.BUSY,
        hint="choose another port, or none: then a free one is taken",
    )


class Host:
    """What all media have in common: the device's clock, and the queue of what it sends."""

    def __init__(self, unit: SimulatedUnit, device: Device | None = None) -> None:
        self.device = unit.device if device is None else device
        self._together = device is None and not unit.in_pieces
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[str] = self.loop.create_future()
        self._due: deque[Outgoing] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def opened(self) -> None:
        """A client came."""
        self._send_later(self.device.opened(self.loop.time()))

    def received(self, data: bytes) -> None:
        """Bytes came; a unit that cannot keep its memory any more ends the service."""
        try:
            outgoing = self.device.receive(data, self.loop.time())
        except LockmigrateError as error:
            if not self.done.done():
                self.done.set_exception(error)
        else:
            self._send_later(outgoing)

    def forget(self) -> None:
        """Drop what has not left yet."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send(self, data: bytes) -> None:
        """Send bytes that are due."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """End the connection after what was sent."""
        raise NotImplementedError

    def _send_later(self, outgoing: list[Outgoing]) -> None:
        self._due.extend(outgoing)
        self._deliver()

    def _deliver(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._due:
            now_s = self.loop.time()
            wait_s = self._due[0].at_s - now_s
            if wait_s > EARLY_S:
                self._timer = self.loop.call_at(self._due[0].at_s - EARLY_S, self._deliver)
                return
            if wait_s > 0:
                time.sleep(wait_s)
            piece = self._due.popleft()
            pieces = [piece.data]
            due_s = max(now_s, piece.at_s)
            while self._together and not piece.hangup and self._due and self._due[0].at_s <= due_s:
                # One write for thousands of packets that are due: each costs a call to the system otherwise.
                piece = self._due.popleft()
                pieces.append(piece.data)
            if data := b"".join(pieces):
                self.send(data)
            if piece.hangup:
                self.forget()
                self.hang_up()


class _PtyHost(Host):
    def __init__(self, unit: SimulatedUnit, master: int, slave: int) -> None:
        super().__init__(unit)
        self._master = master
        self._slave = slave
        self._backlog = bytearray()

    def start(self) -> None:
        self.loop.add_reader(self._master, self._readable)
        self.opened()

    def stop(self) -> None:
        self.forget()
        self.loop.remove_reader(self._master)
        self.loop.remove_writer(self._master)
        self.device.closed()

    def send(self, data: bytes) -> None:
        self._backlog += data
        self._flush()

    def hang_up(self) -> None:
        self.loop.remove_reader(self._master)
        self.loop.call_later(GRACE_S, self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(CUT)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.device.set_host_baud(_speed(self._slave))
            self.received(data)
        else:
            self.loop.remove_reader(self._master)
            self._finish()

    def _flush(self) -> None:
        """Write what the terminal takes; where nobody reads, the rest waits."""
        while self._backlog:
            try:
                written = os.write(self._master, self._backlog)
            except BlockingIOError:
                self.loop.add_writer(self._master, self._flush)
                return
            del self._backlog[:written]
        self.loop.remove_writer(self._master)


class _Socket(Host):
    """The plug that one TCP client at a time holds."""

    def __init__(self, unit: SimulatedUnit) -> None:
        super().__init__(unit)
        self.client: asyncio.Transport | None = None
        self._waiting: deque[asyncio.Transport] = deque()
        self.connected: set[asyncio.Transport] = set()
        """All whose socket is not closed yet."""

    def plug_in(self, client: asyncio.Transport) -> None:
        """Let a client in; where there is one, it has a moment to go (it may have hung up just before)."""
        if self.client is not None:
            client.pause_reading()
            self._waiting.append(client)
            self.loop.call_later(GRACE_S, self._send_away, client)
            return
        self.client = client
        self.device.set_host_baud(None)
        self.opened()
        client.resume_reading()

    def unplug(self) -> None:
        """Send the client away, if there is one, and let the next in."""
        self.forget()
        if self.client is not None:
            client, self.client = self.client, None
            client.close()
            self.device.closed()
        if self._waiting:
            self.plug_in(self._waiting.popleft())

    async def closed(self) -> None:
        """Send all away, those too that come at this very moment, and see their sockets closed."""
        for _ in range(3):  # turns of the loop from accepting a client to its protocol
            while self._waiting:
                self._waiting.popleft().close()
            self.unplug()
            await asyncio.sleep(0)
        while self.connected:
            for client in tuple(self.connected):
                client.abort()
            await asyncio.sleep(0)

    def _send_away(self, client: asyncio.Transport) -> None:
        if client in self._waiting:
            self._waiting.remove(client)
            client.close()

    def send(self, data: bytes) -> None:
        if self.client is not None:
            self.client.write(data)

    def hang_up(self) -> None:
        self.unplug()


class _TcpClient(asyncio.Protocol):
    def __init__(self, plug: _Socket) -> None:
        self._plug = plug
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_server makes no other
        self._transport = transport
        self._plug.connected.add(transport)
        self._plug.plug_in(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None and self._plug.client is self._transport:
            self._plug.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._plug.connected.discard(self._transport)
        if self._plug.client is self._transport:
            self._plug.unplug()


def _set_speed(slave: int, baud: int) -> None:
    """Start at the unit's speed: a client that sets none is not to blame."""
    import termios

    speed = getattr(termios, f"B{baud}", None)
    if speed is not None:
        attributes = termios.tcgetattr(slave)
        attributes[4] = attributes[5] = speed
        termios.tcsetattr(slave, termios.TCSANOW, attributes)


def _speed(slave: int) -> int:
    """Return the speed in baud that the client has set on its end."""
    import termios

    attributes: list[Any] = termios.tcgetattr(slave)
    named = {getattr(termios, f"B{baud}"): baud for baud in SPEEDS}
    number = int(attributes[5])
    return named[number] if number in named else _odd_speed(slave, number)


def _odd_speed(slave: int, number: int) -> int:
    """Return a speed without a name; on Linux that takes the newer of two system calls (as in pyserial)."""
    import array
    import fcntl

    if sys.platform != "linux":
        return number
    tcgets2, ospeed = 0x802C542A, 10
    settings = array.array("i", [0] * 64)
    try:
        fcntl.ioctl(slave, tcgets2, settings, True)
    except OSError:
        return number
    return settings[ospeed]
