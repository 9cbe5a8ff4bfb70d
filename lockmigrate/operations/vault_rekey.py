"""Seal backups anew for other recipients, under a new file key.

Changing only the stanzas would leave a removed holder the file key. The plaintext stays byte for byte, so the signature
stays valid. Copies that somebody took before stay readable for whoever could read them then: nothing can change that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from lockmigrate.errors import BackupError, ConfigError, FileTrouble, LockmigrateError, PolicyError
from lockmigrate.formats import age
from lockmigrate.formats.age_header import ArmorReader, ByteReader, looks_armored, read_header
from lockmigrate.formats.backup import OpenedBackup, open_backup, read_backup
from lockmigrate.formats.files import PRIVATE_MODE, exists, read_whole, write_whole
from lockmigrate.model.vault_results import RekeyedFile, VaultRekeyResult
from lockmigrate.operations.keyring import KeyPaths, is_symmetric
from lockmigrate.operations.vault import worst
from lockmigrate.operations.vault_memory import is_trusted
from lockmigrate.operations.vault_upkeep import JournalNote
from lockmigrate.operations.vault_verify import identities_for
from lockmigrate.vault.catalogue import Catalogue, Row, row_of
from lockmigrate.vault.keys import RECIPIENTS_FILE
from lockmigrate.vault.policy import VaultPolicy, recipients_for
from lockmigrate.version import SOURCE

COPIES_REMAIN = "copies of the old files that were taken before stay readable for the removed recipients"

_MAX_RECIPIENTS_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Whom to add and to remove."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    drop_unknown: bool = False
    """Leave out recipients of whom only the digest is known, instead of stopping."""


def rekey(
    paths: Sequence[Path],
    config_dir: Path,
    keys: KeyPaths,
    change: Change,
    policy: VaultPolicy,
    note: JournalNote,
    *,
    folder: Path,
    dry_run: bool = False,
) -> VaultRekeyResult:
    """Seal files anew; each is replaced only once the new one was verified from the disk.

    Args:
        paths: the files.
        config_dir: the catalogue's, and where our own recipients are listed.
        keys: what opens the files.
        change: whom to add and to remove.
        policy: what the new recipients must satisfy.
        note: appends to the journal.
        folder: named in the result.
        dry_run: only say for whom each would be sealed.

    Raises:
        ConfigError: nothing to change, a recipient is malformed or in both lists, or the policy demands a removed one.
        FileTrouble: the catalogue or the journal cannot be used.
    """
    change = _checked(change, policy)
    done: list[RekeyedFile] = []
    with Catalogue(config_dir, make=not dry_run) as catalogue:
        for path in paths:
            try:
                done.append(_rekey_one(path, config_dir, keys, change, policy, note, catalogue, dry_run=dry_run))
            except LockmigrateError as error:
                done.append(
                    RekeyedFile(file=str(path), ok=False, code=error.code, exit=error.exit_code, detail=error.message)
                )
    removed = any(item.removed for item in done if item.ok)
    return VaultRekeyResult(
        exit_code=worst(item.exit for item in done if not item.ok),
        warnings=(COPIES_REMAIN,) if removed and not dry_run else (),
        folder=str(folder),
        files=tuple(done),
        dry_run=dry_run,
    )


def _checked(change: Change, policy: VaultPolicy) -> Change:
    add = tuple(dict.fromkeys(str(age.parse_recipient(each)) for each in change.add))
    remove = tuple(dict.fromkeys(str(age.parse_recipient(each)) for each in change.remove))
    if not add and not remove and not change.drop_unknown:
        raise ConfigError("nobody to add and nobody to remove", hint="--add AGE1…, --remove AGE1…", code="usage")
    if set(add) & set(remove):
        raise ConfigError("a recipient cannot be added and removed at once", code="usage")
    if set(remove) & {each.strip().lower() for each in policy.always}:
        raise ConfigError(
            "a recipient to remove is one for whom vault.toml always seals",
            hint="take it out of always first",
            code="policy-recipient",
        )
    return Change(add=add, remove=remove, drop_unknown=change.drop_unknown)


def _rekey_one(
    path: Path,
    config_dir: Path,
    keys: KeyPaths,
    change: Change,
    policy: VaultPolicy,
    note: JournalNote,
    catalogue: Catalogue,
    *,
    dry_run: bool,
) -> RekeyedFile:
    data = read_backup(path)
    if is_symmetric(data):
        raise ConfigError(f"{path} is sealed with a passphrase, so it has no recipients", code="symmetric")
    identities = identities_for(path, data, keys)
    opened = open_backup(data, identities=identities)
    openers = tuple(str(each.recipient) for each in identities)
    candidates = [*_own_recipients(config_dir), *policy.always, *change.add, *change.remove, *openers]
    current, unknown = _current(data, opened, catalogue.get(opened.backup_id), candidates, openers)
    if unknown and not change.drop_unknown:
        raise ConfigError(
            f"{path} is sealed for {len(unknown)} more whose recipient is not known here",
            hint="name them with --add, or leave them out with --drop-unknown",
            code="unknown-recipient",
        )
    wanted = [each for each in dict.fromkeys((*current, *change.add)) if each not in change.remove]
    if not wanted:
        raise ConfigError(f"{path} would be left without a recipient", code="no-recipient")
    recipients = recipients_for(policy, None, wanted)
    removed = (*(each for each in current if each not in recipients), *unknown)
    entry = RekeyedFile(file=str(path), ok=True, backup_id=opened.backup_id, recipients=recipients, removed=removed)
    if dry_run or (set(recipients) == set(current) and not unknown):
        return entry
    note({"event": "rekey", "backup": opened.backup_id, "manifest_sha256": opened.manifest_sha256})
    sealed = _seal_anew(path, data, identities, opened, recipients)
    trusted = is_trusted(keys.keyring().signer_check(), opened)
    catalogue.record_backup(row_of(opened, path, sealed, recipients=recipients, trusted=trusted))
    catalogue.record_verification(opened.backup_id, "read-data", SOURCE, "", "ok", 0)
    return entry


def _seal_anew(
    path: Path, data: bytes, identities: Sequence[age.Identity], old: OpenedBackup, recipients: Sequence[str]
) -> bytes:
    """Replace a file by the same plaintext under a new file key, verified from the disk before the old one goes."""
    plain = age.decrypt_bytes(data, identities=identities)
    out = BytesIO()
    file_key = age.encrypt(BytesIO(plain), out, recipients)

    def check(temporary: Path) -> None:
        try:
            new = open_backup(read_backup(temporary), identities=[file_key])
        except (BackupError, PolicyError) as cause:
            raise _write_check(path, cause.message) from cause
        if (new.manifest_sha256, new.entries) != (old.manifest_sha256, old.entries):
            raise _write_check(path, "its contents are others")

    write_whole(path, out.getvalue(), mode=PRIVATE_MODE, replace=True, check=check)
    return out.getvalue()


def _write_check(path: Path, why: str) -> FileTrouble:
    return FileTrouble(
        f"{path} sealed anew does not read back as it was written: {why}",
        hint="the old file is untouched; the disk may be failing",
        code="write-check",
    )


def _current(
    data: bytes, opened: OpenedBackup, row: Row | None, candidates: Iterable[str], openers: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return for whom a file is sealed now: recipients, and stand-ins for those of whom no recipient is known.

    The stanzas are anonymous. The catalogue remembers whom we sealed for last; else the manifest has the digests of
    those at the first sealing. Where their number is another one the file was sealed anew elsewhere, and taking the
    first list for true could let a removed one in again: then only the key that opened it is known.
    """
    stanzas = _stanza_count(data)
    if row is not None and row.recipients and row.ciphertext_sha256 == hashlib.sha256(data).hexdigest():
        return row.recipients, ()
    texts = {hashlib.sha256(each.encode()).hexdigest(): each for each in candidates}
    digests = opened.manifest.get("recipients")
    listed = [each for each in digests if isinstance(each, str)] if isinstance(digests, list) else []
    if len(listed) != stanzas:
        return openers[:1], tuple(f"unknown-{number}" for number in range(1, stanzas))
    known = tuple(texts[each] for each in listed if each in texts)
    return known, tuple(f"sha256:{each}" for each in listed if each not in texts)


def _stanza_count(data: bytes) -> int:
    reader = ByteReader(BytesIO(data))
    if looks_armored(reader):
        reader = ByteReader(ArmorReader(reader))
    return len(read_header(reader).stanzas)


def _own_recipients(config_dir: Path) -> tuple[str, ...]:
    path = config_dir / RECIPIENTS_FILE
    if not exists(path):
        return ()
    data = read_whole(path, max_bytes=_MAX_RECIPIENTS_BYTES)
    return age.parse_recipients(data.decode("utf-8", "replace")) if data is not None else ()
