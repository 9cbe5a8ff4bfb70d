"""What differs between two units or backups, without a secret: matched by key within one unit, else by content."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lockmigrate.model.comparison import ChangedRecord, DiffRecord, DiffResult, DiffSide, FieldChange
from lockmigrate.model.document import Snapshot
from lockmigrate.model.results import Unit
from lockmigrate.operations.diff_items import Digester, Item, Value, items_of, shown
from lockmigrate.operations.opening import Opened
from lockmigrate.operations.reading import Reading

Pairs = list[tuple[Item, Item]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two."""

    seen: DiffSide
    snapshot: Snapshot
    warnings: tuple[str, ...] = ()

    @property
    def unit(self) -> Unit:
        return self.seen.unit


def side_of_file(opened: Opened) -> Side:
    """Take a backup file; whom it is signed by matters to a restore, and is said here."""
    source = opened.source
    seen = DiffSide(
        unit=source.unit,
        file=source.file,
        backup_id=source.backup_id,
        created_at=opened.created_at,
        trust=opened.trust,
        counts=source.snapshot.counts(),
    )
    refusal = (f"{source.file}: {opened.refusal.message}",) if opened.refusal else ()
    return Side(seen=seen, snapshot=source.snapshot, warnings=refusal)


def side_of_unit(reading: Reading) -> Side:
    """Take a unit that was read just now."""
    seen = DiffSide(unit=reading.unit, counts=reading.snapshot.counts())
    return Side(seen=seen, snapshot=reading.snapshot, warnings=reading.unit.warnings)


def diff(a: Side, b: Side, *, key: bytes | None = None) -> DiffResult:
    """Compare two sides; exit code 0 where they are equal, else 8.

    Args:
        a: the earlier, or the old.
        b: the later, or the new.
        key: what the digests are made with; drawn for this run if None.
    """
    digest = Digester(key or secrets.token_bytes(32))
    same = _same_unit(a.unit, b.unit)
    related = a.unit.family == b.unit.family
    by_key = same or (same is None and related and a.unit.profile == b.unit.profile)
    nameless = any(not _keeps_names(side.unit) for side in (a, b))
    work = _Work(same=bool(by_key), related=related, nameless=nameless)
    pairs, left, right = work.match(items_of(a.snapshot, digest), items_of(b.snapshot, digest))
    changed = tuple(found for pair in pairs if (found := work.changes(*pair)) is not None)
    removed, added = tuple(map(_alone, left)), tuple(map(_alone, right))
    equal = len(pairs) - len(changed)
    logs = ("log",) if a.snapshot.log or b.snapshot.log else ()
    return DiffResult(
        exit_code=8 if changed or removed or added else 0,
        warnings=tuple(dict.fromkeys((*a.warnings, *b.warnings, *_remarks(a, b, same)))),
        a=a.seen,
        b=b.seen,
        same_unit=same,
        matched_by="key" if by_key else "content",
        equal=equal,
        added=added,
        removed=removed,
        changed=changed,
        not_compared=(*dict.fromkeys(work.not_compared), *logs),
        counts={"equal": equal, "added": len(added), "removed": len(removed), "changed": len(changed)},
    )


def _keeps_names(unit: Unit) -> bool:
    """Whether names are the unit's own; else they are of the technician's list, which only a backup has."""
    return unit.capabilities.user_records or unit.capabilities.name is not None


def _same_unit(a: Unit, b: Unit) -> bool | None:
    if a.family != b.family:
        return False
    return None if a.serial is None or b.serial is None else a.serial == b.serial


class _Work:
    """Finds what belongs together, and what it differs in."""

    def __init__(self, *, same: bool, related: bool, nameless: bool) -> None:
        self._same, self._related, self._nameless = same, related, nameless
        self.not_compared: list[str] = []

    def match(self, left: list[Item], right: list[Item]) -> tuple[Pairs, list[Item], list[Item]]:
        """Return pairs, what is on the left only, and what is on the right only."""
        left, right = self._comparable(left), self._comparable(right)
        if self._same:
            return _paired(left, right, lambda item: (item.kind, item.key))
        pairs, left, right = _paired(left, right, lambda item: (item.kind, item.identity))
        # A code that was given anew is still Anna's, where there is one Anna.
        names = _once(left) & _once(right)
        more, left, right = _paired(
            left, right, lambda item: (item.kind, item.name) if (item.kind, item.name) in names else None
        )
        return [*pairs, *more], left, right

    def _comparable(self, items: list[Item]) -> list[Item]:
        kept = []
        for item in items:
            if (item.own and not self._same) or (item.family_only and not self._related):
                self.not_compared.append(item.key)
            else:
                kept.append(item)
        return kept

    def changes(self, a: Item, b: Item) -> ChangedRecord | None:
        """Return what a pair differs in, if it does."""
        self.not_compared += a.unknown or b.unknown
        mine, theirs = self._fields(a), self._fields(b)
        fields = {
            name: FieldChange(a=shown(mine.get(name)), b=shown(theirs.get(name)))
            for name in dict.fromkeys((*mine, *theirs))
            if mine.get(name) != theirs.get(name)
        }
        if not fields:
            return None
        other = b.key if b.key != a.key else None
        return ChangedRecord(key=a.key, other_key=other, kind=a.kind, name=b.name or a.name, fields=fields)

    def _fields(self, item: Item) -> dict[str, Value]:
        fields = {name: value for name, value in item.fields.items() if name != "name" or not self._nameless}
        if self._related:
            return fields | item.places
        # Another family says other things of a record; what both say is compared.
        said = ("value", "name", "enabled", "status", "duress", "schedules", "id")
        return {name: value for name, value in fields.items() if name in said}


def _paired(
    left: list[Item], right: list[Item], known_by: Callable[[Item], object | None]
) -> tuple[Pairs, list[Item], list[Item]]:
    """Pair what is known by the same thing, in order; None pairs with nothing."""
    waiting: dict[object, list[Item]] = {}
    for item in right:
        waiting.setdefault(known_by(item), []).append(item)
    waiting.pop(None, None)
    pairs: Pairs = []
    alone = []
    for item in left:
        found = waiting.get(known_by(item))
        if found:
            pairs.append((item, found.pop(0)))
        else:
            alone.append(item)
    taken = {id(other) for _, other in pairs}
    return pairs, alone, [item for item in right if id(item) not in taken]


def _once(items: Iterable[Item]) -> set[tuple[str, str]]:
    """Kind and name of what has a name that stands once."""
    names = [(item.kind, item.name) for item in items if item.name]
    return {name for name in names if names.count(name) == 1}


def _alone(item: Item) -> DiffRecord:
    return DiffRecord(key=item.key, kind=item.kind, name=item.name)


def _remarks(a: Side, b: Side, same: bool | None) -> list[str]:
    found = []
    if same is None:
        found.append("unit-unknown: without a serial number nobody can tell whether this is one unit or two")
    for side, word in ((a, "A"), (b, "B")):
        for section, read in side.snapshot.coverage.items():
            if read.state in ("refused", "not_asked"):
                why = f": {read.why}" if read.why else ""
                found.append(f"{word} did not give out its {section.replace('_', ' ')}{why}")
    return found
