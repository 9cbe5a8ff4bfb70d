"""What the operations on a folder of backups return: list, verify, rekey, purge, reindex. No secret in any of them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from lockmigrate.model.results import Result

VerifyLevel = Literal["quick", "read-data", "rehearse"]


class VaultFile(Struct, frozen=True, kw_only=True):
    """One backup of a vault, as the folder and the catalogue tell without a key."""

    file: str
    backup_id: str | None = None
    """None: the catalogue does not know the file."""
    unit: str | None = None
    """`family/serial`; None for a unit without a serial number, and for an unknown file."""
    label: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    expired: bool = False
    newest: bool = False
    """Whether no newer backup of the same unit is known."""
    size_bytes: int | None = None
    state: Literal["present", "missing", "purged", "superseded", "unknown", "changed"]
    """`changed`: another size than the catalogue knows."""
    proof: Literal["green", "amber", "red", "none"] = "none"
    """green: rehearsed by this version; amber: by another; red: a check failed; none: never rehearsed."""
    checked_at: str | None = None
    """When any check last ended."""


class VaultListResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.vault-list/1"
    folder: str
    files: tuple[VaultFile, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    """By state."""


class FileCheck(Struct, frozen=True, kw_only=True):
    """How the check of one file ended. May cross to another process."""

    file: str
    level: VerifyLevel
    ok: bool
    code: str | None = None
    """What was wrong, such as `corrupt`, `wrong-key`, `missing` or `worker-failed`."""
    exit: int = 0
    """The exit code that this file alone would have given."""
    detail: str | None = None
    backup_id: str | None = None
    manifest_sha256: str | None = None
    size_bytes: int | None = None
    ciphertext_sha256: str | None = None
    tool: str = ""
    profile_sha256: str = ""
    millis: int = 0
    remarks: tuple[str, ...] = ()
    """Codes that do not make the check fail: `not-in-catalogue`, `expired`."""


class VaultVerifyResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.vault-verify/1"
    folder: str
    level: VerifyLevel
    checks: tuple[FileCheck, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    """`ok`, and each code that occurred."""
    not_reached: int = 0
    """Files that the time was not enough for; they come first the next time."""
    duration_s: float = 0.0


class RekeyedFile(Struct, frozen=True, kw_only=True):
    """One file of `vault rekey`."""

    file: str
    ok: bool
    backup_id: str | None = None
    recipients: tuple[str, ...] = ()
    """Whom it is sealed for now, or would be."""
    removed: tuple[str, ...] = ()
    """Who can no longer open it: a recipient, or the digest of one whose text is not known."""
    code: str | None = None
    exit: int = 0
    detail: str | None = None


class VaultRekeyResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.vault-rekey/1"
    folder: str
    files: tuple[RekeyedFile, ...] = ()
    dry_run: bool = False


class PurgedFile(Struct, frozen=True, kw_only=True):
    """One file of `vault purge`: deleted, or left with a reason."""

    file: str
    backup_id: str | None = None
    manifest_sha256: str | None = None
    expires_at: str | None = None
    deleted: bool = False
    reason: str
    """`expired`; or why it was left: `not-in-catalogue`, `changed`, `file`."""


class VaultPurgeResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.vault-purge/1"
    folder: str
    files: tuple[PurgedFile, ...] = ()
    """Those that expired, and those that could not be judged."""
    kept: int = 0
    dry_run: bool = False


class ReindexedFile(Struct, frozen=True, kw_only=True):
    """One file of `vault reindex`."""

    file: str
    ok: bool
    backup_id: str | None = None
    trusted: bool = False
    code: str | None = None
    exit: int = 0
    detail: str | None = None


class VaultReindexResult(Result, frozen=True, kw_only=True):
    schema: str = "lockmigrate.vault-reindex/1"
    folder: str
    files: tuple[ReindexedFile, ...] = ()
    missing: tuple[str, ...] = ()
    """Files that the catalogue knows here and that are gone."""
    aside: str | None = None
    """Where the old catalogue was put, if it could not be used."""
