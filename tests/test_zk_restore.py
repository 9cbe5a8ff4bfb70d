"""From one ZK terminal to the next: nothing is lost, no right widens, and a line that is cut anywhere is no harm."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from msgspec.structs import replace

from lockmigrate.errors import ConnectError, LinkError, LockmigrateError, PolicyError
from lockmigrate.operations.journal import Journal, MemoryJournal
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import Prepared, Source, execute, prepare
from lockmigrate.planning.policy import Answer, Decisions, Policy
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock
from lockmigrate.sim import open_unit
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.targets import Target, open_on_unit
from lockmigrate.transports.memory import LinkFaults

SMALL = {"users": "9", "fingers": "1", "attendance": "3"}


def unit_of(profile: str, preset: str, **options: str) -> SimulatedUnit:
    return open_unit(load_profile(profile), preset, options)


def small(profile: str = "zk", **options: str) -> SimulatedUnit:
    return unit_of(profile, "full", **{**SMALL, **options})


async def opened(unit: SimulatedUnit, faults: LinkFaults | None = None) -> Lock:
    return await open_on_unit(unit, Target(text="sim://unit", scheme="sim", address="unit"), faults=faults)


async def last(events: AsyncIterator[Any]) -> Any:
    item = None
    async for item in events:  # noqa: B007  # the last one is what counts
        pass
    return item


async def back_up(unit: SimulatedUnit, faults: LinkFaults | None = None) -> Reading:
    lock = await opened(unit, faults)
    try:
        reading: Reading = await last(read_unit(lock))
    finally:
        await lock.close()
    return reading


async def source_of(unit: SimulatedUnit) -> Source:
    return source_in_memory(await back_up(unit))


async def put_back(
    unit: SimulatedUnit,
    source: Source,
    journal: Journal | None = None,
    faults: LinkFaults | None = None,
    **policy: Any,
) -> Any:
    journal = journal or MemoryJournal()
    lock = await opened(unit, faults)
    try:
        prepared = await last(prepare(lock, source, Policy(**policy), journal))
        return await last(execute(prepared, journal))
    finally:
        await lock.close()


async def planned(unit: SimulatedUnit, source: Source, **policy: Any) -> Prepared:
    lock = await opened(unit)
    try:
        prepared: Prepared = await last(prepare(lock, source, Policy(**policy), MemoryJournal()))
    finally:
        await lock.close()
    return prepared


def answers(**choices: str) -> Decisions:
    """Answers by reason: underscores stand for hyphens."""
    return Decisions(
        answer=tuple(Answer(reason=reason.replace("_", "-"), choice=choice) for reason, choice in choices.items())  # type: ignore[arg-type]
    )


def outcomes(prepared: Prepared, kind: str) -> dict[str, str]:
    return {record.key: record.outcome for record in prepared.plan.records if record.kind == kind}


# ---- everything moves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "options"),
    [
        ("zk", {}),
        ("zk", {"names": "gbk"}),
        ("zk", {"names": "junk"}),
        ("zk", {"fp": "9"}),
        ("zk", {"bulk": "split", "dribble": "1"}),
        ("zk", {"transport": "udp"}),
        ("zk", {"events": "3"}),
        ("zk", {"lag": "1"}),
        ("zk", {"comm_key": "123456"}),
        ("zk", {"quirks": "no-1503"}),
        ("zk-bw", {}),
        ("zk-bw", {"transport": "udp", "names": "gbk"}),
    ],
)
async def test_a_terminal_is_restored_byte_for_byte(profile: str, options: dict[str, str]) -> None:
    old, new = unit_of(profile, "full", **options), unit_of(profile, "empty", **options)
    untouched = old.image()
    source = await source_of(old)
    assert old.image() == untouched, "reading changed the unit"
    result = await put_back(new, source)
    assert (result.exit_code, result.losses) == (0, source.snapshot.losses)
    assert new.image() == old.image()
    assert list(new.flash.users.values()) == list(old.flash.users.values())
    assert new.flash.templates == old.flash.templates
    moved = [record for record in result.records if record.outcome in ("copy", "adjust")]
    assert {record.proof for record in moved} == {"V4"}
    assert {"user", "pin", "card", "fingerprint"} <= {record.kind for record in moved}
    again = await planned(new, source)
    assert again.plan.steps == ()
    assert (new.flash.enabled, old.flash.enabled) == (True, True)
    assert (old.unlocked, new.unlocked) == (0, 0), "a backup tool opens no door"


async def test_the_public_record_of_neutral_format_section_8_returns_exactly() -> None:
    old, new = unit_of("zk", "full"), unit_of("zk", "empty")
    await put_back(new, await source_of(old))
    ned = new.flash.users[13]
    assert ned[39:48] == bytes.fromhex("02 0100 0100 0200 0000")
    assert ned == old.flash.users[13]


async def test_every_right_of_a_terminal_stands_on_the_next() -> None:
    old, new = unit_of("zk", "full"), unit_of("zk", "empty")
    await put_back(new, await source_of(old))
    flash = old.flash
    assert any(flag == 3 for flag, _ in flash.templates.values()), "a duress finger is among them"
    assert any(record[2] & 1 for record in flash.users.values()), "a disabled user is among them"
    assert any(flash.verify.values()), "a verify style is among them"
    assert {key: flag for key, (flag, _) in new.flash.templates.items()} == {
        key: flag for key, (flag, _) in flash.templates.items()
    }
    assert new.flash.verify == flash.verify
    assert (new.flash.zones, new.flash.groups, new.flash.combinations) == (
        flash.zones,
        flash.groups,
        flash.combinations,
    )


async def test_the_log_is_archived_and_never_written() -> None:
    old, new = unit_of("zk", "full"), unit_of("zk", "empty")
    source = await source_of(old)
    assert len(source.snapshot.log) == len(old.flash.attlog)
    result = await put_back(new, source)
    (entry,) = [record for record in result.records if record.kind == "log"]
    assert (entry.outcome, entry.reasons) == ("skip", ("log",))
    assert new.flash.attlog == []


# ---- what cannot move as it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old_fp", "new_fp"), [("10", "9"), ("9", "10")])
async def test_the_two_algorithms_are_never_mixed(old_fp: str, new_fp: str) -> None:
    old, new = small(fp=old_fp), unit_of("zk", "empty", fp=new_fp)
    result = await put_back(new, await source_of(old))
    fingers = [record for record in result.records if record.kind == "fingerprint"]
    assert {(record.outcome, record.reasons) for record in fingers} == {("re_enrol", ("template-format",))}
    assert new.flash.templates == {}
    assert len(new.flash.users) == len(old.flash.users)
    assert result.exit_code == 9


async def test_a_narrower_record_asks_and_cuts_only_names() -> None:
    old, new = unit_of("zk", "full"), unit_of("zk-bw", "empty", fp="10")
    source = await source_of(old)
    plan = await planned(new, source)
    assert not plan.plan.executable
    unknown = {record.key for record in plan.plan.records if "zone-table-unknown" in record.reasons}
    assert unknown, "such a terminal does not say what its tables allow"
    choices = {"zone_table_unknown": "write", "pin_length": "skip", "user_id_unsupported": "skip"}
    plan = await planned(new, source, decisions=answers(**choices))
    by_reason: dict[str, set[str]] = {}
    for record in plan.plan.records:
        for reason in record.reasons:
            by_reason.setdefault(reason, set()).add(record.outcome)
    assert by_reason["name-cut"] == {"adjust"}
    assert by_reason["schedule-unsupported"] <= {"refuse", "skip"}
    assert not plan.plan.executable
    decided = await put_back(
        new, source, decisions=answers(**choices, schedule_unsupported="skip", rule_unsupported="skip")
    )
    written = {record.key for record in decided.records if record.kind == "user" and record.proof == "V4"}
    assert written
    for uid, record in new.flash.users.items():
        mine = old.flash.users[uid]
        assert record[3:8] == mine[3:8], "no password was cut or filled"
        assert record[2] == mine[2]


# ---- a target that is not empty, or too small -----------------------------------------------------------------------


async def test_a_target_in_use_needs_a_word_and_replace_makes_it_equal() -> None:
    old, new = small(seed="1"), small(seed="2", users="12")
    source = await source_of(old)
    plan = await planned(new, source)
    assert "target-not-empty" in plan.plan.blocked_by
    with pytest.raises(PolicyError):
        plan.insist()
    result = await put_back(new, source, existing="replace")
    assert result.exit_code == 0
    assert new.image() == old.image()


async def test_merging_leaves_other_peoples_records_alone() -> None:
    old, new = small(seed="1", users="3"), small(seed="2", users="6")
    held = dict(new.flash.users)
    source = await source_of(old)
    clashing = old.flash.users.keys() & held.keys()
    assert clashing
    plan = await planned(new, source, existing="merge")
    users = outcomes(plan, "user")
    other = {uid for uid in clashing if old.flash.users[uid] != held[uid]}
    assert other
    assert {users[f"user/{uid}"] for uid in other} == {"needs_input"}
    await put_back(
        new,
        source,
        existing="merge",
        decisions=answers(capacity="skip", user_id_duplicate="skip", user_missing="skip"),
    )
    assert {uid: new.flash.users[uid] for uid in held} == held


async def test_a_target_that_is_too_small_says_so_before_anything_is_written() -> None:
    old, new = unit_of("zk", "full"), unit_of("zk", "empty", capacity="30", template_capacity="20")
    source = await source_of(old)
    plan = await planned(new, source)
    asked = [record for record in plan.plan.records if record.outcome == "needs_input"]
    assert len([record for record in asked if record.kind == "user"]) == len(old.flash.users) - 30
    assert {reason for record in asked for reason in record.reasons} == {"capacity"}
    before = new.image()
    with pytest.raises(PolicyError):
        await put_back(new, source)
    assert new.image() == before
    result = await put_back(new, source, decisions=answers(capacity="skip"))
    assert len(new.flash.users) == 30
    assert len(new.flash.templates) <= 20
    assert result.exit_code == 0


# ---- trouble in the old unit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["uid", "userid"])
async def test_two_records_of_one_number_wait_for_a_person(which: str) -> None:
    old, new = small(duplicates=which), unit_of("zk", "empty")
    source = await source_of(old)
    code = "uid-duplicate" if which == "uid" else "user-id-duplicate"
    assert code in {loss.code for loss in source.snapshot.losses}
    plan = await planned(new, source)
    asked = {record.key for record in plan.plan.records if code in record.reasons and record.outcome == "needs_input"}
    assert len([key for key in asked if key.startswith("user/")]) == 2
    result = await put_back(new, source, decisions=answers(uid_duplicate="skip", user_id_duplicate="write"))
    assert {record.outcome for record in result.records} <= {"copy", "skip"}


async def test_a_template_of_nobody_is_kept_and_never_written() -> None:
    old, new = small(orphan="1"), unit_of("zk", "empty")
    source = await source_of(old)
    orphans = [loss.record for loss in source.snapshot.losses if loss.code == "user-missing"]
    assert orphans
    plan = await planned(new, source)
    assert {record.outcome for record in plan.plan.records if record.key in orphans} == {"needs_input"}
    await put_back(new, source, decisions=answers(user_missing="skip"))
    assert len(new.flash.templates) == len(old.flash.templates) - len(orphans)


async def test_a_counter_that_is_wrong_is_a_loss_and_everything_is_read_all_the_same() -> None:
    old = small(count_off="1")
    source = await source_of(old)
    assert "count-differs" in {loss.code for loss in source.snapshot.losses}
    assert len(source.snapshot.users) == len(old.flash.users)


# ---- the line is cut ------------------------------------------------------------------------------------------------


def points(total: int, wanted: int) -> list[int]:
    if wanted >= total:
        return list(range(total))
    return sorted({round(index * (total - 1) / (wanted - 1)) for index in range(wanted)})


async def trouble_of(act: Awaitable[Any]) -> LockmigrateError | None:
    try:
        await act
    except LockmigrateError as error:
        return error
    return None


def assert_clear(trouble: LockmigrateError | None, point: int, total: int) -> None:
    """A cut is a clear error, unless it came so late that everything was said already."""
    if trouble is None:
        assert point >= total - 3, f"point {point}: a line that was cut went unnoticed"
    else:
        assert isinstance(trouble, LinkError | ConnectError), f"point {point}: {trouble!r}"


async def cut_backups(kind: str, wanted: int, **options: str) -> None:
    whole = small(**options)
    reading = await back_up(whole)
    total = whole.frames_in if kind == "cut_after_writes" else whole.frames_out
    assert total > 20
    for point in points(total, wanted):
        unit = small(**options)
        trouble = await trouble_of(back_up(unit, LinkFaults(**{kind: point})))
        assert_clear(trouble, point, total)
        assert trouble is None or trouble.hint, f"point {point}: no hint"
        again = await back_up(unit)
        assert unit.flash.enabled, f"point {point}: the unit was left disabled"
        tables = {table.name: table.data for table in again.snapshot.tables}
        assert tables["0004-users"] == {table.name: table.data for table in reading.snapshot.tables}["0004-users"]
        assert again.snapshot.credentials == reading.snapshot.credentials, f"point {point}"


async def cut_restores(kind: str, wanted: int, **options: str) -> None:
    old = small(**options)
    source = await source_of(old)
    new = unit_of("zk", "empty", **options)
    await put_back(new, source)
    assert new.image() == old.image()
    total = new.frames_in if kind == "cut_after_writes" else new.frames_out
    assert total > 40
    for point in points(total, wanted):
        unit = unit_of("zk", "empty", **options)
        journal = MemoryJournal()
        assert_clear(await trouble_of(put_back(unit, source, journal, LinkFaults(**{kind: point}))), point, total)
        result = await put_back(unit, source, journal)
        assert result.exit_code == 0, f"point {point}: {result.losses}"
        assert unit.image() == old.image(), f"point {point}"
        assert unit.flash.enabled, f"point {point}: the unit was left disabled"


CUTS = ["cut_after_writes", "cut_after_chunks"]


@pytest.mark.parametrize("kind", CUTS)
async def test_a_backup_cut_anywhere_is_a_clear_error_and_the_unit_is_enabled_again(kind: str) -> None:
    await cut_backups(kind, 20)


@pytest.mark.parametrize("kind", CUTS)
async def test_a_restore_cut_anywhere_converges_when_run_again(kind: str) -> None:
    await cut_restores(kind, 20)


@pytest.mark.sweep
@pytest.mark.parametrize("options", [{}, {"bulk": "split"}, {"transport": "udp"}])
@pytest.mark.parametrize("kind", CUTS)
async def test_every_packet_of_a_backup_may_be_the_last(kind: str, options: dict[str, str]) -> None:
    await cut_backups(kind, 10**6, **options)


@pytest.mark.sweep
@pytest.mark.parametrize("options", [{}, {"bulk": "split"}])
@pytest.mark.parametrize("kind", CUTS)
async def test_every_packet_of_a_restore_may_be_the_last(kind: str, options: dict[str, str]) -> None:
    await cut_restores(kind, 10**6, **options)


@pytest.mark.parametrize("moment", ["after-1501", "during-110", "after-8", "after-87"])
async def test_a_power_cut_while_a_record_is_stored_is_finished_by_the_second_run(moment: str) -> None:
    old = small()
    source = await source_of(old)
    unit = unit_of("zk", "empty", powerloss=moment)
    journal = MemoryJournal()
    try:
        await put_back(unit, source, journal)
    except LinkError:
        await put_back(unit, source, journal)
    assert unit.image() == old.image()
    assert unit.flash.enabled


async def test_a_user_whose_way_of_verifying_was_not_told_waits_for_a_word() -> None:
    """The others' was told, so this one may have to prove more than the group's way."""
    old, new = small(), unit_of("zk", "empty")
    source = await source_of(old)
    snapshot = source.snapshot
    first, *others = snapshot.users
    vendor = {"zk": {name: value for name, value in first.vendor["zk"].items() if name != "verify_mode"}}
    users = (replace(first, vendor=vendor), *others)
    doubtful = dataclasses.replace(source, snapshot=replace(snapshot, users=users))
    plan = await planned(new, doubtful)
    (asked,) = [record for record in plan.plan.records if record.kind == "user" and record.outcome == "needs_input"]
    assert (asked.key, asked.reasons) == (first.key, ("rule-unsupported",))
