"""Packets, records and tables of ZK terminals against published captures, and against any bytes."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any, Final

import pytest
from framing import assert_cut_is_incomplete, assert_every_split, drain, frames_from
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from lockmigrate.errors import FrameError
from lockmigrate.formats import Sections, zk_log
from lockmigrate.formats import decode as decode_family
from lockmigrate.formats import occupied as occupied_family
from lockmigrate.formats.zk import (
    MAGIC,
    MAX_PACKET_BYTES,
    Clock,
    Cmd,
    DatagramFramer,
    Packet,
    Reply,
    TcpFramer,
    build_packet,
    checksum,
    comm_key,
    decode_time,
    encode_time,
    is_whole,
    parse_capacity,
    parse_datagram,
    reply_text,
    split_option,
    table_body,
    wrapped,
)
from lockmigrate.formats.zk_access import (
    Combination,
    Group,
    Zone,
    build_combination,
    build_group,
    build_verify,
    build_zone,
    default_combination,
    default_group,
    default_zone,
    parse_combination,
    parse_group,
    parse_verify,
    parse_zone,
)
from lockmigrate.formats.zk_fit import fitted
from lockmigrate.formats.zk_records import (
    USER_BYTES,
    Row16,
    Row28,
    Row72,
    Width,
    build_user,
    card_of,
    cut_name,
    decode_text,
    external_id_of,
    follows_v10,
    parse_user,
    password_of,
    split_templates,
    split_users,
    tell_width,
    template_entry,
)
from lockmigrate.formats.zk_tables import ALL_TABLES, decode, occupied, options_of
from lockmigrate.model.document import Metadata, Snapshot, Table, from_sections, to_sections
from lockmigrate.model.records import LOSS_CODES, CardData, PinData
from lockmigrate.model.steps import Fitted

NED: Final = bytes.fromhex(
    "0d0000" + "3434340000000000" + "4e6564" + "00" * 21 + "de000000" + "020100010002000000" + "353535" + "00" * 21
)
"""User 13 of zk-protocol, sections/data-user.md, as neutral-format section 8 tells it."""


def _vectors() -> list[tuple[str, bytes]]:
    text = (Path(__file__).parent / "vectors" / "zk" / "packets.txt").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if line and not line.startswith("#")]
    return [(meaning, bytes.fromhex(raw)) for _, meaning, raw in lines]


VECTORS = _vectors()
BY_MEANING = dict(VECTORS)


def packet(meaning: str) -> Packet:
    (found,) = frames_from(TcpFramer(), [BY_MEANING[meaning]])
    return found


def folded(packet_bytes: bytes) -> int:
    """The checksum as the reference words it: words added, carries folded in a loop, inverted."""
    padded = packet_bytes + b"\x00" * (len(packet_bytes) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "little") for at in range(0, len(padded), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def v10(size: int, seed: int = 1) -> bytes:
    """A made-up template with the head of version 10 and the wrapper's mark inside."""
    body = hashlib.shake_128(seed.to_bytes(4, "big")).digest(max(0, size - 14))
    head = (size ^ 0x4943).to_bytes(2, "big") + b"SS21\x00\x00" + size.to_bytes(2, "big")
    return (head + MAGIC + body)[:size]


def user72(uid: int, *, user_id: str | None = None, **changes: Any) -> bytes:
    base = Row72(
        uid=uid,
        privilege=0,
        password=b"",
        name=b"",
        card=0,
        group=1,
        own_tz=0,
        tz1=0,
        tz2=0,
        tz3=0,
        user_id=(str(1000 + uid) if user_id is None else user_id).encode(),
    )
    row = base._replace(**changes)
    return build_user(
        row._replace(
            password=row.password.ljust(8, b"\0"), name=row.name.ljust(24, b"\0"), user_id=row.user_id.ljust(24, b"\0")
        )
    )


def user28(uid: int, **changes: Any) -> bytes:
    base = Row28(uid=uid, privilege=0, password=b"", name=b"", card=bytes(5), group=1, tz_bits=0, user_id=1000 + uid)
    row = base._replace(**changes)
    return build_user(row._replace(password=row.password.ljust(5, b"\0"), name=row.name.ljust(8, b"\0")))


def counters(*, users: int = 0, templates: int = 0, attendance: int = 0, faces: int | None = None) -> bytes:
    words = [0] * (20 if faces is None else 23)
    words[4], words[6], words[8], words[14], words[15], words[16] = users, templates, attendance, 3000, 1000, 50000
    if faces is not None:
        words[20] = faces
    return b"".join(word.to_bytes(4, "little") for word in words)


# ---- packets --------------------------------------------------------------------------------------------------------


def test_there_are_vectors_of_both_directions_and_both_sources() -> None:
    assert len(VECTORS) == 21
    assert {packet(meaning).code for meaning in BY_MEANING} >= {1000, 1001, 1102, 50, 1503, 1500, 1501, 2000, 2005, 500}


@pytest.mark.parametrize(("meaning", "raw"), VECTORS, ids=[meaning for meaning, _ in VECTORS])
def test_a_published_packet_is_parsed_and_built_again(meaning: str, raw: bytes) -> None:
    found = packet(meaning)
    assert found.code == int.from_bytes(raw[8:10], "little")
    assert found.session == int.from_bytes(raw[12:14], "little")
    assert found.number == int.from_bytes(raw[14:16], "little")
    assert found.data == raw[16:]
    assert wrapped(found) == raw
    assert build_packet(found) == raw[8:]
    assert parse_datagram(raw[8:]) == found
    assert folded(raw[8:10] + b"\0\0" + raw[12:]) == int.from_bytes(raw[10:12], "little")


SENT: list[tuple[Packet, str]] = [
    (Packet(Cmd.CONNECT, 0, 0), "connect"),
    (Packet(Cmd.EXIT, 0xFB2F, 1), "exit"),
    (Packet(Cmd.AUTH, 0x45CF, 1, comm_key(45, 0x45CF)), "auth with key 45"),
    (Packet(Cmd.CAPACITY, 0x45CF, 2), "capacity"),
    (Packet(Cmd.BUFFER_OPEN, 0x45CF, 20, bytes.fromhex("0109000500000000000000")), "open user table"),
    (Packet(Cmd.OPTION_READ, 0xC0C5, 5, b"~OS\0"), "option read ~OS"),
    (Packet(Cmd.OPTION_READ, 0x8DF3, 12, b"~Platform\0"), "option read ~Platform"),
    (Packet(Cmd.OPTION_WRITE, 0xC584, 71, b"LockOn=5\0"), "option write LockOn=5"),
    (Packet(Cmd.DATA, 1, 0x35, b"\xa0\x57\x01"), "template, last 3 bytes, packet number 1"),
    (Packet(Reply.OK, 1, 0x32), "bulk closing"),
]


@pytest.mark.parametrize(("built", "meaning"), SENT, ids=[meaning for _, meaning in SENT])
def test_what_we_send_is_the_published_packet(built: Packet, meaning: str) -> None:
    assert wrapped(built) == BY_MEANING[meaning]


@given(data=st.binary(max_size=300), code=st.integers(0, 0xFFFF), session=st.integers(0, 0xFFFF))
def test_any_packet_comes_back_and_its_sum_is_the_folded_one(data: bytes, code: int, session: int) -> None:
    sent = Packet(code, session, 7, data)
    raw = build_packet(sent)
    assert parse_datagram(raw) == sent
    assert folded(raw[:2] + b"\0\0" + raw[4:]) == checksum(raw[:2] + b"\0\0" + raw[4:])


def test_a_sum_is_folded_as_often_as_it_takes() -> None:
    """Packets of 64 KB carry twice; folding once would give another sum."""
    data = b"\xff" * 65472
    raw = build_packet(Packet(Cmd.DATA, 0xFFFF, 0xFFFF, data))
    assert is_whole(raw)
    assert int.from_bytes(raw[2:4], "little") == folded(raw[:2] + b"\0\0" + raw[4:])


def test_a_sum_of_zero_and_one_of_all_ones_are_equal() -> None:
    for data in (b"", b"\x01", b"\xff\xff" * 3):
        raw = bytearray(build_packet(Packet(1000, 0, 0, data)))
        # Choose the session so that the words add up to 0xFFFF: the sum is then 0, and 0xFFFF says the same.
        rest = (65535 - int.from_bytes(raw[:2] + b"\0\0" + raw[4:], "little") % 65535) % 65535
        raw[4:6] = ((int.from_bytes(raw[4:6], "little") + rest) % 65536).to_bytes(2, "little")
        for ending in (b"\x00\x00", b"\xff\xff"):
            raw[2:4] = ending
            assert is_whole(bytes(raw))


@given(raw=st.binary(min_size=8, max_size=64), at=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(raw: bytes, at: int, bit: int) -> None:
    whole = bytearray(build_packet(Packet(1501, 3, 4, raw)))
    whole[at % len(whole)] ^= 1 << bit
    with pytest.raises(FrameError, match="checksum"):
        parse_datagram(bytes(whole))


@given(data=st.binary(max_size=80))
def test_any_datagram_is_a_packet_or_our_error(data: bytes) -> None:
    try:
        found = parse_datagram(data)
    except FrameError:
        return
    assert len(data) == 8 + len(found.data)


def test_packets_are_found_however_the_stream_is_cut() -> None:
    inside = Packet(1501, 2, 9, MAGIC + b"\x08\x00\x00\x00" + MAGIC)
    stream = b"".join(raw for _, raw in VECTORS[:4]) + wrapped(inside)
    expected = [packet(meaning) for meaning, _ in VECTORS[:4]] + [inside]
    assert_every_split(TcpFramer, stream, expected)
    assert_cut_is_incomplete(TcpFramer, wrapped(inside))


@pytest.mark.parametrize(
    "stream",
    [
        b"\x00" * 8,
        b"\x00" + BY_MEANING["connect"],
        MAGIC + (7).to_bytes(4, "little") + bytes(7),
        MAGIC + (MAX_PACKET_BYTES + 1).to_bytes(4, "little"),
        MAGIC + b"\xff\xff\xff\xff",
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
    ids=["zeros", "one byte too much", "shorter than its head", "too long", "4 GB", "a web server"],
)
def test_a_stream_out_of_step_is_the_end(stream: bytes) -> None:
    """Templates may contain the mark, so nothing is ever searched for it."""
    framer = TcpFramer()
    framer.feed(stream)
    with pytest.raises(FrameError):
        framer.next()
    framer.feed(BY_MEANING["connect"])
    with pytest.raises(FrameError):
        framer.next()


def test_a_wrong_sum_spoils_one_packet_and_not_the_stream() -> None:
    bad = bytearray(BY_MEANING["connect"])
    bad[-1] ^= 1
    framer = TcpFramer()
    framer.feed(bytes(bad) + BY_MEANING["exit"])
    with pytest.raises(FrameError, match="checksum"):
        framer.next()
    assert framer.next() == packet("exit")


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_any_stream_is_packets_or_our_error_and_the_buffer_is_bounded(pieces: list[bytes]) -> None:
    framer = TcpFramer()
    for piece in [BY_MEANING["connect"], *pieces]:
        framer.feed(piece)
        try:
            drain(framer)
        except FrameError:
            break


def test_dribbled_and_broken_streams_cost_linear_time() -> None:
    whole = wrapped(Packet(1501, 0, 1, bytes(60_000))) * 3
    framer = TcpFramer()
    began = time.process_time()
    found = [got for at in range(len(whole)) for got in feed_one(framer, whole[at : at + 1])]
    assert len(found) == 3
    broken = TcpFramer()
    broken.feed(bytes(8))
    with pytest.raises(FrameError):
        broken.next()
    for _ in range(1000):
        broken.feed(bytes(65536))
    assert len(broken._buffer) == 0
    assert time.process_time() - began < 3


def feed_one(framer: TcpFramer, piece: bytes) -> list[Packet]:
    framer.feed(piece)
    return drain(framer)


def test_split_replies_are_cut_and_summed_at_the_speed_of_a_network() -> None:
    """10 MB/s of 1,008-byte packets is what a socket of such a unit can give at most."""
    stream = wrapped(Packet(1501, 0, 1, v10(1008))) * 2000
    framer = TcpFramer()
    began = time.process_time()
    count = 0
    for at in range(0, len(stream), 65536):
        framer.feed(stream[at : at + 65536])
        count += len(drain(framer))
    assert count == 2000
    assert len(stream) / (time.process_time() - began) > 10_000_000


def test_damaged_datagrams_count_as_lost() -> None:
    framer = DatagramFramer()
    framer.feed(b"\x01\x02")
    framer.feed(BY_MEANING["connect"][8:])
    framer.feed(b"\x01" + bytes(11))
    assert drain(framer) == [packet("connect")]
    assert framer.damaged == 2
    framer.feed(BY_MEANING["exit"][8:])
    assert framer.reset() == 1
    assert framer.next() is None


def test_neither_packets_nor_rows_print_what_they_hold() -> None:
    secret = b"4711-secret"
    rows = [split_users(user72(5, password=b"471147"), 72)[0], parse_user(user28(5, password=b"47114"))]
    text = repr(Packet(8, 1, 2, secret)) + repr(rows) + repr(Fitted(record=secret))
    assert "4711" not in text


def test_every_code_has_words() -> None:
    assert "unauthorised" not in reply_text(Reply.UNAUTH)
    assert "unknown command" in reply_text(0xFFFF)
    assert reply_text(4242) == "code 4242"
    assert not {31, 1004, 1005, 14} - {14} & {int(code) for code in Cmd}


# ---- small things ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "session", "expected"),
    [
        (45, 0x45CF, "61c9323c"),
        (0, 0x1234, "617d326b"),
        (1234, 0x2F11, "41363256"),
        (123456, 0xC0C5, "297f3239"),
        (888888, 0x2F11, "686132a6"),
        (999999, 0xFFFF, "22813296"),
    ],
)
def test_the_comm_key_is_scrambled_as_published(key: int, session: int, expected: str) -> None:
    assert comm_key(key, session).hex() == expected


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFF), st.integers(0, 255))
def test_every_key_gives_four_bytes_and_wraps(key: int, session: int, ticks: int) -> None:
    """pyzk raises for 131071 and its like with a large session."""
    assert len(comm_key(key, session, ticks)) == 4
    assert comm_key(key, session, ticks)[2] == ticks


@pytest.mark.parametrize(("raw", "text"), [("e2e82426", "2019-11-29T20:45:22"), ("c23e7926", "2020-01-31T20:02:10")])
def test_times_are_read_by_their_radices(raw: str, text: str) -> None:
    clock = decode_time(int.from_bytes(bytes.fromhex(raw), "little"))
    assert clock.text() == text
    assert encode_time(clock) == int.from_bytes(bytes.fromhex(raw), "little")


@given(st.integers(0, 0xFFFFFFFF))
def test_any_time_word_is_a_moment_or_none(value: int) -> None:
    clock = decode_time(value)
    assert clock.text() is None or clock.text() == f"{clock.year}-{clock.text()[5:]}"  # type: ignore[index]
    if clock.year < 2100:
        assert encode_time(clock) == value


def test_a_day_that_does_not_exist_is_no_moment() -> None:
    assert Clock(2024, 2, 29, 0, 0, 0).text() == "2024-02-29T00:00:00"
    assert Clock(2023, 2, 29, 0, 0, 0).text() is None
    assert decode_time(encode_time(Clock(2023, 2, 31, 1, 2, 3))).day == 31


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"~Platform=ZEM760_TFT\0", (b"~Platform", b"ZEM760_TFT")),
        (b"a=b=c\0junk", (b"a", b"b=c")),
        (b"empty=\0", (b"empty", b"")),
        (b"nothing\0", None),
        (b"=x", None),
        (b"", None),
    ],
)
def test_options_are_split_at_the_first_equals_and_cut_at_the_first_nul(
    answer: bytes, expected: tuple[bytes, bytes] | None
) -> None:
    assert split_option(answer) == expected


def test_the_published_option_reply_and_capacity_are_read() -> None:
    assert split_option(packet("option reply ~Platform").data) == (b"~Platform", b"ZEM760_TFT")
    capacity = parse_capacity(packet("capacity reply, 80 bytes").data)
    assert (capacity.users, capacity.templates, capacity.attendance, capacity.operations) == (2, 0, 0, 7)
    assert (capacity.template_slots, capacity.user_slots, capacity.attendance_slots) == (500, 500, 50000)
    assert (capacity.templates_free, capacity.users_free, capacity.attendance_free) == (500, 498, 50000)
    assert capacity.faces is None


def test_both_lengths_of_the_counters_are_read_and_shorter_ones_are_not() -> None:
    raw = counters(users=3, templates=5, attendance=7, faces=2)
    assert len(raw) == 92
    capacity = parse_capacity(raw)
    assert (capacity.users, capacity.templates, capacity.attendance, capacity.faces) == (3, 5, 7, 2)
    assert parse_capacity(raw[:80]).faces is None
    assert parse_capacity(raw + bytes(8)) == capacity
    for size in range(80):
        with pytest.raises(FrameError):
            parse_capacity(raw[:size])


def test_a_length_word_has_to_agree() -> None:
    assert table_body(b"\x03\0\0\0abc", "table") == b"abc"
    assert table_body(b"", "table") == b""
    assert table_body(bytes(4), "table") == b""
    for raw in (b"\x03\0\0\0ab", b"\x03\0\0\0abcd", b"\x01", b"\xff\xff\xff\xffabc"):
        with pytest.raises(FrameError, match="length word"):
            table_body(raw, "table")


# ---- records --------------------------------------------------------------------------------------------------------


def test_the_published_user_is_read() -> None:
    row = parse_user(packet("write user 14").data)
    assert isinstance(row, Row72)
    assert (row.uid, row.privilege, row.card, row.group, row.own_tz) == (14, 6, 6543, 1, 0)
    assert password_of(row) == b"123456"
    assert row.password == b"123456\0\x7c", "what stands behind the NUL is kept"
    assert decode_text(row.name).text == "Nuevo"
    assert external_id_of(row) == "11224488"
    assert build_user(row) == packet("write user 14").data


def test_ned_comes_back_to_the_last_byte() -> None:
    """neutral-format 8: bytes 39 to 47 are group, flag and zones; pyzk returns others."""
    assert len(NED) == 72
    assert NED[39:48].hex() == "020100010002000000"
    row = parse_user(NED)
    assert isinstance(row, Row72)
    assert (row.group, row.own_tz, row.tz1, row.tz2, row.tz3) == (2, 1, 1, 2, 0)
    assert build_user(row) == NED
    found = decode({"0004-users": NED}, {"record_bytes": 72})
    (user,) = found.users
    assert (user.key, user.user_name, user.external_id, user.group) == ("user/13", "Ned", "555", "group/2")
    assert user.schedules == ("schedule/1", "schedule/2")
    assert user.vendor["zk"]["tail"] == "020100010002000000"
    assert [(item.key, item.kind, item.why) for item in found.schedules] == [
        ("schedule/1", "Unknown", "missing-table"),
        ("schedule/2", "Unknown", "missing-table"),
    ]
    pin, card = found.credentials
    assert isinstance(pin.data, PinData)
    assert isinstance(card.data, CardData)
    assert (pin.key, pin.data.digits.reveal()) == ("pin/13", "444")
    assert (card.key, card.data.number.reveal()) == ("card/13", "222")
    assert fitted(snapshot(found, {"0004-users": NED}), snapshot(found, {}))["user/13"] == Fitted(record=NED)


@pytest.mark.parametrize("width", USER_BYTES)
@given(data=st.data())
@settings(max_examples=40)
def test_both_ways_of_reading_records_agree(width: Width, data: st.DataObject) -> None:
    body = data.draw(st.integers(0, 6).flatmap(lambda n: st.binary(min_size=n * width, max_size=n * width)))
    rows = split_users(body, width)
    assert rows == [parse_user(body[at : at + width]) for at in range(0, len(body), width)]
    assert b"".join(build_user(row) for row in rows) == body


def test_ten_thousand_users_become_rows_in_a_tenth_of_a_second() -> None:
    body = b"".join(user72(uid) for uid in range(1, 101)) * 100
    began = time.process_time()
    assert len(split_users(body, 72)) == 10_000
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize("size", [0, 1, 15, 17, 27, 29, 71, 73, 144])
def test_a_record_of_another_length_is_none(size: int) -> None:
    with pytest.raises(FrameError):
        parse_user(bytes(size))


def test_the_width_is_the_size_by_the_count_and_else_what_fits() -> None:
    both = b"".join(user72(uid) for uid in range(1, 8))
    assert len(both) == 504
    assert tell_width(both, count=7) == 72
    assert tell_width(both, count=18) == 28
    assert tell_width(both, count=5) == 72, "counters can lag: user ids are printable, numbers unique"
    assert tell_width(both, hint=28) == 28
    narrow = b"".join(user28(uid) for uid in range(1, 19))
    assert len(narrow) == 504
    assert tell_width(narrow) == 28
    assert tell_width(narrow, count=18) == 28
    assert tell_width(narrow[:56]) == 28
    assert tell_width(bytes(16 * 3), count=3) == 16
    assert tell_width(bytes(16 * 5)) == 16
    assert tell_width(b"") == 72
    assert tell_width(b"", hint=28) == 28
    with pytest.raises(FrameError):
        tell_width(bytes(71))


@given(st.binary(max_size=400), st.integers(0, 20), st.sampled_from([None, 16, 28, 72, 5]))
def test_any_table_has_a_width_or_is_our_error(body: bytes, count: int, hint: int | None) -> None:
    try:
        width = tell_width(body, count=count, hint=hint)
    except FrameError:
        return
    assert len(body) % width == 0
    assert len(split_users(body, width)) == len(body) // width


def test_a_table_of_more_users_than_numbers_is_refused_at_once() -> None:
    with pytest.raises(FrameError):
        split_users(bytes(28 * 131_071), 28)


def test_templates_are_walked_by_size() -> None:
    first, second = v10(900), bytes(30)
    body = template_entry(3, 9, 1, first) + template_entry(1049, 0, 3, second)
    rows = split_templates(body)
    assert [(row.uid, row.finger, row.flag, row.size) for row in rows] == [(3, 9, 1, 900), (1049, 0, 3, 30)]
    assert [body[row.offset : row.offset + row.size] for row in rows] == [first, second]
    assert split_templates(b"") == []


@pytest.mark.parametrize("cut", [1, 5, 6, 7, 20, 29])
def test_a_table_of_templates_that_is_cut_is_refused(cut: int) -> None:
    body = template_entry(1, 0, 1, bytes(20)) + template_entry(2, 0, 1, bytes(24))
    with pytest.raises(FrameError, match=r"cut short|less than its head"):
        split_templates(body[:-cut])


def test_an_entry_shorter_than_its_head_never_loops() -> None:
    with pytest.raises(FrameError):
        split_templates(b"\x00\x00" + bytes(40))
    began = time.process_time()
    with pytest.raises(FrameError, match="more entries"):
        split_templates((6).to_bytes(2, "little") + b"\x01\x00\x01\x01" + b"\x06\x00\x01\x00\x01\x01" * 700_000)
    assert time.process_time() - began < 3


@given(st.binary(max_size=200))
def test_any_table_of_templates_is_walked_whole_or_our_error(body: bytes) -> None:
    try:
        rows = split_templates(body)
    except FrameError:
        return
    assert sum(6 + row.size for row in rows) == len(body)


def test_the_head_of_version_10_is_known() -> None:
    assert follows_v10(v10(1072))
    assert not follows_v10(v10(1072)[:-1])
    assert not follows_v10(b"")
    assert not follows_v10(bytes(602))


ZHANG = "张伟"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Ned\0junk", ("Ned", "ascii")),
        (b"", ("", "ascii")),
        (ZHANG.encode(), (ZHANG, "utf-8")),
        (ZHANG.encode("gbk") + b"\0\xff", (ZHANG, "gbk")),
        (b"\xff\xfe\x80", (None, "unknown")),
        (b"\x1b[2Jhello", (None, "unknown")),
        ("a\u202eb".encode(), (None, "unknown")),
        ("㐀".encode("gb18030") + b"\x81", (None, "unknown")),
        ("\U0001f600".encode("gb18030"), (None, "unknown")),
    ],
)
def test_texts_are_utf_8_then_gbk_and_else_none(raw: bytes, expected: tuple[str | None, str]) -> None:
    assert tuple(decode_text(raw)) == expected


def test_a_known_code_page_decides_where_bytes_can_be_read_in_two_ways() -> None:
    both = "一".encode("gbk")
    assert decode_text(both).encoding == "utf-8", "two bytes of GBK may be one Cyrillic letter of UTF-8"
    assert tuple(decode_text(both, "gbk")) == ("一", "gbk")


@given(st.text(max_size=12), st.sampled_from(["utf-8", "gbk"]), st.integers(0, 24))
def test_a_name_is_never_cut_inside_a_character(text: str, encoding: str, limit: int) -> None:
    raw = text.replace("\0", "").encode(encoding, "ignore")
    cut = cut_name(raw, encoding, limit)
    assert len(cut) <= limit
    assert raw.startswith(cut)
    cut.decode(encoding)
    if len(cut) < len(raw):
        rest = raw[len(cut) :].decode(encoding)
        assert len(cut) + len(rest[0].encode(encoding)) > limit, "as much as fits is kept"


@given(st.binary(max_size=30), st.text(max_size=8), st.integers(0, 24))
def test_any_bytes_can_be_cut(raw: bytes, encoding: str, limit: int) -> None:
    assert len(cut_name(raw, "unknown", limit)) <= limit


# ---- times, groups, combinations, styles ----------------------------------------------------------------------------


def test_the_published_time_zone_is_read() -> None:
    raw = packet("time zone 48").data
    zone = parse_zone(raw)
    assert zone.number == 48
    assert zone.days == ((17, 12, 17, 13), *(((17, 37, 17, 37),) * 5), (17, 35, 17, 36))
    assert zone.tail.hex() == "a71c"
    assert build_zone(zone) == raw


def test_the_published_group_is_read() -> None:
    raw = packet("group 77").data
    assert parse_group(raw) == Group(77, (8, 7, 6), 0x8E)
    assert build_group(parse_group(raw)) == raw


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=8, max_size=8), st.binary(min_size=24, max_size=24))
def test_any_small_record_comes_back(zone: bytes, group: bytes, verify: bytes) -> None:
    assert build_zone(parse_zone(zone)) == zone
    assert build_group(parse_group(group)) == group
    assert build_combination(parse_combination(group)) == group
    uid, mode = parse_verify(verify)
    assert build_verify(uid, mode) == verify[:3] + bytes(21)


@given(st.binary(max_size=40))
def test_small_records_of_other_lengths_are_our_error(raw: bytes) -> None:
    for parse, size in ((parse_zone, 32), (parse_group, 8), (parse_combination, 8), (parse_verify, 24)):
        if len(raw) != size:
            with pytest.raises(FrameError):
                parse(raw)


def test_what_the_factory_left_is_told_from_what_was_set() -> None:
    for number in range(1, 11):
        assert default_zone(number).default
        assert default_group(number).default
        assert default_combination(number).default
    assert Group(1, (0, 0, 0), 0).default
    assert not Group(2, (1, 0, 0), 0).default
    assert not Group(1, (1, 0, 0), 0x80).default
    assert not Combination(1, (0, 0, 0, 0, 0), 0).default, "without it nobody of group 1 can open"
    assert not Zone(1, ((0, 0, 23, 59),) * 6 + ((0, 0, 23, 58),)).default


# ---- tables to records ----------------------------------------------------------------------------------------------


def snapshot(sections: Sections, tables: dict[str, bytes]) -> Snapshot:
    """What reading makes of decoded sections, as far as these tests need it."""
    return Snapshot(
        metadata=Metadata(created_utc="2026-11-25T12:00:00Z"),
        lock=sections.lock,
        capabilities=sections.capabilities,
        users=sections.users,
        credentials=sections.credentials,
        groups=sections.groups,
        combinations=sections.combinations,
        schedules=sections.schedules,
        log=sections.log,
        settings=sections.settings,
        coverage=sections.coverage,
        losses=sections.losses,
        attachments=sections.attachments,
        tables=tuple(Table(name=name, data=data, rows=0, read_at_utc="") for name, data in tables.items()),
    )


def a_site() -> dict[str, bytes]:
    """Tables of an invented terminal with a bit of everything."""
    users = [
        user72(1, name=b"Ada", password=b"0042", privilege=14, card=4711),
        user72(2, name=ZHANG.encode(), group=3),
        user72(5, name=ZHANG.encode("gbk"), privilege=1, own_tz=1, tz1=4, tz3=60, user_id="A-77"),
        user72(1049, name=b"\xff\xff", own_tz=1, privilege=7),
    ]
    templates = (
        template_entry(1, 0, 1, v10(900)) + template_entry(2, 6, 3, v10(910)) + template_entry(5, 9, 0, bytes(40))
    )
    zones = [default_zone(number) for number in range(1, 51)]
    zones[3] = Zone(4, ((8, 0, 17, 30),) * 6 + ((23, 59, 0, 0),))
    zones[8] = Zone(9, ((25, 0, 17, 30),) * 7)
    groups = [default_group(number) for number in range(1, 101)]
    groups[2] = Group(3, (2, 0, 0), 0x80 | 10)
    combinations = [default_combination(number) for number in range(1, 11)]
    combinations[1] = Combination(2, (3, 4, 0, 0, 0), 2)
    return {
        "0001-options": b"~SerialNumber=SN1\n~DeviceName=F19\n~ZKFPVersion=10\nMAC=00:17:61:00:00:01\n"
        b"LockOn=5\nnothing\nOdd=\xff\xff",
        "0002-firmware": b"Ver 6.60 Oct 29 2012",
        "0003-capacity": counters(users=4, templates=3, attendance=2),
        "0004-users": b"".join(users),
        "0005-templates": templates,
        "0006-zones": b"".join(map(build_zone, zones)),
        "0007-groups": b"".join(map(build_group, groups)),
        "0008-combinations": b"".join(map(build_combination, combinations)),
        "0009-verify": build_verify(1, 0) + build_verify(2, 0) + build_verify(5, 0x80 | 12) + build_verify(1049, 0x89),
        "0010-attlog": attendance40(1, "1001", 1, Clock(2024, 5, 6, 7, 8, 9), 0)
        + attendance40(5, "A-77", 2, Clock(2023, 2, 30, 0, 0, 0), 3),
        "0011-oplog": bytes(32),
    }


def attendance40(uid: int, user_id: str, verify: int, clock: Clock, state: int) -> bytes:
    text = user_id.encode().ljust(24, b"\0")
    return (
        uid.to_bytes(2, "little")
        + text
        + bytes([verify])
        + encode_time(clock).to_bytes(4, "little")
        + bytes([state, *[0] * 8])
    )


SITE_VARIANT: Final = {"record_bytes": 72, "clock_offset_s": -7}


def test_a_site_becomes_records() -> None:
    found = decode_family("zk", a_site(), SITE_VARIANT)
    assert found.losses == ()
    assert (found.lock.serial, found.lock.model, found.lock.address) == ("SN1", "F19", "00:17:61:00:00:01")
    assert (found.lock.firmware_rev, found.lock.clock_offset_s) == ("Ver 6.60 Oct 29 2012", -7)
    assert found.lock.protocol == {"name": "zk", "record_bytes": 72, "fp_version": 10}
    ada, zhang, wei, last = found.users
    assert [user.key for user in found.users] == ["user/1", "user/2", "user/5", "user/1049"]
    assert (ada.user_name, ada.privilege, ada.user_status) == ("Ada", "owner", "OccupiedEnabled")
    assert (ada.group, ada.schedules, ada.credential_rule) == ("group/1", None, "Single")
    assert (zhang.user_name, zhang.user_name_encoding, zhang.credential_rule) == (ZHANG, "utf-8", "Dual")
    assert (wei.user_name, wei.user_name_encoding, wei.user_name_raw) == (ZHANG, "gbk", ZHANG.encode("gbk").hex())
    assert (wei.user_status, wei.credential_rule, wei.external_id) == ("OccupiedDisabled", "Tri", "A-77")
    assert wei.schedules == ("schedule/4", "schedule/60")
    assert (last.user_name, last.user_name_encoding, last.user_name_raw) == (None, "unknown", "ffff")
    assert last.schedules == (), "own times without a zone: never"
    assert (last.privilege, last.user_status) == ("admin", "OccupiedDisabled")
    assert last.vendor["zk"]["verify_mode"] == 0x89


def test_credentials_hang_on_their_users() -> None:
    found = decode(a_site(), SITE_VARIANT)
    by_key = {item.key: item for item in found.credentials}
    assert sorted(by_key) == ["card/1", "fingerprint/1.0", "fingerprint/2.6", "fingerprint/5.9", "pin/1"]
    pin = by_key["pin/1"].data
    assert isinstance(pin, PinData)
    assert pin.digits.reveal() == "0042"
    duress, invalid = by_key["fingerprint/2.6"], by_key["fingerprint/5.9"]
    assert (duress.duress, duress.user, duress.vendor["zk"]["flag"]) == (True, "user/2", 3)
    assert (invalid.status, invalid.vendor["zk"]["header"]) == ("disabled", "unusual")
    assert duress.template is not None
    assert duress.template.template_format == "zk/zkfinger/10"
    assert duress.origin == {"user_index": 2, "finger": 6}
    whole = snapshot(found, a_site())
    assert whole.bytes_of(duress.template.template) == v10(910)
    assert whole.bytes_of(by_key["pin/1"].raw[0]) == b"0042\0\0\0\0"
    assert whole.bytes_of(by_key["card/1"].raw[0]) == (4711).to_bytes(4, "little")


def test_tables_of_times_become_records_where_they_were_set_or_are_used() -> None:
    found = decode(a_site(), SITE_VARIANT)
    assert [item.key for item in found.groups] == ["group/1", "group/3", "group/4"]
    assert [item.key for item in found.combinations] == ["combination/2"]
    assert found.combinations[0].groups == ("group/3", "group/4")
    schedules = {item.key: item for item in found.schedules}
    assert sorted(schedules) == ["schedule/1", "schedule/2", "schedule/4", "schedule/60", "schedule/9"]
    assert schedules["schedule/1"].vendor == {"zk": {"default": True}}, "listed because group 1 refers to it"
    four = schedules["schedule/4"]
    assert (four.kind, four.days[0].start, four.days[0].end, four.vendor) == ("WeekTable", "08:00", "17:30", {})
    assert (four.days[6].start, four.days[6].end) == ("23:59", "00:00"), "closed all day, kept as read"
    assert (schedules["schedule/60"].kind, schedules["schedule/60"].why) == ("Unknown", "missing-table")
    assert (schedules["schedule/9"].kind, schedules["schedule/9"].why) == ("Unknown", "opaque")
    three = found.groups[1]
    assert (three.verify_style, three.honours_holidays, three.schedules) == (10, True, ("schedule/2",))
    assert found.groups[2].vendor == {"zk": {"default": True}}, "listed because combination 2 names it"


def test_options_are_settings_or_facts() -> None:
    found = decode(a_site(), SITE_VARIANT)
    seen = {item.key: (item.value, item.portable, item.device_bound) for item in found.settings}
    assert seen == {
        "setting/zk.MAC": ("00:17:61:00:00:01", False, True),
        "setting/zk.LockOn": ("5", True, False),
        "setting/zk.Odd": ("ffff", False, True),
    }
    whole = snapshot(found, a_site())
    assert [whole.bytes_of(item.raw[0]) for item in found.settings][1] == b"LockOn=5"
    assert options_of(b"a=1\na=2\n\n=\nb")["a"] == "2"
    assert found.access_keys == ()


def test_the_log_becomes_lines() -> None:
    found = decode(a_site(), SITE_VARIANT)
    first, second = found.log
    assert (first.seq, first.time_local, first.operation, first.source, first.user) == (
        1, "2024-05-06T07:08:09", "in", "fingerprint", "1001",
    )  # fmt: skip
    assert (second.time_local, second.operation, second.source, second.user) == (None, "break-in", "card", "A-77")
    assert second.vendor["zk"]["time"] > 0


@pytest.mark.parametrize("width", [8, 16, 40, 44])
def test_lines_of_the_log_are_as_long_as_size_by_count(width: int) -> None:
    body = bytes(width) * 3
    assert zk_log.tell_width(body, count=3) == width
    assert len(list(zk_log.entries(body, width))) == 3


@given(st.binary(max_size=300), st.integers(0, 9))
def test_any_log_is_lines_or_nothing(body: bytes, count: int) -> None:
    width = zk_log.tell_width(body, count=count)
    if width is not None:
        assert len(list(zk_log.entries(body, width))) == len(body) // width


def test_coverage_holds_counters_against_tables() -> None:
    tables = a_site()
    found = decode(tables, SITE_VARIANT)
    assert {name: item.state for name, item in found.coverage.items()} == {
        "users": "full", "credentials": "full", "settings": "full", "schedules": "full", "log": "full",
    }  # fmt: skip
    assert snapshot(found, tables).complete()
    tables["0003-capacity"] = counters(users=5, templates=3, attendance=1)
    found = decode(tables, SITE_VARIANT)
    assert [(loss.record, loss.code, loss.stage) for loss in found.losses] == [
        ("users", "count-differs", "read"), ("log", "count-differs", "read"),
    ]  # fmt: skip
    assert found.coverage["users"].state == "partial"
    assert (found.coverage["users"].device_count, found.coverage["users"].read_count) == (5, 4)
    assert not snapshot(found, tables).complete()


def test_what_the_unit_does_not_have_is_told_from_what_was_not_asked() -> None:
    tables = {"0004-users": user72(1), "0005-templates": b""}
    assert decode(tables, {}).coverage["schedules"].state == "not_asked"
    absent = ["0006-zones", "0007-groups", "0008-combinations", "0010-attlog"]
    coverage = decode(tables, {"unsupported": absent}).coverage
    assert (coverage["schedules"].state, coverage["log"].state) == ("unsupported", "unsupported")


def test_two_records_of_one_number_are_both_kept_and_none_is_chosen() -> None:
    users = user72(7, name=b"A", password=b"1111") + user72(8) + user72(7, name=b"B", password=b"2222", user_id="9")
    templates = template_entry(7, 0, 1, bytes(20)) + template_entry(8, 0, 1, bytes(20))
    found = decode({"0004-users": users, "0005-templates": templates}, {"record_bytes": 72})
    assert [user.key for user in found.users] == ["user/7", "user/8", "user/7~2"]
    assert [user.vendor["zk"].get("ambiguous") for user in found.users] == [True, None, True]
    assert [item.key for item in found.credentials] == ["pin/7", "pin/7~2", "fingerprint/7.0", "fingerprint/8.0"]
    assert [item.user for item in found.credentials] == ["user/7", "user/7~2", "user/7", "user/8"]
    assert found.credentials[2].vendor["zk"]["ambiguous"] is True
    assert [(loss.record, loss.code) for loss in found.losses] == [
        ("user/7", "uid-duplicate"), ("user/7~2", "uid-duplicate"), ("fingerprint/7.0", "uid-duplicate"),
    ]  # fmt: skip
    whole = snapshot(found, {"0004-users": users, "0005-templates": templates})
    assert whole.bytes_of(found.users[2].raw[0]) == users[144:]


def test_other_disorder_is_kept_and_told() -> None:
    users = user72(1, user_id="55") + user72(2, user_id="55") + user72(3, user_id="")
    templates = (
        template_entry(9, 1, 1, bytes(20))
        + template_entry(1, 2, 1, bytes(20))
        + template_entry(1, 2, 1, bytes(21))
        + template_entry(2, 0, 1, b"")
    )
    found = decode({"0004-users": users, "0005-templates": templates}, {"record_bytes": 72, "fp_version": 9})
    losses = [(loss.record, loss.code) for loss in found.losses]
    assert losses == [
        ("user/1", "user-id-duplicate"),
        ("user/2", "user-id-duplicate"),
        ("fingerprint/9.1", "user-missing"),
        ("fingerprint/1.2", "uid-duplicate"),
        ("fingerprint/1.2~2", "uid-duplicate"),
        ("fingerprint/2.0", "template-unreadable"),
    ]
    orphan, _, second, empty = found.credentials
    assert (orphan.key, orphan.user) == ("fingerprint/9.1", None)
    assert second.template is not None
    assert second.template.size == 21
    assert (empty.data_state, empty.data, empty.raw) == ("present_unreadable", None, ())
    assert {code for _, code in losses} <= LOSS_CODES
    assert found.users[2].external_id is None


def test_narrow_records_become_records_too() -> None:
    body = user28(3, name=b"Ben", password=b"54321", card=(77).to_bytes(5, "little"), tz_bits=0x5, group=2)
    zones = b"".join(build_zone(default_zone(number)) for number in range(1, 51))
    found = decode({"0004-users": body, "0006-zones": zones}, {"record_bytes": 28})
    (user,) = found.users
    assert (user.group, user.schedules, user.external_id) == ("group/2", UNSET, "1003")
    assert user.vendor["zk"] == {"record_bytes": 28, "tail": "020500", "tz_bits": 5}
    assert [item.key for item in found.schedules] == ["schedule/1", "schedule/3"]
    assert decode({"0004-users": body}, {"record_bytes": 28}).schedules == (), "what bits mean is not public"
    assert [item.key for item in found.credentials] == ["pin/3", "card/3"]
    raw = snapshot(found, {"0004-users": body}).bytes_of(found.credentials[1].raw[0])
    assert raw == (77).to_bytes(5, "little")
    oldest = decode({"0004-users": build_user(Row16(4, 2, b"123\0\0", b"Cy".ljust(8, b"\0")))}, {})
    assert (oldest.users[0].privilege, oldest.users[0].group) == ("admin", UNSET)


def test_passwords_that_are_no_text_are_not_shown_and_not_lost() -> None:
    body = user72(1, password=b"\x01\xff\x02")
    (pin,) = decode({"0004-users": body}, {}).credentials
    assert (pin.data_state, pin.data) == ("present_unreadable", None)
    assert pin.raw[0].offset == 3


def test_no_secret_stands_where_records_are_shown() -> None:
    tables = a_site()
    found = decode(tables, SITE_VARIANT)
    shown = repr(found) + repr([user.vendor for user in found.users])
    assert "0042" not in shown
    assert "4711" not in shown
    whole = snapshot(found, tables)
    stored = to_sections(whole)
    assert b"0042" in stored["credentials"], "revealed in the sealed form only"
    again = from_sections(stored, whole.tables)
    assert (again.users, again.credentials, again.schedules) == (whole.users, whole.credentials, whole.schedules)
    assert (again.groups, again.combinations, again.log) == (whole.groups, whole.combinations, whole.log)


def test_occupied_names_what_the_tables_hold() -> None:
    tables = {"0004-users": user72(3) + user72(3), "0005-templates": template_entry(3, 6, 1, bytes(9))}
    assert occupied_family("zk", tables, {}) == frozenset({"user/3", "fingerprint/3.6"})
    assert occupied({"0005-templates": tables["0005-templates"]}, {}) == frozenset({"fingerprint/3.6"})
    assert occupied({"0001-options": b""}, {}) is None


@given(
    st.dictionaries(st.sampled_from(ALL_TABLES), st.binary(max_size=240), max_size=11),
    st.dictionaries(st.sampled_from(["record_bytes", "fp_version", "attlog_bytes", "unsupported"]), st.integers(0, 80)),
)
@settings(max_examples=200)
def test_any_tables_become_records_or_our_error(tables: dict[str, bytes], variant: dict[str, Any]) -> None:
    for name in ("0004-users", "0006-zones", "0007-groups", "0008-combinations", "0009-verify"):
        if name in tables and variant.get("fp_version", 0) % 2:
            size = {"0004-users": 72, "0006-zones": 32, "0009-verify": 24}.get(name, 8)
            tables[name] = tables[name][: len(tables[name]) // size * size]
    try:
        found = decode(tables, variant)
    except FrameError:
        return
    assert {loss.code for loss in found.losses} <= LOSS_CODES
    whole = snapshot(found, tables)
    for user in found.users:
        assert whole.bytes_of(user.raw[0])
    keys = [user.key for user in found.users] + [item.key for item in found.credentials]
    keys += [item.key for item in found.schedules] + [item.key for item in found.groups]
    assert len(keys) == len(set(keys))


# ---- fitting --------------------------------------------------------------------------------------------------------


def fit(body: bytes, width: Width, target: Width) -> list[Fitted]:
    tables = {"0004-users": body}
    source = snapshot(decode(tables, {"record_bytes": width}), tables)
    held = snapshot(decode({}, {"record_bytes": target}), {})
    found = fitted(source, held)
    assert list(found) == [user.key for user in source.users]
    return list(found.values())


@given(data=st.data())
@settings(max_examples=30)
def test_equal_widths_take_the_very_bytes(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from(USER_BYTES))
    body = data.draw(st.binary(min_size=3 * width, max_size=3 * width))
    assert [item.record for item in fit(body, width, width)] == [body[at : at + width] for at in (0, width, 2 * width)]


def test_a_name_is_cut_and_everything_else_is_a_question_or_refused() -> None:
    (found,) = fit(user72(1, name="Maximilian 张伟".encode(), password=b"12345", card=99, group=4, privilege=7), 72, 28)
    row = parse_user(found.record)
    assert isinstance(row, Row28)
    assert (row.name, row.password, row.group, row.privilege, row.user_id) == (b"Maximili", b"12345", 4, 7, 1001)
    assert card_of(row) == 99
    assert ([code for code, _ in found.changes], found.questions, found.refusals) == (["name-cut"], (), ())
    (found,) = fit(user72(1, name=(ZHANG * 2).encode()), 72, 28)
    assert parse_user(found.record).name == ZHANG.encode() + b"\0\0"
    (found,) = fit(user72(1, password=b"123456"), 72, 28)
    assert [code for code, _ in found.questions] == ["pin-length"]
    assert "123456" not in str(found.questions)
    assert password_of(parse_user(found.record)) == b"", "never cut"
    for text in ("A7", "", "4294967296", "0", "-5", "１２"):
        (found,) = fit(user72(1, user_id=text), 72, 28)
        assert [code for code, _ in found.questions] == ["user-id-unsupported"], text
    (found,) = fit(user72(1, user_id="007"), 72, 28)
    assert ([code for code, _ in found.changes], found.questions) == (["user-id-unsupported"], ())
    (found,) = fit(user72(1, own_tz=1, tz1=3), 72, 28)
    assert [code for code, _ in found.refusals] == ["schedule-unsupported"]
    both = fit(user72(1, user_id="007") + user72(2, user_id="7"), 72, 28)
    assert [code for code, _ in both[1].questions] == ["user-id-duplicate"]


def test_a_narrow_record_fits_a_wide_one() -> None:
    raw = user28(3, name=b"Ben Ost!", password=b"54321", card=(77).to_bytes(5, "little"), group=2, privilege=15)
    (found,) = fit(raw, 28, 72)
    row = parse_user(found.record)
    assert isinstance(row, Row72)
    assert (found.changes, found.questions, found.refusals) == ((), (), ())
    assert (row.uid, row.privilege, row.card, row.group, row.own_tz) == (3, 15, 77, 2, 0)
    assert (row.name.rstrip(b"\0"), password_of(row), external_id_of(row)) == (b"Ben Ost!", b"54321", "1003")
    (found,) = fit(user28(3, tz_bits=1), 28, 72)
    assert [code for code, _ in found.refusals] == ["schedule-unsupported"]
    (found,) = fit(user28(3, card=b"\xff" * 5, user_id=0), 28, 72)
    assert sorted(code for code, _ in found.questions) == ["card-too-long", "user-id-unsupported"]


def test_the_oldest_records_fit_only_with_a_word() -> None:
    raw = build_user(Row16(4, 3, b"123\0\0", b"Cy".ljust(8, b"\0")))
    for target in (28, 72):
        (found,) = fit(raw, 16, target)
        row = parse_user(found.record)
        assert [code for code, _ in found.questions] == ["schedule-unreadable"]
        assert (row.privilege, external_id_of(row)) == (14, "4")
    (found,) = fit(user28(4, privilege=1, group=2, card=b"\x01\0\0\0\0"), 28, 16)
    assert [code for code, _ in found.refusals] == ["disabled-unsupported", "schedule-unsupported"]
    assert {code for code, _ in found.questions} == {"card-too-long", "user-id-unsupported"}


@given(data=st.data())
@settings(max_examples=60)
def test_any_user_fits_any_width_and_never_gains_a_right(data: st.DataObject) -> None:
    width, target = data.draw(st.sampled_from(USER_BYTES)), data.draw(st.sampled_from(USER_BYTES))
    body = data.draw(st.binary(min_size=width, max_size=width))
    (found,) = fit(body, width, target)
    assert len(found.record) == target
    codes = {code for code, _ in (*found.changes, *found.questions, *found.refusals)}
    assert codes <= LOSS_CODES
    before, after = parse_user(body), parse_user(found.record)
    if not isinstance(before, Row16) and not isinstance(after, Row16):
        assert before.privilege == after.privilege
        assert before.group == after.group
    if isinstance(before, Row72) and before.own_tz and target != 72:
        assert found.refusals


def test_ten_thousand_users_are_fitted_in_a_few_seconds() -> None:
    body = b"".join(user72(uid, name=b"Somebody with a name") for uid in range(1, 10_001))
    began = time.process_time()
    assert len(fit(body, 72, 28)) == 10_000
    assert time.process_time() - began < 6
