"""Packets and commands of the GT-511 and GT-521 fingerprint modules (no I/O).

Sources, cited by these marks: [C3] ADH-Tech "GT-511C3 datasheet V1.1", [SDK] the maker's demo (sb_protocol_oem.cpp,
OEM.cpp), both in the-AjK/GT-511C3; [SF] sparkfun/Fingerprint_Scanner-TTL, FPS_GT511C3.h; [2.1] datasheet 2.1 as a
public ESP32 driver quotes it, unconfirmed on older units. All integers are little endian.

No packet says how long it is and nothing is escaped: 12 bytes are a command or its answer, N + 6 bytes are data, and N
follows from the command alone. So the framer is told what comes next and never searches.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final, Literal

from construct import Bytes, Const, Construct, Int16ul, Int32ul, Struct, Terminated

from lockmigrate.errors import FrameError
from lockmigrate.formats import build, parse

PACKET_START: Final = b"\x55\xaa"
"""Of a command and of its answer, [C3] [SDK]."""
DATA_START: Final = b"\x5a\xa5"
"""Of a data packet, [C3] [SDK]."""
DEVICE_ID: Final = 1
"""Always, [C3]."""
PACKET_BYTES: Final = 12
DATA_OVERHEAD_BYTES: Final = 6
"""Start 2, device id 2, checksum 2."""
ACK: Final = 0x30
NACK: Final = 0x31
TEMPLATE_BYTES: Final = 498
"""[C3] [SDK] [SF]; also quoted for the C5 and the GT-521F."""
DEVICE_INFO_BYTES: Final = 24
MAX_DATA_BYTES: Final = 1024
"""Ours: the largest data packet that we ever await is a template; images are never asked for."""
MAX_BUFFER_BYTES: Final = 16 * 1024
"""Our bound on what a framer keeps."""
MAX_IDS: Final = 0x10000
"""SetTemplate carries the id in 16 bits, [2.1]."""
SKIP_DUPLICATE_CHECK: Final = 1 << 16
"""High word of SetTemplate's parameter: store the template whatever else it resembles, [2.1]."""
POWER_ON_BAUD: Final = 9600
"""[C3] [SDK]."""
HIGHEST_BAUD: Final = 115200
"""[C3] [SDK]."""

OUT_OF_RANGE: Final = 0x1003
NOT_USED: Final = 0x1004
COMMUNICATION: Final = 0x1006
DATABASE_FULL: Final = 0x1009
DATABASE_EMPTY: Final = 0x100A
IDENTIFY_FAILED: Final = 0x1008
BAD_FINGER: Final = 0x100C
NO_FINGER: Final = 0x1012

NACK_TEXTS: Final = {
    0x1001: "time-out",
    0x1002: "this speed is not possible",
    OUT_OF_RANGE: "no id has this number",
    NOT_USED: "the id is not used",
    0x1005: "the id is already used",
    COMMUNICATION: "communication error",
    0x1007: "verification failed",
    IDENTIFY_FAILED: "nobody's finger",
    DATABASE_FULL: "the library is full",
    DATABASE_EMPTY: "the library is empty",
    0x100B: "wrong order of enrolling",
    BAD_FINGER: "the picture of the finger is too bad",
    0x100D: "enrolling failed",
    0x100E: "the module does not know this command",
    0x100F: "device error",
    0x1010: "cancelled",
    0x1011: "wrong parameter",
    NO_FINGER: "no finger on the sensor",
}
"""Parameter of a NACK, [C3] [SF] [2.1]."""
_FIRST_NACK: Final = 0x1000
"""Below lie ids: the largest model has 3000 of them."""


def duplicate_of(parameter: int) -> int | None:
    """Return whose duplicate a NACK complains about, or None if it says something else."""
    return parameter if parameter < _FIRST_NACK else None


def nack_text(parameter: int) -> str:
    """Return what a NACK says, with its number."""
    twin = duplicate_of(parameter)
    if twin is not None:
        return f"the finger is already enrolled as id {twin}"
    return f"{NACK_TEXTS.get(parameter, 'an unnamed error')} (code {parameter:04X})"


# ---- packets --------------------------------------------------------------------------------------------------------

_PACKET: Final = Struct(
    "start" / Const(PACKET_START), "device" / Const(DEVICE_ID, Int16ul), "parameter" / Int32ul, "code" / Int16ul,
    "sum" / Int16ul, Terminated,
)  # fmt: skip


@functools.cache
def _data_layout(data_bytes: int) -> Construct[Any, Any]:
    return Struct(
        "start" / Const(DATA_START), "device" / Const(DEVICE_ID, Int16ul), "content" / Bytes(data_bytes),
        "sum" / Int16ul, Terminated,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packet:
    """Twelve bytes: a command to the module, or its answer, whose code is ACK or NACK."""

    parameter: int
    code: int


@dataclass(frozen=True, slots=True)
class Data:
    """A data packet."""

    content: bytes

    def __repr__(self) -> str:
        return f"Data({len(self.content)} bytes)"


def checksum(counted: bytes) -> int:
    """Sum of all bytes before the checksum, start codes and device id too, modulo 65536 [C3]."""
    return sum(counted) & 0xFFFF


class Framer:
    """Cuts a stream into the packets that are expected, by length alone, and builds packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._data_bytes: int | None = None

    @staticmethod
    def encode(frame: Packet | Data) -> bytes:
        """Build a packet's bytes.

        Raises:
            FrameError: a number does not fit its field, or the data is longer than any that we know.
        """
        if isinstance(frame, Packet):
            values = {"parameter": frame.parameter, "code": frame.code, "sum": 0}
            body = build(_PACKET, values, "a packet")[:-2]
        elif not 1 <= len(frame.content) <= MAX_DATA_BYTES:
            raise FrameError(f"{len(frame.content)} bytes do not fit a data packet")
        else:
            body = build(_data_layout(len(frame.content)), {"content": frame.content, "sum": 0}, "a data packet")[:-2]
        return body + checksum(body).to_bytes(2, "little")

    def expect(self, data_bytes: int | None) -> None:
        """Say what comes next: a data packet of this many bytes, or with None an answer. Keeps what is buffered.

        Raises:
            FrameError: no data packet that we know is that long.
        """
        if data_bytes is not None and not 1 <= data_bytes <= MAX_DATA_BYTES:
            raise FrameError(f"no data packet has {data_bytes} bytes")
        self._data_bytes = data_bytes

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data
        del self._buffer[MAX_BUFFER_BYTES:]

    def reset(self) -> int:
        """Forget what is buffered and expect an answer; returns how many bytes that was."""
        forgotten = len(self._buffer)
        self._buffer.clear()
        self._data_bytes = None
        return forgotten

    def next(self) -> Packet | Data | None:
        """Return the expected packet, or None if more bytes are needed.

        Raises:
            FrameError: what came is not what is expected. Everything buffered is dropped: where the next packet begins
                cannot be known, so the line has to be drained.
        """
        buffer = self._buffer
        start = PACKET_START if self._data_bytes is None else DATA_START
        if not start.startswith(bytes(buffer[: len(start)])):
            raise self._bad("a packet begins with other bytes than it must")
        size = PACKET_BYTES if self._data_bytes is None else self._data_bytes + DATA_OVERHEAD_BYTES
        if len(buffer) < size:
            return None
        raw = bytes(buffer[:size])
        if checksum(raw[:-2]) != int.from_bytes(raw[-2:], "little"):
            raise self._bad("the checksum of a packet is wrong")
        try:
            if self._data_bytes is None:
                found = parse(_PACKET, raw, "a packet")
                frame: Packet | Data = Packet(found.parameter, found.code)
            else:
                frame = Data(parse(_data_layout(self._data_bytes), raw, "a data packet").content)
        except FrameError:
            raise self._bad("a packet of another device") from None
        del buffer[:size]
        return frame

    def _bad(self, reason: str) -> FrameError:
        self._buffer.clear()
        return FrameError(reason)


# ---- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """One command as data: its code, what follows its answer, and how it may be treated."""

    name: str
    code: int
    answer_bytes: int = 0
    """After an ACK the module sends a data packet of this many bytes."""
    data_bytes: int = 0
    """After an ACK the host sends a data packet of this many bytes, and the module answers a second time."""
    repeatable: bool = True
    """Asking again changes nothing more than asking once."""
    wait: Literal["answer", "write", "erase"] = "answer"


OPEN: Final = Command("Open", 0x01, answer_bytes=DEVICE_INFO_BYTES)
"""With parameter 1; with 0 no device information follows, and we always want it."""
CHANGE_BAUDRATE: Final = Command("ChangeBaudrate", 0x04, repeatable=False)
"""Whether the ACK comes at the old speed or at the new one is unconfirmed."""
CMOS_LED: Final = Command("CmosLed", 0x12)
GET_ENROLL_COUNT: Final = Command("GetEnrollCount", 0x20)
CHECK_ENROLLED: Final = Command("CheckEnrolled", 0x21)
IS_PRESS_FINGER: Final = Command("IsPressFinger", 0x26)
DELETE_ID: Final = Command("DeleteID", 0x40, repeatable=False, wait="write")
DELETE_ALL: Final = Command("DeleteAll", 0x41, repeatable=False, wait="erase")
IDENTIFY: Final = Command("Identify", 0x51, wait="write")
CAPTURE_FINGER: Final = Command("CaptureFinger", 0x60)
GET_TEMPLATE: Final = Command("GetTemplate", 0x70, answer_bytes=TEMPLATE_BYTES)
SET_TEMPLATE: Final = Command("SetTemplate", 0x71, data_bytes=TEMPLATE_BYTES, repeatable=False, wait="write")
SET_SECURITY_LEVEL: Final = Command("SetSecurityLevel", 0xF0, repeatable=False, wait="write")
GET_SECURITY_LEVEL: Final = Command("GetSecurityLevel", 0xF1)
"""The two of the level are in [2.1] alone."""

COMMANDS: Final = (
    OPEN, CHANGE_BAUDRATE, CMOS_LED, GET_ENROLL_COUNT, CHECK_ENROLLED, IS_PRESS_FINGER, DELETE_ID, DELETE_ALL,
    IDENTIFY, CAPTURE_FINGER, GET_TEMPLATE, SET_TEMPLATE, SET_SECURITY_LEVEL, GET_SECURITY_LEVEL,
)  # fmt: skip
"""Everything this package can send. Never among them: 05 (SetIAPMode, firmware upgrade) and the obsolete 72, 73, 80
and 81."""
