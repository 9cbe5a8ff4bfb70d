"""How a Nuki lock would hold another one's codes, and whether two locks hold the same (no I/O).

A new lock numbers its codes itself, so codes of two locks are the same by what they say, never by their numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from lockmigrate.formats.nuki_records import parse_code, wanted
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import LockSchedule
from lockmigrate.model.steps import Fitted

CODE_AT: Final = 2
"""Offset of the digits in Keypad Code 0x0045 (9.3)."""
HELD: Final = "held/"
"""Before the key of a record of the target's own."""


def fitted(source: Snapshot, target: Snapshot) -> dict[str, Fitted]:
    """Return each keypad code of the source as the target shall hold it, and, under `held/KEY`, the target's own.

    Raises:
        FrameError: a record does not follow its layout.
    """
    found = {f"{HELD}{key}": value for key, value in _packed(target)}
    return found | dict(_packed(source))


def _packed(snapshot: Snapshot) -> Iterable[tuple[str, Fitted]]:
    for item in snapshot.credentials:
        if item.credential_type == "PIN":
            row = parse_code(snapshot.bytes_of(item.raw[0]))
            unread = row.limited and row.tail is None
            yield (
                item.key,
                Fitted(
                    record=wanted(row).packed(),
                    questions=(("schedule-unreadable", "the old lock says that it is limited and not how"),)
                    if unread
                    else (),
                ),
            )


def differences(source: Snapshot, target: Snapshot, written: set[str]) -> list[str]:
    """Name what was written and is not on the target as the backup has it, and what is there beside it.

    Raises:
        FrameError: a record does not follow its layout.
    """
    mine, theirs = dict(_packed(source)), Counter(value.record for _, value in _packed(target))
    missing = [key for key, value in mine.items() if key in written and not theirs[value.record]]
    wanted_records = Counter(value.record for key, value in mine.items() if key in written)
    missing += ["a keypad code that the backup does not hold"] * (theirs - wanted_records).total()
    left = Counter(_deed(target, item) for item in target.lock_schedules)
    for item in source.lock_schedules:
        if item.key in written:
            missing += [] if left[_deed(source, item)] > 0 else [item.key]
            left[_deed(source, item)] -= 1
    missing += ["a timer that the backup does not hold"] * (+left).total()
    held = {item.key: item.value for item in target.settings}
    return missing + [one.key for one in source.settings if one.key in written and held.get(one.key) != one.value]


def _deed(snapshot: Snapshot, item: LockSchedule) -> bytes:
    """A timer without its number."""
    return snapshot.bytes_of(item.raw[0])[1:]


def with_pin(record: bytes, digits: str) -> bytes:
    """Return the record of a keypad code with other digits.

    Raises:
        FrameError: it does not follow its layout, or the digits do not fit.
    """
    parse_code(record)
    return record[:CODE_AT] + int(digits).to_bytes(4, "little") + record[CODE_AT + 4 :]
