"""What people see of a folder of backups, and the error that follows where a file of it is not good."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

from lockmigrate.cli.parts import section
from lockmigrate.cli.tables import Block, Facts, Line, Table
from lockmigrate.cli.words import counted
from lockmigrate.errors import BackupError, FileTrouble, LockmigrateError, PolicyError, WrongKeyError
from lockmigrate.model.results import Result
from lockmigrate.model.vault_results import (
    FileCheck,
    ReindexedFile,
    RekeyedFile,
    VaultFile,
    VaultListResult,
    VaultPurgeResult,
    VaultReindexResult,
    VaultRekeyResult,
    VaultVerifyResult,
)

SHOWN_KEY_CHARS: Final = 14
"""Of a recipient: enough to tell one's own from the others."""
_PROOF: Final = {
    "green": "rehearsed",
    "amber": "rehearsed by another version",
    "red": "a check failed",
    "none": "not rehearsed",
}
_WHY: Final = {
    "expired": "expired",
    "not-in-catalogue": "left: the catalogue does not know it",
    "changed": "left: it is not the file that the catalogue knows",
    "file": "left: it cannot be read or deleted",
}
_HINTS: Final = {
    6: 'fetch a good copy from another place, then "lockmigrate vault reindex"',
    7: "give the key that opens it with --identity or --passphrase-file",
    10: "such a backup is not restored without an override of its own",
}


def screen(result: Result) -> list[Block]:
    """Return the blocks of one of these results.

    Raises:
        TypeError: there is no screen for it.
    """
    if isinstance(result, VaultListResult):
        return _list(result)
    if isinstance(result, VaultVerifyResult):
        return _verify(result)
    if isinstance(result, VaultRekeyResult):
        return _rekey(result)
    if isinstance(result, VaultPurgeResult):
        return _purge(result)
    if isinstance(result, VaultReindexResult):
        return _reindex(result)
    raise TypeError(f"there is no screen for {type(result).__name__}")


def error_of(result: Result) -> LockmigrateError:
    """Return the error for the worst file; its exit code is the result's."""
    bad: list[FileCheck | RekeyedFile | ReindexedFile] = []
    if isinstance(result, VaultVerifyResult):
        bad += [item for item in result.checks if not item.ok]
    elif isinstance(result, VaultRekeyResult | VaultReindexResult):
        bad += [item for item in result.files if not item.ok]
    elif isinstance(result, VaultPurgeResult):
        return FileTrouble("some files that expired could not be deleted", hint="the result says which")
    worst = next((item for item in bad if item.exit == result.exit_code), None)
    if worst is None:
        return LockmigrateError("some files are not good; the result says which")
    message = f"{counted(len(bad), 'file')} of {_total(result)} not good"
    told = f"worst: {_short(worst.file)}: {worst.detail or worst.code}"
    advice = _HINTS.get(worst.exit)
    hint = f"{told}; {advice}" if advice else told
    kinds: dict[int, type[LockmigrateError]] = {
        2: FileTrouble,
        6: BackupError,
        7: WrongKeyError,
        10: PolicyError,
    }
    return kinds.get(worst.exit, LockmigrateError)(message, hint=hint, code=worst.code)


def _total(result: Result) -> int:
    if isinstance(result, VaultVerifyResult):
        return len(result.checks)
    return len(result.files) if isinstance(result, VaultRekeyResult | VaultReindexResult) else 0


def _short(file: str) -> str:
    return PurePath(file).name


def _list(result: VaultListResult) -> list[Block]:
    if not result.files:
        return [Line(f"no backups in {result.folder}")]
    rows = [
        (_short(item.file), _state(item), item.created_at or "", item.label or item.unit or "", _PROOF[item.proof])
        for item in result.files
    ]
    return [Table(("file", "state", "made", "unit", "proof"), rows)]


def _state(item: VaultFile) -> str:
    if item.expired and item.state == "present":
        return "expired"
    return "newest" if item.newest and item.state == "present" else item.state


def _verify(result: VaultVerifyResult) -> list[Block]:
    good = result.counts.get("ok", 0)
    rows = [
        ("checked", f"{counted(len(result.checks), 'file')} in {result.folder}, level {result.level}"),
        ("good", str(good)),
    ]
    if result.not_reached:
        rows.append(("not reached", f"{counted(result.not_reached, 'file')}, first the next time"))
    bad = [(_short(item.file), f"{item.code}: {item.detail or ''}") for item in result.checks if not item.ok]
    return [Facts(rows), *section(f"not good ({len(bad)}):", bad, style="bold red")]


def _rekey(result: VaultRekeyResult) -> list[Block]:
    verb = "would be sealed for" if result.dry_run else "sealed for"
    good = [
        (_short(item.file), f"{verb} {_keys(item.recipients)}" + (_removed(item.removed) if item.removed else ""))
        for item in result.files
        if item.ok
    ]
    bad = [(_short(item.file), item.detail or item.code or "") for item in result.files if not item.ok]
    blocks: list[Block] = [Facts(good)] if good else []
    if not result.files:
        blocks.append(Line(f"no backups in {result.folder}"))
    return [*blocks, *section(f"left as they are ({len(bad)}):", bad, style="bold red")]


def _removed(removed: Iterable[str]) -> str:
    return f", no longer for {_keys(removed)}"


def _keys(recipients: Iterable[str]) -> str:
    return ", ".join(f"{each[:SHOWN_KEY_CHARS]}…" if len(each) > SHOWN_KEY_CHARS else each for each in recipients)


def _purge(result: VaultPurgeResult) -> list[Block]:
    gone = [item for item in result.files if item.reason == "expired"]
    verb = "would be deleted" if result.dry_run else "deleted"
    rows = [(verb, str(len(gone))), ("kept", str(result.kept))]
    blocks: list[Block] = [Facts(rows)]
    if gone:
        blocks += [Line(), Table(("file", "expired"), [(_short(item.file), item.expires_at or "") for item in gone])]
    left = [(_short(item.file), _WHY[item.reason]) for item in result.files if item.reason != "expired"]
    return [*blocks, *section("left:", left, style="bold yellow")]


def _reindex(result: VaultReindexResult) -> list[Block]:
    good = [item for item in result.files if item.ok]
    rows = [("taken in", f"{counted(len(good), 'file')} of {result.folder}")]
    bad = [(_short(item.file), item.detail or item.code or "") for item in result.files if not item.ok]
    untrusted = [(_short(item.file), "its signer is not trusted") for item in good if not item.trusted]
    return [
        Facts(rows),
        *section(f"not opened ({len(bad)}):", bad, style="bold red"),
        *section(f"by unknown signers ({len(untrusted)}):", untrusted, style="bold yellow"),
        *section("gone:", [(_short(file), "") for file in result.missing], style="bold yellow"),
    ]
