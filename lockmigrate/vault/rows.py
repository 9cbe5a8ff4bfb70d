"""What the catalogue holds of each backup and each check, and what tells one unit from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lockmigrate.formats.backup import OpenedBackup
from lockmigrate.formats.manifest import write_time

State = Literal["present", "missing", "purged", "superseded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One backup as the catalogue knows it."""

    backup_id: str
    object: str | None
    """The file's absolute path; None once another file took its place."""
    size_bytes: int
    ciphertext_sha256: str
    manifest_sha256: str
    unit_key: str | None
    """See `unit_key`; None for a unit without a serial number."""
    label: str | None = None
    created_at: str
    expires_at: str | None = None
    signer: str
    trusted: bool = True
    """Whether the signer was trusted when it was seen; others never become the newest of a unit."""
    schema: str
    tool: str = ""
    recipients: tuple[str, ...] = ()
    """`age1…`, as far as known: a file itself does not tell."""
    state: State = "present"


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The newest backup of a unit that was ever seen."""

    backup_id: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One verification."""

    at: str
    level: str
    tool: str
    profile_sha256: str
    result: str
    """`ok`, or the code of what was wrong."""
    millis: int


def unit_key(family: str | None, serial: str | None) -> str | None:
    """Return what tells one unit from all others; None without a serial number (`unit-unknown`)."""
    return f"{family or '?'}/{serial}" if serial else None


def unit_key_of(manifest: dict[str, Any]) -> str | None:
    """Return the unit's key from a backup's manifest."""
    unit, device = manifest.get("unit"), manifest.get("device")
    unit = unit if isinstance(unit, dict) else {}
    device = device if isinstance(device, dict) else {}
    family, serial = unit.get("family"), unit.get("serial") or device.get("serial")
    return unit_key(family if isinstance(family, str) else None, serial if isinstance(serial, str) else None)


def row_of(
    opened: OpenedBackup, path: Path, sealed: bytes, *, recipients: Iterable[str] = (), trusted: bool = True
) -> Row:
    """Return the row for a backup that was made or opened just now.

    Args:
        opened: its contents, checked.
        path: where it lies.
        sealed: the file's bytes.
        recipients: whom it is sealed for, as far as known.
        trusted: whether its signer is.
    """
    manifest = opened.manifest
    tool, retention, label = manifest.get("tool") or {}, manifest.get("retention") or {}, manifest.get("label")
    return Row(
        backup_id=opened.backup_id,
        object=object_name(path),
        size_bytes=len(sealed),
        ciphertext_sha256=hashlib.sha256(sealed).hexdigest(),
        manifest_sha256=opened.manifest_sha256,
        unit_key=unit_key_of(manifest),
        label=label if isinstance(label, str) else None,
        created_at=write_time(opened.created_at),
        expires_at=retention.get("expires_at"),
        signer=opened.signer,
        trusted=trusted,
        schema=str(manifest.get("schema")),
        tool=f"{tool.get('name') or ''}@{tool.get('version') or ''}",
        recipients=tuple(recipients),
    )


def object_name(path: Path) -> str:
    """Return a file's name in the catalogue: its absolute path."""
    return str(path.resolve())


def from_values(values: tuple[Any, ...]) -> Row:
    """Return a row as SQLite gave it, in the order of the catalogue's columns."""
    (
        backup_id, name, size, ciphertext, manifest, device, label, created_at, expires_at, signer, trusted, schema,
        tool, recipients, state,
    ) = values  # fmt: skip
    return Row(
        backup_id=backup_id,
        object=name,
        size_bytes=size,
        ciphertext_sha256=ciphertext,
        manifest_sha256=manifest,
        unit_key=device,
        label=label,
        created_at=created_at,
        expires_at=expires_at,
        signer=signer,
        trusted=bool(trusted),
        schema=schema,
        tool=tool,
        recipients=tuple(json.loads(recipients)),
        state=state,
    )
