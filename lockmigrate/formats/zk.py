"""Packets and small answers of ZKTeco terminals, port 4370 (no I/O).

Sources: the family's reference, cited by section; behind it fananimi/pyzk (`zk/base.py`, `zk/const.py`) and
adrobinoga/zk-protocol (`protocol.md`). All integers are little endian.

A packet is the same on TCP and UDP. On TCP eight bytes stand before it: a mark and a length. Template bytes may contain
the mark, so the stream is never searched for it: what does not begin with it is the end of the conversation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from struct import Struct as Packed
from typing import Final, NamedTuple

from construct import Int32ul, Padding, Struct

from lockmigrate.errors import FrameError
from lockmigrate.formats import parse

MAGIC: Final = b"\x50\x50\x82\x7d"
"""Before every packet on TCP, section 1."""
HEAD_BYTES: Final = 8
"""Code, checksum, session, reply number, section 2."""
WRAPPER_BYTES: Final = 8
MAX_PACKET_BYTES: Final = 1 << 20
"""Our bound on one packet; the largest that we ask for has 65,480 bytes; old firmware may send a table at once."""
NUMBERS: Final = 65535
"""Reply numbers run from 0 to 65534 and start anew (pyzk `zk/base.py`), section 2."""
TICKS: Final = 50
"""Any byte will do, everybody sends this one, section 3."""
KEY_MASK: Final = b"ZKSO"
"""Section 3, step 3."""
LENGTH_BYTES: Final = 4
"""Every table begins with a word that tells its length without itself, section 6."""
UPLOAD_BYTES: Final = 1024
"""Largest piece of an uploaded blob, section 6."""


class Cmd(IntEnum):
    """Requests that this package sends, section 4. Never among them: 31 opens the door, 1004 and 1005 end service."""

    READ_TABLE = 7
    USER_WRITE = 8
    TEMPLATE_READ = 9
    TEMPLATE_WRITE = 10
    OPTION_READ = 11
    OPTION_WRITE = 12
    ATTENDANCE_READ = 13
    CLEAR_DATA = 14
    USER_DELETE = 18
    TEMPLATE_DELETE = 19
    GROUP_READ = 25
    GROUP_WRITE = 26
    ZONE_READ = 27
    ZONE_WRITE = 28
    COMBINATION_READ = 29
    COMBINATION_WRITE = 30
    OPERATIONS_READ = 34
    CAPACITY = 50
    STATE = 64
    VERIFY_WRITE = 79
    VERIFY_READ = 80
    TEMPLATE_STORE = 87
    TEMPLATE_FETCH = 88
    SAVE_MANY = 110
    BUFFER_CHECK = 119
    TEMPLATE_REMOVE = 134
    TIME_READ = 201
    EVENT = 500
    CONNECT = 1000
    EXIT = 1001
    ENABLE = 1002
    DISABLE = 1003
    REFRESH = 1013
    REFRESH_OPTIONS = 1014
    VERSION = 1100
    AUTH = 1102
    PREPARE = 1500
    DATA = 1501
    FREE = 1502
    BUFFER_OPEN = 1503
    BUFFER_READ = 1504


class Reply(IntEnum):
    """Codes of answers, section 4; 1500 and 1501 are answers too."""

    OK = 2000
    ERROR = 2001
    DATA = 2002
    RETRY = 2003
    REPEAT = 2004
    UNAUTH = 2005
    UNKNOWN = 0xFFFF
    ERROR_CMD = 0xFFFD
    ERROR_INIT = 0xFFFC
    ERROR_DATA = 0xFFFB


UNKNOWN_COMMAND: Final = frozenset({Reply.UNKNOWN, Reply.ERROR_CMD})
"""What firmware says that does not know the command at all; ERROR may also mean that it cannot do it now."""
REPLY_TEXTS: Final = {
    Reply.ERROR: "it failed",
    Reply.RETRY: "try again",
    Reply.REPEAT: "say that again",
    Reply.UNAUTH: "not authorised",
    Reply.UNKNOWN: "unknown command",
    Reply.ERROR_CMD: "wrong command",
    Reply.ERROR_INIT: "not initialised",
    Reply.ERROR_DATA: "wrong data",
}


def reply_text(code: int) -> str:
    """Return what an answer's code says, with its number."""
    return f"{REPLY_TEXTS.get(Reply(code), 'answer')} (code {code})" if code in set(Reply) else f"code {code}"


# ---- packets --------------------------------------------------------------------------------------------------------

_HEAD: Final = Packed("<HHHH")
_WRAPPER: Final = Packed("<4sI")


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, either way; its bytes may be a secret, so they do not print."""

    code: int
    session: int
    """The event in events, the number of the packet in bulk data, the state in the answer to STATE (section 2)."""
    number: int
    data: bytes = b""

    @property
    def ok(self) -> bool:
        return self.code == Reply.OK

    def __repr__(self) -> str:
        return f"Packet({self.code}, session={self.session:04x}, number={self.number}, {len(self.data)} bytes)"


def checksum(packet: bytes) -> int:
    """Return the checksum of a packet whose own checksum field is zero, section 2.

    The sum of all 16-bit words with every carry folded back is the packet, read as one number, modulo 65535: folding
    once, as some programs do, is wrong for packets of about 64 KB.
    """
    number = int.from_bytes(packet, "little")
    total = number % 65535 or (65535 if number else 0)
    return total ^ 0xFFFF


def is_whole(packet: bytes | memoryview) -> bool:
    """Whether a packet's checksum is right; 0x0000 and 0xFFFF count as equal (section 2)."""
    return int.from_bytes(packet, "little") % 65535 == 0


def build_packet(packet: Packet) -> bytes:
    """Build a packet as it stands in a datagram."""
    blank = _HEAD.pack(packet.code, 0, packet.session, packet.number) + packet.data
    return _HEAD.pack(packet.code, checksum(blank), packet.session, packet.number) + packet.data


def wrapped(packet: Packet) -> bytes:
    """Build a packet as it stands in a TCP stream."""
    raw = build_packet(packet)
    return _WRAPPER.pack(MAGIC, len(raw)) + raw


def parse_datagram(data: bytes) -> Packet:
    """Read one packet.

    Raises:
        FrameError: it is shorter than its head, or its checksum is wrong.
    """
    if len(data) < HEAD_BYTES:
        raise FrameError(f"a packet of {len(data)} bytes is shorter than its head", received=data)
    if not is_whole(data):
        raise FrameError("the checksum of a packet is wrong", received=data[:HEAD_BYTES])
    code, _, session, number = _HEAD.unpack_from(data)
    return Packet(code, session, number, data[HEAD_BYTES:])


class TcpFramer:
    """Cuts a TCP stream into packets: eight bytes, then exactly as many as they say. Damage is final."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._broken: str | None = None

    def feed(self, data: bytes) -> None:
        """Add received bytes; after damage they are ignored."""
        if self._broken is None:
            self._buffer += data

    def reset(self) -> int:
        """Forget nothing: bytes of a stream are never thrown away, or the rest could not be understood."""
        return 0

    def next(self) -> Packet | None:
        """Return a packet, or None if more bytes are needed.

        Raises:
            FrameError: the stream is none of this protocol, now and for ever; or a checksum is wrong, then the next
                call goes on behind that packet.
        """
        if self._broken is not None:
            raise FrameError(self._broken)
        have = len(self._buffer) - self._at
        if have < WRAPPER_BYTES:
            self._compact()
            return None
        magic, length = _WRAPPER.unpack_from(self._buffer, self._at)
        if magic != MAGIC:
            raise self._break("the stream is out of step, or no terminal's", bytes(magic))
        if not HEAD_BYTES <= length <= MAX_PACKET_BYTES:
            raise self._break(f"a packet of {length} bytes is announced", bytes(magic))
        if have < WRAPPER_BYTES + length:
            self._compact()
            return None
        start = self._at + WRAPPER_BYTES
        self._at = start + length
        with memoryview(self._buffer) as view:
            raw = bytes(view[start : self._at])
        return parse_datagram(raw)

    def _compact(self) -> None:
        """Drop what was handed out; cheap, since it happens only when all whole packets are gone."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0

    def _break(self, reason: str, received: bytes) -> FrameError:
        self._broken = reason
        self._buffer.clear()
        self._at = 0
        return FrameError(reason, received=received)


class DatagramFramer:
    """The same for UDP: each datagram is a packet; damaged and foreign ones count as lost."""

    def __init__(self) -> None:
        self._packets: deque[Packet] = deque()
        self.damaged = 0

    def feed(self, data: bytes) -> None:
        """Add one datagram."""
        try:
            self._packets.append(parse_datagram(data))
        except FrameError:
            self.damaged += 1

    def reset(self) -> int:
        """Forget what was not taken; returns how many packets that was."""
        count = len(self._packets)
        self._packets.clear()
        return count

    def next(self) -> Packet | None:
        """Return a packet, or None if there is none."""
        return self._packets.popleft() if self._packets else None


# ---- small things ---------------------------------------------------------------------------------------------------


def comm_key(key: int, session: int, ticks: int = TICKS) -> bytes:
    """Scramble the comm key for AUTH, section 3. Obfuscation, not cryptography: the third byte of the key is lost."""
    reversed_key = int(f"{key & 0xFFFFFFFF:032b}"[::-1], 2)
    total = (reversed_key + session) & 0xFFFFFFFF
    mixed = bytes(a ^ b for a, b in zip(total.to_bytes(4, "little"), KEY_MASK, strict=True))
    return bytes((mixed[2] ^ ticks, mixed[3] ^ ticks, ticks, mixed[1] ^ ticks))


def cut_text(raw: bytes) -> bytes:
    """Return what stands before the first NUL; bytes behind it can be garbage (section 7)."""
    return raw.partition(b"\x00")[0]


def split_option(answer: bytes) -> tuple[bytes, bytes] | None:
    """Split `name=value` at the first `=` and cut it at the first NUL (section 5); None if it is no option."""
    name, equals, value = cut_text(answer).partition(b"=")
    return (name, value) if equals and name else None


class Clock(NamedTuple):
    """A moment as the unit counts it: civil time, and every month has 31 days."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int

    def text(self) -> str | None:
        """Return it as `2026-11-23T09:12:31`; None for a day that does not exist."""
        try:
            return datetime(*self).isoformat()  # noqa: DTZ001  # the door's civil time has no zone
        except ValueError:
            return None


def decode_time(value: int) -> Clock:
    """Split a time word by the radices 60, 60, 24, 31, 12 (section 5); dividing by 365, as zk-protocol does, drifts."""
    value, second = divmod(value, 60)
    value, minute = divmod(value, 60)
    value, hour = divmod(value, 24)
    value, day = divmod(value, 31)
    year, month = divmod(value, 12)
    return Clock(2000 + year, month + 1, day + 1, hour, minute, second)


def encode_time(clock: Clock) -> int:
    """Build a time word; the inverse of `decode_time` from 2000 to 2099."""
    days = (clock.year % 100 * 12 + clock.month - 1) * 31 + clock.day - 1
    return ((days * 24 + clock.hour) * 60 + clock.minute) * 60 + clock.second


STATES: Final = {
    0: "waiting",
    1: "enrolling",
    2: "identifying",
    3: "in its menu",
    4: "busy",
    5: "writing a card",
}
"""What the session field of the answer to STATE says, section 5."""
BUSY_STATES: Final = frozenset({1, 3, 4, 5})
"""Somebody is using the unit: tables may change under us, and writing is refused by some."""

_CAPACITY: Final = Struct(
    Padding(16), "users" / Int32ul, Padding(4), "templates" / Int32ul, Padding(4), "attendance" / Int32ul, Padding(4),
    "operations" / Int32ul, Padding(4), "admins" / Int32ul, "passwords" / Int32ul, "template_slots" / Int32ul,
    "user_slots" / Int32ul, "attendance_slots" / Int32ul, "templates_free" / Int32ul, "users_free" / Int32ul,
    "attendance_free" / Int32ul,
)  # fmt: skip
"""CAPACITY, section 5 (80 bytes)."""
_FACES: Final = Struct("faces" / Int32ul, Padding(4), "face_slots" / Int32ul)
"""Its last 12 bytes where there are 92."""
CAPACITY_BYTES: Final = (80, 92)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the unit counts and what it can hold. Counters can lag until REFRESH (section 11.7)."""

    users: int
    templates: int
    attendance: int
    operations: int
    admins: int
    """Byte 48: administrators by zk-protocol, cards by pyzk; unconfirmed."""
    passwords: int
    template_slots: int
    user_slots: int
    attendance_slots: int
    templates_free: int
    users_free: int
    attendance_free: int
    faces: int | None = None
    face_slots: int | None = None


def parse_capacity(data: bytes) -> Capacity:
    """Read the table of counters.

    Raises:
        FrameError: it is shorter than any on record.
    """
    found = dict(parse(_CAPACITY, data[: CAPACITY_BYTES[0]], "the table of counters"))
    if len(data) >= CAPACITY_BYTES[1]:
        found |= dict(parse(_FACES, data[CAPACITY_BYTES[0] : CAPACITY_BYTES[1]], "the table of counters"))
    return Capacity(**{name: value for name, value in found.items() if not name.startswith("_")})


def table_body(raw: bytes, what: str) -> bytes:
    """Take the length word off a table and hold it against what came (section 6); nothing at all is an empty table.

    Raises:
        FrameError: they differ.
    """
    if not raw:
        return b""
    if len(raw) < LENGTH_BYTES or int.from_bytes(raw[:LENGTH_BYTES], "little") != len(raw) - LENGTH_BYTES:
        raise FrameError(f"the length word of the {what} does not agree with the {len(raw)} bytes that came")
    return raw[LENGTH_BYTES:]
