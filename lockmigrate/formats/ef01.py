"""Frames and messages of the 0xEF01 fingerprint modules (no I/O).

Sources, cited by these marks: [Z14] ZFM-20 manual 1.4, [Z20] the same 2.0, [Z60] ZFM-60 manual, [R502A] R502-A manual
1.1, [R503] R503 manuals 1.2.1 and 1.4.1, [HLK] Hi-Link "Fingerprint module user communication protocol" 1.1, [LD]
libdriver/as608. All integers are big endian.

There is one frame format and two dialects. Codes below 0x30 mean the same in both (except LoadChar's and UpChar's
buffer); above, the same number can read a text in one and erase the library in the other: `Command.dialect` says where
a command is safe to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal

from construct import Bytes, Const, Construct, GreedyBytes, Int8ub, Int16ub, Int32ub, Struct

from lockmigrate.errors import FrameError, UnexpectedReply
from lockmigrate.formats import build, parse

Dialect = Literal["classic", "hilink"]

HEADER: Final = b"\xef\x01"
"""Every frame begins with it, [Z20] 3.1; template bytes may contain it too, so nothing is ever split on it."""
FACTORY_ADDRESS: Final = 0xFFFFFFFF
"""[Z14] [R503] [HLK]."""
OVERHEAD_BYTES: Final = 11
"""Header 2, address 4, PID 1, LEN 2, SUM 2."""
MIN_LEN: Final = 3
MAX_LEN: Final = 258
"""The manuals say "at most 256", yet a 256-byte data packet has LEN 258 (content and two checksum bytes)."""
MAX_BUFFER_BYTES: Final = 64 * 1024
"""Our bound on what a framer keeps; a frame has at most 267 bytes."""
NOTEPAD_PAGE_BYTES: Final = 32
INFO_PAGE_BYTES: Final = 512
BAUD_UNIT: Final = 9600
"""Speeds are multiples N of it, [Z14] [Z20] [Z60] [HLK]."""


class Pid(IntEnum):
    """Kind of a frame."""

    COMMAND = 0x01
    DATA = 0x02
    ACK = 0x07
    END = 0x08


class Code(IntEnum):
    """Confirmation codes that decide what we do; the others are only named (`CODE_TEXTS`)."""

    OK = 0x00
    RECEIVE = 0x01
    NO_FINGER = 0x02
    NOT_FOUND = 0x09
    BEYOND = 0x0B
    EMPTY_SLOT = 0x0C
    CANNOT_UPLOAD = 0x0D
    CANNOT_RECEIVE = 0x0E
    CANNOT_SEND = 0x0F
    WRONG_PASSWORD = 0x13
    FLASH = 0x18
    NO_PAGE = 0x1C
    VERIFY_FIRST = 0x21
    ENCRYPTED = 0x31
    ILLEGAL_DATA = 0x35
    UNSUPPORTED = 0xFC


CODE_TEXTS: Final = {
    0x01: "packet received badly, or unknown command",
    0x02: "no finger on the sensor",
    0x03: "the image could not be taken",
    0x06: "the image is too disordered",
    0x07: "too few feature points",
    0x09: "nothing found",
    0x0B: "slot beyond the library",
    0x0C: "template cannot be read or is invalid",
    0x0D: "cannot upload the template",
    0x0E: "cannot receive the data packets",
    0x0F: "cannot send the data packets",
    0x10: "delete failed",
    0x11: "emptying the library failed",
    0x13: "wrong password",
    0x15: "no valid image in the buffer",
    0x18: "flash error",
    0x1A: "no such register",
    0x1B: "bad register value",
    0x1C: "no such notepad page",
    0x1F: "library full",
    0x20: "address error",
    0x21: "the password must be verified first",
    0x29: "sensor failed",
    0x31: "forbidden at this encryption level",
    0x35: "illegal data",
    0xFC: "unsupported command",
    0xFD: "hardware error",
    0xFE: "command failed",
}
"""Section "confirmation codes" of [Z20], [R503] and [HLK]; the AS60x names from [LD]."""


def code_text(code: int) -> str:
    """Return what a confirmation code says, with its number."""
    return f"{CODE_TEXTS.get(code, 'an unnamed error')} (code {code:02X})"


# ---- frames ---------------------------------------------------------------------------------------------------------

_HEAD: Final = Struct("header" / Const(HEADER), "address" / Int32ub, "pid" / Int8ub, "length" / Int16ub)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `content` is what lies between LEN and SUM."""

    address: int
    pid: int
    content: bytes

    def __repr__(self) -> str:
        return f"Frame(pid={self.pid:02X}, {len(self.content)} bytes)"


def checksum(counted: bytes) -> int:
    """Sum of every byte from PID to the last content byte, modulo 65536 [Z20]."""
    return sum(counted) & 0xFFFF


class Framer:
    """Cuts a stream into frames and builds them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped_bytes = 0
        """Noise thrown away so far: bytes before a header, and headers that were none."""

    @staticmethod
    def encode(frame: Frame) -> bytes:
        """Build a frame's bytes.

        Raises:
            FrameError: the content is longer than a frame can carry.
        """
        if not MIN_LEN - 2 <= len(frame.content) <= MAX_LEN - 2:
            raise FrameError(f"{len(frame.content)} bytes do not fit a frame")
        values = {"address": frame.address, "pid": frame.pid, "length": len(frame.content) + 2}
        head = build(_HEAD, values, "frame header")
        return head + frame.content + checksum(head[6:] + frame.content).to_bytes(2, "big")

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data
        if len(self._buffer) > MAX_BUFFER_BYTES:
            self.skipped_bytes += len(self._buffer) - MAX_BUFFER_BYTES
            del self._buffer[:-MAX_BUFFER_BYTES]

    def reset(self) -> int:
        """Forget what is buffered; returns how many bytes that was."""
        forgotten = len(self._buffer)
        self._buffer.clear()
        return forgotten

    def next(self) -> Frame | None:
        """Return a frame, or None if more bytes are needed.

        Raises:
            FrameError: a whole frame came with a wrong checksum; it is dropped, and the next call goes on behind it.
        """
        buffer = self._buffer
        while True:
            start = buffer.find(HEADER)
            if start < 0:
                keep = 1 if buffer[-1:] == HEADER[:1] else 0
                self._skip(len(buffer) - keep)
                return None
            self._skip(start)
            if len(buffer) < 9:
                return None
            head = parse(_HEAD, bytes(buffer[:9]), "frame header")
            if not MIN_LEN <= head.length <= MAX_LEN or head.pid not in Pid.__members__.values():
                self._skip(len(HEADER))
                continue
            size = 9 + head.length
            if len(buffer) < size:
                return None
            raw = bytes(buffer[:size])
            del buffer[:size]
            if checksum(raw[6:-2]) != int.from_bytes(raw[-2:], "big"):
                raise FrameError("the checksum of a packet is wrong", received=raw[:9])
            return Frame(head.address, head.pid, raw[9:-2])

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        del self._buffer[:count]


# ---- messages -------------------------------------------------------------------------------------------------------

_NOTHING: Final = Struct()


@dataclass(frozen=True, slots=True)
class Command:
    """One command as data: code, layout of its parameters and of its results, and how it may be treated."""

    name: str
    code: int
    params: Construct[Any, Any] = _NOTHING
    reply: Construct[Any, Any] = _NOTHING
    reply_bytes: int = 0
    """Shortest result after the confirmation code that we accept with code 00."""
    repeatable: bool = True
    """Asking again changes nothing more than asking once."""
    wait: Literal["answer", "write", "erase", "optional"] = "answer"
    dialect: Dialect | None = None
    """Only to be sent when this dialect is known; None: the same everywhere."""


_BUFFER_SLOT: Final = Struct("buffer" / Int8ub, "slot" / Int16ub)
_BUFFER: Final = Struct("buffer" / Int8ub)
_TEXT32: Final = Struct("text" / Bytes(32))

GEN_IMG: Final = Command("GenImg", 0x01)
IMG2TZ: Final = Command("Img2Tz", 0x02, _BUFFER)
SEARCH: Final = Command(
    "Search",
    0x04,
    Struct("buffer" / Int8ub, "start" / Int16ub, "count" / Int16ub),
    Struct("slot" / Int16ub, "score" / Int16ub),
    4,
)
STORE: Final = Command("Store", 0x06, _BUFFER_SLOT, repeatable=False, wait="write")
LOAD_CHAR: Final = Command("LoadChar", 0x07, _BUFFER_SLOT)
UP_CHAR: Final = Command("UpChar", 0x08, _BUFFER)
"""Module to host, followed by data packets. Names are as seen from the module: this one reads."""
DOWN_CHAR: Final = Command("DownChar", 0x09, _BUFFER, repeatable=False)
"""Host to module, followed by the host's data packets; their end is not acknowledged, silence means success."""
DELET_CHAR: Final = Command("DeletChar", 0x0C, Struct("slot" / Int16ub, "count" / Int16ub), wait="write")
"""The maker's spelling."""
EMPTY: Final = Command("Empty", 0x0D, wait="erase")
SET_SYS_PARA: Final = Command(
    "SetSysPara", 0x0E, Struct("register" / Int8ub, "value" / Int8ub), repeatable=False, wait="write"
)
READ_SYS_PARA: Final = Command("ReadSysPara", 0x0F, reply=Struct("params" / Bytes(16)), reply_bytes=16)
SET_PWD: Final = Command("SetPwd", 0x12, Struct("password" / Bytes(4)), repeatable=False, wait="write")
VFY_PWD: Final = Command("VfyPwd", 0x13, Struct("password" / Bytes(4)))
SET_ADDER: Final = Command("SetAdder", 0x15, Struct("address" / Int32ub), repeatable=False, wait="write")
"""The maker's spelling; the ack already carries the new address."""
READ_INF_PAGE: Final = Command("ReadInfPage", 0x16, wait="optional")
"""Followed by data packets, 512 bytes. On AS60x and Hi-Link modules it holds the password in clear."""
WRITE_NOTEPAD: Final = Command(
    "WriteNotepad", 0x18, Struct("page" / Int8ub, "data" / Bytes(NOTEPAD_PAGE_BYTES)), wait="write"
)
READ_NOTEPAD: Final = Command(
    "ReadNotepad", 0x19, Struct("page" / Int8ub), Struct("data" / Bytes(NOTEPAD_PAGE_BYTES)), NOTEPAD_PAGE_BYTES
)
TEMPLETE_NUM: Final = Command("TempleteNum", 0x1D, reply=Struct("count" / Int16ub), reply_bytes=2)
"""The maker's spelling."""
READ_INDEX_TABLE: Final = Command(
    "ReadIndexTable", 0x1F, Struct("page" / Int8ub), Struct("bits" / Bytes(32)), 32, wait="optional"
)
GET_CHIP_SN: Final = Command(
    "GetChipSN", 0x34, Struct("zero" / Const(b"\x00")), _TEXT32, 32, wait="optional", dialect="hilink"
)
GET_ALG_VER: Final = Command("GetAlgVer", 0x39, reply=_TEXT32, reply_bytes=32, wait="optional", dialect="classic")
GET_FW_VER: Final = Command("GetFwVer", 0x3A, reply=_TEXT32, reply_bytes=32, wait="optional", dialect="classic")
READ_PROD_INFO: Final = Command(
    "ReadProdInfo", 0x3C, reply=Struct("info" / GreedyBytes), reply_bytes=46, wait="optional", dialect="classic"
)
"""46 bytes; [R503] 1.4.1 appends four reserved ones. On a Hi-Link module this code sets the LED."""

COMMANDS: Final = (
    GEN_IMG, IMG2TZ, SEARCH, STORE, LOAD_CHAR, UP_CHAR, DOWN_CHAR, DELET_CHAR, EMPTY, SET_SYS_PARA, READ_SYS_PARA,
    SET_PWD, VFY_PWD, SET_ADDER, READ_INF_PAGE, WRITE_NOTEPAD, READ_NOTEPAD, TEMPLETE_NUM, READ_INDEX_TABLE,
    GET_CHIP_SN, GET_ALG_VER, GET_FW_VER, READ_PROD_INFO,
)  # fmt: skip
"""Everything this package can send. Never among them: 0x17 (turns the port off), 0x1A (firmware upgrade), 0x3B and
0xE0 (erase a Hi-Link library), 0x0E register 7 (encryption level, cannot be undone)."""

REGISTER_LEVEL: Final = 5
"""Security level (classic 1 to 5) or score level (Hi-Link 1 to 28)."""
SAFE_REGISTERS: Final = frozenset({4, REGISTER_LEVEL, 6})
"""Speed, level, packet size. Others are never written; 7 cannot be undone."""


def command_content(command: Command, values: Mapping[str, Any] | None = None) -> bytes:
    """Build the content of a command frame.

    Raises:
        FrameError: a parameter is missing or does not fit, or the register may not be written.
    """
    values = dict(values or {})
    if command is SET_SYS_PARA and values.get("register") not in SAFE_REGISTERS:
        raise FrameError("this register is never written")
    if command is GET_CHIP_SN:
        values["zero"] = b"\x00"
    return bytes([command.code]) + build(command.params, values, f"the command {command.name}")


@dataclass(frozen=True, slots=True)
class Ack:
    """What a module answered: the confirmation code, and the results if the code is 00."""

    code: int
    results: bytes

    @property
    def ok(self) -> bool:
        return self.code == Code.OK

    def __repr__(self) -> str:
        return f"Ack({self.code:02X}, {len(self.results)} bytes)"


def parse_ack(command: Command, content: bytes) -> Ack:
    """Read an ack's content. Lengths come from the frame: an answer may be longer than the manual says.

    Raises:
        UnexpectedReply: code 00 with fewer results than the command must give.
    """
    ack = Ack(content[0], content[1:])
    if ack.ok and len(ack.results) < command.reply_bytes:
        raise UnexpectedReply(
            expected=f"{command.reply_bytes} bytes after {command.name}", received=f"{len(ack.results)} bytes"
        )
    return ack


def results(command: Command, ack: Ack) -> Any:
    """Parse the results of a good ack by the command's layout.

    Raises:
        FrameError: they do not follow it.
    """
    return parse(command.reply, ack.results, f"the answer to {command.name}")


def data_frames(address: int, data: bytes, packet_bytes: int) -> list[Frame]:
    """Cut data as a host must: from the front, never longer than the module's packet size, the rest in the end packet.

    A full last packet is the end packet; there is no empty one [HLK].
    """
    pieces = [data[at : at + packet_bytes] for at in range(0, len(data), packet_bytes)]
    return [
        Frame(address, Pid.END if index == len(pieces) - 1 else Pid.DATA, piece) for index, piece in enumerate(pieces)
    ]


def occupied_slots(pages: bytes, first_page: int = 0) -> list[int]:
    """Return the slots whose bit is 1: page p, byte k, bit b (0 = least significant) is slot 256 p + 8 k + b."""
    return [
        256 * first_page + 8 * index + bit for index, byte in enumerate(pages) for bit in range(8) if byte >> bit & 1
    ]
