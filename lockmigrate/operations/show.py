"""What a backup holds, for people: without a secret, unless somebody at a terminal asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import AppKeyData, CardData, LockSchedule, PinData, Schedule
from lockmigrate.model.results import ShowResult
from lockmigrate.model.secret import Secret
from lockmigrate.operations.opening import Opened

_KINDS: Final = {"PIN": "pin", "RFID": "card", "AppKey": "access_key"}
_DAYS: Final = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")


def show(opened: Opened, *, reveal: bool = False) -> ShowResult:
    """What `show FILE` prints: the contents without a secret, unless a person at a terminal asked for them."""
    source = opened.source
    return ShowResult(
        exit_code=10 if opened.refusal else 0,
        file=source.file,
        backup_id=source.backup_id,
        created_at=opened.created_at,
        signer=opened.signer,
        signer_name=opened.signer_name,
        trust=opened.trust,
        unit=source.unit,
        counts=source.snapshot.counts(),
        records=tuple(_visible(source.snapshot, reveal=reveal)),
        gaps=source.gaps,
        losses=source.snapshot.losses,
        manifest_sha256=opened.manifest_sha256,
        label=opened.label,
    )


def _visible(snapshot: Snapshot, *, reveal: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [*_people(snapshot)]
    for item in snapshot.credentials:
        kind = _KINDS.get(item.credential_type, item.credential_type.lower())
        row: dict[str, Any] = {
            "key": item.key,
            "kind": kind,
            "slot": item.origin.get("credential_index"),
            "state": item.data_state if item.status == "enabled" else item.status,
            "name": item.name if isinstance(item.name, str) else None,
            "duress": item.duress or None,
            "schedules": _keys(item.schedules) or None,
            "linked_to": item.linked_to if isinstance(item.linked_to, str) else None,
        }
        if item.template is not None:
            row |= {"format": item.template.template_format, "size_bytes": item.template.size}
        elif isinstance(item.data, AppKeyData):
            row["device"] = item.data.kind
        elif isinstance(item.data, PinData | CardData):
            value = item.data.digits if isinstance(item.data, PinData) else item.data.number
            row["value"] = str(value.reveal()) if reveal else "hidden"
        rows.append({name: value for name, value in row.items() if value is not None})
    rows += [{"key": table.key, "kind": "group", "schedules": _keys(table.schedules)} for table in snapshot.groups]
    rows += [
        {"key": table.key, "kind": "combination", "groups": _keys(table.groups)} for table in snapshot.combinations
    ]
    rows += [{"key": table.key, "kind": "schedule", "days": week_text(table)} for table in snapshot.schedules]
    rows += [timer_row(timer) for timer in snapshot.lock_schedules]
    for setting in snapshot.settings:
        secret = setting.hidden if isinstance(setting.hidden, Secret) else None
        rows.append(
            {
                "key": setting.key,
                "kind": "setting",
                "value": setting.value if secret is None else _secret(secret, reveal=reveal),
                "unit": setting.unit,
                "device_bound": setting.device_bound,
            }
        )
    rows += [
        {"key": key.key, "kind": "access_key", "value": _secret(key.secret, reveal=reveal)}
        for key in snapshot.access_keys
    ]
    return rows


def _people(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    for user in snapshot.users:
        row = {
            "key": user.key,
            "kind": "user",
            "name": user.user_name,
            "id": user.external_id,
            "state": "disabled" if user.user_status == "OccupiedDisabled" else None,
            "privilege": user.privilege if user.privilege != "user" else None,
            "group": user.group,
            "schedules": _keys(user.schedules) if isinstance(user.schedules, tuple) else None,
        }
        yield {name: value for name, value in row.items() if isinstance(value, str) and value}


def _keys(keys: tuple[str, ...]) -> str:
    return ", ".join(keys)


def timer_row(timer: LockSchedule) -> dict[str, Any]:
    """Return a timer, or a time in which the door stays open, as a row of cells."""
    state = "disabled" if not timer.enabled else None
    row = {
        "key": timer.key,
        "kind": "lock_schedule",
        "state": state,
        "days": f"{_when(timer)} {timer.start}" + (f"-{timer.end}" if isinstance(timer.end, str) else ""),
        "action": timer.action,
    }
    return {name: value for name, value in row.items() if value is not None}


def _when(timer: LockSchedule) -> str:
    if timer.month_days:
        return "monthly " + ",".join(str(day) for day in timer.month_days)
    return _days(timer.days_mask)


def _days(mask: int) -> str:
    """Name the days of a mask (bit 0 Sunday), Monday first; runs of three or more in short."""
    if mask & 0x7F == 0x7F:
        return "daily"
    on = [day for day in range(7) if mask >> ((day + 1) % 7) & 1]
    parts: list[str] = []
    for first in (day for day in on if day - 1 not in on):
        last = first
        while last + 1 in on:
            last += 1
        if last - first >= 2:
            parts.append(f"{_DAYS[first]}-{_DAYS[last]}")
        else:
            parts += [_DAYS[day] for day in range(first, last + 1)]
    return ",".join(parts) or "no day"


def week_text(schedule: Schedule) -> str:
    """Seven windows, Sunday first; one where all days are alike. Or the days and hours, or the dates."""
    if schedule.kind == "Unknown":
        return f"unknown: {schedule.why}"
    if schedule.kind == "YearDay":
        sides = (
            ("from", schedule.start_utc or schedule.start_local),
            ("until", schedule.end_utc or schedule.end_local),
        )
        return " ".join(f"{word} {side}" for word, side in sides if isinstance(side, str))
    if schedule.kind == "WeekDay" and isinstance(schedule.days_mask, int):
        hours = f" {schedule.start}-{schedule.end}" if isinstance(schedule.start, str) else ""
        return f"{_days(schedule.days_mask)}{hours}"
    windows = [f"{day.start}-{day.end}" for day in schedule.days]
    return windows[0] if len(set(windows)) == 1 else " ".join(windows)


def _secret(secret: Secret, *, reveal: bool) -> str:
    if not reveal:
        return "hidden"
    value = secret.reveal()
    return value if isinstance(value, str) else value.hex()
