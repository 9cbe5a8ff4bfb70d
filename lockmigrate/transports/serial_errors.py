"""What goes wrong when a serial port is opened, in our words. The only place that reads the operating system's codes.

pyserial's SerialException is an OSError that keeps the system's number where it has one, and hides it behind a text
where it has not; the exception it was raised from is then still there as its context.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from lockmigrate.errors import ConnectError, ConnectReason

MAX_PORTS_IN_HINT = 8
ABSENT = frozenset({errno.ENOENT, errno.ENXIO, errno.ENODEV})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
HELD = frozenset({errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK})
NO_TERMINAL = frozenset({errno.ENOTTY, errno.EISDIR, errno.EINVAL, errno.ENOTSUP})
UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EHOSTDOWN})


def port_errors() -> tuple[type[Exception], ...]:
    """Everything that pyserial lets out. termios.error is no OSError and exists only on POSIX."""
    found: tuple[type[Exception], ...] = (OSError, ValueError, TypeError, AttributeError)
    if os.name == "posix":
        import termios

        found += (termios.error,)
    return found


def describe(error: BaseException) -> str:
    """Return the system's words for an error, without pyserial's wrapping where that is possible."""
    code = _code(error)
    return os.strerror(code).lower() if code is not None else str(error) or type(error).__name__


def ports_hint(ports: Sequence[str]) -> str:
    """Return the hint that lists the ports of this computer."""
    if not ports:
        return "no serial port is seen at all; plug the adapter in, or check its driver and cable"
    shown = ", ".join(ports[:MAX_PORTS_IN_HINT])
    more = len(ports) - MAX_PORTS_IN_HINT
    return f"ports seen: {shown}" + (f" and {more} more" if more > 0 else "")


def connect_error(port: str, error: Exception, *, ports: Sequence[str] = ()) -> ConnectError:
    """Return what to raise for a port that could not be opened.

    Args:
        port: the device or URL as it was given.
        error: what pyserial raised.
        ports: the devices that this computer has, for the hint.
    """
    return _network_error(port, error) if "://" in port else _device_error(port, error, ports)


def _device_error(port: str, error: Exception, ports: Sequence[str]) -> ConnectError:
    code = _code(error)
    if code in ABSENT:
        return ConnectError(f"there is no port {port}", reason=ConnectReason.NOT_FOUND, hint=ports_hint(ports))
    if code in HELD:
        return ConnectError(f"{port} is in use by another program", reason=ConnectReason.BUSY, hint=_who_holds(port))
    if code in FORBIDDEN:
        return ConnectError(
            f"no permission to open {port}", reason=ConnectReason.NO_PERMISSION, hint=_how_to_be_allowed(port)
        )
    if code in NO_TERMINAL:
        what = "a folder" if Path(port).is_dir() else "no serial device"
        return ConnectError(f"{port} is {what}", reason=ConnectReason.FAILED, hint=ports_hint(ports))
    if code == errno.EIO:
        # Linux keeps /dev/ttyS0 to ttyS31 whether or not there is a chip behind them; their settings answer EIO.
        return ConnectError(
            f"there is no hardware behind {port}", reason=ConnectReason.NOT_FOUND, hint=ports_hint(ports)
        )
    return ConnectError(f"{port} could not be opened: {describe(error)}", reason=ConnectReason.FAILED)


def _network_error(port: str, error: Exception) -> ConnectError:
    found = list(_causes(error))
    code = _code(error)
    if any(isinstance(cause, socket.gaierror) for cause in found):
        return ConnectError(
            f"the host of {port} is not known",
            reason=ConnectReason.NOT_FOUND,
            hint="check the spelling and the network, or give the address in numbers",
        )
    if any(isinstance(cause, ConnectionRefusedError) for cause in found):
        return ConnectError(
            f"nothing listens at {port}",
            reason=ConnectReason.NOT_FOUND,
            hint="start the simulator or serial server there, or check the port number",
        )
    if code in UNREACHABLE or any(isinstance(cause, TimeoutError) for cause in found):
        return ConnectError(
            f"{port} does not answer", reason=ConnectReason.NOT_FOUND, hint="check the address, the cable and the power"
        )
    if code in FORBIDDEN:
        return ConnectError(f"no permission to open {port}", reason=ConnectReason.NO_PERMISSION)
    return ConnectError(
        f"{port} could not be opened: {describe(error)}",
        reason=ConnectReason.FAILED,
        hint="network ports are written socket://HOST:PORT or rfc2217://HOST:PORT",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _code(error: BaseException) -> int | None:
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            continue
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause.errno
        # termios.error carries (number, text) and cannot be named where there is no termios
        if type(cause).__name__ == "error" and cause.args and isinstance(cause.args[0], int):
            return cause.args[0]
    # On Windows pyserial puts the repr of the system's exception into its own text and drops the number.
    text = str(error)
    if "FileNotFoundError" in text:
        return errno.ENOENT
    if "PermissionError" in text:
        return errno.EBUSY  # there a port that someone has open is "access denied"
    return None


def _who_holds(port: str) -> str:
    if os.name == "posix":
        return (
            f"`fuser -v {port}` or `lsof {port}` names it; a new adapter may be held by ModemManager for some seconds"
        )
    return "close the terminal or flashing program that has it open"


def _how_to_be_allowed(port: str) -> str | None:
    if os.name != "posix":
        return None
    try:
        group = Path(port).group()
    except (OSError, KeyError, NotImplementedError):
        group = "root"
    if group == "root":
        group = "dialout"
    return (
        f"add yourself to the group {group} (dialout, on some systems uucp): `sudo usermod -aG {group} $USER`, "
        "then log out and in again"
    )
