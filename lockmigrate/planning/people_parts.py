"""What the planning of people asks of a backup: whose place is where, what is doubtful, which tables are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Combination, Credential, Group, Schedule, User

Place = tuple[int, int]
"""A finger's place: user number and finger number."""
WeekOrGroups = Schedule | Group | Combination
QUESTIONABLE: Final = ("uid-duplicate", "user-id-duplicate", "user-missing")
"""What reading found: whom a record belongs to is not certain."""

DOUBTS: Final = {
    "uid-duplicate": "two records of the old unit claim this number",
    "user-id-duplicate": "another user of the old unit has the same id",
    "user-missing": "the old unit has no user of this number",
}


def doubts_of(source: Snapshot) -> dict[str, tuple[str, ...]]:
    """What reading found doubtful, by record."""
    found: dict[str, tuple[str, ...]] = {}
    for loss in source.losses:
        if loss.stage == "read" and loss.code in QUESTIONABLE:
            found[loss.record] = (*found.get(loss.record, ()), loss.code)
    return found


def place_of(credential: Credential) -> Place:
    return int(credential.origin["user_index"]), int(credential.origin["finger"])


def supported(snapshot: Snapshot, section: str) -> bool:
    coverage = snapshot.coverage.get(section)
    return coverage is None or coverage.state not in ("unsupported", "refused")


def by_key(snapshot: Snapshot, key: str) -> WeekOrGroups | None:
    return next((item for item in tables_of(snapshot) if item.key == key), None)


def tables_of(snapshot: Snapshot) -> Iterator[WeekOrGroups]:
    """Yield schedules, groups and combinations: what a thing refers to comes before it."""
    yield from snapshot.schedules
    yield from snapshot.groups
    yield from snapshot.combinations


def unread_tables(snapshot: Snapshot, user: User) -> list[str]:
    """Name the tables that a user's rights rest on without anybody knowing what is in them."""
    read = {item.key for item in snapshot.schedules if item.raw}
    known = {item.key: item for item in snapshot.groups}
    own = user.schedules if isinstance(user.schedules, tuple) else ()
    group = user.group if isinstance(user.group, str) else None
    missing = [key for key in own if key not in read]
    if user.vendor.get("zk", {}).get("tz_bits"):
        missing.append("its own time zones")
    if not own and group in known:
        missing += [key for key in known[group].schedules if key not in read]
    elif not own and group not in (None, "group/0", "group/1"):
        missing.append(str(group))
    return missing
