"""Targets as people write them: URLs that name where records can be read or written.

Everything after `scheme://` up to the first `?` is the address, verbatim, with `%XX` decoded; `key=value` pairs follow.
No general URL parser: those lower-case names and take a MAC address for a port.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from lockmigrate.errors import TargetError

SCHEMES: Final = ("serial", "udp", "ble", "sim", "image")
OPTIONS: Final = {
    "serial": frozenset({"profile", "baud"}),
    "udp": frozenset({"profile"}),
    "ble": frozenset({"profile", "hci"}),
    "image": frozenset({"profile", "encoding"}),
}
"""What may stand behind the `?` of a target; a simulated unit's options are its family's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parsed target; `text` is what the user wrote."""

    text: str
    scheme: str
    address: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        return self.scheme == "sim"

    @property
    def port_id(self) -> str:
        """What a unit without a serial number is told apart by: the port's last part (decision 35)."""
        if self.scheme in ("sim", "udp", "ble"):
            return self.address
        return self.address.replace("\\", "/").rstrip("/").rpartition("/")[2] or self.address


def parse_target(text: str) -> Target:
    """Parse a target.

    Raises:
        TargetError: it is none; the hint shows what was probably meant.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        raise TargetError(f'"{text}" is not a target', hint=_guess(text))
    if scheme not in SCHEMES:
        near = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1)
        hint = f'did you mean "{near[0]}://{rest}"?' if near else f"targets begin with {', '.join(SCHEMES)}"
        if scheme.lower() in ("tcp", "zk", "http"):
            hint = f"a terminal on the network is written serial://socket://{rest} or udp://{rest}"
        if scheme.lower() in _PYSERIAL:
            hint = f"serial ports in the network are written serial://{text}"
        raise TargetError(f'"{scheme}://" is no kind of target', hint=hint)
    address, _, query = rest.partition("?")
    address = unquote(address)
    if not address or "\x00" in address:
        raise TargetError(f'"{text}" names no address', hint=f"for example {scheme}://{_EXAMPLES[scheme]}")
    options: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise TargetError(f'"{pair}" is not key=value', hint="parameters look like ?profile=r503&baud=57600")
        if key in options:
            raise TargetError(f'the parameter "{key}" is given twice', hint="leave one of them out")
        options[key] = unquote(value)
    if scheme in OPTIONS:
        _known_options(scheme, options)
        baud_of(options.get("baud"))
    return Target(text=text, scheme=scheme, address=address, options=options)


_PYSERIAL: Final = frozenset({"socket", "rfc2217"})
_EXAMPLES: Final = {
    "serial": "/dev/ttyUSB0",
    "udp": "192.168.1.201:4370",
    "ble": "54:D2:72:12:34:56",
    "sim": "r503/full",
    "image": "usb-stick",
}


def _guess(text: str) -> str:
    if text.startswith("/dev/") or text.upper().startswith("COM"):
        return f"serial ports are written serial://{text}"
    if text.replace(".", "").replace(":", "").isdigit() and text.count(".") == 3:
        return f"a terminal on the network is written serial://socket://{text.partition(':')[0]}:4370 or udp://{text}"
    if text.count(":") == 5 and len(text) == 17:
        return f"Bluetooth locks are written ble://{text}"
    if text.count("/") == 1 and not text.startswith(("/", ".")):
        return f"simulated units are written sim://{text}"
    return "for example serial:///dev/ttyUSB0, serial://COM3, serial://socket://HOST:PORT or sim://r503/full"


def _known_options(scheme: str, options: dict[str, str]) -> None:
    known = OPTIONS[scheme]
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(sorted(known))}"
            raise TargetError(f'a {scheme} target has no parameter "{key}"', hint=hint)


def baud_of(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 7 or not 300 <= int(text) <= 4_000_000:
        raise TargetError(f'"{text}" is not a speed in baud', hint="for example baud=57600")
    return int(text)
