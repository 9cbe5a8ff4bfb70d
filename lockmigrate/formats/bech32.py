"""Bech32 without its length limit, as age spells its keys.

Source: BIP 173 for alphabet, checksum and case rules; C2SP `age.md` ("Bech32 … no length limit").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
"""BIP 173."""
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
"""BIP 173, the checksum's polynomial."""
_CHECKSUM_CHARS: Final = 6


def bech32_encode(prefix: str, raw: bytes) -> str:
    """Spell `raw` under the human-readable `prefix`; an upper-case prefix gives upper-case text."""
    lower = prefix.lower()
    data = _regroup(raw, 8, 5, pad=True)
    check = _polymod([*_expand(lower), *data, *[0] * _CHECKSUM_CHARS]) ^ 1
    tail = [check >> 5 * (_CHECKSUM_CHARS - 1 - i) & 31 for i in range(_CHECKSUM_CHARS)]
    text = lower + "1" + "".join(_ALPHABET[value] for value in [*data, *tail])
    return text.upper() if prefix.isupper() else text


def bech32_decode(text: str) -> tuple[str, bytes]:
    """Return the prefix (in the case of the text) and the bytes.

    Raises:
        ValueError: the text is not Bech32; the message never holds the text, which may be a secret key.
    """
    if not text.isascii() or (text != text.lower() and text != text.upper()):
        raise ValueError("not bech32: mixed case")
    lower = text.lower()
    prefix, separator, body = lower.rpartition("1")
    if not separator or not prefix or len(body) < _CHECKSUM_CHARS or any(char not in _ALPHABET for char in body):
        raise ValueError("not bech32: form")
    if any(not "!" <= char <= "~" for char in prefix):
        raise ValueError("not bech32: prefix")
    data = [_ALPHABET.index(char) for char in body]
    if _polymod([*_expand(prefix), *data]) != 1:
        raise ValueError("not bech32: checksum")
    raw = bytes(_regroup(data[:-_CHECKSUM_CHARS], 5, 8, pad=False))
    return (prefix if text == lower else prefix.upper()), raw


def _polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= term
    return check


def _expand(prefix: str) -> list[int]:
    return [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]


def _regroup(values: Iterable[int], source_bits: int, target_bits: int, *, pad: bool) -> list[int]:
    """Cut a bit string anew. Without padding, left-over bits must be fewer than a source group, and zero."""
    accumulator = bits = 0
    out: list[int] = []
    for value in values:
        accumulator = (accumulator << source_bits | value) & 0xFFFFFF
        bits += source_bits
        while bits >= target_bits:
            bits -= target_bits
            out.append(accumulator >> bits & (1 << target_bits) - 1)
    if pad and bits:
        out.append(accumulator << target_bits - bits & (1 << target_bits) - 1)
    elif not pad and (bits >= source_bits or accumulator & (1 << bits) - 1):
        raise ValueError("not bech32: padding")
    return out
