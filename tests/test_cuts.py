"""The link is cut at every point of a backup and of a restore: always a clear error, and a second run ends equal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lockmigrate.errors import ConnectError, LinkError, LockmigrateError
from lockmigrate.operations.journal import Journal
from lockmigrate.operations.on_paper import source_in_memory
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import Source, execute, prepare
from lockmigrate.planning.policy import Policy
from lockmigrate.profiles import load_profile
from lockmigrate.protocols.ef01 import Ef01Lock
from lockmigrate.protocols.ef01_door import Ef01Door, open_module
from lockmigrate.sim import open_unit
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports.memory import LinkFaults, MemoryLink

T = TypeVar("T")
DIALECTS = ["as608", "hlk-zw101"]


def unit_of(profile: str, preset: str, **options: str) -> SimulatedUnit:
    small = {"slots": "8", "template_size": "300", **options}
    if preset != "empty":
        small.setdefault("fill", "5")
    return open_unit(load_profile(profile), preset, small)


async def opened(unit: SimulatedUnit, faults: LinkFaults | None = None) -> tuple[Ef01Lock, MemoryLink]:
    link = MemoryLink.open(unit.device, faults=faults)
    door = Ef01Door(target="sim", port_id="sim", profile=unit.profile, simulated=True)
    try:
        return await open_module(link, door), link
    except BaseException:
        await link.close()
        raise


async def last(events: AsyncIterator[Any]) -> Any:
    item = None
    async for item in events:  # noqa: B007  # the last one is what counts
        pass
    return item


async def back_up(unit: SimulatedUnit, faults: LinkFaults | None = None) -> tuple[Reading, MemoryLink]:
    lock, link = await opened(unit, faults)
    try:
        reading: Reading = await last(read_unit(lock))
    finally:
        await lock.close()
    return reading, link


async def put_back(
    unit: SimulatedUnit, source: Source, journal: Journal, faults: LinkFaults | None = None
) -> tuple[Any, MemoryLink]:
    lock, link = await opened(unit, faults)
    try:
        prepared = await last(prepare(lock, source, Policy(), journal))
        result = await last(execute(prepared, journal))
    finally:
        await lock.close()
    return result, link


def points(total: int, wanted: int) -> list[int]:
    """All points, or a sample of them that holds the first and the last."""
    if wanted >= total:
        return list(range(total))
    return sorted({round(index * (total - 1) / (wanted - 1)) for index in range(wanted)})


async def cut_backups(profile: str, kind: str, wanted: int) -> None:
    whole = unit_of(profile, "full")
    reading, link = await back_up(whole)
    before = whole.image()
    total = link.writes if kind == "cut_after_writes" else link.chunks
    assert total > 20
    for point in points(total, wanted):
        unit = unit_of(profile, "full")
        with pytest.raises(LockmigrateError) as caught:
            await back_up(unit, LinkFaults(**{kind: point}))
        assert isinstance(caught.value, LinkError | ConnectError), f"point {point}: {caught.value!r}"
        assert caught.value.hint, f"point {point}: no hint"
        assert unit.image() == before, "a backup changed the unit"
        again, _ = await back_up(unit)
        assert [table.data for table in again.snapshot.tables] == [table.data for table in reading.snapshot.tables]


async def cut_restores(profile: str, kind: str, wanted: int, folder: Path) -> None:
    old = unit_of(profile, "full")
    reading, _ = await back_up(old)
    source = source_in_memory(reading)
    new = unit_of(profile, "empty")
    _, link = await put_back(new, source, Journal(folder / "whole"))
    assert new.flash.templates == old.flash.templates
    total = link.writes if kind == "cut_after_writes" else link.chunks
    assert total > 40
    for point in points(total, wanted):
        unit = unit_of(profile, "empty")
        journal = Journal(folder / f"{kind}-{point}")
        with pytest.raises(LockmigrateError) as caught:
            await put_back(unit, source, journal, LinkFaults(**{kind: point}))
        assert isinstance(caught.value, LinkError | ConnectError), f"point {point}: {caught.value!r}"
        result, _ = await put_back(unit, source, journal)
        assert result.exit_code == 0, f"point {point}: {result.losses}"
        assert unit.flash.templates == old.flash.templates, f"point {point}"
        assert unit.flash.notepad == new.flash.notepad, f"point {point}"


@pytest.mark.parametrize("profile", DIALECTS)
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
async def test_a_backup_cut_anywhere_is_a_clear_error_and_a_second_run_is_whole(profile: str, kind: str) -> None:
    await cut_backups(profile, kind, 20)


@pytest.mark.parametrize("profile", DIALECTS)
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
async def test_a_restore_cut_anywhere_converges_when_run_again(profile: str, kind: str, tmp_path: Path) -> None:
    await cut_restores(profile, kind, 20, tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize("profile", DIALECTS)
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
async def test_every_frame_of_a_backup_may_be_the_last(profile: str, kind: str) -> None:
    await cut_backups(profile, kind, 10**6)


@pytest.mark.sweep
@pytest.mark.parametrize("profile", DIALECTS)
@pytest.mark.parametrize("kind", ["cut_after_writes", "cut_after_chunks"])
async def test_every_frame_of_a_restore_may_be_the_last(profile: str, kind: str, tmp_path: Path) -> None:
    await cut_restores(profile, kind, 10**6, tmp_path)


@pytest.mark.parametrize("profile", DIALECTS)
async def test_a_module_that_dies_while_it_stores_is_finished_by_the_second_run(profile: str, tmp_path: Path) -> None:
    """Power goes in the middle of a Store: the slot is in the index and cannot be read."""
    old = unit_of(profile, "full")
    reading, _ = await back_up(old)
    slots = sorted(old.flash.templates)
    for slot in slots:
        unit = unit_of(profile, "empty", quirks=f"torn-store:{slot}")
        journal = Journal(tmp_path / str(slot))
        try:
            result, _ = await put_back(unit, source_in_memory(reading), journal)
        except LinkError:
            result, _ = await put_back(unit, source_in_memory(reading), journal)
        assert result.exit_code == 0
        assert unit.flash.templates == old.flash.templates
