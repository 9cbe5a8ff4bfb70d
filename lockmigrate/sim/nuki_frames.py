"""Frames of the Nuki wire as the lock sees them: names, numbers, and what stands around a payload.

Section numbers are those of the wire reference of the family (Nuki Smart Lock over Bluetooth LE).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from lockmigrate.sim.nuki_crypto import TAG_BYTES, checksum, seal

_LOCK: Final = "a92e{}-5501-11e4-916c-0800200c9a66"
_OPENER: Final = "a92a{}-5501-11e4-916c-0800200c9a66"
DEVICE_INFORMATION: Final = "0000180a-0000-1000-8000-00805f9b34fb"
SERIAL_NUMBER: Final = "00002a25-0000-1000-8000-00805f9b34fb"
FIRMWARE: Final = "00002a26-0000-1000-8000-00805f9b34fb"
HARDWARE: Final = "00002a27-0000-1000-8000-00805f9b34fb"

CHALLENGE_BYTES: Final = 32
HEAD: Final = struct.Struct("<24sIH")
"""Section 2.2: nonce, authorization id, length of what follows; all in clear."""
INNER: Final = struct.Struct("<IH")
"""Authorization id again, command; encrypted."""
CRC_BYTES: Final = 2


class Code(IntEnum):
    """Section 8: commands that this lock knows."""

    REQUEST_DATA = 0x0001
    PUBLIC_KEY = 0x0003
    CHALLENGE = 0x0004
    AUTHENTICATOR = 0x0005
    AUTHORIZATION_DATA = 0x0006
    AUTHORIZATION_ID = 0x0007
    REMOVE_USER = 0x0008
    REQUEST_USERS = 0x0009
    USER = 0x000A
    INVITE = 0x000B
    STATES = 0x000C
    LOCK_ACTION = 0x000D
    STATUS = 0x000E
    BATTERY_REPORT = 0x0011
    ERROR_REPORT = 0x0012
    SET_CONFIG = 0x0013
    REQUEST_CONFIG = 0x0014
    CONFIG = 0x0015
    SET_PIN = 0x0019
    REQUEST_CALIBRATION = 0x001A
    REQUEST_REBOOT = 0x001D
    AUTHORIZATION_ID_CONFIRMATION = 0x001E
    INVITE_ID = 0x001F
    VERIFY_PIN = 0x0020
    UPDATE_TIME = 0x0021
    UPDATE_USER = 0x0025
    USER_COUNT = 0x0027
    REQUEST_LOG = 0x0031
    LOG_ENTRY = 0x0032
    LOG_COUNT = 0x0033
    ENABLE_LOGGING = 0x0034
    SET_ADVANCED = 0x0035
    REQUEST_ADVANCED = 0x0036
    ADVANCED = 0x0037
    ADD_TIMER = 0x0039
    TIMER_ID = 0x003A
    REMOVE_TIMER = 0x003B
    REQUEST_TIMERS = 0x003C
    TIMER_COUNT = 0x003D
    TIMER = 0x003E
    UPDATE_TIMER = 0x003F
    ADD_CODE = 0x0041
    CODE_ID = 0x0042
    REQUEST_CODES = 0x0043
    CODE_COUNT = 0x0044
    KEYPAD_CODE = 0x0045
    UPDATE_CODE = 0x0046
    REMOVE_CODE = 0x0047
    AUTHORIZATION_INFO = 0x004C
    REQUEST_FINGERPRINTS = 0x0098
    FINGERPRINT = 0x0099
    SIMPLE_LOCK_ACTION = 0x0100


COUNTS: Final = frozenset({Code.USER_COUNT, Code.CODE_COUNT, Code.TIMER_COUNT, Code.LOG_COUNT})
"""What stands before a list."""
ENTRIES: Final = frozenset({Code.USER, Code.KEYPAD_CODE, Code.TIMER, Code.LOG_ENTRY, Code.FINGERPRINT})
COMPLETE, ACCEPTED = b"\x00", b"\x01"
"""What Status says (section 9.1)."""


class Trouble(IntEnum):
    """Section 10.2: error codes that this lock uses."""

    BAD_CRC = 0xFD
    BAD_LENGTH = 0xFE
    UNKNOWN = 0xFF
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
    TOO_MANY_PIN_ATTEMPTS = 0x28
    TOO_MANY_ENTRIES = 0x29
    CODE_ALREADY_EXISTS = 0x2A


class Refusal(Exception):
    """The lock says no; becomes an Error Report and never leaves the simulator."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.name)
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """UUIDs of the services and characteristics of one kind of unit (section 1)."""

    beacon: str
    """What a paired one advertises as its iBeacon: the keyturner service."""
    initial: str | None
    pairing: str
    pairing_io: str
    service: str
    clear_io: str
    user_io: str
    third: str | None
    """Write without response, purpose unknown."""


def places(*, opener: bool, generation: int) -> Places:
    """Return the UUIDs of an Opener or of a lock of one generation."""
    form, pairing = (_OPENER, "1") if opener else (_LOCK, "3" if generation == 5 else "1")

    def uuid(number: str) -> str:
        return form.format(f"e{number}")

    return Places(
        beacon=uuid("200"),
        initial=None if opener else uuid("000"),
        pairing=uuid(pairing + "00"),
        pairing_io=uuid(pairing + "01"),
        service=uuid("200"),
        clear_io=uuid("201"),
        user_io=uuid("202"),
        third=None if opener else uuid("203"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing that the lock says, before it is framed."""

    code: int
    payload: bytes = b""
    delay_s: float = 0.0
    """How long the lock works before it says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Messages for one characteristic: in clear, or encrypted for one authorization."""

    uuid: str
    messages: list[Message]
    key: bytes | None = None
    authorization_id: int = 0
    reboots: bool = False
    """The lock starts anew once this has left."""


def status(said: bytes = COMPLETE, delay_s: float = 0.0) -> Message:
    """Build a Status."""
    return Message(code=Code.STATUS, payload=said, delay_s=delay_s)


def error(trouble: Trouble, command: int) -> Message:
    """Build an Error Report (section 9.1)."""
    return Message(code=Code.ERROR_REPORT, payload=struct.pack("<BH", trouble, command))


def in_clear(code: int, payload: bytes) -> bytes:
    """Frame a message as section 2.1 says."""
    head = struct.pack("<H", code) + payload
    return head + checksum(head)


def read_clear(raw: bytes) -> tuple[int, bytes]:
    """Return command and payload of a clear frame.

    Raises:
        Refusal: too short, or a wrong checksum.
    """
    if len(raw) < 2 + CRC_BYTES:
        raise Refusal(Trouble.BAD_LENGTH)
    if checksum(raw[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
        raise Refusal(Trouble.BAD_CRC)
    return int.from_bytes(raw[:2], "little"), raw[2:-CRC_BYTES]


def in_secret(key: bytes, nonce: bytes, authorization_id: int, message: Message, *, crc: bytes | None = None) -> bytes:
    """Frame a message as section 2.2 says; `crc` stands in for the right one."""
    inner = INNER.pack(authorization_id, message.code) + message.payload
    inner += checksum(inner) if crc is None else crc
    return HEAD.pack(nonce, authorization_id, TAG_BYTES + len(inner)) + seal(key, nonce, inner)


def read_inner(plain: bytes, authorization_id: int) -> tuple[int, bytes]:
    """Return command and payload of what was encrypted.

    Raises:
        Refusal: too short, a wrong checksum, or another authorization id inside (which code that gets is unconfirmed).
    """
    if len(plain) < INNER.size + CRC_BYTES:
        raise Refusal(Trouble.BAD_LENGTH)
    if checksum(plain[:-CRC_BYTES]) != plain[-CRC_BYTES:]:
        raise Refusal(Trouble.BAD_CRC)
    inside, code = INNER.unpack_from(plain)
    if inside != authorization_id:
        raise Refusal(Trouble.NOT_AUTHORIZED)
    return code, plain[INNER.size : -CRC_BYTES]


def pieces(raw: bytes, size: int) -> list[bytes]:
    """Cut a message into indications."""
    return [raw[at : at + size] for at in range(0, len(raw), size)]
