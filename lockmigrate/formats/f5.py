"""Frames and commands of the serial fingerprint modules that speak 0xF5 (no I/O).

Sources, cited by these marks: [WS] Waveshare "UART Fingerprint Sensor (C)" user manual V1.0 (pages 5, 7 and 9 to 13),
[drv] sophianetSun/fingerprint-reader, fingerprint.py: what rests on that driver alone; [SKU] avsa242/
fingerprint8552-spin and leolleeoleo/sju-finger-health. Numbers of several bytes are big endian.

A short frame has 8 bytes. A long one is a head of 8 bytes that says Len, directly followed by `F5`, Len bytes, a
checksum and `F5`. Nothing is escaped, and the head of every template's reply holds F5 in its checksum: the framer is
told what comes next and never searches.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final, Literal

from construct import Bytes, Const, Construct, Int8ub, Int16ub, Struct, Terminated

from lockmigrate.errors import FrameError
from lockmigrate.formats import build, parse

MARK: Final = 0xF5
"""First and last byte of a short frame and of a data packet, [WS]; it may stand anywhere between."""
HEAD_BYTES: Final = 8
DATA_OVERHEAD_BYTES: Final = 3
"""F5 before, checksum and F5 behind."""
MAX_USER: Final = 0xFFF
"""User ids go from 1 to this, [WS]."""
USER_BYTES: Final = 3
"""Id high, id low, permission: an entry of the list, and what every template begins with, [WS]."""
MAX_TEMPLATE_BYTES: Final = 4096
"""Our bound on Len of a template; the manual's has 193 bytes and its id and permission."""
MAX_LIST_BYTES: Final = 2 + USER_BYTES * MAX_USER
MAX_VERSION_BYTES: Final = 256
"""Our bound on the version's text."""
MAX_BUFFER_BYTES: Final = 64 * 1024
"""Our bound on what a framer keeps."""
DEFAULT_BAUD: Final = 19200
"""[WS] [drv]."""

SUCCESS: Final = 0x00
FAIL: Final = 0x01
FULL: Final = 0x04
NO_USER: Final = 0x05
USER_TAKEN: Final = 0x06
FINGER_TAKEN: Final = 0x07
TIMEOUT: Final = 0x08

PERMISSIONS: Final = (1, 2, 3)
"""[WS]; what they mean belongs to the host."""
RESULT_TEXTS: Final = {
    FAIL: "it failed",
    FULL: "the library is full",
    NO_USER: "no user has this id",
    USER_TAKEN: "the user id is taken",
    FINGER_TAKEN: "the finger is already enrolled",
    TIMEOUT: "time-out",
}
"""Q3 of an answer, [WS]."""


def result_text(result: int) -> str:
    """Return what a result says, with its number."""
    return f"{RESULT_TEXTS.get(result, 'an unnamed error')} (result {result:02X})"


# ---- frames ---------------------------------------------------------------------------------------------------------

_MARK: Final = Const(bytes([MARK]))
_SHORT: Final = Struct(
    "start" / _MARK, "command" / Int8ub, "p1" / Int8ub, "p2" / Int8ub, "p3" / Int8ub, "zero" / Const(b"\x00"),
    "check" / Int8ub, "end" / _MARK, Terminated,
)  # fmt: skip


@functools.cache
def _data_layout(data_bytes: int) -> Construct[Any, Any]:
    return Struct("start" / _MARK, "content" / Bytes(data_bytes), "check" / Int8ub, "end" / _MARK, Terminated)


@dataclass(frozen=True, slots=True)
class Short:
    """A short frame, or the head of a long one; in an answer p1, p2 and p3 are the manual's Q1, Q2 and Q3."""

    command: int
    p1: int = 0
    p2: int = 0
    p3: int = 0

    @property
    def number(self) -> int:
        """P1 and P2 as one number: an id, a count or Len."""
        return self.p1 << 8 | self.p2


@dataclass(frozen=True, slots=True)
class Data:
    """The data packet of a long frame."""

    content: bytes

    def __repr__(self) -> str:
        return f"Data({len(self.content)} bytes)"


def xor(counted: bytes) -> int:
    """XOR of all bytes: of a short frame's from CMD to the 00 (the drivers' reading), of all data of a packet."""
    return functools.reduce(lambda a, b: a ^ b, counted, 0)


class Framer:
    """Cuts a stream into the frames that are expected, by length alone, and builds frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._data_bytes: int | None = None

    @staticmethod
    def encode(frame: Short | Data) -> bytes:
        """Build a frame's bytes.

        Raises:
            FrameError: a number does not fit its byte, or the data is longer than any that we know.
        """
        if isinstance(frame, Data):
            if not 1 <= len(frame.content) <= MAX_LIST_BYTES:
                raise FrameError(f"{len(frame.content)} bytes do not fit a data packet")
            values = {"content": frame.content, "check": xor(frame.content)}
            return build(_data_layout(len(frame.content)), values, "a data packet")
        fields = {"command": frame.command, "p1": frame.p1, "p2": frame.p2, "p3": frame.p3}
        check = xor(bytes(value & 0xFF for value in fields.values()))
        return build(_SHORT, {**fields, "check": check}, "a frame")

    def expect(self, data_bytes: int | None) -> None:
        """Say what comes next: a data packet of this many bytes, or with None a head. Keeps what is buffered.

        Raises:
            FrameError: no data packet that we know is that long.
        """
        if data_bytes is not None and not 1 <= data_bytes <= MAX_LIST_BYTES:
            raise FrameError(f"no data packet has {data_bytes} bytes")
        self._data_bytes = data_bytes

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data
        del self._buffer[MAX_BUFFER_BYTES:]

    def reset(self) -> int:
        """Forget what is buffered and expect a head; returns how many bytes that was."""
        forgotten = len(self._buffer)
        self._buffer.clear()
        self._data_bytes = None
        return forgotten

    def next(self) -> Short | Data | None:
        """Return the expected frame, or None if more bytes are needed.

        Raises:
            FrameError: what came is not what is expected. Everything buffered is dropped: where the next frame begins
                cannot be known, so the line has to be drained.
        """
        buffer = self._buffer
        if buffer and buffer[0] != MARK:
            raise self._bad("a frame does not begin with F5")
        size = HEAD_BYTES if self._data_bytes is None else self._data_bytes + DATA_OVERHEAD_BYTES
        if len(buffer) < size:
            return None
        raw = bytes(buffer[:size])
        try:
            frame = self._parse(raw)
        except FrameError:
            raise self._bad("a frame does not follow its layout") from None
        if frame is None:
            raise self._bad("the checksum of a frame is wrong")
        del buffer[:size]
        return frame

    def _parse(self, raw: bytes) -> Short | Data | None:
        if self._data_bytes is not None:
            found = parse(_data_layout(self._data_bytes), raw, "a data packet")
            return Data(found.content) if found.check == xor(found.content) else None
        found = parse(_SHORT, raw, "a frame")
        return Short(found.command, found.p1, found.p2, found.p3) if found.check == xor(raw[1:6]) else None

    def _bad(self, reason: str) -> FrameError:
        self._buffer.clear()
        return FrameError(reason)


# ---- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """One command as data: its code, what its answer carries, and how it may be treated."""

    name: str
    code: int
    answer_bytes: int = 0
    """The answer is long, with at most this many bytes of data."""
    repeatable: bool = True
    """Asking again changes nothing more than asking once."""
    q3_is_result: bool = True
    """False where 01 is a permission and no failure."""
    wait: Literal["answer", "write", "erase", "finger"] = "answer"


DELETE_USER: Final = Command("delete user", 0x04, repeatable=False, wait="write")
"""[drv]."""
DELETE_ALL: Final = Command("delete all users", 0x05, repeatable=False, wait="erase")
"""With P3 = 0. A published frame has 1, perhaps "only permission 1": unconfirmed, never sent."""
COUNT: Final = Command("count", 0x09)
"""[drv]."""
PERMISSION: Final = Command("permission", 0x0A, q3_is_result=False)
MATCH: Final = Command("match", 0x0C, repeatable=False, q3_is_result=False, wait="finger")
"""[drv]."""
VERSION: Final = Command("version", 0x26, MAX_VERSION_BYTES)
"""[drv]."""
LEVEL: Final = Command("security level", 0x28)
LIST: Final = Command("list", 0x2B, MAX_LIST_BYTES)
DUPLICATES: Final = Command("duplicates", 0x2D)
CAPTURE_TIMEOUT: Final = Command("capture time-out", 0x2E)
READ_TEMPLATE: Final = Command("read template", 0x31, MAX_TEMPLATE_BYTES + USER_BYTES)
WRITE_TEMPLATE: Final = Command("write template", 0x41, repeatable=False, wait="write")
"""Its layout rests on [WS] alone: no public program has been seen to do it."""

COMMANDS: Final = (
    DELETE_USER, DELETE_ALL, COUNT, PERMISSION, MATCH, VERSION, LEVEL, LIST, DUPLICATES, CAPTURE_TIMEOUT, READ_TEMPLATE,
    WRITE_TEMPLATE,
)  # fmt: skip
"""Everything this package can send. Never among them: 21 (speed, whose codes are not public) and 2C (sleep until
reset)."""
SETTINGS: Final = {LEVEL: 9, DUPLICATES: 1, CAPTURE_TIMEOUT: 255}
"""What can be set or queried (P3 = 0 sets P2, P3 = 1 queries it), and the highest value, [WS]."""


@dataclass(frozen=True, slots=True)
class UserData:
    """What a template's data packet holds."""

    user: int
    permission: int
    template: bytes

    def __repr__(self) -> str:
        return f"UserData(user={self.user}, permission={self.permission}, {len(self.template)} bytes)"


_USER: Final = Struct("user" / Int16ub, "permission" / Int8ub)


def parse_user_data(content: bytes) -> UserData:
    """Split the data of a template's packet.

    Raises:
        FrameError: it holds no template.
    """
    if len(content) <= USER_BYTES:
        raise FrameError("a template's packet holds no template")
    head = parse(_USER, content[:USER_BYTES], "a template's packet")
    return UserData(head.user, head.permission, content[USER_BYTES:])


def build_user_data(user: int, permission: int, template: bytes) -> bytes:
    """Build the data of a template's packet.

    Raises:
        FrameError: a number does not fit.
    """
    return build(_USER, {"user": user, "permission": permission}, "a template's packet") + template


def parse_list(content: bytes) -> tuple[int, dict[int, int]]:
    """Read the data of the list: how many users the module says it has, and id to permission for each it names.

    Raises:
        FrameError: it is not whole entries, or names an id twice.
    """
    if len(content) < 2 or (len(content) - 2) % USER_BYTES:
        raise FrameError("the list of users is cut short")
    entries: dict[int, int] = {}
    for at in range(2, len(content), USER_BYTES):
        entry = parse(_USER, content[at : at + USER_BYTES], "an entry of the list")
        if entry.user in entries:
            raise FrameError("the list of users names an id twice")
        entries[entry.user] = entry.permission
    return int.from_bytes(content[:2], "big"), entries
