"""What becomes of settings and of administration keys, whatever the family."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Setting
from lockmigrate.model.results import RecordResult
from lockmigrate.model.secret import Secret
from lockmigrate.model.steps import Step
from lockmigrate.planning.policy import Policy

_NAMED: Final = {"setting/ef01.address": "address", "access_key/ef01.password": "password"}


def plan_settings(
    source: Snapshot, target: Snapshot, policy: Policy
) -> tuple[list[RecordResult], list[Step], list[Step]]:
    held = {item.key: item for item in target.settings}
    dialects = [snapshot.lock.protocol.get("variant") for snapshot in (source, target)]
    # The number of an EF01 security level means something else in the other dialect.
    dialects_equal = source.lock.family != "ef01" or dialects[0] == dialects[1]
    pages = next((table.rows for table in target.tables if table.name == "0003-notepad"), 0)
    records: list[RecordResult] = []
    first: list[Step] = []
    last: list[Step] = []
    for item in source.settings:
        result = RecordResult(key=item.key, kind="setting", outcome="copy")
        mine, equal = held.get(item.key), _same(item, held.get(item.key))
        if item.key in _NAMED and _NAMED[item.key] in policy.with_:
            if mine is None:  # nothing could prove it
                records.append(replace(result, outcome="skip", reasons=("setting-unsupported",)))
                continue
            if not equal:
                last.append(_setting_step(item))
            records.append(replace(result, done=equal, proof="V4" if equal else None))
        elif item.device_bound:
            records.append(replace(result, outcome="skip", reasons=("device-bound",)))
        elif item.key.startswith("setting/ef01.notepad."):
            if equal:
                records.append(replace(result, done=True, proof="V4"))
            elif int(item.key.rpartition(".")[2]) >= pages:
                records.append(replace(result, outcome="skip", reasons=("setting-unsupported",)))
            elif mine is not None and "notepad" not in policy.with_:
                records.append(replace(result, outcome="skip", reasons=("notepad-in-use",)))
            else:
                (last if "notepad" in policy.with_ and mine is not None else first).append(_setting_step(item))
                records.append(result)
        elif equal:
            records.append(replace(result, done=True, proof="V4"))
        elif mine is None or not dialects_equal:
            records.append(replace(result, outcome="skip", reasons=("setting-unsupported",)))
        else:
            first.append(_setting_step(item))
            records.append(replace(result, detail=f"{mine.value} → {item.value}"))
    return records, first, last


def plan_access_keys(source: Snapshot, target: Snapshot, policy: Policy) -> tuple[list[RecordResult], list[Step]]:
    held = {item.key: item.secret for item in target.access_keys}
    records, steps = [], []
    for item in source.access_keys:
        result = RecordResult(key=item.key, kind="access_key", outcome="copy")
        value = item.secret.reveal_bytes()
        if _NAMED.get(item.key) not in policy.with_:
            records.append(replace(result, outcome="skip", reasons=("admin-not-migrated",)))
        elif item.key in held and held[item.key] == Secret(value):
            records.append(replace(result, done=True, proof="V4"))
        else:
            steps.append(Step(key=item.key, kind="access_key", action="put", origin={}, value=value, was_empty=False))
            records.append(result)
    return records, steps


def _setting_step(item: Setting) -> Step:
    origin, value = {}, item.value
    if isinstance(item.hidden, Secret):
        origin = {"page": int(item.key.rpartition(".")[2])}
        return Step(
            key=item.key, kind="setting", action="put", origin=origin, value=item.hidden.reveal_bytes(), was_empty=False
        )
    if item.key == "setting/ef01.address":
        value = int(str(item.value), 16)
    return Step(key=item.key, kind="setting", action="put", origin=origin, value=value, was_empty=False)


def _same(mine: Setting, theirs: Setting | None) -> bool:
    return theirs is not None and mine.value == theirs.value and mine.hidden == theirs.hidden


def missing_by_name(records: Iterable[RecordResult], policy: Policy) -> list[str]:
    """Say what was named with `--with` and is not in the backup."""
    here = {item.key for item in records}
    return [
        f"--with {name}: the backup holds none"
        for key, name in sorted(_NAMED.items())
        if name in policy.with_ and key not in here
    ]
