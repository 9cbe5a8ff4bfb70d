"""Values inside the records of a raw dump: numbers of digits, texts, checksums (pure functions, no I/O).

None always means that the bytes are not what the profile says they are; nothing is guessed.
CRC parameters: Greg Cook, "Catalogue of parametrised CRC algorithms"; its check values are in the tests.
"""

from __future__ import annotations

import binascii
import functools
import unicodedata
import zlib
from collections.abc import Callable
from typing import Final

CODECS: Final = {"ascii": 1, "utf-8": 1, "gbk": 1, "utf-16le": 2, "utf-16be": 2}
"""Text type, which is also Python's name of the codec, to the bytes of its unit."""
FILL_NIBBLE: Final = 0xF
FILL_BYTE: Final = 0xFF
"""What erased memory holds."""


def packed_digits(
    raw: bytes, *, low_first: bool = False, fill: int = FILL_NIBBLE, right: bool = False, length: int | None = None
) -> str | None:
    """Return the digits of packed BCD, two a byte; the empty text where all of it is fill.

    Args:
        raw: the field.
        low_first: the low nibble of a byte comes first.
        fill: the nibble that stands where there is no digit.
        right: the digits stand at the end of the field, not at its beginning.
        length: how many digits count, where another field says so; what lies beyond them is not looked at.
    """
    nibbles: list[int] = []
    for byte in raw:
        pair = (byte >> 4, byte & 0xF)
        nibbles += reversed(pair) if low_first else pair
    return _digits(nibbles, fill=fill, right=right, length=length)


def byte_digits(raw: bytes, *, fill: int = FILL_BYTE, right: bool = False, length: int | None = None) -> str | None:
    """Return the digits of a field with one digit a byte, 00 to 09; see `packed_digits`."""
    return _digits(list(raw), fill=fill, right=right, length=length)


def _digits(cells: list[int], *, fill: int, right: bool, length: int | None) -> str | None:
    if length is not None:
        if length > len(cells):
            return None
        cells = cells[len(cells) - length :] if right else cells[:length]
    elif right:
        while cells and cells[0] == fill:
            cells = cells[1:]
    else:
        while cells and cells[-1] == fill:
            cells = cells[:-1]
    return "".join(map(str, cells)) if all(cell <= 9 for cell in cells) else None


def number_digits(number: int, length: int) -> str | None:
    """Return a number as that many digits, with the zeros in front that a number cannot keep."""
    text = str(number)
    return text.rjust(length, "0") if len(text) <= length else None


def text_bytes(raw: bytes, codec: str, *, fill: int = FILL_BYTE, length: int | None = None) -> bytes | None:
    """Return the part of a text field that is text: up to the first NUL, without the fill behind it.

    Args:
        raw: the field.
        codec: one of `CODECS`.
        fill: the byte that stands behind the text where there is no NUL.
        length: how many bytes count, where another field says so.
    """
    if length is not None:
        return raw[:length] if length <= len(raw) else None
    unit = CODECS[codec]
    end = next((at for at in range(0, len(raw), unit) if not any(raw[at : at + unit])), len(raw))
    mark = b"\xff\xff"[:unit] if fill == FILL_BYTE else chr(fill).encode("latin-1" if unit == 1 else codec)
    while end >= unit and raw[end - unit : end] == mark:
        end -= unit
    return raw[:end]


def text_of(raw: bytes, codec: str) -> str | None:
    """Return the text; None where the bytes are none in this encoding or hold control characters."""
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError:
        return None
    return None if any(unicodedata.category(char) in ("Cc", "Cs") for char in text) else text


# ---- checksums ------------------------------------------------------------------------------------------------------


def _sum8(data: bytes) -> int:
    return sum(data) & 0xFF


def _negated_sum8(data: bytes) -> int:
    return -sum(data) & 0xFF


def _sum16(data: bytes) -> int:
    return sum(data) & 0xFFFF


def _xor8(data: bytes) -> int:
    if len(data) < 64:
        return functools.reduce(lambda left, right: left ^ right, data, 0)
    # Halves on halves, as large numbers: a whole image costs a few additions of memory, not a loop over its bytes.
    while len(data) > 1:
        half = len(data) // 2
        rest = data[2 * half :]
        folded = int.from_bytes(data[:half], "big") ^ int.from_bytes(data[half : 2 * half], "big")
        data = folded.to_bytes(half, "big") + rest
    return data[0]


@functools.cache
def _table(poly: int, bits: int) -> tuple[int, ...]:
    """Build the table of a reflected CRC."""
    reflected = int(f"{poly:0{bits}b}"[::-1], 2)
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (reflected if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _reflected(data: bytes, *, poly: int, bits: int, init: int, end: int = 0) -> int:
    table, value = _table(poly, bits), init
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ end


_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _crc8_smbus(data: bytes) -> int:
    # Not reflected: the same as the reflected one over bytes that are turned round.
    return _REVERSED[_reflected(data.translate(_REVERSED), poly=0x07, bits=8, init=0)]


CHECKS: Final[dict[str, tuple[int, Callable[[bytes], int]]]] = {
    "sum8": (1, _sum8),
    "sum8-negated": (1, _negated_sum8),
    "xor8": (1, _xor8),
    "crc8-smbus": (1, _crc8_smbus),
    "crc8-maxim": (1, functools.partial(_reflected, poly=0x31, bits=8, init=0)),
    "sum16": (2, _sum16),
    "crc16-arc": (2, functools.partial(_reflected, poly=0x8005, bits=16, init=0)),
    "crc16-modbus": (2, functools.partial(_reflected, poly=0x8005, bits=16, init=0xFFFF)),
    "crc16-usb": (2, functools.partial(_reflected, poly=0x8005, bits=16, init=0xFFFF, end=0xFFFF)),
    "crc16-xmodem": (2, lambda data: binascii.crc_hqx(data, 0)),
    "crc16-ccitt-false": (2, lambda data: binascii.crc_hqx(data, 0xFFFF)),
    "crc16-kermit": (2, functools.partial(_reflected, poly=0x1021, bits=16, init=0)),
    "crc16-x25": (2, functools.partial(_reflected, poly=0x1021, bits=16, init=0xFFFF, end=0xFFFF)),
    "crc32": (4, zlib.crc32),
}
"""Name to (bytes of the stored value, function). `sum8-negated`: with it, all bytes add up to 0."""
