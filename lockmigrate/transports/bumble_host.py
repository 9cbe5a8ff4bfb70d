"""A Bluetooth controller driven without the system's Bluetooth, by Bumble: a dongle, or a simulated radio.

Exactly one Bumble device per HCI string and event loop, shared by scanners and clients: a controller has one host.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

from bleak.exc import BleakError

from lockmigrate.errors import ConfigError, ConnectError, ConnectReason, TargetError
from lockmigrate.transports.serial_errors import connect_error, describe

try:
    from bumble import core, hci
    from bumble.device import Advertisement, Connection, Device, DeviceConfiguration
    from bumble.host import Host
    from bumble.keys import MemoryKeyStore
    from bumble.transport import open_transport
    from bumble.transport.common import AsyncPipeSink, Transport, TransportInitError, TransportSpecError
except ImportError as error:
    raise ConfigError(
        f'this needs the package "bumble", which cannot be used: {error}', hint='pip install "lockmigrate[sim]"'
    ) from error

T = TypeVar("T")
Listener = Callable[["Advertisement"], None]

OPEN_LIMIT_S: Final = 10.0
"""Upper bound for opening the way to a controller; a dongle on USB is claimed within one."""
ANSWER_LIMIT_S: Final = 5.0
"""Upper bound for the controller to answer HCI_Reset and what follows it, altogether."""
TIDY_LIMIT_S: Final = 2.0
"""How long a controller has for the last things that are asked of it: to hang up, to stop looking."""
EXAMPLES: Final = {
    "tcp-client": "tcp-client:127.0.0.1:PORT",
    "unix": "unix:/path",
    "unix-client": "unix-client:/path",
    "serial": "serial:/dev/ttyACM0,1000000",
    "usb": "usb:0",
    "pyusb": "pyusb:0",
    "hci-socket": "hci-socket:0",
    "vhci": "vhci",
    "ws-client": "ws-client:ws://HOST:PORT",
    "udp": "udp:LOCAL:PORT,REMOTE:PORT",
    "pty": "pty",
    "android-emulator": "android-emulator:HOST:PORT",
    "android-netsim": "android-netsim:HOST:PORT",
}
"""The ways to a controller that Bumble knows (its `transport/__init__.py`), without those that wait to be called."""
NEEDS_NOTHING: Final = frozenset({"hci-socket", "vhci", "pty", "android-emulator", "android-netsim"})
OFTEN: Final = ("usb:0", "serial:/dev/ttyACM0", "tcp-client:127.0.0.1:PORT", "unix:/path")

# Bumble tells of every lost transport with a traceback; without a handler Python would print those to the terminal.
logging.getLogger("bumble").addHandler(logging.NullHandler())


class SoftwareLink(Protocol):
    """A simulated radio inside this process (see `sim.radio`)."""

    def controller(self, name: str) -> Any:
        """Return a new Bumble controller on it."""

    def remove_controller(self, controller: Any) -> None:
        """Take one away again."""


async def bumble_host(hci_string: str) -> BumbleHost:
    """Return the host of a controller, opened if it is not open yet; each call needs one `release`.

    Raises:
        ConfigError: a package for this way is not installed.
        TargetError: the string is none that Bumble understands.
        ConnectError: there is no such controller, we may not use it, or it does not answer.
    """
    registry = _registry()
    async with registry.lock:
        host = registry.hosts.get(hci_string)
        if host is not None and not host.lost:
            host.users += 1
            return host
        registry.hosts[hci_string] = host = await _open(hci_string)
        return host


async def finished(awaitable: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
    """Await something of Bumble's as a task of its own, which goes on when the caller is cancelled.

    Bumble says that a link is gone by cancelling what waits for it, which would look like our caller's cancelling; and
    a request of ours that is cancelled would leave its answer to the next one.

    Raises:
        BleakError: the link is gone.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        ours = asyncio.current_task()
        if task.cancelled() and ours is not None and not ours.cancelling():
            raise BleakError("the link was lost") from None
        task.add_done_callback(_retrieved)
        raise


def _retrieved(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


class BumbleHost:
    """One controller and the Bumble device on it. Made by `bumble_host` or `on_link`."""

    def __init__(self, name: str, device: Device, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        """The HCI string."""
        self.device = device
        self.users = 1
        self.lost = False
        """The way to the controller broke; nothing works any more."""
        self._close = close
        self.keystore = MemoryKeyStore()
        """The bonds, which live as long as this host: Bumble's own store is a file in the user's data directory."""
        self._listeners: list[Listener] = []
        self._scan_lock = asyncio.Lock()
        self._connect_lock = asyncio.Lock()
        device.keystore = self.keystore
        device.on("advertisement", self._heard)

    @classmethod
    async def on_link(cls, link: SoftwareLink, name: str = "lockmigrate") -> BumbleHost:
        """Return a host on a simulated radio of this process; it is not shared."""
        controller = link.controller(name)
        device = _device(Host(controller, AsyncPipeSink(controller)))

        async def close() -> None:
            link.remove_controller(controller)

        host = cls(f"link:{name}", device, close)
        await device.power_on()
        return host

    async def release(self) -> None:
        """Let go; the last one to do so closes the controller. Never raises for one that is gone."""
        self.users -= 1
        if self.users == 0:
            registry = _registry()
            async with registry.lock:
                if self.users == 0:
                    if registry.hosts.get(self.name) is self:
                        del registry.hosts[self.name]
                    await self._shut()

    def check(self) -> None:
        """Raise BleakError if the controller is gone or was let go."""
        if self.lost:
            raise BleakError(f"the Bluetooth controller at {self.name} is gone")
        if self.users <= 0:
            raise BleakError(f"the Bluetooth controller at {self.name} is closed")

    # ---- scanning ----------------------------------------------------------------------------------------------------

    async def start_scan(self, listener: Listener) -> None:
        """Have a listener hear advertisements; the first one turns the scan on (always an active one).

        Raises:
            BleakError: the controller is gone, or refuses.
        """
        async with self._scan_lock:
            self.check()
            if not self._listeners:
                try:
                    await finished(self._tidily(self.device.start_scanning(active=True, filter_duplicates=False)))
                except BaseException as error:
                    await self._stop_scanning()
                    if isinstance(error, core.BaseBumbleError | TimeoutError):
                        raise BleakError(f"looking for units failed: {error}") from error
                    raise
            self._listeners.append(listener)

    async def stop_scan(self, listener: Listener) -> None:
        """Undo `start_scan`; the last one turns the scan off. Never raises."""
        async with self._scan_lock:
            if listener not in self._listeners:
                return
            self._listeners.remove(listener)
            if not self._listeners:
                await self._stop_scanning()

    async def _stop_scanning(self) -> None:
        if not self.lost:
            with contextlib.suppress(BleakError, core.BaseBumbleError, TimeoutError):
                await finished(self._tidily(self.device.stop_scanning()))

    def _heard(self, advertisement: Advertisement) -> None:
        for listener in tuple(self._listeners):
            guarded(listener, advertisement)

    # ---- connections -------------------------------------------------------------------------------------------------

    async def connect(self, address: hci.Address, timeout_s: float) -> Connection:
        """Connect; one at a time, as controllers do it.

        Raises:
            TimeoutError: not within `timeout_s`.
            BleakError: it failed, or the controller is gone.
        """
        async with asyncio.timeout(timeout_s), self._connect_lock:
            self.check()
            attempt = asyncio.ensure_future(self.device.connect_le(address, timeout=None))
            try:
                return await asyncio.shield(attempt)
            except asyncio.CancelledError:
                if attempt.cancelled():
                    raise BleakError("the Bluetooth controller is gone") from None
                await self._give_up(attempt)
                raise
            except core.BaseBumbleError as error:
                raise BleakError(f"connecting failed: {error}") from error

    async def _give_up(self, attempt: asyncio.Future[Connection]) -> None:
        """Have the controller stop trying: a connection that nobody wants would keep the unit from all others."""
        with contextlib.suppress(BleakError, core.BaseBumbleError, TimeoutError):
            cancel = self.device.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())
            await finished(self._tidily(cancel))
            await asyncio.wait({attempt}, timeout=TIDY_LIMIT_S)
        if attempt.done() and not attempt.cancelled() and attempt.exception() is None:
            await self.hang_up(attempt.result())
        attempt.cancel()

    async def hang_up(self, connection: Connection) -> None:
        """Disconnect; returns when the controller said so, or does not say anything any more. Never raises."""
        if self.lost or self.device.connections.get(connection.handle) is not connection:
            return
        with contextlib.suppress(BleakError, core.BaseBumbleError, TimeoutError):
            await finished(self._tidily(connection.disconnect()))

    async def _tidily(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async with asyncio.timeout(TIDY_LIMIT_S):
            return await coroutine

    async def _shut(self) -> None:
        for connection in tuple(self.device.connections.values()):
            await self.hang_up(connection)
        if not self.lost:
            with contextlib.suppress(BleakError, core.BaseBumbleError, TimeoutError):
                await finished(self._tidily(self.device.power_off()))
        await self._close()

    def transport_lost(self, terminated: asyncio.Future[None]) -> None:
        """The way to the controller has ended, by itself or by our closing it."""
        self.lost = True
        _retrieved(terminated)


def guarded(callback: Callable[..., object], *arguments: object) -> None:
    """Call what somebody gave us; its faults are reported as those of any callback, and never reach Bumble's parser."""
    try:
        callback(*arguments)
    except Exception as error:  # noqa: BLE001  # whatever it is, the packets of others must go on
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"a Bluetooth listener failed: {type(error).__name__}", "exception": error}
        )


# ---- opening ---------------------------------------------------------------------------------------------------------


class _Registry:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.hosts: dict[str, BumbleHost] = {}


_registries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Registry] = weakref.WeakKeyDictionary()


def _registry() -> _Registry:
    return _registries.setdefault(asyncio.get_running_loop(), _Registry())


def _device(host: Host) -> Device:
    """Return a device with a fresh random address."""
    address = hci.Address.generate_static_address()
    return Device(config=DeviceConfiguration(name="lockmigrate", address=address), host=host)


async def _open(hci_string: str) -> BumbleHost:
    _check(hci_string)
    transport = await _open_transport(hci_string)
    try:
        device = _device(Host(transport.source, transport.sink))
        host = BumbleHost(hci_string, device, lambda: _close(transport))
        terminated = getattr(transport.source, "terminated", None)
        if terminated is not None:
            terminated.add_done_callback(host.transport_lost)
        await _wake(device, hci_string)
    except BaseException:
        await _close(transport)
        raise
    return host


async def _close(transport: Transport) -> None:
    await transport.close()
    await asyncio.sleep(0)  # lets a socket's transport finish
    await asyncio.sleep(0)


def _check(hci_string: str) -> None:
    scheme, colon, rest = hci_string.partition(":")
    if scheme not in EXAMPLES:
        near = difflib.get_close_matches(scheme, EXAMPLES, n=1)
        hint = f'did you mean "{EXAMPLES[near[0]]}"?' if near else f"for example {', '.join(OFTEN)}"
        raise TargetError(f'"{hci_string}" names no Bluetooth controller', hint=hint)
    port = rest.rpartition(":")[2]
    numbered = scheme != "tcp-client" or (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535)
    if (not rest and (colon or scheme not in NEEDS_NOTHING)) or "\x00" in rest or not numbered:
        raise TargetError(f'"{hci_string}" names no Bluetooth controller', hint=f"for example {EXAMPLES[scheme]}")


async def _open_transport(hci_string: str) -> Transport:
    scheme, _, rest = hci_string.partition(":")
    try:
        async with asyncio.timeout(OPEN_LIMIT_S):
            return await open_transport(hci_string)
    except TimeoutError as error:
        raise ConnectError(
            f"{hci_string} could not be opened within {OPEN_LIMIT_S:g} s",
            reason=ConnectReason.FAILED,
            hint="check the address, or unplug the dongle and plug it in again",
        ) from error
    except ImportError as error:
        raise ConfigError(
            f'"{scheme}:" needs a package that is not installed: {error}', hint='pip install "bumble" with its extras'
        ) from error
    except Exception as error:
        raise _trouble(hci_string, scheme, rest, error) from error


def _trouble(hci_string: str, scheme: str, rest: str, error: Exception) -> TargetError | ConnectError:
    """Return what to raise for a controller that could not be opened; libusb's errors are told by their names."""
    kind = type(error).__name__
    if isinstance(error, OSError) and scheme == "serial":
        return connect_error(rest.partition(",")[0], error)
    if isinstance(error, FileNotFoundError | ConnectionRefusedError) and scheme in (
        "tcp-client",
        "unix",
        "unix-client",
    ):
        return ConnectError(
            f"nothing listens at {hci_string}",
            reason=ConnectReason.NOT_FOUND,
            hint='is "lockmigrate sim serve" still running?',
        )
    if isinstance(error, PermissionError) or kind == "USBErrorAccess":
        return ConnectError(
            f"no permission to open {hci_string}",
            reason=ConnectReason.NO_PERMISSION,
            hint="a dongle on USB needs a udev rule (Linux) or the WinUSB driver (Windows); "
            "a socket belongs to whoever serves it",
        )
    if kind == "USBErrorBusy" or "in use" in str(error):
        return ConnectError(
            f"{hci_string} is in use", reason=ConnectReason.BUSY, hint="the system's own Bluetooth must let go of it"
        )
    absent = isinstance(error, TransportInitError | FileNotFoundError)
    if absent or kind in ("USBErrorNoDevice", "USBErrorNotFound"):
        return ConnectError(
            f"there is no Bluetooth controller at {hci_string}: {describe(error)}",
            reason=ConnectReason.NOT_FOUND,
            hint="check that the dongle is plugged in, and its number",
        )
    misread = isinstance(error, TransportSpecError | ValueError | AssertionError | IndexError | KeyError)
    if misread and kind != "NoBackendError":  # pyusb's word for a missing libusb
        return TargetError(f'"{hci_string}" names no Bluetooth controller', hint=f"for example {EXAMPLES[scheme]}")
    return ConnectError(
        f"{hci_string} could not be opened: {describe(error)}",
        reason=ConnectReason.FAILED,
        hint="check that this system lets programs at it (libusb for USB), or try another way, such as serial:",
    )


async def _wake(device: Device, hci_string: str) -> None:
    """Reset the controller and learn what it can do."""
    task = asyncio.ensure_future(device.power_on())
    try:
        await asyncio.wait({task}, timeout=ANSWER_LIMIT_S)
    finally:
        task.cancel()
    if not task.done():
        raise ConnectError(
            f"no Bluetooth controller answers at {hci_string}",
            reason=ConnectReason.FAILED,
            hint="is it an HCI port, at this speed? unplug a dongle and plug it in again",
        )
    error = asyncio.CancelledError("it is gone") if task.cancelled() else task.exception()
    if error is not None:
        raise ConnectError(
            f"the Bluetooth controller at {hci_string} does not work: {describe(error)}",
            reason=ConnectReason.FAILED,
            hint="unplug the dongle and plug it in again, or start the simulator again",
        ) from error
