"""What the commands return that compare two units: `compat` by what they can hold, `diff` by what they do hold."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from lockmigrate.model.records import Kind
from lockmigrate.model.results import Result, Unit

Verdict = Literal[
    "moves", "moves with a change", "person must come", "given out again", "cannot", "nothing there"
]  # fmt: skip
"""What becomes of all records of one kind; where they fare differently, the most that somebody has to do for it."""
Fits = Literal["yes", "partly", "no"]


class KindFate(Struct, frozen=True, kw_only=True):
    """What becomes of one kind of records."""

    kind: str
    """A plural, as in `counts`: users, pins, cards, fingerprints, schedules, lock_schedules, settings, log …"""
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Codes of neutral-format 2.10."""
    sentence: str
    held: int | None = None
    """How many the old unit holds, where it is there and says so."""
    sure: bool = True
    """False: it also depends on something that only the unit itself tells."""


class Compared(Struct, frozen=True, kw_only=True):
    """One unit that could replace the old one."""

    unit: Unit
    fits: Fits
    """`yes`: what the old unit gives out of people's access moves; `no`: none of it does."""
    kinds: tuple[KindFate, ...]
    in_stock: bool = False
    label: str | None = None
    count: int | None = None
    minimum: int | None = None
    below_minimum: bool = False


class CompatResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.compat/1"
    old: Unit
    compared: tuple[Compared, ...]
    fitting: tuple[str, ...] = ()
    """Profiles in stock, of which there is at least one, that fit wholly or partly."""
    below_minimum: tuple[str, ...] = ()
    """Profiles of which there are fewer in stock than there should be."""


class DiffSide(Struct, frozen=True, kw_only=True):
    """One of the two that were compared."""

    unit: Unit
    file: str | None = None
    """None: it was read from the unit just now."""
    backup_id: str | None = None
    created_at: str | None = None
    trust: str | None = None
    counts: dict[str, int] = {}


class FieldChange(Struct, frozen=True, kw_only=True):
    """One field of a record on both sides; a secret is 8 hex digits of a keyed digest, of this run alone."""

    a: str | int | bool | None
    b: str | int | bool | None


class DiffRecord(Struct, frozen=True, kw_only=True):
    """A record that is on one side only."""

    key: str
    kind: Kind
    name: str | None = None


class ChangedRecord(Struct, frozen=True, kw_only=True):
    """A record that is on both sides and not the same."""

    key: str
    other_key: str | None = None
    """Its key on side B, where that is another one."""
    kind: Kind
    name: str | None = None
    fields: dict[str, FieldChange]


class DiffResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.diff/1"
    a: DiffSide
    b: DiffSide
    same_unit: bool | None
    """None: one of them has no serial number, so that nobody can tell."""
    matched_by: Literal["key", "content"]
    equal: int
    added: tuple[DiffRecord, ...] = ()
    """On B and not on A."""
    removed: tuple[DiffRecord, ...] = ()
    """On A and not on B."""
    changed: tuple[ChangedRecord, ...] = ()
    not_compared: tuple[str, ...] = ()
    """Keys or kinds that belong to each unit itself, and logs."""
    counts: dict[str, int] = field(default_factory=dict)
