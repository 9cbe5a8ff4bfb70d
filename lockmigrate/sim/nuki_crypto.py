"""The four functions of the Nuki wire (reference, section 3) and its checksum (section 2), on PyNaCl.

Nothing here draws random numbers: whoever calls brings keys and nonces.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from typing import Final

import nacl.bindings
import nacl.exceptions

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
"""Section 2.2: the nonce of one encrypted message."""
TAG_BYTES: Final = 16


def checksum(data: bytes) -> bytes:
    """Return the CRC-16/CCITT-FALSE of some bytes as it goes over the wire."""
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "little")


def public_key(private: bytes) -> bytes:
    """Return the X25519 public key of a private one."""
    key: bytes = nacl.bindings.crypto_scalarmult_base(private)
    return key


def shared_key(private: bytes, other: bytes) -> bytes | None:
    """Return dh1 followed by kdf1, or None for a public key that gives nothing but zeros (section 3)."""
    try:
        key: bytes = nacl.bindings.crypto_box_beforenm(other, private)
    except nacl.exceptions.CryptoError:
        return None
    return key


def authenticator(key: bytes, *parts: bytes) -> bytes:
    """Return h1 of some parts put together."""
    return hmac.digest(key, b"".join(parts), hashlib.sha256)


def proves(mac: bytes, key: bytes, *parts: bytes) -> bool:
    """Tell whether an authenticator is that of these parts."""
    return hmac.compare_digest(mac, authenticator(key, *parts))


def seal(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    """Return e1: the tag, then the encrypted text."""
    sealed: bytes = nacl.bindings.crypto_secretbox(plain, nonce, key)
    return sealed


def unseal(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    """Return what `seal` hid, or None where the tag says that it was somebody else."""
    try:
        plain: bytes = nacl.bindings.crypto_secretbox_open(sealed, nonce, key)
    except nacl.exceptions.CryptoError:
        return None
    return plain
