"""What other operations ask of the vault, and tell it: the last backup of a unit, how fresh one is, what was rehearsed.

The catalogue is a help, not a condition: where it cannot be used a backup is still made, and the answer is a warning.
A judgement that a restore rests on is another matter: there an unusable catalogue is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockmigrate.errors import ConfigError, FileTrouble, PolicyError
from lockmigrate.formats.backup import OpenedBackup, SignerCheck
from lockmigrate.formats.manifest import read_time
from lockmigrate.vault.catalogue import Catalogue, row_of, unit_key, unit_key_of
from lockmigrate.vault.freshness import Freshness, judge
from lockmigrate.vault.policy import VaultPolicy
from lockmigrate.version import SOURCE

if TYPE_CHECKING:
    from lockmigrate.model.results import Unit
    from lockmigrate.operations.rehearse import RehearsalOutcome


def previous_of(config_dir: Path, unit: Unit) -> dict[str, str] | None:
    """Return `{backup_id, manifest_sha256}` for a new manifest's `previous`; None if nothing is known.

    An unusable catalogue counts as knowing nothing: `remember` will say so.
    """
    try:
        with Catalogue(config_dir, make=False) as catalogue:
            return catalogue.previous_for(unit_key(unit.family, unit.serial))
    except (ConfigError, FileTrouble):
        return None


def remember(
    config_dir: Path,
    path: Path,
    sealed: bytes,
    opened: OpenedBackup,
    *,
    recipients: Iterable[str] = (),
    trusted: bool = True,
) -> str | None:
    """Record a backup that was made or opened just now.

    Returns:
        A warning if the catalogue could not be written; the backup itself is none the worse.
    """
    try:
        with Catalogue(config_dir) as catalogue:
            catalogue.record_backup(row_of(opened, path, sealed, recipients=recipients, trusted=trusted))
    except (ConfigError, FileTrouble) as error:
        return f"the backup is not in the catalogue: {error.message}"
    return None


def freshness_of(
    config_dir: Path, manifest: dict[str, Any], created_at: datetime, policy: VaultPolicy, now: datetime | None = None
) -> Freshness:
    """Judge a backup's age against the catalogue's memory.

    Args:
        config_dir: where the catalogue is; nothing is made there.
        manifest: of the opened backup.
        created_at: of the opened backup.
        policy: the limits.
        now: this computer's clock.

    Raises:
        ConfigError: the catalogue is damaged (code `bad-catalogue`): who damages it must not get an old backup in.
        FileTrouble: it cannot be read.
    """
    instant = now or datetime.now(UTC)
    unit = unit_key_of(manifest)
    with Catalogue(config_dir, make=False) as catalogue:
        limit = instant + timedelta(minutes=policy.max_future_minutes)
        newest = catalogue.newest_for(unit, not_after=limit)
    retention = manifest.get("retention")
    expires_at = retention.get("expires_at") if isinstance(retention, dict) else None
    return judge(
        created_at,
        read_time(expires_at) if isinstance(expires_at, str) else None,
        instant,
        read_time(newest.created_at) if newest is not None else None,
        unit is not None,
        policy,
    )


def is_rehearsed(config_dir: Path, backup_id: str, profile_sha256: str) -> bool:
    """Tell whether this version has rehearsed a backup with this profile, so that a restore need not do it again."""
    try:
        with Catalogue(config_dir, make=False) as catalogue:
            return catalogue.verification_state(backup_id, SOURCE, profile_sha256) == "green"
    except (ConfigError, FileTrouble):
        return False


def remember_rehearsal(config_dir: Path, outcome: RehearsalOutcome) -> str | None:
    """Record how a rehearsal ended; returns a warning if the catalogue could not be written."""
    result = "ok" if outcome.ok else "rehearsal-failed"
    try:
        with Catalogue(config_dir) as catalogue:
            catalogue.record_verification(
                outcome.backup_id, "rehearse", outcome.tool, outcome.profile_sha256, result, outcome.millis
            )
    except (ConfigError, FileTrouble) as error:
        return f"the rehearsal is not in the catalogue: {error.message}"
    return None


def is_trusted(check: SignerCheck, opened: OpenedBackup) -> bool:
    """Tell whether an opened backup's signer is trusted, and was when it was made."""
    try:
        check_date = check(opened.signer, opened.signer_public_key)
        if check_date is not None:
            check_date(opened.created_at)
    except PolicyError:
        return False
    return True
