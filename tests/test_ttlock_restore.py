"""From one TTLock lock to the next: nothing is lost in silence, no right widens, no cut does harm.

Who may enter when is judged here by an evaluator of our own, on the raw memory of both locks, in the locks' own wall
time. The word that holds a cyclic code's hours is explained nowhere: the evaluator gives every word, and every
firmware, other hours.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lockmigrate.errors import LinkError, LockmigrateError, PolicyError
from lockmigrate.model.document import Gap
from lockmigrate.operations.journal import Journal, MemoryJournal
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.rehearse import compare, rehearse
from lockmigrate.operations.restore import Prepared, Source, execute, prepare
from lockmigrate.planning.policy import Answer, Decisions, Policy
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock
from lockmigrate.protocols.credentials import Credential, TtlockCredential
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.ttlock_door import pair_unit
from lockmigrate.sim import open_unit
from lockmigrate.sim.ttlock_records import (
    CARD_KIND,
    CYCLIC,
    ONE_TIME,
    PERIOD,
    PERMANENT,
    PERMANENT_FROM,
    PERMANENT_TO,
    Card,
    Finger,
    Flash,
    Passcode,
    WeeklyLimit,
)
from lockmigrate.targets import Target, open_on_unit
from lockmigrate.transports.memory_ble import ConnectionFaults, MemoryConnection

TARGET = Target(text="sim://unit", scheme="sim", address="unit")
SMALL = {"passcodes": 20, "cards": 8, "fingers": 3, "passage": 3, "log": 3}
"""Of twenty codes the twelfth is for one time, the eighteenth cyclic; every third card has a long number."""
ALL = 0x1007244DFF7
"""The features of the generic profile: everything but weekly limits of cards and fingers."""
WEEKLY, CAN_CYCLE, CAN_RESTORE = 1 << 34, 1 << 12, 1 << 40
FAR = bytes([98, 2, 3, 4, 5])


# ---- units, and what goes between them ------------------------------------------------------------------------------


def unit_of(preset: str = "full", profile: str = "ttlock", **options: Any) -> Any:
    return open_unit(load_profile(profile), preset, {name: str(value) for name, value in options.items()})


def small(**options: Any) -> Any:
    return unit_of("full", **{**SMALL, **options})


def empty(**options: Any) -> Any:
    return unit_of("empty", **options)


async def last(events: AsyncIterator[Any]) -> Any:
    item = None
    async for item in events:  # noqa: B007  # the last one is what counts
        pass
    return item


async def opened(unit: Any, faults: ConnectionFaults | None = None) -> Lock:
    return await open_on_unit(unit, TARGET, faults=faults)


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
    meanwhile: Callable[[], None] | None = None,
    **policy: Any,
) -> Any:
    """Plan and carry out; `meanwhile` happens between the two."""
    journal = journal or MemoryJournal()
    lock = await opened(unit, faults)
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


def answering(choice: Any, *reasons: str) -> Decisions:
    return Decisions(answer=tuple(Answer(reason=reason, choice=choice) for reason in reasons))


def outcomes(records: Iterable[Any], kind: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {item.key: (item.outcome, item.reasons) for item in records if item.kind == kind}


def codes_of(unit: Any, *without: int) -> dict[str, tuple[int, str, bytes, bytes, bytes]]:
    rows = unit.flash.passcodes.values()
    return {
        row.code: (row.kind, row.original, row.start, row.end, row.cycle) for row in rows if row.kind not in without
    }


def cards_of(unit: Any) -> dict[bytes, tuple[bytes, bytes]]:
    return {row.number: (row.start, row.end) for row in unit.flash.cards.values()}


def passage_of(unit: Any) -> list[Any]:
    return sorted((p.kind, p.day, p.month, p.start, p.end) for p in unit.flash.passage.values())


def equal(source: Any, target: Any) -> None:
    """Codes (one-time ones stay behind), cards, passage mode and settings are the same, and nothing is there twice."""
    assert codes_of(target) == codes_of(source, ONE_TIME)
    assert cards_of(target) == cards_of(source)
    assert passage_of(target) == passage_of(source)
    mine, its = vars(source.flash.settings), vars(target.flash.settings)
    assert {name: its[name] for name in mine if name not in ("language", "frozen")} == {
        name: mine[name] for name in mine if name not in ("language", "frozen")
    }
    assert len(target.flash.passcodes) == len(codes_of(target))
    assert len(target.flash.cards) == len(cards_of(target))


def code(digits: str, kind: int = PERMANENT, original: str = "", **facts: Any) -> Passcode:
    return Passcode(kind=kind, code=digits, original=original or digits, **facts)


def day(year: int, month: int = 1, number: int = 1, hour: int = 0, minute: int = 0) -> bytes:
    return bytes([year - 2000, month, number, hour, minute])


def holding(unit: Any, codes: Iterable[Passcode] = (), cards: Iterable[Card] = (), limits: Any = ()) -> Any:
    """The unit with these codes and cards, and no others."""
    unit.flash.passcodes = dict(enumerate(codes, start=1))
    unit.flash.cards = dict(enumerate(cards, start=1))
    unit.flash.weekly_limits = list(limits)
    return unit


# ---- who may enter when ---------------------------------------------------------------------------------------------


def moment(raw: bytes) -> dt.datetime:
    return dt.datetime(2000 + raw[0], *raw[1:5])  # noqa: DTZ001  # the wall time of the lock


def code_opens(row: Passcode | None, at: dt.datetime, firmware: str = "") -> bool:
    if row is None or moment(row.start) > at:
        return False
    if row.kind in (ONE_TIME, PERIOD):
        return at <= moment(row.end)
    if row.kind == CYCLIC:
        return (int.from_bytes(row.cycle, "big") * 31 + at.weekday() * 24 + at.hour + sum(firmware.encode())) % 3 == 0
    return True


def card_opens(flash: Flash, card: Card | None, at: dt.datetime) -> bool:
    if card is None or not moment(card.start) <= at <= moment(card.end):
        return False
    mine = [one for one in flash.weekly_limits if (one.kind, one.number) == (CARD_KIND, card.number)]
    time = (at.hour, at.minute)
    return not mine or any(one.weekday == at.isoweekday() and one.start <= time < one.end for one in mine)


def who_enters(flash: Flash, at: dt.datetime, firmware: str = "") -> set[str | bytes]:
    """Digits and card numbers that open the door; a code that opens once opens."""
    codes = {row.code for row in flash.passcodes.values() if code_opens(row, at, firmware)}
    return codes | {card.number for card in flash.cards.values() if card_opens(flash, card, at)}


def edges(*flashes: Flash) -> list[dt.datetime]:
    """A minute before, at, and behind each date that occurs; and some hours of a week."""
    found = {dt.datetime(2026, 11, 23) + dt.timedelta(hours=5 * step) for step in range(34)}  # noqa: DTZ001
    for flash in flashes:
        for row in (*flash.passcodes.values(), *flash.cards.values()):
            for raw in (row.start, row.end):
                if raw and raw not in (PERMANENT_FROM, PERMANENT_TO):
                    found |= {moment(raw) + dt.timedelta(minutes=step) for step in (-1, 0, 1)}
    return sorted(found)


def insist_on_nothing_wider(
    source: Flash, target: Flash, before: Flash, asked: frozenset[str | bytes], *, old: str = "", new: str = ""
) -> None:
    """Nobody enters the new lock who could enter neither the old one nor the new one before, except who was named."""
    for at in edges(source, target, before):
        wider = who_enters(target, at, new) - who_enters(source, at, old) - who_enters(before, at, new) - asked
        assert not wider, f"{wider} at {at}"


def test_the_evaluator_by_hand() -> None:
    noon = dt.datetime(2026, 11, 25, 12)  # noqa: DTZ001  # a Wednesday
    dated = code("1234", PERIOD, start=day(2026, 11, 25, 12), end=day(2026, 11, 25, 12))
    assert code_opens(dated, noon)
    assert not code_opens(dated, noon + dt.timedelta(minutes=1))
    assert not code_opens(code("1234", start=day(2026, 11, 25, 12, 1)), noon)
    unit = holding(empty(features=f"{ALL | WEEKLY:x}"), cards=[Card(number=b"abcd")])
    assert who_enters(unit.flash, noon) == {b"abcd"}
    unit.flash.weekly_limits.append(WeeklyLimit(kind=CARD_KIND, number=b"abcd", weekday=2, start=(8, 0), end=(17, 0)))
    assert who_enters(unit.flash, noon) == set()
    assert who_enters(unit.flash, noon - dt.timedelta(days=1)) == {b"abcd"}


# ---- everything moves -----------------------------------------------------------------------------------------------


async def fresh(**options: Any) -> Any:
    """A lock out of its box, paired."""
    unit = unit_of("fresh", **options)
    kept: list[Credential] = []
    connection = MemoryConnection.open(unit.gatt_device)
    credential = await pair_unit(connection, Door(target="sim://unit", port_id="x"), keep=kept.append)
    await connection.close()
    assert kept == [credential]
    return unit


@pytest.mark.parametrize("new", ["empty", "fresh"])
async def test_a_full_lock_moves_whole_and_its_fingers_are_listed(new: str) -> None:
    old = unit_of("full")
    target = await fresh() if new == "fresh" else empty()
    source = await source_of(old)
    assert (len(old.flash.passcodes), len(old.flash.cards), len(old.flash.fingers)) == (200, 100, 50)
    assert {len(card.number) for card in old.flash.cards.values()} == {4, 8}
    result = await put_back(target, source)
    equal(old, target)
    assert not target.flash.fingers
    fingers = [item for item in result.records if item.kind == "fingerprint"]
    assert {item.outcome for item in fingers} == {"re_enrol"}
    assert len(fingers) == 50
    dated = {item.key: item.detail for item in fingers}
    for finger in old.flash.fingers.values():
        number = int.from_bytes(finger.number, "big")
        assert str(number) in dated[f"fingerprint/{number}"]
        if finger.end[0] < 99:
            assert f"until 20{finger.end[0]:02}-{finger.end[1]:02}" in dated[f"fingerprint/{number}"]
    once = {key for key, told in outcomes(result.records, "pin").items() if told[1] == ("one-time-code",)}
    assert len(once) == len([row for row in old.flash.passcodes.values() if row.kind == ONE_TIME]) > 0
    again = await put_back(target, source)
    assert again.written == 0
    written = {item.key for item in result.records if item.outcome in ("copy", "adjust")}
    assert compare(source.snapshot, (await read(target)).snapshot, written) == []


async def test_codes_that_somebody_changed_keep_both_their_codes() -> None:
    old = holding(
        empty(seed=2),
        [code("2222", original="1111"), code("3333", PERIOD, "4444", start=day(2026), end=day(2030))],
    )
    target = empty()
    await put_back(target, await source_of(old))
    assert {row.code: row.original for row in target.flash.passcodes.values()} == {"2222": "1111", "3333": "4444"}


async def test_a_rehearsal_of_a_full_lock_is_green() -> None:
    outcome = await last(rehearse(await source_of(small())))
    assert outcome.ok, outcome.detail


async def test_a_rehearsal_knows_how_far_auto_lock_goes() -> None:
    old = empty(auto_lock_max=3600)
    old.flash.settings.auto_lock_s = 3000
    outcome = await last(rehearse(await source_of(old)))
    assert outcome.ok, outcome.detail


# ---- cyclic codes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [ALL & ~CAN_CYCLE, ALL & ~CAN_RESTORE, ALL & ~CAN_CYCLE & ~CAN_RESTORE])
async def test_a_cyclic_code_is_asked_about_where_the_new_lock_does_not_take_it_and_is_never_made_permanent(
    features: int,
) -> None:
    old = holding(empty(seed=2), [code("1234", CYCLIC, cycle=b"\x04\x19"), code("5678")])
    target = empty(features=f"{features:x}")
    source = await source_of(old)
    prepared = await planned(target, source)
    assert outcomes(prepared.plan.records, "pin")["pin/1"] == ("needs_input", ("schedule-unsupported",))
    assert prepared.plan.blocked_by == ("needs-input",)
    still = await planned(target, source, decisions=answering("write", "schedule-unsupported"))
    assert not still.plan.executable, "there is no way to write it as it is"
    await put_back(target, source, decisions=answering("skip", "schedule-unsupported"))
    assert set(codes_of(target)) == {"5678"}


async def test_a_cyclic_code_moves_between_alike_locks_with_its_word_and_keeps_its_original() -> None:
    old = holding(empty(seed=2), [code("1234", CYCLIC, "9876", cycle=b"\x04\x19", start=day(2026, 3, 4, 8, 30))])
    target = empty()
    await put_back(target, await source_of(old))
    assert codes_of(target) == codes_of(old)


@pytest.mark.parametrize("other", [{"firmware": "6.0.0.240101"}, {"model": "SN999"}])
async def test_a_cyclic_code_is_asked_about_where_the_new_lock_may_read_its_word_otherwise(other: Any) -> None:
    """Reference 14: migratable between alike firmware. R0: else a right could grow."""
    old = holding(empty(seed=2), [code("1234", CYCLIC, cycle=b"\x04\x19")])
    target = empty(**other)
    source = await source_of(old)
    prepared = await planned(target, source)
    (asked,) = (item for item in prepared.plan.records if item.kind == "pin")
    assert (asked.outcome, asked.reasons) == ("needs_input", ("schedule-unreadable",))
    assert asked.detail is not None
    assert "other hours" in asked.detail
    await put_back(target, source, decisions=answering("skip", "schedule-unreadable"))
    assert codes_of(target) == {}
    await put_back(target, source, decisions=answering("write", "schedule-unreadable"))
    assert codes_of(target) == codes_of(old)


# ---- weekly limits of cards -----------------------------------------------------------------------------------------


async def test_with_feature_34_every_card_is_asked_about_and_none_written_as_always_by_default() -> None:
    old = small(cyclic=1)
    assert old.flash.weekly_limits
    target = empty()
    source = await source_of(old)
    prepared = await planned(target, source)
    cards = outcomes(prepared.plan.records, "card")
    assert len(cards) == 8
    assert set(cards.values()) == {("needs_input", ("schedule-unreadable",))}
    details = {item.detail for item in prepared.plan.records if item.kind == "card"}
    assert all("write" in (detail or "") and "leave it out" in (detail or "") for detail in details), "the choice"
    with pytest.raises(PolicyError):
        await put_back(target, source)
    assert not target.flash.cards
    one = Answer(key="card/1", choice="write")
    others = Answer(reason="schedule-unreadable", choice="skip")
    await put_back(target, source, decisions=Decisions(answer=(one, others)))
    assert list(cards_of(target)) == [old.flash.cards[1].number]


async def test_without_the_features_in_the_backup_a_limit_may_lie_behind_every_card() -> None:
    from lockmigrate.formats import decode

    reading = await read(small())
    tables = {table.name: table.data for table in reading.snapshot.tables}
    del tables["0002-features"]
    cards = [item for item in decode("ttlock", tables, {}).schedules if item.why == "unreadable"]
    assert len([item for item in cards if item.key.startswith("schedule/card/")]) == 8


async def test_fingers_with_limits_are_enrolled_again_whatever_is_answered() -> None:
    old, target = small(cyclic=1), empty()
    result = await put_back(target, await source_of(old), decisions=answering("write", "schedule-unreadable"))
    assert {told[0] for told in outcomes(result.records, "fingerprint").values()} == {"re_enrol"}
    assert not target.flash.fingers


# ---- what the new lock does not take --------------------------------------------------------------------------------


async def test_what_does_not_fit_is_told_record_by_record() -> None:
    old, target = small(), empty(passcode_room=5, card_room=3)
    source = await source_of(old)
    result = await put_back(target, source)
    assert result.exit_code == 9
    assert (len(target.flash.passcodes), len(target.flash.cards)) == (5, 3)
    lost = [loss for loss in result.losses if loss.code == "capacity"]
    keys = {loss.record for loss in lost if loss.record.startswith(("pin/", "card/"))}
    codes, cards = codes_of(old, ONE_TIME), cards_of(old)
    assert len(keys) == len(codes) - 5 + len(cards) - 3
    assert any("capacity-unknown" in warning for warning in result.warnings)


async def test_codes_of_a_length_that_the_lock_refuses_are_told_and_the_others_are_written() -> None:
    old = holding(empty(seed=2), [code("1234"), code("123456"), code("123456789")])
    target = empty(min_code=6, max_code=8)
    result = await put_back(target, await source_of(old))
    assert set(codes_of(target)) == {"123456"}
    assert {loss.record for loss in result.losses if loss.code == "pin-length"} == {"pin/1", "pin/3"}
    assert result.exit_code == 9


async def test_cards_for_a_lock_without_a_reader_are_a_question_that_can_be_answered() -> None:
    old, target = small(), empty(features=f"{ALL & ~6:x}")
    source = await source_of(old)
    prepared = await planned(target, source)
    assert set(outcomes(prepared.plan.records, "card").values()) == {("needs_input", ("setting-unsupported",))}
    await put_back(target, source, decisions=answering("skip", "setting-unsupported"))
    assert codes_of(target) == codes_of(old, ONE_TIME)


async def test_a_code_that_is_the_administrators_is_asked_about() -> None:
    target = empty(admin_passcode="1234567")
    old = holding(empty(seed=2), [code("1234567")])
    prepared = await planned(target, await source_of(old))
    assert outcomes(prepared.plan.records, "pin") == {"pin/1": ("needs_input", ("pin-equals-admin",))}


async def test_expired_codes_and_cards_stay_behind_unless_wanted() -> None:
    old = small(expired=3)
    source = await source_of(old)
    target = empty()
    result = await put_back(target, source, now_local="2026-11-25T12:00")
    gone = [item for item in result.records if item.reasons == ("expired",) and item.kind in ("pin", "card")]
    assert {item.outcome for item in gone} == {"skip"}
    assert len([item for item in gone if item.kind == "card"]) == 3
    assert len(cards_of(target)) == 5
    await put_back(target, source, now_local="2026-11-25T12:00", keep_expired=True)
    assert cards_of(target) == cards_of(old)


async def test_auto_lock_goes_as_far_as_the_new_lock_lets_it_and_off_stays_off() -> None:
    old = small(auto_lock_max=900)
    old.flash.settings.auto_lock_s = 600
    target = empty(auto_lock_max=120)
    result = await put_back(target, await source_of(old))
    assert target.flash.settings.auto_lock_s == 120
    (told,) = (item for item in result.records if item.key == "setting/ttlock.auto_lock_s")
    assert told.outcome == "adjust"
    assert "600" in (told.detail or "")
    old.flash.settings.auto_lock_s = 0
    await put_back(target, await source_of(old))
    assert target.flash.settings.auto_lock_s == 0


async def test_passage_mode_is_set_last_of_all() -> None:
    old, target = small(), empty()
    prepared = await planned(target, await source_of(old))
    kinds = [step.kind for step in prepared.plan.steps]
    assert kinds[-3:] == ["lock_schedule"] * 3
    assert "lock_schedule" not in kinds[:-3]


async def test_a_code_with_bytes_behind_it_that_nobody_has_explained_is_asked_about() -> None:
    """They may be a limit: without them it could open at more hours."""
    from lockmigrate.formats.lists import join_list, split_list

    reading = await read(holding(empty(seed=2), [code("1234")]))
    tables = [
        replace(table, data=join_list(None, [raw + b"\x07\x08" for _, raw in split_list(table.data)]))
        if table.name == "0003-passcodes"
        else table
        for table in reading.snapshot.tables
    ]
    source = resourced(reading, tables)
    target = empty()
    prepared = await planned(target, source)
    assert outcomes(prepared.plan.records, "pin") == {"pin/1": ("needs_input", ("schedule-unreadable",))}
    result = await put_back(target, source, decisions=answering("write", "schedule-unreadable"))
    assert result.exit_code == 0
    assert set(codes_of(target)) == {"1234"}


def resourced(reading: Reading, tables: list[Any]) -> Source:
    """The source that a backup of these tables would be."""
    from lockmigrate.operations.reading import assemble

    class Given:
        variant = reading.variant
        given = ()

    snapshot = assemble(Given(), reading.unit, tables, list[Gap](), label=None)  # type: ignore[arg-type]
    return source_in_memory(Reading(reading.unit, snapshot, reading.variant))


async def test_a_record_of_a_type_that_nobody_knows_costs_no_other_its_place_in_the_backup() -> None:
    from lockmigrate.formats.lists import join_list, split_list

    reading = await read(holding(empty(seed=2), [code("1234"), code("5678")]))
    tables = []
    for table in reading.snapshot.tables:
        if table.name == "0003-passcodes":
            rows = [raw for _, raw in split_list(table.data)]
            tables.append(replace(table, data=join_list(None, [b"\x09" + rows[0][1:], rows[1]])))
        elif table.name == "0008-log":
            tables.append(replace(table, data=join_list(None, [b"\0\0\0\1\x04", b"\0\0\0\2" + bytes(8)])))
        else:
            tables.append(table)
    source = resourced(reading, tables)
    assert [loss.code for loss in source.snapshot.losses] == ["no-public-layout"]
    assert len(source.snapshot.log) == 2
    target = empty()
    prepared = await planned(target, source)
    assert outcomes(prepared.plan.records, "pin")["pin/1"] == ("needs_input", ("no-public-layout",))
    await put_back(target, source, decisions=answering("skip", "no-public-layout"))
    assert set(codes_of(target)) == {"5678"}


# ---- what the new lock holds already --------------------------------------------------------------------------------


async def test_a_code_that_is_on_the_new_lock_otherwise_is_asked_about_and_merged_or_replaced() -> None:
    old = holding(
        empty(seed=2), [code("1234", PERIOD, start=day(2026), end=day(2027))], [Card(number=b"abcd", end=FAR)]
    )
    source = await source_of(old)

    def busy() -> Any:
        return holding(empty(), [code("1234"), code("7777")], [Card(number=b"abcd"), Card(number=b"efgh")])

    target = busy()
    assert "target-not-empty" in (await planned(target, source)).plan.blocked_by
    prepared = await planned(target, source, existing="merge")
    assert outcomes(prepared.plan.records, "pin") == {"pin/1": ("needs_input", ("pin-duplicate",))}
    await put_back(target, source, existing="merge", decisions=answering("write", "pin-duplicate"))
    assert codes_of(target) == {**codes_of(old), "7777": (PERMANENT, "7777", PERMANENT_FROM, b"", b"")}
    assert cards_of(target) == {b"abcd": (PERMANENT_FROM, FAR), b"efgh": (PERMANENT_FROM, PERMANENT_TO)}
    target = busy()
    prepared = await planned(target, source, existing="replace")
    assert sorted(prepared.plan.removals) == ["card/2", "pin/2"]
    assert sorted(prepared.plan.overwrites) == ["card/1", "pin/1"]
    await put_back(target, source, existing="replace")
    assert (codes_of(target), cards_of(target)) == (codes_of(old), cards_of(old))


@pytest.mark.parametrize("by", ["either", "original", "current"])
async def test_whichever_of_its_two_codes_names_a_changed_code_it_can_be_replaced(by: str) -> None:
    old = holding(empty(seed=2), [code("2222", original="1111", start=day(2026))])
    target = holding(empty(delete_by=by), [code("2222", original="3333"), code("8888", original="9999")])
    await put_back(target, await source_of(old), existing="replace")
    assert codes_of(target) == codes_of(old)


async def test_other_peoples_fingers_on_the_new_lock_are_named_and_replace_takes_them_away() -> None:
    old, target = small(), empty()
    target.flash.fingers[1] = Finger(number=b"\0\0\0\0\0\x09")
    source = await source_of(old)
    prepared = await planned(target, source)
    assert prepared.plan.existing == ("fingerprint/9",)
    assert "target-not-empty" in prepared.plan.blocked_by
    await put_back(target, source, existing="merge")
    assert target.flash.fingers, "merge keeps them"
    result = await put_back(target, source, existing="replace")
    assert result.removed == ("fingerprint/9",)
    assert not target.flash.fingers
    equal(old, target)


async def test_a_backup_put_back_on_its_own_lock_leaves_its_fingers_alone() -> None:
    unit = small()
    source = await source_of(unit)
    fingers = copy.deepcopy(unit.flash.fingers)
    del unit.flash.passcodes[1]
    await put_back(unit, source, existing="replace")
    assert unit.flash.fingers == fingers
    assert len(unit.flash.passcodes) == 20


async def test_what_somebody_made_at_the_lock_since_the_plan_is_neither_overwritten_nor_removed() -> None:
    old = holding(
        empty(seed=2), [code("1234", PERIOD, start=day(2026), end=day(2027))], [Card(number=b"abcd", end=FAR)]
    )
    target = holding(empty(), [code("7777")], [Card(number=b"efgh")])

    def meanwhile() -> None:
        target.flash.passcodes[9] = code("1234", start=day(2020))
        target.flash.cards[9] = Card(number=b"abcd")
        target.flash.passcodes[1] = code("7777", start=day(2021))
        target.flash.cards[1] = Card(number=b"efgh", end=FAR)

    result = await put_back(target, await source_of(old), meanwhile=meanwhile, existing="replace")
    assert codes_of(target) == {
        "1234": (PERMANENT, "1234", day(2020), b"", b""), "7777": (PERMANENT, "7777", day(2021), b"", b""),
    }  # fmt: skip
    assert cards_of(target) == {b"abcd": (PERMANENT_FROM, PERMANENT_TO), b"efgh": (PERMANENT_FROM, FAR)}
    assert result.exit_code == 9
    assert len([loss for loss in result.losses if "meanwhile" in (loss.detail or "") or "since" in (loss.detail or "")])


async def test_removal_goes_by_what_a_code_says_and_never_by_its_place() -> None:
    old = holding(empty(seed=2), [code("1234")])
    target = holding(empty(), [code("7777"), code("8888"), code("1234")])

    def meanwhile() -> None:
        """Another app took a code away and put one in its place."""
        target.flash.passcodes = {1: code("5555"), 2: code("8888"), 3: code("1234")}

    result = await put_back(target, await source_of(old), meanwhile=meanwhile, existing="replace")
    assert set(codes_of(target)) == {"5555", "1234"}
    assert sorted(result.removed) == ["pin/1", "pin/2"], "what is not there any more is gone"


async def test_a_lock_that_keeps_something_else_than_was_written_is_found_out() -> None:
    old, target = small(passcodes=6), empty(keeps_wrong=2)
    result = await put_back(target, await source_of(old))
    assert result.exit_code == 9
    differing = [loss for loss in result.losses if loss.code == "read-back-differs"]
    assert len([loss for loss in differing if loss.record.startswith("pin/")]) == 1


@pytest.mark.parametrize("command", ["03", "05", "66", "36"])
@pytest.mark.parametrize("error", ["13", "1b", "0a"])
async def test_a_refusal_is_told_and_everything_else_is_written(command: str, error: str) -> None:
    old, target = small(passcodes=5, cards=3), empty(refuse=f"{command}:{error}:2")
    with contextlib.suppress(LockmigrateError):
        await put_back(target, await source_of(old))
    again = await put_back(target, await source_of(old))
    assert again.exit_code == 0
    equal(old, target)


# ---- the clock ------------------------------------------------------------------------------------------------------


async def test_windows_are_in_the_locks_own_time_and_the_new_clock_is_set_before_any_is_written() -> None:
    old, target = small(clock_off=-86400), empty(clock_off=5000)
    source = await source_of(old)
    assert -86460 < int(source.snapshot.lock.clock_offset_s or 0) < -86340
    await put_back(target, source)
    equal(old, target)
    assert abs((target.lock.clock() - dt.datetime.now()).total_seconds()) < 60  # noqa: DTZ005
    assert target.log.index(0x43) < target.log.index(0x03)


async def test_a_lock_that_does_not_take_the_time_is_told_as_such() -> None:
    old, target = small(), empty(clock_off=86400 * 30, refuse="43:13")
    result = await put_back(target, await source_of(old))
    assert any("did not take the time" in warning for warning in result.warnings)
    equal(old, target)


async def test_a_code_that_cannot_be_changed_is_not_lost_over_it() -> None:
    """Nothing changes all of a code at once: it goes and comes back, the old one where the new one is refused."""
    old = holding(empty(seed=2), [code("1234", PERIOD, start=day(2026), end=day(2027))])
    target = holding(empty(refuse="03:0f:2"), [code("1234", original="4321")])
    before = codes_of(target)
    result = await put_back(target, await source_of(old), existing="replace")
    assert result.exit_code == 9
    assert codes_of(target) == before


# ---- cuts -----------------------------------------------------------------------------------------------------------


async def survives(old: Any, source: Source, faults: ConnectionFaults, **policy: Any) -> bool:
    """Cut once; whatever then is there is no wider, and the second run ends equal. Returns whether it was cut."""
    target = empty()
    before, journal = copy.deepcopy(target.flash), MemoryJournal()
    cut = True
    with contextlib.suppress(LinkError):
        await put_back(target, source, journal, faults, **policy)
        cut = False
    insist_on_nothing_wider(old.flash, target.flash, before, frozenset())
    result = await put_back(target, source, journal, existing="merge", **policy)
    assert result.exit_code == 0
    equal(old, target)
    return cut


async def counted(source: Source) -> tuple[int, int]:
    """How many writes and notifications a restore takes."""
    target = empty()
    seen: list[MemoryConnection] = []
    first = MemoryConnection.open

    def opening(device: Any, **given: Any) -> MemoryConnection:
        seen.append(first(device, **given))
        return seen[-1]

    MemoryConnection.open = opening  # type: ignore[method-assign]
    try:
        await put_back(target, source)
    finally:
        del MemoryConnection.open
        MemoryConnection.open = first  # type: ignore[method-assign]
    return seen[0].writes, seen[0].chunks


TINY = {"passcodes": 6, "cards": 4, "fingers": 1, "passage": 2, "log": 1}


@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
async def test_a_link_that_is_cut_anywhere_does_no_harm(part: int, kind: str) -> None:
    old = small(**TINY)
    source = await source_of(old)
    writes, chunks = await counted(source)
    number = 1 + (writes if kind == "cut_after_writes" else chunks) * (2 * part + 1) // 20
    assert await survives(old, source, ConnectionFaults(**{kind: number}))


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
async def test_a_link_that_is_cut_at_every_packet_does_no_harm(kind: str) -> None:
    old = small(**TINY)
    source = await source_of(old)
    writes, chunks = await counted(source)
    for number in range(writes if kind == "cut_after_writes" else chunks):
        await survives(old, source, ConnectionFaults(**{kind: number}))


@pytest.mark.sweep
async def test_a_full_restore_cut_at_many_packets_does_no_harm() -> None:
    old = unit_of("full")
    source = await source_of(old)
    writes, chunks = await counted(source)
    for number in range(5, writes, 97):
        await survives(old, source, ConnectionFaults(cut_after_writes=number))
    for number in range(5, chunks, 97):
        await survives(old, source, ConnectionFaults(cut_after_chunks=number))


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("kind", ["lose_write", "lose_chunk"])
async def test_a_packet_that_gets_lost_does_no_harm_and_nothing_is_there_twice(part: int, kind: str) -> None:
    old = small(**TINY)
    source = await source_of(old)
    writes, chunks = await counted(source)
    number = 1 + (writes if kind == "lose_write" else chunks) * (2 * part + 1) // 10
    await survives(old, source, ConnectionFaults(**{kind: number}))


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["lose_write", "lose_chunk"])
async def test_any_packet_that_gets_lost_does_no_harm(kind: str) -> None:
    old = small(**TINY)
    source = await source_of(old)
    writes, chunks = await counted(source)
    for number in range(1, writes if kind == "lose_write" else chunks):
        await survives(old, source, ConnectionFaults(**{kind: number}))


@pytest.mark.parametrize("delay_s", [6.05, 13.0])
@pytest.mark.parametrize("part", range(4))
async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(part: int, delay_s: float) -> None:
    old = small(**TINY)
    source = await source_of(old)
    _, chunks = await counted(source)
    number = 1 + chunks * (2 * part + 1) // 8
    await survives(old, source, ConnectionFaults(delay_chunk=number, delay_s=delay_s))


# ---- any lock -------------------------------------------------------------------------------------------------------

DATES = st.builds(day, st.integers(2024, 2030), st.integers(1, 12), st.integers(1, 28), st.integers(0, 23))
STARTS = st.one_of(st.just(PERMANENT_FROM), DATES)
ENDS = st.one_of(st.just(PERMANENT_TO), DATES)
DIGITS = st.sampled_from([f"{number}{number}{number}{number}" for number in range(1, 9)])


@st.composite
def passcodes(draw: Any) -> list[Passcode]:
    found = []
    for digits in draw(st.lists(DIGITS, unique=True, max_size=5)):
        kind = draw(st.sampled_from([PERMANENT, PERMANENT, ONE_TIME, PERIOD, PERIOD, CYCLIC]))
        original = digits if draw(st.booleans()) else f"9{digits}"
        row = code(digits, kind, original, start=draw(STARTS))
        if kind in (ONE_TIME, PERIOD):
            row.end = draw(ENDS)
        elif kind == CYCLIC:
            row.cycle = draw(st.sampled_from([b"\x04\x30", b"\x04\x00", b"\x04\x19"]))
        found.append(row)
    return found


NUMBERS = st.sampled_from([b"aaaa", b"bbbb", b"cccc", b"aaaaaaaa", b"dddddddd"])
CARDS = st.lists(
    st.builds(Card, number=NUMBERS, start=STARTS, end=ENDS), unique_by=lambda card: card.number, max_size=4
)
LIMITS = st.lists(
    st.builds(
        WeeklyLimit, kind=st.just(CARD_KIND), number=NUMBERS, weekday=st.integers(1, 7), start=st.just((8, 0)),
        end=st.just((17, 0)),
    ),
    max_size=4,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    mine=st.tuples(passcodes(), CARDS, LIMITS),
    its=st.tuples(passcodes(), CARDS, LIMITS),
    old_features=st.sampled_from([ALL, ALL | WEEKLY]),
    new_features=st.sampled_from([ALL, ALL | WEEKLY, ALL & ~CAN_RESTORE, ALL & ~CAN_CYCLE]),
    firmware=st.sampled_from(["5.1.0.200320", "6.4"]),
    existing=st.sampled_from(["merge", "replace"]),
    writes=st.sets(st.sampled_from(["card/1", "card/2", "pin/1", "pin/2", "pin/3"])),
)
async def test_no_right_is_wider_than_it_was_unless_it_was_named(
    mine: Any, its: Any, old_features: int, new_features: int, firmware: str, existing: Any, writes: set[str]
) -> None:
    def limits(rows: list[WeeklyLimit], features: int) -> list[WeeklyLimit]:
        return rows if features & WEEKLY else []

    old = holding(empty(seed=2, features=f"{old_features:x}"), mine[0], mine[1], limits(mine[2], old_features))
    target = holding(
        empty(features=f"{new_features:x}", firmware=firmware), its[0], its[1], limits(its[2], new_features)
    )
    before = copy.deepcopy(target.flash)
    named = tuple(Answer(key=key, choice="write") for key in sorted(writes))
    reasons = ("schedule-unreadable", "schedule-unsupported", "pin-duplicate")
    rest = tuple(Answer(reason=reason, choice="skip") for reason in reasons)
    source = await source_of(old)
    prepared = await planned(target, source, existing=existing, decisions=Decisions(answer=(*named, *rest)))
    if not prepared.plan.executable:
        return
    await put_back(target, source, existing=existing, decisions=Decisions(answer=(*named, *rest)))
    rows: dict[str, str | bytes] = {f"pin/{number}": row.code for number, row in enumerate(mine[0], start=1)}
    rows |= {f"card/{number}": row.number for number, row in enumerate(mine[1], start=1)}
    asked = frozenset(rows[key] for key in writes if key in rows)
    firmwares = {"old": old.settings.firmware, "new": target.settings.firmware}
    insist_on_nothing_wider(old.flash, target.flash, before, asked, **firmwares)
    if existing == "replace":
        left = {*codes_of(target), *cards_of(target)} - {*rows.values()}
        assert not left, "what replace was to take away is gone"
    kept = {item.key for item in prepared.plan.records if item.outcome in ("copy", "adjust")}
    there = {*codes_of(target), *cards_of(target)}
    assert {rows[key] for key in kept & rows.keys()} <= there, "what was to be copied is there"


def test_nothing_shows_a_secret() -> None:
    credential = TtlockCredential(aes_key="a0" * 16, admin_ps=12345678, unlock_key=87654321, admin_passcode="7654321")
    for text in (repr(credential), str(credential)):
        assert not any(secret in text for secret in ("a0a0", "12345678", "87654321", "7654321"))


async def test_neither_plan_nor_result_nor_step_shows_digits_or_card_numbers() -> None:
    import msgspec

    old = holding(empty(seed=2), [code("90817263", start=day(2026))], [Card(number=b"\x75\x74\x73\x72", end=FAR)])
    target = holding(empty(), [code("90817263")])
    source = await source_of(old)
    prepared = await planned(target, source, existing="merge")
    shown = repr(prepared.plan) + msgspec.json.encode(prepared.result()).decode() + repr(prepared.plan.steps)
    result = await put_back(target, source, existing="replace")
    shown += msgspec.json.encode(result).decode() + repr(result)
    for secret in ("90817263", str(0x75747372), "75747372", "utsr"):
        assert secret not in shown
