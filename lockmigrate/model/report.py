"""What `report`, `health` and `profiles guide` return, and the certificate that `wipe` leaves. No secret is in any."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from lockmigrate.model.document import Gap
from lockmigrate.model.records import Kind, Loss
from lockmigrate.model.results import Outcome, Proof, RehearsalSeen, Result, Unit
from lockmigrate.model.secret import Secret

Basis = Literal["signed", "file-date", "stated"]
"""Where a time comes from: a signed manifest, the date of a saved file, or what the file states without a signature."""


class Valid(Struct, frozen=True, kw_only=True):
    """One limit of when a record counts; what is not limited is None."""

    days_mask: int | None = None
    """Bit 0 Sunday to bit 6 Saturday."""
    start: str | None = None
    """`HH:MM`."""
    end: str | None = None
    first: str | None = None
    """The first moment, as stored: the door's own time, or UTC where it ends with Z."""
    last: str | None = None
    table: str | None = None
    """Key of a table of the week (ZK)."""
    unknown: bool = False
    """A limit exists and its meaning is not known."""


class RecordSeen(Struct, frozen=True, kw_only=True):
    """A record with what became of it and, where its backup is at hand, whose it is."""

    key: str
    kind: Kind
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    proof: Proof | None = None
    detail: str | None = None
    done: bool = False
    new_pin: bool = False
    """It has another PIN on the new unit: somebody has to be told."""
    pin_check: str | None = None
    follows: str | None = None
    name: str | None = None
    number: str | None = None
    """What people know it by: a payroll number, a slot, a code's number."""
    valid: tuple[Valid, ...] = ()


class NewPin(Struct, frozen=True, kw_only=True):
    """A PIN that somebody has to be told. On the page of new PINs only, never in a result."""

    record: RecordSeen
    digits: Secret
    old: Secret
    """What the person has opened with so far: often the only thing that tells who it is."""
    unit: Unit
    """The new unit."""


class BackupPart(Struct, frozen=True, kw_only=True):
    """One backup as its signed manifest tells."""

    file: str
    backup_id: str
    created_at: str
    unit: Unit
    label: str | None = None
    signer: str
    signer_name: str | None = None
    trust: str
    manifest_sha256: str = ""
    tool: str | None = None
    expires_at: str | None = None
    purpose: str | None = None
    controller: str | None = None
    consent_ref: str | None = None
    counts: dict[str, int] = {}
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()


class MovePart(Struct, frozen=True, kw_only=True):
    """One plan, restore or migration, from a saved result."""

    what: Literal["plan", "dry-run", "restore", "migrate"]
    saved_as: str
    at: str
    at_basis: Basis = "file-date"
    file: str
    backup_id: str
    source: Unit
    unit: Unit
    records: tuple[RecordSeen, ...] = ()
    counts: dict[str, int] = {}
    proofs: dict[str, int] = {}
    """Level to how many moved records reached it; those that were moved and not proven are in `unproven`."""
    unproven: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    written: int = 0
    already_equal: int = 0
    removed: tuple[str, ...] = ()
    before: str | None = None
    rehearsal: RehearsalSeen | None = None
    warnings: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()


class CheckPart(Struct, frozen=True, kw_only=True):
    """One `verify`, from a saved result: of the file alone, or against a unit."""

    saved_as: str
    at: str
    at_basis: Basis = "file-date"
    file: str
    backup_id: str
    trust: str
    unit: Unit
    target: Unit | None = None
    compared: int = 0
    equal: int = 0
    differing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    proofs: dict[str, int] = {}
    rehearsal: RehearsalSeen | None = None


class ErasePart(Struct, frozen=True, kw_only=True):
    """How a unit was erased, from a saved result or its certificate."""

    saved_as: str
    at: str
    at_basis: Basis
    unit: Unit
    scope: Literal["people", "factory"] | None = None
    backup: str | None = None
    erased: dict[str, int] = {}
    left: dict[str, int] = {}
    kept: tuple[str, ...] = ()
    proof: Proof | None = None
    dry_run: bool = False
    warnings: tuple[str, ...] = ()


class EraseCertificate(Result, frozen=True, kw_only=True):
    """What `wipe -o FILE` leaves as `FILE.certificate.json`; it is not signed."""

    schema: str = "lockmigrate.erase-certificate/1"
    made_at: str
    tool: str
    unit: Unit
    scope: Literal["people", "factory"]
    backup: str | None = None
    erased: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    proof: Proof | None = None


class ReportResult(Result, frozen=True, kw_only=True):
    """`report FILE…`: the page's twin for scripts."""

    schema: str = "lockmigrate.report/1"
    made_at: str
    tool: str
    page: str | None = None
    """The HTML file, where one was asked for."""
    pins_page: str | None = None
    """The file with new PINs, where one was asked for."""
    backups: tuple[BackupPart, ...] = ()
    moves: tuple[MovePart, ...] = ()
    checks: tuple[CheckPart, ...] = ()
    erasures: tuple[ErasePart, ...] = ()


class Point(Struct, frozen=True, kw_only=True):
    """One value of a chart."""

    at: str
    """ISO 8601, as the unit or the manifest states it."""
    value: float


class HealthLine(Struct, frozen=True, kw_only=True):
    """One thing that can be said of a unit's state; without a basis, that nothing can."""

    topic: Literal["battery", "motor", "failed", "clock", "memory", "changes"]
    about: str | None = None
    """What of several: `fingerprint` for memory, `added` for changes."""
    value: int | None = None
    before: int | None = None
    """The same in the backup before."""
    limit: int | None = None
    unit: Literal["%", "s", "records", "entries"] | None = None
    source: str | None = None
    """The field it was taken from; None: no basis."""
    warn: bool = False
    keys: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()


class HealthUnit(Struct, frozen=True, kw_only=True):
    """A unit over its backups, oldest first."""

    unit: Unit
    known: bool
    """False: it has no serial number, and only where it was connected says that it is one and the same."""
    files: tuple[str, ...]
    made: tuple[str, ...]
    lines: tuple[HealthLine, ...] = ()


class HealthResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.health/1"
    made_at: str
    tool: str
    page: str | None = None
    units: tuple[HealthUnit, ...] = ()


class GuideLine(Struct, frozen=True, kw_only=True):
    """One topic of a guide; no text: it is not known."""

    topic: Literal["wiring", "voltage", "baud", "wake", "reset", "caution"]
    text: str | None = None
    sources: tuple[str, ...] = ()
    profile: str | None = None
    """Which profile says so: the one asked for, or the generic one of its family."""


class GuideResult(Result, frozen=True, kw_only=True):
    """`profiles guide NAME`: how to connect a unit of a model."""

    schema: str = "lockmigrate.guide/1"
    profile: str
    title: str
    evidence: str
    lang: str
    labels: dict[str, str] = field(default_factory=dict)
    """Topic to its name in that language; `not-known` and `sources` too."""
    lines: tuple[GuideLine, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
