"""Frames of TTLock (Sciener) locks, protocol V3, and the secrets around them (no I/O).

Section numbers are those of the TTLock reference. Integers are big endian. Vectors: reference sections 4, 13 and 15.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from lockmigrate.errors import FrameError, Tampered

FAMILY: Final = "ttlock"

# ---- section 2: where it is spoken to -------------------------------------------------------------------------------

SERVICE: Final = "00001910-0000-1000-8000-00805f9b34fb"
WRITE: Final = "0000fff2-0000-1000-8000-00805f9b34fb"
NOTIFY: Final = "0000fff4-0000-1000-8000-00805f9b34fb"
OTHER_WRITE: Final = "6e400002-b5a3-f393-e0a9-e50e24dcca1e"
OTHER_NOTIFY: Final = "6e400003-b5a3-f393-e0a9-e50e24dcca1e"
"""Some members of the family (unconfirmed for door locks)."""
BATTERY: Final = "00002a19-0000-1000-8000-00805f9b34fb"
MODEL: Final = "00002a24-0000-1000-8000-00805f9b34fb"
FIRMWARE: Final = "00002a26-0000-1000-8000-00805f9b34fb"
HARDWARE: Final = "00002a27-0000-1000-8000-00805f9b34fb"
MAKER: Final = "00002a29-0000-1000-8000-00805f9b34fb"
CHUNK_BYTES: Final = 20
"""Longest write; nobody negotiates more (2.2)."""
TERMINATOR: Final = b"\r\n"

# ---- sections 5 to 12: commands and errors --------------------------------------------------------------------------


class Cmd(enum.IntEnum):
    """Commands that we send."""

    FEATURES = 0x01
    PASSCODE = 0x03
    CARD = 0x05
    FINGER = 0x06
    PASSCODE_LIST = 0x07
    STATUS = 0x14
    AES_KEY = 0x19
    LOG = 0x25
    CHECK_RANDOM = 0x30
    SEEDS = 0x32
    LOCK_TIME = 0x34
    AUTO_LOCK = 0x36
    REMOTE_UNLOCK = 0x37
    CHECK_ADMIN = 0x41
    TIME_CALIBRATE = 0x43
    INITIALIZATION = 0x45
    RESET = 0x52
    SET_ADMIN_CODE = 0x53
    RESPONSE = 0x54
    ADD_ADMIN = 0x56
    FINISHED = 0x57
    SHOW_PASSCODE = 0x59
    AUDIO = 0x62
    GET_ADMIN_CODE = 0x65
    PASSAGE = 0x66
    LAMP = 0x67
    SWITCH = 0x68
    CYCLIC = 0x70
    DEVICE_INFO = 0x90


class Refusal(enum.IntEnum):
    """Error codes (section 12)."""

    CRC = 0x01
    NO_PERMISSION = 0x02
    WRONG_ADMIN = 0x03
    IN_SETTING_MODE = 0x05
    NO_ADMIN = 0x06
    NOT_IN_SETTING_MODE = 0x07
    WRONG_SUM = 0x08
    BATTERY_LOW = 0x0A
    SEEDS_REJECTED = 0x0B
    FLAG_TOO_LOW = 0x0D
    KEY_EXPIRED = 0x0E
    CODE_LENGTH = 0x0F
    ADMIN_EQUALS_DELETE = 0x10
    KEY_NOT_YET = 0x11
    NOT_LOGGED_IN = 0x12
    FAILED = 0x13
    CODE_EXISTS = 0x14
    CODE_UNKNOWN = 0x15
    FULL = 0x16
    PARAMETER_LENGTH = 0x17
    CARD_UNKNOWN = 0x18
    FINGER_UNKNOWN = 0x1A
    UNSUPPORTED = 0x1B
    FROZEN = 0x1C
    WRONG_VENDOR = 0x1D
    DEAD_LOCKED = 0x1E
    NO_RECORD = 0x1F
    BAD_PARAMETER = 0x20


WORDS: Final[Mapping[int, str]] = {
    0x01: "wrong checksum", 0x02: "no permission", 0x03: "wrong administrator key", 0x05: "it is in setting mode",
    0x06: "it has no administrator", 0x07: "it is not in setting mode", 0x08: "wrong unlock key",
    0x0A: "its battery is too low", 0x0B: "seeds rejected", 0x0D: "our key was invalidated", 0x0E: "our key is over",
    0x0F: "it takes no codes of this length", 0x10: "the code equals the delete code", 0x11: "our key is too new",
    0x12: "not logged in", 0x13: "it failed", 0x14: "the code exists already", 0x15: "no such code", 0x16: "it is full",
    0x17: "wrong length of a parameter", 0x18: "no such card", 0x1A: "no such fingerprint", 0x1B: "not supported",
    0x1C: "it is frozen", 0x1D: "wrong vendor", 0x1E: "it is dead-locked from inside", 0x1F: "no such record",
    0x20: "bad parameter",
}  # fmt: skip
"""Error code to words (section 12)."""


def refusal_words(code: int) -> str:
    return WORDS.get(code, f"error {code:#04x}")


DONE, FAILED = 1, 0
"""Status in an answer (section 3)."""
VENDOR: Final = b"SCIENER"
NO_CURSOR: Final = 0xFFFF

# ---- section 3: frames ----------------------------------------------------------------------------------------------

HEAD: Final = b"\x7f\x5a"
HEAD_BYTES: Final = 12
OURS: Final = bytes([5, 3, 1, 0, 1, 0, 1])
"""Type, version, scene, group, organisation: what the vendor's app sends to every V3 lock."""
APP_ENCRYPTS: Final = 0xAA
MAX_BUFFER: Final = 270
"""Section 16."""
MAX_PLAIN: Final = 111
"""The vendor's parser reads the length as signed."""
DEFAULT_KEY: Final = bytes.fromhex("987623e8a923a1bb3d9e7d0378124588")
KEY_BYTES: Final = 16


def _table(changed: bool) -> bytes:
    table = bytearray()
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0x8C if value & 1 else value >> 1
        table.append(value)
    if changed:
        table[33] = 0x07
    return bytes(table)


TABLE: Final = _table(changed=True)
"""CRC-8/MAXIM with the one entry that the vendor's table has otherwise: `07` in place of `7d`."""
PLAIN_TABLE: Final = _table(changed=False)


def checksum(data: bytes, table: bytes = TABLE) -> int:
    """Return the CRC of a frame up to its last payload byte."""
    value = 0
    for byte in data:
        value = table[value ^ byte]
    return value


def encrypt(key: bytes, plain: bytes) -> bytes:
    """AES-128-CBC with the key as its own IV; nothing stays nothing."""
    if not plain:
        return b""
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key)).encryptor()
    return encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def decrypt(key: bytes, cipher: bytes) -> bytes:
    """Undo `encrypt`.

    Raises:
        Tampered: it was not made with this key; there is no other check inside.
    """
    if not cipher:
        return b""
    try:
        decryptor = Cipher(algorithms.AES(key), modes.CBC(key)).decryptor()
        unpadder = PKCS7(128).unpadder()
        return unpadder.update(decryptor.update(cipher) + decryptor.finalize()) + unpadder.finalize()
    except ValueError:
        raise Tampered("what the lock said is not encrypted with our key") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame, its payload still encrypted."""

    command: int
    payload: bytes = field(repr=False)
    encrypt: int = APP_ENCRYPTS
    scene: int = 1
    odd_checksum: bool = False
    """Its checksum is that of the unchanged table, which no lock should send."""


def build_frame(command: int, plain: bytes, key: bytes) -> bytes:
    """Build a request with its terminator.

    Raises:
        FrameError: it is longer than a lock takes.
    """
    if len(plain) > MAX_PLAIN:
        raise FrameError(f"a request of {len(plain)} bytes is longer than a lock takes")
    payload = encrypt(key, plain)
    body = HEAD + OURS + bytes([command, APP_ENCRYPTS, len(payload)]) + payload
    return body + bytes([checksum(body)]) + TERMINATOR


def chunks(frame: bytes) -> list[bytes]:
    """Cut a frame into writes of at most 20 bytes (2.2)."""
    return [frame[at : at + CHUNK_BYTES] for at in range(0, len(frame), CHUNK_BYTES)]


class Framer:
    """Puts frames together from chunks: cut by the length byte, then the terminator is checked, never the other way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped = 0
        """Bytes that belonged to no frame."""

    def feed(self, data: bytes) -> None:
        """Add one notification."""
        self._buffer += data
        if len(self._buffer) > 4 * MAX_BUFFER:
            self.skipped += len(self._buffer) - MAX_BUFFER
            del self._buffer[: len(self._buffer) - MAX_BUFFER]

    def next(self) -> Frame | None:
        """Return the next frame, None if more bytes are needed.

        Raises:
            FrameError: a frame's checksum is wrong; the next call goes on behind it.
        """
        while True:
            start = self._buffer.find(HEAD)
            if start < 0:
                keep = 1 if self._buffer.endswith(HEAD[:1]) else 0
                self._skip(len(self._buffer) - keep)
                return None
            self._skip(start)
            if len(self._buffer) < HEAD_BYTES:
                return None
            end = HEAD_BYTES + self._buffer[HEAD_BYTES - 1] + 1
            if len(self._buffer) < end + len(TERMINATOR):
                return None
            if self._buffer[end : end + 2] != TERMINATOR:
                self._skip(len(HEAD))
                continue
            raw = bytes(self._buffer[:end])
            del self._buffer[: end + len(TERMINATOR)]
            return _parsed(raw)

    def _skip(self, count: int) -> None:
        self.skipped += count
        del self._buffer[:count]

    def reset(self) -> int:
        """Drop what is buffered; returns how many bytes that was."""
        dropped = len(self._buffer)
        self._buffer.clear()
        return dropped


def _parsed(raw: bytes) -> Frame:
    body, check = raw[:-1], raw[-1]
    odd = checksum(body) != check
    if odd and checksum(body, PLAIN_TABLE) != check:
        raise FrameError("the checksum of a frame is wrong")
    if raw[2:4] != OURS[:2]:
        raise FrameError(f"a frame of protocol {raw[2]}.{raw[3]}, not 5.3")
    return Frame(command=raw[9], encrypt=raw[10], payload=raw[HEAD_BYTES:-1], scene=raw[4], odd_checksum=odd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a lock said, decrypted: an answer to a command, or something unasked."""

    command: int
    status: int
    data: bytes = field(repr=False)
    unasked: bool = False


def parse_answer(frame: Frame, key: bytes) -> Answer | None:
    """Read the plaintext of an answer; None where the frame carries nothing.

    Raises:
        FrameError: it is shorter than an answer can be.
        Tampered: it is not encrypted with this key.
    """
    plain = decrypt(key, frame.payload)
    if not plain:
        return None
    if len(plain) < 2:
        raise FrameError("an answer of one byte")
    return Answer(command=plain[0], status=plain[1], data=plain[2:], unasked=frame.encrypt != APP_ENCRYPTS)


# ---- section 2.3: advertisements ------------------------------------------------------------------------------------

COMPANY_ID: Final = 0x0305
"""There is no company id in the advertisement: the protocol's own first bytes stand in its place."""
UNLOCKED, UNREAD_LOG, SETTING_MODE, AWAKE = 1, 2, 4, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a lock advertises."""

    scene: int
    flags: int
    battery_percent: int
    mac: str

    @property
    def setting_mode(self) -> bool:
        return bool(self.flags & SETTING_MODE)

    @property
    def awake(self) -> bool:
        return bool(self.flags & AWAKE)


def parse_advertisement(manufacturer: Mapping[int, bytes]) -> Seen | None:
    """Read an advertisement: company id to its data, as bleak gives it; None where it is no V3 lock's."""
    data = manufacturer.get(COMPANY_ID)
    if data is None:
        return None
    whole = COMPANY_ID.to_bytes(2, "little") + data
    if whole[:2] != b"\x05\x03" or len(whole) < 5 + 6:
        return None
    mac = ":".join(f"{byte:02X}" for byte in reversed(whole[-6:]))
    return Seen(scene=whole[2], flags=whole[3], battery_percent=whole[4], mac=mac)


# ---- section 5: features --------------------------------------------------------------------------------------------


class Feature(enum.IntEnum):
    """Bits of the feature words that matter to us."""

    PASSCODES = 0
    CARDS = 1
    FINGERS = 2
    AUTO_LOCK = 4
    PASSCODE_DELETE = 5
    PASSCODE_MODIFY = 7
    SHOW_PASSCODE = 9
    FREEZE = 11
    CYCLIC_PASSCODES = 12
    REMOTE_UNLOCK = 14
    AUDIO = 15
    ADMIN_CODE = 18
    NO_CLOCK = 20
    PASSAGE = 22
    LAMP = 25
    CYCLIC_LIMITS = 34
    CYCLIC_RESTORE = 40


def parse_features(words: bytes) -> int:
    """Return the feature bits as one integer: groups of four bytes, the least significant group first."""
    value = 0
    for index in range(0, len(words), 4):
        value |= int.from_bytes(words[index : index + 4], "big") << (8 * index)
    return value


def has(features: int, feature: Feature) -> bool:
    return bool(features >> feature & 1)
