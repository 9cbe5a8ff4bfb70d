"""0xF5 modules: frames and tables against the reference, and the conversation with simulated ones."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from framing import assert_cut_is_incomplete, assert_every_split, frames_from
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lockmigrate import profiles
from lockmigrate.errors import (
    ConnectError,
    FrameError,
    LinkError,
    LinkLost,
    LockmigrateError,
    NoAnswer,
    ProfileError,
    RefusedError,
    Unsupported,
)
from lockmigrate.formats import decode, f5
from lockmigrate.formats.f5 import (
    COMMANDS,
    MAX_BUFFER_BYTES,
    MAX_LIST_BYTES,
    Data,
    Framer,
    Short,
    UserData,
    build_user_data,
    parse_list,
    parse_user_data,
    result_text,
)
from lockmigrate.formats.f5_tables import (
    ALL_TABLES,
    COUNT,
    LIST,
    SETTINGS,
    TEMPLATES,
    VERSION,
    format_id,
    join_settings,
    join_templates,
    occupied,
    split_templates,
    text_of,
)
from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.steps import Done, Step
from lockmigrate.planning.templates import fit
from lockmigrate.protocols import EVERYTHING, QUICK, Scope, Section
from lockmigrate.protocols.door import Door, door_of
from lockmigrate.protocols.f5 import F5Lock
from lockmigrate.protocols.f5_door import check_variant, open_unit
from lockmigrate.sim import open_unit as simulated
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports import Outgoing
from lockmigrate.transports.memory import LinkFaults, MemoryLink

load_profile = functools.cache(profiles.load_profile)
load_all = functools.cache(profiles.load_all)
PROFILES: Final = [profile.name for profile in load_all("f5")]
CLEAR_WITHIN_S: Final = 900.0
"""Virtual time: nothing may take longer, whatever goes wrong."""
NEVER_SENT: Final = {0x01, 0x02, 0x03, 0x06, 0x21, 0x2C}
ONLY_TEMPLATES: Final = frozenset({Section.CREDENTIALS})
TEMPLATE: Final = bytes(range(193))
WANTED: Final = b"\x02" + TEMPLATE
OTHER: Final = b"\x01" + bytes((5 * index + 0xF5) % 256 for index in range(193))
DELETE, DELETE_ALL, COUNT_CODE, PERMISSION, LIST_CODE, DUPLICATES, READ, WRITE = (
    0x04, 0x05, 0x09, 0x0A, 0x2B, 0x2D, 0x31, 0x41,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _profiles_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening parses every profile there is, which takes most of the time of a small conversation."""
    monkeypatch.setattr("lockmigrate.protocols.door.load_profile", load_profile)
    monkeypatch.setattr("lockmigrate.protocols.door.load_all", load_all)


def _vectors() -> list[tuple[str, str, bytes]]:
    text = (Path(__file__).parent / "vectors" / "f5" / "frames.txt").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if line and not line.startswith("#")]
    return [(kind, meaning, bytes.fromhex(raw)) for kind, _, meaning, raw in lines]


VECTORS: Final = _vectors()
BY_MEANING: Final = {meaning: raw for _, meaning, raw in VECTORS}


# ---- frames ---------------------------------------------------------------------------------------------------------


def expecting(data_bytes: int | None) -> Callable[[], Framer]:
    def make() -> Framer:
        framer = Framer()
        framer.expect(data_bytes)
        return framer

    return make


@pytest.mark.parametrize(("kind", "meaning", "raw"), VECTORS, ids=[meaning for _, meaning, _ in VECTORS])
def test_a_worked_frame_is_parsed_and_built_again(kind: str, meaning: str, raw: bytes) -> None:
    size = len(raw) - 3 if kind == "data" else None
    (frame,) = frames_from(expecting(size)(), [raw])
    assert frame == (Data(raw[1:-2]) if kind == "data" else Short(*raw[1:5]))
    assert Framer.encode(frame) == raw


SENT: Final = [
    (Short(f5.DELETE_USER.code, 300 >> 8, 300 & 0xFF), "delete user 300"),
    (Short(f5.COUNT.code), "count"),
    (Short(f5.PERMISSION.code, 0, 5), "permission of user 5"),
    (Short(f5.MATCH.code), "1:N"),
    (Short(f5.LIST.code), "list"),
    (Short(f5.READ_TEMPLATE.code, 0, 5), "read template of user 5"),
    (Short(f5.WRITE_TEMPLATE.code, 0, 196), "write template head"),
    (Short(f5.DUPLICATES.code, 0, 0, 1), "query duplicates"),
    (Short(f5.DUPLICATES.code, 0, 1, 0), "forbid duplicates"),
    (Short(f5.LEVEL.code, 0, 0, 1), "query level"),
    (Short(f5.CAPTURE_TIMEOUT.code, 0, 0, 1), "query timeout"),
]


@pytest.mark.parametrize(("frame", "meaning"), SENT, ids=[meaning for _, meaning in SENT])
def test_a_command_that_we_send_is_the_worked_frame(frame: Short, meaning: str) -> None:
    assert Framer.encode(frame) == BY_MEANING[meaning]


def test_the_worked_template_packet_is_built_and_read() -> None:
    content = build_user_data(5, 1, TEMPLATE)
    raw = Framer.encode(Data(content))
    assert raw[:6] == bytes.fromhex("f50005010001")
    assert raw[-2:] == bytes.fromhex("c4f5")
    assert len(raw) == 199
    assert len(BY_MEANING["read template head"] + raw) == 207, "the published cross-check: 8 + 196 + 3"
    assert frames_from(expecting(196)(), [raw]) == [Data(content)]
    assert parse_user_data(content) == UserData(5, 1, TEMPLATE)
    for thing in (Data(content), UserData(5, 1, TEMPLATE)):
        assert repr(TEMPLATE)[2:12] not in repr(thing)


def test_nothing_forbidden_is_among_the_commands_and_changes_are_never_repeatable() -> None:
    codes = [command.code for command in COMMANDS]
    assert not set(codes) & NEVER_SENT
    assert len(set(codes)) == len(codes)
    assert {command.code for command in COMMANDS if not command.repeatable} == {0x04, 0x05, 0x0C, 0x41}
    assert {command.code for command in COMMANDS if not command.q3_is_result} == {0x0A, 0x0C}


def test_frames_are_found_however_they_arrive() -> None:
    for meaning in ("count is 7", "read template head", "permission 2"):
        raw = BY_MEANING[meaning]
        assert_every_split(Framer, raw * 2, [Short(*raw[1:5])] * 2)
        assert_cut_is_incomplete(Framer, raw)
    listed = BY_MEANING["list: user 1 perm 1, user 5 perm 2"]
    assert_every_split(expecting(8), listed, [Data(listed[1:-2])])
    assert_cut_is_incomplete(expecting(8), listed)


def test_a_long_answer_may_arrive_as_one_and_is_cut_by_its_length_alone() -> None:
    for filler in (b"\xf5", b"\xf5\x31\x00\xc4\x00\x00\xf5\xf5", b"\xf5\xf5\x00"):
        body = (filler * 196)[:196]
        framer = Framer()
        framer.feed(BY_MEANING["read template head"] + Framer.encode(Data(body)) + BY_MEANING["count is 7"])
        assert framer.next() == Short(0x31, 0, 196, 0)
        framer.expect(196)
        assert framer.next() == Data(body)
        framer.expect(None)
        assert framer.next() == Short(0x09, 0, 7, 0)
        assert framer.reset() == 0


def test_every_flipped_bit_of_a_frame_is_an_error_and_drops_what_is_buffered() -> None:
    for raw, size in ((BY_MEANING["count is 7"], None), (Framer.encode(Data(WANTED)), len(WANTED))):
        for bit in range(8 * len(raw)):
            bad = bytearray(raw)
            bad[bit // 8] ^= 1 << bit % 8
            framer = expecting(size)()
            framer.feed(bytes(bad) + b"\xf5\x09")
            with pytest.raises(FrameError):
                framer.next()
            assert framer.reset() == 0


@pytest.mark.parametrize("noise", [b"\x00", b"\xff\xf5", b"\xf5", b"\x55\xaa", b"login: "])
def test_noise_is_never_skipped_since_a_start_cannot_be_searched_for(noise: bytes) -> None:
    framer = Framer()
    framer.feed(noise + BY_MEANING["count is 7"])
    with pytest.raises(FrameError):
        framer.next()
    framer.feed(BY_MEANING["count is 7"])
    assert framer.next() == Short(0x09, 0, 7, 0)


def test_what_cannot_be_sent_or_expected_is_refused_and_the_buffer_is_bounded() -> None:
    for frame in (Short(256), Short(1, -1), Short(1, 0, 256), Data(b""), Data(bytes(MAX_LIST_BYTES + 1))):
        with pytest.raises(FrameError):
            Framer.encode(frame)
    for size in (0, -1, MAX_LIST_BYTES + 1):
        with pytest.raises(FrameError):
            Framer().expect(size)
    framer = Framer()
    for _ in range(3):
        framer.feed(b"\xf5" * MAX_BUFFER_BYTES)
    assert framer.reset() == MAX_BUFFER_BYTES


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([raw for _, _, raw in VECTORS])), max_size=8))
def test_any_bytes_give_frames_or_frame_errors_and_pieces_do_not_matter(pieces: list[bytes]) -> None:
    def run(chunks: list[bytes]) -> list[Short | Data]:
        framer, found = Framer(), []
        for chunk in chunks:
            framer.feed(chunk)
            try:
                while (frame := framer.next()) is not None:
                    found.append(frame)
            except FrameError:
                return [*found, Data(b"!")]
        return found

    data = b"".join(pieces)
    assert run([data]) == run([bytes([byte]) for byte in data]) == run(pieces)


@given(st.tuples(*[st.integers(0, 255)] * 4), st.binary(min_size=1, max_size=600))
def test_any_frame_comes_back(fields: tuple[int, int, int, int], content: bytes) -> None:
    assert frames_from(Framer(), [Framer.encode(Short(*fields))]) == [Short(*fields)]
    assert frames_from(expecting(len(content))(), [Framer.encode(Data(content))]) == [Data(content)]


def test_the_list_is_read_as_the_reference_says_and_nothing_less() -> None:
    content = BY_MEANING["list: user 1 perm 1, user 5 perm 2"][1:-2]
    assert parse_list(content) == (2, {1: 1, 5: 2})
    assert parse_list(b"\0\0") == (0, {})
    assert parse_list(b"\0\5") == (5, {}), "what the module counts is not what it names; the reader compares"
    for bad in (b"", b"\0", b"\0\1\0", b"\0\1\0\1", b"\0\2\0\1\1\0\1\1"):
        with pytest.raises(FrameError):
            parse_list(bad)
    for bad in (b"", b"\0\1\1"):
        with pytest.raises(FrameError):
            parse_user_data(bad)


def test_a_result_says_its_number() -> None:
    assert result_text(5) == "no user has this id (result 05)"
    assert "result 7A" in result_text(0x7A)


# ---- tables ---------------------------------------------------------------------------------------------------------


def _tables() -> dict[str, bytes]:
    return {
        VERSION: b"TFS-A 1.0\0\0",
        LIST: bytes.fromhex("0003 000101 000502 000703"),
        SETTINGS: join_settings({0x28: 5, 0x2D: 1, 0x2E: 20}),
        TEMPLATES: join_templates([(1, b"\x01" + TEMPLATE), (5, b"\x02" + TEMPLATE), (7, b"")]),
        COUNT: b"\0\3",
    }


def test_tables_become_records() -> None:
    tables = _tables()
    assert sorted(tables) == sorted(ALL_TABLES)
    found = decode("f5", tables, {"slots": 1000, "template_size": None})
    assert [item.key for item in found.credentials] == ["fingerprint/1", "fingerprint/5", "fingerprint/7"]
    first, second, unread = found.credentials
    assert first.template is not None
    ref = first.template.template
    assert tables[TEMPLATES][ref.offset : ref.offset + ref.size] == b"\x01" + TEMPLATE, "permission and template"
    assert first.template.template_format == "f5/f5/TFS-A_1.0/193"
    assert (second.vendor, second.origin) == ({"f5": {"permission": 2}}, {"credential_index": 5})
    assert (unread.data, unread.data_state, unread.vendor) == (None, "present_unreadable", {"f5": {"permission": 3}})
    assert [(loss.record, loss.code) for loss in found.losses] == [("fingerprint/7", "template-unreadable")]
    assert [(item.key, item.value, item.portable) for item in found.settings] == [
        ("setting/f5.security_level", 5, True),
        ("setting/f5.duplicates", 1, True),
        ("setting/f5.capture_timeout", 20, True),
    ]
    assert [tables[SETTINGS][item.raw[0].offset] for item in found.settings] == [5, 1, 20]
    coverage = found.coverage["credentials"]
    assert (coverage.state, coverage.device_count, coverage.read_count) == ("partial", 3, 2)
    fingerprint = found.capabilities.credentials.fingerprint
    assert fingerprint is not None
    assert (fingerprint.slots, fingerprint.first_slot, fingerprint.template_size_bytes) == (1000, 1, 193)
    assert (found.lock.firmware_rev, found.lock.serial) == ("TFS-A 1.0", None)
    assert occupied(tables, {}) == {"fingerprint/1", "fingerprint/5", "fingerprint/7"}
    assert occupied({TEMPLATES: tables[TEMPLATES]}, {}) is None


def test_a_changed_permission_is_another_record() -> None:
    tables = _tables()
    before = decode("f5", tables, {}).credentials[0].template
    changed = {**tables, TEMPLATES: join_templates([(1, b"\x03" + TEMPLATE)])}
    after = decode("f5", changed, {}).credentials[0].template
    assert before is not None
    assert after is not None
    assert before.sha256 != after.sha256


@pytest.mark.parametrize("table", [LIST, COUNT])
def test_a_number_that_differs_from_what_answered_is_partial(table: str) -> None:
    tables = {**_tables(), TEMPLATES: join_templates([(user, b"\1" + TEMPLATE) for user in (1, 5, 7)])}
    assert decode("f5", tables, {}).coverage["credentials"].state == "full"
    tables[table] = b"\0\4" if table == COUNT else b"\0\4" + tables[LIST][2:]
    coverage = decode("f5", tables, {}).coverage["credentials"]
    assert (coverage.state, coverage.device_count, coverage.read_count) == ("partial", 4, 3)
    assert coverage.why


@pytest.mark.parametrize(
    ("table", "raw"),
    [
        (TEMPLATES, b"\0"),
        (TEMPLATES, b"\0\1\0\2x"),
        (TEMPLATES, b"\0\1\0\1x"),
        (TEMPLATES, join_templates([(1, b"ab"), (1, b"cd")])),
        (LIST, b"\0\1\0"),
        (SETTINGS, b"\x28"),
        (SETTINGS, b"\x29\1"),
        (SETTINGS, b"\x28\1\x28\1"),
        (COUNT, b"\1"),
    ],
)
def test_a_table_that_does_not_follow_its_layout_is_refused(table: str, raw: bytes) -> None:
    with pytest.raises(FrameError):
        decode("f5", {table: raw}, {})


@given(st.dictionaries(st.sampled_from(ALL_TABLES), st.binary(max_size=60)), st.booleans())
def test_any_tables_are_decoded_or_refused(tables: dict[str, bytes], odd: bool) -> None:
    try:
        found = decode("f5", tables, {"template_size": "193", "slots": []} if odd else {})
    except FrameError:
        return
    raw = tables.get(TEMPLATES, b"")
    rows = [(item.origin["credential_index"], item.template) for item in found.credentials]
    again = [(slot, raw[t.template.offset :][: t.template.size] if t else b"") for slot, t in rows]
    assert join_templates(again) == raw


def test_a_version_is_text_hex_or_nothing() -> None:
    assert text_of(b"V1.0\0\0 ") == "V1.0"
    assert text_of(b"\x01\x02") == "0102"
    assert text_of(b"\0\0") is None
    assert format_id("a/b c" + "x" * 99, 193).count("/") == 3
    assert format_id(None, None) == "f5/f5/-/?"


def test_templates_of_the_same_version_and_size_fit_and_another_version_is_a_question() -> None:
    def judge(source: str, *target: str) -> str:
        return fit(source, CredentialCapability(slots=1, writable="data", template_formats=target))

    mine = format_id("V1", 193)
    assert judge(mine, mine) == "fits"
    assert judge(mine, format_id("V2", 193)) == "template-look-alike"
    assert judge(mine, format_id("V1", 512)) == "template-size"
    assert judge(mine, format_id("V1", None)) == "size-unverified"
    assert judge(mine, format_id("*", 193)) == "fits"
    assert judge(mine, "gt511/gt511/V1/193") == "template-format"


# ---- the conversation -----------------------------------------------------------------------------------------------


def unit_of(profile: str = "f5", preset: str = "full", **options: str) -> SimulatedUnit:
    return simulated(load_profile(profile), preset, options)


def small(preset: str = "full", **options: str) -> SimulatedUnit:
    """Make a module of 8 users, 5 of them there unless it is empty."""
    settled = {"slots": "8", **options}
    if preset != "empty":
        settled.setdefault("fill", "5")
    return unit_of("f5", preset, **settled)


USED: Final = sorted(small().flash.templates)
FREE: Final = next(user for user in range(1, 9) if user not in USED)


def held(unit: SimulatedUnit) -> dict[int, bytes]:
    """What the unit's memory holds, as we keep it: permission byte and template."""
    return {user: bytes([permission]) + template for user, (permission, template) in unit.flash.templates.items()}


async def opened(unit: SimulatedUnit, *, faults: LinkFaults | None = None, **door: Any) -> F5Lock:
    link = MemoryLink.open(unit.device, faults=faults, instant=not unit.line.paced)
    return await opened_on(link, **door)


async def opened_on(link: MemoryLink, **door: Any) -> F5Lock:
    try:
        async with asyncio.timeout(CLEAR_WITHIN_S):
            return await open_unit(link, Door(target="the port", port_id="here", **door))
    except BaseException:
        await link.close()
        raise


async def items_of(events: AsyncIterator[Any]) -> list[Any]:
    async with asyncio.timeout(CLEAR_WITHIN_S):
        return [item async for item in events]


def tables_of(items: list[Any]) -> dict[str, bytes]:
    return {item.name: item.data for item in items if isinstance(item, Table)}


def templates_of(items: list[Any]) -> dict[int, bytes]:
    raw = tables_of(items)[TEMPLATES]
    return {user: raw[at : at + size] for user, at, size in split_templates(raw) if size}


async def whole(unit: SimulatedUnit, **door: Any) -> dict[int, bytes]:
    lock = await opened(unit, **door)
    found = templates_of(await items_of(lock.read()))
    await lock.close()
    return found


async def written(lock: F5Lock, *steps: Step) -> list[Done]:
    return await items_of(lock.write(steps))


def put(user: int, data: bytes = WANTED, *, was_empty: bool = True) -> Step:
    return Step(
        key=f"fingerprint/{user}",
        kind="fingerprint",
        action="put",
        origin={"credential_index": user},
        value=data,
        was_empty=was_empty,
    )


def removal(user: int) -> Step:
    origin = {"credential_index": user}
    return Step(key=f"fingerprint/{user}", kind="fingerprint", action="remove", origin=origin, was_empty=False)


def setting(name: str, value: int) -> Step:
    return Step(key=f"setting/f5.{name}", kind="setting", action="put", origin={}, value=value, was_empty=False)


Answer = list[bytes] | bytes


class Scripted:
    """A device that answers each command by its code, whatever state it should be in; not a module."""

    def __init__(self, answers: dict[int, Answer] | None = None, *, says: bytes = b"") -> None:
        self.answers = answers or {}
        self.says = says
        self.heard: list[bytes] = []

    def opened(self, now_s: float) -> list[Outgoing]:
        return []

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        self.heard.append(data)
        listed = self.answers.get(data[1], b"") if data[:1] == b"\xf5" else b""
        reply = self.says or (listed if isinstance(listed, bytes) else listed.pop(0) if listed else b"")
        return [Outgoing(at_s=now_s + 0.001, data=reply)] if reply else []

    def set_host_baud(self, baud: int | None) -> None: ...

    def closed(self) -> None: ...

    def codes(self) -> list[int]:
        return [data[1] for data in self.heard if data[:1] == b"\xf5"]


def answer(code: int, number: int = 0, result: int = 0) -> bytes:
    return Framer.encode(Short(code, number >> 8, number & 0xFF, result))


def long(code: int, content: bytes) -> bytes:
    return answer(code, len(content)) + Framer.encode(Data(content))


def given_out(user: int, data: bytes) -> bytes:
    return long(READ, build_user_data(user, data[0], data[1:]))


async def scripted(answers: dict[int, Answer], **door: Any) -> tuple[F5Lock, Scripted]:
    """Open a device that counts one user unless it says otherwise, and allows duplicates."""
    settled: dict[int, Answer] = {
        COUNT_CODE: answer(COUNT_CODE, 1),
        0x28: answer(0x28, 5),
        0x26: long(0x26, b"V1"),
        DUPLICATES: answer(DUPLICATES, 0),
        LIST_CODE: long(LIST_CODE, b"\0\1\0\1\2"),
    }
    device = Scripted(dict(settled))
    lock = await opened_on(MemoryLink.open(device), **door)
    device.answers |= answers
    device.heard.clear()
    return lock, device


# ---- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baud", [9600, 19200, 38400, 57600, 115200])
async def test_the_speed_of_a_module_is_found_and_stays(baud: int) -> None:
    unit = small(baud=str(baud))
    lock = await opened(unit)
    assert (await lock.identify()).details["baud"] == baud
    assert templates_of(await items_of(lock.read())) == held(unit)
    assert unit.line.baud == baud


async def test_an_explicit_speed_is_the_only_one_tried() -> None:
    unit = small(baud="9600")
    assert await whole(unit, explicit_baud=9600) == held(unit)
    with pytest.raises(NoAnswer, match="19200 baud"):
        await opened(small(baud="9600"), explicit_baud=19200)


async def test_a_silent_port_is_no_answer_and_only_the_count_was_asked() -> None:
    device = Scripted()
    with pytest.raises(NoAnswer, match="the port") as caught:
        await opened_on(MemoryLink.open(device))
    assert "TX and RX" in (caught.value.hint or "")
    assert set(device.codes()) == {COUNT_CODE}


@pytest.mark.parametrize(
    "says",
    [
        b"login: \r\npassword?",
        bytes.fromhex("ef01ffffffff0700030000ff0a"),
        bytes.fromhex("55aa01000300000030003301"),
        bytes.fromhex("f5090007000000f5 00"),
        bytes.fromhex("f52b0008000023f5f5"),
    ],
    ids=["a console", "ef01", "gt511", "a wrong check", "an answer to something else"],
)
@pytest.mark.parametrize("baud", [None, 19200])
async def test_something_else_that_talks_is_named_so(says: bytes, baud: int | None) -> None:
    with pytest.raises(ConnectError) as caught:
        await opened_on(MemoryLink.open(Scripted(says=says)), explicit_baud=baud)
    assert caught.value.code == "unknown-unit"


class Echo(Scripted):
    """A line that gives back what it is sent: to the count, that is "nobody enrolled"."""

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        self.heard.append(data)
        return [Outgoing(at_s=now_s, data=data)]


async def test_an_echoing_port_is_not_an_empty_module() -> None:
    with pytest.raises(ConnectError, match="gives back what it is sent") as caught:
        await opened_on(MemoryLink.open(Echo()))
    assert caught.value.code == "unknown-unit"


@pytest.mark.parametrize("quirks", ["no-settings", "silent-unknown,no-settings,no-version", "no-list,no-settings"])
async def test_a_module_that_knows_little_is_not_taken_for_an_echo(quirks: str) -> None:
    for preset in ("empty", "full"):
        unit = small(preset, quirks=quirks)
        lock = await opened(unit)
        assert (await lock.identify()).counts == {"fingerprints": len(unit.flash.templates)}
        assert SETTINGS not in tables_of(await items_of(lock.read(QUICK)))


async def test_a_module_at_the_levels_zero_is_not_taken_for_an_echo() -> None:
    assert await whole(small(level="0")) == held(small())


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("named", [True, False])
async def test_every_profile_reads_byte_for_byte_and_the_module_is_left_as_it_was(profile: str, named: bool) -> None:
    unit = unit_of(profile, "half", fill="40")
    before = unit.image()
    lock = await opened(unit, **({"profile": load_profile(profile)} if named else {}))
    first = await lock.identify()
    items = await items_of(lock.read())
    second = await lock.identify()
    await lock.close()
    tables = tables_of(items)
    assert templates_of(items) == held(unit)
    assert parse_list(tables[LIST]) == (40, {user: pair[0] for user, pair in unit.flash.templates.items()})
    assert tables[COUNT] == b"\0\x28"
    flash = unit.flash
    assert tables[SETTINGS] == bytes([0x28, flash.level, 0x2D, flash.duplicates, 0x2E, flash.timeout])
    assert (first.id, first.counts) == (second.id, second.counts) == ("here", {"fingerprints": 40})
    assert (first.serial, first.firmware) == (None, text_of(tables[VERSION]))
    assert first.profile == (profile if named else "f5")
    assert not set(unit.log) & (NEVER_SENT | {DELETE, DELETE_ALL, WRITE})
    assert unit.image() == before
    sections = decode("f5", tables, lock.variant)
    assert sections.coverage["credentials"].state == "full"
    assert sections.capabilities.credentials.fingerprint == second.capabilities.credentials.fingerprint


async def test_a_profile_of_another_family_is_refused_and_a_variant_too() -> None:
    with pytest.raises(ProfileError):
        await opened(small(), profile=load_profile("r503"))
    profile = load_profile("waveshare-fp-c")
    check_variant(profile)
    with pytest.raises(ProfileError, match=r"variant\.dialect"):
        check_variant(replace(profile, variant={"dialect": "classic"}))
    assert door_of("f5").open_unit is open_unit


@pytest.mark.parametrize("kind", ["flip", "lose"])
@pytest.mark.parametrize("bad_check", ["fail", "silent"])
async def test_one_fault_while_opening_is_got_over(kind: str, bad_check: str) -> None:
    for side in ("in", "out"):
        for number in range(1, 8):
            unit = small(bad_check=bad_check, **{kind: f"{side}:frame:{number}"})
            lock = await opened(unit)
            assert (await lock.identify()).firmware, f"{side} {number}: the version was lost"
            assert templates_of(await items_of(lock.read())) == held(unit), f"{side} {number}"


# ---- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"bad_check": "silent"}, {"pace": "1"}])
@pytest.mark.parametrize("kind", ["flip", "lose", "reboot"])
async def test_one_fault_anywhere_never_changes_what_is_read(kind: str, options: dict[str, str]) -> None:
    clean = small(**options)
    lock = await opened(clean)
    expected = tables_of(await items_of(lock.read()))
    for side in ("in", "out"):
        total = clean.frames_in if side == "in" else clean.frames_out
        assert total > 14
        for number in range(1, total + 1, 1 if not options else 2):
            unit = small(**{**options, kind: f"{side}:frame:{number}"})
            lock = await opened(unit)
            items = await items_of(lock.read())
            assert tables_of(items) == expected, f"{side} {number}"
            assert not any(isinstance(item, Gap) for item in items)


@pytest.mark.parametrize("late_s", ["0.25", "1.05", "1.2", "2.3", "3.4"])
async def test_an_answer_that_comes_late_is_never_taken_for_another_ones(late_s: str) -> None:
    """Neither by the next question nor by the one that brings the line back into step."""
    steps = [put(FREE, OTHER), removal(USED[0])]
    clean = small()
    lock = await opened(clean)
    expected = tables_of(await items_of(lock.read()))
    await written(lock, *steps)
    for number in range(1, clean.frames_out + 1):
        unit = small(delay=f"out:frame:{number}:{late_s}")
        lock = await opened(unit)
        assert tables_of(await items_of(lock.read())) == expected, f"frame {number}"
        done = await written(lock, *steps)
        assert [item.status for item in done] == ["written", "removed"], f"frame {number}: {done}"
        assert unit.image() == clean.image()


async def test_an_answer_to_another_command_is_not_believed() -> None:
    lock, _ = await scripted({COUNT_CODE: [answer(PERMISSION, 9), answer(COUNT_CODE, 1), answer(COUNT_CODE, 2)]})
    assert (await lock.identify()).counts == {"fingerprints": 2}, "one to come into step again, one to the question"


@pytest.mark.parametrize("kind", ["lose", "flip"])
async def test_one_byte_lost_or_damaged_anywhere_is_got_over(kind: str) -> None:
    clean = small()
    await whole(clean)
    for side, total in (("out", clean.wire_bytes_out), ("in", clean.wire_bytes_in)):
        for number in range(1, total + 1, 23 if side == "out" else 3):
            unit = small(**{kind: f"{side}:byte:{number}"})
            assert await whole(unit) == held(unit), f"{side} {number}"


async def test_an_unreadable_template_is_a_gap_and_a_loss_with_its_permission() -> None:
    victim = USED[1]
    unit = small(quirks=f"unreadable:{victim}")
    lock = await opened(unit)
    items = await items_of(lock.read())
    (gap,) = [item for item in items if isinstance(item, Gap)]
    assert (gap.record, gap.code) == (f"fingerprint/{victim}", "template-unreadable")
    assert templates_of(items).keys() == set(USED) - {victim}
    found = decode("f5", tables_of(items), lock.variant)
    assert found.coverage["credentials"].state == "partial"
    (lost,) = [item for item in found.credentials if item.data is None]
    assert lost.vendor == {"f5": {"permission": unit.flash.templates[victim][0]}}


async def test_a_permission_that_list_and_template_tell_differently_is_not_chosen_between() -> None:
    victim = USED[1]
    lock = await opened(small(quirks=f"permission-differs:{victim}:99"))
    items = await items_of(lock.read())
    (gap,) = [item for item in items if isinstance(item, Gap)]
    assert gap.record == f"fingerprint/{victim}"
    assert "permission" in gap.detail
    assert victim not in templates_of(items)


async def test_a_template_of_another_user_is_never_taken() -> None:
    others = b"\x02" + OTHER[1:]
    lock, device = await scripted({READ: [given_out(3, others), given_out(1, WANTED)]})
    assert templates_of(await items_of(lock.read())) == {1: WANTED}
    assert device.codes().count(READ) == 2
    lock, _ = await scripted({READ: given_out(3, others)})
    items = await items_of(lock.read())
    assert templates_of(items) == {}
    assert [item.record for item in items if isinstance(item, Gap)] == ["fingerprint/1"]


async def test_a_listed_user_whom_the_module_then_denies_is_a_gap() -> None:
    lock, _ = await scripted({READ: answer(READ, 0, f5.NO_USER)})
    items = await items_of(lock.read())
    (gap,) = [item for item in items if isinstance(item, Gap)]
    assert "result 05" in gap.detail


async def test_numbers_that_do_not_fit_are_told_and_partial() -> None:
    unit = small(quirks="count-off")
    lock = await opened(unit)
    items = await items_of(lock.read())
    assert templates_of(items) == held(unit)
    assert any("differ" in text for text in (await lock.identify()).warnings)
    assert decode("f5", tables_of(items), lock.variant).coverage["credentials"].state == "partial"


async def test_without_a_list_every_id_is_asked() -> None:
    unit = small(quirks="no-list")
    lock = await opened(unit, profile=load_profile("f5"))
    items = await items_of(lock.read())
    assert LIST not in tables_of(items)
    assert templates_of(items) == held(unit)
    assert unit.log.count(READ) == f5.MAX_USER
    assert occupied(tables_of(items), {}) is None
    assert decode("f5", tables_of(items), lock.variant).coverage["credentials"].state == "full"


async def test_a_list_that_is_never_whole_ends_the_read_and_a_damaged_one_is_asked_again() -> None:
    lock, _ = await scripted({LIST_CODE: long(LIST_CODE, b"\0\1\0\1")})
    with pytest.raises(FrameError):
        await items_of(lock.read(frozenset({Section.INDEX})))
    good = long(LIST_CODE, b"\0\1\0\1\2")
    lock, _ = await scripted({LIST_CODE: [long(LIST_CODE, b"\0\1\0\1"), good]})
    assert tables_of(await items_of(lock.read(frozenset({Section.INDEX}))))[LIST] == b"\0\1\0\1\2"


async def test_an_impossible_length_is_not_waited_for() -> None:
    lock, device = await scripted({READ: given_out(1, b"\2" + bytes(5000))})
    assert templates_of(await items_of(lock.read(ONLY_TEMPLATES))) == {}
    device.answers[READ] = answer(READ, 0xFFFF)
    loop = asyncio.get_running_loop()
    started = loop.time()
    items = await items_of(lock.read(ONLY_TEMPLATES))
    assert templates_of(items) == {}
    assert loop.time() - started < 10


@pytest.mark.parametrize("size", ["64", "193", "768", "2048"])
async def test_the_size_of_a_template_comes_from_the_module(size: str) -> None:
    unit = small(template_size=size)
    lock = await opened(unit)
    assert templates_of(await items_of(lock.read())) == held(unit)
    fingerprint = (await lock.identify()).capabilities.credentials.fingerprint
    assert fingerprint is not None
    assert fingerprint.template_size_bytes == int(size)
    assert fingerprint.template_formats[0].endswith(f"/{size}")
    new = small("empty", template_size=size)
    done = await written(await opened(new), *(put(user, data) for user, data in held(unit).items()))
    assert {item.status for item in done} == {"written"}
    assert new.flash.templates == unit.flash.templates


async def test_reading_twice_compares() -> None:
    unit = small()
    lock = await opened(unit)
    assert templates_of(await items_of(lock.read(twice=True))) == held(unit)
    assert unit.log.count(READ) == 10
    odd, _ = await scripted({READ: [given_out(1, b"\2a"), given_out(1, WANTED), given_out(1, WANTED)]})
    assert templates_of(await items_of(odd.read(ONLY_TEMPLATES, twice=True))) == {1: WANTED}


# ---- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicates", ["0", "1"])
async def test_a_template_is_written_with_its_permission_and_read_back(duplicates: str) -> None:
    unit = small("empty", duplicates=duplicates)
    lock = await opened(unit)
    done = await written(lock, put(1), put(8, OTHER), put(3))
    assert [(item.status, item.proof) for item in done] == [("written", "V4")] * 3
    assert held(unit) == {1: WANTED, 8: OTHER, 3: WANTED}, "the same finger under two ids is legal"
    assert unit.flash.duplicates == int(duplicates)
    assert DELETE not in unit.log
    await lock.close()
    assert unit.log.count(DUPLICATES) == (1 if duplicates == "0" else 4) + (2 if duplicates == "0" else 0)


@pytest.mark.parametrize("overwrite", ["0", "1"])
@pytest.mark.parametrize("was_empty", [True, False])
async def test_a_used_id_is_emptied_first(overwrite: str, was_empty: bool) -> None:
    unit = small(overwrite=overwrite)
    others = held(unit)
    (done,) = await written(await opened(unit), put(USED[2], was_empty=was_empty))
    assert (done.status, done.proof) == ("written", "V4")
    assert held(unit) == {**others, USED[2]: WANTED}
    assert unit.log.index(DELETE) < unit.log.index(WRITE)


async def test_an_id_that_holds_the_very_template_is_left_alone_and_another_permission_is_a_difference() -> None:
    unit = small()
    data = held(unit)[USED[0]]
    (done,) = await written(await opened(unit), put(USED[0], data, was_empty=False))
    assert (done.status, done.proof) == ("written", "V4")
    assert not set(unit.log) & {WRITE, DELETE}
    changed = bytes([data[0] % 3 + 1]) + data[1:]
    (done,) = await written(await opened(unit), put(USED[0], changed, was_empty=False))
    assert (done.status, held(unit)[USED[0]]) == ("written", changed)


async def test_a_read_that_is_walked_away_from_leaves_no_rule_behind() -> None:
    unit = small()
    lock = await opened(unit)
    read = lock.read(ONLY_TEMPLATES)
    while not unit.log.count(READ):
        await anext(read)
    data = held(unit)[USED[1]]
    changed = bytes([data[0] % 3 + 1]) + data[1:]
    (done,) = await written(lock, put(USED[1], changed, was_empty=False))
    assert (done.status, held(unit)[USED[1]]) == ("written", changed)
    await read.aclose()  # type: ignore[attr-defined]


async def test_a_torn_template_is_written_anew() -> None:
    unit = small(quirks=f"unreadable:{USED[1]}")
    (done,) = await written(await opened(unit), put(USED[1]))
    assert (done.status, done.proof) == ("written", "V4")
    assert held(unit)[USED[1]] == WANTED


async def test_a_store_that_fails_once_is_tried_again_and_one_that_fails_for_ever_leaves_nothing() -> None:
    unit = small("empty", quirks="store-fails:3:1")
    (done,) = await written(await opened(unit), put(3))
    assert done.status == "written"
    unit = small("empty", quirks="store-fails:3:99")
    (done,) = await written(await opened(unit), put(3))
    assert (done.status, done.code, done.proof) == ("refused", "write-refused", None)
    assert "left empty" in (done.detail or "")
    assert held(unit) == {}
    assert unit.flash.duplicates == small("empty").flash.duplicates


async def test_what_does_not_read_back_equal_does_not_stay() -> None:
    unit = small("empty", quirks="readback-differs:3:1")
    (done,) = await written(await opened(unit), put(3))
    assert (done.status, held(unit)) == ("written", {3: WANTED})
    unit = small("empty", quirks="readback-differs:3:99")
    (done,) = await written(await opened(unit), put(3))
    assert (done.status, done.code, done.proof) == ("differs", "read-back-differs", None)
    assert "left empty" in (done.detail or "")
    assert held(unit) == {}


@pytest.mark.parametrize(
    ("result", "code", "times"),
    [(f5.FULL, "capacity", 1), (f5.USER_TAKEN, "write-refused", 1), (f5.FINGER_TAKEN, "write-refused", 1)],
)
async def test_a_plain_refusal_is_not_repeated_and_says_why(result: int, code: str, times: int) -> None:
    nobody = answer(PERMISSION, 0, f5.NO_USER)
    lock, device = await scripted(
        {WRITE: answer(WRITE, 0, result), PERMISSION: nobody, READ: answer(READ, 0, f5.NO_USER)}
    )
    (done,) = await written(lock, put(3))
    assert (done.status, done.code) == ("refused", code)
    assert result_text(result) in (done.detail or "")
    assert device.codes().count(WRITE) == times
    assert DELETE not in device.codes(), "nothing was stored, so nothing has to be taken back"


async def test_a_full_module_says_so() -> None:
    unit = small(fill="8")
    before = held(unit)
    (done,) = await written(await opened(unit), put(9))
    assert (done.status, done.code) == ("refused", "capacity")
    assert held(unit) == before


async def test_a_module_that_takes_no_templates_says_so_and_is_left_as_it_was() -> None:
    unit = small("half", quirks="no-write", fill="3")
    before = unit.image()
    free = next(user for user in range(1, 9) if user not in unit.flash.templates)
    (done,) = await written(await opened(unit), put(free))
    assert (done.status, done.proof) == ("refused", None)
    assert unit.image() == before


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (put(0), "capacity"),
        (put(0x1000), "capacity"),
        (put(-1), "capacity"),
        (put(2, b""), "template-size"),
        (put(2, b"\1"), "template-size"),
        (put(2, b"\1" + bytes(4097)), "template-size"),
        (removal(0), "capacity"),
        (setting("security_level", 10), "setting-unsupported"),
        (setting("security_level", -1), "setting-unsupported"),
        (setting("duplicates", 2), "setting-unsupported"),
        (setting("capture_timeout", 256), "setting-unsupported"),
        (setting("baud", 5), "setting-unsupported"),
        (Step(key="pin/1", kind="pin", action="put", origin={}, value=b"1234"), "setting-unsupported"),
    ],
)
async def test_what_the_module_cannot_hold_is_refused_before_anything_is_changed(step: Step, code: str) -> None:
    unit = small("empty")
    before = unit.image()
    (done,) = await written(await opened(unit), step)
    assert (done.status, done.code) == ("refused", code)
    assert unit.image() == before
    assert not set(unit.log) & {WRITE, DELETE}


async def test_a_removal_is_proven_and_touches_nothing_else() -> None:
    unit = small()
    others = {user: data for user, data in held(unit).items() if user != USED[1]}
    done = await written(await opened(unit), removal(USED[1]), removal(FREE))
    assert [(item.status, item.proof) for item in done] == [("removed", "V4")] * 2
    assert held(unit) == others
    assert unit.log.count(DUPLICATES) == 0


async def test_a_removal_that_did_nothing_is_not_proven() -> None:
    lock, _ = await scripted({PERMISSION: answer(PERMISSION, 0, 2), DELETE: answer(DELETE)})
    (done,) = await written(lock, removal(1))
    assert (done.status, done.code, done.proof) == ("differs", "read-back-differs", None)
    lock, _ = await scripted({PERMISSION: answer(PERMISSION, 0, 2), DELETE: answer(DELETE, 0, f5.FAIL)})
    (done,) = await written(lock, removal(1))
    assert (done.status, done.code) == ("refused", "write-refused")


@pytest.mark.parametrize("options", [{}, {"bad_check": "silent"}, {"overwrite": "1"}])
@pytest.mark.parametrize("kind", ["flip", "lose", "reboot"])
async def test_one_fault_anywhere_in_a_write_ends_in_a_true_word(kind: str, options: dict[str, str]) -> None:
    steps = [put(USED[1], was_empty=False), put(FREE, OTHER), removal(USED[0])]
    clean = small(**options)
    lock = await opened(clean)
    starts = {"in": clean.frames_in, "out": clean.frames_out}
    await written(lock, *steps)
    ends = {"in": clean.frames_in, "out": clean.frames_out}
    for side in ("in", "out"):
        assert ends[side] - starts[side] > 10
        for number in range(starts[side] + 1, ends[side] + 1):
            unit = small(**{**options, kind: f"{side}:frame:{number}"})
            lock = await opened(unit)
            done = await written(lock, *steps)
            assert [item.status for item in done] == ["written", "written", "removed"], f"{side} {number}: {done}"
            assert unit.image() == clean.image(), f"{side} {number}"


async def test_a_byte_lost_on_the_way_to_the_module_does_not_leave_it_waiting() -> None:
    clean = small("empty")
    lock = await opened(clean)
    start = clean.wire_bytes_in
    await written(lock, put(2))
    for number in range(start + 1, clean.wire_bytes_in + 1, 7):
        for kind in ("lose", "flip"):
            unit = small("empty", **{kind: f"in:byte:{number}"})
            (done,) = await written(await opened(unit), put(2))
            assert done.status == "written", f"{kind} {number}"
            assert unit.image() == clean.image()


@pytest.mark.parametrize("name", ["security_level", "duplicates", "capture_timeout"])
async def test_a_setting_is_written_and_read_back(name: str) -> None:
    unit = small("empty", duplicates="1")
    lock = await opened(unit)
    values = {"security_level": (0, 9), "duplicates": (0, 1), "capture_timeout": (0, 255)}[name]
    flash_name = {"security_level": "level", "capture_timeout": "timeout"}.get(name, name)
    for value in values:
        (done,) = await written(lock, setting(name, value))
        assert (done.status, done.proof) == ("written", "V4")
        assert getattr(unit.flash, flash_name) == value


@pytest.mark.parametrize("kind", ["flip", "lose", "reboot"])
async def test_faults_around_a_setting_are_got_over(kind: str) -> None:
    clean = small("empty", level="3")
    await opened(clean)
    start = clean.frames_in
    for side in ("in", "out"):
        for number in range(start + 1, start + 4):
            unit = small("empty", level="3", **{kind: f"{side}:frame:{number}"})
            (done,) = await written(await opened(unit), setting("security_level", 7))
            assert (done.status, unit.flash.level) == ("written", 7), f"{side} {number}: {done}"


async def test_a_rule_about_duplicates_that_is_itself_written_is_not_put_back() -> None:
    unit = small("empty", duplicates="1")
    lock = await opened(unit)
    done = await written(lock, put(1), setting("duplicates", 0), put(2))
    assert [item.status for item in done] == ["written"] * 3
    assert unit.flash.duplicates == 0
    done = await written(lock, setting("duplicates", 1), put(3))
    assert [item.status for item in done] == ["written"] * 2
    assert unit.flash.duplicates == 1


async def test_a_rule_that_does_not_come_back_is_told() -> None:
    refusing = answer(DUPLICATES, 1)
    lock, _ = await scripted(
        {
            DUPLICATES: [refusing, *[answer(DUPLICATES, 0)] * 40],
            PERMISSION: answer(PERMISSION, 0, f5.NO_USER),
            WRITE: answer(WRITE, 3),
            READ: given_out(3, WANTED),
        }
    )
    (done,) = await written(lock, put(3))
    assert done.status == "written"
    assert any("duplicate" in text for text in (await lock.identify()).warnings)


async def test_a_module_without_the_rule_is_written_all_the_same() -> None:
    for quirks in ("no-settings", "no-settings,silent-unknown"):
        unit = small("empty", quirks=quirks)
        lock = await opened(unit)
        done = await written(lock, put(1), put(2, OTHER), setting("security_level", 3), put(3))
        assert [item.status for item in done] == ["written", "written", "refused", "refused"]
        assert "already enrolled" in (done[-1].detail or ""), "the module's rule cannot be lifted, and says so"
        assert held(unit) == {1: WANTED, 2: OTHER}


async def test_erasing_takes_users_and_leaves_the_settings() -> None:
    unit = small(level="7")
    lock = await opened(unit)
    assert await items_of(lock.erase(Scope.PEOPLE))
    assert (held(unit), unit.flash.level) == ({}, 7)
    assert await items_of(lock.erase(Scope.PEOPLE)), "an empty one is fine"
    items = await items_of(lock.read())
    assert templates_of(items) == {}
    assert parse_list(tables_of(items)[LIST]) == (0, {})
    assert (await lock.identify()).counts == {"fingerprints": 0}


async def test_erasing_never_means_one_permission_alone() -> None:
    lock, device = await scripted({DELETE_ALL: answer(DELETE_ALL)})
    await items_of(lock.erase(Scope.PEOPLE))
    assert device.heard == [bytes.fromhex("f5050000000005f5")]


@pytest.mark.parametrize("kind", ["flip", "lose", "reboot"])
@pytest.mark.parametrize("bad_check", ["fail", "silent"])
async def test_an_erase_whose_answer_is_lost_is_asked_and_not_repeated_blindly(kind: str, bad_check: str) -> None:
    clean = small()
    lock = await opened(clean)
    for side, before in (("in", clean.frames_in), ("out", clean.frames_out)):
        unit = small(bad_check=bad_check, **{kind: f"{side}:frame:{before + 1}"})
        lock = await opened(unit)
        assert await items_of(lock.erase(Scope.PEOPLE))
        assert held(unit) == {}


async def test_a_refused_erase_is_an_error_and_there_is_no_way_back_to_the_factory() -> None:
    lock, _ = await scripted({DELETE_ALL: answer(DELETE_ALL, 0, f5.FAIL)})
    with pytest.raises(RefusedError, match="result 01"):
        await items_of(lock.erase(Scope.PEOPLE))
    unit = small()
    before = unit.image()
    with pytest.raises(Unsupported):
        await items_of((await opened(unit)).erase(Scope.FACTORY))
    assert unit.image() == before


async def test_nothing_can_be_rehearsed_in_memory_and_nothing_is_given_to_open() -> None:
    lock = await opened(small())
    assert await lock.rehearse_write(WANTED) is None
    assert (lock.given, lock.batch) == ((), 1)
    assert lock.variant == {"slots": None, "template_size": None}


# ---- cables and interruptions ---------------------------------------------------------------------------------------


async def _job(unit: SimulatedUnit, faults: LinkFaults | None = None) -> MemoryLink:
    """Read everything, replace one template, add one, remove one; the settings end as a plan would have them."""
    link = MemoryLink.open(unit.device, faults=faults)
    lock = await opened_on(link)
    try:
        await items_of(lock.read())
        steps = [setting("duplicates", 1), put(USED[1], was_empty=False), put(FREE, OTHER), removal(USED[0])]
        for step in steps:
            (done,) = await written(lock, step)
            assert done.status in ("written", "removed")
    finally:
        await lock.close()
    return link


@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
async def test_a_line_cut_anywhere_is_a_clear_error_and_a_second_run_succeeds(kind: str) -> None:
    clean = small()
    link = await _job(clean)
    total = link.writes if kind == "cut_after_writes" else link.chunks
    assert total > 30
    for point in range(total - 1):
        unit = small()
        with pytest.raises(LockmigrateError) as caught:
            await _job(unit, LinkFaults(**{kind: point}))
        assert isinstance(caught.value, LinkError), f"point {point}: {caught.value!r}"
        assert isinstance(caught.value, LinkLost)
        await _job(unit)
        assert unit.image() == clean.image(), f"point {point}"


class Cancelling(MemoryLink):
    """Cancels the running task at its n-th write from now on, as Ctrl-C would."""

    cancel_at: int | None = None

    async def write(self, data: bytes) -> None:
        if self.writes == self.cancel_at:
            self.cancel_at = None
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await super().write(data)


async def test_a_write_cancelled_anywhere_puts_the_rule_back() -> None:
    clean = small("empty", duplicates="1")
    link = MemoryLink.open(clean.device)
    lock = await opened_on(link)
    first = link.writes
    await written(lock, put(1), put(2, OTHER))
    assert link.writes - first > 8
    for point in range(first, link.writes):
        unit = small("empty", duplicates="1")
        link = Cancelling.open(unit.device)
        lock = await opened_on(link)
        link.cancel_at = point
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(written(lock, put(1), put(2, OTHER)))
        await lock.close()
        assert unit.flash.duplicates == 1, f"cancelled at write {point}"
        assert held(unit).items() <= held(clean).items()


async def test_a_write_that_is_walked_away_from_puts_the_rule_back() -> None:
    unit = small("empty", duplicates="1")
    lock = await opened(unit)
    steps = lock.write([put(1), put(2)])
    assert (await anext(steps)).status == "written"
    assert unit.flash.duplicates == 0
    await steps.aclose()  # type: ignore[attr-defined]
    assert unit.flash.duplicates == 1
    steps = lock.write([put(3), put(4)])
    await anext(steps)
    await lock.close()
    assert unit.flash.duplicates == 1
    await steps.aclose()  # type: ignore[attr-defined]


async def test_closing_twice_is_harmless_and_later_use_is_an_error_of_ours() -> None:
    lock = await opened(small())
    await lock.close()
    await lock.close()
    with pytest.raises(LinkError):
        await lock.identify()


async def test_a_module_that_falls_silent_is_told_of_in_bounded_time() -> None:
    lock, device = await scripted({})
    device.answers.clear()
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(NoAnswer):
        await items_of(lock.read())
    await lock.close()
    assert loop.time() - started < 60


class Waiting(Scripted):
    """A module without time-outs: it hunts for F5 between frames, and inside one it counts bytes for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray()
        self.users: dict[int, bytes] = {}
        self.deaf_to: int | None = None
        """Loses this byte of everything that it is sent, counted from 0."""
        self.count = 0

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        for byte in data:
            if self.count != self.deaf_to:
                self.buffer.append(byte)
            self.count += 1
        reply = b"".join(self._frames())
        return [Outgoing(at_s=now_s + 0.001, data=reply)] if reply else []

    def _frames(self) -> list[bytes]:
        said = []
        while True:
            while self.buffer and self.buffer[0] != 0xF5:
                del self.buffer[0]
            if len(self.buffer) < 8:
                return said
            good = self.buffer[7] == 0xF5 and f5.xor(self.buffer[1:6]) == self.buffer[6]
            size = 11 + (self.buffer[2] << 8 | self.buffer[3]) if good and self.buffer[1] == WRITE else 8
            if len(self.buffer) < size:
                return said
            raw = bytes(self.buffer[:size])
            del self.buffer[:size]
            said.append(self._obey(raw))

    def _obey(self, raw: bytes) -> bytes:
        code, user = raw[1], raw[2] << 8 | raw[3]
        if raw[7] != 0xF5 or f5.xor(raw[1:6]) != raw[6]:
            return b""
        if code == WRITE:
            if raw[-1] != 0xF5 or f5.xor(raw[9:-2]) != raw[-2]:
                return answer(WRITE, 0, f5.FAIL)
            got = parse_user_data(raw[9:-2])
            self.users[got.user] = bytes([got.permission]) + got.template
            return answer(WRITE, got.user)
        if code == READ:
            return given_out(user, self.users[user]) if user in self.users else answer(READ, 0, f5.NO_USER)
        if code == PERMISSION:
            return answer(PERMISSION, 0, self.users[user][0] if user in self.users else f5.NO_USER)
        if code == DELETE:
            self.users.pop(user, None)
        return answer(code, len(self.users) if code == COUNT_CODE else 0)


async def test_a_module_that_waits_for_ever_for_the_rest_of_a_frame_is_got_out_of_it() -> None:
    clean = Waiting()
    lock = await opened_on(MemoryLink.open(clean))
    start = clean.count
    assert [item.status for item in await written(lock, put(3))] == ["written"]
    end = clean.count
    for lost in range(start, end):
        device = Waiting()
        lock = await opened_on(MemoryLink.open(device))
        device.deaf_to = lost
        (done,) = await written(lock, put(3))
        assert (done.status, device.users) == ("written", {3: WANTED}), lost


# ---- a finger -------------------------------------------------------------------------------------------------------


async def test_a_finger_is_found_under_its_id() -> None:
    touch = await (await opened(small(finger=str(USED[2])))).touch(10)
    assert (touch.matched, touch.slot, touch.score) == (True, USED[2], None)


async def test_a_permission_of_one_is_no_failure() -> None:
    lock, _ = await scripted({0x0C: BY_MEANING["matched user 5 permission 1"]})
    touch = await lock.touch(10)
    assert (touch.matched, touch.slot) == (True, 5)


async def test_a_finger_that_nobody_enrolled_is_not_matched() -> None:
    touch = await (await opened(small("empty", finger="3"))).touch(10)
    assert (touch.matched, touch.slot) == (False, None)


@pytest.mark.parametrize("patience", ["20", "0"])
async def test_without_a_finger_the_wait_ends(patience: str) -> None:
    unit = small(timeout=patience)
    lock = await opened(unit)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(NoAnswer, match="a finger on the sensor"):
        await lock.touch(5)
    assert 4.9 < loop.time() - started < 40
    await lock.close()


async def test_a_module_that_refuses_to_match_is_an_error() -> None:
    lock, _ = await scripted({0x0C: answer(0x0C, 0, f5.FAIL)})
    with pytest.raises(RefusedError):
        await lock.touch(5)
    assert await items_of(lock.read(EVERYTHING - {Section.CREDENTIALS}))
