"""A bluetoothd of a few lines on a D-Bus of our own: bleak's back end for Linux, unchanged, takes it for the real one.

It knows one adapter, one unit that echoes, and the ways in which either can fail. What it says and in which order is
from BlueZ's documentation (bluez/bluez, doc/org.bluez.Adapter.rst, Device.rst, GattCharacteristic.rst).
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow own="*"/>{more}
</policy></busconfig>
"""
FORBID_BLUEZ = '<deny send_destination="org.bluez"/>'
ADAPTER = "/org/bluez/hci0"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECTS = "org.freedesktop.DBus.ObjectManager"


@contextlib.contextmanager
def system_bus(folder: Path, more: str = "") -> Iterator[str]:
    """A D-Bus of our own, on which there is no bluetoothd yet."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("dbus-daemon is not installed")
    config = folder / "bus.conf"
    config.write_text(BUS.format(path=folder / "bus", more=more), encoding="utf-8")
    process = subprocess.Popen(
        [daemon, f"--config-file={config}", "--nofork", "--print-address=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


class Bluetoothd:
    """What it does.

    Args:
        unit: the address of the unit in reach.
        characteristics: UUID to its flags.
        powered: whether the adapter is on; None for no adapter.
        errors: method to the errors it ends in, one call after the other: name and words of each.
    """

    def __init__(
        self,
        *,
        unit: str = "",
        characteristics: dict[str, list[str]] | None = None,
        powered: bool | None = True,
        errors: dict[str, list[list[str]]] | None = None,
    ) -> None:
        self.path = f"{ADAPTER}/dev_{unit.replace(':', '_')}"
        self.calls: list[str] = []
        self.written: list[tuple[str, bytes]] = []
        self.mtu = 23
        self.silent: set[str] = set()
        """Methods that are never answered."""
        self._unit = unit
        self._errors = errors or {}
        self._powered = powered
        self._characteristics = {
            f"{self.path}/service000a/char{number:04x}": (uuid, flags)
            for number, (uuid, flags) in enumerate((characteristics or {}).items(), start=11)
        }

    @contextlib.asynccontextmanager
    async def running(self, address: str) -> AsyncIterator[Bluetoothd]:
        """Run on a bus."""
        from dbus_fast.aio import MessageBus

        self._bus = await MessageBus(bus_address=address).connect()
        self._bus.add_message_handler(self._answer)
        await self._bus.request_name("org.bluez")
        try:
            yield self
        finally:
            self._bus.disconnect()
            await self._bus.wait_for_disconnect()

    def lose(self) -> None:
        """The unit goes out of reach."""
        self._changed(self.path, "org.bluez.Device1", Connected=("b", False), ServicesResolved=("b", False))

    def learn_mtu(self, mtu: int) -> None:
        """The MTU is agreed on."""
        self.mtu = mtu
        for path in self._characteristics:
            self._changed(path, "org.bluez.GattCharacteristic1", MTU=("q", mtu))

    def notify(self, uuid: str, data: bytes) -> None:
        """The unit sends a notification."""
        self._changed(self._path_of(uuid), "org.bluez.GattCharacteristic1", Value=("ay", data))

    def _path_of(self, uuid: str) -> str:
        return next(path for path, (known, _) in self._characteristics.items() if known == uuid)

    def _answer(self, message: Any) -> Any:
        from dbus_fast import Message, MessageType

        if message.message_type is not MessageType.METHOD_CALL:
            return None
        method = message.member
        if method == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [self._objects()])
        self.calls.append(method)
        if self._errors.get(method):
            name, words = self._errors[method].pop(0)
            return Message.new_error(message, f"org.bluez.Error.{name}", words)
        if method in self.silent:
            return True
        uuid = self._characteristics.get(message.path, ("", []))[0]
        if method == "ReadValue":
            return Message.new_method_return(message, "ay", [uuid.encode()])
        if method == "WriteValue":
            self.written.append((uuid, bytes(message.body[0])))
        self._bus.send(Message.new_method_return(message))
        if method == "StartDiscovery" and self._unit:
            self._added(self.path, {"org.bluez.Device1": self._device()})
        if method == "Connect":
            self._changed(self.path, "org.bluez.Device1", Connected=("b", True))
            for path, interfaces in self._gatt().items():
                self._added(path, interfaces)
            self._changed(self.path, "org.bluez.Device1", ServicesResolved=("b", True))
        if method == "Disconnect":
            self.lose()
        return True

    def _objects(self) -> dict[str, Any]:
        if self._powered is None:
            return {}
        about = _variants(Powered=("b", self._powered), Roles=("as", ["central"]), Address=("s", "00:00:00:00:00:01"))
        return {ADAPTER: {"org.bluez.Adapter1": about}}

    def _device(self) -> dict[str, Any]:
        return _variants(
            Address=("s", self._unit),
            Alias=("s", "Lock_01"),
            Name=("s", "Lock_01"),
            Adapter=("o", ADAPTER),
            Connected=("b", False),
            Paired=("b", False),
            ServicesResolved=("b", False),
            RSSI=("n", -55),
            UUIDs=("as", []),
        )

    def _gatt(self) -> dict[str, Any]:
        service = f"{self.path}/service000a"
        about = _variants(UUID=("s", "5f1d0001-6c6f-636b-6d69-677261746521"), Device=("o", self.path))
        found: dict[str, Any] = {service: {"org.bluez.GattService1": about}}
        for path, (uuid, flags) in self._characteristics.items():
            about = _variants(UUID=("s", uuid), Service=("o", service), Flags=("as", flags), MTU=("q", self.mtu))
            found[path] = {"org.bluez.GattCharacteristic1": about}
        return found

    def _added(self, path: str, interfaces: dict[str, Any]) -> None:
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def _changed(self, path: str, interface: str, **values: tuple[str, Any]) -> None:
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, _variants(**values), []])

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        from dbus_fast import Message

        self._bus.send(Message.new_signal(path, interface, member, signature, body))


def _variants(**values: tuple[str, Any]) -> dict[str, Any]:
    from dbus_fast import Variant

    return {name: Variant(kind, value) for name, (kind, value) in values.items()}
