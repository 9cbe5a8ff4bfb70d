"""The types of fields in a raw dump, as a profile names them (no I/O)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lockmigrate.formats.tables_keys import Asked
from lockmigrate.formats.tables_values import CODECS

MAX_IMAGE_BYTES: Final = 64 * 1024 * 1024
"""Ours: the largest flash chip that locks are met with, and a quarter of what a backup may hold."""


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned integer."""

    size: int
    big_endian: bool


NUMBERS: Final = {"u8": Number(1, False)} | {
    f"u{8 * size}{order}": Number(size, order == "be") for size in (2, 3, 4, 8) for order in ("le", "be")
}
UNORDERED: Final = {f"u{8 * size}": size for size in (2, 3, 4, 8)}
"""Types that need the image's `endianness`."""
PACKED: Final = ("bcd", "digit-bytes")
SIZED: Final = (*CODECS, *PACKED, "bytes")
"""Types that need a `size`."""


def type_names(endianness: str | None) -> list[str]:
    """Return every type that may be written, in the order in which it is suggested."""
    return [*(UNORDERED if endianness else ()), *NUMBERS, *SIZED]


def number_type(asked: Asked, endianness: str | None) -> Number | None:
    """Return the integer type under the key `type`; None where it is absent or wrong."""
    name = type_name(asked, endianness, [name for name in type_names(endianness) if name not in SIZED])
    return None if name is None else NUMBERS[name]


def type_name(asked: Asked, endianness: str | None, names: list[str] | None = None) -> str | None:
    """Return the type under the key `type`, its byte order spelled out; None where it is absent or wrong."""
    value = asked.value("type")
    names = names or type_names(endianness)
    if value is None:
        if asked.is_table:
            asked.problem("type", "is needed and not there")
        return None
    if isinstance(value, str) and value in UNORDERED and endianness is None:
        asked.problem(
            "type", f'"{value}" has no byte order; write {value}le or {value}be, or set tables.image.endianness'
        )
        return None
    found = asked.one_of(value, "type", names, "type")
    if found in UNORDERED:
        return f"{found}{'be' if endianness == 'big' else 'le'}"
    return found
