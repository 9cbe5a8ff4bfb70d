"""Serve simulated units on Bluetooth LE to other processes: a simulated radio, and Bluetooth controllers for clients.

A client is whatever speaks HCI over a socket: our own back end (`transports.bumble`), any Bumble program, or an
operating system with a virtual controller. Each gets a controller of its own, which is taken off the air when it goes.
Bumble's own server keeps one controller for all, and after a client that crashed the unit was never found again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bumble.hci import Address, AddressType
from bumble.transport.common import StreamPacketSink, StreamPacketSource

from lockmigrate.errors import ConfigError, ConnectError, ConnectReason
from lockmigrate.sim.radio import Radio, RadioController
from lockmigrate.sim.radio_unit import Peripheral
from lockmigrate.sim.serve import LOOPBACK, STOPPED, ServedAt, taken
from lockmigrate.sim.unit import SimulatedUnit

__all__ = ["HciServer", "Peripheral", "Radio", "ServedOnAir", "serve_ble", "serve_hci", "target_of"]

EXAMPLES: Final = "--hci tcp:4001, tcp:0 for any free port, or unix:/path"
UNQUOTED: Final = "/:@,=+~"
"""Characters that need no %XX behind the `?` of a target; `&`, `%` and `#` do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedOnAir(ServedAt):
    """Where a served unit on Bluetooth LE can be found."""

    hci: str
    """What a Bumble client opens to be on the same radio."""


async def serve_ble(
    units: list[SimulatedUnit],
    spec: str,
    on_ready: Callable[[SimulatedUnit, ServedOnAir], None],
    *,
    interval_s: float = 0.0,
) -> str:
    """Serve units on one simulated radio until SIGINT or SIGTERM. Their memory is saved at the end.

    Args:
        units: What to serve; their `gatt_device`s.
        spec: `tcp:PORT` (of this machine alone; 0: any free one) or `unix:PATH`.
        on_ready: Called once per unit, when clients may come.
        interval_s: How long every packet takes on the air.

    Returns:
        `stopped`.

    Raises:
        ConfigError: a unit has no Bluetooth, two have one address, or `spec` is written differently.
        ConnectError: the port or path is taken.
        FileTrouble: a state file cannot be written any more.
    """
    seen: set[str] = set()
    for unit in units:
        if unit.gatt_device is None:
            raise ConfigError(f'a simulated "{unit.profile.name}" has no Bluetooth', hint="leave out --hci")
        if unit.gatt_device.address in seen:
            raise ConfigError(
                f"two units have the address {unit.gatt_device.address}",
                hint="give one of them another, or serve each with a command of its own",
            )
        seen.add(unit.gatt_device.address)
    return await until_stopped(_serving(units, spec, on_ready, interval_s))


async def _serving(
    units: list[SimulatedUnit],
    spec: str,
    on_ready: Callable[[SimulatedUnit, ServedOnAir], None],
    interval_s: float,
) -> str:
    radio = Radio(interval_s=interval_s)
    async with contextlib.AsyncExitStack() as stack:
        failing: list[asyncio.Future[None]] = []
        for unit in units:
            stack.callback(unit.save)
            if unit.gatt_device is not None:
                peripheral = await stack.enter_async_context(Peripheral(unit.gatt_device, radio))
                failing.append(peripheral.done)
        server = await serve_hci(radio, spec)
        stack.push_async_callback(server.close)
        for unit in units:
            if unit.gatt_device is not None:
                target = target_of(unit.gatt_device.address, server.hci)
                on_ready(unit, ServedOnAir(target=target, port=server.port, hci=server.hci))
        done, _ = await asyncio.wait(failing, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    return STOPPED


async def until_stopped(service: Coroutine[Any, Any, str]) -> str:
    """Run a service until it ends, or until SIGINT or SIGTERM; then it is cancelled, and the answer is `stopped`."""
    task = asyncio.ensure_future(service)
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


def target_of(address: str, hci: str) -> str:
    """Return the target of a unit on a controller that Bumble opens."""
    return f"ble://{address}?hci={quote(hci, safe=UNQUOTED)}"


# ---- controllers for clients -----------------------------------------------------------------------------------------


class HciServer:
    """Hands out Bluetooth controllers on a radio. Made by `serve_hci`."""

    def __init__(self, radio: Radio) -> None:
        self.hci = ""
        """What a Bumble client opens."""
        self.port: int | None = None
        self.clients: set[_Client] = set()
        self._radio = radio
        self._number = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def close(self) -> None:
        """Send all clients away and stop listening."""
        if self._server is not None:
            self._server.close()
        for client in tuple(self.clients):
            client.close()
        await asyncio.sleep(0)  # lets their transports finish
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def listen_tcp(self, port: int) -> None:
        """Listen on a TCP port of this machine alone."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._client, LOOPBACK, port)
        except OSError as error:
            raise taken(LOOPBACK, port, error) from None
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.hci = f"tcp-client:{LOOPBACK}:{self.port}"

    async def listen_unix(self, path: Path) -> None:
        """Listen on a socket in the file system, which nobody else may open."""
        if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
            raise ConfigError("this system has no unix sockets", hint="use --hci tcp:0")
        _clear(path)
        bound = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            bound.bind(str(path))
        except OSError as error:
            bound.close()
            raise ConnectError(
                f"cannot listen on {path}: {os.strerror(error.errno) if error.errno else error}",
                reason=ConnectReason.BUSY,
                hint="choose another path (of at most some 100 bytes)",
            ) from None
        finally:
            os.umask(before)
        self._path = path
        self._server = await asyncio.get_running_loop().create_unix_server(self._client, sock=bound)
        self.hci = f"unix:{path}"

    def _client(self) -> _Client:
        return _Client(self, self._radio, next(self._number))


async def serve_hci(radio: Radio, spec: str) -> HciServer:
    """Hand out controllers on a radio to whoever connects.

    Args:
        radio: What they will hear.
        spec: `tcp:PORT` (of this machine alone; 0: any free one) or `unix:PATH`.

    Raises:
        ConfigError: `spec` is written differently.
        ConnectError: the port or path is taken.
    """
    kind, _, place = spec.partition(":")
    server = HciServer(radio)
    if kind == "tcp" and place.isascii() and place.isdigit() and int(place[:6]) <= 65535:
        await server.listen_tcp(int(place))
    elif kind == "unix" and place and place.isprintable():
        await server.listen_unix(Path(place))
    else:
        raise ConfigError(f'"{spec}" is no place to serve Bluetooth at', hint=f"for example {EXAMPLES}")
    return server


def _clear(path: Path) -> None:
    """Remove a socket that a killed server left.

    Raises:
        ConnectError: somebody listens there.
    """
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
    except FileNotFoundError:
        return
    except OSError:
        path.unlink(missing_ok=True)
        return
    raise ConnectError(
        f"cannot listen on {path}: somebody does already", reason=ConnectReason.BUSY, hint="choose another path"
    )


class _Client(StreamPacketSource):
    """One client, and its controller."""

    def __init__(self, server: HciServer, radio: Radio, number: int) -> None:
        super().__init__()
        self._server = server
        self._radio = radio
        self._name = f"client-{number}"
        # Linux takes no controller without an address. The second bit says that nobody assigned it (IEEE 802, 8.4).
        self._address = Address(number.to_bytes(4, "little") + b"\0\2", AddressType.PUBLIC_DEVICE)
        self._transport: asyncio.Transport | None = None
        self._controller: RadioController | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream server makes no other
        self._transport = transport
        self._server.clients.add(self)
        self._controller = RadioController(
            self._name,
            public_address=self._address,
            link=self._radio,
            host_source=self,
            host_sink=StreamPacketSink(transport),
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.clients.discard(self)
        if self._controller is not None:
            self._radio.remove_controller(self._controller)

    def close(self) -> None:
        """Send the client away."""
        if self._transport is not None:
            self._transport.close()
