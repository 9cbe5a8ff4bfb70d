"""Read a unit into a snapshot: identified before and after, torn reads repeated, raw bytes decoded once."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.errors import TornRead
from lockmigrate.formats import decode
from lockmigrate.model.document import Gap, Metadata, Snapshot, Table
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.secret import Secret
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import EVERYTHING, Lock, Section
from lockmigrate.protocols.clock import utc_now
from lockmigrate.version import SOURCE

SUGGESTION_KEY_BYTES: Final = 32
TRIES: Final = 3
"""A read during which the unit changed is repeated twice at most (architecture, section 4)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A unit as it was read: who it is afterwards, and everything it gave out."""

    unit: Unit
    snapshot: Snapshot
    variant: dict[str, Any]
    """What the decoder was told beside the tables."""


async def read_unit(
    lock: Lock,
    *,
    sections: frozenset[Section] = EVERYTHING,
    twice: bool = False,
    label: str | None = None,
) -> AsyncIterator[Progress | Reading]:
    """Read a unit; the last item is the `Reading`.

    Raises:
        TornRead: the unit's contents changed during every one of three reads.
        LinkError, RefusedError: from the unit.
    """
    for _ in range(TRIES):
        before = await lock.identify()
        tables: list[Table] = []
        gaps: list[Gap] = []
        async for item in lock.read(sections, twice=twice):
            if isinstance(item, Table):
                tables.append(item)
            elif isinstance(item, Gap):
                gaps.append(item)
            else:
                yield item
        after = await lock.identify()
        if await _unchanged(lock, before, after, tables):
            snapshot = assemble(lock, after, tables, gaps, label=label)
            if sections == EVERYTHING:
                after = replace(after, label=label)
            yield Reading(after, snapshot, lock.variant)
            return
    raise TornRead(
        f"the contents of {before.id} changed while they were read, {TRIES} times",
        hint="keep people from the lock while it is read, and hold its own controller in reset",
    )


async def _unchanged(lock: Lock, before: Unit, after: Unit, tables: list[Table]) -> bool:
    if (before.id, before.serial) != (after.id, after.serial):
        return False
    # A lock without counters knows how many there are only after its lists were read.
    if any(before.counts.get(name, number) != number for name, number in after.counts.items()):
        return False
    read = {table.name: table.data for table in tables}
    async for item in lock.read(frozenset({Section.INDEX})):
        if isinstance(item, Table) and item.name in read and read[item.name] != item.data:
            return False
    return True


def assemble(lock: Lock, unit: Unit, tables: list[Table], gaps: list[Gap], *, label: str | None) -> Snapshot:
    """Decode tables into a snapshot and mark the gaps that the profile announces."""
    sections = decode(unit.family, {table.name: table.data for table in tables}, lock.variant)
    announced = load_profile(unit.profile).gaps
    known = {item.key for item in sections.access_keys}
    return Snapshot(
        metadata=Metadata(
            source=SOURCE, created_utc=utc_now(), suggestion_key=Secret(secrets.token_bytes(SUGGESTION_KEY_BYTES))
        ),
        lock=replace(
            sections.lock,
            vendor=unit.vendor,
            model=unit.model,
            **({"lock_name": label} if label else {}),
        ),
        capabilities=sections.capabilities,
        users=sections.users,
        credentials=sections.credentials,
        groups=sections.groups,
        combinations=sections.combinations,
        schedules=sections.schedules,
        lock_schedules=sections.lock_schedules,
        log=sections.log,
        settings=sections.settings,
        access_keys=(*sections.access_keys, *(key for key in lock.given if key.key not in known)),
        coverage=sections.coverage,
        losses=sections.losses,
        attachments=sections.attachments,
        tables=tuple(tables),
        gaps=tuple(replace(gap, announced=gap.announced or gap.section in announced) for gap in gaps),
    )
