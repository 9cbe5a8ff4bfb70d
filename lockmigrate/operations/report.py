"""Gather what a handover report tells: opened backups, and results that were saved with --json. No I/O but reading.

A saved result is not signed: the report says where each fact comes from. Names come from the backup that a result is
about, where that is given too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from lockmigrate.errors import BackupError, FileTrouble
from lockmigrate.formats.files import file_trouble, read_whole
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import Credential, Schedule
from lockmigrate.model.report import (
    BackupPart,
    CheckPart,
    EraseCertificate,
    ErasePart,
    MovePart,
    RecordSeen,
    ReportResult,
    Valid,
)
from lockmigrate.model.results import (
    WRITTEN,
    MigrateResult,
    PlanResult,
    RecordResult,
    RestoreResult,
    Result,
    VerifyResult,
    WipeResult,
    counts_of,
)
from lockmigrate.operations.opening import Opened
from lockmigrate.version import own_version

MAX_SAVED_BYTES: Final = 64 * 1024 * 1024
"""Ours: a plan of 100,000 records has a third of it."""
READABLE: Final[dict[str, type[Result]]] = {
    "lockmigrate.restore-result/1": RestoreResult,
    "lockmigrate.migrate-result/1": MigrateResult,
    "lockmigrate.verify-result/1": VerifyResult,
    "lockmigrate.wipe-result/1": WipeResult,
    "lockmigrate.erase-certificate/1": EraseCertificate,
    "lockmigrate.plan/1": PlanResult,
}
"""Schema names of the saved results that a report can tell of."""
_NUMBERS: Final = ("credential_index", "code_id", "authorization_id", "list_position", "number", "user_index")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A result that was saved to a file, and the file's date."""

    file: str
    result: Result
    dated: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whose:
    name: str | None
    number: str | None
    valid: tuple[Valid, ...]


def is_saved_result(path: Path) -> bool:
    """Tell a saved JSON document from a backup by its first character.

    Raises:
        FileTrouble: it cannot be read.
        BackupError: there is nothing in it.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as cause:
        raise file_trouble("read", path, cause) from cause
    if not head:
        raise BackupError(f"{path} is empty", hint="did the command that was to write it fail?", code="malformed")
    return head.startswith(b"{")


def read_saved(path: Path) -> Saved:
    """Read a result that `--json` printed.

    Raises:
        FileTrouble: it cannot be read.
        BackupError: code `malformed` or `unsupported`: it is no result that a report can tell of.
    """
    data = read_whole(path, max_bytes=MAX_SAVED_BYTES)
    if data is None:
        raise FileTrouble(f"{path} is no file of a sensible size")
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BackupError(
            f"{path} is not one JSON document", hint="save the output of a command with --json", code="malformed"
        ) from None
    schema = document.get("schema") if isinstance(document, dict) else None
    kind = READABLE.get(schema) if isinstance(schema, str) else None
    if kind is None:
        raise BackupError(
            f"{path} is no result that a report can tell of",
            hint="it takes backups, and what plan, restore, migrate, verify and wipe print with --json",
            code="unsupported",
        )
    try:
        result = msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        detail = str(error) if isinstance(error, msgspec.ValidationError) else "nested too deeply"
        raise BackupError(f"{path} is malformed: {detail}", code="malformed") from None
    dated = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Saved(file=str(path), result=result, dated=dated.strftime("%Y-%m-%dT%H:%M:%SZ"))


def gather(opened: Sequence[Opened], saved: Sequence[Saved], *, now: datetime | None = None) -> ReportResult:
    """Put together what the page and its JSON twin tell."""
    names: dict[str, dict[str, _Whose]] = {item.source.backup_id: _whose(item.source.snapshot) for item in opened}
    moves: list[MovePart] = []
    checks: list[CheckPart] = []
    erasures: list[ErasePart] = []
    for item in saved:
        result = item.result
        if isinstance(result, VerifyResult):
            checks.append(_check(item, result))
        elif isinstance(result, WipeResult | EraseCertificate):
            erasures.append(_erase(item, result))
        elif isinstance(result, PlanResult | RestoreResult | MigrateResult):
            moves.append(_move(item, result, names.get(result.backup_id, {})))
    backups = tuple(_backup(item) for item in opened)
    known = {part.backup_id for part in backups}
    lacking = sorted({move.file for move in moves if move.backup_id not in known})
    notes = [f"without {file} the report knows no names and nobody's signature" for file in lacking]
    notes += [f"{part.file}: {part.trust}; anybody may have made it" for part in backups if part.trust != "trusted"]
    return ReportResult(
        made_at=(now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool=f"lockmigrate {own_version()}",
        warnings=tuple(notes),
        backups=backups,
        moves=tuple(moves),
        checks=tuple(checks),
        erasures=tuple(erasures),
    )


def _backup(opened: Opened) -> BackupPart:
    source, manifest = opened.source, opened.manifest
    kept: dict[str, Any] = manifest.get("retention") or {}
    tool: dict[str, Any] = manifest.get("tool") or {}
    return BackupPart(
        file=source.file,
        backup_id=source.backup_id,
        created_at=opened.created_at,
        unit=source.unit,
        label=opened.label,
        signer=opened.signer,
        signer_name=opened.signer_name,
        trust=opened.trust,
        manifest_sha256=opened.manifest_sha256,
        tool=" ".join(str(tool[key]) for key in ("name", "version") if tool.get(key)) or None,
        expires_at=kept.get("expires_at"),
        purpose=kept.get("purpose"),
        controller=kept.get("controller"),
        consent_ref=kept.get("consent_ref"),
        counts=source.snapshot.counts(),
        gaps=source.gaps,
        losses=source.snapshot.losses,
    )


def _move(item: Saved, result: PlanResult | RestoreResult | MigrateResult, names: dict[str, _Whose]) -> MovePart:
    inner = result.restore if isinstance(result, MigrateResult) else result
    records = tuple(_seen(record, names.get(record.key)) for record in result.records)
    moved = [record for record in result.records if record.outcome in WRITTEN and not record.noted]
    written = isinstance(inner, RestoreResult) and not inner.dry_run
    part = MovePart(
        what="migrate" if isinstance(result, MigrateResult) else "restore" if written else "plan",
        saved_as=item.file,
        at=item.dated,
        file=result.file,
        backup_id=result.backup_id,
        source=inner.source,
        unit=inner.unit,
        records=records,
        counts=counts_of(result.records),
        proofs=_proofs(records) if written else {},
        unproven=tuple(record.key for record in moved if record.proof is None) if written else (),
        warnings=tuple(dict.fromkeys((*result.warnings, *inner.warnings))),
        gaps=result.gaps,
        losses=result.losses,
    )
    if isinstance(inner, PlanResult):
        return msgspec.structs.replace(part, blocked_by=inner.blocked_by)
    return msgspec.structs.replace(
        part,
        what="dry-run" if inner.dry_run else part.what,
        written=inner.written,
        already_equal=inner.already_equal,
        removed=inner.removed,
        before=inner.before,
        rehearsal=inner.rehearsal,
    )


def _check(item: Saved, result: VerifyResult) -> CheckPart:
    beyond = {*result.not_compared} if result.target else {record.key for record in result.records}
    compared = [record for record in result.records if record.outcome != "skip" and record.key not in beyond]
    return CheckPart(
        saved_as=item.file,
        at=item.dated,
        file=result.file,
        backup_id=result.backup_id,
        trust=result.trust,
        unit=result.unit,
        target=result.target,
        compared=len(compared),
        equal=sum(1 for record in compared if record.done),
        differing=tuple(record.key for record in compared if not record.done),
        extra=result.extra,
        not_compared=result.not_compared,
        proofs=_proofs(compared),
        rehearsal=result.rehearsal,
    )


def _erase(item: Saved, result: WipeResult | EraseCertificate) -> ErasePart:
    stated = isinstance(result, EraseCertificate)
    return ErasePart(
        saved_as=item.file,
        at=result.made_at if isinstance(result, EraseCertificate) else item.dated,
        at_basis="stated" if stated else "file-date",
        unit=result.unit,
        scope=result.scope if isinstance(result, EraseCertificate) else None,
        backup=result.backup,
        erased=result.erased,
        left=result.left,
        kept=result.kept,
        proof=result.proof,
        dry_run=result.dry_run if isinstance(result, WipeResult) else False,
        warnings=result.warnings,
    )


def _proofs(records: Iterable[RecordSeen | RecordResult]) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in records:
        if record.outcome in WRITTEN and record.proof is not None:
            found[record.proof] = found.get(record.proof, 0) + 1
    return dict(sorted(found.items()))


def _seen(record: RecordResult, whose: _Whose | None) -> RecordSeen:
    return RecordSeen(
        key=record.key,
        kind=record.kind,
        outcome=record.outcome,
        reasons=record.reasons,
        proof=record.proof,
        detail=record.detail,
        done=record.done,
        new_pin=record.new_pin,
        pin_check=record.pin_check,
        follows=record.follows,
        name=whose.name if whose else None,
        number=whose.number if whose else None,
        valid=whose.valid if whose else (),
    )


def _whose(snapshot: Snapshot) -> dict[str, _Whose]:
    """Say of each record of people whose it is, by what it is numbered, and when it counts."""
    limits = {item.key: _valid(item) for item in snapshot.schedules}
    credentials = {item.key: item for item in snapshot.credentials}
    found: dict[str, _Whose] = {}
    for user in snapshot.users:
        number = user.external_id if isinstance(user.external_id, str) and user.external_id else None
        own = user.schedules if isinstance(user.schedules, tuple) else ()
        found[user.key] = _Whose(
            name=user.user_name or None,
            number=number or _number(user.origin),
            valid=tuple(limits[key] for key in own if key in limits),
        )
    for item in snapshot.credentials:
        holder = found.get(item.user) if item.user is not None else None
        bearer: Credential | None = credentials.get(item.linked_to) if isinstance(item.linked_to, str) else None
        keys = item.schedules or (bearer.schedules if bearer else ())
        names = (item.name, holder.name if holder else None, bearer.name if bearer else None)
        found[item.key] = _Whose(
            name=next((name for name in names if isinstance(name, str) and name), None),
            number=(holder.number if holder else None) or _number(item.origin),
            valid=tuple(limits[key] for key in keys if key in limits),
        )
    return found


def _number(origin: dict[str, Any]) -> str | None:
    return next((str(origin[name]) for name in _NUMBERS if isinstance(origin.get(name), int)), None)


def _valid(item: Schedule) -> Valid:
    if item.kind == "YearDay":
        first, last = item.start_utc or item.start_local, item.end_utc or item.end_local
        return Valid(first=_text(first), last=_text(last))
    if item.kind == "WeekDay" and isinstance(item.days_mask, int):
        return Valid(days_mask=item.days_mask & 0x7F, start=_text(item.start), end=_text(item.end))
    return Valid(unknown=True) if item.kind == "Unknown" else Valid(table=item.key)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
