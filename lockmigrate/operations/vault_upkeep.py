"""Purge what expired, and make the catalogue anew from the files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lockmigrate.errors import ConfigError, FileTrouble, LockmigrateError
from lockmigrate.formats.backup import read_backup
from lockmigrate.formats.files import file_trouble
from lockmigrate.model.vault_results import PurgedFile, ReindexedFile, VaultPurgeResult, VaultReindexResult
from lockmigrate.operations import journal as journal_file
from lockmigrate.operations.keyring import KeyPaths
from lockmigrate.operations.vault import files_in, has_expired, is_missing, worst
from lockmigrate.operations.vault_memory import is_trusted
from lockmigrate.operations.vault_verify import open_with
from lockmigrate.protocols.clock import utc_now
from lockmigrate.vault.catalogue import Catalogue, Row, row_of, set_aside

JournalNote = Callable[[dict[str, str]], None]
"""Appends one line to the journal; raises FileTrouble if it cannot."""


def journal_note(config_dir: Path) -> JournalNote:
    """Return what appends a line to the config directory's journal, flushed to the disk."""

    def note(fields: dict[str, str]) -> None:
        path = config_dir / journal_file.FILE
        line = msgspec.json.encode({"at": utc_now(), **fields}) + b"\n"
        try:
            config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            journal_file._append(path, line, flush=True)
        except OSError as cause:
            raise file_trouble("write", path, cause) from cause

    return note


# ---- purge ----------------------------------------------------------------------------------------------------------


def purge(
    folder: Path, config_dir: Path, note: JournalNote, *, dry_run: bool = False, now: datetime | None = None
) -> VaultPurgeResult:
    """Delete the backups that are past their `expires_at`; others, and files that are not known, stay.

    A file goes only if it is byte for byte the one the catalogue knows, and only after the journal has its line.

    Args:
        folder, config_dir: where the backups and the catalogue are.
        note: appends to the journal.
        dry_run: only say what would go.
        now: this computer's clock.

    Raises:
        FileTrouble, ConfigError: the folder, the catalogue or the journal cannot be used.
    """
    instant = now or datetime.now(UTC)
    purged: list[PurgedFile] = []
    kept = 0
    with Catalogue(config_dir, make=not dry_run) as catalogue:
        for path in files_in(folder):
            row = catalogue.at_path(path)
            if row is None:
                purged.append(PurgedFile(file=str(path), reason="not-in-catalogue"))
            elif not has_expired(row, instant):
                kept += 1
            else:
                purged.append(_purge_one(path, row, catalogue, note, dry_run=dry_run))
    troubled = any(item.reason == "file" for item in purged)
    unknown = sum(1 for item in purged if item.reason == "not-in-catalogue")
    warnings = [
        "overwriting promises nothing on flash disks, and copies elsewhere stay: only destroying the key ends them"
    ]
    if unknown:
        warnings.append(f'{unknown} not in the catalogue and left; "lockmigrate vault reindex" takes them in')
    return VaultPurgeResult(
        exit_code=FileTrouble.exit_code if troubled else 0,
        warnings=tuple(warnings if any(item.deleted for item in purged) else warnings[1:]),
        folder=str(folder),
        files=tuple(purged),
        kept=kept,
        dry_run=dry_run,
    )


def _purge_one(path: Path, row: Row, catalogue: Catalogue, note: JournalNote, *, dry_run: bool) -> PurgedFile:
    entry = PurgedFile(
        file=str(path),
        backup_id=row.backup_id,
        manifest_sha256=row.manifest_sha256,
        expires_at=row.expires_at,
        reason="expired",
    )
    try:
        data = read_backup(path)
    except LockmigrateError:
        return msgspec.structs.replace(entry, reason="file")
    if hashlib.sha256(data).hexdigest() != row.ciphertext_sha256:
        return msgspec.structs.replace(entry, reason="changed")
    if dry_run:
        return entry
    line = {"backup": row.backup_id, "manifest_sha256": row.manifest_sha256, "reason": "expired"}
    note({"event": "purged", **line})
    try:
        path.unlink()
    except OSError:
        note({"event": "purge-failed", **line})
        return msgspec.structs.replace(entry, reason="file")
    catalogue.set_state(row.backup_id, "purged")
    return msgspec.structs.replace(entry, deleted=True)


# ---- reindex --------------------------------------------------------------------------------------------------------


def reindex(folder: Path, config_dir: Path, keys: KeyPaths) -> VaultReindexResult:
    """Take every backup of a folder into the catalogue. What was only remembered stays.

    A catalogue that is damaged, or of a newer lockmigrate, is put aside and a new one begun.

    Raises:
        FileTrouble, ConfigError: the folder or the catalogue cannot be used, or a trust file is malformed.
    """
    paths = files_in(folder)
    aside: Path | None = None
    try:
        with Catalogue(config_dir) as catalogue:
            catalogue.check_whole()
    except ConfigError:
        aside = set_aside(config_dir)
    with Catalogue(config_dir) as catalogue:
        found = [_reindex_one(path, catalogue, keys) for path in paths]
        missing = [row for row in catalogue.rows_in(folder) if is_missing(row)]
        for row in missing:
            catalogue.set_state(row.backup_id, "missing")
    warnings = []
    if aside is not None:
        warnings.append(f"the old catalogue could not be used and is now {aside}; what only it remembered is lost")
    untrusted = sum(1 for item in found if item.ok and not item.trusted)
    if untrusted:
        warnings.append(f"{untrusted} by signers who are not trusted: they do not count as the newest of a unit")
    return VaultReindexResult(
        exit_code=worst(item.exit for item in found if not item.ok),
        warnings=tuple(warnings),
        folder=str(folder),
        files=tuple(found),
        missing=tuple(str(folder / Path(row.object or "").name) for row in missing),
        aside=str(aside) if aside else None,
    )


def _reindex_one(path: Path, catalogue: Catalogue, keys: KeyPaths) -> ReindexedFile:
    try:
        data = read_backup(path)
        opened = open_with(path, data, keys)
        trusted = is_trusted(keys.keyring().signer_check(), opened)
    except LockmigrateError as error:
        return ReindexedFile(file=str(path), ok=False, code=error.code, exit=error.exit_code, detail=error.message)
    catalogue.record_backup(row_of(opened, path, data, trusted=trusted))
    return ReindexedFile(file=str(path), ok=True, backup_id=opened.backup_id, trusted=trusted)
