"""A folder of backups: what is in it, whether it is good, and every outcome remembered.

Everything here is plain and blocking: the work is done by `vault_verify` with whatever executor is given.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from lockmigrate.errors import BackupError, ConfigError, FileTrouble
from lockmigrate.formats.files import exists, file_trouble
from lockmigrate.formats.manifest import read_time
from lockmigrate.model.vault_results import (
    FileCheck,
    VaultFile,
    VaultListResult,
    VaultVerifyResult,
    VerifyLevel,
)
from lockmigrate.operations.keyring import KeyPaths
from lockmigrate.operations.vault_verify import IN_FLIGHT, Rehearse, verify_many
from lockmigrate.vault.catalogue import Catalogue, Row, object_name
from lockmigrate.vault.freshness import is_expired
from lockmigrate.vault.keys import IDENTITY_FILE, KEY_COPY_PATTERN, SIGNING_FILE
from lockmigrate.version import SOURCE

SEVERITY: Final = (6, 10, 7, 2, 1)
"""Exit codes of files, the worst first: lost, not restorable, not openable here, not readable, not checked."""
_DEFAULT_NAME: Final = re.compile(r"[a-z]+-([A-Z2-7]{26})\.age")


@dataclass(frozen=True, slots=True)
class Subset:
    """Part `number` of `total`, by the digest of each backup's id: the same files every time."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Subset:
        """Read `n/t`, 1/t to t/t.

        Raises:
            ConfigError: it is something else.
        """
        matched = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
        number, total = (int(matched[1]), int(matched[2])) if matched else (0, 0)
        if not 1 <= number <= total:
            raise ConfigError(f"a subset is n/t with n from 1 to t, such as 1/7, not {text}", code="usage")
        return cls(number, total)

    def holds(self, backup_id: str) -> bool:
        """Tell whether a backup is in this part."""
        digest = hashlib.sha256(backup_id.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.total == self.number - 1


def files_in(folder: Path) -> list[Path]:
    """Return the backup files of a folder by name: `*.age` without key files.

    Raises:
        FileTrouble: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise FileTrouble(f"there is no folder {folder}", hint="check --folder", code="no-folder")
    try:
        found = [
            path
            for path in sorted(folder.iterdir())
            if path.suffix == ".age"
            and not path.name.startswith(".")
            and not path.match(KEY_COPY_PATTERN)
            and path.name not in (IDENTITY_FILE, SIGNING_FILE)
            and not path.is_dir()
        ]
    except OSError as cause:
        raise file_trouble("read", folder, cause) from cause
    return found


def id_of(path: Path, row: Row | None) -> str:
    """Return what stands for a file in subsets and order: its backup's id, by catalogue or name, else the name."""
    if row is not None:
        return row.backup_id
    matched = _DEFAULT_NAME.fullmatch(path.name)
    return base64.b32decode(f"{matched[1]}======").hex() if matched else path.name


# ---- list -----------------------------------------------------------------------------------------------------------


def list_vault(folder: Path, config_dir: Path, now: datetime | None = None) -> VaultListResult:
    """Say what is in a folder, by the files' sizes and the catalogue; opens nothing and writes nothing.

    Raises:
        FileTrouble: the folder or the catalogue cannot be read.
        ConfigError: the catalogue is damaged.
    """
    instant = now or datetime.now(UTC)
    with Catalogue(config_dir, make=False) as catalogue:
        known = {row.object: row for row in catalogue.rows_in(folder)}
        there = {object_name(path): path for path in files_in(folder)}
        seen = [_seen(path, known.get(name), catalogue, instant) for name, path in there.items()]
        seen += [_gone(folder, row, catalogue, instant) for name, row in known.items() if name not in there]
    # The newest first; files that are not known have no time and come last.
    seen.sort(key=lambda item: item.file)
    seen.sort(key=lambda item: item.created_at or "", reverse=True)
    counts: dict[str, int] = {}
    for item in seen:
        counts[item.state] = counts.get(item.state, 0) + 1
    return VaultListResult(folder=str(folder), files=tuple(seen), counts=counts)


def _seen(path: Path, row: Row | None, catalogue: Catalogue, now: datetime) -> VaultFile:
    try:
        size = path.stat().st_size
    except OSError as cause:
        raise file_trouble("read", path, cause) from cause
    if row is None:
        return VaultFile(file=str(path), size_bytes=size, state="unknown")
    entry = _known(row, catalogue, now, str(path))
    return msgspec.structs.replace(entry, size_bytes=size, state="present" if size == row.size_bytes else "changed")


def _gone(folder: Path, row: Row, catalogue: Catalogue, now: datetime) -> VaultFile:
    entry = _known(row, catalogue, now, _shown(folder, row))
    return msgspec.structs.replace(entry, state="missing" if row.state == "present" else row.state)


def _shown(folder: Path, row: Row) -> str:
    """Return a file's name as the folder was given; the catalogue has absolute ones."""
    return str(folder / Path(row.object or "").name)


def _known(row: Row, catalogue: Catalogue, now: datetime, file: str) -> VaultFile:
    checks = catalogue.checks(row.backup_id)
    newest = catalogue.newest_for(row.unit_key)
    return VaultFile(
        file=file,
        backup_id=row.backup_id,
        unit=row.unit_key,
        label=row.label,
        created_at=row.created_at,
        expires_at=row.expires_at,
        expired=has_expired(row, now),
        newest=newest is not None and newest.backup_id == row.backup_id,
        size_bytes=row.size_bytes,
        state=row.state,
        proof=catalogue.verification_state(row.backup_id, SOURCE),
        checked_at=checks[-1].at if checks else None,
    )


def has_expired(row: Row, now: datetime) -> bool:
    """Tell whether a backup is past its `expires_at`."""
    return row.expires_at is not None and is_expired(read_time(row.expires_at), now)


# ---- verify ---------------------------------------------------------------------------------------------------------


def choose(paths: Sequence[Path], level: VerifyLevel, catalogue: Catalogue, subset: Subset | None = None) -> list[Path]:
    """Return the files to check, least recently checked at this level or deeper first; never checked ones lead."""
    checked = catalogue.last_checked(level)
    ids = {path: id_of(path, catalogue.at_path(path)) for path in paths}
    chosen = [path for path in paths if subset is None or subset.holds(ids[path])]
    return sorted(chosen, key=lambda path: (checked.get(ids[path], ""), path.name))


def verify_vault(
    folder: Path,
    config_dir: Path,
    level: VerifyLevel,
    keys: KeyPaths | None,
    *,
    executor: Executor | None = None,
    subset: Subset | None = None,
    max_duration_s: float | None = None,
    rehearse: Rehearse | None = None,
    on_check: Callable[[FileCheck, int, int], None] | None = None,
    in_flight: int = IN_FLIGHT,
) -> VaultVerifyResult:
    """Check the backups of a folder and remember every outcome in the catalogue.

    Args:
        folder, config_dir: where the backups and the catalogue are.
        level, keys, executor, rehearse, max_duration_s, in_flight: see `verify_many`.
        subset: only this part of them.
        on_check: called with each outcome, how many are done, and how many there are.

    Returns:
        All outcomes; `exit_code` is the worst one's by `SEVERITY`. A file that the catalogue knows here and that is
        gone counts as lost, until `reindex` takes note of it.

    Raises:
        FileTrouble, ConfigError: the folder or the catalogue cannot be used, or keys are needed.
    """
    started = time.monotonic()
    now = datetime.now(UTC)
    checks: list[FileCheck] = []
    with Catalogue(config_dir) as catalogue:
        chosen = choose(files_in(folder), level, catalogue, subset)
        for check in verify_many(
            chosen, level, executor, keys, rehearse=rehearse, max_duration_s=max_duration_s, in_flight=in_flight
        ):
            judged = _against_catalogue(check, catalogue, now)
            checks.append(judged)
            if judged.backup_id is not None:
                catalogue.record_verification(
                    judged.backup_id, level, judged.tool, judged.profile_sha256, judged.code or "ok", judged.millis
                )
            if on_check is not None:
                on_check(judged, len(checks), len(chosen))
        missing = [_missing(folder, row, level) for row in catalogue.rows_in(folder) if is_missing(row)]
    reached = len(checks)
    checks += missing
    counts: dict[str, int] = {}
    for check in checks:
        counts[check.code or "ok"] = counts.get(check.code or "ok", 0) + 1
    expired = sum(1 for check in checks if "expired" in check.remarks)
    unknown = sum(1 for check in checks if "not-in-catalogue" in check.remarks)
    warnings = [f'{expired} expired; "lockmigrate vault purge" deletes them'] if expired else []
    if unknown:
        warnings.append(f'{unknown} not in the catalogue; "lockmigrate vault reindex" takes them in')
    return VaultVerifyResult(
        exit_code=worst(check.exit for check in checks if not check.ok),
        warnings=tuple(warnings),
        folder=str(folder),
        level=level,
        checks=tuple(checks),
        counts=counts,
        not_reached=len(chosen) - reached,
        duration_s=round(time.monotonic() - started, 3),
    )


def worst(codes: Iterable[int]) -> int:
    """Return the exit code that weighs most; 0 if there is none."""
    found = set(codes)
    return next((code for code in SEVERITY if code in found), max(found, default=0))


def _against_catalogue(check: FileCheck, catalogue: Catalogue, now: datetime) -> FileCheck:
    """Hold an outcome against what is remembered: the same bytes, the same manifest, in the same place."""
    path = Path(check.file)
    there = catalogue.at_path(path)
    row = catalogue.get(check.backup_id) if check.backup_id is not None else there
    if row is None:
        return msgspec.structs.replace(check, remarks=(*check.remarks, "not-in-catalogue"))
    remarks = (*check.remarks, "expired") if has_expired(row, now) else check.remarks
    check = msgspec.structs.replace(check, backup_id=check.backup_id or row.backup_id, remarks=remarks)
    if not check.ok:
        return check
    same = (check.size_bytes, check.ciphertext_sha256) == (row.size_bytes, row.ciphertext_sha256)
    if check.level == "quick":
        return check if same else _replaced(check, "corrupt", "it is not the file that the catalogue knows here")
    if there is not None and there.backup_id != row.backup_id:
        return _replaced(check, "substituted", "another backup lies here than the catalogue knows")
    if check.manifest_sha256 != row.manifest_sha256:
        return _replaced(check, "substituted", "another manifest under this backup's id is in the catalogue")
    if not same or row.state != "present" or row.object != object_name(path):
        # Sealed anew elsewhere, moved, or back again: all of it was just verified.
        found = replace(
            row,
            object=object_name(path),
            size_bytes=check.size_bytes or 0,
            ciphertext_sha256=check.ciphertext_sha256 or "",
            state="present",
        )
        catalogue.record_backup(found)
    return check


def _replaced(check: FileCheck, code: str, detail: str) -> FileCheck:
    return msgspec.structs.replace(check, ok=False, code=code, exit=BackupError.exit_code, detail=detail)


def is_missing(row: Row) -> bool:
    """Tell whether a file that should be there is gone."""
    return row.state == "present" and row.object is not None and not exists(Path(row.object))


def _missing(folder: Path, row: Row, level: VerifyLevel) -> FileCheck:
    return FileCheck(
        file=_shown(folder, row),
        level=level,
        ok=False,
        code="missing",
        exit=BackupError.exit_code,
        detail="the catalogue knows it here, and it is gone",
        backup_id=row.backup_id,
        manifest_sha256=row.manifest_sha256,
        tool=SOURCE,
    )
