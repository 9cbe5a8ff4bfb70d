"""GT-511 and F5 modules with the line cut at every frame of a backup and of a restore: a clear error, then equal."""

from __future__ import annotations

from typing import Any

import pytest
from test_cuts import last, points

from lockmigrate.errors import ConnectError, LinkError, LockmigrateError
from lockmigrate.operations.journal import Journal, MemoryJournal
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import Source, execute, prepare
from lockmigrate.planning.policy import Policy
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.targets import Target, open_on_unit
from lockmigrate.transports.memory import LinkFaults

HERE = Target(text="sim://unit", scheme="sim", address="unit")
FAMILIES = ["gt511", "f5"]
KINDS = ["cut_after_writes", "cut_after_chunks"]


def unit_of(family: str, preset: str) -> SimulatedUnit:
    options = {"slots": "20" if family == "gt511" else "8"}
    return open_unit(load_profile(family), preset, options | ({"fill": "5"} if preset == "full" else {}))


async def back_up(unit: SimulatedUnit, faults: LinkFaults | None = None) -> Reading:
    lock = await open_on_unit(unit, HERE, faults=faults)
    try:
        reading: Reading = await last(read_unit(lock))
    finally:
        await lock.close()
    return reading


async def put_back(unit: SimulatedUnit, source: Source, journal: Journal, faults: LinkFaults | None = None) -> Any:
    lock = await open_on_unit(unit, HERE, faults=faults)
    try:
        prepared = await last(prepare(lock, source, Policy(), journal))
        return await last(execute(prepared, journal))
    finally:
        await lock.close()


async def trouble_of(act: Any) -> LockmigrateError | None:
    try:
        await act
    except LockmigrateError as error:
        return error
    return None


def is_clear(trouble: LockmigrateError | None, point: int, total: int) -> bool:
    """A cut is a clear error, unless it came so late that everything was said already."""
    if trouble is None:
        return point >= total - 4
    return isinstance(trouble, LinkError | ConnectError) and bool(trouble.hint)


async def cut(family: str, kind: str, wanted: int) -> None:
    old = unit_of(family, "full")
    reading = await back_up(old)
    total = old.frames_in if kind == "cut_after_writes" else old.frames_out
    assert total > 10
    for point in points(total, wanted):
        unit = unit_of(family, "full")
        trouble = await trouble_of(back_up(unit, LinkFaults(**{kind: point})))
        assert is_clear(trouble, point, total), f"backup, point {point}: {trouble!r}"
        assert unit.image() == old.image(), f"backup, point {point}: it changed the unit"
        again = await back_up(unit)
        assert again.snapshot.credentials == reading.snapshot.credentials, f"backup, point {point}"
    source = source_in_memory(reading)
    new = unit_of(family, "empty")
    await put_back(new, source, MemoryJournal())
    assert new.flash.templates == old.flash.templates
    total = new.frames_in if kind == "cut_after_writes" else new.frames_out
    if family == "f5" and kind == "cut_after_writes":
        total -= len(new.flash.templates)  # head and data of a template leave in one write
    for point in points(total, wanted):
        unit, journal = unit_of(family, "empty"), MemoryJournal()
        trouble = await trouble_of(put_back(unit, source, journal, LinkFaults(**{kind: point})))
        assert is_clear(trouble, point, total), f"restore, point {point}: {trouble!r}"
        result = await put_back(unit, source, journal)
        assert result.exit_code == 0, f"restore, point {point}: {result.losses}"
        assert unit.flash.templates == old.flash.templates, f"restore, point {point}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_line_cut_anywhere_is_a_clear_error_and_a_second_run_ends_equal(family: str, kind: str) -> None:
    await cut(family, kind, 15)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
async def test_every_frame_of_a_backup_and_of_a_restore_may_be_the_last(family: str, kind: str) -> None:
    await cut(family, kind, 10**6)
