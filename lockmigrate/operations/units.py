"""Small verbs on one unit: info, try, wipe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from msgspec.structs import replace

from lockmigrate.errors import ConnectError, ConnectReason, MismatchError, Unsupported
from lockmigrate.model.results import InfoResult, Progress, TryResult, Unit, WipeResult
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import EVERYTHING, QUICK, Lock, Scope, Section, Uncounted

TOUCH_S: Final = 15.0
"""How long `try` waits for a finger; ours."""
_SETTINGS: Final = {"ef01": "security level; address, speed and packet size stay with the unit"}
_KEPT: Final = {
    "ef01": ("settings", "address", "password", "speed"),
    "zk": ("settings", "communication key", "network", "clock"),
    "ttlock": ("settings", "its administrator", "its log, which nothing deletes", "eKeys, gateways, key fobs"),
    "nuki": ("settings", "authorisations of apps, bridges and fobs", "its log, which nothing deletes"),
}
"""What a wiped unit keeps, by family."""


async def info(lock: Lock, *, label: str | None = None) -> InfoResult:
    """Say who the unit is and what can and cannot be carried.

    Raises:
        LinkError, RefusedError: from the unit.
    """
    if isinstance(lock, Uncounted):
        await lock.count()
    unit = replace(await lock.identify(), label=label)
    if unit.details.get("exists") is False:
        raise ConnectError(
            f"{unit.target}: there is no such file or folder",
            reason=ConnectReason.NOT_FOUND,
            hint="as the target of a restore the folder is made; to look at one, check the path",
        )
    profile = load_profile(unit.profile)
    carries = _carries(unit)
    carries |= {section: f"announced gap: {reason}" for section, reason in profile.gaps.items()}
    return InfoResult(unit=unit, carries=carries, notes=profile.notes, warnings=unit.warnings)


def _carries(unit: Unit) -> dict[str, str]:
    """Section to what will become of it, in a technician's words."""
    fingerprint = unit.capabilities.credentials.fingerprint
    moves = fingerprint is not None and fingerprint.readback == "full"
    if unit.family == "image":
        return {"records": "what the profile names, once there is a unit that can hold them; a dump is only read"}
    if unit.capabilities.user_records:
        carries = {
            "users": "with PIN, card, privilege, group and own time zones, byte for byte to records of the same form",
            "fingerprints": "templates, byte for byte, to a unit of the same algorithm"
            if moves
            else "cannot be carried",
        }
        return carries | {
            "tables": "the numbers of time zones and groups; their tables stay on the terminal"
            if unit.details.get("medium") == "file"
            else "time zones, groups and unlock combinations, before the users that need them",
            "log": "kept in the backup, never written to a unit",
        }
    if unit.family == "ttlock":
        return {
            "pins": "passcodes with their dates and original codes; one-time codes stay behind",
            "cards": "with their dates; where the lock can limit cards to days and hours, each is asked about",
            "lock_schedules": "passage mode, last of all",
            "settings": "within what the new lock takes",
            "log": "kept in the backup, never written to a unit",
        }
    if unit.family == "nuki":
        return {
            "pins": "keypad codes with names, limits, and whether they are enabled, once the lock knows this computer",
            "lock_schedules": "timers (time control)",
            "settings": "all but what was measured on this door; --with cylinder moves that too",
            "log": "kept in the backup, never written to a unit",
        }
    carries = {
        "fingerprints": "templates, byte for byte, to a module of the same kind" if moves else "cannot be carried",
        "settings": _SETTINGS.get(unit.family, "those that are no part of the unit itself"),
    }
    if unit.family == "ef01":
        carries["notepad"] = "pages, where the target's are blank"
    return carries | {"names": "the module knows none"}


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


def insist_erasable(unit: Unit) -> None:
    """Refuse early what nothing can be erased from.

    Raises:
        Unsupported: a dump.
    """
    if unit.family == "image":
        raise Unsupported("a dump is only read; nothing can be erased in it", hint="delete the file itself")


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
        kept=_kept(unit, scope),
        proof="V1",
    )


async def _read(lock: Lock, sections: frozenset[Section]) -> Reading:
    async for item in read_unit(lock, sections=sections):
        if isinstance(item, Reading):
            reading = item
    return reading


def _kept(unit: Unit, scope: Scope) -> tuple[str, ...]:
    if unit.details.get("medium") == "file":
        return ("other files",)
    if unit.family == "ttlock" and scope is Scope.FACTORY:
        return ("its log, which nothing deletes",)
    return _KEPT.get(unit.family, ("settings",))


def _fingerprints(reading: Reading) -> tuple[int, int]:
    """How many there are by the unit's own word, and how many answered."""
    return reading.unit.counts.get("fingerprints", 0), reading.snapshot.counts()["fingerprints"]
