"""Units that cannot take the records of this backup: another family, or a dump that is only read.

Every record still gets its outcome, so that a person sees what would have to be done by hand.
"""

from __future__ import annotations

from typing import Any, Final

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, Kind
from lockmigrate.model.results import Outcome, RecordResult
from lockmigrate.planning.cross_hand import app_key
from lockmigrate.planning.draft import Draft

_CREDENTIALS: Final[dict[str, Kind]] = {
    "PIN": "pin",
    "RFID": "card",
    "Fingerprint": "fingerprint",
    "Face": "face",
    "AppKey": "access_key",
}
_FATES: Final[dict[Kind, tuple[Outcome, str]]] = {
    "user": ("refuse", "other-family"),
    "pin": ("refuse", "other-family"),
    "card": ("refuse", "other-family"),
    "fingerprint": ("re_enrol", "template-format"),
    "face": ("re_enrol", "template-format"),
    "group": ("refuse", "other-family"),
    "combination": ("refuse", "other-family"),
    "schedule": ("refuse", "other-family"),
    "lock_schedule": ("refuse", "other-family"),
    "setting": ("skip", "setting-unsupported"),
    "access_key": ("skip", "admin-not-migrated"),
    "log": ("skip", "log"),
}
"""Kind to what becomes of it where nothing can be written."""


def plan_foreign(draft: Draft, source: Snapshot, target: Snapshot) -> None:
    """Fill a draft for a target that takes nothing of this backup; what is there byte for byte counts as done."""
    held = {item.key: item for _, item in _records(target)} if source.lock.family == target.lock.family else {}
    draft.no_templates = True
    for kind, item in _records(source):
        if isinstance(item, Credential) and item.credential_type == "AppKey":
            draft.records.append(app_key(item))
            continue
        there = held.get(item.key)
        if kind != "access_key" and there is not None and item.raw and _bytes(target, there) == _bytes(source, item):
            draft.records.append(RecordResult(key=item.key, kind=kind, outcome="copy", done=True, proof="V4"))
            continue
        outcome, reason = _FATES[kind]
        if kind == "fingerprint" and isinstance(item, Credential) and item.template is None:
            reason = "template-unreadable"
        draft.records.append(RecordResult(key=item.key, kind=kind, outcome=outcome, reasons=(reason,)))
    if source.log:
        outcome, reason = _FATES["log"]
        draft.records.append(RecordResult(key="log", kind="log", outcome=outcome, reasons=(reason,)))


def _records(snapshot: Snapshot) -> list[tuple[Kind, Any]]:
    return [
        *(("user", item) for item in snapshot.users),
        *((_CREDENTIALS[item.credential_type], item) for item in snapshot.credentials),
        *(("group", item) for item in snapshot.groups),
        *(("combination", item) for item in snapshot.combinations),
        *(("schedule", item) for item in snapshot.schedules),
        *(("lock_schedule", item) for item in snapshot.lock_schedules),
        *(("setting", item) for item in snapshot.settings),
        *(("access_key", item) for item in snapshot.access_keys),
    ]


def _bytes(snapshot: Snapshot, item: Any) -> list[bytes]:
    return [snapshot.bytes_of(ref) for ref in item.raw]
