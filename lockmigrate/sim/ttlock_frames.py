"""Frames of the TTLock wire (protocol V3) as the lock sees them: names, numbers, and what stands around a payload.

Section numbers are those of the wire reference of the family (TTLock / Sciener BLE locks, protocol V3); "R" is
roquerodrigo/ttlock-ble, whose later versions tell more of what real locks answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

HEADER: Final = b"\x7f\x5a"
CRLF: Final = b"\r\n"
"""Section 2.2: ends every frame, outside the checksum."""
PROTOCOL: Final = 5, 3
"""Type and version of every lock that this reference is about."""
HEAD_BYTES: Final = 12
"""Section 3: what stands before the payload."""
FROM_APP: Final = 0xAA
ANSWERED, PUSHED = 0xAA, 0x00
"""Section 3: the encrypt byte of answers and of what the lock says unasked."""
MAX_PAYLOAD_BYTES: Final = 112
"""Section 3, "Length limit": what a lock sends and, we think, takes; app and K read the length as signed."""
MAX_PLAIN_BYTES: Final = MAX_PAYLOAD_BYTES - 1
BLOCK_BYTES: Final = 16
KEY_BYTES: Final = 16
DEFAULT_KEY: Final = bytes.fromhex("987623e8a923a1bb3d9e7d0378124588")
"""Section 3: used until the lock has issued its own."""
VENDOR: Final = b"SCIENER"
"""Section 5."""

SERVICE: Final = "00001910-0000-1000-8000-00805f9b34fb"
WRITE: Final = "0000fff2-0000-1000-8000-00805f9b34fb"
NOTIFY: Final = "0000fff4-0000-1000-8000-00805f9b34fb"
OTHER_SERVICE: Final = "6e400001-b5a3-f393-e0a9-e50e24dcca1e"
OTHER_WRITE: Final = "6e400002-b5a3-f393-e0a9-e50e24dcca1e"
OTHER_NOTIFY: Final = "6e400003-b5a3-f393-e0a9-e50e24dcca1e"
BATTERY_SERVICE: Final = "0000180f-0000-1000-8000-00805f9b34fb"
BATTERY_LEVEL: Final = "00002a19-0000-1000-8000-00805f9b34fb"
DEVICE_INFORMATION: Final = "0000180a-0000-1000-8000-00805f9b34fb"
MAKER: Final = "00002a29-0000-1000-8000-00805f9b34fb"
MODEL: Final = "00002a24-0000-1000-8000-00805f9b34fb"
HARDWARE: Final = "00002a27-0000-1000-8000-00805f9b34fb"
FIRMWARE: Final = "00002a26-0000-1000-8000-00805f9b34fb"
UPDATE_SERVICE: Final = "00001530-1212-efde-1523-785feabcd123"
UPDATE_CONTROL: Final = "00001531-1212-efde-1523-785feabcd123"
UPDATE_PACKET: Final = "00001532-1212-efde-1523-785feabcd123"
UPDATE_VERSION: Final = "00001534-1212-efde-1523-785feabcd123"
"""Section 2.1; the last four are Nordic's firmware update, to be left alone."""


class Code(IntEnum):
    """Commands that this lock knows (sections 5 to 11)."""

    FEATURES = 0x01
    PASSCODE = 0x03
    CARD = 0x05
    FINGER = 0x06
    PASSCODES = 0x07
    STATUS = 0x14
    GET_AES_KEY = 0x19
    LOG = 0x25
    CHECK_RANDOM = 0x30
    SET_SEEDS = 0x31
    READ_SEEDS = 0x32
    GET_TIME = 0x34
    AUTO_LOCK = 0x36
    REMOTE_UNLOCK = 0x37
    CHECK_ADMIN = 0x41
    SET_TIME = 0x43
    INITIALISE = 0x45
    UNLOCK = 0x47
    RESET = 0x52
    SET_ADMIN_CODE = 0x53
    RESPONSE = 0x54
    CHECK_USER = 0x55
    ADD_ADMIN = 0x56
    FINISHED = 0x57
    LOCK = 0x58
    SHOW_PASSCODE = 0x59
    FREEZE = 0x61
    AUDIO = 0x62
    GET_ADMIN_CODE = 0x65
    PASSAGE = 0x66
    LAMP = 0x67
    SWITCH = 0x68
    WEEKLY = 0x70
    DEVICE_INFO = 0x90


class Trouble(IntEnum):
    """Section 12: error codes that this lock uses."""

    CRC = 0x01
    NO_PERMISSION = 0x02
    WRONG_ADMIN = 0x03
    SETTING_MODE = 0x05
    NO_ADMIN = 0x06
    NOT_SETTING_MODE = 0x07
    WRONG_SUM = 0x08
    BATTERY_LOW = 0x0A
    SEEDS = 0x0B
    FLAG_POSITION = 0x0D
    EXPIRED = 0x0E
    CODE_LENGTH = 0x0F
    NOT_YET = 0x11
    NOT_LOGGED_IN = 0x12
    FAILED = 0x13
    EXISTS = 0x14
    UNKNOWN_CODE = 0x15
    FULL = 0x16
    LENGTH = 0x17
    UNKNOWN_CARD = 0x18
    UNKNOWN_STEP = 0x19
    """Not in section 12: R had it from three locks, for a device property that does not exist."""
    UNKNOWN_FINGER = 0x1A
    NOT_SUPPORTED = 0x1B
    FROZEN = 0x1C
    WRONG_VENDOR = 0x1D
    DEAD_LOCKED = 0x1E
    NO_RECORD = 0x1F
    PARAMETER = 0x20


class Refusal(Exception):
    """The lock says no; becomes a failed answer and never leaves the simulator."""

    def __init__(self, trouble: int) -> None:
        super().__init__(f"{trouble:#04x}")
        self.trouble = trouble


# ---- checksum and cipher ---------------------------------------------------------------------------------------------


def _crc_table() -> bytes:
    """CRC-8/MAXIM by the table, whose entry 33 is wrong in every lock and app (section 3)."""
    table = bytearray()
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x8C if value & 1 else 0)
        table.append(value)
    table[33] = 0x07
    return bytes(table)


CRC_TABLE: Final = _crc_table()


def checksum(data: bytes) -> int:
    """Return the CRC of section 3."""
    crc = 0
    for byte in data:
        crc = CRC_TABLE[crc ^ byte]
    return crc


def padded(plain: bytes) -> bytes:
    """Fill up to whole blocks: PKCS#7, a whole block more where nothing is missing."""
    missing = BLOCK_BYTES - len(plain) % BLOCK_BYTES
    return plain + bytes([missing]) * missing


def seal(key: bytes, plain: bytes) -> bytes:
    """Encrypt: AES-128-CBC, the key is the IV too, PKCS#7 (section 3)."""
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key)).encryptor()
    return encryptor.update(padded(plain)) + encryptor.finalize()


def unseal(key: bytes, sealed: bytes) -> bytes | None:
    """Decrypt; None where the padding shows another key, or the length none."""
    if not sealed or len(sealed) % BLOCK_BYTES:
        return None
    decryptor = Cipher(algorithms.AES(key), modes.CBC(key)).decryptor()
    plain = decryptor.update(sealed) + decryptor.finalize()
    missing = plain[-1]
    if not 1 <= missing <= BLOCK_BYTES or plain[-missing:] != bytes([missing]) * missing:
        return None
    return plain[:-missing]


def sealed_blocks(key: bytes, blocks: bytes) -> bytes:
    """Encrypt many payloads of one block each at once: a simulator looks at a thousand before it takes a key."""
    whitened = int.from_bytes(blocks, "big") ^ int.from_bytes(key * (len(blocks) // BLOCK_BYTES), "big")
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - single blocks, the IV is in them
    return encryptor.update(whitened.to_bytes(len(blocks), "big"))


# ---- frames ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Scene and organisation of a lock, as it writes them into its frames (section 3)."""

    scene: int
    group: int
    org: int


def frame(place: Place, command: int, encrypt: int, payload: bytes) -> bytes:
    """Build a frame with its terminator."""
    head = HEADER + bytes([*PROTOCOL, place.scene]) + place.group.to_bytes(2, "big") + place.org.to_bytes(2, "big")
    whole = head + bytes([command, encrypt, len(payload)]) + payload
    return whole + bytes([checksum(whole)]) + CRLF


def clean(raw: bytes) -> bool:
    """Tell whether a client that cuts at the terminator, or looks for the last header, understands this frame."""
    return raw.find(CRLF) == len(raw) - len(CRLF) and raw.rfind(HEADER) == 0


def marked(raw: bytes) -> bool:
    """Tell whether the terminator also stands inside this frame (section 1, number 2)."""
    return raw.find(CRLF) < len(raw) - len(CRLF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A frame that came in whole."""

    command: int
    payload: bytes
    intact: bool
    """Whether its checksum is right."""


class Assembler:
    """Puts writes together to frames, by the length and not by the terminator, and counts what is none."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()
        """`checksum`, and `frame` for everything else that a lock would not understand."""
        self._buffer = b""
        self._lost = False
        """Between something that was no frame and the next that is one; counted once."""

    def reset(self) -> None:
        """Forget half a frame: the link ended."""
        self._buffer = b""
        self._lost = False

    def give_up(self) -> None:
        """Stop waiting for the rest of a frame."""
        self._skip(len(self._buffer))

    def feed(self, data: bytes) -> list[Request]:
        """Take a write; return the frames that it completes."""
        self._buffer += data
        found: list[Request] = []
        while True:
            at = self._buffer.find(HEADER)
            if at < 0:
                # The last byte may be the first of a header.
                self._skip(len(self._buffer) - self._buffer.endswith(HEADER[:1]))
                return found
            self._skip(at)
            whole = self._whole() if len(self._buffer) >= HEAD_BYTES else None
            if whole is None:
                return found
            found += whole

    def _whole(self) -> list[Request] | None:
        """Cut one frame off; None where more has to come."""
        buffer = self._buffer
        size = buffer[11]
        end = HEAD_BYTES + size + 1
        if size > MAX_PAYLOAD_BYTES:
            self._skip(len(HEADER))
            return []
        if len(buffer) < end + len(CRLF):
            return None
        if buffer[end : end + len(CRLF)] != CRLF:
            self._skip(len(HEADER))
            return []
        self._buffer = buffer[end + len(CRLF) :]
        self._lost = False
        if tuple(buffer[2:4]) != PROTOCOL or buffer[10] != FROM_APP:
            self.rejected["frame"] += 1
            return []
        intact = checksum(buffer[: end - 1]) == buffer[end - 1]
        if not intact:
            self.rejected["checksum"] += 1
        return [Request(command=buffer[9], payload=buffer[HEAD_BYTES : end - 1], intact=intact)]

    def _skip(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        if count and not self._lost:
            self._lost = True
            self.rejected["frame"] += 1


# ---- payloads --------------------------------------------------------------------------------------------------------


class Reader:
    """Reads the data of a request; whatever is missing or left over makes it too short or too long."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """Read bytes.

        Raises:
            Refusal: there are not so many.
        """
        if self.left < size:
            raise Refusal(Trouble.LENGTH)
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        """Read a big-endian number."""
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        """Read a length and as many characters; digits are expected, others come as they are."""
        return self.take(self.number(1)).decode("latin-1")

    def date(self, size: int = 5) -> bytes:
        """Read a date.

        Raises:
            Refusal: the calendar does not know it.
        """
        raw = self.take(size)
        if moment_of(raw) is None:
            raise Refusal(Trouble.PARAMETER)
        return raw

    def end(self) -> None:
        """Insist that nothing is left."""
        if self.left:
            raise Refusal(Trouble.LENGTH)


def encode_date(moment: datetime, size: int = 6) -> bytes:
    """Return a date as section 3 lays it out: decimal, a byte each, year first; 5 bytes go without seconds."""
    return bytes([moment.year % 100, *moment.timetuple()[1:6]])[:size]


def moment_of(raw: bytes) -> datetime | None:
    """Return what a date of 5 or 6 bytes says; None where the calendar does not know it."""
    if not raw or raw[0] > 99:
        return None
    try:
        return datetime(2000 + raw[0], *raw[1:])  # noqa: DTZ001 - the wire names no zone
    except (ValueError, TypeError):
        return None


def moment_either_way(raw: bytes) -> datetime | None:
    """Return what a date says that is packed in decimal or in BCD (section 3, on CHECK_USER_TIME)."""
    plain = moment_of(raw)
    if plain is not None or any(byte >> 4 > 9 or byte & 0xF > 9 for byte in raw):
        return plain
    return moment_of(bytes(10 * (byte >> 4) + (byte & 0xF) for byte in raw))
