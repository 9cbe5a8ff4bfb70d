"""What goes wrong on Bluetooth LE, in our words. The only place that reads what bleak, D-Bus and the systems raise.

bleak is not imported with this module: the simulated connection shares the words and needs no Bluetooth.
"""

from __future__ import annotations

import sys
from typing import Final

from lockmigrate.errors import (
    ConnectError,
    ConnectReason,
    LinkError,
    LockmigrateError,
    RefusedError,
    Unsupported,
)

LOST_HINT: Final = "the unit went out of reach, fell asleep or hung up; nothing is retried"
PAIR_HINT: Final = "the unit wants to be paired with this computer first; bring it into its pairing mode and try again"
PERMISSION: Final = frozenset({0x05, 0x08, 0x0C, 0x0F})
"""ATT error codes of a link that is not paired, encrypted or authorised enough."""
CANNOT: Final = frozenset({0x01, 0x02, 0x03, 0x06})
"""ATT error codes of something that the unit never does."""
ATTRIBUTE_BYTES: Final = 512
"""The longest value of an attribute, and so of a long write (Core 5.4, Vol 3 Part F, 3.2.9)."""
ATT_ERRORS: Final = {
    0x01: "invalid handle",
    0x02: "read not permitted",
    0x03: "write not permitted",
    0x04: "invalid PDU",
    0x05: "insufficient authentication",
    0x06: "request not supported",
    0x07: "invalid offset",
    0x08: "insufficient authorization",
    0x09: "prepare queue full",
    0x0A: "attribute not found",
    0x0B: "attribute not long",
    0x0C: "encryption key too short",
    0x0D: "invalid attribute value length",
    0x0E: "unlikely error",
    0x0F: "insufficient encryption",
    0x10: "unsupported group type",
    0x11: "insufficient resources",
    0x12: "database out of sync",
    0x13: "value not allowed",
    0xFC: "write request rejected",
    0xFD: "configuration descriptor improperly configured",
    0xFE: "procedure already in progress",
    0xFF: "out of range",
}
"""Core 5.4, Vol 3 Part F, 3.4.1.1, and 0xFC to 0xFF from the Core Specification Supplement, Part B, 1.2."""

_LINUX: Final = "linux"
_MAC: Final = "darwin"
_WINDOWS: Final = "win32"
_ABSENT: Final = {
    _LINUX: "plug in a Bluetooth LE adapter; `bluetoothctl list` shows those that Linux knows",
    _MAC: "this Mac has no Bluetooth LE, or a virtual machine hides it",
    _WINDOWS: "plug in a Bluetooth LE adapter; the device manager shows those that Windows knows",
}
_OFF: Final = {
    _LINUX: "turn it on with `bluetoothctl power on`; if that fails, `rfkill unblock bluetooth`",
    _MAC: "turn Bluetooth on in System Settings",
    _WINDOWS: "turn Bluetooth on in Settings, Bluetooth & devices",
}
_FORBIDDEN: Final = {
    # hbldh/bleak issue 356
    _LINUX: "add yourself to the group bluetooth: `sudo usermod -aG bluetooth $USER`, then log out and in again",
    _MAC: "allow Bluetooth for the terminal program in System Settings, Privacy & Security, Bluetooth",
    _WINDOWS: "allow apps to use Bluetooth in Settings, Privacy & security, Radios",
}
_NO_SERVICE: Final = "start it with `sudo systemctl start bluetooth`; a container needs the host's /run/dbus"
_SERVICE_GONE: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner",
        "org.freedesktop.DBus.Error.Spawn.ChildExited",
        "org.freedesktop.DBus.Error.Spawn.ExecFailed",
        "org.freedesktop.systemd1.NoSuchUnit",
    }
)
_FORBIDDING: Final = frozenset({"org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.AuthFailed"})
_GONE: Final = frozenset({"org.bluez.Error.NotConnected", "org.freedesktop.DBus.Error.UnknownObject"})
_GONE_WORDS: Final = ("not connected", "disconnected", "unreachable", "service discovery has not been performed")
"""In the texts of bleak 3.1, all back ends: what it says where it or the system knows of no connection (any more)."""
_NOT_READY_HRESULT: Final = -2147020577
"""ERROR_DEVICE_NOT_AVAILABLE (4319) as an HRESULT: what Windows says while its Bluetooth is off."""


def describe(error: BaseException) -> str:
    """Return a foreign error's own words, in one line."""
    words = " ".join(str(part) for part in error.args) if _dbus_name(error) else str(error)
    return " ".join(words.split()) or type(error).__name__


# ---- Bluetooth on this computer --------------------------------------------------------------------------------------


def adapter_error(error: BaseException) -> ConnectError | None:
    """Return what to raise where it is Bluetooth on this computer that fails; None where it may be the unit."""
    return _not_available(error) or _dbus_trouble(error) or _system_trouble(error)


def scan_error(error: BaseException) -> LockmigrateError:
    """Return what to raise when scanning cannot be started."""
    if isinstance(error, LockmigrateError):
        return error
    if isinstance(error, TimeoutError):
        return ConnectError(
            "Bluetooth did not start in time",
            reason=ConnectReason.FAILED,
            hint=_here(_FORBIDDEN if _on(_MAC) else _OFF),
        )
    if _dbus_name(error) == "org.bluez.Error.InProgress":
        return ConnectError(
            "another program is using the Bluetooth adapter",
            reason=ConnectReason.BUSY,
            hint="close the system's Bluetooth settings, or wait a moment",
        )
    return adapter_error(error) or ConnectError(
        f"Bluetooth cannot be used: {describe(error)}", reason=ConnectReason.FAILED
    )


def stack_error(hci: str, error: BaseException) -> LockmigrateError:
    """Return what to raise when the controller behind an HCI string cannot be used."""
    if isinstance(error, LockmigrateError):
        return error
    return ConnectError(
        f"the Bluetooth controller {hci} cannot be opened: {describe(error)}",
        reason=ConnectReason.FAILED,
        hint="for example usb:0, or tcp-client:127.0.0.1:PORT for a simulated unit that is being served",
    )


def _on(platform: str) -> bool:
    return sys.platform == platform


def _here(hints: dict[str, str]) -> str | None:
    return hints.get(sys.platform)


def _off() -> ConnectError:
    return ConnectError("Bluetooth is turned off", reason=ConnectReason.ADAPTER_OFF, hint=_here(_OFF))


def _forbidden() -> ConnectError:
    return ConnectError("no permission to use Bluetooth", reason=ConnectReason.NO_PERMISSION, hint=_here(_FORBIDDEN))


def _absent() -> ConnectError:
    return ConnectError(
        "this computer has no Bluetooth LE adapter", reason=ConnectReason.NOT_FOUND, hint=_here(_ABSENT)
    )


def _no_service(what: str) -> ConnectError:
    return ConnectError(what, reason=ConnectReason.ADAPTER_OFF, hint=_NO_SERVICE)


def _not_available(error: BaseException) -> ConnectError | None:
    from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason

    if not isinstance(error, BleakBluetoothNotAvailableError):
        return None
    reason = error.reason
    if reason in (
        BleakBluetoothNotAvailableReason.NO_BLUETOOTH,
        BleakBluetoothNotAvailableReason.NO_BLE_CENTRAL_ROLE,
    ):
        return _absent()
    if reason is BleakBluetoothNotAvailableReason.POWERED_OFF:
        return _off()
    if reason is BleakBluetoothNotAvailableReason.UNKNOWN:
        return ConnectError(f"Bluetooth cannot be used: {error.args[0]}", reason=ConnectReason.FAILED, hint=_here(_OFF))
    return _forbidden()


def _dbus_trouble(error: BaseException) -> ConnectError | None:
    name, words = _dbus_name(error), describe(error)
    if name in _SERVICE_GONE:
        return _no_service("bluetoothd is not running")
    if name in _FORBIDDING:
        return _forbidden()
    if name == "org.bluez.Error.NotReady" or "adapter-not-powered" in words:
        return _off()
    return None


def _system_trouble(error: BaseException) -> ConnectError | None:
    words = str(error)
    if getattr(error, "winerror", None) == _NOT_READY_HRESULT or "Is Bluetooth turned on?" in words:
        return _off()
    if words.startswith("adapter '") and words.endswith("' not found"):
        return _absent()
    if _on(_LINUX) and isinstance(error, PermissionError):
        return _forbidden()
    if _on(_LINUX) and isinstance(error, FileNotFoundError | ConnectionRefusedError):
        # Only the socket of the system bus is opened by bleak there.
        return _no_service("there is no D-Bus system bus, which Bluetooth on Linux goes through")
    return None


def _dbus_name(error: BaseException) -> str:
    """Return the name of a D-Bus error, empty for every other."""
    from bleak.exc import BleakDBusError

    return error.dbus_error if isinstance(error, BleakDBusError) else ""


# ---- finding and connecting ------------------------------------------------------------------------------------------


def not_seen(name: str, *, seconds: float, others: int, others_kind: bool = False) -> ConnectError:
    """Return what to raise for a unit that did not show up.

    Args:
        name: the unit as it was asked for.
        seconds: how long it was looked for.
        others: how many other devices were seen meanwhile.
        others_kind: it was asked for by a kind of address that this system never shows.
    """
    if others_kind:
        hint = "take what `lockmigrate scan` shows here: macOS has a UUID of its own for a unit, others its address"
    else:
        hint = "is it awake, in reach and not connected to a phone? `lockmigrate scan` lists what can be seen"
        if not others:
            hint += "; nothing else was seen either, which points to this computer's Bluetooth"
    return ConnectError(f"{name} was not seen within {seconds:g} s", reason=ConnectReason.NOT_FOUND, hint=hint)


def not_connected(name: str, error: BaseException, *, tries: int) -> ConnectError:
    """Return what to raise for a unit that was seen and cannot be connected to."""
    times = "1 try" if tries == 1 else f"{tries} tries"
    words = "no answer" if isinstance(error, TimeoutError) else describe(error)
    return ConnectError(
        f"{name} was seen, but connecting failed after {times}: {words}",
        reason=ConnectReason.FAILED,
        hint="it may be busy with a phone or a bridge, or at the edge of reach: close its app, go nearer, try again",
    )


# ---- on an open connection -------------------------------------------------------------------------------------------


def says_lost(error: BaseException) -> bool:
    """Tell whether an error means that there is no connection any more."""
    if _dbus_name(error) in _GONE:
        return True
    # bleak asserts that its bus is there, and a dead bus ends in one of the others
    if isinstance(error, AssertionError | EOFError | ConnectionError):
        return True
    words = describe(error).lower()
    return _is_bleaks(error) and any(part in words for part in _GONE_WORDS)


def is_clear(error: BaseException) -> bool:
    """Tell whether an error is the unit's own answer, so that no loss can be behind it."""
    from bleak.exc import BleakGATTProtocolError

    return isinstance(error, BleakGATTProtocolError)


def request_error(what: str, error: BaseException) -> RefusedError | LinkError:
    """Return what to raise when a request on an open connection fails and the connection stays.

    Args:
        what: the request, such as "a write to 0000…".
        error: what was raised.
    """
    from bleak.exc import BleakCharacteristicNotFoundError, BleakGATTProtocolError

    if isinstance(error, BleakGATTProtocolError):
        return refusal(what, int(error.code))
    if isinstance(error, BleakCharacteristicNotFoundError):
        return no_characteristic(str(error.char_specifier))
    if isinstance(error, NotImplementedError) or _dbus_name(error) == "org.bluez.Error.NotSupported":
        return Unsupported(f"the unit or this system cannot do {what}")
    if _dbus_name(error) in ("org.bluez.Error.NotPermitted", "org.bluez.Error.NotAuthorized"):
        return RefusedError(f"the unit refused {what}: {describe(error)}", hint=PAIR_HINT)
    if "access denied" in str(error).lower():  # Windows' word for it
        return RefusedError(f"{what} was refused: access denied", hint=PAIR_HINT)
    if isinstance(error, TimeoutError):
        return LinkError(f"{what} was not answered")
    return LinkError(f"{what} failed: {describe(error)}")


def pairing_error(error: BaseException) -> RefusedError:
    """Return what to raise when pairing fails; after that the connection is of no use for a second try."""
    return RefusedError(
        f"pairing failed: {'no answer' if isinstance(error, TimeoutError) else describe(error)}",
        hint="bring the unit into its pairing mode, connect again, and confirm what the system asks",
    )


def _is_bleaks(error: BaseException) -> bool:
    from bleak.exc import BleakError

    return isinstance(error, BleakError)


# ---- words that the simulated connection shares ----------------------------------------------------------------------


def refusal(what: str, code: int) -> RefusedError:
    """Return what to raise for an ATT error response.

    Args:
        what: the request.
        code: the ATT error code; 0x80 to 0x9F are the application's own.
    """
    words = ATT_ERRORS.get(code, "an error of its own" if 0x80 <= code <= 0x9F else "an unknown error")
    message = f"the unit refused {what}: {words} (ATT error {code:#04x})"
    if code in CANNOT:
        return Unsupported(message, status=code)
    return RefusedError(message, status=code, hint=PAIR_HINT if code in PERMISSION else None)


def no_characteristic(uuid: str) -> Unsupported:
    """Return what to raise for a characteristic that the unit has not got."""
    return Unsupported(f"the unit has no characteristic {uuid}", hint="it may be of another kind or firmware")


def cannot(uuid: str, wanted: str) -> Unsupported:
    """Return what to raise for a characteristic that lacks a property."""
    return Unsupported(
        f"the unit's characteristic {uuid} cannot {wanted}", hint="it may be of another kind or firmware"
    )


def insist_fits(data: bytes, max_write: int, *, response: bool) -> None:
    """Refuse a write that the medium does not carry whole: nothing is ever cut.

    Args:
        data: what is to be written.
        max_write: what a write command carries here, in bytes.
        response: it is a write request, which may be a long one.

    Raises:
        LinkError: it is too long.
    """
    limit_bytes = ATTRIBUTE_BYTES if response else max_write
    if len(data) > limit_bytes:
        kind = "one attribute holds" if response else "one write command carries here"
        raise LinkError(f"a message of {len(data)} bytes cannot be sent: {kind} {limit_bytes}")
