"""Rehearsal: a backup is restored into a simulated unit, over the real wire bytes, and read back.

A file that opens and whose digests fit may still not be restorable. So it is restored: into a stand-in of the unit's
own model, sized as the backup says, by the same code as for a real unit; read back whole; compared byte for byte and
record by record; and again with the line cut at sampled points, after which a second run must end equal. Nothing of it
needs hardware, and nothing of the backup leaves memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from lockmigrate import sim
from lockmigrate.errors import LinkError, LockmigrateError, MismatchError, PolicyError
from lockmigrate.formats import differences as by_content
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential
from lockmigrate.model.results import WRITTEN, Progress, RehearsalSeen
from lockmigrate.operations.journal import Journal, MemoryJournal
from lockmigrate.operations.keyring import KeyPaths
from lockmigrate.operations.opening import open_file
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.restore import Prepared, Source, execute, prepare
from lockmigrate.planning.policy import Answer, Choice, Decisions, Policy
from lockmigrate.profiles import Profile, load_profile
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.targets import Target, open_on_unit
from lockmigrate.transports.memory import LinkFaults
from lockmigrate.version import SOURCE

CUTS: Final = 3
"""How many times the line is cut, at points spread over the whole conversation."""
ROOM: Final = 3000
"""Users and templates of a stand-in for a unit that tells neither; ours."""
_TARGET: Final = Target(text="sim://rehearsal", scheme="sim", address="rehearsal")
_DOUBTS: Final[tuple[tuple[str, Choice], ...]] = (
    ("zone-table-unknown", "write"),
    ("user-id-duplicate", "write"),
    ("uid-duplicate", "skip"),
    ("user-missing", "skip"),
    ("pin-length", "skip"),
    ("pin-alphabet", "skip"),
    ("pin-prefix", "skip"),
    ("pin-duplicate", "skip"),
    ("no-public-layout", "skip"),
    ("schedule-unreadable", "write"),
    ("schedule-unreadable", "skip"),
    ("schedule-unsupported", "skip"),
    ("zone-differs", "skip"),
)
"""How questions that a person has to answer are answered in a rehearsal: what can be written is."""
_POLICY: Final = Policy(
    accept_look_alike=True,
    keep_expired=True,
    decisions=Decisions(answer=tuple(Answer(reason=reason, choice=choice) for reason, choice in _DOUBTS)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalOutcome:
    """How a rehearsal ended. Holds nothing of the backup's contents; may cross to another process."""

    ok: bool
    backup_id: str
    code: str | None = None
    detail: str | None = None
    records: int = 0
    cuts: int = 0
    millis: int = 0
    tool: str = SOURCE
    """Program and version; a rehearsal by another one is amber, not green."""
    profile_sha256: str = ""

    def seen(self) -> RehearsalSeen:
        """What a result shows of it."""
        return RehearsalSeen(
            ok=self.ok,
            records=self.records,
            cuts=self.cuts,
            duration_s=self.millis / 1000,
            tool=self.tool,
            code=self.code,
            detail=self.detail,
        )

    def insist(self) -> None:
        """Stop here unless it went well.

        Raises:
            PolicyError: code `rehearsal-failed`.
        """
        if not self.ok:
            raise PolicyError(
                f"the rehearsal of this backup failed: {self.detail}",
                hint="the backup was not restored; --skip-rehearsal restores it all the same",
                code="rehearsal-failed",
            )


def profile_digest(profile: Profile) -> str:
    """Return the digest under which a profile's version is remembered."""
    return hashlib.sha256(msgspec.json.encode(profile, order="sorted")).hexdigest()


async def rehearse(source: Source, *, cuts: int = CUTS) -> AsyncIterator[Progress | RehearsalOutcome]:
    """Rehearse an opened backup; the last item is the outcome.

    Args:
        source: the backup.
        cuts: how many further runs have the line cut; 0 for none.
    """
    started = time.monotonic()
    profile = load_profile(source.unit.profile)
    outcome = RehearsalOutcome(ok=False, backup_id=source.backup_id, profile_sha256=profile_digest(profile))
    total = cuts + 1
    done = 0
    if _only_read(source):
        detail = "units of this kind are only read; opening the file has decoded its tables again"
        yield _ended(outcome, started, code="no-simulator", detail=detail)
        return
    if profile.family not in sim.SIMULATED:
        detail = "there is no simulated unit of this kind; opening the file has decoded its tables again"
        yield _ended(outcome, started, code="no-simulator", detail=detail)
        return
    try:
        yield Progress(stage="rehearsal", done=0, total=total)
        writes, records = await _whole(source, profile)
        done = 1
        yield Progress(stage="rehearsal", done=done, total=total)
        for number in range(cuts):
            await _cut(source, profile, after_writes=max(1, writes * (2 * number + 1) // (2 * cuts)))
            done += 1
            yield Progress(stage="rehearsal", done=done, total=total)
        outcome = _ended(outcome, started, ok=True, records=records, cuts=cuts)
    except LockmigrateError as error:
        detail = error.message if done == 0 else f"with the line cut {done} times: {error.message}"
        outcome = _ended(outcome, started, code=error.code, detail=detail, cuts=done)
    yield outcome


def _only_read(source: Source) -> bool:
    pin = source.unit.capabilities.credentials.pin
    return pin is not None and pin.writable == "none"


def _ended(
    outcome: RehearsalOutcome,
    started: float,
    *,
    ok: bool = False,
    code: str | None = None,
    detail: str | None = None,
    records: int = 0,
    cuts: int = 0,
) -> RehearsalOutcome:
    return RehearsalOutcome(
        ok=ok,
        backup_id=outcome.backup_id,
        code=code,
        detail=detail,
        records=records,
        cuts=cuts,
        millis=round(1000 * (time.monotonic() - started)),
        profile_sha256=outcome.profile_sha256,
    )


def stand_in(source: Source, profile: Profile) -> SimulatedUnit:
    """Make an empty simulated unit of the same model, sized as the backup says (decision 26)."""
    held = source.unit.capabilities
    fingerprint = held.credentials.fingerprint
    facts: dict[str, object] = {
        **source.unit.details,
        "firmware": source.unit.firmware,
        "slots": fingerprint.slots if fingerprint else None,
        "template_size_bytes": fingerprint.template_size_bytes if fingerprint else None,
        "users": held.number_of_total_users_supported,
    }
    if held.user_records:
        # A folder says nothing of room; what it holds has to fit.
        people, fingers = len(source.snapshot.users), len(source.snapshot.credentials)
        facts["users"] = facts["users"] or max(people, ROOM)
        facts["slots"] = facts["slots"] or max(fingers, ROOM)
    held_there = source.snapshot.credentials
    # A lock that does not tell its room had room for what it holds.
    kinds = {"passcode_room": "PIN", "card_room": "RFID", "finger_room": "Fingerprint"}
    for room, kind in kinds.items():
        facts[room] = max(ROOM, sum(1 for item in held_there if item.credential_type == kind))
    facts["passage_room"] = 100
    dialect = source.unit.details.get("dialect")
    model = replace(profile, variant={**profile.variant, "dialect": dialect}) if dialect else profile
    return sim.open_unit(model, "empty", sim.stand_in_options(profile, facts))


async def _whole(source: Source, profile: Profile) -> tuple[int, int]:
    """Restore, read back, compare; returns how many writes the conversation took and how many records are equal."""
    unit = stand_in(source, profile)
    written, link_writes = await _restore(unit, source, MemoryJournal())
    reading = await _read(unit)
    differences = compare(source.snapshot, reading.snapshot, written)
    if differences:
        raise MismatchError(
            f"{len(differences)} records read back otherwise, first {differences[0]}", differences=tuple(differences)
        )
    return link_writes, len(written)


async def _cut(source: Source, profile: Profile, *, after_writes: int) -> None:
    """The same with the line cut once: the first run must say so, the second must end equal."""
    unit = stand_in(source, profile)
    journal = MemoryJournal()
    try:
        await _restore(unit, source, journal, LinkFaults(cut_after_writes=after_writes))
    except LinkError:
        pass
    else:
        raise MismatchError(f"a line that was cut after {after_writes} writes went unnoticed")
    written, _ = await _restore(unit, source, journal)
    differences = compare(source.snapshot, (await _read(unit)).snapshot, written)
    if differences:
        raise MismatchError(f"after the second run {differences[0]} is not as it was", differences=tuple(differences))


async def _restore(
    unit: SimulatedUnit, source: Source, journal: Journal, faults: LinkFaults | None = None
) -> tuple[set[str], int]:
    lock = await open_on_unit(unit, _TARGET, faults=faults)
    try:
        async for item in prepare(lock, source, _POLICY, journal):
            if isinstance(item, Prepared):
                prepared = item
        async for done in execute(prepared, journal):
            result = done
    finally:
        await lock.close()
    if isinstance(result, Progress):
        raise MismatchError("the restore ended without a result")
    failed = [loss.record for loss in result.losses if loss.stage in ("write", "verify")]
    if failed:
        raise MismatchError(f"{len(failed)} records could not be written, first {failed[0]}")
    written = {record.key for record in result.records if record.outcome in WRITTEN}
    return written, unit.frames_in


async def _read(unit: SimulatedUnit) -> Reading:
    lock = await open_on_unit(unit, _TARGET)
    try:
        async for item in read_unit(lock):
            if isinstance(item, Reading):
                reading = item
    finally:
        await lock.close()
    return reading


def compare(source: Snapshot, target: Snapshot, written: set[str]) -> list[str]:
    """Name the records that are not on the target as the backup has them: bytes where there are any, else values."""
    renumbered = by_content(source, target, written)
    if renumbered is not None:
        return renumbered
    differences = []
    theirs: dict[str, Any] = {item.key: item for item in _records(target)}
    mine: dict[str, Any] = {item.key: item for item in _records(source)}
    for key in sorted(written & mine.keys()):
        wanted, found = mine[key], theirs.get(key)
        if isinstance(wanted, Credential) and wanted.data is None:
            continue
        same = found is not None and _meaning(wanted) == _meaning(found)
        if not same or _bytes(target, found) != _bytes(source, wanted):
            differences.append(key)
    held = {item.key: item for item in target.settings}
    for item in source.settings:
        there = held.get(item.key)
        if item.key in written and (there is None or (there.value, there.hidden) != (item.value, item.hidden)):
            differences.append(item.key)
    people = {item.key for item in target.users} | {item.key for item in target.credentials}
    differences += sorted(people - mine.keys())
    return differences


def _records(snapshot: Snapshot) -> tuple[Any, ...]:
    return (
        *snapshot.users,
        *snapshot.credentials,
        *snapshot.groups,
        *snapshot.combinations,
        *snapshot.schedules,
    )


def _bytes(snapshot: Snapshot, item: Any) -> tuple[bytes, ...]:
    return tuple(snapshot.bytes_of(ref) for ref in item.raw)


def _meaning(item: Any) -> tuple[object, ...]:
    if isinstance(item, Credential):
        return (item.origin, item.credential_type, item.status, item.duress, type(item.data), item.vendor)
    return (item.origin, item.vendor.get("zk", {}).get("verify_mode") or 0)


def rehearse_file(path: Path, key_paths: KeyPaths, *, cuts: int = CUTS) -> RehearsalOutcome:
    """Open and rehearse one backup file: what a worker process runs.

    Raises:
        LockmigrateError: the file cannot be opened; a failed rehearsal is an outcome, not an exception.
    """

    async def whole() -> RehearsalOutcome:
        opened = await open_file(path, key_paths.keyring())
        opened.insist()
        async for item in rehearse(opened.source, cuts=cuts):
            if isinstance(item, RehearsalOutcome):
                return item
        raise AssertionError("a rehearsal ends with an outcome")

    return asyncio.run(whole())
