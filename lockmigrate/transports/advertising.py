"""What a unit says before anyone connects: the AD structures of an advertisement.

Source: Core 5.4, Vol 3 Part C, 11, and the Core Specification Supplement, Part A, 1; the numbers of the types are from
Assigned Numbers, 2.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lockmigrate.transports.gatt import Advertised

BASE_UUID: Final = "-0000-1000-8000-00805f9b34fb"
"""What follows the first 32 bits of a short UUID (Core 5.4, Vol 3 Part B, 2.5.1)."""
_UUIDS: Final = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}
"""AD type of a list of service UUIDs (incomplete, complete) to the size of each in bytes."""
_SERVICE_DATA: Final = {0x16: 2, 0x20: 4, 0x21: 16}
_NAMES: Final = (0x09, 0x08)
"""Complete and shortened local name."""
_MANUFACTURER: Final = 0xFF
_COMPANY_BYTES: Final = 2


def printable(name: str) -> str:
    """Return a name as it may be shown: whoever is in reach chooses it, and a terminal obeys control characters."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


def parse_advertisement(data: bytes, *, address: str, name: str | None = None) -> Advertised:
    """Read AD structures; what is malformed is left out, as every receiver does.

    Args:
        data: an advertisement, with its scan response behind it if there is one.
        address: whose it is.
        name: the complete local name, where it is known otherwise.
    """
    uuids: dict[str, None] = {}
    service_data: dict[str, bytes] = {}
    manufacturer_data: dict[int, bytes] = {}
    names: dict[int, str] = {}
    for kind, value in structures(data):
        if size := _UUIDS.get(kind):
            if len(value) % size == 0:
                uuids |= dict.fromkeys(_uuid(value[at : at + size]) for at in range(0, len(value), size))
        elif size := _SERVICE_DATA.get(kind):
            if len(value) >= size:
                service_data[_uuid(value[:size])] = value[size:]
        elif kind == _MANUFACTURER:
            if len(value) >= _COMPANY_BYTES:
                manufacturer_data[int.from_bytes(value[:_COMPANY_BYTES], "little")] = value[_COMPANY_BYTES:]
        elif kind in _NAMES:
            names[kind] = value.decode("utf-8", "replace")
    said = name or next((names[kind] for kind in _NAMES if names.get(kind)), None)
    return Advertised(
        address=address,
        name=printable(said) if said else None,
        service_uuids=tuple(uuids),
        service_data=service_data,
        manufacturer_data=manufacturer_data,
    )


def structures(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each AD structure, up to the end, a length of 0, or one that is cut."""
    at = 0
    while at < len(data) and (length := data[at]):
        structure = data[at + 1 : at + 1 + length]
        if len(structure) < length:
            return
        yield structure[0], structure[1:]
        at += 1 + length


def _uuid(data: bytes) -> str:
    """Return a UUID as text; on the air it is little-endian."""
    digits = data[::-1].hex()
    if len(data) == 16:
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return digits.rjust(8, "0") + BASE_UUID
