"""Frames of Nuki locks on Bluetooth LE, in clear and encrypted, and the functions their keys come from (no I/O).

Section numbers are those of the Nuki reference. All integers are little endian. Vectors: reference section 16.
"""

from __future__ import annotations

import binascii
import enum
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nacl.bindings import crypto_box_beforenm, crypto_scalarmult_base
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from lockmigrate.errors import FrameError, Tampered

FAMILY: Final = "nuki"

# ---- section 1: characteristics -------------------------------------------------------------------------------------

_TAIL: Final = "-5501-11e4-916c-0800200c9a66"
SERVICE: Final = "a92ee200" + _TAIL
PAIRING_SERVICE: Final = "a92ee100" + _TAIL
PAIRING_SERVICE_5: Final = "a92ee300" + _TAIL
FRESH_SERVICE: Final = "a92ee000" + _TAIL
"""Advertised by a lock that was never set up."""
OPENER_SERVICE: Final = "a92ae200" + _TAIL
OPENER_PAIRING_SERVICE: Final = "a92ae100" + _TAIL
SERIAL: Final = "00002a25-0000-1000-8000-00805f9b34fb"
FIRMWARE: Final = "00002a26-0000-1000-8000-00805f9b34fb"
HARDWARE: Final = "00002a27-0000-1000-8000-00805f9b34fb"
APPLE: Final = 0x004C
"""Company id of the beacon that a paired lock sends (1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Characteristics:
    """Where one generation is spoken to."""

    pairing: str
    clear: str
    secret: str
    pin_bytes: int
    """2, or 4 where the PIN has six digits (section 6, rule 3)."""
    fifth: bool = False
    """Pairs as section 5 says."""
    opener: bool = False

    @property
    def highest_pin(self) -> int:
        """Four digits, six from generation 5 on (section 11)."""
        return 999_999 if self.fifth else 9999


GENERATIONS: Final = (
    Characteristics(
        pairing="a92ee301" + _TAIL, clear="a92ee201" + _TAIL, secret="a92ee202" + _TAIL, pin_bytes=4, fifth=True
    ),
    Characteristics(pairing="a92ee101" + _TAIL, clear="a92ee201" + _TAIL, secret="a92ee202" + _TAIL, pin_bytes=2),
    Characteristics(
        pairing="a92ae101" + _TAIL, clear="a92ae201" + _TAIL, secret="a92ae202" + _TAIL, pin_bytes=2, opener=True
    ),
)
"""Told apart by which pairing characteristic exists, never by the model's name (section 1)."""


def generation_of(characteristics: frozenset[str]) -> Characteristics | None:
    """Return how a unit with these characteristics is spoken to; None where it is no Nuki that we know."""
    return next((item for item in GENERATIONS if {item.pairing, item.clear, item.secret} <= characteristics), None)


# ---- section 8: commands, section 10.2: errors ----------------------------------------------------------------------


class Cmd(enum.IntEnum):
    """Command codes that we send or understand (section 8)."""

    REQUEST_DATA = 0x0001
    PUBLIC_KEY = 0x0003
    CHALLENGE = 0x0004
    AUTHENTICATOR = 0x0005
    AUTHORIZATION_DATA = 0x0006
    AUTHORIZATION_ID = 0x0007
    REMOVE_AUTHORIZATION = 0x0008
    REQUEST_AUTHORIZATIONS = 0x0009
    AUTHORIZATION_ENTRY = 0x000A
    STATES = 0x000C
    STATUS = 0x000E
    BATTERY_REPORT = 0x0011
    ERROR_REPORT = 0x0012
    SET_CONFIG = 0x0013
    REQUEST_CONFIG = 0x0014
    CONFIG = 0x0015
    AUTHORIZATION_ID_CONFIRMATION = 0x001E
    VERIFY_PIN = 0x0020
    UPDATE_TIME = 0x0021
    AUTHORIZATION_COUNT = 0x0027
    REQUEST_LOG = 0x0031
    LOG_ENTRY = 0x0032
    LOG_COUNT = 0x0033
    SET_ADVANCED_CONFIG = 0x0035
    REQUEST_ADVANCED_CONFIG = 0x0036
    ADVANCED_CONFIG = 0x0037
    ADD_TIMER = 0x0039
    TIMER_ID = 0x003A
    REMOVE_TIMER = 0x003B
    REQUEST_TIMERS = 0x003C
    TIMER_COUNT = 0x003D
    TIMER_ENTRY = 0x003E
    UPDATE_TIMER = 0x003F
    ADD_CODE = 0x0041
    CODE_ID = 0x0042
    REQUEST_CODES = 0x0043
    CODE_COUNT = 0x0044
    CODE_ENTRY = 0x0045
    UPDATE_CODE = 0x0046
    REMOVE_CODE = 0x0047
    AUTHORIZATION_INFO = 0x004C
    REQUEST_FINGERPRINTS = 0x0098
    FINGERPRINT_ENTRY = 0x0099


class Refusal(enum.IntEnum):
    """Codes of an Error Report (section 10.2) that we treat in a way of their own, or name."""

    NOT_PAIRING = 0x10
    BAD_AUTHENTICATOR = 0x11
    PAIRING_PARAMETER = 0x12
    MAX_USER = 0x13
    NOT_AUTHORIZED = 0x20
    BAD_PIN = 0x21
    BAD_NONCE = 0x22
    BAD_PARAMETER = 0x23
    INVALID_AUTH_ID = 0x24
    DISABLED = 0x25
    REMOTE_NOT_ALLOWED = 0x26
    TIME_NOT_ALLOWED = 0x27
    TOO_MANY_PIN_ATTEMPTS = 0x28
    TOO_MANY_ENTRIES = 0x29
    CODE_ALREADY_EXISTS = 0x2A
    BUSY = 0x45
    CANCELED = 0x46
    VOLTAGE_TOO_LOW = 0x4C
    FIRMWARE_UPDATE_NEEDED = 0x4D
    BAD_CRC = 0xFD
    BAD_LENGTH = 0xFE
    UNKNOWN = 0xFF


COMPLETE, ACCEPTED = 0, 1
"""Values of Status (9.1)."""


def refusal_name(code: int) -> str:
    """Return the document's word for an error code."""
    return Refusal(code).name if code in Refusal._value2member_map_ else f"error {code:#04x}"


@dataclass(frozen=True, slots=True)
class Message:
    """A command with its payload."""

    command: int
    payload: bytes = field(repr=False)
    """Kept out of the text form: it may hold digits, keys or a PIN."""
    crc_zero: bool = False
    """It came with the CRC 0000 that some locks send inside authentic messages (2.2)."""


# ---- section 2: framing ---------------------------------------------------------------------------------------------

CRC_BYTES: Final = 2
NONCE_BYTES: Final = 24
HEAD_BYTES: Final = 30
TAG_BYTES: Final = 16
_LEAST_SEALED: Final = TAG_BYTES + 4 + 2 + CRC_BYTES
MAX_SEALED: Final = 1024
"""Ours: the longest answer that the reference knows has some 150 bytes."""

CLEAR_PAYLOADS: Final[Mapping[int, int]] = {
    Cmd.PUBLIC_KEY: 32,
    Cmd.CHALLENGE: 32,
    Cmd.AUTHORIZATION_ID: 84,
    Cmd.STATUS: 1,
    Cmd.ERROR_REPORT: 3,
    Cmd.AUTHORIZATION_INFO: 1,
}
"""Payload bytes of what a lock sends in clear, where no length field tells (1.1, 4, 5, 9.1)."""


def crc(data: bytes) -> bytes:
    """Return the CRC-16/CCITT-FALSE as it is sent (2.2): `123456789` gives 0x29B1."""
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(CRC_BYTES, "little")


def build_clear(message: Message) -> bytes:
    """Build a message in clear (2.1)."""
    body = message.command.to_bytes(2, "little") + message.payload
    return body + crc(body)


def parse_clear(raw: bytes) -> Message:
    """Read a whole message in clear (2.1).

    Raises:
        FrameError: it is too short or its CRC is wrong.
    """
    if len(raw) < 2 + CRC_BYTES:
        raise FrameError("a message in clear of fewer than 4 bytes")
    body, check = raw[:-CRC_BYTES], raw[-CRC_BYTES:]
    if crc(body) != check:
        raise FrameError("the CRC of a message in clear is wrong")
    return Message(int.from_bytes(body[:2], "little"), body[2:])


def seal(key: bytes, authorization_id: int, message: Message, nonce: bytes) -> bytes:
    """Encrypt a message (2.2).

    Args:
        key: the 32 bytes of the shared key.
        authorization_id: ours.
        message: what to say.
        nonce: 24 fresh random bytes.
    """
    ident = authorization_id.to_bytes(4, "little")
    body = ident + message.command.to_bytes(2, "little") + message.payload
    sealed = SecretBox(key).encrypt(body + crc(body), nonce).ciphertext
    return nonce + ident + len(sealed).to_bytes(2, "little") + sealed


def unseal(key: bytes, raw: bytes) -> Message:
    """Decrypt a whole message and check all that it says of itself (2.2).

    Raises:
        FrameError: its length field does not fit, or its CRC is wrong.
        Tampered: it was not made with this key, or was changed on the way, or its two authorization ids differ.
    """
    if len(raw) < HEAD_BYTES + _LEAST_SEALED or len(raw) != HEAD_BYTES + _sealed_bytes(raw):
        raise FrameError("the length of an encrypted message is wrong")
    try:
        body = SecretBox(key).decrypt(raw[HEAD_BYTES:], raw[:NONCE_BYTES])
    except CryptoError:
        raise Tampered("a message from the lock is not sealed with the key we share") from None
    if body[:4] != raw[NONCE_BYTES : NONCE_BYTES + 4]:
        raise Tampered("the two authorization ids of a message differ")
    inner, check = body[:-CRC_BYTES], body[-CRC_BYTES:]
    zero = check == bytes(CRC_BYTES)
    if crc(inner) != check and not zero:
        raise FrameError("the CRC of an encrypted message is wrong")
    return Message(int.from_bytes(inner[4:6], "little"), inner[6:], crc_zero=zero and crc(inner) != check)


def _sealed_bytes(raw: bytes) -> int:
    return int.from_bytes(raw[NONCE_BYTES + 4 : HEAD_BYTES], "little")


class ClearFramer:
    """Puts messages in clear together from indications of any size: the length follows from the command (1.1)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add one indication."""
        self._buffer += data

    def next(self) -> Message | None:
        """Return the next message, None if more bytes are needed.

        Raises:
            FrameError: its command is not one that comes in clear, or its CRC is wrong; the buffer is dropped.
        """
        if len(self._buffer) < 2:
            return None
        command = int.from_bytes(self._buffer[:2], "little")
        if command not in CLEAR_PAYLOADS:
            self.reset()
            raise FrameError(f"the command {command:#06x} does not come in clear")
        size = 2 + CLEAR_PAYLOADS[command] + CRC_BYTES
        if len(self._buffer) < size:
            return None
        raw = bytes(self._buffer[:size])
        del self._buffer[:size]
        try:
            return parse_clear(raw)
        except FrameError:
            self.reset()
            raise

    def reset(self) -> int:
        """Drop what is buffered; returns how many bytes that was."""
        dropped = len(self._buffer)
        self._buffer.clear()
        return dropped


class SealedFramer:
    """Puts encrypted messages together from indications of any size, by their length field (1.1).

    Args:
        key: the 32 bytes of the shared key.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add one indication."""
        self._buffer += data

    def next(self) -> Message | None:
        """Return the next message, None if more bytes are needed.

        Raises:
            FrameError, Tampered: as `unseal`; what is buffered is dropped, the conversation cannot go on.
        """
        if len(self._buffer) < HEAD_BYTES:
            return None
        sealed = _sealed_bytes(bytes(self._buffer[:HEAD_BYTES]))
        if not _LEAST_SEALED <= sealed <= MAX_SEALED:
            self.reset()
            raise FrameError(f"an encrypted message of {sealed} bytes")
        if len(self._buffer) < HEAD_BYTES + sealed:
            return None
        raw = bytes(self._buffer[: HEAD_BYTES + sealed])
        del self._buffer[: HEAD_BYTES + sealed]
        try:
            return unseal(self._key, raw)
        except (FrameError, Tampered):
            self.reset()
            raise

    def reset(self) -> int:
        """Drop what is buffered; returns how many bytes that was."""
        dropped = len(self._buffer)
        self._buffer.clear()
        return dropped


# ---- section 3: keys ------------------------------------------------------------------------------------------------


def public_key(private: bytes) -> bytes:
    """Return the X25519 public key, 32 bytes, of a private one."""
    return bytes(crypto_scalarmult_base(private))


def shared_key(private: bytes, other_public: bytes) -> bytes:
    """Return kdf1(dh1(private, other_public)), 32 bytes: what the document calls the long-term shared key.

    Raises:
        Tampered: the other side sent a key that makes every secret the same (an all-zero result).
    """
    try:
        return bytes(crypto_box_beforenm(other_public, private))
    except (CryptoError, RuntimeError, ValueError):
        raise Tampered("the lock sent a public key that no honest lock sends") from None


def authenticator(key: bytes, *parts: bytes) -> bytes:
    """Return h1 over the parts, 32 bytes (HMAC-SHA256)."""
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def check_authenticator(key: bytes, given: bytes, *parts: bytes) -> None:
    """Check that the other side knows the key.

    Raises:
        Tampered: it does not.
    """
    if not hmac.compare_digest(given, authenticator(key, *parts)):
        raise Tampered("the lock's authenticator is wrong: this is not the lock that we exchanged keys with")


def advertised_id(manufacturer: Mapping[int, bytes], services: Mapping[str, bytes]) -> tuple[int | None, str | None]:
    """Read the Nuki ID out of an advertisement (1.2).

    Args:
        manufacturer: company id to its data.
        services: service UUID to its service data.

    Returns:
        (Nuki ID, the pairing or initialisation service that was advertised with it); None where absent.
    """
    for uuid in (PAIRING_SERVICE_5, PAIRING_SERVICE, OPENER_PAIRING_SERVICE, FRESH_SERVICE):
        data = services.get(uuid, b"")
        if len(data) >= 4:
            return int.from_bytes(data[:4], "big"), uuid
    beacon = manufacturer.get(APPLE, b"")
    own = {bytes.fromhex(uuid.replace("-", "")) for uuid in (SERVICE, OPENER_SERVICE)}
    if len(beacon) >= 22 and beacon[:2] == b"\x02\x15" and beacon[2:18] in own:
        return int.from_bytes(beacon[18:22], "big"), None
    return None, None
