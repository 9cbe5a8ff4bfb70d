"""The packets of a ZKTeco-style terminal, as its simulation builds and reads them.

Section numbers are those of the wire reference of the family (ZKTeco standalone terminals). All is little-endian.
"""

from __future__ import annotations

import enum
from datetime import datetime
from struct import Struct
from typing import Final, NamedTuple

MAGIC: Final = bytes.fromhex("5050827d")
"""Section 1: what the TCP wrapper begins with."""
WRAP: Final = Struct("<4sI")
HEAD: Final = Struct("<HHHH")
"""Section 2: code, checksum, session, reply number."""
MAX_PACKET_BYTES: Final = 1 << 20
"""Ours: a wrapper that announces more than this is taken for garbage."""
DATAGRAM_DATA_BYTES: Final = 1024
"""Section 6: what DATA carries over UDP, in both directions."""
SPLIT_DATA_BYTES: Final = 1008
"""Section 6: what captured units put into each DATA packet over TCP."""


class Code(enum.IntEnum):
    """Section 4: commands and replies."""

    DB_RRQ = 7
    USER_WRQ = 8
    USERTEMP_RRQ = 9
    USERTEMP_WRQ = 10
    OPTIONS_RRQ = 11
    OPTIONS_WRQ = 12
    ATTLOG_RRQ = 13
    CLEAR_DATA = 14
    CLEAR_ATTLOG = 15
    DELETE_USER = 18
    DELETE_USERTEMP = 19
    CLEAR_ADMIN = 20
    USERGRP_RRQ = 21
    USERGRP_WRQ = 22
    USERTZ_RRQ = 23
    USERTZ_WRQ = 24
    GRPTZ_RRQ = 25
    GRPTZ_WRQ = 26
    TZ_RRQ = 27
    TZ_WRQ = 28
    ULG_RRQ = 29
    ULG_WRQ = 30
    UNLOCK = 31
    CLEAR_ACC = 32
    CLEAR_OPLOG = 33
    OPLOG_RRQ = 34
    GET_FREE_SIZES = 50
    ENABLE_CLOCK = 57
    STARTVERIFY = 60
    STARTENROLL = 61
    CANCELCAPTURE = 62
    STATE_RRQ = 64
    WRITE_LCD = 66
    CLEAR_LCD = 67
    GET_PINWIDTH = 69
    DOORSTATE_RRQ = 75
    VERIFY_WRQ = 79
    VERIFY_RRQ = 80
    TMP_WRITE = 87
    GET_USERTEMP = 88
    SAVE_USERTEMPS = 110
    CHECKSUM_BUFFER = 119
    DEL_USER_TEMP = 134
    GET_TIME = 201
    SET_TIME = 202
    REG_EVENT = 500
    CONNECT = 1000
    EXIT = 1001
    ENABLEDEVICE = 1002
    DISABLEDEVICE = 1003
    RESTART = 1004
    POWEROFF = 1005
    SLEEP = 1006
    RESUME = 1007
    REFRESHDATA = 1013
    REFRESHOPTION = 1014
    TESTVOICE = 1017
    GET_VERSION = 1100
    AUTH = 1102
    PREPARE_DATA = 1500
    DATA = 1501
    FREE_DATA = 1502
    PREPARE_BUFFER = 1503
    READ_BUFFER = 1504
    OK = 2000
    ERROR = 2001
    REPEAT = 2004
    UNAUTH = 2005
    UNKNOWN = 0xFFFF


class Received(NamedTuple):
    """A packet from the host whose sum is right."""

    code: int
    session: int
    reply: int
    data: bytes


class Packet(NamedTuple):
    """A packet for the host; without a session of its own it carries that of the connection."""

    code: int
    data: bytes = b""
    session: int | None = None


def checksum(rest: bytes) -> int:
    """Sum a packet that lacks its bytes 2 and 3 (section 2).

    Folding carries until the sum of 16-bit words fits is the same as the remainder by 65535, except that only zeros
    give 0; and the remainder of the words' sum is that of the whole number, since 65536 leaves 1.
    """
    number = int.from_bytes(rest, "little")
    folded = number % 0xFFFF or (0xFFFF if number else 0)
    return folded ^ 0xFFFF


def build(code: int, session: int, reply: int, data: bytes) -> bytes:
    """Build a packet (section 2)."""
    head = code.to_bytes(2, "little")
    tail = session.to_bytes(2, "little") + reply.to_bytes(2, "little") + data
    return head + checksum(head + tail).to_bytes(2, "little") + tail


def parse(raw: bytes) -> Received | None:
    """Read a packet; None where it is too short or its sum is wrong. 0 and FFFF are the same sum (section 2)."""
    if len(raw) < HEAD.size:
        return None
    code, stated, session, reply = HEAD.unpack_from(raw)
    if (stated - checksum(raw[:2] + raw[4:])) % 0xFFFF:
        return None
    return Received(code, session, reply, raw[HEAD.size :])


def scrambled(key: int, session: int, ticks: int) -> bytes:
    """Return the four bytes that prove a comm key (section 3, steps 1 to 5). That step 2 wraps is unconfirmed."""
    turned = int(f"{key & 0xFFFFFFFF:032b}"[::-1], 2)
    summed = (turned + session) & 0xFFFFFFFF
    mixed = bytes(a ^ b for a, b in zip(summed.to_bytes(4, "little"), b"ZKSO", strict=True))
    swapped = mixed[2:] + mixed[:2]
    return bytes([swapped[0] ^ ticks, swapped[1] ^ ticks, ticks, swapped[3] ^ ticks])


def proves(sent: bytes, key: int, session: int) -> bool:
    """Tell whether AUTH's data fits the key; the ticks are read from byte 2, so three bytes decide (section 3)."""
    return len(sent) == 4 and sent == scrambled(key, session, sent[2])


def encode_time(moment: datetime) -> int:
    """Section 5: mixed radix, every month has 31 slots."""
    days = ((moment.year % 100) * 12 + moment.month - 1) * 31 + moment.day - 1
    return days * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second


def decode_time(number: int) -> datetime | None:
    """Section 5; None where the calendar has no such day."""
    rest, second = divmod(number, 60)
    rest, minute = divmod(rest, 60)
    rest, hour = divmod(rest, 24)
    rest, day = divmod(rest, 31)
    year, month = divmod(rest, 12)
    try:
        return datetime(2000 + year, month + 1, day + 1, hour, minute, second)  # noqa: DTZ001 - units know no zone
    except ValueError:
        return None
