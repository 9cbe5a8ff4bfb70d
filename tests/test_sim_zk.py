"""The simulated ZKTeco-style terminals against the wire reference of the family; "section" is that one's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockmigrate.errors import LinkLost, TargetError
from lockmigrate.profiles import load_profile
from lockmigrate.sim import PRESETS, open_unit, stand_in_options
from lockmigrate.sim.serve import Host, ServedAt, serve
from lockmigrate.sim.zk_data import OPTIONS, QUIRKS
from lockmigrate.sim.zk_packets import checksum, decode_time, encode_time, scrambled
from lockmigrate.transports import Device, Outgoing
from lockmigrate.transports.memory import MemoryLink

MAGIC = bytes.fromhex("5050827d")
OK, ERROR, UNAUTH, UNKNOWN, PREPARE, DATA = 2000, 2001, 2005, 0xFFFF, 1500, 1501
USERS, TEMPLATES = bytes.fromhex("0109000500000000000000"), bytes.fromhex("0107000200000000000000")
ATTENDANCE, OPERATIONS = bytes.fromhex("010d000000000000000000"), bytes.fromhex("0122000000000000000000")

Packet = tuple[int, int, int, bytes]
"""Code, session field, reply number, data."""


def folded(rest: bytes) -> int:
    """Sum as section 2 spells it: words, carries folded in a loop, inverted."""
    padded = rest + b"\0" * (len(rest) % 2)
    total = sum(struct.unpack(f"<{len(padded) // 2}H", padded))
    while total >= 0x10000:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def packet(code: int, session: int, reply: int, data: bytes = b"") -> bytes:
    """Build a packet by hand (section 2)."""
    rest = struct.pack("<HHH", code, session, reply) + data
    return rest[:2] + struct.pack("<H", folded(rest)) + rest[2:]


def wrapped(raw: bytes) -> bytes:
    """Wrap a packet for TCP (section 1)."""
    return MAGIC + struct.pack("<I", len(raw)) + raw


def unpacked(raw: bytes) -> Packet:
    """Read a packet and hold its sum against ours."""
    code, stated, session, reply = struct.unpack_from("<HHHH", raw)
    assert stated % 65535 == folded(raw[:2] + raw[4:]) % 65535
    return code, session, reply, raw[8:]


def worked(text: str) -> bytes:
    """A worked packet of section 14."""
    return bytes.fromhex(text)


class Bench:
    """A host on the network, with a clock of its own."""

    def __init__(
        self,
        profile: str = "zk",
        preset: str = "full",
        *,
        udp: bool = False,
        connect: bool = True,
        state: Path | None = None,
        **options: str,
    ) -> None:
        self.unit: Any = open_unit(load_profile(profile), preset, options, state=state)
        self.udp = udp
        self.device: Device = self.unit.datagram_device if udp else self.unit.stream_device
        self.now_s = 0.0
        self.cut = False
        self.reply = 0
        self.session = 0
        self.pieces: list[bytes] = []
        self._left = b""
        self._take(self.device.opened(0.0))
        if connect:
            self.connect()

    def _take(self, outgoing: list[Outgoing]) -> list[bytes]:
        for piece in outgoing:
            assert piece.at_s >= self.now_s - 1e-9, "time never runs backwards"
            self.now_s = max(self.now_s, piece.at_s)
            self.cut |= piece.hangup
        pieces = [piece.data for piece in outgoing if piece.data]
        self.pieces += pieces
        return pieces

    def raw(self, data: bytes) -> bytes:
        """Send bytes now and return all that comes back."""
        return b"".join(self._take(self.device.receive(data, self.now_s)))

    def packets(self, pieces: list[bytes]) -> Iterator[Packet]:
        """Cut what came into packets: one per datagram, by their lengths on TCP."""
        if self.udp:
            yield from (unpacked(piece) for piece in pieces)
            return
        stream = self._left + b"".join(pieces)
        while len(stream) >= 8 and len(stream) >= 8 + int.from_bytes(stream[4:8], "little"):
            assert stream[:4] == MAGIC
            size = int.from_bytes(stream[4:8], "little")
            yield unpacked(stream[8 : 8 + size])
            stream = stream[8 + size :]
        self._left = stream

    def ask(self, code: int, data: bytes = b"") -> list[Packet]:
        """Send a request and return everything that answers it."""
        self.reply += 1
        raw = packet(code, self.session, self.reply, data)
        return list(self.packets(self._take(self.device.receive(raw if self.udp else wrapped(raw), self.now_s))))

    def one(self, code: int, data: bytes = b"") -> tuple[int, bytes]:
        """Ask and expect one packet with our session and number."""
        ((said, session, reply, content),) = self.ask(code, data)
        assert (session, reply) == (self.session, self.reply)
        return said, content

    def code(self, code: int, data: bytes = b"") -> int:
        """Ask and return only what kind of answer came."""
        return self.one(code, data)[0]

    def good(self, code: int, data: bytes = b"") -> bytes:
        """Ask, expect OK, return its data."""
        said, content = self.one(code, data)
        assert said == OK
        return content

    def connect(self, key: int = 0) -> int:
        """CONNECT and, if asked for, AUTH; returns the last code."""
        self.session, self.reply = 0, -1
        ((said, self.session, _, _),) = self.ask(1000)
        return self.code(1102, scrambled(key, self.session, 50)) if said == UNAUTH else said

    def again(self) -> None:
        """Open a new connection after a cut."""
        self.device.closed()
        self.cut, self._left = False, b""
        self._take(self.device.opened(self.now_s))
        self.connect()

    def bulk(self, code: int, data: bytes) -> bytes:
        """Ask for a bulk reply; checks the numbers and returns what the DATA packets bring."""
        prepare, *parts, closing = self.ask(code, data)
        assert {part[2] for part in (prepare, *parts, closing)} == {self.reply}
        assert prepare[:2] == (PREPARE, self.session)
        total, size = struct.unpack("<II", prepare[3])
        assert closing[0] == OK
        assert [part[0] for part in parts] == [DATA] * len(parts)
        content = b"".join(part[3] for part in parts)
        assert len(content) == total
        assert all(len(part[3]) == size for part in parts[:-1])
        return content

    def table(self, selector: bytes, chunk: int = 0xFFC0) -> bytes:
        """Read a table through 1503, 1504, 1502 and return its body."""
        said, content = self.one(1503, selector)
        if said == OK:
            zero, size, again, _ = struct.unpack("<BIII", content)
            assert (zero, size) == (0, again)
            content = b"".join(
                self.bulk(1504, struct.pack("<II", at, min(chunk, size - at))) for at in range(0, size, chunk)
            )
            self.good(1502)
        else:
            assert said == DATA
        assert int.from_bytes(content[:4], "little") == len(content) - 4
        return content[4:]

    def users(self) -> list[bytes]:
        """Read the user table."""
        body, width = self.table(USERS), self.unit.settings.width
        assert len(body) % width == 0
        return [body[at : at + width] for at in range(0, len(body), width)]

    def templates(self) -> dict[tuple[int, int], tuple[int, bytes]]:
        """Read the template table."""
        body = self.table(TEMPLATES)
        found = {}
        while body:
            size, uid, finger, flag = struct.unpack_from("<HHBB", body)
            found[uid, finger] = flag, body[6:size]
            body = body[size:]
        return found

    def counters(self) -> dict[int, int]:
        """Read the capacity table: offset to value."""
        content = self.good(50)
        return dict(zip(range(0, len(content), 4), struct.unpack(f"<{len(content) // 4}I", content), strict=True))

    def upload(self, blob: bytes) -> None:
        """1502, 1500, 1501..."""
        self.good(1502)
        self.good(1500, struct.pack("<I", len(blob)))
        for at in range(0, len(blob), 1024):
            self.good(1501, blob[at : at + 1024])

    def put_template(self, uid: int, finger: int, flag: int, template: bytes) -> int:
        """Upload, 119, 87; returns what 87 answered."""
        self.upload(template)
        assert len(self.good(119)) == 4
        return self.code(87, struct.pack("<HBBH", uid, finger, flag, len(template)))

    def save(self, users: list[bytes], templates: list[tuple[int, int, bytes]], high: int = 1) -> int:
        """Upload a blob, 110; returns what it answered."""
        pool, table = b"", b""
        for uid, finger, template in templates:
            table += struct.pack("<BHBI", 2, uid, high << 4 | finger, len(pool))
            pool += struct.pack("<H", len(template)) + template
        people = b"".join(b"\x02" + user for user in users)
        self.upload(struct.pack("<III", len(people), len(table), len(pool)) + people + table + pool)
        return self.code(110, bytes.fromhex("0c00000000000800"))


def user72(uid: int, name: bytes = b"New", user_id: bytes = b"77") -> bytes:
    """Make a user record of 72 bytes (section 7)."""
    return struct.pack("<HB8s24sIBHHHH24s", uid, 0, b"12", name, 5, 1, 0, 0, 0, 0, user_id)


def user28(uid: int) -> bytes:
    """Make a user record of 28 bytes."""
    return struct.pack("<HB5s8sIxBHI", uid, 0, b"12", b"New", 5, 1, 0, 77)


# ---- section 14: the worked packets, in either direction -------------------------------------------------------------

CONNECT = "5050827d 08000000 e803 17fc 0000 0000"


def test_the_worked_connection_and_its_end() -> None:
    bench = Bench(connect=False, session=str(0xFB2F))
    assert bench.raw(worked(CONNECT)) == worked("5050827d 08000000 d007 fffc 2ffb 0000")
    assert unpacked(bench.raw(worked("5050827d 08000000 e903 e600 2ffb 0100"))[8:]) == (OK, 0xFB2F, 1, b"")
    assert bench.unit.log == [1000, 1001]


def test_the_worked_comm_key() -> None:
    bench = Bench(connect=False, session=str(0x45CF), comm_key="45")
    assert bench.raw(worked(CONNECT)) == worked("5050827d 08000000 d507 5bb2 cf45 0000")
    auth = worked("5050827d 0c000000 4e04 4db0 cf45 0100 61c9323c")
    assert bench.raw(auth) == worked("5050827d 08000000 d007 5fb2 cf45 0100")
    assert unpacked(bench.raw(worked("5050827d 08000000 3200 fcb9 cf45 0200"))[8:])[:3] == (OK, 0x45CF, 2)
    opened = bench.raw(worked("5050827d 13000000 df05 3ca6 cf45 1400 0109000500000000000000"))
    assert unpacked(opened[8:])[:3] == (OK, 0x45CF, 0x14)


def test_the_worked_capacity_table() -> None:
    options = {"session": str(0x2058), "capacity": "500", "template_capacity": "500", "capacity_bytes": "80"}
    bench = Bench(users="2", fingers="0", attendance="0", holes="0", **options)
    flash = bench.unit.flash
    bench.unit.settings.attendance_capacity = 50000
    del flash.oplog[7:]
    flash.users = {uid: user72(uid)[:3] + bytes(69) for uid in (1, 2)}
    bench.reply = 0x12
    bench.ask(50)
    assert bench.pieces[-1] == worked(
        "5050827d58000000d0074c495820130000000000000000000000000000000000020000000000000000000000000000000000000000000000"
        "07000000000000000000000000000000f4010000f401000050c30000f4010000f201000050c30000"
    )


def test_the_worked_user_table_of_70_people() -> None:
    bench = Bench(session=str(0x3C5C), users="70", bulk="split")
    bench.unit.terminal.tables.unknown_word = 0x0023EFCD
    bench.reply = 0x14
    bench.ask(1503, USERS)
    assert bench.pieces[-1] == worked("5050827d15000000d007a7625c3c150000b4130000b4130000cdef2300")
    bench.pieces.clear()
    packets = bench.ask(1504, struct.pack("<II", 0, 5044))
    assert bench.pieces[0] == worked("5050827d10000000dc050da65c3c1600b4130000f0030000")
    assert [(code, session) for code, session, _, _ in packets[1:]] == [*((DATA, n) for n in range(6)), (OK, 5)]


def test_the_worked_end_of_a_template() -> None:
    bench = Bench(bulk="split")
    bench.unit.flash.templates[13, 0] = 1, bytes(1008) + b"\xa0\x57"
    bench.reply = 0x34
    bench.ask(88, struct.pack("<HB", 13, 0))
    assert bench.pieces[-2] == worked("5050827d0b000000dd054ba201003500a05701")
    bench.reply = 0x31
    bench.ask(88, struct.pack("<HB", 13, 0))
    assert bench.pieces[-1] == worked("5050827d08000000d007fcf701003200")


def test_the_worked_options() -> None:
    bench = Bench(session=str(0xC0C5))
    answer = bench.raw(worked("5050827d 0c000000 0b00 58ef c5c0 0500 7e4f5300"))
    assert unpacked(answer[8:]) == (OK, 0xC0C5, 5, b"~OS=1\0")
    bench = Bench(session=str(0x8DF3), platform="ZEM760_TFT")
    answer = bench.raw(worked("5050827d12000000 0b00b9e6f38d0c00 7e506c6174666f726d00"))
    assert answer == worked("5050827d1d000000d007714cf38d0c007e506c6174666f726d3d5a454d3736305f54465400")
    bench = Bench(session=str(0xC584))
    bench.unit.flash.options["LockOn"] = "9"
    answer = bench.raw(worked("5050827d110000000c00ebbb84c547004c6f636b4f6e3d3500"))
    assert unpacked(answer[8:]) == (OK, 0xC584, 0x47, b"")
    assert bench.unit.flash.options["LockOn"] == "5"


def test_the_worked_event() -> None:
    bench = Bench(events="2", unasked="1")
    bench.ask(64)
    assert bench.pieces[-1] == worked("5050827d09000000f401a7fc0001000064")


WRITE_14 = (
    "5050827d500000000800fc579d8a5c000e0006313233343536007c4e7565766f000000000000000000000000000000000000008f19000001"
    "0000000000000000313132323434383800000000000000000000000000000000"
)


def test_the_worked_user_is_kept_to_the_last_byte_of_junk() -> None:
    bench = Bench(preset="empty", session=str(0x8A9D))
    assert unpacked(bench.raw(worked(WRITE_14))[8:]) == (OK, 0x8A9D, 0x5C, b"")
    (record,) = bench.users()
    assert record == worked(WRITE_14)[16:] == bench.unit.flash.users[14]
    assert record[2] == 6
    assert record[3:11] == b"123456\0\x7c"
    assert int.from_bytes(record[35:39], "little") == 6543
    assert bench.counters()[48] == bench.counters()[52] == 1


def test_the_worked_zone_and_group() -> None:
    bench = Bench(session=str(0x6312))
    zone = bytes.fromhex("110c110d" + "11251125" * 5 + "11231124")
    group = bytes.fromhex("4d08000700060 08e".replace(" ", ""))
    bench.good(28, struct.pack("<I", 48) + zone)
    bench.good(26, group)
    bench.reply = 0x26
    bench.ask(27, struct.pack("<I", 48))
    assert bench.pieces[-1] == worked(
        "5050827d28000000d0072fa51263270030 00110c110d112511251125112511251125112511251125112511231124a71c"
    )
    bench.reply = 0x55
    bench.ask(25, b"\x4d" + bytes(7))
    assert bench.pieces[-1] == worked("5050827d10000000d00779f1126356004d080007000600 8e")


# ---- sections 1 to 3 -------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_the_sum_is_the_folded_sum(rest: bytes) -> None:
    assert checksum(rest) == folded(rest)


def test_the_sum_folds_more_than_once() -> None:
    assert checksum(b"\xff\xff" * 40000 + b"\x01") == folded(b"\xff\xff" * 40000 + b"\x01")
    assert checksum(b"") == checksum(bytes(8)) == 0xFFFF
    assert checksum(b"\xff\xff") == 0


@pytest.mark.parametrize(
    ("key", "session", "sent"),
    [
        (45, 0x45CF, "61c9323c"),
        (0, 0x1234, "617d326b"),
        (1234, 0x2F11, "41363256"),
        (123456, 0xC0C5, "297f3239"),
        (888888, 0x2F11, "686132a6"),
        (999999, 0xFFFF, "22813296"),
    ],
)
def test_the_table_of_comm_keys(key: int, session: int, sent: str) -> None:
    assert scrambled(key, session, 50).hex() == sent
    bench = Bench(connect=False, session=str(session), comm_key=str(key))
    if key:
        assert bench.connect(key) == OK
        assert bench.unit.credential == {"comm_key": key}
    else:
        assert bench.connect() == OK
        assert bench.unit.credential == {}
        assert bench.code(1102, bytes.fromhex(sent)) == OK


def test_the_sum_of_key_and_session_wraps_and_any_ticks_will_do() -> None:
    bench = Bench(connect=False, session="65535", comm_key="131071")
    assert bench.connect(131071) == OK
    assert bench.code(1102, scrambled(131071, 65535, 0x7E)) == OK


def test_a_wrong_key_opens_nothing() -> None:
    bench = Bench(connect=False, comm_key="1234")
    assert bench.connect(1235) == UNAUTH
    assert bench.code(50) == UNAUTH
    assert bench.code(1503, USERS) == UNAUTH
    assert bench.code(1102, b"1234") == UNAUTH
    assert bench.code(1102, b"") == UNAUTH
    assert bench.connect(1234) == OK
    assert bench.code(50) == OK


def test_a_wrong_session_is_an_error() -> None:
    bench = Bench()
    own, bench.session = bench.session, bench.session ^ 1
    assert bench.code(50) == ERROR
    bench.session = own
    assert bench.code(50) == OK
    assert bench.code(1001) == OK
    assert bench.code(50) == ERROR


def test_every_connection_gets_another_session() -> None:
    bench = Bench()
    sessions = set()
    for _ in range(5):
        sessions.add(bench.session)
        bench.connect()
    assert len(sessions) == 5


def test_an_unknown_command_is_said_to_be_unknown() -> None:
    bench = Bench()
    assert [bench.code(code) for code in (999, 70, 2001, 0xFFFF, 0)] == [UNKNOWN] * 5
    assert Bench(quirks="silent-unknown").ask(999) == []


def test_garbage_before_the_wrapper_hangs_up() -> None:
    bench = Bench()
    assert bench.raw(b"GET / HT") == b""
    assert bench.cut
    bench.again()
    assert bench.code(50) == OK
    bench.raw(MAGIC + struct.pack("<I", 7))
    assert bench.cut


def test_a_packet_with_a_wrong_sum_is_not_obeyed() -> None:
    bench = Bench()
    raw = bytearray(packet(31, bench.session, 1, b"\1\0\0\0"))
    raw[-1] ^= 0x10
    assert bench.raw(wrapped(bytes(raw))) == b""
    assert bench.unit.unlocked == 0
    bench = Bench(quirks="repeat")
    assert unpacked(bench.raw(wrapped(bytes(raw)))[8:])[0] == 2004


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_requests_may_be_cut_anyhow(sizes: list[int]) -> None:
    bench = Bench(preset="half", users="3")
    asked = [(11, b"~OS\0"), (8, user72(9)), (18, struct.pack("<H", 9)), (50, b"")]
    stream = b"".join(wrapped(packet(code, bench.session, n, data)) for n, (code, data) in enumerate(asked, 1))
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(bench.raw(stream[:size]))
        stream = stream[size:]
    pieces.append(bench.raw(stream))
    answers = list(bench.packets(pieces))
    assert [(code, reply) for code, _, reply, _ in answers] == [(OK, 1), (OK, 2), (OK, 3), (OK, 4)]


def test_an_answer_can_dribble_across_packets() -> None:
    plain, slow = Bench(bulk="split"), Bench(bulk="split", dribble="1")
    assert slow.users() == plain.users()
    assert slow.templates() == plain.templates()
    assert max(len(piece) for piece in slow.pieces) <= 9


def test_a_k20_sends_data_in_two_segments() -> None:
    bench = Bench(quirks="two-segments")
    assert bench.users() == list(bench.unit.flash.users.values())
    assert 112 in {len(piece) for piece in bench.pieces}


# ---- section 5 -------------------------------------------------------------------------------------------------------


def test_options_are_read_and_written() -> None:
    bench = Bench(serial="SIM1", fp="10")
    assert bench.good(11, b"~SerialNumber\0") == b"~SerialNumber=SIM1\0"
    assert bench.good(11, b"~ZKFPVersion") == b"~ZKFPVersion=10\0"
    assert bench.code(11, b"ZKFaceVersion\0") == ERROR
    assert bench.code(12, b"~SerialNumber=X\0") == ERROR
    assert bench.code(12, b"nonsense\0") == ERROR
    assert bench.good(12, b"SDKBuild=1\0") == b""
    assert bench.good(11, b"SDKBuild\0") == b"SDKBuild=1\0"
    assert bench.good(1014) == b""
    assert bench.good(1100) == b"Ver 6.60 Oct 29 2012\0"
    assert bench.good(69, b" P") == b"\x09"
    assert Bench(quirks="no-options").code(11, b"~OS\0") == ERROR


def test_the_capacity_table_counts() -> None:
    for width, size in (("80", 80), ("92", 92)):
        bench = Bench(capacity_bytes=width)
        flash, words = bench.unit.flash, bench.counters()
        assert len(words) * 4 == size
        assert (words[16], words[24], words[32], words[40]) == (40, 60, 30, 12)
        admins = sum(1 for record in flash.users.values() if record[2] & 0x0E)
        assert words[48] == admins == 3 + sum(1 for uid in flash.users if uid % 40 == 3 and uid > 4)
        assert words[52] == sum(1 for record in flash.users.values() if record[3])
        assert (words[56], words[60], words[64]) == (3000, 3000, 100000)
        assert (words[68], words[72], words[76]) == (2940, 2960, 99970)
        used = {16, 24, 32, 40, 48, 52, 56, 60, 64, 68, 72, 76}
        assert {at for at, word in words.items() if word} == used
    off = Bench(count_off="2").counters()
    assert (off[16], off[24]) == (42, 62)
    assert Bench(quirks="no-50").code(50) == ERROR


def test_counters_can_lag_until_refreshed() -> None:
    bench = Bench(lag="1", preset="empty")
    bench.good(8, user72(5))
    assert bench.counters()[16] == 0
    bench.good(1013)
    assert bench.counters()[16] == 1


@pytest.mark.parametrize(("number", "text"), [(0x2624E8E2, "2019-11-29 20:45:22"), (0x26793EC2, "2020-01-31 20:02:10")])
def test_the_time_is_mixed_radix(number: int, text: str) -> None:
    moment = decode_time(number)
    assert str(moment) == text
    assert moment is not None
    assert encode_time(moment) == number
    bench = Bench(preset="empty")
    bench.good(202, struct.pack("<I", number))
    bench.now_s += 3
    assert bench.good(201) == struct.pack("<I", number + 3)
    assert bench.code(202, b"\xff\xff\xff\xff") in (OK, ERROR)


def test_the_state_stands_in_the_session_field() -> None:
    bench = Bench()
    assert bench.ask(64) == [(OK, 0, bench.reply, b"")]
    assert bench.good(75) == b"\0"
    bench = Bench(busy="menu:3")
    assert bench.ask(64)[0][1] == 3
    assert [bench.code(1003), bench.code(1503, USERS), bench.code(1003), bench.code(1003)] == [ERROR, ERROR, ERROR, OK]
    assert bench.ask(64)[0][1] == 0
    bench = Bench(busy="busy")
    assert bench.ask(64)[0][1] == 4
    assert [bench.code(1003) for _ in range(9)] == [ERROR] * 9


def test_a_disabled_terminal_comes_back_by_itself_if_it_was_told_when() -> None:
    bench = Bench()
    flash = bench.unit.flash
    bench.good(1003)
    bench.now_s += 1000
    bench.ask(64)
    assert not flash.enabled
    bench.good(1002)
    assert flash.enabled
    bench.good(1003, struct.pack("<I", 60))
    assert flash.disabled_until_s == bench.now_s + 60
    bench.again()
    assert not flash.enabled
    bench.now_s += 60
    bench.ask(64)
    assert flash.enabled
    assert Bench(quirks="no-seconds").code(1003, struct.pack("<I", 60)) == ERROR


def test_unlocking_is_counted() -> None:
    bench = Bench()
    bench.good(31, b"\x05\0\0\0")
    assert bench.unit.unlocked == 1
    assert bench.unit.log.count(31) == 1


def test_connect_may_carry_a_stray_byte() -> None:
    bench = Bench(quirks="stray-byte", connect=False)
    bench.connect()
    assert len(bench.pieces[-1]) == 17


# ---- section 6 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bulk", ["one", "split"])
@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("profile", ["zk", "zk-bw"])
def test_tables_are_read(profile: str, udp: bool, bulk: str) -> None:
    bench = Bench(profile, udp=udp, bulk=bulk)
    flash = bench.unit.flash
    assert bench.users() == list(flash.users.values())
    assert bench.templates() == flash.templates
    assert bench.table(ATTENDANCE) == b"".join(flash.attlog)
    assert bench.table(OPERATIONS) == b"".join(flash.oplog)
    assert bench.table(TEMPLATES, chunk=16384) == bench.table(TEMPLATES, chunk=1000)
    assert bench.unit.unlocked == 0


def test_split_replies_count_their_packets_in_the_session_field() -> None:
    for udp, size in ((False, 1008), (True, 1024)):
        bench = Bench(bulk="split", udp=udp)
        bench.good(1503, TEMPLATES)
        prepare, *parts, closing = bench.ask(1504, struct.pack("<II", 0, 10000))
        assert struct.unpack("<II", prepare[3]) == (10000, size)
        assert [part[1] for part in parts] == list(range(-(-10000 // size)))
        assert closing[1] == len(parts) - 1
    bench = Bench(bulk="split", closing_session="1")
    bench.good(1503, TEMPLATES)
    assert bench.ask(1504, struct.pack("<II", 0, 10000))[-1][1] == bench.session
    bench = Bench()
    bench.good(1503, TEMPLATES)
    assert [part[1] for part in bench.ask(1504, struct.pack("<II", 0, 10000))] == [bench.session] * 3


def test_a_small_table_is_the_answer_itself() -> None:
    bench = Bench(users="14", holes="0")
    said, content = bench.one(1503, USERS)
    assert (said, len(content)) == (DATA, 4 + 14 * 72)
    assert Bench(users="15", holes="0").code(1503, USERS) == OK
    assert Bench(users="14", holes="0", small="0").code(1503, USERS) == OK
    assert Bench(preset="empty").one(1503, USERS) == (DATA, bytes(4))
    assert Bench(preset="empty", small="0").users() == []


def test_a_prepared_table_does_not_change_until_it_is_freed() -> None:
    bench = Bench()
    before = list(bench.unit.flash.users.values())
    size = struct.unpack_from("<I", bench.good(1503, USERS), 1)[0]
    bench.good(18, struct.pack("<H", 13))
    assert bench.bulk(1504, struct.pack("<II", 0, size))[4:] == b"".join(before)
    assert bench.bulk(1504, struct.pack("<II", size - 1, 100)) == before[-1][-1:]
    assert bench.code(1504, struct.pack("<II", size, 1)) == ERROR
    assert bench.code(1504, struct.pack("<II", 0, 0)) == ERROR
    bench.good(1502)
    assert bench.code(1504, struct.pack("<II", 0, size)) == ERROR


def test_old_firmware_has_only_the_direct_form() -> None:
    bench = Bench("zk-bw", udp=True, quirks="no-1503")
    flash = bench.unit.flash
    assert bench.code(1503, USERS) == ERROR
    assert bench.bulk(9, b"\x05")[4:] == b"".join(flash.users.values())
    assert bench.bulk(7, b"\x05")[4:] == b"".join(flash.users.values())
    assert len(bench.bulk(7, b"\x02")) == 4 + sum(6 + len(template) for _, template in flash.templates.values())
    assert bench.bulk(13, b"")[4:] == b"".join(flash.attlog)
    assert bench.bulk(34, b"")[4:] == b"".join(flash.oplog)
    assert bench.code(7, b"\x09") == ERROR


@pytest.mark.parametrize("data", ["", "01", "0209000500000000000000", "0109000600000000000000", "01630005" + 14 * "0"])
def test_a_table_that_is_not_there_is_an_error(data: str) -> None:
    assert Bench().code(1503, bytes.fromhex(data)) == ERROR


def test_split_packets_can_be_paced() -> None:
    bench = Bench(bulk="split", pace="4")
    bench.good(1503, TEMPLATES)
    began_s = bench.now_s
    assert len(bench.ask(1504, struct.pack("<II", 0, 10080))) == 12
    assert bench.now_s == pytest.approx(began_s + 11 * 0.004)


def test_uploads_are_checked() -> None:
    bench = Bench()
    assert bench.code(1501, b"x") == ERROR
    assert bench.code(119) == ERROR
    assert bench.code(1500, bytes(4)) == ERROR
    bench.good(1500, struct.pack("<I", 2000))
    assert bench.code(1501, bytes(1025)) == ERROR
    bench.good(1501, bytes(1024))
    assert bench.code(1501, bytes(977)) == ERROR
    assert bench.code(87, struct.pack("<HBBH", 13, 9, 1, 1024)) == ERROR
    bench.good(1501, bytes(976))
    bench.good(1502)
    assert bench.code(87, struct.pack("<HBBH", 13, 9, 1, 2000)) == ERROR


def test_a_datagram_that_is_too_large_gets_no_answer() -> None:
    bench = Bench(udp=True)
    bench.good(1500, struct.pack("<I", 1025))
    assert bench.ask(1501, bytes(1025)) == []
    assert bench.code(1501, bytes(1024)) == OK


# ---- section 7 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "record"), [("zk", user72(2000)), ("zk-bw", user28(2000))])
def test_a_user_is_written_over_and_deleted(profile: str, record: bytes) -> None:
    bench = Bench(profile)
    before = bench.unit.image()
    bench.good(8, record)
    changed = record[:2] + b"\x0e" + record[3:]
    bench.good(8, changed)
    assert bench.users()[-1] == changed
    assert bench.code(8, record + b"\0") == ERROR
    assert bench.code(8, bytes(len(record))) == ERROR
    bench.good(18, record[:2])
    assert bench.unit.image() == before
    assert bench.code(18, record[:2]) == ERROR


def test_deleting_a_user_takes_templates_and_style_along() -> None:
    bench = Bench()
    flash = bench.unit.flash
    uid = next(uid for uid in flash.verify if any(key[0] == uid for key in flash.templates))
    bench.good(18, struct.pack("<H", uid))
    assert uid not in flash.users
    assert uid not in flash.verify
    assert not any(key[0] == uid for key in flash.templates)


def test_one_template_is_read_in_two_ways() -> None:
    bench = Bench()
    for (uid, finger), (flag, template) in bench.unit.flash.templates.items():
        key = struct.pack("<HB", uid, finger)
        assert bench.bulk(88, key) == template + bytes([flag])
        assert bench.bulk(9, key) == template
    assert bench.code(88, struct.pack("<HB", 13, 99)) == ERROR
    assert bench.code(9, struct.pack("<HB", 999, 0)) == ERROR
    assert Bench(quirks="no-88").code(88, struct.pack("<HB", 13, 0)) == UNKNOWN


@pytest.mark.parametrize("udp", [False, True])
def test_a_template_is_written_by_87(udp: bool) -> None:
    bench = Bench(preset="empty", udp=udp)
    template = bytes(range(256)) * 5
    assert bench.put_template(5, 3, 1, template) == ERROR
    bench.good(8, user72(5))
    assert bench.put_template(5, 3, 3, template) == OK
    bench.good(1502)
    assert bench.templates() == {(5, 3): (3, template)}
    assert bench.put_template(5, 10, 1, template) == ERROR
    assert bench.put_template(5, 4, 2, template) == ERROR
    assert bench.put_template(5, 4, 1, bytes(16384)) == ERROR
    assert Bench(quirks="no-87").put_template(13, 3, 1, template) == UNKNOWN


def test_87_may_want_the_sum_first() -> None:
    bench = Bench(quirks="needs-119")
    bench.upload(b"x" * 900)
    assert bench.code(87, struct.pack("<HBBH", 13, 9, 1, 900)) == ERROR
    bench.good(119)
    assert bench.code(87, struct.pack("<HBBH", 13, 9, 1, 900)) == OK


def test_version_9_takes_602_bytes_at_most() -> None:
    bench = Bench("zk-bw", "empty")
    bench.good(8, user28(5))
    assert bench.put_template(5, 0, 1, bytes(603)) == ERROR
    assert bench.put_template(5, 0, 1, bytes(602)) == OK


def test_command_10_wants_a_user_and_an_empty_slot() -> None:
    for size10, counted in (("whole", 6), ("bare", 0)):
        bench = Bench("zk-bw", "empty", udp=True, size10=size10)
        template = b"t" * 500
        data = struct.pack("<HHBB", 500 + counted, 5, 1, 1) + template
        assert bench.code(10, data) == ERROR
        bench.good(8, user28(5))
        assert bench.code(10, struct.pack("<HHBB", 506 - counted, 5, 1, 1) + template) == ERROR
        assert bench.code(10, data) == OK
        assert bench.code(10, data) == ERROR
        assert bench.templates() == {(5, 1): (1, template)}
        bench.upload(template)
        assert bench.code(10, struct.pack("<HHBB", 500 + counted, 5, 2, 3)) == OK
        assert bench.templates()[5, 2] == (3, template)
    bench = Bench(preset="empty", udp=True)
    bench.good(8, user72(5))
    assert bench.ask(10, struct.pack("<HHBB", 1506, 5, 1, 1) + bytes(1500)) == []
    assert bench.templates() == {}


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize(("profile", "make"), [("zk", user72), ("zk-bw", user28)])
def test_many_are_written_by_110(profile: str, make: Any, udp: bool) -> None:
    bench = Bench(profile, "empty", udp=udp)
    users = [make(uid) for uid in (3, 4, 700)]
    entries = [(3, 0, b"a" * 600), (3, 9, b"b" * 400), (700, 5, b"c" * 601)]
    assert bench.save(users, entries) == OK
    assert bench.users() == users
    assert bench.templates() == {(uid, finger): (1, template) for uid, finger, template in entries}
    assert bench.save([], [(4, 1, b"d" * 300)]) == OK
    assert bench.templates()[4, 1] == (1, b"d" * 300)
    image = bench.unit.image()
    assert bench.save([make(9)], [(8, 1, b"e" * 300)]) == ERROR, "nobody has uid 8"
    assert bench.save([make(9)], [(9, 1, b"e" * 300)], high=3) == ERROR, "no source knows a flag but 1"
    bench.upload(b"\0" * 11)
    assert bench.code(110, bytes.fromhex("0c00000000000800")) == ERROR
    bench.upload(struct.pack("<III", 0, 0, 0))
    assert bench.code(110, bytes.fromhex("0c00000000000900")) == ERROR
    assert bench.unit.image() == image
    assert Bench(profile, quirks="no-110").save(users, []) == UNKNOWN


def test_what_does_not_fit_is_refused_whole() -> None:
    bench = Bench(preset="empty", capacity="2", template_capacity="1")
    bench.good(8, user72(1))
    assert bench.save([user72(2), user72(3)], []) == ERROR
    assert bench.save([user72(2)], [(1, 0, b"x" * 900), (2, 0, b"y" * 900)]) == ERROR
    assert bench.save([user72(2)], [(1, 0, b"x" * 900)]) == OK
    assert bench.code(8, user72(3)) == ERROR
    assert bench.code(8, user72(2, b"Other")) == OK
    assert bench.put_template(2, 0, 1, b"y" * 900) == ERROR
    assert bench.put_template(1, 0, 1, b"z" * 900) == OK
    words = bench.counters()
    assert (words[16], words[24], words[68], words[72]) == (2, 1, 0, 0)
    with pytest.raises(TargetError, match="than fit"):
        Bench(capacity="39")


def test_templates_are_deleted_by_19_and_134() -> None:
    bench = Bench(fingers="3")
    flash = bench.unit.flash
    mine = sorted(finger for uid, finger in flash.templates if uid == 13)
    bench.good(19, struct.pack("<HB", 13, mine[0]))
    assert bench.code(19, struct.pack("<HB", 13, mine[0])) == ERROR
    bench.good(134, struct.pack("<24sB", b"555", mine[1]))
    assert bench.code(134, struct.pack("<24sB", b"555", mine[1])) == ERROR
    assert [finger for uid, finger in flash.templates if uid == 13] == mine[2:]
    bench = Bench(fingers="3", nineteen="all")
    bench.good(19, struct.pack("<HB", 13, 0))
    assert not any(uid == 13 for uid, _ in bench.unit.flash.templates)
    assert len(bench.unit.flash.templates) == 39 * 3
    assert Bench("zk-bw").code(134, bytes(25)) == UNKNOWN
    assert Bench(quirks="no-134").code(134, bytes(25)) == UNKNOWN


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (b"\x01", (40, 60, 0, 12)),
        (b"\x02", (40, 0, 30, 12)),
        (b"\x04", (40, 60, 30, 0)),
        (b"\x05", (0, 0, 30, 12)),
        (b"", (0, 0, 0, 0)),
    ],
)
def test_clearing_needs_its_one_byte(data: bytes, left: tuple[int, ...]) -> None:
    bench = Bench()
    bench.good(14, data)
    flash, words = bench.unit.flash, bench.counters()
    assert (words[16], words[24], words[32], words[40]) == left
    assert (flash.zones[2] == flash.zones[9]) == (not data)
    assert bool(flash.verify) == (data not in (b"", b"\x05"))


def test_logs_and_admins_are_cleared() -> None:
    bench = Bench()
    assert bench.code(14, b"\x09") == ERROR
    bench.good(15)
    bench.good(33)
    bench.good(20)
    words = bench.counters()
    assert (words[16], words[24], words[32], words[40], words[48]) == (40, 60, 0, 0, 0)
    assert bench.unit.flash.users[4][2] == 1, "still disabled"


def test_attendance_has_three_widths() -> None:
    for width in (8, 16, 40):
        bench = Bench(att=str(width), attendance="4")
        assert len(bench.table(ATTENDANCE)) == 4 * width
    assert bench.table(ATTENDANCE)[32:40] == bytes.fromhex("00000000ff000000")


# ---- section 8 -------------------------------------------------------------------------------------------------------


def test_a_factory_new_terminal_has_the_documented_defaults() -> None:
    bench = Bench(preset="empty")
    for number in range(1, 51):
        zone = bench.good(27, struct.pack("<I", number))
        assert zone == struct.pack("<H", number) + b"\0\0\x17\x3b" * 7 + b"\xa7\x1c"
    assert bench.good(25, b"\x01" + bytes(7)) == bytes.fromhex("0101000000000000")
    assert bench.good(29, b"\x01" + bytes(7)) == bytes.fromhex("0101000000000100")
    assert bench.good(29, b"\x02" + bytes(7)) == bytes.fromhex("0200000000000000")
    for code, data in ((27, bytes(4)), (27, b"\x33\0\0\0"), (25, bytes(8)), (25, b"\x65" + bytes(7)), (29, b"\x0b")):
        assert bench.code(code, data) == ERROR


def test_doors_are_written_and_cleared() -> None:
    bench = Bench()
    fresh = bytes.fromhex("08001200" * 7)
    bench.good(28, struct.pack("<I", 50) + fresh)
    bench.good(26, bytes.fromhex("6401000200030082"))
    bench.good(30, bytes.fromhex("0a02030000000200"))
    assert bench.good(27, struct.pack("<I", 50))[2:30] == fresh
    assert bench.good(25, b"\x64" + bytes(7)) == bytes.fromhex("6401000200030082")
    assert bench.good(29, b"\x0a" + bytes(7)) == bytes.fromhex("0a02030000000200")
    refused = ((28, struct.pack("<I", 50) + b"\x18" * 28), (26, bytes(8)), (30, bytes.fromhex("0b02030000000200")))
    assert [bench.code(code, data) for code, data in (*refused, (28, b"\x01"))] == [ERROR] * 4
    users = dict(bench.unit.flash.users)
    bench.good(32)
    assert bench.good(27, struct.pack("<I", 50))[2:30] == b"\0\0\x17\x3b" * 7
    assert bench.unit.flash.groups == Bench(preset="empty").unit.flash.groups
    assert bench.unit.flash.users == users


def test_a_users_group_and_zones_are_the_records() -> None:
    bench = Bench()
    ned = struct.pack("<I", 13)
    assert bench.good(21, ned) == b"\x02"
    assert bench.good(23, ned) == struct.pack("<4H", 0, 1, 2, 0), "0: not the group's"
    bench.good(22, ned + b"\x07")
    bench.good(22, ned + b"\x08\0\0\0")
    bench.good(24, ned + struct.pack("<4I", 0, 0, 0, 0))
    assert bench.unit.flash.users[13][39:48] == bytes.fromhex("080000000000000000")
    assert bench.good(23, ned) == struct.pack("<4H", 1, 0, 0, 0)
    unknown = struct.pack("<I", 9999)
    for code, data in ((21, unknown), (22, unknown + b"\1"), (23, unknown), (22, ned + b"\0"), (24, ned)):
        assert bench.code(code, data) == ERROR


def test_verify_styles() -> None:
    bench = Bench()
    flash = bench.unit.flash
    bench.good(79, struct.pack("<HB21x", 13, 0x89))
    assert bench.good(80, struct.pack("<H", 13)) == struct.pack("<HB21x", 13, 0x89)
    bench.good(79, struct.pack("<HB21x", 13, 0))
    assert 13 not in flash.verify
    assert bench.good(80, struct.pack("<H", 13)) == struct.pack("<HB21x", 13, 0)
    assert bench.code(80, struct.pack("<H", 9999)) == ERROR
    assert bench.code(79, struct.pack("<HB21x", 13, 0x0F)) == ERROR
    assert flash.verify
    off = Bench(verify="0")
    assert (off.code(80, b"\x0d\0"), off.code(79, bytes(24))) == (UNKNOWN, UNKNOWN)
    assert off.unit.flash.verify == {}


def test_a_black_and_white_unit_has_no_tables_of_doors_unless_asked_for() -> None:
    bench = Bench("zk-bw")
    assert [bench.code(code, bytes(8)) for code in (*range(21, 31), 79, 80)] == [UNKNOWN] * 12
    bench = Bench("zk-bw", zones="1", verify="1")
    uid = next(iter(bench.unit.flash.users))
    assert bench.good(21, struct.pack("<I", uid)) == bench.unit.flash.users[uid][21:22]
    assert bench.good(80, struct.pack("<H", uid))[:2] == struct.pack("<H", uid)
    assert bench.code(23, struct.pack("<I", uid)) == UNKNOWN
    assert Bench(zones="0").code(27, struct.pack("<I", 1)) == UNKNOWN


# ---- events ----------------------------------------------------------------------------------------------------------


def test_events_come_between_packets_once_registered() -> None:
    bench = Bench(bulk="split", events="3")
    assert all(code != 500 for code, *_ in bench.ask(7, b"\x05"))
    bench.good(500, struct.pack("<I", 0xFFFF))
    found = bench.ask(7, b"\x05")
    events = [part for part in found if part[0] == 500]
    assert len(events) >= 1
    assert {(part[1], part[2]) for part in events} <= {(1, 0), (256, 0)}
    assert found[0][0] == PREPARE
    assert b"".join(part[3] for part in found if part[0] == DATA)[4:] == b"".join(bench.unit.flash.users.values())
    assert bench.raw(wrapped(packet(OK, bench.session, 0))) == b""
    bench.good(500, struct.pack("<I", 0))
    assert all(code != 500 for code, *_ in bench.ask(7, b"\x05"))


def test_an_attendance_event_tells_who_and_when() -> None:
    bench = Bench(events="1")
    bench.ask(500, struct.pack("<I", 1))
    (_, event) = bench.ask(64)
    assert event[:3] == (500, 1, 0)
    assert event[3][:24].rstrip(b"\0") == b"1003"
    assert event[3][26:] == bytes([25, 3, 10, 8, 0, 0])


# ---- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut=out:frame:3", "cut=out:byte:40", "cut=in:frame:3", "cut=in:byte:30"])
@pytest.mark.parametrize("udp", [False, True])
def test_a_cut_line_is_dead_until_the_next_connection(fault: str, udp: bool) -> None:
    kind, _, where = fault.partition("=")
    bench = Bench(udp=udp, **{kind: where})
    for _ in range(4):
        bench.ask(201)
    assert bench.cut
    assert bench.ask(201) == []
    bench.again()
    assert bench.code(201) == OK


@pytest.mark.parametrize("where", ["in:frame:5", "in:byte:90", "out:frame:5", "out:byte:70"])
def test_a_reboot_forgets_sessions_and_uploads_and_keeps_flash(where: str) -> None:
    bench = Bench(preset="empty", reboot=where)
    bench.ask(8, user72(5))
    bench.ask(1003)
    bench.ask(1500, struct.pack("<I", 100))
    bench.ask(1501, bytes(100))
    bench.ask(1501, bytes(100))
    assert bench.cut
    bench.again()
    assert bench.unit.flash.enabled
    assert list(bench.unit.flash.users) == ([5] if where != "in:byte:90" else [])
    assert bench.code(87, struct.pack("<HBBH", 5, 0, 1, 100)) == ERROR


def test_on_udp_a_reboot_shows_as_a_lost_session() -> None:
    bench = Bench(udp=True, reboot="in:frame:3")
    assert bench.code(201) == OK
    assert bench.ask(201) == []
    assert bench.code(201) == ERROR
    assert not bench.cut
    assert bench.connect() == OK
    assert bench.code(201) == OK


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("code", [201, 50, 11, 1503])
def test_a_flipped_frame_has_a_wrong_sum(code: int, udp: bool) -> None:
    data = {11: b"~SerialNumber\0", 1503: USERS}.get(code, b"")
    bench = Bench(udp=udp, flip="out:frame:2")
    with pytest.raises(AssertionError):
        bench.ask(code, data)
    bench = Bench(udp=udp, flip="in:frame:2")
    assert bench.ask(code, data) == []
    assert bench.one(code, data)[0] == OK


def test_lost_and_late_frames() -> None:
    bench = Bench(lose="out:frame:2,in:frame:3", delay="out:frame:3:1.5,in:frame:5:2")
    assert bench.ask(201) == []
    assert bench.ask(201) == []
    assert bench.code(201) == OK
    assert bench.now_s == pytest.approx(1.5)
    assert bench.code(201) == OK
    assert bench.now_s == pytest.approx(3.5)
    assert (bench.unit.frames_in, bench.unit.frames_out) == (5, 4)
    assert bench.unit.wire_bytes_in == 5 * 16


@pytest.mark.parametrize(
    ("when", "users", "templates"),
    [("after-1501", [], []), ("during-110", [1, 2], [(1, 0)]), ("after-110", [1, 2, 3], [(1, 0), (3, 0)])],
)
def test_the_power_fails_around_110(when: str, users: list[int], templates: list[tuple[int, int]]) -> None:
    bench = Bench(preset="empty", powerloss=when)
    with pytest.raises(ValueError, match="unpack"):
        bench.save([user72(uid) for uid in (1, 2, 3)], [(1, 0, b"x" * 900), (3, 0, b"y" * 900)])
    assert bench.cut
    bench.again()
    assert (list(bench.unit.flash.users), list(bench.unit.flash.templates)) == (users, templates)
    assert bench.save([user72(uid) for uid in (1, 2, 3)], [(1, 0, b"x" * 900), (3, 0, b"y" * 900)]) == OK


@pytest.mark.parametrize("when", ["after-8", "after-87"])
def test_the_power_fails_after_a_write_and_before_its_answer(when: str) -> None:
    bench = Bench(powerloss=when, fingers="0")
    with pytest.raises(ValueError, match="unpack"):
        bench.good(8, user72(2000)) if when == "after-8" else bench.put_template(13, 9, 1, b"x" * 900)
    assert bench.cut
    assert (2000 in bench.unit.flash.users) == (when == "after-8")
    assert list(bench.unit.flash.templates) == ([(13, 9)] if when == "after-87" else [])


def test_restart_is_not_answered() -> None:
    bench = Bench()
    assert bench.ask(1004) == []
    assert bench.cut
    bench.again()
    assert bench.code(1005) == OK
    assert bench.cut


# ---- awkward units ---------------------------------------------------------------------------------------------------


def test_a_write_can_be_refused_for_one_user() -> None:
    bench = Bench(quirks="refuse-put:13,refuse-put:4:1")
    ned = bench.unit.flash.users[13]
    assert bench.code(8, ned) == ERROR
    assert bench.put_template(13, 9, 1, b"x" * 900) == ERROR
    assert bench.save([ned], []) == ERROR
    four = bench.unit.flash.users[4]
    assert [bench.code(8, four), bench.code(8, four)] == [ERROR, OK]


def test_what_is_kept_can_differ_from_what_was_sent() -> None:
    bench = Bench(quirks="readback-differs:13,user-differs:13:2")
    template = b"x" * 900
    for damaged in (True, False):
        assert bench.put_template(13, 9, 1, template) == OK
        assert (bench.templates()[13, 9][1] != template) == damaged
    ned = bench.unit.flash.users[13]
    for damaged in (True, True, False):
        bench.good(8, ned)
        assert (bench.unit.flash.users[13] != ned) == damaged


def test_damaged_tables() -> None:
    doubled = Bench(duplicates="uid").users()
    uids = [record[:2] for record in doubled]
    assert len(uids) == len(set(uids)) + 1 == 41
    assert Bench(duplicates="uid").counters()[16] == 41
    same = [record[48:] for record in Bench(duplicates="userid").users()]
    assert len(same) == len(set(same)) + 1 == 40
    assert len({record[24:] for record in Bench("zk-bw", duplicates="userid").users()}) == 39
    bench = Bench(orphan="1")
    assert {uid for uid, _ in bench.templates()} - set(bench.unit.flash.users) == {max(bench.unit.flash.users) + 7}


def test_names_can_be_in_three_encodings() -> None:
    def names(**options: str) -> list[bytes]:
        return [record[11:35].split(b"\0")[0] for record in Bench(**options).users()]

    assert "张伟" in [name.decode("utf-8") for name in names()]
    assert "" in [name.decode("utf-8") for name in names()]
    assert "张伟" in [name.decode("gbk") for name in names(names="gbk")]
    assert max(len(name) for name in names()) == 23
    junk = [name for name in names(names="junk") if name.startswith(b"\xff")]
    assert junk
    for name in junk:
        for encoding in ("utf-8", "gbk", "ascii"):
            with pytest.raises(UnicodeDecodeError):
                name.decode(encoding)


# ---- presets, seeds, state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["zk", "zk-bw"])
def test_every_model_has_its_presets(profile: str) -> None:
    counts = {}
    for preset in PRESETS:
        flash = open_unit(load_profile(profile), preset).flash
        counts[preset] = len(flash.users), len(flash.templates)
    assert counts == {"full": (40, 60), "half": (20, 30), "empty": (0, 0), "huge": (1000, 2000)}


def test_full_has_something_of_everything() -> None:
    flash = Bench().unit.flash
    records = list(flash.users.values())
    assert {record[39] for record in records} == {1, 2, 3, 4, 5}
    assert {record[2] for record in records} == {0, 1, 2, 6, 14}
    assert sum(1 for record in records if int.from_bytes(record[35:39], "little")) >= 5
    assert sum(1 for record in records if record[40]) >= 4
    assert any(record[3:11].partition(b"\0")[2].strip(b"\0") for record in records), "junk after the password"
    assert max(flash.users) > len(records) > 0
    assert len(set(range(1, 40)) - set(flash.users)) >= 5, "holes"
    assert [flag for flag, _ in flash.templates.values()].count(3) == 1
    assert len({flash.zones[number] for number in range(1, 10)}) == 9
    assert flash.verify
    assert [flag for flag, _ in Bench(duress="0").unit.flash.templates.values()].count(3) == 0
    assert list(Bench(holes="0").unit.flash.users) == list(range(1, 41))
    assert list(Bench(holes="0", fill="6").unit.flash.users) == list(range(1, 7))


def test_the_published_record_of_ned_is_in_a_full_unit() -> None:
    ned = Bench().unit.flash.users[13]
    assert ned[2:11] == b"\x00444" + bytes(5)
    assert ned[11:35].rstrip(b"\0") == b"Ned"
    assert int.from_bytes(ned[35:39], "little") == 222
    assert ned[39:48] == bytes.fromhex("020100010002000000")
    assert ned[48:].rstrip(b"\0") == b"555"


def test_made_up_templates_look_like_their_version() -> None:
    flash = Bench().unit.flash
    templates = [template for _, template in flash.templates.values()]
    for template in templates:
        assert 800 <= len(template) <= 1500
        assert int.from_bytes(template[:2], "big") == len(template) ^ 0x4943
        assert template[2:8] == b"SS21\0\0"
        assert int.from_bytes(template[8:10], "big") == len(template)
    assert any(MAGIC in template for template in templates)
    assert any(template.endswith(bytes(6)) for template in templates)
    assert any(not template.endswith(b"\0") for template in templates)
    assert len(set(templates)) == 60
    old = [template for _, template in Bench("zk-bw").unit.flash.templates.values()]
    assert all(300 <= len(template) <= 602 for template in old)
    assert any(MAGIC in template for template in old)


def test_the_same_seed_gives_the_same_unit_and_another_gives_other_fingers() -> None:
    first, again, other = (Bench(preset="half", seed=seed).unit for seed in ("7", "7", "8"))
    assert first.image() == again.image()
    assert first.serial == again.serial != other.serial
    mine, theirs = ({template for _, template in unit.flash.templates.values()} for unit in (first, other))
    assert not mine & theirs
    assert len({Bench(preset=preset).unit.serial for preset in ("full", "half", "empty")}) == 3


def test_the_image_knows_no_order_no_serial_number_and_no_log() -> None:
    bench, other = Bench(preset="half"), Bench(preset="half", serial="OTHER", attendance="3", comm_key="7")
    assert bench.unit.image() == other.unit.image()
    first = next(iter(bench.unit.flash.users))
    record = bench.unit.flash.users.pop(first)
    assert bench.unit.image() != other.unit.image()
    bench.unit.flash.users[first] = record
    assert list(bench.unit.flash.users) != list(other.unit.flash.users)
    assert bench.unit.image() == other.unit.image()


def test_a_state_file_keeps_everything_before_the_answer_leaves(tmp_path: Path) -> None:
    state = tmp_path / "unit.state"
    bench = Bench(preset="half", state=state, comm_key="5", connect=False, duplicates="uid")
    bench.connect(5)
    bench.good(18, struct.pack("<H", 2))
    bench.good(8, user72(2))
    bench.good(12, b"DeviceID=9\0")
    bench.good(202, struct.pack("<I", 0x2624E8E2))
    bench.good(28, struct.pack("<I", 50) + bytes(28))
    bench.good(79, struct.pack("<HB21x", 2, 0x81))
    kept = open_unit(load_profile("zk"), "full", {}, state=state)
    assert kept.image() == bench.unit.image()
    assert kept.flash == bench.unit.flash
    assert list(kept.flash.users) == list(bench.unit.flash.users)
    assert list(kept.flash.templates) == list(bench.unit.flash.templates)
    assert kept.serial == bench.unit.serial
    assert kept.credential == {"comm_key": 5}
    with pytest.raises(TargetError, match="state of a simulated"):
        open_unit(load_profile("zk-bw"), "full", {}, state=state)
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(TargetError, match="not the state"):
        open_unit(load_profile("zk"), "full", {}, state=state)


def test_a_unit_takes_what_a_backup_knows_for_a_rehearsal() -> None:
    facts = {"firmware": "Ver 1", "record_bytes": 28, "fp_version": 9, "slots": 70, "users": 60, "zones": True, "x": 1}
    options = stand_in_options(load_profile("zk"), {**facts, "platform": None})
    bench = Bench(preset="empty", **options)
    assert bench.good(1100) == b"Ver 1\0"
    bench.good(8, user28(1))
    assert bench.put_template(1, 1, 1, bytes(603)) == ERROR
    assert (bench.counters()[56], bench.counters()[60]) == (70, 60)
    assert bench.code(27, b"\x01\0\0\0") == OK


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"width": "16"}, "width"),
        ({"bulk": "all"}, "bulk"),
        ({"busy": "sleeping"}, "state"),
        ({"busy": "menu:x"}, "busy"),
        ({"quirks": "no-1504"}, "quirk"),
        ({"quirks": "refuse-put"}, "quirks"),
        ({"quirks": "no-87:1"}, "quirks"),
        ({"fingers": "11"}, "fingers"),
        ({"duplicates": "uid", "users": "1"}, "duplicates"),
        ({"serial": "é"}, "ASCII"),
        ({"finger": "1"}, "option"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, str], word: str) -> None:
    with pytest.raises(TargetError, match=word):
        Bench(**options)


def test_every_option_and_quirk_says_what_it_does() -> None:
    assert all(text for text in (*OPTIONS.values(), *QUIRKS.values()))


# ---- on a link -------------------------------------------------------------------------------------------------------


async def test_a_terminal_on_a_memory_link() -> None:
    for transport in ("tcp", "udp"):
        unit: Any = open_unit(load_profile("zk"), "half", {"transport": transport, "cut": "out:frame:2"})
        dress = wrapped if transport == "tcp" else bytes
        link = MemoryLink.open(unit.device)
        await link.write(dress(packet(1000, 0, 0)))
        answer = await link.read()
        session = int.from_bytes(answer[-4:-2], "little")
        assert answer == dress(packet(OK, session, 0))
        await link.write(dress(packet(50, session, 1)))
        if transport == "tcp":
            assert 0 < len(await link.read()) < 100, "cut in the middle; a datagram comes whole or not at all"
        with pytest.raises(LinkLost):
            await link.read()
        await link.close()
        assert not unit.device.session.trusted


# ---- served on TCP ---------------------------------------------------------------------------------------------------


class Recorder(Host):
    """A medium that keeps what it is given to send."""

    def __init__(self, unit: Any) -> None:
        super().__init__(unit)
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


@pytest.mark.parametrize(("options", "writes"), [({}, 1), ({"dribble": "1"}, 100), ({"quirks": "two-segments"}, 6)])
async def test_what_is_due_at_one_time_leaves_in_one_write_unless_the_pieces_matter(
    options: dict[str, str], writes: int
) -> None:
    unit: Any = open_unit(load_profile("zk"), "full", {"bulk": "split", "session": "9", **options})
    host = Recorder(unit)
    host.opened()
    host.received(wrapped(packet(1000, 0, 0)))
    host.sent.clear()
    host.received(wrapped(packet(7, 9, 1, b"\x05")))
    assert len(host.sent) >= writes
    assert len(host.sent) == 1 or writes > 1
    stream = b"".join(host.sent)
    assert len(stream) == 24 + 4 + 40 * 72 + 3 * 16 + 16


@pytest.mark.real_time
async def test_whoever_comes_just_after_another_has_hung_up_is_let_in() -> None:
    unit: Any = open_unit(load_profile("zk"), "empty", {"session": "9"})
    ready: asyncio.Future[ServedAt] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve(unit, tcp_port=None, pty=True, on_ready=ready.set_result))
    at = await ready
    assert at.target == f"serial://socket://127.0.0.1:{at.port}", "a network unit is on no pseudo terminal"

    def visit() -> list[bytes]:
        found = []
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", at.port or 0), timeout=2):
                pass
            with socket.create_connection(("127.0.0.1", at.port or 0), timeout=2) as client:
                client.sendall(wrapped(packet(1000, 0, 0)))
                found.append(client.recv(100))
        return found

    try:
        assert await asyncio.to_thread(visit) == [wrapped(packet(OK, 9, 0))] * 10
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
