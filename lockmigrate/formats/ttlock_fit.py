"""How a TTLock lock would hold another one's records, and whether two locks hold the same (no I/O).

Records of these locks have no number of their own: a code is known by its digits, a card by its number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from lockmigrate.formats.ttlock_records import CYCLIC, ONE_TIME, parse_passcode
from lockmigrate.model.document import Snapshot
from lockmigrate.model.steps import Fitted

HELD: Final = "held/"
"""Before the key of a record of the target's own."""
CYCLIC_BIT, RESTORE_BIT = 12, 40
"""Features that a lock needs to take a cyclic code as it is (section 14)."""


def fitted(source: Snapshot, target: Snapshot) -> dict[str, Fitted]:
    """Return each passcode and card of the source as the target shall hold it and, under `held/KEY`, the target's own.

    Raises:
        FrameError: a record does not follow its layout.
    """
    features = int(str(target.lock.protocol.get("features") or "0"), 16)
    cyclic = bool(features >> CYCLIC_BIT & 1 and features >> RESTORE_BIT & 1)
    found = {f"{HELD}{key}": Fitted(record=record) for key, record in _records(target)}
    for key, record in _records(source):
        found[key] = Fitted(
            record=record, questions=_questions(record, cyclic=cyclic) if key.startswith("pin/") else ()
        )
    return found


def _questions(record: bytes, *, cyclic: bool) -> tuple[tuple[str, str], ...]:
    if record[0] == CYCLIC and not cyclic:
        return (("schedule-unsupported", "the new lock does not take cyclic codes as they are (features 12 and 40)"),)
    return ()


def _records(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    """Yield key and record of what can be written: codes without what a newer firmware appends, cards."""
    for item in snapshot.credentials:
        if item.credential_type in ("PIN", "RFID") and item.raw:
            raw = snapshot.bytes_of(item.raw[0])
            yield item.key, parse_passcode(raw).record()[1:] if item.credential_type == "PIN" else raw


def differences(source: Snapshot, target: Snapshot, written: set[str]) -> list[str]:
    """Name what was written and is not on the target as the backup has it, and what is there beside it.

    Raises:
        FrameError: a record does not follow its layout.
    """
    mine = dict(_records(source))
    theirs = Counter(record for _, record in _records(target))
    wanted = Counter(record for key, record in mine.items() if key in written)
    found = [key for key, record in mine.items() if key in written and not theirs[record]]
    found += ["a code or card that the backup does not hold"] * (theirs - wanted).total()
    here = Counter(target.bytes_of(item.raw[0]) for item in target.lock_schedules)
    there = Counter(source.bytes_of(item.raw[0]) for item in source.lock_schedules if item.key in written)
    found += ["passage mode"] if here != there else []
    held = {item.key: item.value for item in target.settings}
    return found + [item.key for item in source.settings if item.key in written and held.get(item.key) != item.value]


def one_time(record: bytes) -> bool:
    return record[0] == ONE_TIME
