"""Small verbs on one unit: info, try, wipe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from msgspec.structs import replace

from lockmigrate.errors import MismatchError
from lockmigrate.model.results import InfoResult, Progress, TryResult, Unit, WipeResult
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import EVERYTHING, QUICK, Lock, Scope, Section

TOUCH_S: Final = 15.0
"""How long `try` waits for a finger; ours."""


async def info(lock: Lock, *, label: str | None = None) -> InfoResult:
    """Say who the unit is and what can and cannot be carried.

    Raises:
        LinkError, RefusedError: from the unit.
    """
    unit = replace(await lock.identify(), label=label)
    profile = load_profile(unit.profile)
    fingerprint = unit.capabilities.credentials.fingerprint
    carries = {
        "fingerprints": "cannot be carried"
        if fingerprint is None or fingerprint.readback != "full"
        else "templates, byte for byte, to a module of the same kind",
        "settings": "security level; address, speed and packet size stay with the unit",
        "notepad": "pages, where the target's are blank",
        "names": "the module knows none",
    }
    carries |= {section: f"announced gap: {reason}" for section, reason in profile.gaps.items()}
    return InfoResult(unit=unit, carries=carries, notes=profile.notes, warnings=unit.warnings)


async def try_finger(lock: Lock, *, timeout_s: float = TOUCH_S) -> TryResult:
    """Wait for a finger and say whom the unit takes it for: the proof V0.

    Raises:
        NoAnswer: no finger came.
        Unsupported: the family cannot.
    """
    unit = await lock.identify()
    touch = await lock.touch(timeout_s)
    return TryResult(
        unit=unit,
        matched=touch.matched,
        slot=touch.slot,
        score=touch.score,
        proof="V0" if touch.matched else None,
        exit_code=0 if touch.matched else 8,
    )


async def wipe(lock: Lock, unit: Unit, *, scope: Scope, backup: str | None) -> AsyncIterator[Progress | WipeResult]:
    """Erase people's data and prove by reading that nothing is left; the last item is the result.

    Raises:
        MismatchError: something is left.
        Unsupported: the family has no such scope.
        LinkError, RefusedError: from the unit.
    """
    async for progress in lock.erase(scope):
        yield progress
    reading = await _read(lock, QUICK)
    if not any(table.name.endswith("-index") for table in reading.snapshot.tables):
        reading = await _read(lock, EVERYTHING)  # no list of what is occupied: every slot is asked
    held = {**reading.unit.counts, "fingerprints": max(*_fingerprints(reading))}
    left = {name: count for name, count in held.items() if count}
    notes = [item.key for item in reading.snapshot.settings if "notepad" in item.key]
    if left or notes:
        raise MismatchError(
            f"the unit {unit.id} still holds records after it was told to erase them",
            differences=(*(f"{count} {name}" for name, count in left.items()), *notes),
            hint="run wipe again; a module that keeps refusing has to be destroyed, not sold",
        )
    yield WipeResult(
        unit=reading.unit,
        backup=backup,
        erased=unit.counts,
        left=left,
        kept=("settings", "address", "password", "speed"),
        proof="V1",
    )


async def _read(lock: Lock, sections: frozenset[Section]) -> Reading:
    async for item in read_unit(lock, sections=sections):
        if isinstance(item, Reading):
            reading = item
    return reading


def _fingerprints(reading: Reading) -> tuple[int, int]:
    """How many there are by the unit's own word, and how many answered."""
    return reading.unit.counts.get("fingerprints", 0), reading.snapshot.counts()["fingerprints"]
