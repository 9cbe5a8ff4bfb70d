"""How units do over their backups: battery, motor, failed attempts, clock, memory, changes. Each line has its source.

Nothing is guessed: where no field of a backup says it, the line has no source, which is shown as "no basis".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, LogEntry, TemplateData
from lockmigrate.model.report import HealthLine, HealthResult, HealthUnit, Point
from lockmigrate.operations.opening import Opened
from lockmigrate.version import own_version

LOW_PERCENT: Final = 20
"""Ours: from here on a battery is worth a remark."""
FULL_PERCENT: Final = 90
"""Ours: from here on a memory is worth a remark."""
CLOCK_S: Final = 120
"""Ours: a clock that is further off makes time limits wrong by minutes."""
MAX_POINTS: Final = 200
"""Ours: a chart cannot show more."""
MOTOR_TROUBLE: Final = frozenset({1, 5, 6, 7})
"""Nuki's completions: motor blocked, low voltage, clutch failure, motor power failure (reference, section 9.6)."""
NUKI_REFUSED: Final = frozenset({0xE0, 0xE1})
"""Nuki's completions: invalid code, invalid fingerprint (reference, section 9.6)."""
TTLOCK_REFUSED: Final = frozenset({"wrong-code", "unlock-failed", "refused"})
_PLURALS: Final = {"pin": "pins", "card": "cards", "fingerprint": "fingerprints", "face": "faces"}


def judge(opened: Sequence[Opened], *, now: datetime | None = None) -> HealthResult:
    """Sort backups by unit and by time, and say what they tell."""
    series: dict[tuple[str, str | None, str], list[Opened]] = {}
    for item in sorted(opened, key=lambda each: (each.created_at, each.source.file)):
        unit = item.source.unit
        series.setdefault((unit.family, unit.serial, "" if unit.serial else unit.id), []).append(item)
    notes = [
        f"{item.source.file}: {item.trust}; anybody may have made it" for item in opened if item.trust != "trusted"
    ]
    return HealthResult(
        made_at=(now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool=f"lockmigrate {own_version()}",
        warnings=tuple(notes),
        units=tuple(_unit(backups) for backups in series.values()),
    )


def _unit(backups: list[Opened]) -> HealthUnit:
    unit = backups[-1].source.unit
    return HealthUnit(
        unit=unit,
        known=unit.serial is not None,
        files=tuple(item.source.file for item in backups),
        made=tuple(item.created_at for item in backups),
        lines=(
            *_battery(backups),
            _motor(backups),
            _failed(backups),
            _clock(backups),
            *_memory(backups),
            *_changes(backups),
        ),
    )


def _battery(backups: list[Opened]) -> Iterator[HealthLine]:
    stated = _details(backups, "battery_percent")
    critical = backups[-1].source.unit.details.get("battery_critical") is True
    value, before = _last_two(stated)
    yield HealthLine(
        topic="battery",
        value=value,
        before=before,
        unit="%",
        source="unit.details.battery_percent" if stated else None,
        warn=critical or (value is not None and value <= LOW_PERCENT),
        points=tuple(point for _, point in stated),
    )
    logged = [
        (entry.time_local, facts["battery_percent"])
        for entry in _log(backups)
        if isinstance(facts := entry.vendor.get("ttlock", {}), dict)
        and entry.time_local is not None
        and _percent(facts.get("battery_percent"))
    ]
    if logged:
        logged.sort()
        yield HealthLine(
            topic="battery",
            about="log",
            value=logged[-1][1],
            before=logged[0][1],
            unit="%",
            source="log[].vendor.ttlock.battery_percent",
            warn=logged[-1][1] <= LOW_PERCENT,
            points=_thinned([Point(at=at, value=value) for at, value in logged]),
        )


def _motor(backups: list[Opened]) -> HealthLine:
    actions = [
        (entry, entry.vendor["nuki"]["completion"])
        for entry in _log(backups)
        if entry.operation == "lock-action" and isinstance(entry.vendor.get("nuki", {}).get("completion"), int)
    ]
    trouble = [entry for entry, completion in actions if completion in MOTOR_TROUBLE]
    return HealthLine(
        topic="motor",
        value=len(trouble) if actions else None,
        limit=len(actions) or None,
        unit="entries",
        source="log[].vendor.nuki.completion" if actions else None,
        warn=bool(trouble),
        points=_by_day(trouble),
    )


def _failed(backups: list[Opened]) -> HealthLine:
    entries = _log(backups)
    family = backups[-1].source.unit.family
    source, refused = None, []
    if family == "nuki" and entries:
        source = "log[].vendor.nuki.completion"
        refused = [entry for entry in entries if entry.vendor.get("nuki", {}).get("completion") in NUKI_REFUSED]
    elif family == "ttlock" and entries:
        source = "log[].operation"
        refused = [entry for entry in entries if entry.operation in TTLOCK_REFUSED]
    return HealthLine(
        topic="failed",
        value=len(refused) if source else None,
        limit=len(entries) if source else None,
        unit="entries",
        source=source,
        points=_by_day(refused),
    )


def _clock(backups: list[Opened]) -> HealthLine:
    found = _details(backups, "clock_offset_s")
    value, before = _last_two(found)
    return HealthLine(
        topic="clock",
        value=value,
        before=before,
        unit="s",
        source="unit.details.clock_offset_s" if found else None,
        warn=value is not None and abs(value) > CLOCK_S,
        points=tuple(point for _, point in found),
    )


def _memory(backups: list[Opened]) -> Iterator[HealthLine]:
    unit = backups[-1].source.unit
    limits = {kind: getattr(unit.capabilities.credentials, kind) for kind in _PLURALS}
    rooms: dict[str, tuple[int | None, str]] = {
        _PLURALS[kind]: (room.slots, f"unit.capabilities.credentials.{kind}.slots")
        for kind, room in limits.items()
        if room is not None
    }
    if unit.capabilities.user_records:
        most = unit.capabilities.number_of_total_users_supported
        rooms = {"users": (most, "unit.capabilities.number_of_total_users_supported"), **rooms}
    lines = []
    for name, (slots, source) in rooms.items():
        held = [(item, item.source.snapshot.counts().get(name, 0)) for item in backups]
        value = held[-1][1]
        lines.append(
            HealthLine(
                topic="memory",
                about=name,
                value=value,
                before=held[-2][1] if len(held) > 1 else None,
                limit=slots,
                unit="records",
                source=f"counts.{name}, {source}" if slots else f"counts.{name}",
                warn=slots is not None and value * 100 >= slots * FULL_PERCENT,
                points=tuple(Point(at=item.created_at, value=number) for item, number in held),
            )
        )
    yield from lines or [HealthLine(topic="memory")]


def _changes(backups: list[Opened]) -> Iterator[HealthLine]:
    if len(backups) < 2:
        yield HealthLine(topic="changes")
        return
    before, after = (_comparable(item.source.snapshot) for item in backups[-2:])
    found = {
        "added": [key for key in after if key not in before],
        "removed": [key for key in before if key not in after],
        "changed": [key for key in after if key in before and after[key] != before[key]],
    }
    for about, keys in found.items():
        yield HealthLine(
            topic="changes", about=about, value=len(keys), unit="records", source="records", keys=tuple(keys)
        )


def _comparable(snapshot: Snapshot) -> dict[str, Any]:
    """Records by key, without where their bytes lie; secrets compare by content and never print."""
    groups: tuple[Sequence[Any], ...] = (
        snapshot.users, snapshot.credentials, snapshot.groups, snapshot.combinations, snapshot.schedules,
        snapshot.lock_schedules, snapshot.settings,
    )  # fmt: skip
    return {item.key: _bare(item) for group in groups for item in group}


def _bare(item: Any) -> Any:
    bare = replace(item, raw=())
    if isinstance(item, Credential) and isinstance(item.data, TemplateData):
        # The digest tells whether it is the same template; where it lies in the archive does not.
        placed = replace(item.data.template, attachment="", offset=0)
        bare = replace(bare, data=replace(item.data, template=placed))
    return bare


def _details(backups: list[Opened], name: str) -> list[tuple[int, Point]]:
    """Return a number of the unit's details over the backups that have it."""
    found = []
    for item in backups:
        value = item.source.unit.details.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            found.append((value, Point(at=item.created_at, value=value)))
    return found


def _last_two(found: list[tuple[int, Point]]) -> tuple[int | None, int | None]:
    return (found[-1][0] if found else None, found[-2][0] if len(found) > 1 else None)


def _log(backups: list[Opened]) -> list[LogEntry]:
    """Return the lines of all logs, each once: a log is read again with every backup."""
    found: dict[Any, LogEntry] = {}
    for item in backups:
        for entry in item.source.snapshot.log:
            found[(entry.seq, entry.time_local, str(entry.time_utc), entry.operation)] = entry
    return list(found.values())


def _by_day(entries: Sequence[LogEntry]) -> tuple[Point, ...]:
    days: dict[str, int] = {}
    for entry in entries:
        at = entry.time_local or (entry.time_utc if isinstance(entry.time_utc, str) else None)
        if at:
            days[at[:10]] = days.get(at[:10], 0) + 1
    return _thinned([Point(at=day, value=number) for day, number in sorted(days.items())])


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    """Keep the first, the last and an even choice between."""
    if len(points) <= MAX_POINTS:
        return tuple(points)
    step = (len(points) - 1) / (MAX_POINTS - 1)
    return tuple(points[round(number * step)] for number in range(MAX_POINTS))


def _percent(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100
