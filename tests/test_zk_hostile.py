"""Hostile and half-witted ZK terminals and folders, written from the wire reference alone.

The terminal here shares no code with the driver or its simulator: its packets are built and taken apart below.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import struct
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from lockmigrate.errors import (
    FrameError,
    ImageError,
    LinkError,
    LockmigrateError,
    NoAnswer,
    RefusedError,
    TornRead,
)
from lockmigrate.formats import zk_files
from lockmigrate.formats.zk import Packet
from lockmigrate.formats.zk_records import decode_text
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.records import LOSS_CODES
from lockmigrate.model.steps import Done, Step
from lockmigrate.profiles import Profile
from lockmigrate.protocols import Section, zk_door
from lockmigrate.protocols.door import Door, profiles_of
from lockmigrate.protocols.zk import ZkLock
from lockmigrate.protocols.zk_folder import open_folder
from lockmigrate.transports import Outgoing
from lockmigrate.transports.memory import MemoryLink
from lockmigrate.transports.udp import UdpLink

OK, ERROR, RETRY, UNKNOWN = 2000, 2001, 2003, 0xFFFF
PREPARE, DATA, EVENT = 1500, 1501, 500
SESSION: Final = 0x2F11
KNOWN: Final = profiles_of("zk", None)
CLEAR_WITHIN_S: Final = 900.0

Answers = list[bytes] | None
Said = Callable[["Unit", int, bytes, int], Answers]


@pytest.fixture(autouse=True)
def _profiles_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(family: str, named: Profile | None) -> tuple[list[Profile], Profile]:
        return KNOWN if named is None else profiles_of(family, named)

    monkeypatch.setattr(zk_door, "profiles_of", once)


def packet(code: int, session: int, number: int, data: bytes = b"") -> bytes:
    """Build a packet as section 2 says: 16-bit words added, carries folded, inverted."""
    blank = struct.pack("<HHHH", code, 0, session, number) + data
    total = sum(struct.unpack(f"<{len(blank + blank[:0]) // 2}H", blank[: len(blank) // 2 * 2]))
    total += blank[-1] if len(blank) % 2 else 0
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("<HHHH", code, total ^ 0xFFFF, session, number) + data


class Unit:
    """A terminal with records of 72 bytes that does as section 7 says, but for what a test makes it say."""

    def __init__(self, *, datagrams: bool = False, **says: Any) -> None:
        self.datagrams = datagrams
        self.says: dict[int, Said] = {int(name[1:]): said for name, said in says.items()}
        """`c88=…`: what is said to command 88 instead."""
        self.users: dict[int, bytes] = {}
        self.templates: dict[tuple[int, int], tuple[int, bytes]] = {}
        self.styles: dict[int, int] = {}
        self.zones: dict[int, bytes] = {number: zone(number) for number in range(1, 51)}
        self.disabled: str | None = None
        self.heard: list[tuple[int, bytes]] = []
        self.blob = b""
        self._bytes = b""

    # ---- the line

    def opened(self, now_s: float) -> list[Outgoing]:
        return []

    def set_host_baud(self, baud: int | None) -> None: ...

    def closed(self) -> None: ...

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        said: list[bytes] = []
        if self.datagrams:
            said = self._hear(data)
        else:
            self._bytes += data
            while len(self._bytes) >= 8:
                mark, size = struct.unpack_from("<4sI", self._bytes)
                assert mark == b"\x50\x50\x82\x7d"
                if len(self._bytes) < 8 + size:
                    break
                whole, self._bytes = self._bytes[8 : 8 + size], self._bytes[8 + size :]
                said += [struct.pack("<4sI", mark, len(item)) + item for item in self._hear(whole)]
        return [Outgoing(at_s=now_s + 0.001, data=item) for item in said]

    def _hear(self, raw: bytes) -> list[bytes]:
        code, _, session, number = struct.unpack_from("<HHHH", raw)
        assert packet(code, session, number, raw[8:]) == raw, "the driver's checksum"
        self.heard.append((code, raw[8:]))
        if code == OK:
            return []
        said = self.says.get(code)
        if said is not None:
            answers = said(self, code, raw[8:], number)
            return [] if answers is None else answers
        return self.honest(code, raw[8:], number)

    def count(self, code: int) -> int:
        return sum(1 for heard, _ in self.heard if heard == code)

    # ---- what an honest one would say

    def honest(self, code: int, data: bytes, number: int) -> list[bytes]:
        def ok(body: bytes = b"") -> list[bytes]:
            return [packet(OK, SESSION, number, body)]

        def no(code: int = ERROR) -> list[bytes]:
            return [packet(code, SESSION, number)]

        match code:
            case 1000:
                return ok()
            case 64:
                return [packet(OK, 0, number)]
            case 50:
                words = [0] * 23
                words[4], words[6] = len(self.users), len(self.templates)
                words[14], words[15] = 3000, 3000
                words[17], words[18] = 3000 - len(self.templates), 3000 - len(self.users)
                return ok(struct.pack("<23I", *words))
            case 11:
                return no()
            case 1503:
                selector = data[3]
                body = b""
                if selector == 5:
                    body = b"".join(self.users.values())
                elif selector == 2:
                    body = b"".join(
                        struct.pack("<HHBB", len(item) + 6, uid, finger, flag) + item
                        for (uid, finger), (flag, item) in self.templates.items()
                    )
                return [packet(DATA, SESSION, number, struct.pack("<I", len(body)) + body)]
            case 1003:
                self.disabled = "for a time" if data else "for ever"
            case 1002:
                self.disabled = None
            case 8:
                self.users[int.from_bytes(data[:2], "little")] = data
            case 18:
                uid = int.from_bytes(data, "little")
                self.users.pop(uid, None)
                for place in [place for place in self.templates if place[0] == uid]:
                    del self.templates[place]
            case 80:
                uid = int.from_bytes(data, "little")
                return ok(data + bytes([self.styles.get(uid, 0)]) + bytes(21))
            case 79:
                self.styles[int.from_bytes(data[:2], "little")] = data[2]
            case 27:
                return ok(self.zones[data[0]])
            case 25:
                return ok(data[:1] + bytes([data[0] == 1]) + bytes(6))
            case 29:
                first = int(data[0] == 1)
                return ok(bytes([data[0], first, 0, 0, 0, 0, first, 0]))
            case 88:
                place = (int.from_bytes(data[:2], "little"), data[2])
                if place not in self.templates:
                    return no()
                flag, template = self.templates[place]
                return bulk(number, template + bytes([flag]))
            case 1500:
                self.blob = b""
            case 1501:
                self.blob += data
            case 87:
                uid, finger, flag, size = struct.unpack("<HBBH", data)
                if uid not in self.users or size != len(self.blob):
                    return no()
                self.templates[uid, finger] = (flag, self.blob)
            case 134:
                name = data[:24].rstrip(b"\0")
                for uid, record in self.users.items():
                    if record[48:].rstrip(b"\0") == name:
                        self.templates.pop((uid, data[24]), None)
            case _ if code not in (1001, 1013, 1014, 1100, 1102, 1502, 201, 119, 12):
                return no(UNKNOWN)
        return ok()


def bulk(number: int, body: bytes, *, size: int = 1008) -> list[bytes]:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    data = [packet(DATA, index, number, piece) for index, piece in enumerate(pieces)]
    head = packet(PREPARE, SESSION, number, struct.pack("<II", len(body), size))
    return [head, *data, packet(OK, max(0, len(pieces) - 1), number)]


def says(code: int) -> Said:
    return lambda unit, asked, data, number: [packet(code, SESSION, number)]


def zone(number: int) -> bytes:
    return struct.pack("<H", number) + bytes((0, 0, 23, 59)) * 7 + b"\xa7\x1c"


def record(uid: int, name: bytes = b"Ada", *, user_id: bytes | None = None, rights: int = 0) -> bytes:
    """Build a record of 72 bytes, section 7."""
    text = str(uid).encode() if user_id is None else user_id
    return struct.pack("<HB8s24sIBHHHH24s", uid, rights, b"4711", name, 0, 1, 0, 0, 0, 0, text)


def template(seed: int, size: int = 1100) -> bytes:
    body = b"".join(hashlib.sha256(bytes([seed, index])).digest() for index in range(size // 32 + 1))
    return body[:size]


async def opened(unit: Unit, **door: Any) -> ZkLock:
    link = MemoryLink.open(unit, datagrams=unit.datagrams)
    try:
        async with asyncio.timeout(CLEAR_WITHIN_S):
            return await zk_door.open_unit(link, Door(target="the port", port_id="here", **door))
    except BaseException:
        await link.close()
        raise


async def read(lock: ZkLock, *sections: Section) -> list[Any]:
    async with asyncio.timeout(CLEAR_WITHIN_S):
        return [item async for item in lock.read(frozenset(sections or Section))]


async def write(lock: ZkLock, *steps: Step) -> dict[str, Done]:
    async with asyncio.timeout(CLEAR_WITHIN_S):
        return {done.key: done async for done in lock.write(steps)}


def put_user(value: bytes, *, verify: int | None = 0, empty: bool = True) -> Step:
    uid = int.from_bytes(value[:2], "little")
    origin = {"user_index": uid, "verify": verify}
    return Step(key=f"user/{uid}", kind="user", action="put", origin=origin, value=value, was_empty=empty)


def put_finger(uid: int, finger: int, value: bytes, *, flag: int = 1, empty: bool = True) -> Step:
    return Step(
        key=f"fingerprint/{uid}.{finger}",
        kind="fingerprint",
        action="put",
        origin={"user_index": uid, "finger": finger, "flag": flag},
        value=value,
        was_empty=empty,
    )


def remove_finger(uid: int, finger: int) -> Step:
    origin = {"user_index": uid, "finger": finger}
    return Step(key=f"fingerprint/{uid}.{finger}", kind="fingerprint", action="remove", origin=origin, was_empty=False)


def with_people(unit: Unit) -> Unit:
    """Ada is user 5 and has a finger, so has Bob, user 6."""
    unit.users = {5: record(5), 6: record(6, b"Bob")}
    unit.templates = {(5, 1): (1, template(51)), (6, 1): (1, template(61))}
    return unit


# ---- what is gone, and who says so ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [UNKNOWN, RETRY, 0xFFFC, OK, ERROR], ids=hex)
async def test_a_finger_is_not_gone_because_a_terminal_does_not_give_it_out(code: int) -> None:
    """It knows neither way of giving a single template; section 7 takes ERROR for absence only where it knows one."""
    unit = with_people(Unit(c88=says(code), c9=says(code), c134=says(UNKNOWN)))
    lock = await opened(unit)
    (done,) = (await write(lock, remove_finger(5, 1))).values()
    assert (5, 1) in unit.templates
    assert (done.status, done.proof) == ("differs", None)


async def test_a_finger_that_its_table_no_longer_holds_is_gone() -> None:
    unit = with_people(Unit(c88=says(UNKNOWN), c9=says(UNKNOWN)))
    lock = await opened(unit)
    done = (await write(lock, remove_finger(5, 1)))["fingerprint/5.1"]
    assert list(unit.templates) == [(6, 1)]
    assert (done.status, done.proof) == ("removed", "V4")


@pytest.mark.parametrize("nothing", [ERROR, OK])
async def test_a_terminal_that_gave_a_finger_out_is_believed_that_there_is_none(nothing: int) -> None:
    """By ERROR or, as zk-protocol's own example has it, by OK with nothing: its table is not read for each of them."""

    def fetch(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        answers = unit.honest(code, data, number)
        return answers if len(answers) > 1 else [packet(nothing, SESSION, number)]

    unit = with_people(Unit(c88=fetch))
    lock = await opened(unit)
    tables = unit.count(1503)
    dones = await write(lock, remove_finger(5, 1), remove_finger(6, 1), remove_finger(6, 2))
    assert {(done.status, done.proof) for done in dones.values()} == {("removed", "V4")}
    assert not unit.templates
    assert [data[3] for code, data in unit.heard if code == 1503][tables:] == [5]


async def test_a_finger_is_proven_by_its_table_where_single_ones_are_not_given_out() -> None:
    unit = with_people(Unit(c88=says(UNKNOWN), c9=says(UNKNOWN)))
    lock = await opened(unit)
    dones = await write(lock, put_finger(5, 2, template(52)), put_finger(5, 3, template(53), flag=3))
    assert {(done.status, done.proof) for done in dones.values()} == {("written", "V4")}
    assert unit.templates[5, 3] == (3, template(53))


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_user_is_removed_with_the_fingers_or_it_is_said(keeps: bool) -> None:
    """A template that stays behind opens for whoever gets the number next."""

    def delete(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        unit.users.pop(int.from_bytes(data, "little"), None)
        return [packet(OK, SESSION, number)]

    unit = with_people(Unit(c18=delete) if keeps else Unit())
    lock = await opened(unit)
    step = Step(
        key="user/5",
        kind="user",
        action="remove",
        origin={"user_index": 5},
        also=("fingerprint/5.1",),
        was_empty=False,
    )
    dones = await write(lock, step)
    assert (dones["user/5"].status, dones["user/5"].proof) == ("removed", "V4")
    finger = dones["fingerprint/5.1"]
    assert ((5, 1) in unit.templates, finger.status, finger.proof) == (
        (True, "differs", None) if keeps else (False, "removed", "V4")
    )


@pytest.mark.parametrize("size", [1100, 20], ids=["refused", "of no such size"])
async def test_a_finger_that_could_not_be_overwritten_does_not_stay(size: int) -> None:
    """Number 5 is Eve's now: Ada's finger under it would open as Eve."""
    unit = with_people(Unit(c87=says(ERROR)))
    unit.users[5] = record(5, b"Eve", rights=14)
    lock = await opened(unit)
    value = template(99) if size == 1100 else b""
    done = (await write(lock, put_finger(5, 1, value, empty=False)))["fingerprint/5.1"]
    assert (done.status, done.proof) == ("refused", None)
    assert "was left empty" in (done.detail or "")
    assert list(unit.templates) == [(6, 1)]


@pytest.mark.parametrize("flag", [0, 3])
async def test_the_flag_of_an_ordinary_finger_is_proven_too(flag: int) -> None:
    """A finger that is stored as invalid does not open; as duress it raises an alarm."""

    def store(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        return unit.honest(code, data[:3] + bytes([flag]) + data[4:], number)

    unit = with_people(Unit(c87=store))
    lock = await opened(unit)
    done = (await write(lock, put_finger(5, 2, template(52))))["fingerprint/5.2"]
    assert (done.status, done.proof) == ("differs", None)
    assert (5, 2) not in unit.templates


async def test_a_template_short_by_its_last_byte_is_not_proven_by_the_byte_that_is_added() -> None:
    """TEMPLATE_FETCH adds a byte, 01 as seen: a template that ends in 01 looks whole without it (section 7)."""
    cut = template(52, 900) + b"\x01"

    def store(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        uid, finger, flag, _ = struct.unpack("<HBBH", data)
        unit.templates[uid, finger] = (flag, unit.blob[:-1] if unit.blob == cut else unit.blob)
        return [packet(OK, SESSION, number)]

    unit = with_people(Unit(c87=store))
    lock = await opened(unit)
    dones = await write(lock, put_finger(5, 2, template(3)), put_finger(5, 3, cut))
    assert dones["fingerprint/5.2"].proof == "V4"
    assert (dones["fingerprint/5.3"].status, dones["fingerprint/5.3"].proof) == ("differs", None)


@pytest.mark.parametrize("user_id", [b"", b"6"], ids=["no id", "somebody else's id too"])
async def test_a_finger_is_never_deleted_by_an_id_that_is_not_one_persons(user_id: bytes) -> None:
    """134 goes by the user's id (section 7)."""
    unit = with_people(Unit())
    unit.users[5] = record(5, user_id=user_id)
    lock = await opened(unit)
    done = (await write(lock, remove_finger(5, 1)))["fingerprint/5.1"]
    assert done.status == "differs"
    assert set(unit.templates) == {(5, 1), (6, 1)}
    assert unit.count(134) == 0


async def test_a_user_who_was_deleted_does_not_come_back_with_a_finger() -> None:
    """SAVE_MANY carries the user's record: never one that was read before a deletion."""
    unit = with_people(Unit(c87=says(UNKNOWN), c119=says(UNKNOWN)))
    lock = await opened(unit)
    await write(lock, put_user(record(7)))
    unit.says[1013] = lambda *_: None
    with pytest.raises(NoAnswer):
        await write(lock, Step(key="user/7", kind="user", action="remove", origin={"user_index": 7}))
    del unit.says[1013]
    assert 7 not in unit.users
    done = (await write(lock, put_finger(7, 1, template(71))))["fingerprint/7.1"]
    assert (done.status, done.code) == ("refused", "user-missing")
    assert unit.count(110) == 0


@pytest.mark.parametrize("lost", [True, False])
async def test_a_number_that_is_freed_and_given_anew_in_one_go_ends_as_the_last_step_says(lost: bool) -> None:
    """The deletion's answer is lost: it must not be sent again after the new user was written."""

    def delete(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        answers = unit.honest(code, data, number)
        return None if lost and unit.count(18) == 1 else answers

    unit = with_people(Unit(c18=delete))
    lock = await opened(unit)
    gone = Step(key="gone/5", kind="user", action="remove", origin={"user_index": 5}, was_empty=False)
    dones = await write(lock, gone, put_user(record(5, b"Eve")))
    assert [(done.status, done.proof) for done in dones.values()] == [("removed", "V4"), ("written", "V4")]
    assert unit.users[5] == record(5, b"Eve")
    assert unit.count(18) == 1


async def test_number_0_is_nobodys() -> None:
    """Numbers run from 1 (section 7); what a terminal makes of a deletion of 0 is not on record."""
    unit = with_people(Unit())
    lock = await opened(unit)
    gone = Step(key="gone/0", kind="user", action="remove", origin={"user_index": 0}, was_empty=False)
    steps = (gone, put_user(record(0)), put_finger(0, 1, template(1)), remove_finger(0, 2))
    assert {done.status for done in (await write(lock, *steps)).values()} == {"refused"}
    assert not {8, 10, 18, 19, 87, 134} & {code for code, _ in unit.heard}


# ---- ways of verifying ----------------------------------------------------------------------------------------------


async def test_a_way_of_verifying_that_cannot_be_read_any_more_is_not_proven() -> None:
    """The last writing of the record may have reset it: then a finger alone would open."""
    asked = 0

    def style(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        nonlocal asked
        asked += 1
        return unit.honest(code, data, number) if asked < 3 else [packet(ERROR, SESSION, number)]

    unit = Unit(c80=style)
    lock = await opened(unit)
    done = (await write(lock, put_user(record(5), verify=0x89)))["user/5"]
    assert (done.status, done.proof) == ("differs", None)
    assert 5 not in unit.users


async def test_a_user_whose_way_of_verifying_is_not_told_is_a_gap() -> None:
    def style(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        return [packet(ERROR, SESSION, number)] if data == b"\x06\x00" else unit.honest(code, data, number)

    unit = with_people(Unit(c80=style))
    unit.users[7] = record(7)
    items = await read(await opened(unit))
    gaps = [item for item in items if isinstance(item, Gap) and item.section == "verify_styles"]
    assert [(gap.code in LOSS_CODES, "6" in gap.detail) for gap in gaps] == [(True, True)]


@pytest.mark.parametrize(("missing", "told"), [(7, True), (50, False)], ids=["a hole", "fewer numbers"])
async def test_a_zone_that_is_not_given_out_between_others_is_a_gap(missing: int, told: bool) -> None:
    def read_zone(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        return [packet(ERROR, SESSION, number)] if data[0] == missing else unit.honest(code, data, number)

    items = await read(await opened(with_people(Unit(c27=read_zone))))
    gaps = [item for item in items if isinstance(item, Gap) and item.section == "schedules"]
    assert [gap.detail for gap in gaps] == ([gap.detail for gap in gaps if str(missing) in gap.detail] if told else [])
    assert bool(gaps) is told
    assert len(next(item.data for item in items if isinstance(item, Table) and item.name == "0006-zones")) == 49 * 32


# ---- the disabled terminal ------------------------------------------------------------------------------------------


async def test_a_renewal_that_is_refused_once_never_disables_for_ever() -> None:
    """A killed program would leave a door that opens for nobody."""

    def disable(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        if unit.count(1003) == 2:
            return [packet(ERROR, SESSION, number)]
        return unit.honest(code, data, number)

    unit = with_people(Unit(c1003=disable))
    lock = await opened(unit)
    async for _ in lock.read():
        await asyncio.sleep(25)
        assert unit.disabled != "for ever"
    assert unit.count(1003) > 3
    assert all(data for code, data in unit.heard if code == 1003)


async def test_a_terminal_that_knows_no_disabling_is_read_all_the_same() -> None:
    unit = with_people(Unit(c1003=says(UNKNOWN), c1002=says(UNKNOWN)))
    lock = await opened(unit)
    assert [item.rows for item in await read(lock) if isinstance(item, Table) and item.name == "0004-users"] == [2]


async def test_enabling_that_was_refused_is_tried_again_at_the_close() -> None:
    def enable(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        return [packet(RETRY, SESSION, number)] if unit.count(1002) <= 4 else unit.honest(code, data, number)

    unit = with_people(Unit(c1002=enable))
    lock = await opened(unit)
    with contextlib.suppress(RefusedError):
        await read(lock, Section.INDEX)
    assert unit.disabled
    for _ in range(3):
        unit.heard.append((1002, b""))
    await lock.close()
    assert unit.disabled is None


async def test_long_tables_are_read_within_the_renewed_time() -> None:
    """The table of templates that proves flags is read while the terminal must stay disabled."""
    body = b"".join(struct.pack("<HHBB", 1106, 5, 9, 1) + template(index % 251) for index in range(180))
    raw = struct.pack("<I", len(body)) + body

    unit = with_people(Unit())

    def opening(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        if data[3] != 2:
            return unit.honest(code, data, number)
        return [packet(OK, SESSION, number, b"\0" + struct.pack("<III", len(raw), len(raw), 0))]

    unit.says = {1503: opening, 1504: slow_read(raw)}
    lock = await opened(unit)
    await write(lock, put_finger(5, 2, template(52), flag=3))
    moments = [code for code, _ in unit.heard if code in (1003, 1504)]
    assert moments.count(1504) == 4
    assert moments.count(1003) >= 3


def slow_read(raw: bytes) -> Said:
    """Each piece takes long, because the test's clock is moved by hand."""

    def answer(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        start, count = struct.unpack("<II", data)
        loop = asyncio.get_running_loop()
        loop.now_s += 25  # type: ignore[attr-defined]
        return bulk(number, raw[start : start + count])

    return answer


# ---- without end ----------------------------------------------------------------------------------------------------


async def test_connecting_ends_though_a_terminal_never_stops_answering() -> None:
    """The first answer is lost; from the second question on datagrams come for ever."""
    flood = [packet(OK, number & 0xFF, 0) for number in range(20_000)]

    def connect(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        return None if unit.count(1000) == 1 else flood

    class Endless(Unit):
        def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
            said = super().receive(data, now_s)
            return [Outgoing(at_s=now_s + 0.01 * index, data=item.data) for index, item in enumerate(said)]

    unit = Endless(datagrams=True, c1000=connect)
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    with contextlib.suppress(LockmigrateError):
        await opened(unit)
    assert loop.time() - start_s < 60


async def test_data_without_bytes_is_not_collected_for_ever() -> None:
    """128 MB are announced, and then come packets with nothing in them."""
    head = struct.pack("<II", 128 << 20, 1008)

    def opening(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        if unit.count(1503) == 1:
            return unit.honest(code, data, number)
        return [packet(PREPARE, SESSION, number, head), *[packet(DATA, 0, number)] * 1000]

    lock = await opened(with_people(Unit(c1503=opening)))
    with pytest.raises(FrameError, match="does not end"):
        await read(lock, Section.INDEX)


async def test_single_bytes_do_not_cost_a_hundred_times_their_size() -> None:
    count = 20_000

    def opening(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        if unit.count(1503) == 1:
            return unit.honest(code, data, number)
        return [
            packet(PREPARE, SESSION, number, struct.pack("<II", 2 * count, 1)),
            *[packet(DATA, 0, number, b"x")] * count,
        ]

    lock = await opened(with_people(Unit(c1503=opening)))
    wire, asked, alive = lock._wire, 0, 0
    original = wire._answer

    async def counting(number: int, timeout_s: float) -> Any:
        nonlocal asked, alive
        asked += 1
        if asked == count:
            alive = sum(1 for item in gc.get_objects() if isinstance(item, Packet) and item.data == b"x")
        return await original(number, timeout_s)

    wire._answer = counting  # type: ignore[method-assign]
    with pytest.raises(LinkError):
        await read(lock, Section.INDEX)
    assert asked > count
    assert alive < 1000


@pytest.mark.parametrize("command", [50, 11, 1503, 27, 80])
@pytest.mark.parametrize("kind", ["events", "wrong numbers"])
async def test_packets_without_end_end_in_an_error_of_ours(command: int, kind: str) -> None:
    def flood(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        if unit.count(code) <= 1:
            return unit.honest(code, data, number)
        other = [packet(EVENT, 1, 0)] if kind == "events" else [packet(OK, SESSION, number + 1)]
        return other * 300

    lock = None
    unit = with_people(Unit())
    unit.says[command] = flood
    try:
        lock = await opened(unit)
        await read(lock)
    except LockmigrateError:
        pass
    finally:
        if lock is not None:
            await lock.close()
    assert unit.disabled is None


async def test_a_numbered_datagram_that_comes_thrice_is_not_three_pieces() -> None:
    """On UDP the numbers show what is missing (section 6); 0 is one of them."""
    body = b"".join(record(uid, bytes([uid]) * 20) for uid in range(1, 43))
    raw = (struct.pack("<I", len(body)) + body)[:3028]
    raw = struct.pack("<I", 3024) + raw[4:]
    turns = 0

    def opening(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        return [packet(OK, SESSION, number, b"\0" + struct.pack("<III", 3028, 3028, 0))]

    def reading(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        nonlocal turns
        turns += 1
        start, count = struct.unpack("<II", data)
        pieces = bulk(number, raw[start : start + count], size=757)
        if turns == 1:
            pieces = [pieces[0], *[pieces[1]] * 4, pieces[-1]]
        return pieces

    unit = Unit(datagrams=True, c1503=opening, c1504=reading)
    unit.users = {uid: record(uid) for uid in range(1, 43)}
    lock = await opened(unit)
    items = await read(lock, Section.INDEX)
    table = next(item for item in items if isinstance(item, Table) and item.name == "0004-users")
    assert table.data == raw[4:]


async def test_a_buffer_that_was_opened_is_freed_whatever_its_answer_holds() -> None:
    def opening(unit: Unit, code: int, data: bytes, number: int) -> Answers:
        if unit.count(1503) == 1:
            return unit.honest(code, data, number)
        return [packet(OK, SESSION, number, b"\0\xff\xff\xff\xff")]

    unit = with_people(Unit(c1503=opening))
    lock = await opened(unit)
    with pytest.raises(FrameError):
        await read(lock, Section.INDEX)
    assert unit.count(1502) == 1
    assert unit.disabled is None


async def test_many_small_datagrams_are_bounded_too() -> None:
    link = UdpLink("udp://x")
    for _ in range(400_000):
        link.datagram_received(b"x", None)
    assert link.lost_datagrams > 300_000
    for _ in range(1000):
        await link.read()
    link.datagram_received(b"y", None)
    before = link.lost_datagrams
    link.discard()
    link.datagram_received(b"y", None)
    assert link.lost_datagrams == before


# ---- cancelled anywhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["read", "write"])
async def test_cancelled_at_every_packet_it_is_enabled_at_the_latest_by_the_close(what: str) -> None:
    steps = [put_user(record(7), verify=0x89), put_finger(7, 1, template(71), flag=3), remove_finger(6, 1)]

    async def work(lock: ZkLock) -> None:
        await (read(lock, Section.INDEX, Section.CREDENTIALS) if what == "read" else write(lock, *steps))

    class Stopping(Unit):
        """Tells when a packet was heard."""

        heard_one: Callable[[], None] | None = None

        def _hear(self, raw: bytes) -> list[bytes]:
            said = super()._hear(raw)
            if self.heard_one is not None:
                self.heard_one()
            return said

    stops = 0
    for moment in range(1, 200):
        unit = Stopping()
        with_people(unit)
        lock = await opened(unit)
        start = len(unit.heard)
        task = asyncio.ensure_future(work(lock))

        def stop(unit: Unit = unit, task: asyncio.Future[None] = task, last: int = start + moment) -> None:
            if len(unit.heard) == last:
                task.cancel()

        unit.heard_one = stop
        try:
            await task
        except asyncio.CancelledError:
            stops += 1
        else:
            break
        assert unit.disabled is None, moment
        await lock.close()
        assert unit.heard[-1][0] == 1001
    assert stops > 5


async def test_nothing_that_people_keep_secret_is_in_what_is_raised_or_returned() -> None:
    secrets = ("4711", "313131", "Swordfish", template(51).hex()[:16], repr(template(51)[:6])[2:-1])
    seen: list[str] = []

    def note(error: BaseException | None) -> None:
        while error is not None:
            seen.append(f"{error!r} {error.args!r} {getattr(error, 'hint', '')} {getattr(error, 'detail', '')}")
            error = error.__cause__ or error.__context__

    broken: list[dict[str, Said]] = [
        {"c1503": lambda u, c, d, n: [packet(DATA, SESSION, n, struct.pack("<I", 70) + record(5)[:70])]},
        {"c1503": lambda u, c, d, n: [packet(DATA, SESSION, n, struct.pack("<I", 73) + record(5) + b"x")]},
        {"c8": says(ERROR)},
        {"c87": says(ERROR)},
        {"c1013": lambda u, c, d, n: [packet(OK, SESSION, n)[:-1] + b"x"]},
    ]
    for trouble in broken:
        unit = with_people(Unit())
        unit.says = {int(name[1:]): said for name, said in trouble.items()}
        try:
            lock = await opened(unit)
            items = await read(lock, Section.INDEX, Section.CREDENTIALS)
            seen += [repr(item) for item in items if not isinstance(item, Table)]
            dones = await write(lock, put_user(record(9, b"Swordfish")), put_finger(5, 1, template(51)))
            seen += map(repr, dones.values())
        except LockmigrateError as error:
            note(error)
    assert len(seen) > 5
    assert not [text for text in seen for secret in secrets if secret in text]


# ---- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", ["\u2066", "\u2069", "\u2028", "\u202e"])
def test_a_name_that_turns_the_line_is_no_text(turn: str) -> None:
    assert decode_text(f"Ada{turn}root".encode()).text is None


async def test_only_the_doors_own_behaviour_is_ever_set() -> None:
    unit = with_people(Unit())
    lock = await opened(unit)
    names = ("comkey", "DHCP", "TCPPort", "WebServerIP", "UDPPort", "SDKBuild")
    steps = [Step(key=f"setting/zk.{name}", kind="setting", action="put", origin={}, value="1") for name in names]
    assert {done.status for done in (await write(lock, *steps)).values()} == {"refused"}
    assert unit.count(12) == 0


async def test_a_version_of_a_megabyte_is_none() -> None:
    unit = with_people(Unit(c1100=lambda u, c, d, n: [packet(OK, SESSION, n, b"V" * 900_000)]))
    assert (await (await opened(unit)).identify()).firmware is None


# ---- folders --------------------------------------------------------------------------------------------------------


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """Run something that may hang in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    return found[0] if found else None


def outcome(work: Callable[[], Awaitable[Any]]) -> BaseException | None:
    try:
        asyncio.run(work())  # type: ignore[arg-type]
    except LockmigrateError as error:
        return error
    return None


def folder_door() -> Door:
    return Door(target="image://usb", port_id="usb")


def sums_of(files: dict[str, bytes]) -> bytes:
    return b"".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode() for name, data in files.items())


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


async def test_an_interrupted_restore_that_is_a_link_takes_nothing_from_elsewhere(tmp_path: Path) -> None:
    elsewhere = {"user.dat": record(1), "SHA256SUMS": sums_of({"user.dat": record(1)})}
    home = fill(tmp_path / "home", elsewhere)
    usb = fill(tmp_path / "usb", {"user.dat": record(2)})
    (usb / ".lockmigrate-ready").symlink_to(home)
    await open_folder(usb, folder_door())
    assert {path.name: path.read_bytes() for path in home.iterdir()} == elsewhere
    assert (usb / "user.dat").read_bytes() == record(2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_a_folder_never_makes_us_wait(tmp_path: Path) -> None:
    usb = fill(tmp_path / "usb", {})
    os.mkfifo(usb / "template.fp10")
    fill(usb / ".lockmigrate-ready", {"SHA256SUMS": sums_of({"template.fp10": b""})})
    error = within(5, lambda: outcome(lambda: open_folder(usb, folder_door())))
    assert isinstance(error, ImageError)
    assert "no ordinary file" in error.message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and the opening."""
    usb = fill(tmp_path / "usb", {"user.dat": record(1)})
    original = os.open

    def swapping(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if str(path).endswith("user.dat"):
            (usb / "user.dat").unlink()
            os.mkfifo(usb / "user.dat")
        return original(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", swapping)
    error = within(5, lambda: outcome(lambda: open_folder(usb, folder_door())))
    assert isinstance(error, ImageError)


@pytest.mark.parametrize("change", ["grows", "shrinks", "is touched"])
async def test_a_file_that_changes_while_it_is_read_is_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A copy that is still going on ends behind a whole record often enough."""
    usb = fill(tmp_path / "usb", {"user.dat": record(1) + record(2)})
    original = os.fstat
    done: list[int] = []

    def changing(handle: int) -> os.stat_result:
        about = original(handle)
        if not done and about.st_size == 144:
            done.append(1)
            if change == "grows":
                with (usb / "user.dat").open("ab") as file:
                    file.write(record(3))
            elif change == "shrinks":
                os.truncate(usb / "user.dat", 72)
            else:
                os.utime(usb / "user.dat", ns=(1, 1))
        return about

    monkeypatch.setattr(os, "fstat", changing)
    with pytest.raises(TornRead):
        await open_folder(usb, folder_door())
    assert done


def test_a_line_of_nothing_but_columns_costs_no_memory() -> None:
    body = b"\t" * (4 << 20)
    tracemalloc.start()
    try:
        entries, strange = zk_files.log_entries(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (entries, len(strange)) == ([], 1)
    assert peak < 20 << 20


def test_a_user_of_a_megabyte_is_no_line_of_a_log() -> None:
    entries, strange = zk_files.log_entries(b"1" * (1 << 20) + b"\t2024-01-01 00:00:00\t1\t0\t1\t0\r\n")
    assert (entries, strange) == ([], [1])


async def test_sums_of_many_megabytes_are_not_taken_apart(tmp_path: Path) -> None:
    usb = fill(tmp_path / "usb", {"user.dat": record(1)})
    with (usb / "SHA256SUMS").open("wb") as file:
        file.truncate(32 << 20)
    with pytest.raises(ImageError) as caught:
        await open_folder(usb, folder_door())
    assert caught.value.code == "too-large"


async def test_a_name_that_a_screen_would_obey_is_not_repeated(tmp_path: Path) -> None:
    name = "a\x9b2Jb"
    usb = fill(tmp_path / "usb", {"user.dat": record(1)})
    (usb / "SHA256SUMS").write_bytes(sums_of({"user.dat": record(1), name: b""}))
    with pytest.raises(ImageError) as caught:
        await open_folder(usb, folder_door())
    assert "\x9b" not in caught.value.message


@pytest.mark.parametrize("what", ["loop", "device", "file"])
async def test_what_is_no_folder_is_an_error_of_ours(tmp_path: Path, what: str) -> None:
    place = tmp_path / "usb"
    if what == "loop":
        place.symlink_to(place)
    elif what == "device":
        place = Path("/dev/null")
    else:
        place.write_bytes(b"x")
    with pytest.raises(LockmigrateError):
        await open_folder(place, folder_door())
