"""Read a unit, seal what it gave, verify the file from the disk, and only then say that there is a backup."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from lockmigrate.errors import ConfigError, FileTrouble, ImageError
from lockmigrate.formats.backup import default_name, new_backup_id, seal, write_backup
from lockmigrate.model.document import Snapshot, to_sections
from lockmigrate.model.records import Credential
from lockmigrate.model.results import BackupResult, Progress, Unit
from lockmigrate.operations.keyring import Keyring
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.vault_memory import previous_of, remember
from lockmigrate.profiles import load_profile
from lockmigrate.protocols import Lock
from lockmigrate.vault.policy import load_policy
from lockmigrate.version import own_version

_PLACE: Final = re.compile(r"[0-9]{1,6}|[a-z_]+/[0-9.]{1,20}")
MAX_NAMES_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOptions:
    """What the person asked for."""

    out: Path | None = None
    """The file; None: a name that tells nothing, in `folder`."""
    folder: Path = field(default_factory=Path)
    label: str | None = None
    twice: bool = False
    force: bool = False
    strict: bool = False
    """Every gap counts, also an announced one."""
    names: dict[str, str] = field(default_factory=dict)
    """Slot, or key of a record, to the person's name, from the technician's list."""
    consent_ref: str | None = None
    expires_days: int | None = None
    prefix: str = "backup"
    purpose: str = "unit-replacement"


async def backup(lock: Lock, ring: Keyring, options: BackupOptions) -> AsyncIterator[Progress | BackupResult]:
    """Back a unit up; the last item is the result.

    Raises:
        ConfigError: no keys, or the wrong recipients.
        WrongKeyError: the passphrase does not unlock the signing key.
        FileTrouble: the file cannot be written; nothing of it is left behind.
        LinkError, RefusedError: from the unit; no file is made.
    """
    started = time.monotonic()
    check_destination(options)
    ring.need_signing()
    ring.recipients()
    ring.passphrase_for_new()
    ring.unlock()
    async for item in read_unit(lock, twice=options.twice, label=options.label):
        if isinstance(item, Progress):
            await ring.check()
            yield item
        else:
            reading = item
    something_there(reading)
    result = await seal_reading(reading, ring, options)
    yield replace(result, duration_s=round(time.monotonic() - started, 3))


async def rehearse_reading(lock: Lock, options: BackupOptions) -> AsyncIterator[Progress | BackupResult]:
    """Read everything and seal nothing: what `backup --dry-run` does; needs no keys and leaves no file."""
    started = time.monotonic()
    async for item in read_unit(lock, twice=options.twice, label=options.label):
        if isinstance(item, Progress):
            yield item
        else:
            reading = item
    something_there(reading)
    snapshot = reading.snapshot
    yield BackupResult(
        exit_code=_exit_code(snapshot, strict=options.strict),
        warnings=(*reading.unit.warnings, "dry run: everything was read, nothing was sealed"),
        unit=reading.unit,
        file="",
        backup_id="",
        manifest_sha256="",
        signer="",
        counts=snapshot.counts(),
        gaps=snapshot.gaps,
        losses=snapshot.losses,
        duration_s=round(time.monotonic() - started, 3),
    )


def something_there(reading: Reading) -> None:
    """A folder that holds nothing is a fine target, and no source: more likely it is the wrong one.

    Raises:
        ImageError: none of the files that a terminal writes lies there.
    """
    if reading.unit.details.get("medium") == "file" and not reading.snapshot.users and not reading.snapshot.credentials:
        raise ImageError(
            f"{reading.unit.target} holds nothing that a terminal writes to a USB disk",
            hint="user.dat and the template files lie in the root of the disk; is it the right folder?",
            code="nothing-there",
        )


def check_destination(options: BackupOptions) -> None:
    """Fail before the unit is touched if the file could not be made.

    Raises:
        FileTrouble: it exists already, or its folder does not.
    """
    folder = options.out.parent if options.out else options.folder
    if not folder.is_dir():
        raise FileTrouble(
            f"there is no folder {folder}", hint="make it first, or choose another with -o", code="no-folder"
        )
    if options.out is None:
        return
    if options.out.is_dir():
        raise FileTrouble(f"{options.out} is a folder", hint="name a file with -o", code="is-a-folder")
    if options.out.exists() and not options.force:
        raise FileTrouble(
            f"{options.out} exists already",
            hint="choose another name, or --force to replace it",
            code="file-exists",
        )


async def seal_reading(reading: Reading, ring: Keyring, options: BackupOptions) -> BackupResult:
    """Seal a snapshot that was read already; see `backup` for what can go wrong."""
    unit = replace(reading.unit, label=options.label)
    snapshot = _with_names(reading.snapshot, options.names)
    backup_id = new_backup_id()
    path = options.out or options.folder / default_name(backup_id).replace("backup", options.prefix, 1)
    recipients, passphrase = ring.recipients(), ring.passphrase_for_new()
    signing_key = await ring.signing_key()
    entries = {f"raw/{table.name}.bin": table.data for table in snapshot.tables}
    entries |= {f"records/{name}.jsonl": data for name, data in to_sections(snapshot).items()}
    config_dir = ring.choice.config_dir
    meta = _manifest(unit, snapshot, reading.variant, _with_policy(options, ring), backup_id)
    meta["previous"] = None if ring.throw_away else previous_of(config_dir, unit)
    data, file_key = seal(meta, entries, recipients=recipients, passphrase=passphrase, signing_key=signing_key)
    opened = write_backup(path, data, file_key, force=options.force)
    copy = ring.leave_key_copy(path)
    untold = None if ring.throw_away else remember(config_dir, path, data, opened, recipients=recipients)
    return BackupResult(
        exit_code=_exit_code(snapshot, strict=options.strict),
        warnings=(*unit.warnings, *([untold] if untold else [])),
        unit=unit,
        file=str(path),
        backup_id=backup_id,
        manifest_sha256=opened.manifest_sha256,
        signer=opened.signer,
        recipients=recipients,
        key_copy=str(copy) if copy else None,
        counts=snapshot.counts(),
        gaps=snapshot.gaps,
        losses=snapshot.losses,
    )


def _with_policy(options: BackupOptions, ring: Keyring) -> BackupOptions:
    """Without --expires the policy's days hold, if it has any (decision 38)."""
    if ring.throw_away or options.expires_days is not None:
        return options
    return dataclasses.replace(options, expires_days=load_policy(ring.choice.config_dir).expires_days)


def _exit_code(snapshot: Snapshot, *, strict: bool) -> int:
    """Decision 8: what the profile announces leaves 0, everything else that is missing is 9; strictly, all of it is."""
    announced = {gap.record for gap in snapshot.gaps if gap.announced and not strict}
    gaps = [gap for gap in snapshot.gaps if strict or not gap.announced]
    losses = [loss for loss in snapshot.losses if loss.record not in announced]
    return 9 if gaps or losses else 0


def _manifest(
    unit: Unit, snapshot: Snapshot, variant: dict[str, Any], options: BackupOptions, backup_id: str
) -> dict[str, Any]:
    now = datetime.now(UTC).replace(microsecond=0)
    profile = load_profile(unit.profile)
    expires = now + timedelta(days=options.expires_days) if options.expires_days else None
    contains = [{"fingerprints": "fingerprint-template"}.get(name, name) for name, n in snapshot.counts().items() if n]
    lock = snapshot.lock
    meta = {
        "backup_id": backup_id,
        "created_at": _rfc3339(now),
        "tool": {"name": "lockmigrate", "version": own_version(), "cryptography": version("cryptography")},
        "device": {
            "vendor": lock.vendor,
            "model": lock.model,
            "serial": unit.serial,
            "hardware": lock.hardware_rev,
            "firmware": lock.firmware_rev,
            "transport": "simulated" if unit.simulated else unit.target.partition("://")[0],
            "clock": None,
        },
        "unit": msgspec.to_builtins(unit),
        "profile": {
            "id": profile.name,
            "sha256": hashlib.sha256(msgspec.json.encode(profile, order="sorted")).hexdigest(),
            "variant": _without_floats(variant),
        },
        "counts": snapshot.counts(),
        "tables": [
            {
                "table": table.name,
                "entry": f"raw/{table.name}.bin",
                "rows": table.rows,
                "volatile": table.volatile,
                "reads": [
                    {"at": table.read_at_utc, "size": len(table.data), "sha256": hashlib.sha256(table.data).hexdigest()}
                ],
                "device_check": {"kind": table.check, "value": None} if table.check else None,
                "undecoded_bytes": 0,
            }
            for table in snapshot.tables
        ],
        "loss_counts": _count(loss.code for loss in snapshot.losses),
        "retention": {
            "expires_at": _rfc3339(expires) if expires else None,
            "purpose": options.purpose,
            "consent_ref": options.consent_ref,
            "contains": contains,
        },
        "previous": None,
    }
    if options.label:
        meta["label"] = options.label
    return meta


def _without_floats(value: Any) -> Any:
    """What the decoder was told, so that the drift check tells it the same. TOML has floats, a manifest has none."""
    if isinstance(value, dict):
        return {key: _without_floats(item) for key, item in value.items() if not isinstance(item, float)}
    return [_without_floats(item) for item in value] if isinstance(value, list | tuple) else value


def _count(codes: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for code in codes:
        found[code] = found.get(code, 0) + 1
    return found


def _rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_names(snapshot: Snapshot, names: dict[str, str]) -> Snapshot:
    """Give names to what the unit itself has no name for."""
    if not names:
        return snapshot

    def named(item: Credential) -> Credential:
        slot = item.origin.get("credential_index")
        name = names.get(item.key, names.get(str(slot)) if slot is not None else None)
        return item if name is None or isinstance(item.name, str) else replace(item, name=name)

    return replace(snapshot, credentials=tuple(named(item) for item in snapshot.credentials))


def read_names(path: Path) -> dict[str, str]:
    """Read the technician's list: CSV with the columns slot and name (a header line is allowed).

    Where a unit has no slots, the record's key stands in their place: `fingerprint/42,Anna`.

    Raises:
        ConfigError: it cannot be read, or a line is not `slot,name`, or a slot stands twice.
    """
    try:
        if path.stat().st_size > MAX_NAMES_BYTES:
            raise ConfigError(f"the list of names {path} is too large")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read the list of names {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the list of names {path} is not UTF-8", hint="save it as CSV UTF-8") from None
    names: dict[str, str] = {}
    try:
        for number, row in enumerate(csv.reader(text.splitlines()), start=1):
            if not row or (number == 1 and row[0].strip().lower() == "slot"):
                continue
            slot = row[0].strip()
            if len(row) < 2 or not _PLACE.fullmatch(slot):
                raise ConfigError(f"line {number} of {path} is not: slot,name", hint="for example: 12,张伟")
            if "/" not in slot:
                slot = str(int(slot))
            if slot in names:
                raise ConfigError(f"line {number} of {path} names slot {slot} again")
            names[slot] = row[1].strip()
    except csv.Error:
        raise ConfigError(f"the list of names {path} is not CSV") from None
    return names
