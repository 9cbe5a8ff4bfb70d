"""What operations return. One place renders them for people and one as JSON (`schema` names the document)."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from lockmigrate.model.capabilities import Capabilities
from lockmigrate.model.document import Gap
from lockmigrate.model.records import Kind, Loss

Outcome = Literal["copy", "adjust", "needs_input", "re_enrol", "reissue", "skip", "refuse"]
Proof = Literal["V0", "V1", "V2", "V3", "V4"]
WRITTEN: Final = ("copy", "adjust")
"""Outcomes of records that a restore brings to the target."""


class Unit(Struct, frozen=True, kw_only=True):
    """A unit as `identify` found it. Holds no secret."""

    id: str
    """What `--confirm` wants: the serial number, or else the last part of the port (decision 35)."""
    serial: str | None
    family: str
    model: str | None
    vendor: str | None = None
    firmware: str | None
    hardware: str | None = None
    profile: str
    target: str
    label: str | None = None
    simulated: bool = False
    capabilities: Capabilities = Capabilities()
    counts: dict[str, int] = {}
    details: dict[str, Any] = {}
    """Facts of the family worth showing: dialect, speed, packet size, template size as stated and measured."""
    warnings: tuple[str, ...] = ()


class RecordResult(Struct, frozen=True, kw_only=True):
    """What becomes of one source record; `key` is deterministic (`fingerprint/12`)."""

    key: str
    kind: Kind
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    proof: Proof | None = None
    detail: str | None = None
    done: bool = False
    """Equal on the target already, nothing to write."""
    new_pin: bool = False
    """It gets a PIN that is not the old one: somebody has to be told."""
    pin_check: str | None = None
    """By what that PIN is known again to who has the backup: an HMAC under its key, 8 hexadecimal digits."""
    follows: str | None = None
    """The record whose fate it shares: a PIN in a user's record, a finger of a user who is not written."""

    @property
    def noted(self) -> bool:
        """A person whom the new unit cannot know: nothing is written, the name stands in the report."""
        return self.kind == "user" and "name-not-stored" in self.reasons


class Result(Struct, frozen=True, kw_only=True):
    """The root of all results: `exit_code` is what the command ends with."""

    schema: str
    exit_code: int = 0
    warnings: tuple[str, ...] = ()


class InfoResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.info/1"
    unit: Unit
    carries: dict[str, str] = {}
    """Section to what will become of it: "full", "partial", "announced gap: …"."""
    notes: tuple[str, ...] = ()


class PortSeen(Struct, frozen=True, kw_only=True):
    target: str
    description: str
    usb_id: str | None = None
    serial: str | None = None
    known: str | None = None
    usable: bool = True
    why: str | None = None


class LockSeen(Struct, frozen=True, kw_only=True):
    """A lock in reach on Bluetooth LE."""

    target: str
    family: str
    name: str | None = None
    serial: str | None = None
    """What it calls itself in its advertisement, where it does."""
    rssi_dbm: int | None = None
    state: str | None = None
    """`pairing`, `factory-fresh`, or None where it does not say."""
    usable: bool = True
    why: str | None = None


class ScanResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.scan/1"
    ports: tuple[PortSeen, ...] = ()
    locks: tuple[LockSeen, ...] = ()
    bluetooth: str | None = None
    """Why nothing could be heard on Bluetooth, if that is so."""


class PairResult(Result, frozen=True, kw_only=True):
    """`pair TARGET`: this computer was introduced to a unit."""

    schema: str = "lockmigrate.pair-result/1"
    unit: Unit
    credential_file: str


class UnpairResult(Result, frozen=True, kw_only=True):
    """`unpair TARGET`: our own authorisation was removed."""

    schema: str = "lockmigrate.unpair-result/1"
    unit: Unit


class BackupResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.backup-result/1"
    unit: Unit
    file: str
    backup_id: str
    manifest_sha256: str
    signer: str
    recipients: tuple[str, ...] = ()
    key_copy: str | None = None
    counts: dict[str, int] = {}
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()
    duration_s: float = 0.0


class ShowResult(Result, frozen=True, kw_only=True):
    """`show FILE`: the contents without secrets."""

    schema: str = "lockmigrate.show/1"
    file: str
    backup_id: str
    created_at: str
    signer: str
    trust: str
    """"trusted", "untrusted", "unsigned", "revoked", "expired"."""
    signer_name: str | None = None
    unit: Unit
    counts: dict[str, int] = {}
    records: tuple[dict[str, Any], ...] = ()
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()
    manifest_sha256: str = ""
    label: str | None = None


class RehearsalSeen(Struct, frozen=True, kw_only=True):
    """How a rehearsal ended."""

    ok: bool
    records: int
    cuts: int
    duration_s: float
    tool: str
    code: str | None = None
    detail: str | None = None


class VerifyResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.verify-result/1"
    file: str
    backup_id: str
    signer: str
    trust: str
    unit: Unit
    target: Unit | None = None
    counts: dict[str, int] = {}
    records: tuple[RecordResult, ...] = ()
    extra: tuple[str, ...] = ()
    """Records that are on the unit and not in the backup."""
    not_compared: tuple[str, ...] = ()
    rehearsal: RehearsalSeen | None = None
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()
    label: str | None = None


class PlanResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.plan/1"
    file: str
    backup_id: str
    source: Unit
    unit: Unit
    """The target."""
    executable: bool
    blocked_by: tuple[str, ...] = ()
    records: tuple[RecordResult, ...] = ()
    removals: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    """Records on the target that the plan would not write."""
    overwrites: tuple[str, ...] = ()
    """Those of them whose slot gets another finger."""
    counts: dict[str, int] = {}
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()


class RestoreResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.restore-result/1"
    file: str
    backup_id: str
    source: Unit
    unit: Unit
    before: str | None = None
    """The backup of what the target held, made before the first write."""
    rehearsal: RehearsalSeen | None = None
    records: tuple[RecordResult, ...] = ()
    written: int = 0
    already_equal: int = 0
    removed: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()
    dry_run: bool = False
    duration_s: float = 0.0


class MigrateResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.migrate-result/1"
    backup: BackupResult
    restore: RestoreResult
    file: str
    backup_id: str
    unit: Unit
    records: tuple[RecordResult, ...] = ()
    counts: dict[str, int] = {}
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Loss, ...] = ()
    throw_away_keys: bool = False


class WipeResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.wipe-result/1"
    unit: Unit
    backup: str | None = None
    erased: dict[str, int] = {}
    left: dict[str, int] = {}
    kept: tuple[str, ...] = ()
    proof: Proof | None = None
    dry_run: bool = False
    """Nothing was erased: `left` is what would be."""
    certificate: str | None = None
    """The file that says so, where `-o` asked for it."""


class TryResult(Result, frozen=True, kw_only=True):
    """`try TARGET`: a finger was laid on the sensor."""

    schema: str = "lockmigrate.try-result/1"
    unit: Unit
    matched: bool
    slot: int | None = None
    score: int | None = None
    proof: Proof | None = None


class Progress(Struct, frozen=True, kw_only=True):
    """One step of a long operation, for a bar: `done` of `total` in `what`."""

    stage: str
    done: int
    total: int
    size_bytes: int = 0
    """Bytes moved so far in this stage, as the payload counts them."""


def counts_of(records: tuple[RecordResult, ...]) -> dict[str, int]:
    """Count records by outcome, zero outcomes left out."""
    found: dict[str, int] = {}
    for record in records:
        found[record.outcome] = found.get(record.outcome, 0) + 1
    return found
