"""The secrets of TTLock locks as people have them: the vendor's texts, and exports of other tools (no I/O).

Section numbers are those of the TTLock reference. It is obfuscation, not encryption: whoever has it, has the lock.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from lockmigrate.errors import FrameError, Tampered
from lockmigrate.formats.ttlock import TABLE, decrypt, encrypt


def decode_secret(text: str) -> int:
    """Read adminPs or unlockKey as the vendor writes them; ten characters or fewer are plain digits.

    Raises:
        FrameError: it is neither. Nothing of it is repeated.
    """
    if len(text) <= 10:
        return _digits(text)
    try:
        numbers = [int(part) & 0xFF for part in base64.b64decode(text, validate=True).decode("ascii").split(",")]
    except (ValueError, binascii.Error):
        raise FrameError("a key is not written as the vendor writes it") from None
    *body, seed = numbers
    mask = TABLE[len(body)] ^ seed if len(body) < 256 else 0
    return _digits(bytes(byte ^ mask for byte in body).decode("ascii", "replace"))


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise FrameError("a key is not written as the vendor writes it")
    return int(text)


def encode_secret(number: int, *, seed: int, digits: int = 10) -> str:
    """Write adminPs or unlockKey as the vendor does."""
    text = f"{number:0{digits}d}".encode("ascii")
    mask = TABLE[len(text)] ^ seed
    numbers = [*(byte ^ mask for byte in text), seed]
    return base64.b64encode(",".join(str(value) for value in numbers).encode("ascii")).decode("ascii")


def _lock_data_key(mac: str) -> bytes:
    text = mac.upper()
    return (text[:9] + text[10:]).encode("ascii")


def decode_lock_data(text: str) -> dict[str, Any]:
    """Open the vendor's `lockData`: obfuscation, not encryption; the key is the MAC that lies behind it.

    Raises:
        FrameError: it is not such a text.
    """
    try:
        raw = base64.b64decode(text, validate=True)
        mac = ":".join(f"{byte:02X}" for byte in raw[-6:])
        plain = decrypt(_lock_data_key(mac), raw[:-6])
        document = json.loads(plain)
    except (ValueError, binascii.Error, Tampered, RecursionError):
        raise FrameError("this is no lockData") from None
    if not isinstance(document, dict):
        raise FrameError("this is no lockData")
    return {**document, "lockMac": document.get("lockMac") or mac}


def encode_lock_data(document: Mapping[str, Any], mac: str) -> str:
    """Write the vendor's `lockData`."""
    plain = json.dumps(dict(document), separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    raw = encrypt(_lock_data_key(mac), plain) + bytes.fromhex(mac.replace(":", ""))
    return base64.b64encode(raw).decode("ascii")
