"""From one Nuki lock to the next: nothing is lost in silence, no right widens at any moment, no cut does harm.

When a code opens is judged here by an evaluator of our own, on the raw memory of both locks: dates are UTC, weekdays
and times of day local (reference, section 7).
"""

from __future__ import annotations

import binascii
import copy
import json
import os
import re
import secrets
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import convert
from nacl.bindings import crypto_secretbox, crypto_secretbox_open

from lockmigrate.cli import main
from lockmigrate.errors import LinkError, LockmigrateError, PolicyError
from lockmigrate.operations import verify
from lockmigrate.operations.journal import Journal, MemoryJournal
from lockmigrate.operations.on_paper import plan_for_profile, source_in_memory
from lockmigrate.operations.opening import Opened
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.rehearse import RehearsalOutcome, rehearse
from lockmigrate.operations.restore import Prepared, Source, execute, prepare
from lockmigrate.planning.policy import Answer, Decisions, Policy
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock
from lockmigrate.protocols.credentials import NukiCredential, write_credential
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.nuki_door import pair_unit
from lockmigrate.sim import nuki_lists, open_unit
from lockmigrate.sim.nuki_records import Flash, KeypadCode, Timer, decode_date, limits_of
from lockmigrate.targets import Target, open_on_unit
from lockmigrate.transports.gatt import Emitted
from lockmigrate.transports.memory_ble import ConnectionFaults, MemoryConnection
from lockmigrate.vault.keys import create_keys

TARGET = Target(text="sim://unit", scheme="sim", address="unit")
LOCKS = ("nuki-1", "nuki-2", "nuki-3", "nuki-4", "nuki-ultra")
SMALL = {"codes": 6, "timers": 3, "authorisations": 3, "fingerprints": 2, "log": 3}
BOUND = ("total_degrees", "unlocked_offset", "locked_offset", "single_locked_offset", "unlocked_to_locked_offset",
         "detached_cylinder")  # fmt: skip
SINCE = {"auto_lock": 31, "immediate_auto_lock": 31, "auto_update": 31, "motor_speed": 33, "night_slow_speed": 33}
"""Length of the advanced configuration from which on it has a field (9.5)."""
NEW_YORK, BERLIN, HELSINKI, KATHMANDU, NONE = 12, 37, 38, 23, 0xFFFF
ZONES = {
    NEW_YORK: "America/New_York",
    BERLIN: "Europe/Berlin",
    HELSINKI: "Europe/Helsinki",
    KATHMANDU: "Asia/Kathmandu",
}
SET_CONFIG, UPDATE_TIME, ERROR, STATUS = 0x13, 0x21, 0x12, 0x0E
ADD_CODE, UPDATE_CODE, REMOVE_CODE, ADD_TIMER, UPDATE_TIMER = 0x41, 0x46, 0x47, 0x39, 0x3F
UNLOCK, LOCK_DOOR, UNLATCH = 1, 2, 3


# ---- units, and what goes between them ------------------------------------------------------------------------------


def unit_of(profile: str = "nuki-3", preset: str = "full", **options: Any) -> Any:
    return open_unit(load_profile(profile), preset, {name: str(value) for name, value in options.items()})


def small(profile: str = "nuki-3", **options: Any) -> Any:
    """Six codes: plain and limited ones, the second disabled, and three timers, one of them off."""
    unit = unit_of(profile, "full", **{**SMALL, **options})
    list(unit.flash.codes.values())[1].enabled = False
    return unit


async def last(events: AsyncIterator[Any]) -> Any:
    item = None
    async for item in events:  # noqa: B007  # the last one is what counts
        pass
    return item


async def opened(unit: Any, faults: ConnectionFaults | None = None, credential: NukiCredential | None = None) -> Lock:
    return await open_on_unit(unit, TARGET, faults=faults, credential=credential)


async def read(unit: Any) -> Reading:
    lock = await opened(unit)
    try:
        reading: Reading = await last(read_unit(lock))
    finally:
        await lock.close()
    return reading


async def source_of(unit: Any) -> Source:
    return source_in_memory(await read(unit))


async def put_back(
    unit: Any,
    source: Source,
    journal: Journal | None = None,
    faults: ConnectionFaults | None = None,
    credential: NukiCredential | None = None,
    meanwhile: Callable[[], None] | None = None,
    **policy: Any,
) -> Any:
    """Plan and carry out; `meanwhile` happens between the two."""
    journal = journal or MemoryJournal()
    lock = await opened(unit, faults, credential)
    try:
        prepared = await last(prepare(lock, source, Policy(**policy), journal))
        if meanwhile is not None:
            meanwhile()
        return await last(execute(prepared, journal))
    finally:
        await lock.close()


async def planned(unit: Any, source: Source, **policy: Any) -> Prepared:
    lock = await opened(unit)
    try:
        prepared: Prepared = await last(prepare(lock, source, Policy(**policy), MemoryJournal()))
    finally:
        await lock.close()
    return prepared


def skipping(*reasons: str) -> Decisions:
    return Decisions(answer=tuple(Answer(reason=reason, choice="skip") for reason in reasons))


def by_key(choice: Any, *keys: str) -> Decisions:
    return Decisions(answer=tuple(Answer(key=key, choice=choice) for key in keys))


def codes_of(unit: Any) -> dict[int, tuple[bytes, bool, bytes]]:
    return {code.code: (code.name, code.enabled, code.limits) for code in unit.flash.codes.values()}


def timers_of(unit: Any) -> list[tuple[bool, int, int, int, int]]:
    return sorted((t.enabled, t.weekdays, t.hour, t.minute, t.action) for t in unit.flash.timers.values())


def settings_of(unit: Any) -> dict[str, Any]:
    """Everything that a restore may set, as far as this lock has it."""
    kept = vars(unit.flash.config) | vars(unit.flash.advanced)
    facts = ("has_fob", "has_keypad", "has_keypad_2", "homekit", "device_type", "capabilities", "matter")
    for name in (*BOUND, *facts, "product_variant", "operating_mode", "intercom"):
        del kept[name]
    size = unit.settings.advanced_bytes
    return {name: value for name, value in kept.items() if SINCE.get(name, 0) <= size}


def outcomes(prepared: Prepared, kind: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {item.key: (item.outcome, item.reasons) for item in prepared.plan.records if item.kind == kind}


def code(digits: int, *, enabled: bool = True, limits: bytes = b"", name: bytes = b"") -> KeypadCode:
    return KeypadCode(code_id=0, code=digits, name=name, enabled=enabled, limits=limits)


def holding(unit: Any, codes: Iterable[KeypadCode], timers: Iterable[Timer] = ()) -> Any:
    """The unit with these codes and timers and no others."""
    unit.flash.codes.clear()
    unit.flash.timers.clear()
    for item in codes:
        item.code_id = unit.flash.next_code_id
        unit.flash.codes[item.code_id] = item
        unit.flash.next_code_id += 1
    for timer in timers:
        timer.entry_id = unit.flash.next_timer_id
        unit.flash.timers[timer.entry_id] = timer
        unit.flash.next_timer_id += 1
    return unit


class Radio:
    """In front of a lock: may answer in its place, and sees its memory after each write."""

    def __init__(
        self, unit: Any, *, instead: Callable[[int, bytes], bytes | None] | None = None, after: Any = None
    ) -> None:
        self._device, self._unit = unit.gatt_device, unit
        self._instead, self._after = instead, after
        self._user = unit.flash.users[unit.flash.own_id]
        unit.gatt_device = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
        if self._instead is not None and len(data) > 54:
            plain = crypto_secretbox_open(data[30:], data[:24], self._user.key)
            answer = self._instead(int.from_bytes(plain[4:6], "little"), plain[6:-2])
            if answer is not None:
                return [Emitted(at_s=now_s, uuid=uuid, data=self._sealed(answer))] if answer else []
        said: list[Emitted] = self._device.write(uuid, data, now_s)
        if self._after is not None:
            self._after()
        return said

    def _sealed(self, message: bytes) -> bytes:
        inner = struct.pack("<I", self._user.authorization_id) + message
        inner += binascii.crc_hqx(inner, 0xFFFF).to_bytes(2, "little")
        box = crypto_secretbox(inner, nonce := secrets.token_bytes(24), self._user.key)
        return nonce + struct.pack("<IH", self._user.authorization_id, len(box)) + box


def refusing(*commands: int, code: int = 0x23) -> Callable[[int, bytes], bytes | None]:
    """A lock that refuses these commands."""
    return lambda command, _: struct.pack("<HBH", ERROR, code, command) if command in commands else None


# ---- when a code opens ----------------------------------------------------------------------------------------------


def summer(utc: datetime) -> bool:
    """The European rule: from the last Sunday of March to that of October, at 01:00 UTC."""

    def turn(month: int) -> datetime:
        day = datetime(utc.year, month, 31, 1, tzinfo=UTC)
        return day - timedelta(days=(day.weekday() + 1) % 7)

    return turn(3) <= utc < turn(10)


def local(flash: Flash, utc: datetime) -> datetime:
    """What the clock on the wall shows where the lock believes to be."""
    config = flash.config
    if config.timezone_id != NONE:
        return utc.astimezone(ZoneInfo(ZONES[config.timezone_id])).replace(tzinfo=None)
    minutes = config.timezone_offset + (60 if config.dst_mode == 1 and summer(utc) else 0)
    return (utc + timedelta(minutes=minutes)).replace(tzinfo=None)


def opens(flash: Flash, item: KeypadCode | None, utc: datetime) -> bool:
    """Whether a code opens at a moment, as section 7 says."""
    if item is None or not item.enabled:
        return False
    if not item.limits:
        return True
    since, until = decode_date(item.limits[:7]), decode_date(item.limits[7:14])
    weekdays, start, end = item.limits[14], tuple(item.limits[15:17]), tuple(item.limits[17:19])
    bare = utc.replace(tzinfo=None)
    if (since is not None and bare < since) or (until is not None and bare > until):
        return False
    there = local(flash, utc)
    if weekdays and not weekdays & (0x40 >> there.weekday()):
        return False
    if (start, end) == ((0, 0), (0, 0)):
        return True
    now = (there.hour, there.minute)
    return start <= now < end if start < end else now >= start or now < end


CHANGES = (
    datetime(2027, 3, 14, 7, tzinfo=UTC),
    datetime(2027, 3, 28, 1, tzinfo=UTC),
    datetime(2027, 10, 31, 1, tzinfo=UTC),
    datetime(2027, 11, 7, 6, tzinfo=UTC),
)
"""America/New_York and Europe/Berlin, both ways."""
INSTANTS = [change + timedelta(minutes=37 * step) for change in CHANGES for step in range(-48, 49)]
FEW = [change + timedelta(hours=step) for change in CHANGES for step in (-25, -1, 0, 1, 7, 20)]


def by_digits(unit: Any) -> dict[int, KeypadCode]:
    return {item.code: item for item in unit.flash.codes.values()}


def insist_on_nothing_wider(
    source: Any, target: Any, before: Flash | None = None, at: list[datetime] = INSTANTS
) -> None:
    """No code opens the new lock when it did not open the old one (or, where `before` is given, the new one before)."""
    mine = by_digits(source)
    its = {} if before is None else {item.code: item for item in before.codes.values()}
    for digits, item in by_digits(target).items():
        for utc in at:
            if opens(target.flash, item, utc) and not opens(source.flash, mine.get(digits), utc):
                assert before is not None, f"{digits} opens at {utc}"
                assert opens(before, its.get(digits), utc), f"{digits} opens at {utc}"


def test_the_evaluator_by_hand() -> None:
    unit = unit_of("nuki-3", "empty")
    unit.flash.config.timezone_id = BERLIN
    week = code(345678, limits=limits_of(weekdays=0x40, start=(8, 0), end=(9, 0)))
    assert opens(unit.flash, week, datetime(2027, 3, 22, 7, 30, tzinfo=UTC)), "winter: 8:30 on a Monday"
    assert opens(unit.flash, week, datetime(2027, 3, 29, 6, 30, tzinfo=UTC)), "summer: 8:30 on a Monday"
    assert not opens(unit.flash, week, datetime(2027, 3, 29, 7, 30, tzinfo=UTC))
    assert not opens(unit.flash, week, datetime(2027, 3, 30, 6, 30, tzinfo=UTC)), "a Tuesday"
    unit.flash.config.timezone_id, unit.flash.config.timezone_offset, unit.flash.config.dst_mode = NONE, 60, 1
    assert opens(unit.flash, week, datetime(2027, 3, 29, 6, 30, tzinfo=UTC))
    assert [summer(change + timedelta(minutes=step)) for change in CHANGES[1:3] for step in (-1, 0)] == [
        False, True, True, False,
    ]  # fmt: skip


# ---- everything moves -----------------------------------------------------------------------------------------------


async def fresh(profile: str, **options: Any) -> tuple[Any, NukiCredential]:
    """A lock out of its box, and what pairing with it made."""
    unit = unit_of(profile, "fresh", **options)
    connection = MemoryConnection.open(unit.gatt_device)
    door = Door(target="sim://unit", port_id="x", credential=NukiCredential(security_pin=unit.flash.pin))
    credential = await pair_unit(connection, door, keep=lambda _: None)
    await connection.close()
    unit.flash.own_id = credential.authorization_id
    return unit, credential


@pytest.mark.parametrize(
    ("old", "new"),
    [*((name, name) for name in LOCKS), ("nuki-1", "nuki-ultra"), ("nuki-ultra", "nuki-1"), ("nuki-4", "nuki-2"),
     ("nuki-2", "nuki-3")],
)  # fmt: skip
@pytest.mark.parametrize("preset", ["fresh", "empty"])
async def test_a_lock_is_restored_whole_to_any_generation(old: str, new: str, preset: str) -> None:
    source_unit = unit_of(old, "full", codes=30)
    untouched = source_unit.image()
    source = await source_of(source_unit)
    assert source_unit.image() == untouched, "reading changed the lock"
    credential = None
    if preset == "fresh":
        unit, credential = await fresh(new)
    else:
        unit = unit_of(new, "empty")
    kept = {name: getattr(unit.flash.advanced, name) for name in BOUND}
    born = (unit.flash.uuid, unit.flash.private_key, unit.flash.pin, unit.flash.config.homekit)
    people = dict(unit.flash.users)
    result = await put_back(unit, source, credential=credential)
    assert result.exit_code == 0
    assert codes_of(unit) == codes_of(source_unit)
    assert timers_of(unit) == timers_of(source_unit)
    assert len({item.code for item in unit.flash.codes.values()}) == len(unit.flash.codes) == 30
    assert (unit.flash.uuid, unit.flash.private_key, unit.flash.pin, unit.flash.config.homekit) == born
    assert {name: getattr(unit.flash.advanced, name) for name in BOUND} == kept
    assert unit.flash.users == people, "nobody was let in"
    mine, theirs = settings_of(source_unit), settings_of(unit)
    assert {name: mine[name] for name in mine if name in theirs} == {
        name: theirs[name] for name in theirs if name in mine
    }
    skipped = [item for item in result.records if item.reasons == ("setting-unsupported",)]
    assert len(skipped) == len(mine.keys() - theirs.keys()), "none is lost in silence"
    fates = Counter((item.kind, item.outcome) for item in result.records if item.kind in ("access_key", "fingerprint"))
    others = len(source_unit.flash.users) - 1
    assert fates["access_key", "reissue"] == others
    assert fates["fingerprint", "re_enrol"] == len(source_unit.flash.fingerprints)
    assert all(item.proof == "V4" for item in result.records if item.outcome == "copy")
    assert all(item.proof is None for item in result.records if item.outcome != "copy")
    insist_on_nothing_wider(source_unit, unit, at=FEW)
    assert unit.actions == [], "no door moved"


async def test_what_was_restored_needs_nothing_more_and_verifies() -> None:
    old, new = small(), unit_of("nuki-3", "empty")
    source = await source_of(old)
    await put_back(new, source)
    image = new.image()
    again = await put_back(new, source)
    assert (again.exit_code, again.written, new.image()) == (0, 0, image)
    assert (await compared(new, source)).exit_code == 0
    next(iter(new.flash.codes.values())).enabled = False
    assert (await compared(new, source)).exit_code == 8


async def compared(unit: Any, source: Source) -> Any:
    lock = await opened(unit)
    looked = Opened(
        source=source, signer="", signer_name=None, created_at="", manifest_sha256="", trust="trusted", refusal=None
    )
    try:
        return await last(verify.verify_unit(lock, looked, MemoryJournal()))
    finally:
        await lock.close()


async def test_what_was_measured_on_the_door_moves_only_when_it_is_named() -> None:
    old, new = small(), unit_of("nuki-3", "empty")
    source = await source_of(old)
    result = await put_back(new, source, with_=frozenset({"cylinder"}))
    assert result.exit_code == 0
    moved = [getattr(new.flash.advanced, name) for name in BOUND[1:]]
    assert moved == [getattr(old.flash.advanced, name) for name in BOUND[1:]]
    assert new.flash.advanced.total_degrees == 0, "that is measured by the lock itself"
    (record,) = [item for item in result.records if item.key.endswith(".total_degrees")]
    assert (record.outcome, record.reasons) == ("skip", ("device-bound",))


async def test_the_clock_goes_first_and_what_opens_to_newcomers_last() -> None:
    old, new = small(), unit_of("nuki-3", "empty", clock_off=-90000)
    old.flash.config.pairing_enabled, new.flash.config.pairing_enabled = 1, 0
    heard: list[tuple[int, int]] = []
    Radio(new, instead=lambda command, _: heard.append((command, new.flash.config.pairing_enabled)))  # type: ignore[func-returns-value]
    await put_back(new, await source_of(old))
    changes = [command for command, _ in heard if command in (UPDATE_TIME, SET_CONFIG, ADD_CODE, ADD_TIMER, 0x35)]
    assert changes[:2] == [UPDATE_TIME, SET_CONFIG]
    assert changes[-1] == SET_CONFIG
    assert {allowed for command, allowed in heard if command in (ADD_CODE, UPDATE_CODE, ADD_TIMER)} == {0}
    assert new.flash.config.pairing_enabled == 1
    assert abs((new.lock.clock() - datetime.now(UTC).replace(tzinfo=None)).total_seconds()) < 5


async def test_a_lock_is_put_back_on_itself_after_a_reset() -> None:
    unit = small()
    source = await source_of(unit)
    held, timers = codes_of(unit), timers_of(unit)
    unit.factory_reset()
    unit.press_button()
    connection = MemoryConnection.open(unit.gatt_device)
    door = Door(target="sim://unit", port_id="x", credential=NukiCredential(security_pin=0))
    credential = await pair_unit(connection, door, keep=lambda _: None)
    await connection.close()
    result = await put_back(unit, source, credential=credential)
    assert result.exit_code == 0
    assert (codes_of(unit), timers_of(unit)) == (held, timers)


@pytest.mark.parametrize(
    "name", [b"Anna\0\xff\xfe\x01", b"\0rubbish", b"\xff\xfe", "zwanzig Byte Länge!".encode(), b""]
)
@pytest.mark.parametrize("tidy", [False, True])
async def test_a_name_is_what_stands_before_its_first_zero(
    name: bytes, tidy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a lock keeps what stands behind it is nobody's knowledge: the code is restored either way."""
    if tidy:
        monkeypatch.setattr(nuki_lists, "cut_name", lambda raw: raw.split(b"\0")[0])
    old, new = holding(small(), [code(345678, name=name)]), unit_of("nuki-3", "empty")
    source = await source_of(old)
    result = await put_back(new, source)
    assert result.exit_code == 0
    assert codes_of(new) == {345678: (name.split(b"\0")[0], True, b"")}
    assert (await put_back(new, source)).written == 0


@pytest.mark.parametrize(
    "options",
    [
        {"status_after_id": 1},
        {"slow": 3000},
        {"unasked": 1},
        {"status_after_list": 0},
        {"status_after_list": "never"},
        {"tail": "always"},
        {"crc0": 1},
        {"pieces": 20},
        {"pace": 1500},
        {"max_mtu": 23},
        {"keeps_wrong": 3},
    ],
)
async def test_whatever_the_reference_leaves_open_is_written_alike(options: dict[str, Any]) -> None:
    old, new = small(), unit_of("nuki-3", "empty", **options)
    source = await source_of(old)
    assert (await put_back(new, source)).exit_code == 0
    assert (codes_of(new), timers_of(new)) == (codes_of(old), timers_of(old))


# ---- disabled codes and timers --------------------------------------------------------------------------------------


def watched(target: Any, source: Any, before: Flash | None = None) -> list[int]:
    """Insist after each write that nothing opens that shall not; returns the disabled codes that ever opened."""
    opened_once: list[int] = []
    disabled = {item.code for item in source.flash.codes.values() if not item.enabled}
    off = {(t.weekdays, t.hour, t.minute) for t in source.flash.timers.values() if not t.enabled}

    def look() -> None:
        held = [item for item in target.flash.codes.values() if item.code in disabled]
        opened_once.extend(item.code for item in held if any(opens(target.flash, item, utc) for utc in FEW))
        for timer in target.flash.timers.values():
            place = (timer.weekdays, timer.hour, timer.minute)
            assert not (place in off and timer.enabled and timer.action != LOCK_DOOR), "the door would open by itself"
        insist_on_nothing_wider_but(opened_once, source, target, before)

    Radio(target, after=look)
    return opened_once


def insist_on_nothing_wider_but(known: list[int], source: Any, target: Any, before: Flash | None) -> None:
    others = {number: item for number, item in target.flash.codes.items() if item.code not in known}
    view = type("View", (), {"flash": type("F", (), {"codes": others, "config": target.flash.config})})
    insist_on_nothing_wider(source, view, before, at=FEW)


@pytest.mark.parametrize("refuse_ended", [0, 1])
async def test_a_disabled_code_opens_at_no_moment(refuse_ended: int) -> None:
    """Also where a lock takes no window that has ended: then one that is far ahead keeps it shut."""
    old, new = small(codes=20), unit_of("nuki-3", "empty", refuse_ended=refuse_ended)
    for item in list(old.flash.codes.values())[::3]:
        item.enabled = False
    assert watched(new, old) == []
    assert (await put_back(new, await source_of(old))).exit_code == 0
    assert codes_of(new) == codes_of(old)


async def test_where_no_window_keeps_it_shut_a_disabled_code_is_open_for_one_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        nuki_lists, "has_ended", lambda limits, now: bool(limits) and limits[:2] in (b"\xd0\x07", b"\x32\x08")
    )
    old, new = small(), unit_of("nuki-3", "empty", refuse_ended=1)
    for item in list(old.flash.codes.values())[::2]:
        item.enabled = False
    commands: list[int] = []
    opened_once = watched(new, old)
    Radio(new, instead=lambda command, _: commands.append(command))  # type: ignore[func-returns-value]
    assert (await put_back(new, await source_of(old))).exit_code == 0
    disabled = [item.code for item in old.flash.codes.values() if not item.enabled and opens_ever(old, item)]
    assert set(opened_once) <= set(disabled)
    # The request of the nonce for the update is the one write in between.
    assert all(opened_once.count(number) <= 2 for number in disabled)
    pure = [command for command in commands if command in (ADD_CODE, UPDATE_CODE)]
    assert pure.count(UPDATE_CODE) == sum(not item.enabled for item in old.flash.codes.values())
    assert pure.count(ADD_CODE) == len(old.flash.codes) + 2, "what a lock does not take is tried once"
    assert codes_of(new) == codes_of(old)


def opens_ever(unit: Any, item: KeypadCode) -> bool:
    return any(opens(unit.flash, code(item.code, limits=item.limits), utc) for utc in FEW)


async def test_a_code_that_is_refused_for_another_reason_opens_no_window_for_the_rest() -> None:
    old, new = small(codes=20), unit_of("nuki-3", "empty", refuse_add=1)
    for item in old.flash.codes.values():
        item.enabled = False
    assert watched(new, old) == []
    result = await put_back(new, await source_of(old))
    assert result.exit_code == 0
    assert codes_of(new) == codes_of(old)


async def test_a_code_whose_second_half_is_refused_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for shut in (True, False):
        if not shut:
            monkeypatch.setattr(nuki_lists, "has_ended", lambda limits, _: limits[:2] in (b"\xd0\x07", b"\x32\x08"))
        old, new = small(), unit_of("nuki-3", "empty", refuse_ended=1)
        Radio(new, instead=refusing(UPDATE_CODE, code=0x45))
        result = await put_back(new, await source_of(old))
        assert result.exit_code == 9
        disabled = {item.code for item in old.flash.codes.values() if not item.enabled}
        assert not disabled & {item.code for item in new.flash.codes.values()}
        losses = [
            loss for loss in result.losses if loss.stage in ("write", "verify") and loss.record.startswith("pin/")
        ]
        assert len(losses) == len(disabled)
        assert all("left empty" in (loss.detail or "") for loss in losses)
        insist_on_nothing_wider(old, new, at=FEW)


@pytest.mark.parametrize("removes", [True, False])
async def test_a_lock_that_forgets_a_limit_keeps_no_such_code(removes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = code(345678, limits=limits_of(weekdays=0x40, start=(8, 0), end=(9, 0)))
    old, new = holding(small(), [limited, code(456789)]), unit_of("nuki-3", "empty")
    usual = nuki_lists.Lists._limits
    monkeypatch.setattr(nuki_lists.Lists, "_limits", lambda self, limited, tail: usual(self, limited, tail)[:0])
    if not removes:
        Radio(new, instead=refusing(REMOVE_CODE))
    source = await source_of(old)
    result = await put_back(new, source)
    assert result.exit_code == 9
    (loss,) = [loss for loss in result.losses if loss.stage == "verify" and loss.record.startswith("pin/")]
    assert (loss.code, loss.record) == ("read-back-differs", f"pin/{limited.code_id}")
    assert (345678 in codes_of(new)) is not removes
    assert ("left empty" if removes else "could not be taken away") in (loss.detail or "")
    assert 456789 in codes_of(new)


async def test_a_timer_that_shall_be_off_never_opens_the_door() -> None:
    off = [Timer(entry_id=0, enabled=False, weekdays=0, hour=7, minute=5 * n, action=UNLATCH) for n in range(3)]
    old = holding(small(), [], [*off, Timer(entry_id=0, weekdays=0x40, hour=7, minute=0, action=UNLOCK)])
    for instead in (None, refusing(UPDATE_TIMER)):
        new = unit_of("nuki-3", "empty")
        watched(new, old)
        Radio(new, instead=instead)
        result = await put_back(new, await source_of(old))
        if instead is None:
            assert (result.exit_code, timers_of(new)) == (0, timers_of(old))
        else:
            assert result.exit_code == 9
            assert timers_of(new) == [(True, 0x40, 7, 0, UNLOCK)]


# ---- a link that is cut ---------------------------------------------------------------------------------------------


async def cut_and_again(faults: ConnectionFaults, old: Any, source: Source, **options: Any) -> None:
    """Cut a restore, look at what it left behind, and run it again."""
    new = unit_of("nuki-3", "empty", **options)
    journal = MemoryJournal()
    if not options.get("refuse_ended"):
        assert watched(new, old) == []
    with pytest.raises(LinkError) as caught:
        await put_back(new, source, journal, faults)
    assert caught.value.message
    assert caught.value.exit_code == 5
    insist_on_nothing_wider(old, new, at=FEW)
    result = await put_back(new, source, journal)
    assert result.exit_code == 0
    assert (codes_of(new), timers_of(new)) == (codes_of(old), timers_of(old))
    assert len(new.flash.codes) == len(old.flash.codes), "no code twice"
    assert settings_of(new) == settings_of(old)
    assert (await planned(new, source)).plan.steps == ()


async def measured(old: Any, source: Source, **options: Any) -> tuple[int, int]:
    """How many writes and indications a whole restore takes."""
    new = unit_of("nuki-3", "empty", **options)
    seen = {"writes": 0, "chunks": 0}
    device = new.gatt_device

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(device, name)

        def write(self, uuid: str, data: bytes, now_s: float) -> list[Emitted]:
            said: list[Emitted] = device.write(uuid, data, now_s)
            seen["writes"] += 1
            seen["chunks"] += sum(1 for item in said if item.data)
            return said

    new.gatt_device = Counting()
    await put_back(new, source)
    return seen["writes"], seen["chunks"]


def tiny() -> Any:
    old = small(codes=4, authorisations=2, log=1, fingerprints=1)
    list(old.flash.codes.values())[2].enabled = False
    return old


async def test_a_restore_that_was_cut_is_finished_by_the_next() -> None:
    old = tiny()
    source = await source_of(old)
    writes, chunks = await measured(old, source)
    cuts = [ConnectionFaults(cut_after_writes=number) for number in range(writes // 3, writes, 11)]
    cuts += [ConnectionFaults(cut_after_chunks=number) for number in range(chunks // 3, chunks, 14)]
    assert 8 <= len(cuts) <= 20
    for faults in cuts:
        await cut_and_again(faults, old, source)


@pytest.mark.sweep
@pytest.mark.parametrize("options", [{}, {"refuse_ended": 1}, {"status_after_id": 1, "slow": 500}, {"pieces": 20}])
async def test_a_restore_that_was_cut_at_any_point_is_finished_by_the_next(options: dict[str, Any]) -> None:
    old = tiny()
    source = await source_of(old)
    writes, chunks = await measured(old, source, **options)
    for number in range(writes):
        await cut_and_again(ConnectionFaults(cut_after_writes=number), old, source, **options)
    for number in range(chunks):
        await cut_and_again(ConnectionFaults(cut_after_chunks=number), old, source, **options)


async def one_lost(faults: ConnectionFaults, old: Any, source: Source) -> None:
    """A write or an answer is lost and the link lives: what is claimed holds, and the next run makes it whole."""
    new = unit_of("nuki-3", "empty")
    journal = MemoryJournal()
    assert watched(new, old) == []
    try:
        result = await put_back(new, source, journal, faults)
    except LinkError:
        pass
    else:
        held = codes_of(new)
        digits = {f"pin/{item.code_id}": item for item in old.flash.codes.values()}
        for record in result.records:
            if record.kind == "pin" and record.proof is not None:
                item = digits[record.key]
                assert held[item.code] == (item.name, item.enabled, item.limits)
        whole = (held, timers_of(new), settings_of(new)) == (codes_of(old), timers_of(old), settings_of(old))
        assert result.exit_code == (0 if whole else 9)
        assert len(new.flash.timers) <= len(old.flash.timers), "no timer twice"
    result = await put_back(new, source, journal)
    assert result.exit_code == 0
    assert (codes_of(new), timers_of(new)) == (codes_of(old), timers_of(old))


async def test_a_write_or_an_answer_that_is_lost_is_never_guessed_at() -> None:
    old = tiny()
    source = await source_of(old)
    writes, chunks = await measured(old, source)
    for number in range(writes // 3, writes + 1, 13):
        await one_lost(ConnectionFaults(lose_write=number), old, source)
    for number in range(chunks // 3, chunks + 1, 17):
        await one_lost(ConnectionFaults(lose_chunk=number), old, source)
        await one_lost(ConnectionFaults(delay_chunk=number, delay_s=5.5), old, source)


@pytest.mark.sweep
async def test_no_write_and_no_answer_that_is_lost_is_guessed_at() -> None:
    old = tiny()
    source = await source_of(old)
    writes, chunks = await measured(old, source)
    for number in range(1, writes + 1):
        await one_lost(ConnectionFaults(lose_write=number), old, source)
    for number in range(1, chunks + 1):
        await one_lost(ConnectionFaults(lose_chunk=number), old, source)
        await one_lost(ConnectionFaults(delay_chunk=number, delay_s=5.5), old, source)


async def test_with_the_journal_lost_nothing_is_doubled_and_nothing_opened() -> None:
    old = tiny()
    source = await source_of(old)
    writes, _ = await measured(old, source)
    for number in range(writes // 3, writes, 20):
        new = unit_of("nuki-3", "empty")
        with pytest.raises(LinkError):
            await put_back(new, source, faults=ConnectionFaults(cut_after_writes=number))
        try:
            result = await put_back(new, source, existing="merge", decisions=skipping("pin-duplicate"))
        except PolicyError:
            pytest.fail("every question was answered")
        insist_on_nothing_wider(old, new, at=FEW)
        assert len(new.flash.codes) == len(old.flash.codes)
        assert result.exit_code == 0
        final = await put_back(new, source, existing="replace")
        assert final.exit_code == 0
        assert (codes_of(new), timers_of(new)) == (codes_of(old), timers_of(old))


# ---- what is there already ------------------------------------------------------------------------------------------


def own_things() -> tuple[Any, Any]:
    """Two locks: they have one code alike, one with the same digits, and one each of their own."""
    week = limits_of(since=datetime(2027, 1, 1))  # noqa: DTZ001 - the wire names no zone
    old = holding(small(), [code(345678), code(456789, enabled=False), code(567891, name=b"old")],
                  [Timer(entry_id=0, hour=8, action=UNLOCK), Timer(entry_id=0, hour=9, enabled=False)])  # fmt: skip
    new = holding(unit_of("nuki-3", "empty"), [code(345678), code(456789, limits=week), code(678912, name=b"new")],
                  [Timer(entry_id=0, hour=8, action=UNLOCK), Timer(entry_id=0, hour=10)])  # fmt: skip
    new.flash.config = old.flash.config
    return old, new


async def test_a_lock_that_holds_others_wants_a_decision_and_stays_as_it_is() -> None:
    old, new = own_things()
    source, before = await source_of(old), new.image()
    with pytest.raises(PolicyError, match="already holds") as caught:
        await put_back(new, source)
    assert caught.value.code == "target-not-empty"
    assert new.image() == before
    held = await planned(new, source)
    assert len(held.plan.existing) == 3, "the code with the same digits, the code and the timer of its own"


async def test_merging_keeps_what_is_there_and_asks_about_digits_in_use() -> None:
    old, new = own_things()
    source = await source_of(old)
    with pytest.raises(PolicyError, match="decision"):
        await put_back(new, source, existing="merge")
    held = codes_of(new)
    result = await put_back(new, source, existing="merge", decisions=skipping("pin-duplicate"))
    assert result.exit_code == 0
    assert codes_of(new) == {**held, 567891: (b"old", True, b"")}
    assert timers_of(new) == sorted([*timers_of(old), (True, 0, 10, 0, 2)])
    writing = Decisions(answer=(Answer(reason="pin-duplicate", choice="write"),))
    result = await put_back(new, source, existing="merge", decisions=writing)
    assert result.exit_code == 0
    assert codes_of(new)[456789] == (b"", False, b"")
    assert codes_of(new)[678912] == (b"new", True, b"")


async def test_replacing_leaves_what_the_backup_holds_and_nothing_else() -> None:
    old, new = own_things()
    alike = next(iter(new.flash.codes))
    result = await put_back(new, await source_of(old), existing="replace")
    assert result.exit_code == 0
    assert (codes_of(new), timers_of(new)) == (codes_of(old), timers_of(old))
    assert alike in new.flash.codes, "what was alike was not touched"
    assert len(result.removed) == 2


@pytest.mark.parametrize("existing", ["merge", "replace"])
async def test_at_no_moment_does_a_code_open_that_neither_lock_opened_to(existing: str) -> None:
    old, new = own_things()
    before = copy.deepcopy(new.flash)
    watched(new, old, before)
    await put_back(new, await source_of(old), existing=existing, decisions=skipping("pin-duplicate"))
    if existing == "replace":
        insist_on_nothing_wider(old, new)


async def test_a_code_that_another_client_put_under_a_number_of_the_plan_is_left_alone() -> None:
    """Ids may be given out again (unconfirmed): what a plan removes or changes by number is looked at first."""
    for timers in (False, True):
        old, new = own_things()
        source = await source_of(old)
        flash = new.flash

        def meanwhile(flash: Flash = flash, timers: bool = timers) -> None:
            if timers:
                flash.timers = {number: Timer(entry_id=number, hour=23, minute=30 + number) for number in flash.timers}
            else:
                flash.codes = {number: KeypadCode(code_id=number, code=789123 + number * 1000, name=b"theirs")
                               for number in flash.codes}  # fmt: skip

        result = await put_back(new, source, meanwhile=meanwhile, existing="replace")
        assert result.exit_code == 9
        if timers:
            assert {timer.hour for timer in flash.timers.values()} == {23, 8, 9} - {8}
            assert sum(timer.hour == 23 for timer in flash.timers.values()) == 2
        else:
            assert sum(item.name == b"theirs" for item in flash.codes.values()) == 3
            assert {456789, 567891} <= set(codes_of(new))
        assert any("something else under this number" in (loss.detail or "") for loss in result.losses)


async def test_a_code_that_another_client_made_meanwhile_is_not_overwritten() -> None:
    old, new = holding(small(), [code(345678), code(456789)]), unit_of("nuki-3", "empty")

    def meanwhile() -> None:
        holding(new, [code(345678, enabled=False, name=b"theirs")])

    result = await put_back(new, await source_of(old), meanwhile=meanwhile)
    assert result.exit_code == 9
    assert codes_of(new) == {345678: (b"theirs", False, b""), 456789: (b"", True, b"")}
    (loss,) = [loss for loss in result.losses if loss.stage == "write"]
    assert loss.code == "pin-duplicate"


async def test_a_code_that_another_client_removed_meanwhile_is_made_anew() -> None:
    old, new = own_things()
    result = await put_back(new, await source_of(old), meanwhile=new.flash.codes.clear, existing="replace")
    assert {456789, 567891} <= set(codes_of(new))
    assert codes_of(new)[456789] == (b"", False, b"")
    assert all(loss.stage != "write" for loss in result.losses)


# ---- what does not fit ----------------------------------------------------------------------------------------------


async def test_a_smaller_lock_asks_before_anything_is_written() -> None:
    old, new = unit_of("nuki-4", "huge"), unit_of("nuki-2", "empty")
    assert len(old.flash.codes) == 200
    source, before = await source_of(old), new.image()
    with pytest.raises(PolicyError, match="decision"):
        await put_back(new, source)
    assert new.image() == before
    plan = (await planned(new, source)).plan
    left = [record for record in plan.records if record.reasons == ("capacity",) and record.kind == "pin"]
    assert len(left) == 100
    state = {f"pin/{item.code_id}": item for item in old.flash.codes.values()}
    disabled = {key for key, item in state.items() if not item.enabled}
    assert disabled <= {record.key for record in left}, "who may enter goes first"
    result = await put_back(new, source, decisions=skipping("capacity"))
    assert result.exit_code == 0
    assert len(new.flash.codes) == 100
    insist_on_nothing_wider(old, new, at=FEW)


async def test_a_lock_that_is_full_all_the_same_loses_nothing_in_silence() -> None:
    old, new = small(), unit_of("nuki", "empty", code_room=4, timer_room=2)
    result = await put_back(new, await source_of(old))
    assert result.exit_code == 9
    assert len(new.flash.codes) == 4
    losses = [loss for loss in result.losses if loss.code == "capacity" and loss.record.startswith("pin/")]
    assert len(losses) == 2
    assert [loss.code for loss in result.losses if loss.record.startswith("lock_schedule")] == ["capacity"]
    insist_on_nothing_wider(old, new, at=FEW)


@pytest.mark.parametrize(
    ("digits", "reason"),
    [
        (123456, "pin-prefix"),
        (345670, "pin-alphabet"),
        (34567, "pin-length"),
        (3456789, "pin-length"),
        (0, "pin-length"),
    ],
)
async def test_digits_that_no_lock_takes_are_asked_about(digits: int, reason: str) -> None:
    old, new = holding(small(), [code(digits), code(345678)]), unit_of("nuki-3", "empty")
    source = await source_of(old)
    with pytest.raises(PolicyError, match="decision"):
        await put_back(new, source)
    result = await put_back(new, source, decisions=skipping(reason))
    assert set(codes_of(new)) == {345678}
    assert result.exit_code == 0


async def test_digits_that_this_lock_refuses_are_a_loss() -> None:
    old, new = holding(small(), [code(444444), code(345678), code(357159)]), unit_of("nuki-3", "empty", weak=1)
    result = await put_back(new, await source_of(old))
    assert result.exit_code == 9
    assert set(codes_of(new)) == {357159}
    assert [loss.code for loss in result.losses if loss.stage == "write"] == ["write-refused", "write-refused"]


async def test_what_is_over_stays_behind_unless_it_is_wanted() -> None:
    over = limits_of(datetime(2026, 1, 1), datetime(2026, 6, 1))  # noqa: DTZ001 - the wire names no zone
    old, new = holding(small(), [code(345678, limits=over), code(456789)]), unit_of("nuki-3", "empty")
    source = await source_of(old)
    result = await put_back(new, source, now_utc="2026-11-25T00:00:00Z")
    assert (result.exit_code, set(codes_of(new))) == (0, {456789})
    (record,) = [item for item in result.records if item.kind == "pin" and item.reasons]
    assert (record.outcome, record.reasons) == ("skip", ("expired",))
    result = await put_back(new, source, now_utc="2026-11-25T00:00:00Z", keep_expired=True)
    assert codes_of(new)[345678] == (b"", True, over)


async def test_a_limit_that_was_not_told_is_never_written_as_none() -> None:
    old, new = holding(small(), [code(345678, limits=limits_of(weekdays=0x40))]), unit_of("nuki-3", "empty")
    entry = nuki_lists.code_entry
    try:
        nuki_lists.code_entry = lambda item, *, always: entry(item, always=always)[:44]
        source = await source_of(old)
    finally:
        nuki_lists.code_entry = entry
    assert outcomes(await planned(new, source), "pin") == {
        f"pin/{next(iter(old.flash.codes))}": ("needs_input", ("schedule-unreadable",))
    }
    for choice in ("write", "override"):
        answer = Decisions(answer=(Answer(reason="schedule-unreadable", choice=choice),))  # type: ignore[arg-type]
        with pytest.raises(PolicyError):
            await put_back(new, source, decisions=answer)
    assert codes_of(new) == {}


async def test_a_lock_that_does_not_know_codes_is_asked_about_up_front() -> None:
    old, new = small(), unit_of("nuki-3", "empty", old=1)
    source, before = await source_of(old), new.image()
    with pytest.raises(PolicyError):
        await put_back(new, source)
    assert new.image() == before
    plan = await planned(new, source)
    assert set(outcomes(plan, "pin").values()) == {("needs_input", ("no-keypad",))}
    assert set(outcomes(plan, "lock_schedule").values()) == {("needs_input", ("schedule-unsupported",))}
    result = await put_back(new, source, decisions=skipping("no-keypad", "schedule-unsupported"))
    assert result.exit_code == 0
    assert new.flash.config.name == old.flash.config.name


# ---- Openers --------------------------------------------------------------------------------------------------------


async def test_nothing_is_written_to_an_opener() -> None:
    old, new = small(), unit_of("nuki-opener", "empty")
    before = new.image()
    with pytest.raises(PolicyError):
        await put_back(new, await source_of(old))
    assert new.image() == before


async def test_what_an_opener_held_opens_no_other_door_by_itself() -> None:
    """Its codes open the house, and its action 1 is no unlocking: neither goes into a lock unless it is named."""
    old, new = small("nuki-opener"), unit_of("nuki-3", "empty")
    source, before = await source_of(old), new.image()
    with pytest.raises(PolicyError, match="widen"):
        await put_back(new, source)
    assert new.image() == before
    result = await put_back(new, source, decisions=skipping("other-family", "zone-differs"))
    assert (result.exit_code, codes_of(new), timers_of(new)) == (0, {}, [])
    timers = [item.key for item in source.snapshot.lock_schedules]
    with pytest.raises(PolicyError):
        await put_back(new, source, decisions=by_key("override", *timers))
    plain = next(item for item in old.flash.codes.values() if not item.limits)
    keys = Decisions(answer=(Answer(key=f"pin/{plain.code_id}", choice="override"),
                             *skipping("other-family", "zone-differs").answer))  # fmt: skip
    result = await put_back(new, source, decisions=keys)
    assert set(codes_of(new)) == {plain.code}


# ---- time zones -----------------------------------------------------------------------------------------------------


def weekly() -> list[KeypadCode]:
    return [
        code(345678, limits=limits_of(weekdays=0x7C, start=(8, 0), end=(17, 30))),
        code(456789, limits=limits_of(weekdays=0x03)),
        code(567891, limits=limits_of(datetime(2027, 3, 1), datetime(2027, 12, 1))),  # noqa: DTZ001
        code(678912),
    ]


async def test_the_zone_is_right_before_a_code_with_hours_is_there() -> None:
    old = holding(small(), weekly(), [Timer(entry_id=0, hour=8, action=UNLOCK)])
    new = unit_of("nuki-3", "empty")
    old.flash.config.timezone_id, new.flash.config.timezone_id = NEW_YORK, BERLIN
    seen: list[bool] = []

    def look() -> None:
        hours = [item for item in new.flash.codes.values() if any(item.limits[14:])]
        if hours or new.flash.timers:
            seen.append(new.flash.config.timezone_id == NEW_YORK)
        insist_on_nothing_wider(old, new, at=FEW)

    Radio(new, after=look)
    assert (await put_back(new, await source_of(old))).exit_code == 0
    assert seen
    assert all(seen)


async def test_where_the_zone_is_refused_what_goes_by_hours_is_left_out() -> None:
    old = holding(small(), weekly(), [Timer(entry_id=0, hour=8, action=UNLOCK)])
    new = unit_of("nuki-3", "empty")
    old.flash.config.timezone_id, new.flash.config.timezone_id = NEW_YORK, BERLIN
    Radio(new, instead=refusing(SET_CONFIG))
    result = await put_back(new, await source_of(old))
    assert result.exit_code == 9
    assert set(codes_of(new)) == {567891, 678912}
    assert timers_of(new) == []
    left = {loss.record for loss in result.losses if "left out" in (loss.detail or "")}
    assert len(left) == 2 + 2 + 1, "two codes, their limits, and a timer"
    insist_on_nothing_wider(old, new)


async def test_a_zone_that_comes_to_differ_again_is_not_called_proven() -> None:
    """All codes are there, but somebody moved the zone, and it cannot be set any more."""
    old, new = holding(small(), weekly(), [Timer(entry_id=0, hour=8)]), unit_of("nuki-3", "empty")
    source = await source_of(old)
    await put_back(new, source)
    new.flash.config.timezone_id = KATHMANDU
    Radio(new, instead=refusing(SET_CONFIG))
    result = await put_back(new, source)
    assert result.exit_code == 9
    proven = {item.key for item in result.records if item.kind in ("pin", "lock_schedule") and item.proof}
    numbers = {item.code: f"pin/{item.code_id}" for item in old.flash.codes.values()}
    assert proven == {numbers[567891], numbers[678912]}


@pytest.mark.parametrize(("old_bytes", "new_bytes"), [(77, 71), (71, 77), (77, 73)])
async def test_a_zone_that_cannot_be_compared_lets_nobody_in_by_the_hour(old_bytes: int, new_bytes: int) -> None:
    old = holding(small(config_bytes=old_bytes), weekly(), [Timer(entry_id=0, hour=8, action=UNLOCK)])
    new = unit_of("nuki-3", "empty", config_bytes=new_bytes)
    for unit in (old, new):
        unit.flash.config.timezone_offset, unit.flash.config.dst_mode = 60, 1
    old.flash.config.timezone_id, new.flash.config.timezone_id = HELSINKI, BERLIN
    source, before = await source_of(old), new.image()
    with pytest.raises(PolicyError, match="widen"):
        await put_back(new, source)
    assert new.image() == before
    plan = await planned(new, source)
    numbers = {item.code: f"pin/{item.code_id}" for item in old.flash.codes.values()}
    refused = {key for key, fate in outcomes(plan, "pin").items() if fate == ("refuse", ("zone-differs",))}
    assert refused == {numbers[345678], numbers[456789]}
    assert set(outcomes(plan, "lock_schedule").values()) == {("refuse", ("zone-differs",))}
    await put_back(new, source, decisions=skipping("zone-differs"))
    assert set(codes_of(new)) == {567891, 678912}
    insist_on_nothing_wider(old, new)
    await put_back(new, source, decisions=Decisions(answer=(
        *by_key("override", numbers[345678]).answer, *skipping("zone-differs").answer)))  # fmt: skip
    assert set(codes_of(new)) == {345678, 567891, 678912}, "by its own key, and no other"


async def test_no_zone_on_both_sides_is_the_same_zone() -> None:
    old = holding(small(config_bytes=71), weekly())
    new = unit_of("nuki-3", "empty")
    old.flash.config.timezone_offset, old.flash.config.dst_mode = 60, 1
    old.flash.config.timezone_id = new.flash.config.timezone_id = NONE
    new.flash.config.timezone_offset, new.flash.config.dst_mode = 0, 0
    assert (await put_back(new, await source_of(old))).exit_code == 0
    assert codes_of(new) == codes_of(old)
    insist_on_nothing_wider(old, new)


async def test_codes_that_stay_on_the_new_lock_keep_their_hours() -> None:
    """Another zone would shift them: that is asked about, setting by setting."""
    old = holding(small(), [code(345678)])
    for own in ("a code", "a timer"):
        codes = [code(891234, limits=limits_of(start=(8, 0), end=(9, 0)))] if own == "a code" else []
        timers = [Timer(entry_id=0, hour=8, action=UNLOCK)] if own == "a timer" else []
        new = holding(unit_of("nuki-3", "empty"), codes, timers)
        new.flash.config.timezone_offset, new.flash.config.dst_mode = (
            old.flash.config.timezone_offset,
            old.flash.config.dst_mode,
        )
        old.flash.config.timezone_id, new.flash.config.timezone_id = NEW_YORK, BERLIN
        source = await source_of(old)
        key = "setting/nuki.timezone_id"
        plan = await planned(new, source, existing="merge")
        assert outcomes(plan, "setting")[key] == ("refuse", ("zone-differs",))
        assert plan.plan.blocked_by == ("plan-blocked",)
        await put_back(new, source, existing="merge", decisions=skipping("zone-differs"))
        assert (new.flash.config.timezone_id, 345678 in codes_of(new)) == (BERLIN, True)
        await put_back(new, source, existing="merge", decisions=by_key("override", key))
        assert new.flash.config.timezone_id == NEW_YORK
        again = holding(unit_of("nuki-3", "empty"), codes, timers)
        assert (await put_back(again, source, existing="replace")).exit_code == 0, "what goes need not be asked about"


async def test_what_goes_goes_before_the_zone_changes() -> None:
    old = holding(small(), [code(345678)])
    new = holding(unit_of("nuki-3", "empty"), [code(891234, limits=limits_of(start=(8, 0), end=(9, 0)))])
    old.flash.config.timezone_id, new.flash.config.timezone_id = NEW_YORK, BERLIN
    watched(new, old, copy.deepcopy(new.flash))
    assert (await put_back(new, await source_of(old), existing="replace")).exit_code == 0


async def test_a_plan_on_paper_supposes_a_lock_in_the_same_zone() -> None:
    old = holding(small(), weekly())
    result = plan_for_profile(await source_of(old), "nuki-4", Policy())
    assert result.executable


# ---- summer time ----------------------------------------------------------------------------------------------------

DAY = st.integers(0, 1439).map(lambda minute: divmod(minute, 60))
NEAR = st.builds(
    lambda change, minutes: (change + timedelta(minutes=minutes)).replace(tzinfo=None),
    st.sampled_from(CHANGES),
    st.integers(-3000, 3000),
)
LIMITS = st.one_of(
    st.just(b""),
    st.builds(
        limits_of,
        st.one_of(st.none(), NEAR),
        st.one_of(st.none(), NEAR),
        st.integers(0, 0x7F),
        st.one_of(st.just((0, 0)), DAY),
        st.one_of(st.just((0, 0)), DAY),
    ),
)
DIGITS = st.text("3456789", min_size=6, max_size=6).map(int)
CODES = st.lists(
    st.builds(code, DIGITS, enabled=st.booleans(), limits=LIMITS, name=st.binary(max_size=20)),
    max_size=5,
    unique_by=lambda item: item.code,
)
QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


async def alike_on_both(codes: list[KeypadCode], zone: int, other: int, offset: int, dst: int) -> None:
    old, new = holding(unit_of("nuki-3", "empty"), codes), unit_of("nuki-3", "empty")
    old.flash.config.timezone_id, old.flash.config.timezone_offset, old.flash.config.dst_mode = zone, offset, dst
    new.flash.config.timezone_id = other
    result = await put_back(new, await source_of(old))
    assert result.exit_code == 0
    mine, theirs = by_digits(old), by_digits(new)
    assert mine.keys() == theirs.keys()
    for digits, item in mine.items():
        for utc in INSTANTS:
            assert opens(old.flash, item, utc) == opens(new.flash, theirs[digits], utc), (digits, utc)


ANY_ZONE = (st.sampled_from([BERLIN, NEW_YORK, NONE]), st.sampled_from([BERLIN, NEW_YORK, HELSINKI, KATHMANDU, NONE]),
            st.sampled_from([-300, 0, 60, 345]), st.sampled_from([0, 1]))  # fmt: skip


@QUICK
@given(CODES, *ANY_ZONE)
async def test_a_code_opens_at_the_same_moments_around_every_change_of_the_clock(
    codes: list[KeypadCode], zone: int, other: int, offset: int, dst: int
) -> None:
    await alike_on_both(codes, zone, other, offset, dst)


@pytest.mark.sweep
@LONG
@given(CODES, *ANY_ZONE)
async def test_many_codes_open_at_the_same_moments_around_every_change_of_the_clock(
    codes: list[KeypadCode], zone: int, other: int, offset: int, dst: int
) -> None:
    await alike_on_both(codes, zone, other, offset, dst)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
async def test_the_hour_that_comes_twice_and_the_one_that_does_not_come(zone: int) -> None:
    """Windows that begin, end or lie in the hour of the change, on the day of it."""
    windows = [((1, 0), (2, 0)), ((2, 0), (3, 0)), ((2, 30), (2, 45)), ((1, 30), (3, 30)), ((23, 0), (2, 30))]
    codes = [code(345671 + n, limits=limits_of(weekdays=0x01, start=a, end=b)) for n, (a, b) in enumerate(windows)]
    await alike_on_both(codes, zone, KATHMANDU, 60, 1)


# ---- R0 -------------------------------------------------------------------------------------------------------------

EVERY_REASON = skipping(
    *("pin-duplicate", "capacity", "pin-length", "pin-alphabet", "pin-prefix", "zone-differs", "no-keypad"),
    *("schedule-unsupported", "schedule-unreadable", "other-family", "no-public-layout"),
)
TARGETS = st.fixed_dictionaries(
    {},
    optional={
        "config_bytes": st.sampled_from([71, 74, 77]),
        "refuse_ended": st.just(1),
        "keeps_wrong": st.integers(1, 6),
        "refuse_add": st.integers(1, 4),
        "code_room": st.integers(2, 8),
        "tail": st.just("always"),
        "status_after_list": st.just("0"),
        "drop_before": st.integers(60, 160),
    },
)


async def nothing_widens(
    mine: list[KeypadCode], theirs: list[KeypadCode], options: dict[str, Any], zones: tuple[int, int], existing: Any
) -> None:
    old = holding(unit_of("nuki-3", "empty"), mine)
    new = holding(unit_of("nuki-3", "empty", **options), theirs)
    old.flash.config.timezone_id, new.flash.config.timezone_id = zones
    source = await source_of(old)
    before = copy.deepcopy(new.flash)
    journal = MemoryJournal()
    if "keeps_wrong" not in options:  # what a lock itself gets wrong is seen when it is read back
        watched(new, old, before)
    for _ in range(2):
        try:
            await put_back(new, source, journal, existing=existing, decisions=EVERY_REASON)
        except LockmigrateError:
            continue
        insist_on_nothing_wider(old, new, before)
        if existing == "replace":
            held = by_digits(old)
            assert all(item.code in held for item in new.flash.codes.values() if item.code not in by_digits_of(before))


def by_digits_of(flash: Flash) -> set[int]:
    return {item.code for item in flash.codes.values()}


WIDENS = (CODES, CODES, TARGETS, st.tuples(st.sampled_from([BERLIN, NEW_YORK, NONE]), st.sampled_from([BERLIN, NONE])),
          st.sampled_from([None, "merge", "replace"]))  # fmt: skip


@QUICK
@given(*WIDENS)
async def test_no_restore_opens_a_door_when_it_was_shut(
    mine: list[KeypadCode], theirs: list[KeypadCode], options: dict[str, Any], zones: tuple[int, int], existing: Any
) -> None:
    await nothing_widens(mine, theirs, options, zones, existing)


@pytest.mark.sweep
@LONG
@given(*WIDENS)
async def test_no_restore_ever_opens_a_door_when_it_was_shut(
    mine: list[KeypadCode], theirs: list[KeypadCode], options: dict[str, Any], zones: tuple[int, int], existing: Any
) -> None:
    await nothing_widens(mine, theirs, options, zones, existing)


# ---- rehearsal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", LOCKS)
async def test_every_backup_of_a_lock_can_be_rehearsed(profile: str) -> None:
    outcome: RehearsalOutcome = await last(rehearse(await source_of(small(profile))))
    assert (outcome.ok, outcome.detail, outcome.cuts) == (True, None, 3)


# ---- nothing secret is shown ----------------------------------------------------------------------------------------


def test_no_command_shows_digits_or_keys(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole job from the command line; what it says and leaves behind is searched for what it must not say."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LOCKMIGRATE_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    create_keys(config, "a passphrase of the test suite", generated=False, log_n=10)
    (tmp_path / "passphrase").write_text("a passphrase of the test suite\n", encoding="utf-8")
    (tmp_path / "passphrase").chmod(0o600)
    units: dict[str, Any] = {}
    for name, preset, pin in (("old", "full", 8356), ("new", "empty", 9471)):
        state = tmp_path / f"{name}.state"
        options = {
            "security_pin": str(pin),
            "nuki_id": f"1C0FFE{len(units):02}",
            "keypad": "1",
            **({"codes": "4", "log": "3"} if not units else {}),
        }
        unit: Any = open_unit(load_profile("nuki-3"), preset, options, state=state)
        units[name] = unit
        write_credential(tmp_path / f"{name}.toml", "nuki", convert(unit.credential, NukiCredential))
    keys = ["--config-dir", str(config), "--passphrase-file", str(tmp_path / "passphrase")]
    shown: list[str] = []

    def run(*words: str, on: str = "", expect: int = 0) -> None:
        more = ["--credential-file", str(tmp_path / f"{on}.toml")] if on else []
        for form in (["--json"], ["-v"]):
            if words[0] not in ("info", "show") and form != ["--json"]:
                continue
            code = main([*words, *more, *(keys[:2] if words[0] == "info" else keys), *form])
            captured = capfd.readouterr()
            shown.append(captured.out + captured.err)
            assert code == expect, captured.err
            if form == ["--json"] and expect == 0:
                json.loads(captured.out)

    def place(name: str) -> str:
        return f"sim://nuki-3/{'full' if name == 'old' else 'empty'}?state={tmp_path / f'{name}.state'}"

    run("info", place("old"), on="old")
    run("backup", place("old"), "-o", "old.age", on="old")
    run("show", "old.age")
    run("verify", "old.age")
    run("restore", "old.age", place("new"), "--dry-run", on="new")
    run("restore", "old.age", place("new"), "--skip-rehearsal", on="new")
    run("verify", "old.age", place("new"), on="new")
    run("verify", "old.age", place("old"), on="new", expect=4)
    said = "\n".join(shown)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix not in (".state", ".toml", ".age") and path.name != "passphrase":
            said += path.read_text(encoding="utf-8", errors="replace")
    secret = set(_secrets(*units.values()))
    assert secret
    # Not within a longer word: four digits stand in many a hash.
    assert not {text for text in secret if re.search(rf"(?<![0-9A-Za-z]){text}(?![0-9A-Za-z])", said)}
    held = open_unit(load_profile("nuki-3"), "empty", {}, state=tmp_path / "new.state")
    assert codes_of(held) == codes_of(units["old"]), "the job was done"


def _secrets(*units: Any) -> Iterator[str]:
    for unit in units:
        for user in unit.flash.users.values():
            yield user.key.hex()
        for item in unit.flash.codes.values():
            yield str(item.code)
        yield str(unit.flash.pin)
        yield unit.flash.private_key.hex()
